"""Order: sorting, top-N, limits."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from executor.expressions import translate
from executor.frame import Context, Frame
from executor.intervals import comparable
from executor.value import Scope
from planner.expr import SortKey
from planner.physical import LimitExec, SortExec

_MOST_ROWS = 2**32 - 1


def sort_by(lazy: pl.LazyFrame, keys: Sequence[SortKey], scope: Scope) -> pl.LazyFrame:
    """The rows in order. NaN is larger than every number, NULL larger still unless the key says otherwise."""
    return lazy.sort(
        [sort_expression(k, scope) for k in keys],
        descending=[k.descending for k in keys],
        nulls_last=[not k.nulls_first for k in keys],
    )


def sort_expression(key: SortKey, scope: Scope) -> pl.Expr:
    return comparable(translate(key.expr, scope))


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
