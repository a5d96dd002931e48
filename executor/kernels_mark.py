"""Mark joins: whether a left row has a match, as a column. EXISTS is two-valued, IN and ANY are three-
valued.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from executor.expressions import translate, unify
from executor.frame import Context, Frame
from executor.join_extremes import EXTREMES, beyond, extremes
from executor.join_keys import Keys, join_keys
from executor.join_sides import (
    Sides,
    equi_join,
    filter_right,
    grouped,
    inner_join,
    matching_rows,
    numbered,
)
from executor.value import Value
from planner import types
from planner.expr import FLIPPED, Comparison, Expr, Field, column_name, columns_of
from planner.physical import KeyPair


def mark_join(sides: Sides, comparison: Expr | None, mark: Field, context: Context) -> Frame:
    """The left rows with ``mark``. Every left row comes out exactly once."""
    sides = filter_right(sides, context)
    if comparison is None:
        lazy, truth = _exists(sides, context)
    else:
        operands = None if sides.both else _operands(comparison, sides)
        if operands is None:
            lazy, truth = _in_by_pairs(sides, comparison, context)
        elif operands[0] == "=":
            lazy, truth = _in_by_keys(sides, KeyPair(*operands[1:]), context)
        else:
            lazy, truth = _any_by_extremes(sides, *operands, context)
    name = column_name(mark)
    columns = {**sides.left.columns, mark.id: Value(pl.col(name), types.BOOLEAN, nullable=mark.nullable)}
    return Frame(lazy.with_columns(truth.alias(name)), columns, sides.left.max_rows)


def _flagged(right: pl.LazyFrame, keys: Keys, names: list[str], flag: str) -> pl.LazyFrame:
    """The distinct keys of the right side, with a column that is TRUE."""
    if not keys.right:
        return right.select(pl.when(pl.len() > 0).then(True).alias(flag))
    chosen = right.select(k.alias(n) for k, n in zip(keys.right, names, strict=True)).unique()
    return chosen.with_columns(pl.lit(True).alias(flag))


def _attach(sides: Sides, keys: Keys, context: Context) -> tuple[pl.LazyFrame, str]:
    """The left rows with a flag that is TRUE where the key is on the right side, else NULL."""
    flag = context.fresh("match")
    names = [context.fresh("key") for _ in keys.right]
    right = _flagged(sides.right.lazy, keys, names, flag)
    by_name = Keys(keys.left, tuple(pl.col(n) for n in names), keys.nulls_equal)
    return equi_join(sides.left.lazy, right, by_name, "left", "right", context), flag


def _exists(sides: Sides, context: Context) -> tuple[pl.LazyFrame, pl.Expr]:
    if not sides.both:
        keys = join_keys(sides.pairs, (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
        lazy, flag = _attach(sides, keys, context)
        return lazy, pl.col(flag).is_not_null()
    left, row = numbered(sides.left, context)
    flag = context.fresh("match")
    ids = matching_rows(replace(sides, left=left), row, context).with_columns(pl.lit(True).alias(flag))
    lazy = left.lazy.join(ids, on=row, how="left", maintain_order="none", build_side="prefer_right")
    return lazy, pl.col(flag).is_not_null()


def _operands(comparison: Expr, sides: Sides) -> tuple[str, Expr, Expr] | None:
    """The operator, the left side's and the right side's operand; None if the comparison is not of that form."""
    if not isinstance(comparison, Comparison) or comparison.op not in ("=", *EXTREMES):
        return None
    if comparison.left.dtype == types.INTERVAL:
        return None
    a, b = comparison.left, comparison.right
    left, right = sides.left.columns.keys(), sides.right.columns.keys()
    if columns_of(a) <= left and columns_of(b) <= right:
        return comparison.op, a, b
    if columns_of(b) <= left and columns_of(a) <= right:
        return FLIPPED[comparison.op], b, a
    return None


def _in_by_keys(sides: Sides, pair: KeyPair, context: Context) -> tuple[pl.LazyFrame, pl.Expr]:
    """``x IN (y …)`` by two lookups: is x there, and otherwise: is there any row, any NULL."""
    keys = join_keys((*sides.pairs, pair), (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
    if any(p.null_safe for p in sides.pairs):
        lazy, found = _attach(sides, keys, context)
    else:
        lazy, found = _attach(sides, replace(keys, nulls_equal=False), context)
    scopes = [context.scope(s.columns, sides.bounds) for s in (sides.left, sides.right)]
    x, y = unify((translate(pair.left, scopes[0]), translate(pair.right, scopes[1])), scopes[0])
    has_null = context.fresh("has_null")
    outer = join_keys(sides.pairs, (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
    groups, by_name = grouped(sides.right.lazy, outer, [y.expr.is_null().max().alias(has_null)], context)
    lazy = equi_join(lazy, groups, by_name, "left", "right", context)
    truth = (
        pl.when(pl.col(found).is_not_null())
        .then(True)
        .when(pl.col(has_null).is_null())  # no row to compare with
        .then(False)
        .when(x.expr.is_null() | pl.col(has_null))
        .then(None)
        .otherwise(False)
    )
    return lazy, truth


def _any_by_extremes(sides: Sides, op: str, mine: Expr, theirs: Expr, context: Context) -> tuple[pl.LazyFrame, pl.Expr]:
    """``x < ANY (y …)`` by the smallest or the largest y of each key."""
    keys = join_keys(sides.pairs, (sides.left_only, ()), sides.left, sides.right, sides.bounds, context)
    scopes = [context.scope(s.columns, sides.bounds) for s in (sides.left, sides.right)]
    x, y = unify((translate(mine, scopes[0]), translate(theirs, scopes[1])), scopes[0])
    ends = extremes(op, y)
    names = [context.fresh("extreme") for _ in ends]
    has_null = context.fresh("has_null")
    aggregates = [*(e.alias(n) for e, n in zip(ends, names, strict=True)), y.expr.is_null().max().alias(has_null)]
    groups, by_name = grouped(sides.right.lazy, keys, aggregates, context)
    lazy = equi_join(sides.left.lazy, groups, by_name, "left", "right", context)
    truth = (
        pl.when(pl.col(has_null).is_null())  # no row to compare with
        .then(False)
        .when(beyond(op, x.expr, [pl.col(n) for n in names]))
        .then(True)
        .when(x.expr.is_null() | pl.col(has_null))
        .then(None)
        .otherwise(False)
    )
    return lazy, truth


def _in_by_pairs(sides: Sides, comparison: Expr, context: Context) -> tuple[pl.LazyFrame, pl.Expr]:
    """Any comparison, by looking at every pair."""
    left, row = numbered(sides.left, context)
    pairs = inner_join(replace(sides, left=left), context)
    result = translate(comparison, context.scope(pairs.columns, sides.bounds)).expr
    compared, true, unknown = context.fresh("compared"), context.fresh("true"), context.fresh("unknown")
    seen = (
        pairs.lazy.select(pl.col(row), result.alias(compared))
        .group_by(row)
        .agg(
            pl.col(compared).fill_null(False).max().alias(true),
            pl.col(compared).is_null().max().alias(unknown),
        )
    )
    lazy = left.lazy.join(seen, on=row, how="left", maintain_order="none", build_side="prefer_right")
    truth = pl.when(pl.col(true)).then(True).when(pl.col(unknown)).then(None).otherwise(False)
    return lazy, truth
