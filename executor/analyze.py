"""EXPLAIN ANALYZE: a query run operator by operator, so that each one's rows, bytes and seconds can be told apart.

Normally a stage's operators run as one pipeline in which nothing can be told apart. Here every operator is run by
itself over the blocks of its inputs, in the same order and over the same partitions. Blocks spill as always.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from executor.blocks import Computed, StoredBlock, lazy
from executor.kernels import KernelOptions
from executor.metrics import Fallback, OperatorMetrics
from executor.runners.base import input_blocks
from executor.runners.local import Inputs, LocalRunner, stored
from executor.runners.task import TaskContext, run_fragment
from planner.physical import InputExec, PhysicalPlan
from planner.stages import Stage, StageGraph, task_plan
from planner.tree import walk


@dataclass(slots=True)
class AnalyzingRunner(LocalRunner):
    """A local runner that measures every operator: by stage, and place in a walk over the stage's plan."""

    operators: dict[tuple[int, int], OperatorMetrics] = field(default_factory=dict)

    def measured(self, graph: StageGraph) -> dict[int, OperatorMetrics]:
        """What was measured, by the identity of the graph's nodes."""
        nodes = {(s.id, i): n for s in graph.stages for i, n in enumerate(walk(s.plan))}
        return {id(nodes[at]): measured for at, measured in self.operators.items()}

    def _run_task(
        self, stage: Stage, inputs: Inputs, task: int, take: Callable[[Computed], bool], keep: bool = False
    ) -> None:
        plan = task_plan(stage, task)
        for block in _Task(self, stage, inputs, task, plan).run(plan):
            if take(lazy([block], plan.schema).collect()):
                return


class _Task:
    """One task, operator by operator."""

    def __init__(self, runner: AnalyzingRunner, stage: Stage, inputs: Inputs, task: int, plan: PhysicalPlan) -> None:
        self._runner = runner
        self._stage = stage
        self._inputs = inputs
        self._task = task
        options = KernelOptions(device=stage.device)
        self._context = TaskContext(
            runner.store, runner.memory_limit, runner.cancellation, options, True, runner.device_times
        )
        self._place = {id(n): i for i, n in enumerate(walk(plan))}
        self._done: dict[int, list[StoredBlock]] = {}

    def run(self, node: PhysicalPlan) -> list[StoredBlock]:
        """The rows of ``node``."""
        if id(node) in self._done:
            return self._done[id(node)]
        if isinstance(node, InputExec):
            return stored(input_blocks(self._stage, self._task, node, self._inputs[node.stage]))
        sources: dict[int, pl.LazyFrame] = {}
        leaves: list[PhysicalPlan] = []
        for i, child in enumerate(node.children()):
            sources[-1 - i] = lazy(self.run(child), child.schema)
            leaves.append(InputExec(-1 - i, child.schema))
        alone = node.with_children(leaves) if leaves else node
        blocks: list[StoredBlock] = []

        def take(rows: Computed) -> bool:
            blocks.append(self._runner.store.put(rows))
            return self._runner.cancellation.requested

        started = time.perf_counter()
        reason = run_fragment(alone, sources, take, self._context)
        if reason is not None:
            self._runner.fallbacks.append(Fallback(self._stage.id, reason))
        self._runner.cancellation.check()
        key = (self._stage.id, self._place[id(node)])
        measured = self._runner.operators.setdefault(key, OperatorMetrics())
        measured.seconds += time.perf_counter() - started
        measured.rows += sum(b.rows for b in blocks)
        measured.bytes += sum(b.bytes for b in blocks)
        self._done[id(node)] = blocks
        return blocks
