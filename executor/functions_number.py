"""Functions of numbers, and the general ones that work on values of any type."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from executor.arithmetic import arithmetic, divide, negate, rescale, to_float
from executor.checks import Failure, checked, strict_cast
from executor.comparison import compare
from executor.dtypes import integer_range, polars_dtype
from executor.function_forms import Function, elementwise, plain
from executor.value import (
    INT64_MAX,
    NotOnDevice,
    Scope,
    Store,
    Value,
    bounds_of,
    fits,
    integer_dtype,
    scaled_store,
    type_bounds,
    with_store,
)
from planner import types
from planner.errors import ExecutionError


def _held(value: Value, scope: Scope) -> Value:
    """A decimal as a scaled integer, of 128 bits if need be."""
    store = scaled_store(bounds_of(value), scope.device)
    if store is Store.NATIVE:
        raise NotOnDevice("decimals of more than 18 digits are no integers on the GPU")
    return with_store(value, store, scope.device)


def _abs(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    value = args[0]
    if types.is_float(value.dtype):
        return replace(value, expr=value.expr.abs(), is_literal=False, literal=None)
    low, high = bounds_of(value)
    bounds = (0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))
    if types.is_decimal(value.dtype):
        held = _held(value, scope)
        return replace(held, expr=held.expr.abs(), bounds=bounds, is_literal=False, literal=None)
    if bounds[1] <= integer_range(dtype)[1]:
        return replace(value, expr=value.expr.abs(), bounds=bounds, is_literal=False, literal=None)
    if scope.device == "gpu" and value.dtype.bit_width == 64:  # there are no 128 bits, and one value has no absolute
        expr = checked(value.expr.abs(), value.expr == low, Failure.OUT_OF_RANGE, scope)
    else:
        wide = pl.Int64() if value.dtype.bit_width < 64 else pl.Int128()
        expr = strict_cast(value.expr.cast(wide).abs(), wide, polars_dtype(dtype), scope)
    return Value(expr, dtype, bounds=(0, integer_range(dtype)[1]), nullable=value.nullable)


def _negate(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    return negate(args[0], dtype, scope)


def _mod(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    return arithmetic("%", args[0], args[1], dtype, scope)


def _sign(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    value = args[0]
    expr = _held(value, scope).expr if types.is_decimal(value.dtype) else value.expr
    positive = expr > 0
    if types.is_float(value.dtype):
        positive = positive & expr.is_not_nan()
    sign = positive.cast(pl.Int8) - (expr < 0).cast(pl.Int8)
    return Value(sign, dtype, bounds=(-1, 1), nullable=value.nullable)


def _round_decimal(how: str) -> Callable[[Value, int, pa.DataType, Scope], Value]:
    """floor, ceil, trunc or round (halves away from zero) of a decimal to ``digits`` after the point."""

    def compute(value: Value, digits: int, dtype: pa.DataType, scope: Scope) -> Value:
        scale = value.dtype.scale
        if digits >= scale:
            return replace(rescale(value, dtype.scale, scope), dtype=dtype) if dtype.scale >= scale else value
        held = _held(value, scope)
        unit = 10 ** (scale - digits)
        low, high = bounds_of(value)
        integer = integer_dtype(held.store)
        step = pl.lit(unit, dtype=integer)
        expr = held.expr
        match how:
            case "floor":
                quotient = expr // step
            case "ceil":
                quotient = 0 - (0 - expr) // step
            case "trunc":
                quotient = pl.when(expr < 0).then(0 - (0 - expr) // step).otherwise(expr // step)
            case _:
                half = pl.lit(unit // 2, dtype=integer)
                quotient = pl.when(expr < 0).then(0 - (half - expr) // step).otherwise((expr + half) // step)
        grown = 10 ** max(dtype.scale - digits, 0)
        bounds = (low // unit * grown, (-(-high // unit) + 1) * grown)
        bounds = (bounds[0] - grown, bounds[1])
        if grown > 1:
            quotient = quotient * pl.lit(grown, dtype=integer)
        limit = type_bounds(dtype)
        assert limit is not None
        clipped = (max(bounds[0], limit[0]), min(bounds[1], limit[1]))
        return Value(quotient, dtype, held.store, clipped, value.nullable)

    return compute


def _rounding(how: str) -> Function:
    decimal = _round_decimal(how)

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        value = args[0]
        digits = int(args[1].literal) if len(args) > 1 and args[1].literal is not None else 0
        if len(args) > 1 and args[1].literal is None:
            return Value(pl.lit(None, dtype=polars_dtype(dtype)), dtype, bounds=(0, 0) if type_bounds(dtype) else None)
        if types.is_decimal(value.dtype):
            return decimal(value, digits, dtype, scope)
        if types.is_integer(value.dtype):
            return _round_integer(how, value, digits, scope)
        rounded = _round_float(how, value.expr, digits, scope).cast(polars_dtype(value.dtype))
        return replace(value, expr=rounded, is_literal=False, literal=None)

    return compute


def _round_integer(how: str, value: Value, digits: int, scope: Scope) -> Value:
    if digits >= 0:
        return value
    unit = 10**-digits
    if unit > 10**18:
        return replace(value, expr=value.expr * 0, bounds=(0, 0), is_literal=False, literal=None)
    target = pl.Int64() if max(map(abs, bounds_of(value))) + unit <= INT64_MAX else pl.Int128()
    wide = value.expr.cast(target)
    half = unit // 2 if how == "round" else 0
    away = (wide.abs() + half) // unit * unit
    expr = strict_cast(pl.when(wide < 0).then(0 - away).otherwise(away), target, polars_dtype(value.dtype), scope)
    return Value(expr, value.dtype, nullable=value.nullable)


_MOST_DIGITS = 308  # before or after the point of a DOUBLE


def _round_float(how: str, expr: pl.Expr, digits: int, scope: Scope) -> pl.Expr:
    def whole(x: pl.Expr) -> pl.Expr:
        match how:
            case "floor":
                return x.floor()
            case "ceil":
                return x.ceil()
            case "trunc":
                return pl.when(x < 0).then(x.ceil()).otherwise(x.floor())
            case _:
                return x.round(0, mode="half_away_from_zero")

    if digits == 0:
        return whole(expr)
    if digits > _MOST_DIGITS:
        return expr
    if digits < -_MOST_DIGITS:
        return pl.when(expr.is_finite()).then(expr * 0).otherwise(expr)
    factor = 10.0 ** abs(digits)
    divisor = pl.lit(factor, dtype=pl.Float64)
    moved = divide(whole(expr * factor), divisor, scope) if digits > 0 else whole(divide(expr, divisor, scope)) * factor
    # A number too large to be moved has no digits there.
    return pl.when(moved.is_finite()).then(moved).otherwise(expr)


def _extreme(greatest: bool) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        from executor.expressions import unify

        values = unify(args, scope)

        def pick(a: Value, b: Value) -> Value:
            better = compare(">=" if greatest else "<=", a, b, scope)
            expr = pl.when(b.expr.is_null() | better).then(a.expr).otherwise(b.expr)
            return replace(a, expr=expr, is_literal=False, literal=None)

        expr = reduce(pick, values).expr
        bounds = None
        if type_bounds(dtype) is not None:
            known = [bounds_of(v) for v in values]
            bounds = (min(b[0] for b in known), max(b[1] for b in known))
        return Value(expr, dtype, values[0].store, bounds, all(v.nullable for v in values))

    return compute


def _shift(left: bool) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        by = args[1].expr.cast(pl.Int64)
        inside = (by >= 0) & (by < dtype.bit_width)
        known = by.is_not_null() & args[0].expr.is_not_null()
        target = polars_dtype(dtype)
        if left:  # no bit gets lost
            lost = inside.not_() & (args[0].expr != 0)
            known = checked(known, lost, Failure.OUT_OF_RANGE, scope)
        if scope.device == "gpu":
            shift = _shift_left if left else _shift_right
            return Value(pl.when(inside).then(shift(args[0], by, dtype, scope)).when(known).then(0).cast(target), dtype)
        value = args[0].expr.cast(pl.Int128)
        factor = pl.lit(2, dtype=pl.Int128).pow(by.clip(0, 64).cast(pl.UInt32))
        moved = value * factor if left else value // factor
        result: pl.Expr = pl.when(inside).then(moved).when(known).then(0)
        if left:
            result = checked(result, value < 0, Failure.NEGATIVE_SHIFT, scope)
        return Value(strict_cast(result, pl.Int128(), target, scope), dtype)

    return compute


def _power(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    base, exponent = (a.expr.cast(pl.Float64) for a in args)
    power = base.pow(exponent)
    if not (args[1].is_literal and args[1].literal != 0.5):
        # Polars takes the square root, which minus infinity has not; its power is infinite.
        power = pl.when((base == -math.inf) & (exponent == 0.5)).then(math.inf).otherwise(power)
    return Value(power, dtype)


def _power_of_two(exponent: pl.Expr) -> pl.Expr:
    """2 to an exponent from 0 to 63, the last as the negative number that its bits are."""
    power: pl.Expr = pl.lit(1, dtype=pl.Int64)
    for k in range(6):
        power = power * (1 + (exponent // 2**k % 2) * (2 ** (2**k) - 1))
    return power


def _signed(value: Value) -> pl.Expr:
    if not fits(bounds_of(value), INT64_MAX + 1):
        raise NotOnDevice("unsigned integers of 64 bits are not shifted on the GPU")
    return value.expr.cast(pl.Int64)


def _shift_left(value: Value, by: pl.Expr, dtype: pa.DataType, scope: Scope) -> pl.Expr:
    """In 64 bits; what leaves the type fails."""
    number, factor = _signed(value), _power_of_two(by)
    most = pl.when(by < 63).then(pl.lit(integer_range(dtype)[1], dtype=pl.Int64) // factor).otherwise(0)
    lost = (by >= 0) & (by < dtype.bit_width) & (number > most)
    return checked(number * factor, (number < 0) | lost, Failure.OUT_OF_RANGE, scope)


def _shift_right(value: Value, by: pl.Expr, dtype: pa.DataType, scope: Scope) -> pl.Expr:
    number = _signed(value)
    return pl.when(by < 63).then(number // _power_of_two(by)).otherwise(0 - (number < 0).cast(pl.Int64))


def _double(function: Callable[[pl.Expr], pl.Expr]) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        return Value(function(to_float(args[0], types.DOUBLE, scope)), dtype, nullable=args[0].nullable)

    return compute


def _logarithm(function: Callable[[Any], Any]) -> Callable[[pl.Expr], pl.Expr]:
    """A logarithm exact for powers of its base: Polars divides two others, and log10(1000) is below 3."""

    def run(series: pl.Series) -> pl.Series:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = pl.Series(series.name, function(series.to_numpy()), dtype=pl.Float64)
        return values.set(series.is_null(), None) if series.has_nulls() else values

    return lambda x: x.map_batches(run, return_dtype=pl.Float64(), is_elementwise=True)


_LOG10, _LOG2 = _logarithm(np.log10), _logarithm(np.log2)


def _log(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    if len(args) == 1:
        return _double(_LOG10)(args, dtype, scope)
    base, number = (_LOG10(to_float(a, types.DOUBLE, scope)) for a in args)
    return Value(number / base, dtype)


def _even(x: pl.Expr) -> pl.Expr:
    half = pl.when(x < 0).then((x / 2).floor()).otherwise((x / 2).ceil())
    return half * 2


def _integers(function: Callable[[int, int], int]) -> Function:
    """A function of two integers that Polars has no form of."""

    def rows(left: pl.Series, right: pl.Series) -> list[int | None]:
        pairs = zip(left.to_list(), right.to_list(), strict=True)
        return [None if a is None or b is None else function(a, b) for a, b in pairs]

    return elementwise(rows)


def _random(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    if scope.device == "gpu":
        raise NotOnDevice("random numbers are made on the CPU")

    def draw(series: pl.Series) -> pl.Series:
        return pl.Series(np.random.default_rng(random.getrandbits(64)).random(len(series)))

    return Value(pl.int_range(pl.len()).map_batches(draw, return_dtype=pl.Float64()), dtype, nullable=False)


def _typeof(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    name = '"NULL"' if args[0].dtype == types.NULL else types.type_name(args[0].dtype)
    return Value(pl.lit(name, dtype=pl.String), dtype, nullable=False, is_literal=True, literal=name)


def _gcd(a: int, b: int) -> int:
    return _bigint(math.gcd(a, b), "gcd")


def _lcm(a: int, b: int) -> int:
    return _bigint(math.lcm(a, b), "lcm")


def _bigint(value: int, function: str) -> int:
    if value > INT64_MAX:
        raise ExecutionError(f"overflow: a value of {function} is out of range for BIGINT")
    return value


NUMBERS: dict[str, Function] = {
    "abs": _abs,
    "negate": _negate,
    "mod": _mod,
    "sign": _sign,
    "ceil": _rounding("ceil"),
    "floor": _rounding("floor"),
    "round": _rounding("round"),
    "trunc": _rounding("trunc"),
    "sqrt": _double(lambda x: x.sqrt()),
    "cbrt": _double(lambda x: x.cbrt()),
    "exp": _double(lambda x: x.exp()),
    "ln": _double(lambda x: x.log()),
    "log10": _double(_LOG10),
    "log2": _double(_LOG2),
    "log": _log,
    "pow": _power,
    "greatest": _extreme(True),
    "least": _extreme(False),
    "sin": _double(lambda x: x.sin()),
    "cos": _double(lambda x: x.cos()),
    "tan": _double(lambda x: x.tan()),
    "cot": _double(lambda x: x.cot()),
    "asin": _double(lambda x: x.arcsin()),
    "acos": _double(lambda x: x.arccos()),
    "atan": _double(lambda x: x.arctan()),
    "atan2": plain(lambda y, x: pl.arctan2(y, x)),
    "sinh": _double(lambda x: x.sinh()),
    "cosh": _double(lambda x: x.cosh()),
    "tanh": _double(lambda x: x.tanh()),
    "asinh": _double(lambda x: x.arcsinh()),
    "acosh": _double(lambda x: x.arccosh()),
    "atanh": _double(lambda x: x.arctanh()),
    "pi": plain(lambda: pl.lit(np.pi)),
    "degrees": _double(lambda x: x.degrees()),
    "radians": _double(lambda x: x.radians()),
    "bitwise_and": plain(lambda a, b: a & b),
    "bitwise_or": plain(lambda a, b: a | b),
    "xor": plain(lambda a, b: a ^ b),
    "bitwise_not": plain(lambda a: ~a),
    "shift_left": _shift(True),
    "shift_right": _shift(False),
    "bit_count": plain(lambda a: a.bitwise_count_ones().cast(pl.Int8)),
    "gcd": _integers(_gcd),
    "lcm": _integers(_lcm),
    "even": _double(_even),
    "isnan": plain(lambda x: x.is_nan()),
    "isinf": plain(lambda x: x.is_infinite()),
    "isfinite": plain(lambda x: x.is_finite()),
    "random": _random,
    "typeof": _typeof,
}
