"""Join keys: what two sides are compared on.

Several integer keys become one: Polars hashes one integer three times faster than a row of two, so keys
whose bounds prove that they fit together are packed into 64 bits. ``IS NOT DISTINCT FROM`` keys beside plain
ones get a partner column that keeps the plain ones' NULLs apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from executor.dtypes import polars_dtype
from executor.expressions import translate, unify
from executor.frame import Context, Frame
from executor.intervals import comparable
from executor.value import Scope, Store, Value, bounds_of
from planner import types
from planner.expr import Expr
from planner.physical import Bounds, KeyPair
from planner.record import record

_PACKED_BITS = 62


@record
class Keys:
    """Expressions over the left and over the right side that are equal for a match, pair by pair."""

    left: tuple[pl.Expr, ...]
    right: tuple[pl.Expr, ...]
    nulls_equal: bool = False


def join_keys(
    pairs: Sequence[KeyPair],
    flags: tuple[Sequence[Expr], Sequence[Expr]],
    left: Frame,
    right: Frame,
    bounds: Bounds,
    context: Context,
) -> Keys:
    """The keys of a join.

    Args:
        flags: further conditions over the left side alone and over the right side alone. They become a key too: a row
            for which one is not TRUE matches nothing, but is still there for an outer join.
    """
    scopes = context.scope(left.columns, bounds), context.scope(right.columns, bounds)
    distinct: dict[tuple[Expr, Expr], bool] = {}  # Polars refuses a pair that comes twice
    for pair in pairs:
        distinct[pair.left, pair.right] = distinct.get((pair.left, pair.right), True) and pair.null_safe
    values = []
    for (mine, theirs), safe in distinct.items():
        a, b = unify((translate(mine, scopes[0]), translate(theirs, scopes[1])), scopes[0])
        values.append((_same_precision(a), _same_precision(b), safe))
    packed = _pack([(a, b) for a, b, safe in values]) if not any(safe for _, _, safe in values) else None
    if packed is not None:
        exprs = [packed]
    else:
        exprs = [(comparable(a), comparable(b)) for a, b, _ in values]
    nulls_equal = any(safe for _, _, safe in values)
    for a, b, safe in values:
        if nulls_equal and not safe:
            exprs.append((_apart(a.expr, 1), _apart(b.expr, 2)))
    if flags[0] or flags[1]:
        exprs.append((_flag(flags[0], scopes[0], 1), _flag(flags[1], scopes[1], 2)))
    return Keys(tuple(a for a, _ in exprs), tuple(b for _, b in exprs), nulls_equal)


def _same_precision(value: Value) -> Value:
    """A decimal in just its precision: a widening cast costs nothing elsewhere, but polars 1.44 joins no others."""
    if not types.is_decimal(value.dtype) or value.store is not Store.NATIVE:
        return value
    return replace(value, expr=value.expr.cast(polars_dtype(value.dtype)))


def _apart(expr: pl.Expr, code: int) -> pl.Expr:
    """0 for a value, ``code`` for NULL: with another code on the other side, NULLs do not meet."""
    return pl.when(expr.is_null()).then(pl.lit(code, dtype=pl.Int8)).otherwise(pl.lit(0, dtype=pl.Int8))


def _flag(conditions: Sequence[Expr], scope: Scope, code: int) -> pl.Expr:
    if not conditions:
        return pl.lit(0, dtype=pl.Int8)
    test = translate(conditions[0], scope).expr
    for condition in conditions[1:]:
        test = test & translate(condition, scope).expr
    return pl.when(test).then(pl.lit(0, dtype=pl.Int8)).otherwise(pl.lit(code, dtype=pl.Int8))


def _is_packable(value: Value) -> bool:
    return types.is_integer(value.dtype) or (types.is_decimal(value.dtype) and value.store is Store.INT64)


def _pack(values: Sequence[tuple[Value, Value]]) -> tuple[pl.Expr, pl.Expr] | None:
    """Several integer keys as one, if their ranges fit together."""
    if len(values) < 2 or not all(_is_packable(v) for pair in values for v in pair):
        return None
    stride = 1
    terms: list[tuple[pl.Expr, pl.Expr]] = []
    for a, b in values:
        low = min(bounds_of(a)[0], bounds_of(b)[0])
        high = max(bounds_of(a)[1], bounds_of(b)[1])
        if max(abs(low), abs(high)) >= 2**63 or stride * (high - low + 1) >= 2**_PACKED_BITS:
            return None
        terms.append((_term(a.expr, low, stride), _term(b.expr, low, stride)))
        stride *= high - low + 1
    return _sum([t[0] for t in terms]), _sum([t[1] for t in terms])


def _term(expr: pl.Expr, low: int, stride: int) -> pl.Expr:
    shifted = expr.cast(pl.Int64) - pl.lit(low, dtype=pl.Int64) if low else expr.cast(pl.Int64)
    return shifted * pl.lit(stride, dtype=pl.Int64) if stride != 1 else shifted


def _sum(terms: Sequence[pl.Expr]) -> pl.Expr:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
