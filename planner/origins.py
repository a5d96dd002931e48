"""What the nodes of a plan with exchanges stand for: the way back to the plan in one place.

An operator may have become several: an aggregation in two steps is a partial one, an exchange, a final one and a
projection. An ``Origin`` says which operator the topmost of them stands for, and which nodes give its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.physical import ExchangeExec, InputExec, MaterializeExec, PhysicalPlan
from planner.placement import Placement
from planner.record import record


@record(eq=False)
class Origin:
    """Where a node of a distributed plan comes from.

    Args:
        node: the node (kept, so that its identity stays taken).
        whole: the operator of the plan in one place that outputs the same rows.
        inputs: what gives the rows of ``whole``'s inputs, exchanges included.
        placement: how the rows of ``node`` stand.
    """

    node: PhysicalPlan
    whole: PhysicalPlan
    inputs: tuple[PhysicalPlan, ...]
    placement: Placement


def origin(node: PhysicalPlan, whole: PhysicalPlan, below: Sequence[PhysicalPlan], placement: Placement) -> Origin:
    """The origin of ``node``, which was made of ``whole`` over ``below``."""
    if len(below) != 1:
        return Origin(node, whole, node.children(), placement)
    *_, first = steps(node, below[0])
    return Origin(node, whole, first.children(), placement)


def steps(node: PhysicalPlan, below: PhysicalPlan) -> Iterator[PhysicalPlan]:
    """``node`` and the nodes under it that stand for the same operator, down to the one over ``below`` (or over nodes
    that only move or keep its rows)."""
    while True:
        yield node
        (child,) = node.children()
        if _same_rows(child, below):
            return
        node = child


def _same_rows(node: PhysicalPlan, below: PhysicalPlan) -> bool:
    while node is not below:
        if not isinstance(node, (ExchangeExec, MaterializeExec)):
            return isinstance(node, InputExec)  # the same stage's rows, for everyone
        node = node.input
    return True
