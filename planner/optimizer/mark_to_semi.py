"""IN and EXISTS that filter rows become semi and anti joins."""

from __future__ import annotations

from planner.expr import FALSE, TRUE, Expr, Not, column, conjuncts
from planner.logical import Filter, Item, Join, JoinKind, LogicalPlan, Project, operators, passthrough
from planner.optimizer.construct import filtered
from planner.optimizer.context import OptimizerContext
from planner.optimizer.nullability import can_be_null
from planner.optimizer.properties import NeverNull
from planner.tree import transform_up


def mark_to_semi(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Turn a MARK join under a filter on its mark into SEMI, and under a filter on NOT mark into ANTI.

    Safe because a filter keeps rows whose mark is TRUE: exactly those with a match. NOT mark is TRUE where
    the mark is FALSE, and ANTI keeps also the rows whose mark would be NULL; so with a comparison (NOT IN, <>
    ALL) it is done only if neither side of it can be NULL: by type, by exact statistics, or by a predicate
    below. A mark that is used in any other way (under OR, in the output) stays.

        Filter mark#5 AND a#1 > 2
          Join mark comparing a#1 = b#3 as mark#5
    →   Filter a#1 > 2
          Project [a#1, TRUE as mark#5]
            Join semi on a#1 = b#3
    """
    if JoinKind.MARK not in operators(plan):
        return plan
    never_null = NeverNull()

    def visit(node: LogicalPlan) -> LogicalPlan:
        match node:
            case Filter(Join(JoinKind.MARK) as join, predicate):
                return _rewrite(node, join, conjuncts(predicate), never_null)
            case _:
                return node

    return transform_up(plan, visit)


def _rewrite(node: Filter, join: Join, predicates: tuple[Expr, ...], never_null: NeverNull) -> LogicalPlan:
    assert join.mark is not None
    mark = column(join.mark)
    used: Expr = mark
    if mark in predicates:
        kind, value = JoinKind.SEMI, TRUE
    elif Not(mark) in predicates and _is_two_valued(join, never_null):
        kind, used, value = JoinKind.ANTI, Not(mark), FALSE
    else:
        return node
    condition = join.condition if join.comparison is None else (*join.condition, join.comparison)
    matched = Join(kind, join.left, join.right, condition)
    marked = Project(matched, (*passthrough(join.left.schema.fields), Item(join.mark, value)))
    return filtered(marked, [p for p in predicates if p != used])


def _is_two_valued(join: Join, never_null: NeverNull) -> bool:
    if join.comparison is None:
        return True
    known = never_null(join.left) | never_null(join.right)
    return not can_be_null(join.comparison, lambda id: id not in known)
