"""Which stages had better wait for others, because what these turn out to be decides how they run.

A filter needs the build side's keys before the scan starts. And a join that shuffles both sides broadcasts one instead
if that turns out small: known in time only if the smaller side runs first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from planner.estimates import Estimates
from planner.physical import HashJoinExec, InputExec, PhysicalPlan
from planner.placement import LEGAL
from planner.stages import ScanFilter, Stage
from planner.tree import walk

_MAY_FIT = 16.0  # times the broadcast limit: estimates that are more wrong than that are rare


def precedence(
    stages: Sequence[Stage], filters: Sequence[ScanFilter], estimates: Estimates, broadcast_limit: int
) -> Mapping[int, tuple[int, ...]]:
    """For each stage those that should finish first, beside its inputs."""
    found: dict[int, dict[int, None]] = {}
    for item in filters:
        found.setdefault(item.target, {})[item.source] = None
    for stage in stages:
        for node in walk(stage.plan):
            if isinstance(node, HashJoinExec):
                for first, second in _pairs(node, estimates, _MAY_FIT * broadcast_limit):
                    found.setdefault(second, {})[first] = None
    return {stage: tuple(first) for stage, first in found.items()}


def _pairs(node: HashJoinExec, estimates: Estimates, limit: float) -> Iterator[tuple[int, int]]:
    left, right = estimates.get(node.left).bytes, estimates.get(node.right).bytes
    legal = LEGAL[node.kind]
    left_first = left is not None and right is not None and left < right
    small, large, size = (node.left, node.right, left) if left_first else (node.right, node.left, right)
    if not (legal.broadcast_left if left_first else legal.broadcast_right) or (size is not None and size > limit):
        return
    for a in _shuffled(small):
        for b in _shuffled(large):
            if a != b:
                yield a, b


def _shuffled(side: PhysicalPlan) -> list[int]:
    return [n.stage for n in walk(side) if isinstance(n, InputExec) and n.partitioned]
