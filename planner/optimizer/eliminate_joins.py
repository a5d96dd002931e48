"""Drop joins that neither add columns that are read nor change which rows there are."""

from __future__ import annotations

from planner.expr import ColumnId
from planner.logical import Join, JoinKind, LogicalPlan, Project, passthrough
from planner.optimizer.construct import null_items
from planner.optimizer.context import OptimizerContext
from planner.optimizer.join_rewrites import rewrite_joins
from planner.optimizer.properties import has_one_row, matches_once


def eliminate_joins(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Remove an outer join whose padded side nobody reads, and an inner join with one row that nobody reads.

    Safe if a row of the preserved side comes out exactly once: because it has at most one match (a unique key
    of the other side is among the joined columns), or because above it the number of times does not matter
    (DISTINCT, IN, min and max). The columns of the dropped side become NULLs, which no one reads and
    ``prune_columns`` removes.

        Project [a#1]
          Join left on a#1 = b#2
            Scan t [a#1]
            Distinct by [b#2]
    →   Project [a#1]
          Scan t [a#1]
    """

    def visit(join: Join, needed: set[ColumnId], duplicates_matter: bool) -> LogicalPlan:
        left_read, right_read = needed & join.left.schema.ids, needed & join.right.schema.ids
        match join.kind:
            case JoinKind.LEFT if not right_read:
                if not duplicates_matter or matches_once(join, context.estimator, side="right"):
                    return _only_left(join)
            case JoinKind.RIGHT if not left_read:
                if not duplicates_matter or matches_once(join, context.estimator, side="left"):
                    return _only_right(join)
            case JoinKind.INNER if not join.condition:
                if not right_read and has_one_row(join.right):
                    return _only_left(join)
                if not left_read and has_one_row(join.left):
                    return _only_right(join)
            case _:
                pass
        return join

    return rewrite_joins(plan, context, visit, _may_go)


def _may_go(join: Join) -> bool:
    return join.kind in (JoinKind.LEFT, JoinKind.RIGHT) or (join.kind is JoinKind.INNER and not join.condition)


def _only_left(join: Join) -> LogicalPlan:
    return Project(join.left, (*passthrough(join.left.schema.fields), *null_items(join.right.schema.fields)))


def _only_right(join: Join) -> LogicalPlan:
    return Project(join.right, (*null_items(join.left.schema.fields), *passthrough(join.right.schema.fields)))
