"""Runs a planned query: every stage when its inputs have finished, until the last one's rows stream to the reader.

Whenever a stage has finished, what has not started is planned again, with the sizes that are known now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from executor.cancellation import Cancellation
from executor.metrics import Fallback, QueryMetrics, StageMetrics
from executor.progress import QueryProgress
from executor.ranges import find_limits
from executor.runners.base import LostWithGpu, Runner, StageOutput, StageProgress
from executor.runtime_filter import apply_filters
from executor.sources.held_files import note_reads
from planner.errors import CancelledError, ExecutionError
from planner.physical_planner import PhysicalQuery, on_cpu, plan_rest
from planner.stages import Stage, StageGraph
from planner.started import StageSizes

MakeRunner = Callable[[Cancellation, StageProgress], Runner]


@dataclass(slots=True)
class Execution:
    """One run of a query.

    Args:
        query: how it is planned; afterwards, how it ran.
        make_runner: gives the runner whose resources the query holds until it ends.
    """

    query: PhysicalQuery
    make_runner: MakeRunner
    cancellation: Cancellation = field(default_factory=Cancellation)
    progress: QueryProgress = field(default_factory=QueryProgress)
    metrics: QueryMetrics = field(default_factory=QueryMetrics)
    _started: dict[int, float] = field(default_factory=dict)
    _lost: list[Fallback] = field(default_factory=list)

    def batches(self) -> Iterator[pl.DataFrame]:
        """The result's rows, with columns named ``name#id``. Blocks and files are gone when the iterator ends, whether
        it ran to its end, failed, was cancelled or was dropped.

        Raises:
            ExecutionError: the query failed.
            CancelledError: it was cancelled through ``cancellation``.
        """
        started = time.perf_counter()
        runner = self._begin()
        frames = self._run(runner)
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
            self.metrics.spilled_bytes = runner.spilled_bytes
            self.metrics.fallbacks = list(dict.fromkeys((*self._lost, *runner.fallbacks)))
            self.metrics.device = runner.device_times
            self.metrics.seconds = time.perf_counter() - started
            runner.close()

    def output(self, finish: Callable[[Runner, Stage, dict[int, StageOutput]], None]) -> StageOutput:
        """Run the query and leave its rows where they were computed.

        Args:
            finish: submits the last stage, given the stages that it reads.

        Raises:
            ExecutionError: the query failed.
            CancelledError: it was cancelled through ``cancellation``.
        """
        runner = self._begin()
        planned = self.query
        try:
            while True:
                try:
                    return self._finished_by(finish, runner)
                except LostWithGpu as lost:
                    self._begin_again(planned, runner, lost)
        finally:
            runner.close()

    def _begin(self) -> Runner:
        """What the query runs on; the tables that it reads know of it."""
        note_reads(s.plan for s in self.graph.stages)
        return self.make_runner(self.cancellation, self.progress.tell)

    def _finished_by(
        self, finish: Callable[[Runner, Stage, dict[int, StageOutput]], None], runner: Runner
    ) -> StageOutput:
        outputs = self._run_inputs(runner)
        finish(runner, self.graph.result, outputs)
        while True:
            ended = runner.wait()
            if ended is not None:
                return ended[1]

    @property
    def graph(self) -> StageGraph:
        """The stages, as far as they are known now."""
        return self.query.graph

    def _next(self, frames: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
        """The next rows; None after the last."""
        self.cancellation.check()
        with self.cancellation:
            return next(frames, None)

    def _run(self, runner: Runner) -> Generator[pl.DataFrame, None, None]:
        planned, given = self.query, False
        while True:
            try:
                for frame in self._rows(runner):
                    given = True
                    yield frame
                return
            except LostWithGpu as lost:
                if given:  # on the CPU the same rows may come in another order
                    raise ExecutionError(
                        f"{lost}, and rows of the result are lost with the last one", hint="run the query again"
                    ) from None
                self._begin_again(planned, runner, lost)

    def _begin_again(self, planned: PhysicalQuery, runner: Runner, lost: LostWithGpu) -> None:
        """Forget what has run, and plan the query for the CPU."""
        runner.close()
        self.progress.forget()
        self.metrics.stages.clear()
        self._started.clear()
        self._lost = [Fallback(s.id, str(lost)) for s in planned.graph.stages if s.device == "gpu"]
        self.query = on_cpu(planned)

    def _rows(self, runner: Runner) -> Iterator[pl.DataFrame]:
        outputs = self._run_inputs(runner)
        last = self.graph.result
        self._start(last)
        rows = size = 0
        for frame in runner.stream(apply_filters(last, self.graph.filters, outputs, runner), outputs):
            rows += frame.height
            size += int(frame.estimated_size())
            yield frame
        self._finish(last, rows, size, runner)

    def _run_inputs(self, runner: Runner) -> dict[int, StageOutput]:
        """Run all stages but the last; those that do not wait for each other may run at the same time."""
        self.progress.plan(self.graph.stages)
        outputs: dict[int, StageOutput] = {}
        sizes: dict[int, StageSizes | None] = {}  # of the stages that have started
        while True:
            while (stage := self._next_stage(sizes, outputs, runner)) is not None:
                sizes[stage.id] = None
                self._start(stage)
                filtered = apply_filters(stage, self.graph.filters, outputs, runner)
                runner.submit(find_limits(filtered, outputs, runner), outputs)
            if len(sizes) == len(outputs):
                return outputs
            ended = runner.wait()
            if ended is None:
                continue
            finished, output = ended
            outputs[finished.id] = output
            sizes[finished.id] = output.sizes
            self._finish(finished, output.rows, output.bytes, runner)
            self.query = plan_rest(self.query, sizes, finished.id)
            self.progress.plan(self.graph.stages)
            self._free(finished, outputs, runner)

    def _next_stage(
        self, started: Mapping[int, object], outputs: Mapping[int, StageOutput], runner: Runner
    ) -> Stage | None:
        """A stage that can start now. One that had better wait for others does, unless nothing runs any more."""
        waiting = (s for s in self.graph.stages[:-1] if s.id not in started and runner.has_room(s.device))
        ready = [s for s in waiting if all(i in outputs for i in s.inputs)]
        first = self.graph.precedence
        for stage in ready:
            if all(s in outputs for s in first.get(stage.id, ())):
                return stage
        return ready[0] if ready and len(started) == len(outputs) else None

    def _free(self, finished: Stage, outputs: dict[int, StageOutput], runner: Runner) -> None:
        """Free the inputs that ``finished`` was the last to read, and its own rows if nothing reads them any more."""
        for source in (*finished.inputs, finished.id):
            if all(reader in outputs for reader in self.graph.readers(source)):
                runner.free(outputs[source])
                outputs[source].partitions = []

    def _start(self, stage: Stage) -> None:
        self._started[stage.id] = time.perf_counter()

    def _finish(self, stage: Stage, rows: int, size: int, runner: Runner) -> None:
        seconds = time.perf_counter() - self._started[stage.id]
        self.metrics.stages[stage.id] = StageMetrics(stage.tasks, rows, size, seconds, runner.tasks(stage))
