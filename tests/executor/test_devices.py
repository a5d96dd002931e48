"""Where fragments run: the option `device`, and the CPU in place of a GPU that fails, told from a fake GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

import sqlray
from executor import device_rates, devices, residents
from executor.blocks import BlockStore, Computed
from executor.cancellation import Cancellation
from executor.kernels import KernelOptions
from executor.metrics import Fallback
from executor.runners import task
from executor.runners.backend import RunSettings
from executor.runners.base import LostWithGpu, Runner, StageOutput, StageProgress
from executor.runners.local import LocalBackend, LocalRunner, resources
from executor.sources import dictionary
from executor.sources.memory import MemoryTable
from executor.value import NotOnDevice
from planner.devices import H100, Rates, default_cpu
from planner.errors import ExecutionError
from planner.physical import ScanExec
from planner.stages import Stage
from planner.tree import walk
from sqlray.tpch_verify import SORT_KEYS, compare
from tests.executor.fake_gpu import FakeGpu
from tests.planned import planned_query, run, small_splits
from tpch_queries import NUMBERS, TABLES, query

OUT_OF_MEMORY = MemoryError("std::bad_alloc: out_of_memory: CUDA error")
UNSUPPORTED = pl.exceptions.ComputeError("'cuda' conversion failed: NotImplementedError: Query execution\nnot possible")
LOST = RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
UNTRANSLATED = NotOnDevice("cuDF does not check casts (to Int32)")
WRAPPED = ExecutionError("the query failed while it ran: something")  # as `kernels.collect` raises what it catches
FAST = Rates(default_cpu(1), replace(H100, launch=0.0, start=0.0))  # worth it for a few rows
FAILURES = (OUT_OF_MEMORY, UNSUPPORTED, LOST, UNTRANSLATED, WRAPPED)


@pytest.fixture(scope="module")
def session(split_data: Path) -> Iterator[sqlray.Session]:
    with sqlray.connect() as made:
        for table in TABLES:
            made.register(table, split_data / f"{table}.parquet")
        yield made


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_stage_that_fails_runs_on_the_cpu(
    number: int, staged: bool, session: sqlray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"device": "cpu", "staged": staged, "partitions": 2 if staged else 0}.items():
        session.set_option(name, value)
    expected, metrics = run(planned_query(session, query(number)))
    assert metrics.fallbacks == []
    session.set_option("device", "gpu")
    FakeGpu().install(monkeypatch)
    planned = planned_query(session, query(number))
    fakes = [FakeGpu(), FakeGpu(LOST, every=2), FakeGpu(OUT_OF_MEMORY, late=True), *map(FakeGpu, FAILURES)]
    for fake in fakes:
        fake.install(monkeypatch)
        answer, metrics = run(planned)
        assert compare(answer, expected, SORT_KEYS.get(number, ())) is None
        fell_back = {f.stage for f in metrics.fallbacks}
        if fake.error is None:
            assert fell_back == set()
        elif fake.every == 1:
            assert fell_back == set(metrics.stages)
        else:
            assert bool(fell_back) == (fake.plans >= fake.every)
        assert {f.reason for f in metrics.fallbacks} <= {devices.failure(fake.error or LOST)}


def test_a_reason_is_one_line() -> None:
    assert devices.failure(UNTRANSLATED) == "cuDF does not check casts (to Int32)"
    assert devices.failure(OUT_OF_MEMORY) == "MemoryError: std::bad_alloc: out_of_memory: CUDA error"
    assert devices.failure(UNSUPPORTED).endswith("NotImplementedError: Query execution; not possible")
    assert devices.failure(MemoryError()) == "MemoryError"
    assert len(devices.failure(RuntimeError("x" * 10_000))) < 400
    wrapped = ExecutionError("the query failed while it ran: y")
    wrapped.__cause__ = LOST
    assert devices.failure(wrapped) == f"RuntimeError: {LOST}"


@pytest.mark.parametrize("error", [None, LOST])
def test_rows_are_handed_over_once(error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong behind the kernels is no reason to start again."""
    fake = FakeGpu(error).install(monkeypatch)
    planned = planned_query(sqlray.connect(device="gpu"), "select x from (values (1), (2)) as t(x)")
    taken: list[Computed] = []

    def take(rows: Computed) -> bool:
        taken.append(rows)
        raise OSError("no space left")

    store = BlockStore(1 << 20, str(tmp_path))
    context = task.TaskContext(store, 1 << 20, Cancellation(), KernelOptions(device="gpu"))

    with pytest.raises((OSError, ExecutionError), match=r"no space left|file"):
        task.run_fragment(planned.physical.graph.result.plan, {}, take, context)
    assert fake.plans == 1
    assert len(taken) == 1


def test_an_error_of_the_query_stays_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu().install(monkeypatch)
    rows = pl.DataFrame({"a": [1, 0], "b": ["1", "x"]})
    session = sqlray.connect(device="gpu")
    for sql, words in (("select 1 // a from rows", "division by zero"), ("select b::int from rows", "'x' to INTEGER")):
        with pytest.raises(ExecutionError, match=words):
            session.sql(sql, rows=rows).to_arrow()
    assert fake.plans == 2  # both fail there, without words
    answer, metrics = run(planned_query(session, "select b::int as b from (values ('7'), ('8')) as t(b)"))
    assert answer.to_pydict() == {"b": [7, 8]}
    assert metrics.fallbacks == []
    answer, metrics = run(planned_query(session, "select b::int as b from (values ('7'), ('8.5')) as t(b)"))
    assert answer.to_pydict() == {"b": [7, 9]}  # the GPU's form does not know the second
    assert [f.stage for f in metrics.fallbacks] == [0]


def test_explain_analyze_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu(LOST).install(monkeypatch)
    text = sqlray.connect(device="gpu").sql("select 1 as one").explain(analyze=True)
    assert f"On the CPU, not the GPU: stage 0: RuntimeError: {LOST}" in text
    assert "On the GPU" not in text
    FakeGpu().install(monkeypatch)
    text = sqlray.connect(device="gpu").sql("select 1 as one").explain(analyze=True)
    assert "\nOn the GPU: kernels " in text
    assert "On the CPU" not in text


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_absence", lambda: "there is none")
    assert [devices.choice(option, 0, lambda: FAST) for option in ("cpu", "gpu", "auto")] == ["cpu"] * 3
    session = sqlray.connect(device="gpu")
    assert "GPU" not in session.sql("select 1").explain()
    with pytest.raises(ExecutionError, match="'gpu', but there is none") as caught:
        session.sql("select 1").to_arrow()
    assert 'pip install "sqlray[gpu]"' in str(caught.value)
    session.set_option("device", "auto")
    assert session.sql("select 1").fetchall() == [(1,)]


def test_with_a_gpu() -> None:
    assert [devices.choice(option, 1, lambda: FAST) for option in ("cpu", "gpu", "auto")] == ["cpu", "gpu", FAST]
    assert devices.choice("auto", 1, lambda: None) == "cpu"  # its driver does not tell of it


@pytest.mark.parametrize("staged", [False, True])
def test_auto_runs_a_stage_where_it_is_cheaper(
    staged: bool, session: sqlray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the GPU reads Parquet and groups, and gets no rows of other stages; all on the local runner."""
    FakeGpu().install(monkeypatch)
    picky = replace(FAST, gpu=replace(FAST.gpu, upload=1e-3))
    monkeypatch.setattr(device_rates, "known_rates", lambda: picky)
    monkeypatch.setattr(device_rates, "measured_rates", lambda: picky)
    for name, value in {"device": "cpu", "staged": staged, "partitions": 2 if staged else 0}.items():
        session.set_option(name, value)
    expected = session.sql(query(3)).to_arrow()
    session.set_option("device", "auto")
    for error in (None, *FAILURES):
        fake = FakeGpu(error).install(monkeypatch)
        planned = planned_query(session, query(3))
        stages = planned.physical.graph.stages
        on_gpu = {s.id for s in stages if s.device == "gpu"}
        assert on_gpu == {s.id for s in stages if not s.inputs}
        answer, metrics = run(planned)
        assert compare(answer, expected, SORT_KEYS[3]) is None
        assert fake.plans
        assert {f.stage for f in metrics.fallbacks} == (set() if error is None else on_gpu)
    text = session.sql(query(3)).explain()
    assert text.count("n the GPU: about") == len(on_gpu)
    assert text.count("n the CPU: about") == len(stages) - len(on_gpu)
    FakeGpu().install(monkeypatch)
    analyzed = session.sql(query(3)).explain(analyze=True)
    assert analyzed.count("n the GPU: about") == len(on_gpu)


def test_devices_are_measured_before_the_first_stage_on_a_gpu(
    session: sqlray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGpu().install(monkeypatch)
    slow = replace(FAST, gpu=replace(FAST.gpu, start=1e6))
    asked: list[Rates] = []

    def measured() -> Rates:
        asked.append(slow)
        return slow

    monkeypatch.setattr(device_rates, "measured_rates", measured)
    for name, value in {"device": "auto", "staged": False, "partitions": 0}.items():
        session.set_option(name, value)
    for known, times in ((slow, 0), (FAST, 1)):
        monkeypatch.setattr(device_rates, "known_rates", lambda known=known: known)
        stage = planned_query(session, query(1)).physical.graph.result
        assert stage.device == "cpu"
        assert "starting" in stage.why
        assert len(asked) == times


class LosingRunner(LocalRunner):
    """Loses its GPU once, when a stage has run or with the first rows of the result."""

    at = "stage"
    lost = False

    def wait(self) -> tuple[Stage, StageOutput]:
        found = super().wait()
        self.lose("stage")
        return found

    def stream(self, stage: Stage, inputs: Mapping[int, StageOutput]) -> Iterator[pl.DataFrame]:
        if not self.lost and self.at == "stream":
            self.lose("stream")
        for frame in super().stream(stage, inputs):
            yield frame
            self.lose("rows")

    def lose(self, at: str) -> None:
        if at == self.at and not self.lost:
            self.lost = True
            raise LostWithGpu("it is gone")


@pytest.mark.parametrize("at", ["stage", "stream", "rows"])
def test_a_query_that_loses_rows_with_the_gpu_begins_anew(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody has any of its rows."""
    fake = FakeGpu().install(monkeypatch)
    session = sqlray.connect(device="gpu", partitions=2)
    session.register("t", pl.DataFrame({"k": range(250_000)}))
    planned = planned_query(session, "select k % 10 as g, count(*) as n from t group by all order by g")
    expected, _ = run(planned)

    def runner(cancellation: Cancellation, progress: StageProgress) -> LosingRunner:
        made = LosingRunner(*resources(RunSettings(10**9, "")), cancellation, progress)
        made.at = at
        return made

    monkeypatch.setattr(LocalBackend, "runner", lambda self, settings, *args: runner(*args))
    if at == "rows":
        with pytest.raises(ExecutionError, match=r"it is gone, and rows of the result are lost") as caught:
            run(planned)
        assert "run the query again" in str(caught.value)
        return
    fake.plans = 0
    answer, metrics = run(planned)
    assert answer.equals(expected)
    assert {Fallback(s.id, "it is gone") for s in planned.physical.graph.stages} <= set(metrics.fallbacks)
    assert fake.plans >= 2  # the tasks of the first stage

    def finish(runner: Runner, last: Stage, inputs: Mapping[int, StageOutput]) -> None:
        runner.submit(last, inputs)

    if at == "stage":
        output = planned.execution().output(finish)
        assert output.rows == expected.num_rows


def test_what_keeps_a_gpu_from_being_used(monkeypatch: pytest.MonkeyPatch) -> None:
    absence = devices.gpu_absence.__wrapped__  # without its memory
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    assert "no NVIDIA GPU" in absence()
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert absence() == "cudf-polars is not installed"
    monkeypatch.setattr(devices, "find_spec", lambda name: name)
    assert absence() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hides" in absence()


@pytest.mark.gpu
@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("source", ["parquet", "memory"])
def test_tpch_on_a_gpu(source: str, staged: bool, session: sqlray.Session, tpch_data: Path) -> None:
    """Every query runs wholly on the GPU, with the CPU's answer."""
    on_gpu = sqlray.connect(device="gpu", staged=staged, partitions=2 if staged else 0)
    for table in TABLES:
        path = tpch_data / f"{table}.parquet"
        on_gpu.register(table, path if source == "parquet" else pl.read_parquet(path))
    for name, value in {"device": "cpu", "staged": False, "partitions": 0}.items():
        session.set_option(name, value)
    wrong: list[str] = []
    for number in NUMBERS:
        answer, metrics = run(planned_query(on_gpu, query(number)))
        expected = session.sql(query(number)).to_arrow()
        wrong += [f"{number}: {f.reason}" for f in metrics.fallbacks]
        problem = compare(answer, expected, SORT_KEYS.get(number, ()), tolerance=1e-9)
        wrong += [] if problem is None else [f"{number}: {problem}"]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def orders() -> pl.DataFrame:
    return pl.DataFrame({"id": range(1000), "total": [i % 7 for i in range(1000)], "note": ["x"] * 1000})


def frame_of(session: sqlray.Session, table: str) -> pl.DataFrame:
    """The frame that a registered table is held as."""
    (scan,) = (n for n in walk(planned_query(session, f"from {table}").physical.plan) if isinstance(n, ScanExec))
    assert isinstance(scan.table, MemoryTable)
    return scan.table.frame


def test_a_table_in_memory_is_copied_to_the_gpu_once(orders: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu().install(monkeypatch)
    session = sqlray.connect(device="gpu")
    session.register("orders", orders)
    for _ in range(2):
        assert session.sql("select sum(total) from orders where id < 7").fetchall() == [(21,)]
    assert sorted(fake.uploads) == ["id", "total"]
    both = "select max(a.id), max(b.note) from orders as a, orders as b where a.id = b.id and a.id < 7"
    assert session.sql(both).fetchall() == [(6, "x")]
    assert sorted(fake.uploads) == ["id", "note", "total"]
    frame = frame_of(session, "orders")
    assert residents.reads(frame) == 3  # queries, not scans
    assert residents.resident_bytes(frame, ["id"]) == 8000
    assert residents.resident_bytes(orders, ["id"]) == 0  # which its owner may change


def test_a_plan_that_is_kept_moves_to_the_gpu(orders: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the table has been read so often that a copy of it pays, and once it is there."""
    fake = FakeGpu().install(monkeypatch)
    rates = replace(FAST, gpu=replace(FAST.gpu, upload=1e6))
    monkeypatch.setattr(device_rates, "known_rates", lambda: rates)
    monkeypatch.setattr(device_rates, "measured_rates", lambda: rates)
    session = sqlray.connect(device="auto")
    session.register("orders", orders)
    plans, ran_on = set(), []
    for _ in range(12):
        planned = planned_query(session, "select sum(total) from orders where id < 7")
        answer, _ = run(planned)
        assert answer.to_pylist() == [{"sum(total)": 21}]
        plans.add(id(planned.optimized))
        ran_on.append(planned.physical.graph.result.device)
    assert len(plans) == 1
    first = ran_on.index("gpu")
    assert 0 < first < 12
    assert set(ran_on[first:]) == {"gpu"}
    assert fake.plans == 12 - first
    assert sorted(fake.uploads) == ["id", "total"]


def grow(frame: pl.DataFrame) -> None:
    frame.extend(frame[:1])


def append(frame: pl.DataFrame) -> None:
    frame.vstack(frame[:1], in_place=True)


def assign(frame: pl.DataFrame) -> None:
    frame[2, "total"] = 1 + frame[2, "total"]


def exchange(frame: pl.DataFrame) -> None:
    frame.replace_column(1, frame["total"] * 2)


@pytest.mark.parametrize("change", [grow, append, assign, exchange])
@pytest.mark.parametrize("chunks", [1, 5])
def test_a_frame_that_was_changed_is_another(
    change: Callable[[pl.DataFrame], None], chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeGpu().install(monkeypatch)
    frame = pl.concat([pl.DataFrame({"id": [0, 1, 2], "total": [7, 5, 9]})] * chunks, rechunk=False)
    assert frame["total"].n_chunks() == chunks
    session = sqlray.connect(device="gpu")
    session.register("registered", frame)
    for _ in range(2):
        before = frame["total"].sum()
        for table, total in (("frame", before), ("registered", 21 * chunks)):
            query = f"select sum(total), max(total + 0) from {table}"
            ((found, _),) = session.sql(query).fetchall()
            assert found == total
        change(frame)
        assert frame["total"].sum() != before
    assert fake.uploads == ["total"] * 3  # as it was registered, and whenever the variable is read


def test_copies_go_with_their_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu().install(monkeypatch)
    frame = pl.DataFrame({"a": [1, 2]})
    residents.columns(frame, ["a"])
    assert residents.clear()
    residents.columns(frame, ["a"])
    del frame
    gc.collect()
    assert not residents.clear()


def test_copies_that_were_read_last_stay(orders: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu(memory=40_000).install(monkeypatch)  # half of it for copies: two columns of 8,000 bytes
    more = orders.select(other=pl.col("id"))
    residents.columns(orders, ["id"])
    residents.columns(more, ["other"])
    residents.columns(orders, ["id"])
    residents.columns(orders, ["id", "total"])
    assert residents.resident_bytes(more, ["other"]) == 0
    assert residents.resident_bytes(orders, ["id", "total"]) == 16_000
    assert fake.uploads == ["id", "other", "total"]


def test_copies_make_room_for_a_query(orders: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, a fragment is tried once more without the copies of tables."""
    fake = FakeGpu(OUT_OF_MEMORY, every=2).install(monkeypatch)
    session = sqlray.connect(device="gpu")
    session.register("orders", orders)
    for plans, uploads in ((1, 2), (3, 4), (5, 6)):
        answer, metrics = run(planned_query(session, "select max(total) as most from orders where id > 5"))
        assert answer.to_pylist() == [{"most": 6}]
        assert metrics.fallbacks == []
        assert (fake.plans, len(fake.uploads)) == (plans, uploads)
    residents.clear()
    fake.every = 1
    answer, metrics = run(planned_query(session, "select max(total) as most from orders where id > 5"))
    assert answer.to_pylist() == [{"most": 6}]
    assert metrics.fallbacks == [Fallback(0, devices.failure(OUT_OF_MEMORY))]


def test_rows_stay_on_the_gpu_between_stages(session: sqlray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """But those that are divided for a shuffle, and the result."""
    for name, value in {"device": "gpu", "staged": True, "partitions": 2}.items():
        session.set_option(name, value)
    fake = FakeGpu().install(monkeypatch)
    planned = planned_query(session, query(14))
    execution = planned.execution()
    assert sum(batch.num_rows for batch in planned.batches(execution)) == 1
    stages = execution.graph.stages
    stayed = [s for s in stages[:-1] if task.undivided(s.output)]
    assert stayed
    assert fake.downloads == sum(s.tasks for s in stages if s not in stayed)


def test_tpch_over_copies_of_tables(tpch_data: Path, session: sqlray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"device": "cpu", "staged": False, "partitions": 0}.items():
        session.set_option(name, value)
    expected = {number: session.sql(query(number)).to_arrow() for number in NUMBERS}
    fake = FakeGpu().install(monkeypatch)
    monkeypatch.setattr(MemoryTable, "splits", small_splits)
    for partitions, least_rows in ((0, 100_000), (0, 1), (2, 1)):
        monkeypatch.setattr(dictionary, "LEAST_ROWS", least_rows)
        resident = sqlray.connect(device="gpu", partitions=partitions)
        for table in TABLES:
            resident.register(table, pl.read_parquet(tpch_data / f"{table}.parquet"))
        for again in (False, True):
            fake.uploads.clear()
            for number in NUMBERS:
                answer, metrics = run(planned_query(resident, query(number)))
                assert compare(answer, expected[number], SORT_KEYS.get(number, ())) is None
                assert metrics.fallbacks == []
            assert (fake.uploads == []) == again


@pytest.mark.parametrize("digits", [15, 25])
def test_decimals_of_a_table_in_memory(digits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device they are scaled integers where 64 bits hold them."""
    prices = pl.DataFrame(
        {"price": [Decimal("12.34"), None, Decimal("-0.01"), Decimal("12.34")], "label": ["a", "b", "c", "a"]},
        schema_overrides={"price": pl.Decimal(digits, 2)},
    )
    sql = "select price, sum(price), min(price) - 1, count(*) from p where price < 12.345 group by 1 order by 1"
    expected = sqlray.connect(device="cpu").sql(sql, p=prices).to_arrow()
    FakeGpu().install(monkeypatch)
    answer = sqlray.connect(device="gpu").sql(sql, p=prices).to_arrow()
    assert answer.equals(expected)
    held = residents.columns(prices, ["price", "label"]).schema
    assert list(held.values()) == [pl.Int64() if digits == 15 else pl.Decimal(25, 2), pl.String()]
