"""One task: a fragment run over its blocks, its rows divided over the stage's output partitions.

A task is a pure function of its fragment and its blocks, wherever it runs: here, or in a worker of a cluster. Its rows
are taken batch by batch and divided as they come, so that it needs no more memory than its operators hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa

from executor import device_frames, devices, residents
from executor.blocks import BlockStore, Computed, Held, StoredBlock, height, held_bytes, join, lazy, to_block
from executor.cancellation import Cancellation
from executor.compiled import compiled
from executor.device_frames import DeviceFrame, DeviceTimes
from executor.device_types import differs, from_device
from executor.expressions import key_expressions
from executor.kernels import KernelOptions, run_on_device, stream
from executor.partition import hash_partition, row_partition
from executor.ranges import range_partition
from planner.errors import PlanError
from planner.physical import (
    Arbitrary,
    Broadcast,
    HashPartitioned,
    InputExec,
    Partitioning,
    PhysicalPlan,
    RangePartitioned,
    ScanExec,
    Single,
    ValuesExec,
)
from planner.record import record
from planner.tree import walk

_PIECE = 32 << 20  # bytes that a partition collects before they become a block
_STEP = 4 << 20  # bytes at least that a thread divides at a time: calls cost more than rows where batches are small …
_SHARE = 128 << 10  # … and so do shreds, where partitions are many: bytes for each of them


@record
class TaskInput:
    """The blocks of a stage that a task reads: all of them, or one partition (and how that was made)."""

    blocks: Sequence[StoredBlock]
    partitioning: Partitioning | None = None


@dataclass(slots=True)
class TaskContext:
    """Where a task runs.

    Args:
        keep: whether rows that a GPU computed may stay there.
        times: what that GPU takes is added here.
    """

    store: BlockStore
    memory_limit: int
    cancellation: Cancellation
    options: KernelOptions
    keep: bool = False
    times: DeviceTimes = field(default_factory=DeviceTimes)


def run_task(
    plan: PhysicalPlan, inputs: Mapping[int, TaskInput], take: Callable[[Computed], bool], context: TaskContext
) -> list[str]:
    """Run a fragment and hand its rows to ``take``, which returns True to stop.

    Args:
        inputs: what the fragment's ``InputExec``s read, by stage.

    Returns:
        Why it ran on the CPU, in whole or in part, where it should have run on the GPU.

    Raises:
        ExecutionError: it failed.
        CancelledError: the query was cancelled.
    """
    stopped = False

    def offer(rows: Computed) -> bool:
        nonlocal stopped
        stopped = take(rows)
        return stopped

    fallbacks: list[str] = []
    for sources in _pieces(plan, inputs, context):
        reason = run_fragment(plan, sources, offer, context)
        if reason is not None:
            fallbacks.append(reason)
        context.cancellation.check()
        if stopped:
            break
    return fallbacks


def run_fragment(
    plan: PhysicalPlan,
    sources: Mapping[int, pl.LazyFrame],
    take: Callable[[Computed], bool],
    context: TaskContext,
) -> str | None:
    """Run a fragment's kernels on its device, or on the CPU where the GPU cannot; returns why it cannot.

    Raises:
        ExecutionError: it failed on the CPU.
    """
    reason = None
    options = context.options
    if options.device == "gpu":
        reason = devices.gpu_absence()
        if reason is None:
            try:
                rows = _run_on_gpu(plan, sources, context)
            except Exception as error:  # of any kind: the CPU gives the answer, or the error that is the query's own
                reason = devices.failure(error)
            else:
                take(rows)  # complete, so that nothing is handed over before it is certain
                return None
        options = replace(options, device="cpu")
    stream(compiled(plan, sources, options).lazy, take, options.batch_rows)
    return reason


def _run_on_gpu(plan: PhysicalPlan, sources: Mapping[int, pl.LazyFrame], context: TaskContext) -> Computed:
    """A fragment's rows; without the copies of tables that the GPU keeps, if it has no memory for both."""
    fragment = compiled(plan, sources, context.options)
    rows = None
    try:
        rows = run_on_device(fragment, context.times)
    except MemoryError:
        if not residents.clear():
            raise
    if rows is None:  # not before the error is gone, whose frames hold what it had computed
        rows = run_on_device(fragment, context.times)
    if context.keep and not any(map(differs, plan.schema)):
        return rows
    return from_device(device_frames.download(rows, context.times), plan.schema)


def _pieces(
    plan: PhysicalPlan, inputs: Mapping[int, TaskInput], context: TaskContext
) -> Iterator[dict[int, pl.LazyFrame]]:
    """The inputs of the runs of a task: of one, or of several where its partition turned out too large for memory
    (skew, or a wrong estimate) and can be divided further by the same keys."""
    leaves = {n.stage: n for n in walk(plan) if isinstance(n, InputExec)}
    shared = {s: lazy(inputs[s].blocks, n.schema) for s, n in leaves.items() if not n.partitioned}
    own = {s: n for s, n in leaves.items() if n.partitioned}
    size = sum(b.bytes for s in own for b in inputs[s].blocks)
    count = -(-size * 3 // context.memory_limit)  # an operator holds about three times its input
    if count <= 1 or not _divisible(plan, inputs):
        yield {**shared, **{s: lazy(inputs[s].blocks, n.schema) for s, n in own.items()}}
        return
    divided = {s: _divide(n, inputs[s], count, context) for s, n in own.items()}
    for i in range(count):
        yield {**shared, **{s: lazy(parts[i], own[s].schema) for s, parts in divided.items()}}
        for parts in divided.values():
            context.store.free(parts[i])


def _divide(leaf: InputExec, source: TaskInput, count: int, context: TaskContext) -> list[list[StoredBlock]]:
    assert isinstance(source.partitioning, HashPartitioned)
    keys = key_expressions(source.partitioning.keys)
    parts: list[list[StoredBlock]] = [[] for _ in range(count)]
    for block in source.blocks:
        frame = lazy([block], leaf.schema).collect()
        for part, rows in zip(parts, hash_partition(frame, keys, count, seed=1), strict=True):
            if rows is not None:
                part.append(context.store.put(rows))
        context.cancellation.check()
    return parts


def _divisible(plan: PhysicalPlan, inputs: Mapping[int, TaskInput]) -> bool:
    """Whether a task may run in pieces: what it would be if its inputs had been hashed into more partitions.

    The plan is right for any number of hash partitions: whatever needs all rows in one place reads a gathered input
    and so has no partitioned one. What every piece would read anew is the task's share of a scan, or constant rows;
    and an input that is spread without keys, or stands as an earlier stage left it, has no keys to divide by.
    """
    for leaf in walk(plan):
        match leaf:
            case ScanExec() | ValuesExec():
                return False
            case InputExec(stage, partitioned=True):
                if not isinstance(inputs[stage].partitioning, HashPartitioned):
                    return False
            case _:
                pass
    return True


def undivided(output: Partitioning | None) -> bool:
    """Whether a task's rows stay together, so that those that a GPU computed may stay there."""
    return not isinstance(output, (HashPartitioned, RangePartitioned, Arbitrary))


class PartitionSink:
    """Divides batches of rows over ``count`` output partitions and keeps them as blocks.

    Which rows a partition gets depends on the rows alone, not on the order in which they come: a task that runs again
    for one lost partition gives that partition again. Without a partitioning the rows stay together, in the partition
    that ``take`` is told.

    Open pieces and batches that wait to be divided take less than half of the store's memory.
    """

    def __init__(self, store: BlockStore, output: Partitioning | None, count: int) -> None:
        self.rows = 0
        self.bytes = 0
        self._store = store
        self._output = output
        self._waiting: list[pl.DataFrame] = []
        self._waiting_bytes = 0
        self._least_step = max(count * _SHARE, _STEP)
        self._most_waiting = min(self._least_step * pl.thread_pool_size(), store.limit // 8)
        self._open: list[list[Held]] = [[] for _ in range(count)]
        self._open_bytes = [0] * count
        self._blocks: list[list[StoredBlock]] = [[] for _ in range(count)]
        self._keys = key_expressions(output.keys) if isinstance(output, HashPartitioned) else []

    def take(self, rows: Computed, partition: int = 0) -> None:
        if height(rows) == 0:
            return
        self.rows += height(rows)
        self.bytes += held_bytes(rows)
        match self._output:
            case HashPartitioned() | RangePartitioned() | Arbitrary():
                assert isinstance(rows, pl.DataFrame)
                self._waiting.append(rows)
                self._waiting_bytes += held_bytes(rows)
                if self._waiting_bytes >= self._most_waiting:
                    self._divide()
            case Single() | Broadcast():
                self._add(0, rows)
            case None:
                self._add(partition, rows)
            case _:
                raise PlanError(f"unknown partitioning {self._output!r}")
        if sum(self._open_bytes) > self._store.limit // 4:
            for i in range(len(self._blocks)):
                self._close(i)

    def finish(self) -> list[list[StoredBlock]]:
        """The blocks of every partition."""
        self._divide()
        for i in range(len(self._blocks)):
            self._close(i)
        self.bytes = sum(b.bytes for p in self._blocks for b in p)
        return self._blocks

    def _divide(self) -> None:
        """Divide the batches that wait, in steps on as many threads as the kernels have: each holds its rows twice."""
        if not self._waiting:
            return
        frame, size = pl.concat(self._waiting), self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        threads = pl.thread_pool_size()
        step = max(min(size // threads, _PIECE), self._least_step)
        steps = list(frame.iter_slices(-(-frame.height * step // max(size, step))))
        with ThreadPoolExecutor(threads) as pool:
            for at in range(0, len(steps), threads):
                for blocks in pool.map(self._blocks_of, steps[at : at + threads]):
                    for i, block in enumerate(blocks):
                        if block is not None:
                            self._add(i, block)

    def _blocks_of(self, frame: pl.DataFrame) -> list[pa.Table | None]:
        return [None if rows is None else to_block(rows) for rows in self._parts(frame)]

    def _parts(self, frame: pl.DataFrame) -> list[pl.DataFrame | None]:
        count = len(self._blocks)
        match self._output:
            case HashPartitioned():
                return hash_partition(frame, self._keys, count)
            case RangePartitioned(keys, _, limits):
                assert isinstance(limits, pl.DataFrame)
                return range_partition(frame, keys, limits, count)
            case _:
                return row_partition(frame, count)

    def _add(self, i: int, rows: Held | DeviceFrame) -> None:
        if isinstance(rows, DeviceFrame):
            self._close(i)
            self._blocks[i].append(self._store.put(rows))
            return
        self._open[i].append(rows)
        self._open_bytes[i] += held_bytes(rows)
        if self._open_bytes[i] >= _PIECE:
            self._close(i)

    def _close(self, i: int) -> None:
        if self._open[i]:
            self._blocks[i].append(self._store.put(join(self._open[i])))
            self._open[i], self._open_bytes[i] = [], 0
