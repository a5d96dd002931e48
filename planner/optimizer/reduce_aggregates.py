"""Aggregations beneath a join are spared the groups that the join drops."""

from __future__ import annotations

from dataclasses import replace

from planner.expr import Column, Comparison, Expr
from planner.logical import Aggregate, Filter, Join, JoinKind, LogicalPlan, Project
from planner.optimizer.context import OptimizerContext
from planner.optimizer.key_sources import KEEPS_LEFT, semi_join_with_source
from planner.tree import replace_children, transform_up


def reduce_aggregates(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Filter the input of an aggregation by the group keys that the other side of its join can have at all.

    The keys come from the smallest scan that the other side's column stems from, read once more. This is the semi-join
    reduction that "magic sets" (Mumick et al., SIGMOD 1990) give to decorrelated subqueries. Safe because a group whose
    key is no key of the other side matches no row of it: it would be computed and dropped, in every kind of join that
    does not preserve the aggregation's side. Other groups keep all of their rows.

        Join inner on a#1 = b#2
          Scan part [a#1] where brand#5 = 'x'
          Aggregate by [b#2] [avg(q#3) as q#4]
            Scan lineitem [b#2, q#3]
    →   Join inner on a#1 = b#2
          Scan part [a#1] where brand#5 = 'x'
          Aggregate by [b#2] [avg(q#3) as q#4]
            Join semi on b#2 = a#6
              Scan lineitem [b#2, q#3]
              Scan part [a#6] where brand#7 = 'x'
    """

    def visit(node: LogicalPlan) -> LogicalPlan:
        if not isinstance(node, Join) or node.kind not in (JoinKind.INNER, *KEEPS_LEFT):
            return node
        left, right = node.left, _reduced(node.right, node.left, node.condition, context)
        if node.kind is JoinKind.INNER:
            left = _reduced(node.left, node.right, node.condition, context)
        return replace_children(node, [left, right])

    return transform_up(plan, visit)


def _reduced(
    side: LogicalPlan, other: LogicalPlan, condition: tuple[Expr, ...], context: OptimizerContext
) -> LogicalPlan:
    """``side`` with the aggregation at its top reduced by keys of ``other``, or ``side`` itself."""
    for predicate in condition:
        match predicate:
            case Comparison("=", Column() as a, Column() as b):
                ours, theirs = (a, b) if a.id in side.schema else (b, a)
                if ours.id in side.schema and theirs.id in other.schema:
                    changed = _reduce(side, ours, other, theirs, context)
                    if changed is not side:
                        return changed
    return side


def _reduce(
    side: LogicalPlan, key: Column, other: LogicalPlan, column: Column, context: OptimizerContext
) -> LogicalPlan:
    """Go down to the aggregation through what passes its key, and filter its input."""
    match side:
        case Filter(input, _):
            return replace_children(side, [_reduce(input, key, other, column, context)])
        case Project(input, items):
            stem = next((i.expr for i in items if i.field.id == key.id), None)
            if isinstance(stem, Column):
                return replace_children(side, [_reduce(input, stem, other, column, context)])
        case Aggregate(input, keys, aggregates) if aggregates and key in keys:
            reduced = semi_join_with_source(input, key, other, column, context)
            return side if reduced is None else replace(side, input=reduced)
        case _:
            pass
    return side
