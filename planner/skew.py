"""Several tasks for a partition that is much larger than the others.

A join of rows of which many have the same key leaves most of the work to the task of that key's partition, whatever
the number of partitions. Once the stage that made the rows has finished, the blocks of such a partition are divided
among tasks, each of which reads the whole partition of the other side. That is right where each row of the divided side
contributes to the result by itself: where the other side could have been broadcast as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planner.physical import (
    AggregateExec,
    AggregateMode,
    FilterExec,
    HashJoinExec,
    InputExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ProjectExec,
    ScanExec,
)
from planner.placement import LEGAL
from planner.stages import Share, Stage
from planner.started import StartedStage
from planner.tree import walk


def divide_skewed(stage: Stage, started: Mapping[int, StartedStage], least: int) -> Stage:
    """``stage`` with more tasks where one of its inputs is skewed; nothing must rely on equal keys being in one task.

    Args:
        least: bytes of a partition that are worth dividing.
    """
    leaves = [n for n in walk(stage.plan) if isinstance(n, InputExec) and n.partitioned and n.stage in started]
    if not leaves or any(isinstance(n, ScanExec) and n.tasks > 1 for n in walk(stage.plan)):
        return stage
    found: tuple[int, InputExec, dict[int, int]] | None = None
    for leaf in leaves:
        worth = started[leaf.stage].skewed(leaf.tasks, least)
        tasks = sum(worth.values())
        if worth and (found is None or tasks > found[0]) and _may_divide(stage.plan, leaf):
            found = tasks, leaf, worth
    if found is None:
        return stage
    _, leaf, worth = found
    shares = tuple(
        Share(i, part, worth.get(i, 1)) for i in range(leaf.tasks) for part in range(worth.get(i, 1))
    )
    return replace(stage, tasks=len(shares), shares=shares, divided=leaf.stage)


def _may_divide(node: PhysicalPlan, leaf: InputExec) -> bool:
    """Whether the rows of ``leaf`` may be divided further among tasks, with all else as it is in each of them."""
    match node:
        case InputExec():
            return node is leaf
        case FilterExec(input) | ProjectExec(input):
            return _may_divide(input, leaf)
        case AggregateExec(input, mode=AggregateMode.PARTIAL):
            return _may_divide(input, leaf)
        case HashJoinExec(kind, left, right) | NestedLoopJoinExec(kind, left, right):
            in_left = any(n is leaf for n in walk(left))
            in_right = any(n is leaf for n in walk(right))
            if in_left and in_right:
                return False
            if in_left:
                return LEGAL[kind].broadcast_right and _may_divide(left, leaf)
            return LEGAL[kind].broadcast_left and _may_divide(right, leaf)
        case _:
            return False
