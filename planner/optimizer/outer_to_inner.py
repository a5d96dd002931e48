"""Outer joins whose padded rows are dropped above become narrower joins."""

from __future__ import annotations

from dataclasses import replace

from planner.evaluate import evaluate
from planner.expr import Column, ColumnId, Expr, columns_of, conjuncts, is_volatile, null, substitute
from planner.logical import (
    Aggregate,
    DependentJoin,
    Filter,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Sort,
    operators,
)
from planner.optimizer.construct import item_expressions
from planner.optimizer.context import OptimizerContext
from planner.optimizer.nullability import rejects_nulls
from planner.tree import replace_children, walk

Known = tuple[Expr, ...]
Memo = dict[int, tuple[LogicalPlan, LogicalPlan]]

OUTER = frozenset({JoinKind.LEFT, JoinKind.RIGHT, JoinKind.FULL})


def outer_to_inner(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Turn FULL into LEFT or RIGHT, and LEFT and RIGHT into INNER, where the rows without a match cannot
    survive.

    Safe because a padded row has NULL in every column of the missing side, and a conjunct above that cannot
    be TRUE for it drops it anyway. The conjuncts of a join count for an input as well, if an input's row that
    fulfils none of them comes out in no other way: both inputs of an inner join, but not the preserved side
    of an outer one.

        Filter b#3 > 5
          Join left on a#1 = c#2
    →   Filter b#3 > 5
          Join inner on a#1 = c#2
    """
    if operators(plan).isdisjoint(OUTER):
        return plan
    return _visit(plan, (), {})


def _visit(node: LogicalPlan, known: Known, memo: Memo) -> LogicalPlan:
    """``node``, given conjuncts that are TRUE for every row of it that matters."""
    if not known:
        hit = memo.get(id(node))
        if hit is not None:
            return hit[1]
    result = _narrow(node, known, memo)
    if not known:
        memo[id(node)] = (node, result)
    return result


def _narrow(node: LogicalPlan, known: Known, memo: Memo) -> LogicalPlan:
    match node:
        case Filter(input, predicate):
            return replace_children(node, [_visit(input, (*known, *conjuncts(predicate)), memo)])
        case Project(input, items):
            computed = item_expressions(items)
            volatile = {id for id, e in computed.items() if not isinstance(e, Column) and is_volatile(e)}
            passed = tuple(substitute(k, computed) for k in known if not volatile & columns_of(k))
            return replace_children(node, [_visit(input, passed, memo)])
        case Aggregate(input, keys, _):
            ids = frozenset(k.id for k in keys)
            passed = tuple(k for k in known if ids and columns_of(k) <= ids)
            return replace_children(node, [_visit(input, passed, memo)])
        case Sort(input, _, None, 0):
            return replace_children(node, [_visit(input, known, memo)])
        case Join():
            return _narrow_join(node, known, memo)
        case DependentJoin():
            return replace_children(node, [_visit(c, (), memo) for c in node.children()])
        case _:
            return replace_children(node, [_visit(c, (), memo) for c in node.children()])


def _narrow_join(node: Join, known: Known, memo: Memo) -> Join:
    kind = narrowed(node.kind, known, node.left.schema.ids, node.right.schema.ids)
    condition = node.condition
    match kind:
        case JoinKind.INNER | JoinKind.SEMI:
            to_left, to_right = (*known, *condition), (*known, *condition)
        case JoinKind.LEFT | JoinKind.SINGLE | JoinKind.ANTI | JoinKind.MARK:
            to_left, to_right = known, condition
        case JoinKind.RIGHT:
            to_left, to_right = condition, known
        case JoinKind.FULL:
            to_left, to_right = (), ()
    if kind is JoinKind.SEMI:
        to_right = condition
    left, right = _visit(node.left, to_left, memo), _visit(node.right, to_right, memo)
    if kind is node.kind:
        result = replace_children(node, [left, right])
        assert isinstance(result, Join)
        return result
    return replace(node, kind=kind, left=left, right=right)


def narrowed(kind: JoinKind, known: Known, left: frozenset[ColumnId], right: frozenset[ColumnId]) -> JoinKind:
    """The narrowest kind that gives the same rows for which all ``known`` are TRUE."""
    if kind not in OUTER or not known:
        return kind
    # A row padded on the right comes from an unmatched left row.
    needs_right = kind is not JoinKind.RIGHT and any(_drops_padded(k, right) for k in known)
    needs_left = kind is not JoinKind.LEFT and any(_drops_padded(k, left) for k in known)
    match kind, needs_left, needs_right:
        case (JoinKind.LEFT, _, True) | (JoinKind.RIGHT, True, _) | (JoinKind.FULL, True, True):
            return JoinKind.INNER
        case JoinKind.FULL, True, False:
            return JoinKind.LEFT
        case JoinKind.FULL, False, True:
            return JoinKind.RIGHT
        case _:
            return kind


def _drops_padded(predicate: Expr, padded: frozenset[ColumnId]) -> bool:
    """Whether ``predicate`` cannot be TRUE where the columns ``padded`` are NULL."""
    if rejects_nulls(predicate, padded):
        return True
    nulls: dict[ColumnId, Expr] = {}
    for node in walk(predicate):
        if isinstance(node, Column):
            if node.id not in padded:
                return False
            nulls[node.id] = null(node.dtype)
    constant = evaluate(substitute(predicate, nulls))
    return constant is not None and not constant.value
