"""Tasks in this process, one after the other: a task is fat, its kernels use every core.

A task's rows are taken batch by batch and divided over the stage's output partitions as they come, so that a stage
needs no more memory than its operators hold. Blocks over the store's limit go to disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from executor.blocks import Block, BlockStore, lazy
from executor.cancellation import Cancellation
from executor.expressions import key_expressions
from executor.kernels import KernelOptions, compile_fragment, stream
from executor.partition import even_partition, hash_partition
from planner.errors import CancelledError, PlanError
from planner.expr import Schema
from planner.physical import (
    Arbitrary,
    Broadcast,
    HashPartitioned,
    InputExec,
    Partitioning,
    PhysicalPlan,
    ScanExec,
    Single,
    ValuesExec,
)
from planner.stages import Stage, task_plan
from planner.tree import walk

_PIECE = 32 << 20  # bytes that a partition collects before they become a block
_QUEUE = 4  # batches that a result may run ahead of its reader


@dataclass(slots=True)
class StageOutput:
    """A finished stage: the blocks of each output partition."""

    schema: Schema
    partitioning: Partitioning | None
    partitions: list[list[Block]]

    @property
    def rows(self) -> int:
        return sum(b.rows for p in self.partitions for b in p)

    @property
    def bytes(self) -> int:
        return sum(b.bytes for p in self.partitions for b in p)


@dataclass(slots=True)
class LocalRunner:
    """Runs the tasks of one query."""

    store: BlockStore
    memory_limit: int
    cancellation: Cancellation
    options: KernelOptions = field(default_factory=KernelOptions)

    def run_stage(
        self, stage: Stage, inputs: Mapping[int, StageOutput], progress: Callable[[int, int], None]
    ) -> StageOutput:
        """Run all tasks of a stage and keep their rows; ``progress(tasks done, rows so far)`` after each batch."""
        sink = StageSink(self.store, stage)
        for task in range(stage.tasks):
            sink.task = task

            def take(frame: pl.DataFrame, done: int = task) -> bool:
                sink.take(frame)
                progress(done, sink.rows)
                return self.cancellation.requested

            for plan, sources in self._pieces(stage, task, inputs):
                stream(compile_fragment(plan, sources, self.options), take)
                self.cancellation.check()
        return sink.finish()

    def stream_stage(self, stage: Stage, inputs: Mapping[int, StageOutput]) -> Iterator[pl.DataFrame]:
        """Run the last stage and hand over its batches as they come, tasks in order."""
        batches: queue.Queue[pl.DataFrame | BaseException | None] = queue.Queue(_QUEUE)
        abandoned = threading.Event()

        def offer(item: pl.DataFrame | BaseException | None) -> bool:
            """Put an item for the reader; True when nobody wants more."""
            while not (abandoned.is_set() or self.cancellation.requested):
                try:
                    batches.put(item, timeout=0.1)
                    return False
                except queue.Full:
                    continue
            return True

        def work() -> None:
            try:
                for task in range(stage.tasks):
                    for plan, sources in self._pieces(stage, task, inputs):
                        stream(compile_fragment(plan, sources, self.options), offer)
                        if abandoned.is_set() or self.cancellation.requested:
                            return
                offer(None)
            except BaseException as error:  # handed over, and raised where the reader waits
                offer(error)

        worker = threading.Thread(target=work, name="sqlray-result", daemon=True)
        worker.start()
        try:
            while True:
                item = self._next(batches, worker)
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            abandoned.set()
            worker.join()

    def _next(
        self, batches: queue.Queue[pl.DataFrame | BaseException | None], worker: threading.Thread
    ) -> pl.DataFrame | BaseException | None:
        while True:
            try:
                return batches.get(timeout=0.2)
            except queue.Empty:
                self.cancellation.check()
                if not worker.is_alive() and batches.empty():
                    raise CancelledError("the query was cancelled") from None

    def _pieces(
        self, stage: Stage, task: int, inputs: Mapping[int, StageOutput]
    ) -> Iterator[tuple[PhysicalPlan, dict[int, pl.LazyFrame]]]:
        """The runs of a task: one, or several where its partition turned out too large for memory (skew, or a wrong
        estimate) and can be divided further by the same keys."""
        plan = task_plan(stage, task)
        leaves = [n for n in walk(plan) if isinstance(n, InputExec)]
        shared = {n.stage: lazy(stage_blocks(inputs[n.stage]), n.schema) for n in leaves if not n.partitioned}
        own = {n.stage: (n, inputs[n.stage].partitions[task]) for n in leaves if n.partitioned}
        size = sum(b.bytes for _, blocks in own.values() for b in blocks)
        count = -(-size * 3 // self.memory_limit)  # an operator holds about three times its input
        if count <= 1 or not _divisible(plan, inputs):
            yield plan, {**shared, **{s: lazy(blocks, n.schema) for s, (n, blocks) in own.items()}}
            return
        divided = {s: self._divide(n, blocks, inputs[s].partitioning, count) for s, (n, blocks) in own.items()}
        for i in range(count):
            yield plan, {**shared, **{s: lazy(parts[i], own[s][0].schema) for s, parts in divided.items()}}
            for parts in divided.values():
                self.store.free(parts[i])

    def _divide(
        self, leaf: InputExec, blocks: list[Block], partitioning: Partitioning | None, count: int
    ) -> list[list[Block]]:
        assert isinstance(partitioning, HashPartitioned)
        keys = key_expressions(partitioning.keys)
        parts: list[list[Block]] = [[] for _ in range(count)]
        for block in blocks:
            frame = lazy([block], leaf.schema).collect()
            for part, rows in zip(parts, hash_partition(frame, keys, count, seed=1), strict=True):
                if rows is not None:
                    part.append(self.store.put(rows))
            self.cancellation.check()
        return parts


def _divisible(plan: PhysicalPlan, inputs: Mapping[int, StageOutput]) -> bool:
    """Whether a task may run in pieces: what it would be if its inputs had been hashed into more partitions.

    The plan is right for any number of hash partitions: whatever needs all rows in one place reads a gathered input
    and so has no partitioned one. What every piece would read anew is the task's share of a scan, or constant rows;
    and an input that is spread without keys, or stands as an earlier stage left it, has no keys to divide by.
    """
    for leaf in walk(plan):
        match leaf:
            case ScanExec() | ValuesExec():
                return False
            case InputExec(stage, _, partitioned=True):
                if not isinstance(inputs[stage].partitioning, HashPartitioned):
                    return False
            case _:
                pass
    return True


def stage_blocks(output: StageOutput, partition: int | None = None) -> list[Block]:
    """The blocks of one partition of a finished stage, or of all."""
    if partition is not None:
        return output.partitions[partition]
    return [b for blocks in output.partitions for b in blocks]


class StageSink:
    """Divides the batches of a stage's tasks over its output partitions."""

    def __init__(self, store: BlockStore, stage: Stage) -> None:
        self.task = 0
        self.rows = 0
        self._store = store
        self._stage = stage
        self._count = _partition_count(stage)
        self._open: list[list[pl.DataFrame]] = [[] for _ in range(self._count)]
        self._open_bytes = [0] * self._count
        self._blocks: list[list[Block]] = [[] for _ in range(self._count)]
        self._turn = 0
        self._keys = key_expressions(stage.output.keys) if isinstance(stage.output, HashPartitioned) else []

    def take(self, frame: pl.DataFrame) -> None:
        if frame.height == 0:
            return
        self.rows += frame.height
        match self._stage.output:
            case HashPartitioned(_, count):
                parts = hash_partition(frame, self._keys, count)
            case Arbitrary(count):
                parts = even_partition(frame, count, self._turn)
                self._turn += 1
            case Single() | Broadcast():
                parts = [frame]
            case None:
                parts = [frame if i == self.task else None for i in range(self._count)]
            case _:
                raise PlanError(f"unknown partitioning {self._stage.output!r}")
        for i, part in enumerate(parts):
            if part is not None:
                self._open[i].append(part)
                self._open_bytes[i] += int(part.estimated_size())
                if self._open_bytes[i] >= _PIECE:
                    self._close(i)
        if sum(self._open_bytes) > self._store.limit // 2:
            for i in range(self._count):
                self._close(i)

    def _close(self, i: int) -> None:
        if self._open[i]:
            frame = pl.concat(self._open[i]) if len(self._open[i]) > 1 else self._open[i][0]
            self._blocks[i].append(self._store.put(frame))
            self._open[i], self._open_bytes[i] = [], 0

    def finish(self) -> StageOutput:
        for i in range(self._count):
            self._close(i)
        return StageOutput(self._stage.plan.schema, self._stage.output, self._blocks)


def _partition_count(stage: Stage) -> int:
    match stage.output:
        case HashPartitioned(_, count) | Arbitrary(count):
            return count
        case None:
            return stage.tasks
        case _:
            return 1
