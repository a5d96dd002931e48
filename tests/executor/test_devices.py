"""Where fragments run: the option `device`, and the CPU in place of a GPU that fails, told from a fake GPU.

The fake collects on the CPU what was compiled for the GPU, so that the GPU's forms of expressions are run too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import sqlray
from executor import device_rates, devices
from executor.cancellation import Cancellation
from executor.kernels import KernelOptions
from executor.metrics import Fallback
from executor.runners import task
from executor.runners.backend import RunSettings
from executor.runners.base import LostWithGpu, Runner, StageOutput, StageProgress
from executor.runners.local import LocalBackend, LocalRunner, resources
from executor.value import NotOnDevice
from planner.devices import H100, Rates, default_cpu
from planner.errors import ExecutionError
from planner.stages import Stage
from sqlray.tpch_verify import SORT_KEYS, compare
from tests.planned import planned_query, run
from tpch_queries import NUMBERS, TABLES, query

OUT_OF_MEMORY = MemoryError("std::bad_alloc: out_of_memory: CUDA error")
UNSUPPORTED = pl.exceptions.ComputeError("'cuda' conversion failed: NotImplementedError: Query execution\nnot possible")
LOST = RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
UNTRANSLATED = NotOnDevice("cuDF does not check casts (to Int32)")
WRAPPED = ExecutionError("the query failed while it ran: something")  # as `kernels.collect` raises what it catches
FAST = Rates(default_cpu(1), replace(H100, launch=0.0, start=0.0))  # worth it for a few rows
FAILURES = (OUT_OF_MEMORY, UNSUPPORTED, LOST, UNTRANSLATED, WRAPPED)


class FakeGpu:
    """In place of `kernels.collect`: every call fails, or every second one; ``late`` after the work."""

    def __init__(self, error: Exception | None = None, every: int = 1, late: bool = False) -> None:
        self.error = error
        self.every = every
        self.late = late
        self.calls = 0

    def __call__(self, lazy: pl.LazyFrame, options: KernelOptions) -> pl.DataFrame:
        assert options.device == "gpu"
        self.calls += 1
        fails = self.error is not None and self.calls % self.every == 0
        if fails and not self.late:
            raise self.error
        frame = lazy.collect()
        if fails:
            raise self.error
        return frame


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU in this process."""
    monkeypatch.setattr(devices, "gpu_absence", lambda: None)


@pytest.fixture(scope="module")
def session(tpch_data: Path) -> Iterator[sqlray.Session]:
    with sqlray.connect() as made:
        for table in TABLES:
            made.register(table, tpch_data / f"{table}.parquet")
        yield made


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_stage_that_fails_runs_on_the_cpu(
    number: int, staged: bool, session: sqlray.Session, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"device": "cpu", "staged": staged, "partitions": 2 if staged else 0}.items():
        session.set_option(name, value)
    expected, metrics = run(planned_query(session, query(number)))
    assert metrics.fallbacks == []
    session.set_option("device", "gpu")
    planned = planned_query(session, query(number))
    every_stage = {stage.id for stage in planned.physical.graph.stages}
    fakes = [FakeGpu(), FakeGpu(LOST, every=2), FakeGpu(OUT_OF_MEMORY, late=True), *map(FakeGpu, FAILURES)]
    for fake in fakes:
        monkeypatch.setattr(task, "collect", fake)
        answer, metrics = run(planned)
        assert compare(answer, expected, SORT_KEYS.get(number, ())) is None
        fell_back = {f.stage for f in metrics.fallbacks}
        if fake.error is None:
            assert fell_back == set()
        elif fake.every == 1:
            assert fell_back == every_stage
        else:
            assert bool(fell_back) == (fake.calls >= fake.every)
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
def test_rows_are_handed_over_once(error: Exception | None, gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong behind the kernels is no reason to start again."""
    fake = FakeGpu(error)
    monkeypatch.setattr(task, "collect", fake)
    planned = planned_query(sqlray.connect(device="gpu"), "select x from (values (1), (2)) as t(x)")
    taken: list[pl.DataFrame] = []

    def take(frame: pl.DataFrame) -> bool:
        taken.append(frame)
        raise OSError("no space left")

    with pytest.raises((OSError, ExecutionError), match=r"no space left|file"):
        task.run_fragment(planned.physical.graph.result.plan, {}, take, KernelOptions(device="gpu"))
    assert fake.calls == 1
    assert len(taken) == 1


def test_an_error_of_the_query_stays_its_own(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu()
    monkeypatch.setattr(task, "collect", fake)
    rows = pl.DataFrame({"a": [1, 0], "b": ["1", "x"]})
    session = sqlray.connect(device="gpu")
    for sql, words in (("select 1 // a from rows", "division by zero"), ("select b::int from rows", "'x' to INTEGER")):
        with pytest.raises(ExecutionError, match=words):
            session.sql(sql, rows=rows).to_arrow()
    assert fake.calls == 0  # cuDF could not have told: neither is compiled for it
    answer, metrics = run(planned_query(session, "select b::int as b from (values ('7'), ('8')) as t(b)"))
    assert answer.to_pydict() == {"b": [7, 8]}
    assert metrics.fallbacks == [Fallback(0, "cuDF does not check casts")]


def test_explain_analyze_tells(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "collect", FakeGpu(LOST))
    text = sqlray.connect(device="gpu").sql("select 1 as one").explain(analyze=True)
    assert f"On the CPU, not the GPU: stage 0: RuntimeError: {LOST}" in text


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
    staged: bool, session: sqlray.Session, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the GPU reads Parquet and groups, and gets no rows of other stages; all on the local runner."""
    picky = replace(FAST, gpu=replace(FAST.gpu, upload=1e-3))
    monkeypatch.setattr(device_rates, "known_rates", lambda: picky)
    monkeypatch.setattr(device_rates, "measured_rates", lambda: picky)
    for name, value in {"device": "cpu", "staged": staged, "partitions": 2 if staged else 0}.items():
        session.set_option(name, value)
    expected = session.sql(query(3)).to_arrow()
    session.set_option("device", "auto")
    for error in (None, *FAILURES):
        fake = FakeGpu(error)
        monkeypatch.setattr(task, "collect", fake)
        planned = planned_query(session, query(3))
        stages = planned.physical.graph.stages
        on_gpu = {s.id for s in stages if s.device == "gpu"}
        assert on_gpu == {s.id for s in stages if not s.inputs}
        answer, metrics = run(planned)
        assert compare(answer, expected, SORT_KEYS[3]) is None
        assert fake.calls
        assert {f.stage for f in metrics.fallbacks} == (set() if error is None else on_gpu)
    text = session.sql(query(3)).explain()
    assert text.count("n the GPU: about") == len(on_gpu)
    assert text.count("n the CPU: about") == len(stages) - len(on_gpu)
    monkeypatch.setattr(task, "collect", FakeGpu())
    analyzed = session.sql(query(3)).explain(analyze=True)
    assert analyzed.count("n the GPU: about") == len(on_gpu)


def test_devices_are_measured_before_the_first_stage_on_a_gpu(
    session: sqlray.Session, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_a_query_that_loses_rows_with_the_gpu_begins_anew(at: str, gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody has any of its rows."""
    fake = FakeGpu()
    monkeypatch.setattr(task, "collect", fake)
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
    fake.calls = 0
    answer, metrics = run(planned)
    assert answer.equals(expected)
    assert {Fallback(s.id, "it is gone") for s in planned.physical.graph.stages} <= set(metrics.fallbacks)
    assert fake.calls >= 2  # the tasks of the first stage

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
@pytest.mark.parametrize("number", NUMBERS)
def test_tpch_on_a_gpu(number: int, session: sqlray.Session) -> None:
    """Every query runs wholly on the GPU, with the CPU's answer."""
    session.set_option("staged", False)
    session.set_option("partitions", 0)
    answers = []
    for device in ("cpu", "gpu"):
        session.set_option("device", device)
        answer, metrics = run(planned_query(session, query(number)))
        assert metrics.fallbacks == []
        answers.append(answer)
    assert compare(answers[1], answers[0], SORT_KEYS.get(number, ()), tolerance=1e-9) is None
