"""The hash shuffle: lineitem's key, price and comment over 8 partitions, in MB/s of Arrow bytes a core.

    SQLRAY_TPCH_DATA=tpch-data/sf1 pytest tests/benchmarks/test_shuffle.py --benchmark-only

Bytes are those of the rows as Arrow with LARGE_STRING, which is how they travel (58.5 a row). ``mb_per_core_second`` in
the extra information divides them by cores and by the median round's seconds.

- *divide*: what a map task does between its kernels' batches, which are in memory, and the tables that Ray stores.
- *scan*: the kernels' batches alone, taken and dropped in this process.
- *on Ray*: from submitting the map tasks to the counts of the reduce tasks, on one node with a CPU for each of the
  kernels' threads: scan, divide, storing, fetching, counting, and Ray's time to start each task. A table in memory lies
  in the object store before the time starts. The scan is in this time: *scan* tells how much of it.
"""

from __future__ import annotations

import pickle
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import ray

import sqlray
from executor.blocks import BlockStore, table, to_block
from executor.cancellation import Cancellation
from executor.driver import Execution
from executor.kernels import compile_fragment, stream
from executor.runners.backend import RunSettings
from executor.runners.base import StageOutput
from executor.runners.ray.backend import RayBackend
from executor.runners.ray.blocks import RemoteBlock
from executor.runners.ray.claims import Claims
from executor.runners.ray.gpus import GpuStages
from executor.runners.ray.runner import RayRunner
from executor.runners.ray.tables import ClusterTables
from executor.runners.ray.tasks import bundles
from executor.runners.ray.workers import Workers
from executor.runners.task import PartitionSink
from executor.runners.worker import TaskReport
from planner import types
from planner.cost import ClusterInfo
from planner.devices import Device
from planner.expr import AggregateCall, Column, Field, Schema, mint
from planner.logical import AggregateItem
from planner.physical import (
    AggregateExec,
    ExchangeExec,
    HashPartitioned,
    InputExec,
    PhysicalPlan,
    ScanExec,
    Single,
    ValuesExec,
)
from planner.physical_context import PhysicalContext
from planner.physical_planner import PhysicalQuery
from planner.stages import Stage, cut
from planner.statistics import Estimator
from tests.planned import planned_query

COLUMNS = ("l_orderkey", "l_extendedprice", "l_comment")
PARTITIONS = 8
MAP_TASKS = 2
MEMORY = 4 << 30
SETTINGS = RunSettings(MEMORY, "/tmp")


@pytest.fixture(scope="module")
def path(tpch_data: Path) -> Path:
    return tpch_data / "lineitem.parquet"


@pytest.fixture(scope="module")
def rows(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path, columns=list(COLUMNS))


def scan_of(session: sqlray.Session, source: object) -> ScanExec:
    session.register("lineitem", source)
    plan = planned_query(session, f"select {', '.join(COLUMNS)} from lineitem").physical.graph.result.plan
    assert isinstance(plan, ScanExec)
    return plan


def hashed(schema: Schema, count: int) -> HashPartitioned:
    """By the first column."""
    key = schema.fields[0]
    return HashPartitioned((Column(key.id, key.name, key.dtype),), count)


def counted_partitions(rows: PhysicalPlan, count: int) -> PhysicalQuery:
    """The shuffle of ``rows``, and a count from each partition; as it is, whatever the stages turn out to be."""
    shuffled = ExchangeExec(rows, hashed(rows.schema, count), rows.schema)
    field = Field(mint(), "n", types.BIGINT, False)
    call = AggregateItem(field, AggregateCall("count_star", (), types.BIGINT))
    counts = AggregateExec(shuffled, (), (call,), Schema((field,)))
    plan = ExchangeExec(counts, Single(), counts.schema)
    return PhysicalQuery(plan, cut(plan), PhysicalContext(Estimator()))


def batches(plan: ScanExec) -> list[pl.DataFrame]:
    found: list[pl.DataFrame] = []

    def take(batch: pl.DataFrame) -> bool:
        found.append(batch)
        return False

    stream(compile_fragment(plan), take)
    return found


def report(benchmark: Any, rows: pl.DataFrame, cores: int) -> None:
    megabytes = to_block(rows).nbytes / 1e6
    benchmark.extra_info["arrow_mb"] = round(megabytes)
    benchmark.extra_info["cores"] = cores
    if benchmark.stats is not None:  # there are none where benchmarks run as tests
        benchmark.extra_info["mb_per_core_second"] = round(megabytes / cores / benchmark.stats.stats.median)


@pytest.mark.parametrize("source", ["memory", "parquet"])
def test_divide(benchmark: Any, path: Path, rows: pl.DataFrame, source: str) -> None:
    benchmark.group = "shuffle: divide"
    with sqlray.connect() as session:
        plan = scan_of(session, rows if source == "memory" else str(path))
        taken = batches(plan)

    def divide() -> int:
        store = BlockStore.within(MEMORY, "/tmp")
        sink = PartitionSink(store, hashed(plan.schema, PARTITIONS), PARTITIONS)
        for batch in taken:
            sink.take(batch)
        handed_over = 0
        for partition in sink.finish():
            handed_over += table(partition).num_rows if partition else 0
            store.free(partition)
        return handed_over

    assert benchmark.pedantic(divide, rounds=5, warmup_rounds=1) == rows.height
    report(benchmark, rows, pl.thread_pool_size())


@pytest.mark.parametrize("source", ["memory", "parquet"])
def test_scan(benchmark: Any, path: Path, rows: pl.DataFrame, source: str) -> None:
    benchmark.group = "shuffle: scan"
    with sqlray.connect() as session:
        plan = scan_of(session, rows if source == "memory" else str(path))
    taken = benchmark.pedantic(lambda: sum(b.height for b in batches(plan)), rounds=5, warmup_rounds=1)
    assert taken == rows.height
    report(benchmark, rows, pl.thread_pool_size())


@pytest.fixture(scope="module")
def cluster() -> Iterator[sqlray.Session]:
    """One node; its object store is as large as to hold the rows of some rounds."""
    ray.init(
        num_cpus=pl.thread_pool_size(),
        object_store_memory=MEMORY,
        log_to_driver=False,
        logging_level="error",
        include_dashboard=False,
    )
    with sqlray.connect("ray", memory_limit=MEMORY) as session:
        yield session
    ray.shutdown()


@pytest.mark.parametrize("source", ["memory", "parquet"])
def test_on_ray(benchmark: Any, cluster: sqlray.Session, path: Path, rows: pl.DataFrame, source: str) -> None:
    benchmark.group = "shuffle: on Ray"
    scan = scan_of(cluster, rows if source == "memory" else str(path))
    query = counted_partitions(replace(scan, tasks=MAP_TASKS), PARTITIONS)
    backend = RayBackend()

    def shuffle() -> int:
        execution = Execution(query, lambda *asked: backend.runner(SETTINGS, *asked))
        return int(pl.concat(list(execution.batches())).to_series().sum())

    # The first rounds start the worker and touch the object store's memory, which Ray uses again.
    assert benchmark.pedantic(shuffle, rounds=5, warmup_rounds=3) == rows.height
    backend.close()
    report(benchmark, rows, pl.thread_pool_size())


class Ref:
    """Stands for a reference to an object of Ray's."""

    __slots__ = ("__weakref__",)


class NoWorkers(Workers):
    """Starts nothing and counts the references that it gives."""

    def __init__(self) -> None:
        self.given: weakref.WeakSet[Ref] = weakref.WeakSet()
        self.most = 0

    def call(self, function: str, *arguments: Any, threads: int, apart: bool = False, **options: Any) -> list[Any]:
        refs = [Ref() for _ in range(options["num_returns"])]
        self.given.update(refs)
        self.most = max(self.most, len(self.given))
        return refs


def runner_on(cluster: ClusterInfo, workers: Workers, gpus_of_a_node: int = 0) -> RayRunner:
    """Runs a query whose tasks ask for 8 CPUs."""
    gpus = GpuStages(gpus_of_a_node)
    shown = Cancellation(), lambda *progress: None
    return RayRunner(workers, Claims(), ClusterTables(), SETTINGS, cluster, 8.0, gpus, 1, *shown)


def output(runner: RayRunner) -> StageOutput:
    """What the stage gives that runs."""
    while (ended := runner.wait()) is None:
        pass
    return ended[1]


def test_what_the_driver_keeps_of_a_million_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 tasks shuffled into 1,000 partitions: some 33,000 objects at a time, where a block each made a million, and
    less than 200 MB in this process. (Ray's own table of references is not in it.)"""
    tasks, partitions = 1000, 1000
    field = Field(mint(), "k", types.BIGINT, False)
    graph = counted_partitions(ValuesExec((), Schema((field,))), partitions).graph
    first = replace(graph.stages[0], tasks=tasks)
    second = graph.stages[1]
    assert second.tasks == partitions
    workers = NoWorkers()
    runner = runner_on(ClusterInfo(100, 8, MEMORY), workers)

    def sent_report(ref: Any) -> TaskReport:  # every number an object of its own, as it comes out of a pickle
        count = partitions if first.id in runner._stages else 1
        numbers = range(100_000, 100_000 + count)
        found: TaskReport = pickle.loads(pickle.dumps(TaskReport(tuple(numbers), tuple(n * 60 for n in numbers), 1.0)))
        return found

    monkeypatch.setattr("ray.wait", lambda refs, **options: (refs[:1], refs[1:]))
    monkeypatch.setattr("ray.get", sent_report)
    tracemalloc.start()
    try:
        runner.submit(first, {})
        shuffled = output(runner)
        assert [len(blocks) for blocks in shuffled.partitions] == [1] * partitions
        runner.submit(second, {first.id: shuffled})
        counts = output(runner)
        assert len(counts.partitions[0]) == partitions
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    sizes = bundles(first)
    assert sum(sizes) == partitions
    # A report and the bundles of each task; each bundle's merged partitions and the empty object at its end.
    assert workers.most <= tasks * (1 + len(sizes)) + partitions + len(sizes) < 35_000
    assert peak < 200e6


@pytest.mark.parametrize(("tasks", "size", "claim"), [(1, 0, 8.0), (4, 0, 4.0), (4, 1 << 20, 4.0), (4, MEMORY, 8.0)])
def test_small_tasks_share_a_node(tasks: int, size: int, claim: float) -> None:
    """Where there are more than nodes: a large one has a node for itself."""
    schema = Schema((Field(mint(), "k", types.BIGINT, False),))
    runner = runner_on(ClusterInfo(1, 8, MEMORY), NoWorkers())
    block = RemoteBlock(Ref(), 1, size)  # type: ignore[arg-type]
    source = StageOutput(schema, Single(), [[block]])
    runner.submit(Stage(1, InputExec(0, schema), None, tasks, (0,)), {0: source})
    attempts = list(runner._attempts.values())
    assert [a.claim for a in attempts] == [claim] * tasks
    assert {a.memory_limit for a in attempts} == {int(MEMORY * claim / 8)}


def test_each_device_has_room_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage on GPUs leaves the CPUs to others, and one on CPUs the GPUs; until there are no GPUs any more."""
    schema = Schema((Field(mint(), "k", types.BIGINT, False),))
    runner = runner_on(ClusterInfo(2, 8, MEMORY, gpus=2), NoWorkers(), gpus_of_a_node=1)

    def room() -> tuple[bool, bool]:
        return runner.has_room("cpu"), runner.has_room("gpu")

    def start(number: int, device: Device, *inputs: int) -> None:
        runner.submit(Stage(number, ValuesExec((), schema), None, 2, inputs, device=device), {})

    assert room() == (True, True)
    start(0, "gpu")
    assert room() == (True, False)
    assert {(a.claim, a.memory_limit) for a in runner._attempts.values()} == {(0.0, MEMORY // 2)}
    start(1, "cpu")
    assert room() == (False, False)
    monkeypatch.setattr("ray.wait", lambda refs, **options: ([], refs))
    monkeypatch.setattr("ray.cancel", lambda *args, **options: None)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"GPU": 1.0}, "NodeID": "n"}])
    runner._look_after_gpus()
    assert [a.device for a in runner._attempts.values()] == ["gpu", "gpu", "cpu", "cpu"]
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}, "NodeID": "n"}])
    runner._look_after_gpus()  # too soon to look again
    assert runner.fallbacks == []
    runner.gpus._look_again = 0.0
    runner._look_after_gpus()
    start(2, "gpu")
    start(3, "gpu", 0)  # of rows that a GPU made
    assert {(a.device, a.claim) for a in runner._attempts.values()} == {("cpu", 8.0)}
    gone = "no node of the cluster has a GPU any more"
    assert sorted((f.stage, f.reason) for f in runner.fallbacks) == [(0, gone), (0, gone), (2, gone), (3, gone)]
