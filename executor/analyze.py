"""EXPLAIN ANALYZE: a query run operator by operator, so that each one's rows, bytes and seconds can be told apart.

Normally a stage's operators run as one pipeline in which nothing can be told apart. Here every operator is run by
itself over the blocks of its inputs, in the same order and over the same partitions. Blocks spill as always.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import polars as pl

from executor.blocks import StoredBlock, lazy
from executor.metrics import Fallback, OperatorMetrics, QueryMetrics, StageMetrics
from executor.runners.base import StageOutput, partition_count
from executor.runners.local import LocalRunner, stored
from executor.runners.task import PartitionSink, run_fragment
from planner.physical import InputExec, PhysicalPlan
from planner.stages import Stage, StageGraph, task_plan
from planner.tree import walk


def analyze(graph: StageGraph, runner: LocalRunner) -> QueryMetrics:
    """Run a query and measure every operator; its rows are thrown away, and the runner is closed.

    Raises:
        ExecutionError: the query failed.
    """
    metrics = QueryMetrics()
    started = time.perf_counter()
    try:
        outputs: dict[int, StageOutput] = {}
        for stage in graph.stages:
            before = time.perf_counter()
            outputs[stage.id] = _Analyzer(runner, stage, outputs, metrics).run()
            took = time.perf_counter() - before
            metrics.stages[stage.id] = StageMetrics(stage.tasks, outputs[stage.id].rows, outputs[stage.id].bytes, took)
    finally:
        metrics.spilled_bytes = runner.spilled_bytes
        metrics.fallbacks = list(dict.fromkeys(runner.fallbacks))
        metrics.seconds = time.perf_counter() - started
        runner.close()
    return metrics


class _Analyzer:
    """One stage, operator by operator."""

    def __init__(
        self, runner: LocalRunner, stage: Stage, inputs: Mapping[int, StageOutput], metrics: QueryMetrics
    ) -> None:
        self._runner = runner
        self._stage = stage
        self._inputs = inputs
        self._metrics = metrics
        self._task = 0
        self._original: dict[int, PhysicalPlan] = {}
        self._done: dict[int, list[StoredBlock]] = {}

    def run(self) -> StageOutput:
        stage = self._stage
        sink = PartitionSink(self._runner.store, stage.output, partition_count(stage.output, stage.tasks))
        for task in range(self._stage.tasks):
            self._task = task
            plan = task_plan(self._stage, self._task)
            # A task's plan differs from the stage's in the splits of its scans alone.
            self._original = {id(a): b for a, b in zip(walk(plan), walk(self._stage.plan), strict=True)}
            self._done = {}
            for block in self._operator(plan):
                sink.take(lazy([block], plan.schema).collect(), task)
        return StageOutput(stage.plan.schema, stage.output, sink.finish())

    def _operator(self, node: PhysicalPlan) -> list[StoredBlock]:
        if id(node) in self._done:
            return self._done[id(node)]
        if isinstance(node, InputExec):
            return stored(self._inputs[node.stage], self._task if node.partitioned else None)
        sources: dict[int, pl.LazyFrame] = {}
        leaves: list[PhysicalPlan] = []
        for i, child in enumerate(node.children()):
            sources[-1 - i] = lazy(self._operator(child), child.schema)
            leaves.append(InputExec(-1 - i, child.schema))
        alone = node.with_children(leaves) if leaves else node
        blocks: list[StoredBlock] = []

        def take(frame: pl.DataFrame) -> bool:
            blocks.append(self._runner.store.put(frame))
            return self._runner.cancellation.requested

        started = time.perf_counter()
        reason = run_fragment(alone, sources, take, self._runner.options)
        if reason is not None:
            self._runner.fallbacks.append(Fallback(self._stage.id, reason))
        self._runner.cancellation.check()
        measured = self._metrics.operators.setdefault(id(self._original[id(node)]), OperatorMetrics())
        measured.seconds += time.perf_counter() - started
        measured.rows += sum(b.rows for b in blocks)
        measured.bytes += sum(b.bytes for b in blocks)
        self._done[id(node)] = blocks
        return blocks
