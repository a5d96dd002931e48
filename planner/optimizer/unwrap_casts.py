"""Take a cast off a column that is compared with constants: the column's statistics then apply to the
constant.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pyarrow as pa

from planner import types
from planner.evaluate import NotConstant, in_range, to_scale
from planner.expr import Cast, Comparison, Expr, InList, Literal


def is_lossless(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether the cast never fails, keeps the order, and maps different values to different values."""
    if types.is_integer(source):
        if types.is_integer(target):
            return bool(types.common_supertype(source, target) == target)
        if types.is_decimal(target):
            return bool(target.precision - target.scale >= types.integer_digits(source))
        return bool(target == types.DOUBLE and source.bit_width <= 32)
    if types.is_decimal(source) and types.is_decimal(target):
        more_scale = target.scale >= source.scale
        return bool(more_scale and target.precision - target.scale >= source.precision - source.scale)
    return bool(source == types.DATE and target == types.TIMESTAMP)


def unwrap_comparison(expr: Comparison) -> Expr | None:
    """``CAST(x AS t) op constant`` as ``x op constant'`` in x's own type; None where that is not the same.

    A constant between two values of x's type moves to the lower one: x < 1.5 is x <= 1, x > 1.5 is x > 1. Two
    sides cast from one type are compared in it.
    """
    match expr:
        case Comparison(op, Cast(left, target, False), Cast(right, _, False)):
            if left.dtype == right.dtype and is_lossless(left.dtype, target):
                return Comparison(op, left, right)
            return None
        case Comparison(op, Cast(arg, target, False), Literal(value, _)):
            if value is None or not is_lossless(arg.dtype, target):
                return None
            try:
                below, exact = _floor(value, arg.dtype)
            except NotConstant:
                return None
            if not exact:
                rounded = {"<": "<=", "<=": "<=", ">": ">", ">=": ">"}.get(op)
                if rounded is None:
                    return None
                op = rounded
            return Comparison(op, arg, Literal(below, arg.dtype))
        case _:
            return None


def unwrap_in_list(expr: InList) -> InList | None:
    """``CAST(x AS t) IN (…)`` as ``x IN (…)``, without the values that x's type does not have."""
    match expr:
        case InList(Cast(arg, target, False), values) if is_lossless(arg.dtype, target):
            kept = []
            for literal in values:
                if literal.value is None:
                    kept.append(Literal(None, arg.dtype))
                    continue
                try:
                    below, exact = _floor(literal.value, arg.dtype)
                except NotConstant:
                    continue
                if exact:
                    kept.append(Literal(below, arg.dtype))
            return InList(arg, tuple(kept)) if kept else None
        case _:
            return None


def _floor(value: Any, dtype: pa.DataType) -> tuple[Any, bool]:
    """The greatest value of ``dtype`` that is not above ``value``, and whether it equals it.

    Raises:
        NotConstant: there is none in the type's range.
    """
    if types.is_integer(dtype):
        if isinstance(value, float) and not math.isfinite(value):
            raise NotConstant
        below = math.floor(value)
        return in_range(below, dtype), below == value
    if types.is_decimal(dtype):
        number = Decimal(value)
        scaled = to_scale(number, dtype, ROUND_FLOOR)
        return scaled, scaled == number
    if dtype == types.DATE and isinstance(value, dt.datetime):
        return value.date(), value.time() == dt.time()
    raise NotConstant
