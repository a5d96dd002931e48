"""Tasks in this process, one after the other: a task is fat, its kernels use every core.

Blocks over the store's limit go to disk.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from executor import device_rates, devices
from executor.blocks import BlockStore, Computed, StoredBlock, lazy
from executor.cancellation import Cancellation
from executor.device_frames import DeviceTimes
from executor.devices import GpuAbsence
from executor.driver import Execution
from executor.kernels import KernelOptions
from executor.metrics import Fallback, TaskMetrics
from executor.ranges import every
from executor.runners.backend import RunSettings
from executor.runners.base import Block, StageOutput, StageProgress, input_blocks
from executor.runners.task import PartitionSink, TaskContext, TaskInput, run_task, undivided
from planner.cost import ClusterInfo
from planner.devices import Device, Rates
from planner.errors import CancelledError
from planner.expr import Field, SortKey, column_name
from planner.physical import InputExec
from planner.stages import Stage, partition_count, task_plan
from planner.tree import walk

_QUEUE = 4  # batches that a result may run ahead of its reader

Inputs = Mapping[int, StageOutput]


@dataclass(slots=True)
class LocalRunner:
    """Runs the stages of one query, one at a time."""

    store: BlockStore
    memory_limit: int
    cancellation: Cancellation
    progress: StageProgress = lambda stage, tasks, rows, size: None
    fallbacks: list[Fallback] = field(default_factory=list)
    device_times: DeviceTimes = field(default_factory=DeviceTimes)
    _submitted: list[tuple[Stage, Inputs]] = field(default_factory=list)

    @property
    def spilled_bytes(self) -> int:
        return self.store.spilled_bytes

    def tasks(self, stage: Stage) -> tuple[TaskMetrics, ...]:
        return ()

    def has_room(self, device: Device) -> bool:
        return not self._submitted

    def submit(self, stage: Stage, inputs: Inputs) -> None:
        self._submitted.append((stage, inputs))

    def wait(self) -> tuple[Stage, StageOutput]:
        stage, inputs = self._submitted.pop(0)
        sink = PartitionSink(self.store, stage.output, partition_count(stage.output, stage.tasks))
        self.progress(stage, 0, 0, 0)
        for task in range(stage.tasks):

            def take(rows: Computed, done: int = task) -> bool:
                sink.take(rows, done)
                self.progress(stage, done, sink.rows, sink.bytes)
                return self.cancellation.requested

            self._run_task(stage, inputs, task, take, stage.stays and undivided(stage.output))
            self.progress(stage, task + 1, sink.rows, sink.bytes)
        partitions = sink.finish()
        self.progress(stage, stage.tasks, sink.rows, sink.bytes)
        return stage, StageOutput(stage.plan.schema, stage.output, partitions)

    def stream(self, stage: Stage, inputs: Inputs) -> Iterator[pl.DataFrame]:
        """Run the last stage and hand over its batches as they come, tasks in order."""
        batches: queue.Queue[pl.DataFrame | BaseException | None] = queue.Queue(_QUEUE)
        abandoned = threading.Event()
        rows = size = 0

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
                self.progress(stage, 0, 0, 0)
                for task in range(stage.tasks):

                    def take(batch: Computed, done: int = task) -> bool:
                        nonlocal rows, size
                        assert isinstance(batch, pl.DataFrame)
                        rows += batch.height
                        size += int(batch.estimated_size())
                        self.progress(stage, done, rows, size)
                        return offer(batch)

                    self._run_task(stage, inputs, task, take)
                    if abandoned.is_set() or self.cancellation.requested:
                        return
                    self.progress(stage, task + 1, rows, size)
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

    def _run_task(
        self, stage: Stage, inputs: Inputs, task: int, take: Callable[[Computed], bool], keep: bool = False
    ) -> None:
        """Run a task; ``keep`` lets rows stay on the GPU that computed them."""
        plan = task_plan(stage, task)
        options = KernelOptions(device=stage.device)
        context = TaskContext(self.store, self.memory_limit, self.cancellation, options, keep, self.device_times)
        reasons = run_task(plan, task_inputs(stage, task, inputs), take, context)
        self.fallbacks += [Fallback(stage.id, reason) for reason in reasons]

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

    def distinct(self, output: StageOutput, column: Field) -> pl.Series:
        name = column_name(column)
        values = lazy(stored(output.blocks()), output.schema).select(pl.col(name).drop_nulls().unique())
        return values.collect(engine="streaming").to_series()

    def sample(self, output: StageOutput, keys: Sequence[SortKey], rows: int) -> pl.DataFrame:
        step = max(1, output.rows // rows)
        return every(lazy(stored(output.blocks()), output.schema), keys, step).collect(engine="streaming")

    def free(self, output: StageOutput) -> None:
        self.store.free(stored(output.blocks()))

    def close(self) -> None:
        self._submitted.clear()
        self.store.close()


def stored(blocks: Sequence[Block]) -> list[StoredBlock]:
    """Blocks of a stage that ran in this process."""
    return [b for b in blocks if isinstance(b, StoredBlock)]


def task_inputs(stage: Stage, task: int, inputs: Inputs) -> dict[int, TaskInput]:
    """What task ``task`` of a stage reads of the stages that ran in this process."""
    return {
        n.stage: TaskInput(stored(input_blocks(stage, task, n, inputs[n.stage])), inputs[n.stage].partitioning)
        for n in walk(stage.plan)
        if isinstance(n, InputExec)
    }


def resources(settings: RunSettings) -> tuple[BlockStore, int]:
    """A new store for a query's blocks, and its memory limit."""
    return BlockStore.within(settings.memory_limit, settings.temp_directory), settings.memory_limit


class LocalBackend:
    """Queries run in this process: nothing has to be started."""

    def cluster(self, memory_limit: int) -> ClusterInfo:
        return ClusterInfo(1, os.cpu_count() or 1, memory_limit, gpus=0 if devices.gpu_absence() else 1)

    def gpu_absence(self) -> GpuAbsence | None:
        return devices.absence_here()

    def known_rates(self) -> Rates | None:
        return device_rates.known_rates()

    def measured_rates(self) -> Rates | None:
        return device_rates.measured_rates()

    def runner(self, settings: RunSettings, cancellation: Cancellation, progress: StageProgress) -> LocalRunner:
        return LocalRunner(*resources(settings), cancellation, progress)

    def dataset(self, execution: Execution, schema: pa.Schema) -> None:
        return None

    def close(self) -> None:
        pass
