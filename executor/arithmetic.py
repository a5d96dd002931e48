"""Numbers: ``+ - * / // %`` without wrapping and without silent rounding.

Each operation derives the bounds of its result. Where they prove that the result (and what it is computed
through) fits, it is computed as it stands; where they do not, integers are computed in a wider type and cast
back strictly, and decimals are computed as Polars decimals, which check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa

from executor.checks import Failure, checked, strict_cast
from executor.dtypes import integer_range, polars_dtype
from executor.value import (
    INT64_MAX,
    INT128_MAX,
    Bounds,
    NotOnDevice,
    Scope,
    Store,
    Value,
    bounds_of,
    fits,
    integer_dtype,
    literal_expr,
    native,
    scaled_store,
    type_bounds,
    with_store,
)
from planner import types
from planner.errors import PlanError, UnsupportedError


def arithmetic(op: str, left: Value, right: Value, dtype: pa.DataType, scope: Scope) -> Value:
    """``left op right`` as SQL type ``dtype``."""
    if types.is_float(dtype):
        expr = _float(op, to_float(left, dtype, scope), to_float(right, dtype, scope), scope)
        expr = expr.cast(polars_dtype(dtype)) if dtype == types.FLOAT else expr
        return Value(expr, dtype, nullable=left.nullable or right.nullable)
    if types.is_integer(dtype):
        return _integer(op, left, right, dtype, scope)
    if types.is_decimal(dtype):
        return _decimal(op, left, right, dtype, scope)
    raise PlanError(f"no arithmetic {op} on {types.type_name(dtype)}")


def to_float(value: Value, dtype: pa.DataType, scope: Scope) -> pl.Expr:
    """A number as FLOAT or DOUBLE."""
    target = polars_dtype(dtype)
    if not types.is_decimal(value.dtype):
        return value.expr if value.dtype == dtype else value.expr.cast(target)
    if value.is_literal and value.literal is not None:
        return pl.lit(float(value.literal), dtype=target)
    # Polars turns its decimals into the nearest doubles; a scaled integer would have to be divided.
    expr = native(value, scope.device).expr.cast(pl.Float64)
    return expr if dtype == types.DOUBLE else expr.cast(target)


def _float(op: str, left: pl.Expr, right: pl.Expr, scope: Scope) -> pl.Expr:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return divide(left, right, scope)
        case "//":
            return _nonzero(divide(left, right, scope), left, right, scope)
        case "%":
            return _remainder(left, right, scope)
        case _:
            raise PlanError(f"unknown operator {op}")


def divide(left: pl.Expr, right: pl.Expr, scope: Scope) -> pl.Expr:
    """The quotient of two DOUBLEs, correctly rounded.

    Polars multiplies by the reciprocal where the divisor is one value, which is wrong in the last digit for a
    third of all numbers; numpy divides.
    """
    if scope.device == "gpu":
        return left / right
    operands = [left.cast(pl.Float64), right.cast(pl.Float64)]
    return pl.map_batches(operands, _true_divide, return_dtype=pl.Float64(), is_elementwise=True)


def _true_divide(columns: Sequence[pl.Series]) -> pl.Series:
    a, b = columns
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        quotient = pl.Series(a.name, np.true_divide(a.to_numpy(), b.to_numpy()))
    if not (a.null_count() or b.null_count()):
        return quotient
    known = a.is_not_null() & b.is_not_null()
    return quotient.set(~known, None) if len(known) == len(quotient) else quotient.clear(len(quotient))


def _remainder(left: pl.Expr, right: pl.Expr, scope: Scope) -> pl.Expr:
    """The remainder with the dividend's sign; Polars' own has the divisor's, and is not exact for large quotients."""
    if scope.device == "gpu":
        positive = left.abs() % right.abs()
        return pl.when(left < 0).then(-positive).otherwise(positive)

    def fmod(columns: Sequence[pl.Series]) -> pl.Series:
        with np.errstate(invalid="ignore"):
            numbers = np.fmod(columns[0].to_numpy(), columns[1].to_numpy())
        known = columns[0].is_not_null() & columns[1].is_not_null()
        return pl.Series(columns[0].name, numbers).set(~known, None)

    dtype = pl.Float64()
    operands = [left.cast(dtype), right.cast(dtype)]
    return pl.map_batches(operands, fmod, return_dtype=dtype, is_elementwise=True)


def _nonzero(quotient: pl.Expr, left: pl.Expr, right: pl.Expr, scope: Scope) -> pl.Expr:
    """The quotient; a zero divisor raises or gives NULL, as the session wants it."""
    if scope.division_by_zero == "null":
        return pl.when(right != 0).then(quotient)
    return checked(quotient, (right == 0) & left.is_not_null(), Failure.DIVISION_BY_ZERO, scope)


def result_bounds(op: str, left: Bounds, right: Bounds) -> Bounds:
    """The exact interval of an integer operation."""
    match op:
        case "+":
            return left[0] + right[0], left[1] + right[1]
        case "-":
            return left[0] - right[1], left[1] - right[0]
        case "*":
            corners = [a * b for a in left for b in right]
            return min(corners), max(corners)
        case "//":
            largest = max(abs(left[0]), abs(left[1]))
            nonnegative = left[0] >= 0 and right[0] >= 0
            return (0 if nonnegative else -largest), largest
        case "%":
            largest = min(max(abs(left[0]), abs(left[1])), max(abs(right[0]), abs(right[1])))
            return (0 if left[0] >= 0 else -largest), (0 if left[1] <= 0 else largest)
        case _:
            raise PlanError(f"unknown operator {op}")


def _compute(op: str, left: pl.Expr, right: pl.Expr, bounds: tuple[Bounds, Bounds], scope: Scope) -> pl.Expr:
    """An operation on integers of one type that is known not to overflow."""
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    same_sign = bounds[0][0] >= 0 and bounds[1][0] >= 0
    opposite = (left < 0) != (right < 0)
    if op == "//":
        floor = left // right
        # Polars floors; SQL truncates toward zero.
        value = floor if same_sign else floor + (opposite & (floor * right != left)).cast(pl.Int8)
    else:
        floor = left % right
        value = floor if same_sign else pl.when(opposite & (floor != 0)).then(floor - right).otherwise(floor)
    if bounds[1][0] > 0 or bounds[1][1] < 0:
        return value
    return _nonzero(value, left, right, scope)


def _integer(op: str, left: Value, right: Value, dtype: pa.DataType, scope: Scope) -> Value:
    bounds = (bounds_of(left), bounds_of(right))
    result = result_bounds(op, *bounds)
    low, high = integer_range(dtype)
    target = polars_dtype(dtype)
    nullable = left.nullable or right.nullable or op in ("//", "%")
    if low <= result[0] and result[1] <= high:
        expr = _compute(op, left.expr, right.expr, bounds, scope)
        return Value(expr.cast(target) if op == "//" else expr, dtype, Store.NATIVE, result, nullable)
    wide = pl.Int64() if all(fits(b, INT64_MAX) for b in (*bounds, result)) else pl.Int128()
    if wide == pl.Int128() and scope.device == "gpu":
        wide, computed = pl.Int64(), _compute_in_64_bits(op, left, right, scope)
    else:
        computed = _compute(op, _widen(left, wide), _widen(right, wide), bounds, scope)
    expr = strict_cast(computed, wide, target, scope) if wide != target or scope.device == "cpu" else computed
    return Value(expr, dtype, Store.NATIVE, (max(low, result[0]), min(high, result[1])), nullable)


_LIMIT = 2.0**63 * (1 - 2**-50)  # what a result as DOUBLE, rounded three times, must stay below


def _compute_in_64_bits(op: str, left: Value, right: Value, scope: Scope) -> pl.Expr:
    """An operation that may overflow on a GPU, which has no 128 bits: it wraps, and what tells of that raises."""
    if not all(fits(bounds_of(v), INT64_MAX + 1) for v in (left, right)):
        raise NotOnDevice("there are no 128-bit integers on the GPU")
    a, b = _widen(left, pl.Int64()), _widen(right, pl.Int64())
    result = _compute(op, a, b, (bounds_of(left), bounds_of(right)), scope)
    if op in ("+", "-", "*"):
        size = _compute(op, a.cast(pl.Float64), b.cast(pl.Float64), (bounds_of(left), bounds_of(right)), scope)
        wrapped = (size.abs() < _LIMIT).not_()
    else:
        wrapped = (a == pl.lit(-INT64_MAX - 1, dtype=pl.Int64)) & (b == -1)
    return checked(result, wrapped, Failure.OUT_OF_RANGE, scope)


def _widen(value: Value, wide: pl.DataType) -> pl.Expr:
    if value.is_literal:
        return pl.lit(value.literal, dtype=wide)
    return value.expr.cast(wide)


def rescale(value: Value, scale: int, scope: Scope, safe: bool = False) -> Value:
    """A decimal (or integer) at a larger scale, its precision grown to match.

    A value that then has more than 38 digits raises, or is NULL where this is ``safe``.
    """
    dtype = types.as_decimal(value.dtype)
    grown = scale - dtype.scale
    bounds = bounds_of(value)
    wider = (bounds[0] * 10**grown, bounds[1] * 10**grown)
    target = types.decimal(dtype.precision + grown, scale)
    if value.is_literal and fits(wider, 10**types.MAX_PRECISION - 1):
        return replace(value, expr=literal_expr(value.literal, target), dtype=target, bounds=wider, store=Store.NATIVE)
    value = replace(value, is_literal=False, literal=None)
    store = scaled_store((min(wider[0], 0), max(wider[1], 10**grown)), scope.device)
    if store is Store.NATIVE:
        if scope.device == "gpu" and not fits(wider, 10**types.MAX_PRECISION - 1):
            raise NotOnDevice("decimals of more than 38 digits are not checked on the GPU")
        expr = native(value, scope.device).expr
        if scope.guard is not None and not safe:
            expr = pl.when(scope.guard).then(expr)
        expr = expr.cast(pl.Decimal(38, scale), strict=not safe)
        return replace(value, expr=expr, dtype=target, bounds=wider, store=store)
    if types.is_integer(value.dtype):
        held = value.expr.cast(integer_dtype(store))
    else:
        held = with_store(value, store, scope.device).expr
    if grown:
        held = held * pl.lit(10**grown, dtype=integer_dtype(store))
    return replace(value, expr=held, dtype=target, bounds=wider, store=store)


def _decimal(op: str, left: Value, right: Value, dtype: pa.DataType, scope: Scope) -> Value:
    if op == "*":
        shift = dtype.scale - types.as_decimal(left.dtype).scale - types.as_decimal(right.dtype).scale
        if shift < 0:
            raise PlanError("a decimal product must keep the scales of its factors")
        if shift:
            left = rescale(left, types.as_decimal(left.dtype).scale + shift, scope)
    elif op in ("+", "-", "%", "//"):
        common = max(types.as_decimal(left.dtype).scale, types.as_decimal(right.dtype).scale)
        common = dtype.scale if op in ("+", "-") else common
        left, right = rescale(left, common, scope), rescale(right, common, scope)
    else:
        raise PlanError(f"no decimal operator {op}")
    bounds = (bounds_of(left), bounds_of(right))
    result = result_bounds(op, *bounds)
    if op == "//":  # the quotient of scaled integers is a whole number
        result = (result[0] * 10**dtype.scale, result[1] * 10**dtype.scale)
    nullable = left.nullable or right.nullable or op in ("//", "%")
    limit = type_bounds(dtype)
    assert limit is not None
    if all(fits(b, INT64_MAX) for b in (*bounds, result)):
        store = Store.INT64
    elif scope.device == "cpu" and all(fits(b, INT128_MAX) for b in bounds) and fits(result, 10**38 - 1):
        store = Store.INT128
    else:
        return _checked_decimal(op, left, right, dtype, (bounds, result), scope)
    held = _compute(op, _scaled_expr(left, store, scope), _scaled_expr(right, store, scope), bounds, scope)
    if op == "//" and dtype.scale:
        held = held * pl.lit(10**dtype.scale, dtype=integer_dtype(store))
    proved = (max(result[0], limit[0]), min(result[1], limit[1]))
    value = Value(held, dtype, store, proved, nullable)
    if fits(result, limit[1]):
        return value
    over = (held > limit[1]) | (held < limit[0])
    return replace(value, expr=checked(held, over, Failure.DECIMAL_OVERFLOW, scope))


def _scaled_expr(value: Value, store: Store, scope: Scope) -> pl.Expr:
    if types.is_integer(value.dtype):
        return _widen(value, integer_dtype(store))
    return with_store(value, store, scope.device).expr


def _checked_decimal(
    op: str,
    left: Value,
    right: Value,
    dtype: pa.DataType,
    proof: tuple[tuple[Bounds, Bounds], Bounds],
    scope: Scope,
) -> Value:
    """A result that may have more than 38 digits: it raises (on a GPU it must be proved that it has not)."""
    bounds, result = proof
    if op not in ("+", "-", "*"):
        raise UnsupportedError(
            f"operator {op} on decimals that have more than 38 digits at one scale", hint="cast an operand to DOUBLE"
        )
    if scope.device == "cpu":
        return _in_128_bits(op, left, right, dtype, result, scope)
    exprs = []
    for value in (left, right):
        scale = types.as_decimal(value.dtype).scale
        held = value.expr if types.is_integer(value.dtype) else native(value, scope.device).expr
        exprs.append(held.cast(pl.Decimal(38, scale)))
    if op == "*":
        # Polars rounds a product to the larger scale of its factors: one of them must have the result's.
        first = 0 if abs(bounds[0][1]) <= abs(bounds[1][1]) else 1
        grown = dtype.scale - types.as_decimal((left, right)[first].dtype).scale
        exprs[first] = exprs[first].cast(pl.Decimal(38, dtype.scale))
        passed = max(abs(result[0]), abs(result[1])) * 10**grown
    else:
        passed = max(abs(b) for pair in (*bounds, result) for b in pair)
    if passed > 10**38 - 1:
        raise NotOnDevice("decimals of more than 38 digits are not checked on the GPU")
    a, b = exprs
    expr = a + b if op == "+" else a - b if op == "-" else a * b
    limit = 10**dtype.precision - 1
    proved = (max(result[0], -limit), min(result[1], limit))
    return Value(expr.cast(pl.Decimal(38, dtype.scale)), dtype, Store.NATIVE, proved, left.nullable or right.nullable)


_END_OF_128_BITS = 2.0**127 * (1 - 2**-50)  # what a result as DOUBLE, rounded three times, must stay below


def _in_128_bits(op: str, left: Value, right: Value, dtype: pa.DataType, result: Bounds, scope: Scope) -> Value:
    """``+ - *`` in 128 bits, where doubles tell that they wrapped."""
    a, b = (_scaled_expr(value, Store.INT128, scope) for value in (left, right))
    bounds = (bounds_of(left), bounds_of(right))
    held = _compute(op, a, b, bounds, scope)
    size = _compute(op, a.cast(pl.Float64), b.cast(pl.Float64), bounds, scope)
    limit = 10**dtype.precision - 1
    most = pl.lit(limit, dtype=pl.Int128)
    over = (size.abs() >= _END_OF_128_BITS) | (held > most) | (held < -most)
    expr = checked(held, over, Failure.DECIMAL_OVERFLOW, scope)
    proved = (max(result[0], -limit), min(result[1], limit))
    return Value(expr, dtype, Store.INT128, proved, left.nullable or right.nullable)


def negate(value: Value, dtype: pa.DataType, scope: Scope) -> Value:
    """Unary minus: zero minus the value."""
    if types.is_float(dtype):
        return Value(-to_float(value, dtype, scope), dtype, nullable=value.nullable)
    zero_type = value.dtype if types.is_integer(value.dtype) else types.decimal(1, 0)
    zero_value = 0 if types.is_integer(value.dtype) else Decimal(0)
    zero = Value(
        literal_expr(zero_value, zero_type),
        zero_type,
        bounds=(0, 0),
        nullable=False,
        is_literal=True,
        literal=zero_value,
    )
    return arithmetic("-", zero, value, dtype, scope)
