"""Joins with a set of keys become semi joins."""

from __future__ import annotations

from dataclasses import replace

from planner import types
from planner.expr import Column, ColumnId, Comparison
from planner.logical import (
    Aggregate,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Sort,
    passthrough,
    project_to,
)
from planner.optimizer.construct import is_renaming, null_items
from planner.optimizer.context import OptimizerContext
from planner.optimizer.join_rewrites import rewrite_joins
from planner.optimizer.properties import matches_once
from planner.statistics import split_condition


def semi_joins(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Turn an inner join into a semi join where one side serves as a set of keys, and free such sets of
    DISTINCT.

    Safe if no column of that side is read above except keys that equal a column of the other side, and if a
    match does not multiply rows: the side is unique on the joined columns, or multiplicity does not matter
    above. The right side of SEMI, ANTI and MARK is a set already: a DISTINCT or a Sort there changes nothing.
    Done where it pays: the condition is nothing but equalities, and the set, which is hashed, is not the
    larger side.

        Project [a#1]
          Join inner on a#1 = b#2
            Scan t [a#1]
            Distinct by [b#2]
              Scan u [b#2]
    →   Project [a#1]
          Join semi on a#1 = b#2
            Scan t [a#1]
            Scan u [b#2]
    """

    def visit(join: Join, needed: set[ColumnId], duplicates_matter: bool) -> LogicalPlan:
        match join.kind:
            case JoinKind.SEMI | JoinKind.ANTI | JoinKind.MARK:
                right = as_set(join.right)
                return join if right is join.right else replace(join, right=right)
            case JoinKind.INNER if join.condition:
                return _as_semi(join, needed, duplicates_matter, context)
            case _:
                return join

    return rewrite_joins(plan, context, visit)


def as_set(plan: LogicalPlan) -> LogicalPlan:
    """``plan`` without what only removes duplicates or orders rows."""
    match plan:
        case Aggregate(input, keys, ()):
            return project_to(as_set(input), [k.id for k in keys])
        case Sort(input, _, None, 0):
            return as_set(input)
        case Project(input, items) if is_renaming(items):
            return plan if (inner := as_set(input)) is input else Project(inner, items)
        case _:
            return plan


def _as_semi(
    join: Join, needed: set[ColumnId], duplicates_matter: bool, context: OptimizerContext
) -> LogicalPlan:
    rows = context.estimator.rows_or
    if split_condition(join.condition, join.left.schema.ids, join.right.schema.ids)[1]:
        return join
    for side in ("right", "left"):
        kept, dropped = (join.left, join.right) if side == "right" else (join.right, join.left)
        read = needed & dropped.schema.ids
        twins = _twins(join, kept, dropped)
        if not read <= twins.keys() or rows(dropped) > rows(kept):
            continue
        if not duplicates_matter or matches_once(join, context.estimator, side=side):
            semi = Join(JoinKind.SEMI, kept, as_set(dropped), join.condition)
            lost = null_items(f for f in dropped.schema if f.id not in twins)
            found = (Item(f, twins[f.id]) for f in dropped.schema if f.id in twins)
            items = {i.field.id: i for i in (*passthrough(kept.schema.fields), *lost, *found)}
            return Project(semi, tuple(items[f.id] for f in join.schema))
    return join


def _twins(join: Join, kept: LogicalPlan, dropped: LogicalPlan) -> dict[ColumnId, Column]:
    """For columns of ``dropped`` the column of ``kept`` with the very same value in every row of the join."""
    twins: dict[ColumnId, Column] = {}
    for predicate in join.condition:
        match predicate:
            case Comparison("=", Column() as a, Column() as b) if not types.has_equal_variants(a.dtype):
                for one, other in ((a, b), (b, a)):
                    if one.id in kept.schema and other.id in dropped.schema:
                        twins[other.id] = one
    return twins
