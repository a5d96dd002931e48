"""Proved bounds of values: interval arithmetic over expressions.

What it proves lets kernels compute integers and decimals in 64 bits without a check: if the bounds of every
subexpression fit, nothing overflows. So nothing here is an estimate; None means that nothing is known.

Bounds are pairs ``(min, max)`` of Python values of the expression's type (int, Decimal, date, …) that hold
every non-NULL value. Arithmetic is not clipped to its type: bounds beyond the type's range say that it may
overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa

from planner import types
from planner.expr import (
    AggregateCall,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    ColumnId,
    Expr,
    Literal,
)

Interval = tuple[Any, Any]

# Products of 38-digit numbers and sums of many of them stay exact.
_EXACT = Context(prec=200)

_INTEGER_RANGES: dict[pa.DataType, Interval] = {
    types.TINYINT: (-(2**7), 2**7 - 1),
    types.SMALLINT: (-(2**15), 2**15 - 1),
    types.INTEGER: (-(2**31), 2**31 - 1),
    types.BIGINT: (-(2**63), 2**63 - 1),
    types.UTINYINT: (0, 2**8 - 1),
    types.USMALLINT: (0, 2**16 - 1),
    types.UINTEGER: (0, 2**32 - 1),
    types.UBIGINT: (0, 2**64 - 1),
}

_CALENDAR: dict[str, Interval] = {
    "month": (1, 12),
    "day": (1, 31),
    "quarter": (1, 4),
    "week": (1, 53),
    "dayofweek": (0, 6),
    "isodow": (1, 7),
    "dayofyear": (1, 366),
    "hour": (0, 23),
    "minute": (0, 59),
}


def type_bounds(dtype: pa.DataType) -> Interval | None:
    """The range of a type: integers and decimals have one here, the rest is None."""
    if types.is_decimal(dtype):
        top = Decimal(10**dtype.precision - 1).scaleb(-dtype.scale, _EXACT)
        return top.copy_negate(), top
    return _INTEGER_RANGES.get(dtype)


def bounds(expr: Expr, columns: Mapping[ColumnId, Interval]) -> Interval | None:
    """Bounds of ``expr`` where ``columns`` bounds its columns; None if nothing is known.

    Integer and decimal columns that ``columns`` lacks are bounded by their type. An expression that is always
    NULL has no values to bound and counts as unknown.
    """
    match expr:
        case Column(id, _, dtype):
            known = columns.get(id)
            return known if known is not None else type_bounds(dtype)
        case Literal(value, dtype):
            return None if value is None or types.is_float(dtype) else (value, value)
        case Arithmetic(op, left, right, dtype):
            return None if types.is_float(dtype) else _arithmetic(op, left, right, columns)
        case Cast(arg, dtype):
            return _cast(bounds(arg, columns), arg.dtype, dtype)
        case Case(whens, otherwise):
            return _union((*(value for _, value in whens), otherwise), columns)
        case Call(name, args, dtype):
            return _call(name, args, dtype, columns)
        case _:
            return None


def sum_bounds(argument: Interval, rows: int) -> Interval:
    """Bounds of the sum over any subset of ``rows`` values within ``argument``."""
    low, high = min(argument[0], 0), max(argument[1], 0)
    return _multiply(low, rows), _multiply(high, rows)


def aggregate_bounds(
    call: AggregateCall, columns: Mapping[ColumnId, Interval], max_rows: int | None
) -> Interval | None:
    """Bounds of an aggregate over at most ``max_rows`` rows (see ``AggregateExec.output_bounds``)."""
    match call.name:
        case "count" | "count_star":
            return None if max_rows is None else (0, max_rows)
        case "min" | "max" | "any_value" | "first" | "last" | "arbitrary":
            return bounds(call.args[0], columns)
        case "sum" if not types.is_float(call.dtype) and max_rows is not None:
            argument = bounds(call.args[0], columns)
            return None if argument is None else sum_bounds(argument, max_rows)
        case _:
            return None


def fits(interval: Interval | None, scale: int = 0, bits: int = 64) -> bool:
    """Whether every value, as an integer scaled by ``10**scale``, fits a signed integer of ``bits`` bits."""
    if interval is None:
        return False
    top = 2 ** (bits - 1)
    return all(-top <= Decimal(v).scaleb(scale, _EXACT) < top for v in interval)


def _arithmetic(op: str, left: Expr, right: Expr, columns: Mapping[ColumnId, Interval]) -> Interval | None:
    a, b = bounds(left, columns), bounds(right, columns)
    if a is None or b is None:
        return None
    match op:
        case "+":
            return _add(a[0], b[0]), _add(a[1], b[1])
        case "-":
            return _add(a[0], _negate(b[1])), _add(a[1], _negate(b[0]))
        case "*":
            return _hull(_multiply(x, y) for x in a for y in b)
        case "//":
            # The magnitude never grows: a divisor of magnitude below 1 exists only among decimals.
            if isinstance(a[0], int) and isinstance(b[0], int):
                top = _magnitude(a)
                return (0 if a[0] >= 0 and b[0] >= 0 else -top), top
            return None
        case "%":
            # The result has the dividend's sign and at most its magnitude, and less than the divisor's.
            top = min(_magnitude(a), _magnitude(b))
            return (0 if a[0] >= 0 else _negate(top)), (0 if a[1] <= 0 else top)
        case _:
            return None


def _add(a: Any, b: Any) -> Any:
    return a + b if isinstance(a, int) and isinstance(b, int) else _EXACT.add(Decimal(a), Decimal(b))


def _multiply(a: Any, b: Any) -> Any:
    return a * b if isinstance(a, int) and isinstance(b, int) else _EXACT.multiply(Decimal(a), Decimal(b))


def _negate(value: Any) -> Any:
    # The operators of Decimal round to the thread's context; these methods do not.
    return value.copy_negate() if isinstance(value, Decimal) else -value


def _magnitude(interval: Interval) -> Any:
    return max(v.copy_abs() if isinstance(v, Decimal) else abs(v) for v in interval)


def _hull(values: Iterable[Any]) -> Interval:
    items = list(values)
    return min(items), max(items)


def _union(branches: Iterable[Expr], columns: Mapping[ColumnId, Interval]) -> Interval | None:
    """Bounds of a value that comes from one of ``branches``; constant NULLs add none."""
    found: list[Any] = []
    for branch in branches:
        if isinstance(branch, Literal) and branch.value is None:
            continue
        interval = bounds(branch, columns)
        if interval is None:
            return None
        found += interval
    return _hull(found) if found else None


def _cast(source: Interval | None, before: pa.DataType, after: pa.DataType) -> Interval | None:
    """A cast that succeeds keeps the value, up to rounding to an integer or to fewer digits."""
    limits = type_bounds(after)
    if limits is None or not (types.is_integer(before) or types.is_decimal(before)) or source is None:
        # Between dates and timestamps the bounds would have to convert too; no kernel needs that.
        return source if before == after else limits
    low, high = source
    if types.is_integer(after):
        if not types.is_integer(before):
            low, high = (
                int(Decimal(low).to_integral_value("ROUND_FLOOR")),
                int(Decimal(high).to_integral_value("ROUND_CEILING")),
            )
        return _clip((low, high), limits)
    low, high = Decimal(low), Decimal(high)
    if types.is_decimal(before) and before.scale > after.scale:
        unit = Decimal(1).scaleb(-after.scale)
        low = low.quantize(unit, "ROUND_FLOOR", _EXACT)
        high = high.quantize(unit, "ROUND_CEILING", _EXACT)
    return _clip((low, high), limits)


def _clip(interval: Interval, limits: Interval) -> Interval:
    """What is left of ``interval`` within ``limits`` (the limits themselves, should nothing be left)."""
    low, high = max(interval[0], limits[0]), min(interval[1], limits[1])
    return (low, high) if low <= high else limits


def _call(
    name: str, args: tuple[Expr, ...], dtype: pa.DataType, columns: Mapping[ColumnId, Interval]
) -> Interval | None:
    match name:
        case "coalesce" | "ifnull" | "greatest" | "least":
            return _union(args, columns)
        case "nullif":
            return bounds(args[0], columns)
        case "year" if types.is_integer(dtype):
            source = bounds(args[0], columns)
            if source is not None and isinstance(source[0], (date, datetime)):
                return source[0].year, source[1].year
        case "abs" if not types.is_float(dtype):
            source = bounds(args[0], columns)
            if source is not None:
                top = _magnitude(source)
                return (source[0] if source[0] >= 0 else type(top)(0)), top
        case "negate" if not types.is_float(dtype):
            source = bounds(args[0], columns)
            return None if source is None else (_negate(source[1]), _negate(source[0]))
        case _ if name in _CALENDAR and types.is_integer(dtype):
            return _CALENDAR[name]
    return type_bounds(dtype)
