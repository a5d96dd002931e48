"""LIMIT in a correlated subquery: the first rows for each outer row, not the first of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner import types
from planner.expr import Column, Comparison, Expr, Literal, SortKey, conjunction
from planner.logical import Filter, Limit, LogicalPlan, Project, Sort, numbered, passthrough, project_to
from planner.optimizer.decorrelate_columns import distinct_columns, with_columns


def limited(plan: Limit | Sort) -> tuple[LogicalPlan, tuple[SortKey, ...], int | None, int]:
    """The rows that ``plan`` takes its part of, their order, and LIMIT and OFFSET."""
    if isinstance(plan, Sort):
        return plan.input, plan.keys, plan.limit, plan.offset
    source, keys = _ordered(plan.input)
    return source, keys, plan.limit, plan.offset


def first_rows(
    plan: LogicalPlan,
    partition: Sequence[Column],
    keys: Sequence[SortKey],
    limit: int | None,
    offset: int,
) -> LogicalPlan:
    """At most ``limit`` rows after the first ``offset`` of each partition.

    Limit 2 offset 1                     Project [a, b]
      Sort [a]                =>           Filter row <= 3 AND row > 1
        …                                    Window by [b] order [a] [row_number() as row]
                                               …
    """
    if limit is None and not offset:
        return plan
    rows, number = numbered(plan, distinct_columns(partition), keys, "row")
    bounds: list[Expr] = []
    if limit == 1:  # as an equation, it proves that there is one row a partition
        bounds.append(Comparison("=", number, Literal(offset + 1, types.BIGINT)))
    elif limit is not None:
        bounds.append(Comparison("<=", number, Literal(limit + offset, types.BIGINT)))
    if offset and limit != 1:
        bounds.append(Comparison(">", number, Literal(offset, types.BIGINT)))
    return project_to(Filter(rows, conjunction(bounds)), [f.id for f in plan.schema])


def _ordered(plan: LogicalPlan) -> tuple[LogicalPlan, tuple[SortKey, ...]]:
    """``plan`` and the order of its rows, as keys over its own columns (there may be more of these than
    before).

    A Sort without LIMIT is only its order, and is left out.
    """
    match plan:
        case Sort(source, keys, None, 0):
            return source, keys
        case Sort(_, keys):
            return plan, keys
        case Filter(source, predicate):
            inner, keys = _ordered(source)
            return (Filter(inner, predicate), keys) if inner is not source else (plan, keys)
        case Project(source, items):
            inner, keys = _ordered(source)
            if not keys:
                return plan, ()
            inner, columns = with_columns(inner, [k.expr for k in keys])
            own = {i.field.id for i in items}
            extra = [inner.schema[c.id] for c in distinct_columns(columns) if c.id not in own]
            ordered = [replace(k, expr=c) for k, c in zip(keys, columns, strict=True)]
            return Project(inner, (*items, *passthrough(extra))), tuple(ordered)
        case _:
            return plan, ()
