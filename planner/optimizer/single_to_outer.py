"""Scalar subqueries that give at most one value need no check for a second one."""

from __future__ import annotations

from dataclasses import replace

from planner.logical import Join, JoinKind, LogicalPlan, operators
from planner.optimizer.context import OptimizerContext
from planner.optimizer.properties import has_one_row, matches_once
from planner.tree import transform_up


def single_to_outer(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Turn a SINGLE join into LEFT where a row has at most one match, and into INNER where it has exactly
    one.

    Safe because a SINGLE join differs from LEFT only by the error for a second match, and LEFT from INNER
    only by the rows without a match. At most one match is proved by a key of the right side among the joined
    columns; exactly one, by an aggregate without groups joined without a condition.

        Join single
          Scan t [a#1]
          Aggregate [max(b#2) as m#3]
    →   Join inner
    """
    if JoinKind.SINGLE not in operators(plan):
        return plan

    def visit(node: LogicalPlan) -> LogicalPlan:
        if not isinstance(node, Join) or node.kind is not JoinKind.SINGLE:
            return node
        if not node.condition and has_one_row(node.right):
            return replace(node, kind=JoinKind.INNER)
        if matches_once(node, context.estimator, side="right"):
            return replace(node, kind=JoinKind.LEFT)
        return node

    return transform_up(plan, visit)
