"""Joins: every kind, with equalities, with further conditions, or with no equality at all.

Polars joins on equalities. What else a match must satisfy is split by what it reads: a condition on one side
becomes part of the keys or a filter of that side; a condition on both filters an inner join, and for the
other kinds the left rows are numbered first, so that the rows that matched can be told from those that did
not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import polars as pl

from executor.checks import Failure, fail_if
from executor.expressions import translate, unify
from executor.frame import Context, Frame, nullable
from executor.join_extremes import EXTREMES, beyond, extremes
from executor.join_keys import Keys, join_keys
from executor.join_sides import (
    Sides,
    equi_join,
    filter_right,
    filtered,
    grouped,
    held_dtype,
    inner_join,
    matching_rows,
    numbered,
    split_sides,
)
from executor.kernels_mark import mark_join
from executor.value import Value
from planner import types
from planner.devices import Device
from planner.errors import PlanError
from planner.expr import FLIPPED, Column, ColumnId, Comparison, Expr, columns_of
from planner.logical import JoinKind
from planner.physical import (
    AggregateExec,
    ExchangeExec,
    FilterExec,
    HashJoinExec,
    KeyPair,
    LimitExec,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ProjectExec,
    SortExec,
)


def hash_join(plan: HashJoinExec, left: Frame, right: Frame, context: Context) -> Frame:
    sides = split_sides((left, right), plan.keys, plan.residual, plan.bounds, plan.build, context)
    mine, theirs = _column_ids([k.left for k in plan.keys]), _column_ids([k.right for k in plan.keys])
    sides = replace(sides, unique=(unique_on(plan.left, mine), unique_on(plan.right, theirs)))
    if plan.kind is JoinKind.MARK:
        assert plan.mark is not None
        return mark_join(sides, plan.comparison, plan.mark, context)
    return _join(plan.kind, sides, context)


def nested_loop_join(plan: NestedLoopJoinExec, left: Frame, right: Frame, context: Context) -> Frame:
    sides = split_sides((left, right), (), plan.condition, plan.bounds, "right", context)
    sides = replace(sides, unique=(unique_on(plan.left, frozenset()), unique_on(plan.right, frozenset())))
    if plan.kind is JoinKind.MARK:
        assert plan.mark is not None
        return mark_join(sides, plan.comparison, plan.mark, context)
    return _join(plan.kind, sides, context)


def _join(kind: JoinKind, sides: Sides, context: Context) -> Frame:
    match kind:
        case JoinKind.INNER:
            return inner_join(sides, context)
        case JoinKind.LEFT:
            return _left_join(sides, context)
        case JoinKind.RIGHT:
            return _left_join(_swap(sides), context)
        case JoinKind.FULL:
            return _full_join(sides, context)
        case JoinKind.SEMI:
            return _semi_join(sides, "semi", context)
        case JoinKind.ANTI:
            return _semi_join(sides, "anti", context)
        case JoinKind.SINGLE:
            return _single_join(sides, context)
        case _:
            raise PlanError(f"unknown join {kind}")


def _swap(sides: Sides) -> Sides:
    pairs = tuple(KeyPair(p.right, p.left, p.null_safe) for p in sides.pairs)
    build = "right" if sides.build == "left" else "left"
    return replace(
        sides,
        left=sides.right,
        right=sides.left,
        pairs=pairs,
        left_only=sides.right_only,
        right_only=sides.left_only,
        build=build,
        unique=(sides.unique[1], sides.unique[0]),
    )


def _left_join(sides: Sides, context: Context) -> Frame:
    columns = {**sides.left.columns, **nullable(sides.right.columns)}
    sides = filter_right(sides, context)
    if not sides.both:
        keys = join_keys(sides.pairs, (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
        lazy = equi_join(sides.left.lazy, sides.right.lazy, keys, "left", sides.build, context)
        return Frame(lazy, columns, sides.left.max_rows if sides.unique[1] else None)
    left, row = numbered(sides.left, context)
    matched = inner_join(replace(sides, left=left), context)
    matched = replace(matched, lazy=matched.lazy.cache())
    rest = left.lazy.join(matched.lazy.select(pl.col(row).unique()), on=row, how="anti", maintain_order="none")
    return Frame(_stack(matched.lazy, [rest], columns, context.device), columns)


def _full_join(sides: Sides, context: Context) -> Frame:
    columns = {**nullable(sides.left.columns), **nullable(sides.right.columns)}
    if not sides.both:
        flags = (sides.left_only, sides.right_only)
        keys = join_keys(sides.pairs, flags, sides.left, sides.right, sides.bounds, context)
        return Frame(equi_join(sides.left.lazy, sides.right.lazy, keys, "full", sides.build, context), columns)
    left, left_row = numbered(sides.left, context)
    right, right_row = numbered(sides.right, context)
    matched = inner_join(replace(sides, left=left, right=right), context)
    matched = replace(matched, lazy=matched.lazy.cache())
    unmatched = [
        side.lazy.join(matched.lazy.select(pl.col(row).unique()), on=row, how="anti", maintain_order="none")
        for side, row in ((left, left_row), (right, right_row))
    ]
    return Frame(_stack(matched.lazy, unmatched, columns, context.device), columns)


def _stack(
    matched: pl.LazyFrame, rest: Sequence[pl.LazyFrame], columns: Mapping[ColumnId, Value], device: Device
) -> pl.LazyFrame:
    """The matched rows, then the rest with NULLs for the columns that they lack."""
    names = [v.expr.meta.output_name() for v in columns.values()]
    dtypes = [held_dtype(v, device) for v in columns.values()]
    parts = [matched.select(names)]
    for part in rest:
        have = set(part.collect_schema().names())
        parts.append(
            part.select(
                pl.col(n) if n in have else pl.lit(None, dtype=t).alias(n) for n, t in zip(names, dtypes, strict=True)
            )
        )
    return pl.concat(parts, how="vertical_relaxed")


def _semi_join(sides: Sides, how: Literal["semi", "anti"], context: Context) -> Frame:
    columns = sides.left.columns
    sides = filter_right(sides, context)
    if not sides.both:
        if how == "semi":
            sides = replace(sides, left=filtered(sides.left, sides.left_only, sides.bounds, context), left_only=())
        keys = join_keys(sides.pairs, (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
        lazy = equi_join(sides.left.lazy, sides.right.lazy, keys, how, sides.build, context)
        return Frame(lazy, columns, sides.left.max_rows)
    if len(sides.both) == 1 and sides.build == "right" and not sides.left_only:
        reduced = _by_extremes(sides, how, context)
        if reduced is not None:
            return reduced
    left, row = numbered(sides.left, context)
    ids = matching_rows(replace(sides, left=left), row, context)
    lazy = left.lazy.join(ids, on=row, how=how, maintain_order="none", build_side="prefer_right")
    return Frame(lazy, columns, sides.left.max_rows)


def _by_extremes(sides: Sides, how: Literal["semi", "anti"], context: Context) -> Frame | None:
    """``EXISTS (… AND l.x <> r.x)`` by the smallest and the largest r.x of each key instead of by all pairs.

    None where it does not apply.
    """
    condition = sides.both[0]
    if not isinstance(condition, Comparison) or condition.op not in EXTREMES:
        return None
    if any(p.null_safe for p in sides.pairs) or condition.left.dtype == types.INTERVAL:
        return None
    mine, theirs, op = condition.left, condition.right, condition.op
    if columns_of(mine) <= sides.right.columns.keys() and columns_of(theirs) <= sides.left.columns.keys():
        mine, theirs, op = theirs, mine, FLIPPED[op]
    elif not (columns_of(mine) <= sides.left.columns.keys() and columns_of(theirs) <= sides.right.columns.keys()):
        return None
    keys = join_keys(sides.pairs, ((), ()), sides.left, sides.right, sides.bounds, context)
    scopes = [context.scope(s.columns, sides.bounds) for s in (sides.left, sides.right)]
    a, b = unify((translate(mine, scopes[0]), translate(theirs, scopes[1])), scopes[0])
    ends = extremes(op, b)
    names = [context.fresh("extreme") for _ in ends]
    named = [e.alias(n) for e, n in zip(ends, names, strict=True)]
    groups, by_name = grouped(sides.right.lazy, keys, named, context)
    joined = equi_join(sides.left.lazy, groups, by_name, "left", "right", context)
    hits = beyond(op, a.expr, [pl.col(n) for n in names])
    test = hits if how == "semi" else hits.not_().fill_null(True)
    return Frame(joined.filter(test), sides.left.columns, sides.left.max_rows)


def _single_join(sides: Sides, context: Context) -> Frame:
    """LEFT, but a second match is an error."""
    if sides.unique[1]:
        return _left_join(sides, context)
    columns = {**sides.left.columns, **nullable(sides.right.columns)}
    count = context.fresh("count")
    if sides.both:
        left, row = numbered(sides.left, context)
        joined = _left_join(replace(sides, left=replace(left, columns=_with_row(left, row))), context)
        lazy = joined.lazy.with_columns(pl.len().over(row).alias(count))
    else:
        sides = filter_right(sides, context)
        keys = join_keys(sides.pairs, (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
        names = [context.fresh("key") for _ in keys.right]
        grouped = _first_of_each(sides.right, keys, names, count)
        by_name = Keys(keys.left, tuple(pl.col(n) for n in names), keys.nulls_equal)
        lazy = equi_join(sides.left.lazy, grouped, by_name, "left", sides.build, context)
    check = fail_if(pl.col(count) > 1, Failure.MORE_THAN_ONE_ROW, context.scope({}))
    return Frame(lazy.filter(check), columns, sides.left.max_rows)


def _with_row(frame: Frame, row: str) -> Mapping[ColumnId, Value]:
    """The columns of a frame with its row number as one of them, so that a union of parts keeps it."""
    return {**frame.columns, ColumnId(-1): Value(pl.col(row), types.UINTEGER)}


def _first_of_each(right: Frame, keys: Keys, names: Sequence[str], count: str) -> pl.LazyFrame:
    """One row a key, and how many there were."""
    kept = [v.expr.meta.output_name() for v in right.columns.values()]
    if not keys.right:
        return right.lazy.select(*(pl.col(n).first() for n in kept), pl.len().alias(count)).filter(pl.col(count) > 0)
    keyed = right.lazy.with_columns(k.alias(n) for k, n in zip(keys.right, names, strict=True))
    return keyed.group_by(names).agg(*(pl.col(n).first() for n in kept), pl.len().alias(count))


def _column_ids(keys: Sequence[Expr]) -> frozenset[ColumnId]:
    return frozenset(k.id for k in keys if isinstance(k, Column))


def unique_on(plan: PhysicalPlan, ids: frozenset[ColumnId]) -> bool:
    """Whether the plan proves that no two rows agree on all of ``ids`` (none: that there is at most one row)."""
    match plan:
        case AggregateExec():
            return {k.id for k in plan.keys} <= ids
        case LimitExec(limit=limit) | SortExec(limit=limit) if limit is not None and limit <= 1:
            return True
        case FilterExec() | SortExec() | LimitExec() | ExchangeExec() | MaterializeExec():
            return unique_on(plan.input, ids)
        case ProjectExec():
            source = {i.field.id: i.expr.id for i in plan.items if isinstance(i.expr, Column)}
            return unique_on(plan.input, frozenset(source[i] for i in ids if i in source))
        case _:
            return False
