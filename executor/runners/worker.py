"""What a worker of a cluster does: one task, from the blocks it is sent to the blocks it gives back.

Between processes a block is an Arrow table, whose buffers a worker reads where they lie in shared memory.
"""

from __future__ import annotations

import io
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from executor import device_rates, devices
from executor.arrow_output import to_arrow
from executor.blocks import BlockStore, Computed, StoredBlock, lazy, table, to_block, to_frame
from executor.cancellation import Cancellation
from executor.device_frames import DeviceTimes
from executor.kernels import KernelOptions
from executor.ranges import every
from executor.runners.task import PartitionSink, TaskContext, TaskInput, run_task
from executor.sources.memory import MemoryTable
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.devices import Rates
from planner.errors import SqlrayError
from planner.expr import SortKey
from planner.physical import Partitioning, PhysicalPlan
from planner.record import record


@record
class ClusterTask:
    """A task as it is sent to a worker. Its blocks follow, those of ``inputs`` in order."""

    plan: PhysicalPlan
    inputs: tuple[ClusterInput, ...]
    output: Partitioning | None
    partitions: int
    memory_limit: int
    temp_directory: str
    options: KernelOptions
    schema: pa.Schema | None = None  # of the blocks it gives back, if they leave the engine
    bundles: tuple[int, ...] = ()  # how many neighbouring partitions it gives back together; none: each by itself


@record
class ClusterInput:
    """A stage that a task reads: how its partitions were made, and how many blocks of it follow."""

    stage: int
    partitioning: Partitioning | None
    blocks: int


@record
class TaskReport:
    """What came of a task: rows and bytes of each output partition, or what went wrong."""

    rows: tuple[int, ...] = ()
    bytes: tuple[int, ...] = ()
    seconds: float = 0.0
    spilled_bytes: int = 0
    fallbacks: tuple[str, ...] = ()
    device: DeviceTimes = field(default_factory=DeviceTimes)
    error: SqlrayError | None = None


def dump_task(task: ClusterTask, detach: Callable[[object], Sequence[Any] | None]) -> tuple[bytes, list[Any]]:
    """A task as bytes, and the blocks of the tables that travel beside it.

    Args:
        detach: the blocks of a table that is not sent with the plan; None for any other object.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, detach)
    pickler.dump(task)
    return buffer.getvalue(), pickler.blocks


@record
class _BlocksAt:
    """The blocks of a table in a task's list of them."""

    first: int
    count: int
    name: str
    schema: pa.Schema


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, detach: Callable[[object], Sequence[Any] | None]) -> None:
        super().__init__(file, protocol=5)
        self.blocks: list[Any] = []
        self._detach = detach
        self._known: dict[int, _BlocksAt] = {}

    def persistent_id(self, value: Any) -> _BlocksAt | None:
        if id(value) in self._known:
            return self._known[id(value)]
        blocks = self._detach(value)
        if blocks is None:
            return None
        at = _BlocksAt(len(self.blocks), len(blocks), value.name, value.schema)
        self._known[id(value)] = at
        self.blocks += blocks
        return at


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, blocks: Sequence[pa.Table]) -> None:
        super().__init__(file)
        self._blocks = blocks

    def persistent_load(self, at: _BlocksAt) -> BlocksTable:
        return BlocksTable(at.name, self._blocks[at.first : at.first + at.count], at.schema)


@record(eq=False)
class BlocksTable:
    """A table of blocks, which are Arrow tables: of a scan only its columns become a frame."""

    name: str
    blocks: Sequence[pa.Table]
    schema: pa.Schema

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        return TableStatistics(sum(b.num_rows for b in self.blocks), True, {c: ColumnStatistics() for c in columns})

    def splits(self) -> tuple[Split, ...]:
        return tuple(Split(i, b.num_rows, b.nbytes) for i, b in enumerate(self.blocks))

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        blocks = self.blocks if splits is None else [self.blocks[s.part] for s in splits]
        needed = list(columns or self.schema.names[:1])  # a frame without columns has no rows
        frames = [to_frame(b.select(needed)) for b in blocks]
        empty = pl.DataFrame(self.schema.empty_table())
        frame = pl.concat(frames, how="vertical_relaxed") if frames else empty
        return MemoryTable(self.name, frame, self.schema).scan(columns, None)


Rows: TypeAlias = "pa.Table | SqlrayError | None"
"""A partition as a task gives it back: None without rows. An error is what a task came to that ran again for rows that
were lost; the first time its report tells."""


def run(payload: bytes, tables: int, *blocks: pa.Table) -> Iterator[TaskReport | Rows | list[Rows]]:
    """Run a task: first its report, then the rows of every output partition, or of every bundle of them.

    Args:
        payload: the task.
        tables: how many of ``blocks`` are those of tables in memory; they come first.
    """
    task: ClusterTask = _Unpickler(io.BytesIO(payload), blocks[:tables]).load()
    outputs = len(task.bundles) or task.partitions
    started = time.perf_counter()
    store = BlockStore.within(task.memory_limit, task.temp_directory)
    try:
        sink = PartitionSink(store, task.output, task.partitions)

        def take(rows: Computed) -> bool:
            sink.take(rows)
            return False

        context = TaskContext(store, task.memory_limit, Cancellation(), task.options)
        try:
            fallbacks = run_task(task.plan, _inputs(task, blocks[tables:]), take, context)
            partitions = sink.finish()
        except SqlrayError as error:
            yield TaskReport(error=error)
            yield from [error] * outputs
            return
        yield TaskReport(
            tuple(sum(b.rows for b in p) for p in partitions),
            tuple(sum(b.bytes for b in p) for p in partitions),
            time.perf_counter() - started,
            store.spilled_bytes,
            tuple(fallbacks),
            context.times,
        )
        rows = (_handed_over(p, task, store) for p in partitions)
        if task.bundles:
            yield from ([next(rows) for _ in range(size)] for size in task.bundles)
        else:
            yield from rows
    finally:
        store.close()


def given(rows: Any) -> Any:
    """What a task gave back.

    Raises:
        SqlrayError: the task's, if it failed.
    """
    if isinstance(rows, SqlrayError):
        raise rows
    return rows


def merge(*bundles: list[Rows]) -> Iterator[Rows]:
    """The partitions of a bundle, each from all tasks that have rows of it; and nothing at the end, so that there are
    two objects at least: of a single one Ray would take the iterator for the object."""
    for parts in zip(*map(given, bundles), strict=True):
        found = [p for p in parts if p is not None]
        yield pa.concat_tables(found) if found else None
    yield None


def distinct(column: str, *blocks: pa.Table) -> Iterator[Rows]:
    """The values of a column, without NULL, each once; and nothing (see ``merge``)."""
    frames = [to_frame(given(b)).lazy().select(pl.col(column)) for b in blocks]
    yield to_block(pl.concat(frames).drop_nulls().unique().collect())
    yield None


def sample(keys: tuple[SortKey, ...], step: int, *blocks: pa.Table) -> Iterator[Rows]:
    """The sort keys of every so many rows; and nothing (see ``merge``)."""
    frames = [to_frame(given(b)).lazy() for b in blocks]
    yield to_block(every(pl.concat(frames), keys, step).collect())
    yield None


def known_rates() -> Iterator[Rates | None]:
    """What is known of a GPU of this node, which the task has not claimed, so that it need not wait for one; and
    nothing (see ``merge``)."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":  # what Ray's older versions hide from who claims none
        del os.environ["CUDA_VISIBLE_DEVICES"]
    yield None if devices.gpu_absence() else device_rates.known_rates()
    yield None


def measured_rates() -> Iterator[Rates | None]:
    """What the GPU that the task has and the cores beside it do in a second; and nothing (see ``merge``)."""
    yield None if devices.gpu_absence() else device_rates.measured_rates()
    yield None


def _handed_over(partition: list[StoredBlock], task: ClusterTask, store: BlockStore) -> Rows:
    if not partition:
        return None
    if task.schema is None:
        rows = table(partition)
    else:
        rows = to_arrow(lazy(partition, task.plan.schema).collect(), task.schema)
    store.free(partition)
    return rows


def _inputs(task: ClusterTask, blocks: Sequence[pa.Table]) -> dict[int, TaskInput]:
    found: dict[int, TaskInput] = {}
    at = 0
    for source in task.inputs:
        tables = map(given, blocks[at : at + source.blocks])
        held = [StoredBlock(t.num_rows, t.nbytes, to_frame(t)) for t in tables]
        found[source.stage] = TaskInput(held, source.partitioning)
        at += source.blocks
    return found
