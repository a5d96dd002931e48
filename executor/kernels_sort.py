"""Order: sorting, top-N, limits."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from executor.expressions import translate
from executor.frame import Context, Frame
from executor.intervals import interval_length
from executor.value import Scope, Value, native
from planner import types
from planner.expr import Column, SortKey, column_name
from planner.physical import LimitExec, SortExec
from planner.tree import walk

_MOST_ROWS = 2**32 - 1


def sort_by(lazy: pl.LazyFrame, keys: Sequence[SortKey], scope: Scope) -> pl.LazyFrame:
    """The rows in order. NaN is larger than every number, NULL larger still unless the key says otherwise."""
    return lazy.sort(
        [sort_expression(k, scope) for k in keys],
        descending=[k.descending for k in keys],
        nulls_last=[not k.nulls_first for k in keys],
    )


def sort_expression(key: SortKey, scope: Scope) -> pl.Expr:
    value = translate(key.expr, scope)
    return interval_length(value) if value.dtype == types.INTERVAL else value.expr


def sort_columns(keys: Sequence[SortKey]) -> list[pl.Expr]:
    """What blocks are sorted by, whose columns are named ``name#id`` and hold their own types."""
    found = {n.id: n for key in keys for n in walk(key.expr) if isinstance(n, Column)}
    scope = Scope({i: Value(pl.col(column_name(c)), c.dtype) for i, c in found.items()})
    values = (native(translate(k.expr, scope), scope.device) for k in keys)
    return [interval_length(v) if v.dtype == types.INTERVAL else v.expr for v in values]


def sort(plan: SortExec, frame: Frame, context: Context) -> Frame:
    scope = context.scope(frame.columns)
    lazy = sort_by(frame.lazy, plan.keys, scope) if plan.keys else frame.lazy
    return _cut(Frame(lazy, frame.columns, frame.max_rows), plan.limit, plan.offset)


def limit(plan: LimitExec, frame: Frame) -> Frame:
    return _cut(frame, plan.limit, plan.offset)


def head(lazy: pl.LazyFrame, rows: int) -> pl.LazyFrame:
    """The first rows. Polars counts them in 32 bits; who asks for more than that means all of them."""
    return lazy if rows > _MOST_ROWS else lazy.head(rows)


def _cut(frame: Frame, count: int | None, offset: int) -> Frame:
    lazy = frame.lazy
    if count is not None:
        # The head right above the sort lets Polars keep only that many rows.
        lazy = head(lazy, count + offset)
    if offset:
        lazy = lazy.slice(offset)
    rows = frame.max_rows if count is None else count if frame.max_rows is None else min(count, frame.max_rows)
    return Frame(lazy, frame.columns, rows)
