"""Draw Projects that stand on each other together, and drop those that do nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from planner.expr import Column, ColumnId, Expr, Literal, is_volatile, substitute
from planner.logical import LogicalPlan, Project
from planner.optimizer.construct import is_identity, item_expressions
from planner.optimizer.context import OptimizerContext
from planner.tree import transform_up


def merge_projects(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Replace a Project over a Project by one, and remove a Project that only repeats its input.

    Safe because each column is put in the place of the expression that computes it. Not done where that would
    compute something twice: an expression that the upper Project reads more than once, or reads at all if it
    is volatile.

        Project [b#3 * 2 as c#4]
          Project [a#1 + 1 as b#3]
    →   Project [(a#1 + 1) * 2 as c#4]
    """
    return transform_up(plan, _visit)


def _visit(node: LogicalPlan) -> LogicalPlan:
    if not isinstance(node, Project):
        return node
    if isinstance(node.input, Project) and _may_merge(node, node.input):
        computed = item_expressions(node.input.items)
        items = tuple(replace(i, expr=substitute(i.expr, computed)) for i in node.items)
        node = Project(node.input.input, items)
    return node.input if is_identity(node) else node


def _may_merge(upper: Project, lower: Project) -> bool:
    costly = {i.field.id: i.expr for i in lower.items if not isinstance(i.expr, (Column, Literal))}
    if not costly:
        return True
    uses: Counter[ColumnId] = Counter()
    for item in upper.items:
        _count(item.expr, uses)
    return all(uses[id] == 0 or (uses[id] == 1 and not is_volatile(e)) for id, e in costly.items())


def _count(expr: Expr, uses: Counter[ColumnId]) -> None:
    if isinstance(expr, Column):
        uses[expr.id] += 1
    for child in expr.children():
        _count(child, uses)
