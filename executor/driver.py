"""Runs a stage graph: stage after stage on a runner, until the last one's rows stream to the reader."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from executor.blocks import BlockStore
from executor.cancellation import Cancellation
from executor.kernels import KernelOptions
from executor.metrics import Progress, ProgressListener, QueryMetrics, StageMetrics
from executor.runners.local import LocalRunner, StageOutput
from executor.runtime_filter import apply_filters
from planner.errors import CancelledError
from planner.stages import Stage, StageGraph


@dataclass(slots=True)
class Execution:
    """One run of a query in this process.

    Args:
        memory_limit: bytes for operators and blocks together; blocks get a quarter of it before they spill.
        temp_directory: where blocks are spilled to.
    """

    graph: StageGraph
    memory_limit: int
    temp_directory: str
    cancellation: Cancellation = field(default_factory=Cancellation)
    listener: ProgressListener | None = None
    options: KernelOptions = field(default_factory=KernelOptions)
    metrics: QueryMetrics = field(default_factory=QueryMetrics)

    def batches(self) -> Iterator[pl.DataFrame]:
        """The result's rows, with columns named ``name#id``. Blocks and files are gone when the iterator ends, whether
        it ran to its end, failed, was cancelled or was dropped.

        Raises:
            ExecutionError: the query failed.
            CancelledError: it was cancelled through ``cancellation``.
        """
        started = time.perf_counter()
        store = BlockStore(max(self.memory_limit // 4, 1), self.temp_directory)
        frames = self._run(store)
        try:
            while (frame := self._next(frames)) is not None:
                yield frame
        except KeyboardInterrupt:
            if self.cancellation.requested:
                raise CancelledError("the query was cancelled") from None
            self.cancellation.cancel()
            raise
        finally:
            frames.close()
            self.metrics.spilled_bytes = store.spilled_bytes
            self.metrics.seconds = time.perf_counter() - started
            store.close()

    def _next(self, frames: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
        """The next rows; None after the last."""
        self.cancellation.check()
        with self.cancellation:
            return next(frames, None)

    def _run(self, store: BlockStore) -> Generator[pl.DataFrame, None, None]:
        runner = LocalRunner(store, self.memory_limit, self.cancellation, self.options)
        outputs: dict[int, StageOutput] = {}
        rows = 0
        for stage in self.graph.stages[:-1]:
            started = time.perf_counter()
            self._tell(stage, 0, 0)
            ready = apply_filters(stage, self.graph.filters, outputs)
            output = runner.run_stage(ready, outputs, partial(self._tell, stage))
            outputs[stage.id] = output
            self._measure(stage, output.rows, output.bytes, started)
            self._free(stage, outputs, store)
        last = self.graph.result
        started = time.perf_counter()
        self._tell(last, 0, 0)
        size = 0
        for frame in runner.stream_stage(apply_filters(last, self.graph.filters, outputs), outputs):
            rows += frame.height
            size += int(frame.estimated_size())
            self._tell(last, 0, rows)
            yield frame
        self._measure(last, rows, size, started)
        self._tell(last, last.tasks, rows)

    def _free(self, finished: Stage, outputs: dict[int, StageOutput], store: BlockStore) -> None:
        """Free the inputs that ``finished`` was the last to read."""
        for source in finished.inputs:
            if all(reader in outputs for reader in self.graph.readers(source)):
                store.free(b for partition in outputs[source].partitions for b in partition)
                outputs[source].partitions = []

    def _tell(self, stage: Stage, tasks_done: int, rows: int) -> None:
        if self.listener is not None:
            total = len(self.graph.stages)
            self.listener(Progress(stage.id, total, stage.name, tasks_done, stage.tasks, rows))

    def _measure(self, stage: Stage, rows: int, size: int, started: float) -> None:
        self.metrics.stages[stage.id] = StageMetrics(stage.tasks, rows, size, time.perf_counter() - started)
