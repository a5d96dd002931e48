"""One pass over the joins of a plan, each with what is needed of it."""

from __future__ import annotations

from collections.abc import Callable

from planner.expr import ColumnId
from planner.logical import Join, LogicalPlan
from planner.optimizer.column_needs import column_needs
from planner.tree import replace_children, walk

JoinRule = Callable[[Join, set[ColumnId], bool], LogicalPlan]


def rewrite_joins(plan: LogicalPlan, rule: JoinRule) -> LogicalPlan:
    """Apply ``rule(join, needed columns, whether duplicates matter)`` to every join, inputs first.

    The needs are those of ``plan``: a rule must keep the schema of its join, and may only need less of its
    inputs.
    """
    if not any(isinstance(n, Join) for n in walk(plan)):
        return plan
    needs = column_needs(plan)
    memo: dict[int, tuple[LogicalPlan, LogicalPlan]] = {}

    def visit(node: LogicalPlan) -> LogicalPlan:
        hit = memo.get(id(node))
        if hit is None:
            result = replace_children(node, [visit(c) for c in node.children()])
            if isinstance(result, Join):
                result = rule(result, needs.of(node), needs.duplicates_matter[id(node)])
            hit = memo[id(node)] = (node, result)
        return hit[1]

    return visit(plan)
