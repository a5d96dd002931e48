"""Where fragments run: the option `device`, and the CPU in place of a GPU that fails, told from a fake GPU.

The fake collects on the CPU what was compiled for the GPU, so that the GPU's forms of expressions are run too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import sqlray
from executor import devices
from executor.kernels import KernelOptions
from executor.metrics import Fallback
from executor.runners import task
from executor.value import NotOnDevice
from planner.errors import ExecutionError
from sqlray.tpch_verify import SORT_KEYS, compare
from tests.planned import planned_query, run
from tpch_queries import NUMBERS, TABLES, query

OUT_OF_MEMORY = MemoryError("std::bad_alloc: out_of_memory: CUDA error")
UNSUPPORTED = pl.exceptions.ComputeError("'cuda' conversion failed: NotImplementedError: Query execution\nnot possible")
LOST = RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
UNTRANSLATED = NotOnDevice("cuDF does not check casts (to Int32)")
WRAPPED = ExecutionError("the query failed while it ran: something")  # as `kernels.collect` raises what it catches
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
    assert devices.choose("cpu") == devices.choose("auto") == "cpu"
    session = sqlray.connect(device="gpu")
    with pytest.raises(ExecutionError, match="'gpu', but there is none") as caught:
        session.sql("select 1").to_arrow()
    assert 'pip install "sqlray[gpu]"' in str(caught.value)
    session.set_option("device", "auto")
    assert session.sql("select 1").fetchall() == [(1,)]


def test_with_a_gpu(gpu: None) -> None:
    assert devices.choose("cpu") == devices.choose("auto") == "cpu"
    assert devices.choose("gpu") == "gpu"


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
