"""Subqueries with exactly one row for each outer row: an aggregate without GROUP BY, or a SELECT without
FROM.

What stands above the one row (projections, HAVING) is evaluated after the join, so that it sees the value
of an empty group where there is no partner: NULL, or 0 for COUNT (the COUNT bug; expressions such as ``1 +
count(*)`` and ``coalesce(sum(x), 0)`` come out right too). TPC-H Q17:

    DependentJoin single                        Project [… , 0.2 * avg#9 as v#8]
      Join part, lineitem                         Join left on l_partkey#7 = p_partkey#1
      Project [0.2 * avg#6 as v#8]         =>       Join part, lineitem
        Aggregate [avg(l_quantity) as avg#6]        Aggregate by [l_partkey#7] [avg(l_quantity) as avg#9]
          Filter l_partkey#7 = p_partkey#1            Scan lineitem
            Scan lineitem
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from planner.expr import (
    FALSE,
    TRUE,
    AggregateCall,
    Case,
    Column,
    ColumnId,
    Expr,
    IsNull,
    column,
    columns_of,
    conjunction,
    conjuncts,
    is_volatile,
    mint,
    null,
    substitute,
)
from planner.functions_aggregate import value_of_no_rows
from planner.logical import (
    Aggregate,
    AggregateItem,
    DependentJoin,
    Filter,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Sort,
    Values,
    passthrough,
)
from planner.optimizer.construct import filtered
from planner.optimizer.decorrelate_columns import as_bound, distinct_columns, with_columns
from planner.optimizer.decorrelate_pull import Need, Pull
from planner.optimizer.push_filters import is_fallible
from planner.record import record


def empty_group_value(call: AggregateCall, value: Column) -> Expr:
    """``value`` of an aggregate after an outer join, put right for the rows without a partner."""
    nothing = value_of_no_rows(call)
    return value if nothing.value is None else Case(((IsNull(value), nothing),), value)


def renamed_calls(items: Sequence[AggregateItem]) -> tuple[tuple[AggregateItem, ...], dict[ColumnId, Expr]]:
    """The same aggregates under new ids, and what the old ids stand for after an outer join."""
    renamed = tuple(replace(a, field=replace(a.field, id=mint())) for a in items)
    values = {a.field.id: empty_group_value(a.call, column(b.field)) for a, b in zip(items, renamed, strict=True)}
    return renamed, values


@record
class OneRow:
    """``values`` of the row's columns and the conditions of its being there, over the columns of ``base``."""

    base: Aggregate | Values
    values: dict[ColumnId, Expr]
    present: tuple[Expr, ...]


def join_one_row(node: DependentJoin, pull: Pull) -> LogicalPlan | None:
    """``node`` as a plain join, if its right side is one row over rows that can be decorrelated by
    pulling."""
    row = one_row(node.right)
    if row is None:
        return None
    if isinstance(row.base, Values):
        return finish(node, node.left, row, {})
    joined = _join_aggregate(node.left, row.base, pull)
    return None if joined is None else finish(node, joined[0], row, joined[1])


def one_row(plan: LogicalPlan) -> OneRow | None:
    """``plan`` as projections and filters over one row."""
    if any(is_volatile(e) for e in plan.expressions()):
        return None
    match plan:
        case Aggregate(_, (), aggregates):
            return OneRow(plan, {a.field.id: column(a.field) for a in aggregates}, ())
        case Values(fields, (row,)):
            return OneRow(plan, {f.id: cell for f, cell in zip(fields, row, strict=True)}, ())
        case Project(source, items):
            below = one_row(source)
            if below is None:
                return None
            return replace(below, values={i.field.id: substitute(i.expr, below.values) for i in items})
        case Filter(source, predicate):
            below = one_row(source)
            if below is None:
                return None
            return replace(below, present=(*below.present, *conjuncts(substitute(predicate, below.values))))
        case Sort(source, _, None, 0):
            return one_row(source)
        case _:
            return None


def _join_aggregate(left: LogicalPlan, base: Aggregate, pull: Pull) -> tuple[LogicalPlan, dict[ColumnId, Expr]] | None:
    """``left`` with the aggregates' values for each of its rows, and what their ids stand for in that
    plan."""
    if not pull.reads.of(base) & pull.outer:
        return Join(JoinKind.INNER, left, base), {}
    below = pull(base.input, Need.ROWS)
    if below is None:
        return None
    calls, values = renamed_calls(base.aggregates)
    calls = tuple(
        replace(a, call=a.call.with_expressions([substitute(e, below.computed) for e in a.call.expressions()]))
        for a in calls
    )
    if any(columns_of(e) & pull.outer or is_fallible(e) for a in calls for e in a.call.expressions()):
        return None
    bounds = [as_bound(p, below.plan.schema.ids, pull.outer) for p in below.predicates]
    inner = [b.inner for b in bounds if b is not None]
    source, columns = with_columns(below.plan, inner)
    key = iter(columns)
    condition = []
    for predicate, bound in zip(below.predicates, bounds, strict=True):
        if bound is not None:
            condition.append(bound.on(next(key)))
        elif columns_of(predicate) & below.plan.schema.ids:
            return None
        else:
            condition.append(predicate)
    grouped = Aggregate(source, distinct_columns(columns), calls)
    return Join(JoinKind.LEFT, left, grouped, tuple(condition)), values


def finish(node: DependentJoin, plan: LogicalPlan, row: OneRow, values: Mapping[ColumnId, Expr]) -> LogicalPlan:
    """What the kind of ``node`` makes of each row of ``plan``, which is a left row with its one right row.

    ``values`` says what the columns of the row's base stand for in ``plan``.
    """
    row = replace(
        row,
        values={id: substitute(e, values) for id, e in row.values.items()},
        present=tuple(substitute(p, values) for p in row.present),
    )
    condition = (*row.present, *(substitute(c, row.values) for c in node.condition))
    matches = conjunction(condition)
    right = [Item(node.schema[f.id], row.values[f.id]) for f in node.right.schema if f.id in node.schema]
    left = passthrough(node.left.schema.fields)
    match node.kind:
        case JoinKind.INNER:
            return Project(filtered(plan, condition), (*left, *right))
        case JoinKind.LEFT | JoinKind.SINGLE:
            if matches != TRUE:
                right = [replace(i, expr=_if(matches, i.expr, null(i.expr.dtype))) for i in right]
            return Project(plan, (*left, *right))
        case JoinKind.SEMI:
            return Project(filtered(plan, condition), left)
        case JoinKind.ANTI:
            return Project(Filter(plan, _if(matches, FALSE, TRUE)), left)
        case JoinKind.MARK:
            assert node.mark is not None
            value = TRUE if node.comparison is None else substitute(node.comparison, row.values)
            return Project(plan, (*left, Item(node.mark, _if(matches, value, FALSE))))
        case _:
            raise TypeError(f"not a kind of dependent join: {node.kind}")


def _if(condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    return then if condition == TRUE else Case(((condition, then),), otherwise)
