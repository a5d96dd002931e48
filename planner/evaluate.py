"""The value of an expression without columns, computed at plan time exactly as a kernel would compute it.

``evaluate`` answers only when it is certain. Whatever would raise at run time (overflow, a cast that fails),
and whatever two implementations could round differently, has no value here: the caller leaves the expression
as it is.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from planner import types
from planner.expr import (
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    Comparison,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
)

_EXACT = Context(prec=80)
_EXACT_INTEGER = 2**53  # the largest magnitude up to which every integer is a double


class NotConstant(Exception):
    """The expression has no value that is certain at plan time."""


def evaluate(expr: Expr) -> Literal | None:
    """The constant that ``expr`` always equals, or None if that is not certain."""
    if isinstance(expr, Literal):
        return expr
    try:
        return Literal(value_of(expr), expr.dtype)
    except (NotConstant, InvalidOperation, OverflowError, ValueError):
        return None


def value_of(expr: Expr) -> Any:
    """The Python value of ``expr``.

    Raises:
        NotConstant: it has none that is certain.
    """
    match expr:
        case Literal(value, _):
            return value
        case Cast(arg, dtype, _):
            return cast(value_of(arg), arg.dtype, dtype)
        case Comparison(op, left, right):
            return compare(op, value_of(left), value_of(right))
        case Arithmetic(op, left, right, dtype):
            return arithmetic(op, value_of(left), value_of(right), dtype)
        case And(args):
            return _connective(args, False)
        case Or(args):
            return _connective(args, True)
        case Not(arg):
            value = value_of(arg)
            return None if value is None else not value
        case IsNull(arg):
            return value_of(arg) is None
        case InList(arg, values):
            return contains(value_of(arg), [v.value for v in values])
        case Case(whens, otherwise):
            for condition, result in whens:
                if value_of(condition):
                    return value_of(result)
            return value_of(otherwise)
        case Call(name, args, dtype):
            return _call(name, [value_of(a) for a in args], dtype)
        case Column():
            raise NotConstant
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _connective(args: tuple[Expr, ...], decisive: bool) -> bool | None:
    """AND (decided by False) or OR (decided by True), three-valued. Every argument must be certain."""
    values = [value_of(a) for a in args]
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def order(a: Any, b: Any) -> int:
    """-1, 0 or 1: how two values of one type compare. NaN equals NaN and is greater than every number.

    Raises:
        NotConstant: intervals, whose order depends on how long a month is.
    """
    if isinstance(a, pa.MonthDayNano):
        raise NotConstant
    if isinstance(a, float):
        a_nan, b_nan = math.isnan(a), math.isnan(b)
        if a_nan or b_nan:
            return int(a_nan) - int(b_nan)
    if isinstance(a, str):
        a, b = a.encode(), b.encode()  # strings order by their bytes
    return int(a > b) - int(a < b)


def compare(op: str, a: Any, b: Any) -> bool | None:
    """``a op b`` as SQL has it."""
    if op in ("is distinct from", "is not distinct from"):
        same = a is b is None or (a is not None and b is not None and order(a, b) == 0)
        return same == (op == "is not distinct from")
    if a is None or b is None:
        return None
    sign = order(a, b)
    match op:
        case "=":
            return sign == 0
        case "<>":
            return sign != 0
        case "<":
            return sign < 0
        case "<=":
            return sign <= 0
        case ">":
            return sign > 0
        case ">=":
            return sign >= 0
        case _:
            raise ValueError(f"not a comparison: {op}")


def contains(value: Any, values: list[Any]) -> bool | None:
    """``value IN (values)``."""
    if not values:
        return False
    if value is None:
        return None
    if any(v is not None and order(value, v) == 0 for v in values):
        return True
    return None if any(v is None for v in values) else False


def arithmetic(op: str, a: Any, b: Any, dtype: pa.DataType) -> Any:
    """``a op b`` in ``dtype``.

    Raises:
        NotConstant: the result does not fit ``dtype``, floats could round it in more than one way, or it divides
            by zero (an error or NULL, as the session has it).
    """
    if a is None or b is None:
        return None
    if op in ("/", "//", "%") and b == 0:
        raise NotConstant
    if types.is_integer(dtype):
        return _integer_arithmetic(op, a, b, dtype)
    if types.is_decimal(dtype):
        return _decimal_arithmetic(op, a, b, dtype)
    if dtype == types.DOUBLE:
        return _double_arithmetic(op, a, b)
    raise NotConstant


def _integer_arithmetic(op: str, a: int, b: int, dtype: pa.DataType) -> int:
    match op:
        case "+":
            result = a + b
        case "-":
            result = a - b
        case "*":
            result = a * b
        case "//":
            result = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        case "%":
            result = abs(a) % abs(b) * (-1 if a < 0 else 1)
        case _:
            raise NotConstant
    return in_range(result, dtype)


def _decimal_arithmetic(op: str, a: Any, b: Any, dtype: pa.DataType) -> Decimal:
    x, y = Decimal(a), Decimal(b)
    match op:
        case "+":
            result = _EXACT.add(x, y)
        case "-":
            result = _EXACT.subtract(x, y)
        case "*":
            result = _EXACT.multiply(x, y)
        case "%":
            result = _EXACT.remainder(x, y)  # the sign of the dividend, as in SQL
        case _:
            raise NotConstant
    scaled = to_scale(result, dtype)
    if scaled != result:
        raise NotConstant
    return scaled


def _double_arithmetic(op: str, a: float, b: float) -> float:
    match op:
        case "+":
            result = a + b
        case "-":
            result = a - b
        case "*":
            result = a * b
        case "/" | "//":
            result = a / b
        case _:
            raise NotConstant
    if not math.isfinite(result):
        raise NotConstant
    return result


def in_range(value: int, dtype: pa.DataType) -> int:
    """``value`` if the integer type ``dtype`` holds it, else NotConstant."""
    low, high = integer_range(dtype)
    if not low <= value <= high:
        raise NotConstant
    return value


def integer_range(dtype: pa.DataType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    bits = dtype.bit_width
    if pa.types.is_signed_integer(dtype):
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def to_scale(value: Decimal, dtype: pa.DataType, rounding: str = ROUND_HALF_UP) -> Decimal:
    """``value`` at the scale of ``dtype``, halves away from zero; NotConstant if it has too many digits."""
    scaled = value.quantize(Decimal(1).scaleb(-dtype.scale), rounding=rounding, context=_EXACT)
    if scaled.copy_abs() >= Decimal(10) ** (dtype.precision - dtype.scale):
        raise NotConstant
    return scaled or scaled.copy_abs()  # a decimal has no negative zero


def cast(value: Any, source: pa.DataType, target: pa.DataType) -> Any:
    """CAST of one value.

    Raises:
        NotConstant: the cast would fail, or is one that is left to the kernels.
    """
    if value is None or source == target:
        return value
    if types.is_integer(target):
        return _cast_integer(value, source, target)
    if types.is_decimal(target):
        return _cast_decimal(value, source, target)
    if target == types.DOUBLE:
        return _cast_double(value, source)
    if target == types.VARCHAR:
        return _cast_string(value, source)
    if target == types.DATE:
        return _cast_date(value, source)
    if target == types.TIMESTAMP:
        return _cast_timestamp(value, source)
    raise NotConstant


def _cast_integer(value: Any, source: pa.DataType, target: pa.DataType) -> int:
    if isinstance(value, bool) or types.is_integer(source):
        return in_range(int(value), target)
    if types.is_decimal(source):
        return in_range(int(value.to_integral_value(rounding=ROUND_HALF_UP)), target)
    if source == types.VARCHAR and re.fullmatch(r"[+-]?[0-9]{1,19}", value):
        return in_range(int(value), target)
    raise NotConstant


def _cast_decimal(value: Any, source: pa.DataType, target: pa.DataType) -> Decimal:
    if types.is_integer(source) or types.is_decimal(source):
        return to_scale(Decimal(value), target)
    if source == types.VARCHAR and re.fullmatch(r"[+-]?[0-9]{1,38}(\.[0-9]{1,38})?", value):
        return to_scale(Decimal(value), target)
    raise NotConstant


def _cast_double(value: Any, source: pa.DataType) -> float:
    if types.is_integer(source) and abs(value) <= _EXACT_INTEGER:
        return float(value)
    if types.is_decimal(source) and source.scale <= 22:
        # One correctly rounded division of two exact doubles: there is only one result.
        if abs(value.scaleb(source.scale, context=_EXACT)) <= _EXACT_INTEGER:
            return float(value)
    if source == types.VARCHAR and re.fullmatch(
        r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?(e[+-]?[0-9]{1,2})?", value.lower()
    ):
        return float(value)
    raise NotConstant


def _cast_string(value: Any, source: pa.DataType) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if types.is_integer(source):
        return str(value)
    if types.is_decimal(source):
        return f"{value:.{source.scale}f}"
    if source == types.DATE:
        return str(value.isoformat())
    raise NotConstant


def _cast_date(value: Any, source: pa.DataType) -> dt.date:
    if source == types.TIMESTAMP:
        return value.date()  # type: ignore[no-any-return]
    if source == types.VARCHAR and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return dt.date.fromisoformat(value)
    raise NotConstant


def _cast_timestamp(value: Any, source: pa.DataType) -> dt.datetime:
    if source == types.DATE:
        return dt.datetime(value.year, value.month, value.day)
    pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)?"
    if source == types.VARCHAR and re.fullmatch(pattern, value):
        return dt.datetime.fromisoformat(value)
    raise NotConstant


def add_interval(
    value: dt.date | dt.datetime, months: int, days: int, nanoseconds: int
) -> dt.date | dt.datetime:
    """``value`` moved by months first (the day held to the month's length), then by days and time."""
    count = value.year * 12 + value.month - 1 + months
    year, month = divmod(count, 12)
    last = _days_in_month(year, month + 1)
    moved = value.replace(year=year, month=month + 1, day=min(value.day, last))
    if nanoseconds % 1000 or (nanoseconds and not isinstance(value, dt.datetime)):
        raise NotConstant
    return moved + dt.timedelta(days=days, microseconds=nanoseconds // 1000)


def _days_in_month(year: int, month: int) -> int:
    following = dt.date(year + month // 12, month % 12 + 1, 1) if (year, month) < (dt.MAXYEAR, 12) else None
    return 31 if following is None else (following - dt.timedelta(days=1)).day


def _call(name: str, values: list[Any], dtype: pa.DataType) -> Any:
    function = _FUNCTIONS.get(name)
    if function is None:
        raise NotConstant
    return function(values, dtype)


def _strict(function: Callable[..., Any]) -> Callable[[list[Any], pa.DataType], Any]:
    """NULL if an argument is NULL; else ``function(type of the result, arguments …)``."""

    def call(values: list[Any], dtype: pa.DataType) -> Any:
        return None if any(v is None for v in values) else function(dtype, *values)

    return call


def _add_interval(dtype: pa.DataType, value: dt.date | dt.datetime, interval: pa.MonthDayNano) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if value.tzinfo is not None:
        raise NotConstant
    months, days, nanoseconds = interval
    moved = add_interval(value, months, days, nanoseconds)
    assert isinstance(moved, dt.datetime)
    return moved


def _interval(months: int = 0, days: int = 0) -> Callable[[pa.DataType, int], pa.MonthDayNano]:
    return lambda dtype, n: pa.MonthDayNano([n * months, n * days, 0])


def _negate(dtype: pa.DataType, value: Any) -> Any:
    if isinstance(value, int):
        return in_range(-value, dtype)
    if isinstance(value, Decimal):
        return value.copy_negate() if value else value
    return -value


def _ascii(function: Callable[..., Any]) -> Callable[..., Any]:
    """Only for ASCII arguments: beyond, libraries differ."""

    def call(dtype: pa.DataType, value: str, *rest: Any) -> Any:
        if not value.isascii():
            raise NotConstant
        return function(value, *rest)

    return call


def _substring(value: str, start: int, length: int | None = None) -> str:
    if start < 1 or (length is not None and length < 0):
        raise NotConstant
    return value[start - 1 :] if length is None else value[start - 1 : start - 1 + length]


def _coalesce(values: list[Any], dtype: pa.DataType) -> Any:
    return next((v for v in values if v is not None), None)


def _date_field(name: str) -> Callable[[pa.DataType, Any], int]:
    def read(dtype: pa.DataType, value: Any) -> int:
        if isinstance(value, pa.MonthDayNano):
            raise NotConstant
        return int(getattr(value, name))

    return read


_FUNCTIONS: dict[str, Callable[[list[Any], pa.DataType], Any]] = {
    "coalesce": _coalesce,
    "nullif": lambda values, dtype: None if compare("=", *values) else values[0],
    "negate": _strict(_negate),
    "lower": _strict(_ascii(str.lower)),
    "upper": _strict(_ascii(str.upper)),
    "length": _strict(_ascii(len)),
    "substring": _strict(_ascii(_substring)),
    "||": _strict(lambda dtype, a, b: a + b),
    "year": _strict(_date_field("year")),
    "month": _strict(_date_field("month")),
    "day": _strict(_date_field("day")),
    "make_date": _strict(lambda dtype, year, month, day: dt.date(year, month, day)),
    "date_add_days": _strict(lambda dtype, value, days: value + dt.timedelta(days=days)),
    "date_add_interval": _strict(_add_interval),
    "timestamp_add_interval": _strict(_add_interval),
    "date_sub_date": _strict(lambda dtype, a, b: (a - b).days),
    "to_years": _strict(_interval(months=12)),
    "to_quarters": _strict(_interval(months=3)),
    "to_months": _strict(_interval(months=1)),
    "to_weeks": _strict(_interval(days=7)),
    "to_days": _strict(_interval(days=1)),
    "interval_negate": _strict(lambda dtype, i: pa.MonthDayNano([-i.months, -i.days, -i.nanoseconds])),
}
