"""One pass over the joins of a plan, each with what is needed of it."""

from __future__ import annotations

from collections.abc import Callable

from planner.expr import ColumnId
from planner.logical import Join, LogicalPlan
from planner.optimizer.column_needs import Needs
from planner.optimizer.context import OptimizerContext
from planner.tree import replace_children, walk

JoinRule = Callable[[Join, set[ColumnId], bool], LogicalPlan]


def rewrite_joins(
    plan: LogicalPlan, context: OptimizerContext, rule: JoinRule, applies: Callable[[Join], bool] = lambda join: True
) -> LogicalPlan:
    """Apply ``rule(join, needed columns, whether duplicates matter)`` to every join, inputs first.

    The needs are those of ``plan``: a rule must keep the schema of its join, and may only need less of its
    inputs. Where ``applies`` holds of no join, by its kind and condition, the rule has nothing to do.
    """
    if not any(isinstance(n, Join) and applies(n) for n in walk(plan)):
        return plan
    return _visit(plan, context.needs(plan), rule, {})


def _visit(
    node: LogicalPlan, needs: Needs, rule: JoinRule, memo: dict[int, tuple[LogicalPlan, LogicalPlan]]
) -> LogicalPlan:
    hit = memo.get(id(node))
    if hit is None:
        result = replace_children(node, [_visit(c, needs, rule, memo) for c in node.children()])
        if isinstance(result, Join):
            result = rule(result, needs.of(node), needs.duplicates_matter[id(node)])
        hit = memo[id(node)] = (node, result)
    return hit[1]
