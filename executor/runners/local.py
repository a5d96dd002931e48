"""Tasks in this process, one after the other: a task is fat, its kernels use every core.

Blocks over the store's limit go to disk.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from executor.blocks import BlockStore, StoredBlock, lazy
from executor.cancellation import Cancellation
from executor.driver import Execution
from executor.kernels import KernelOptions
from executor.metrics import Fallback, TaskMetrics
from executor.runners.backend import RunSettings
from executor.runners.base import StageOutput, StageProgress, partition_count
from executor.runners.task import PartitionSink, TaskContext, TaskInput, run_task
from planner.cost import ClusterInfo
from planner.errors import CancelledError
from planner.expr import Field, column_name
from planner.physical import InputExec, PhysicalPlan
from planner.stages import Stage, task_plan
from planner.tree import walk

_QUEUE = 4  # batches that a result may run ahead of its reader

Inputs = Mapping[int, StageOutput]


@dataclass(slots=True)
class LocalRunner:
    """Runs the stages of one query: of those submitted the first in the graph's order, so that few blocks wait."""

    store: BlockStore
    memory_limit: int
    cancellation: Cancellation
    options: KernelOptions
    progress: StageProgress = lambda stage, tasks, rows: None
    fallbacks: list[Fallback] = field(default_factory=list)
    _submitted: dict[int, tuple[Stage, Inputs]] = field(default_factory=dict)

    @property
    def spilled_bytes(self) -> int:
        return self.store.spilled_bytes

    @property
    def context(self) -> TaskContext:
        return TaskContext(self.store, self.memory_limit, self.cancellation, self.options)

    def tasks(self, stage: Stage) -> tuple[TaskMetrics, ...]:
        return ()

    def submit(self, stage: Stage, inputs: Inputs) -> None:
        self._submitted[stage.id] = (stage, inputs)

    def wait(self) -> tuple[Stage, StageOutput]:
        stage, inputs = self._submitted.pop(min(self._submitted))
        sink = PartitionSink(self.store, stage.output, partition_count(stage.output, stage.tasks))
        for task in range(stage.tasks):

            def take(frame: pl.DataFrame, done: int = task) -> bool:
                sink.take(frame, done)
                self.progress(stage, done, sink.rows)
                return self.cancellation.requested

            self._run_task(stage, inputs, task, take)
        return stage, StageOutput(stage.plan.schema, stage.output, sink.finish())

    def stream(self, stage: Stage, inputs: Inputs) -> Iterator[pl.DataFrame]:
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
                    self._run_task(stage, inputs, task, offer)
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

    def _run_task(self, stage: Stage, inputs: Inputs, task: int, take: Callable[[pl.DataFrame], bool]) -> None:
        plan = task_plan(stage, task)
        reasons = run_task(plan, task_inputs(plan, inputs, task), take, self.context)
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
        values = lazy(stored(output), output.schema).select(pl.col(name).drop_nulls().unique())
        return values.collect(engine="streaming").to_series()

    def free(self, output: StageOutput) -> None:
        self.store.free(stored(output))

    def close(self) -> None:
        self._submitted.clear()
        self.store.close()


def stored(output: StageOutput, partition: int | None = None) -> list[StoredBlock]:
    """The blocks of a stage that ran in this process."""
    return [b for b in output.blocks(partition) if isinstance(b, StoredBlock)]


def task_inputs(plan: PhysicalPlan, inputs: Inputs, task: int) -> dict[int, TaskInput]:
    """What task ``task``'s fragment reads of the stages that ran in this process."""
    return {
        n.stage: TaskInput(
            stored(inputs[n.stage], task if n.partitioned else None), inputs[n.stage].partitioning
        )
        for n in walk(plan)
        if isinstance(n, InputExec)
    }


class LocalBackend:
    """Queries run in this process: nothing has to be started."""

    def cluster(self, memory_limit: int) -> ClusterInfo:
        return ClusterInfo(1, os.cpu_count() or 1, memory_limit)

    def runner(self, settings: RunSettings, cancellation: Cancellation, progress: StageProgress) -> LocalRunner:
        store = BlockStore.within(settings.memory_limit, settings.temp_directory)
        return LocalRunner(store, settings.memory_limit, cancellation, settings.kernels, progress)

    def dataset(self, execution: Execution, schema: pa.Schema) -> None:
        return None

    def close(self) -> None:
        pass
