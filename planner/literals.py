"""Text to values: what a string literal means as a date, a number, an interval, … The forms are DuckDB's.

Every reader raises ValueError for text that is no value of its type.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa

from planner import types

_EXACT = Context(prec=400)
_DATE = re.compile(r"(\d{1,4})([-/])(\d{1,2})\2(\d{1,2})", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?)?", re.ASCII)
_ZONE = re.compile(r"\s*(?:(Z|UTC)|([+-])(\d{1,2})(?::?(\d{2}))?)", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+(_\d+)*)?\.?(\d+(_\d+)*)?([eE][+-]?\d+)?", re.ASCII)
_HEX = re.compile(r"0[xX]([0-9a-fA-F]+)")
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1"}), frozenset({"false", "f", "no", "n", "0"})

DAY_NANOSECONDS = 86_400_000_000_000

# Months, days and nanoseconds of one unit of an interval.
_UNITS: dict[str, tuple[int, int, int]] = {
    "millennium": (12_000, 0, 0), "century": (1200, 0, 0), "decade": (120, 0, 0), "year": (12, 0, 0),
    "quarter": (3, 0, 0), "month": (1, 0, 0), "week": (0, 7, 0), "day": (0, 1, 0),
    "hour": (0, 0, 3_600_000_000_000), "minute": (0, 0, 60_000_000_000), "second": (0, 0, 1_000_000_000),
    "millisecond": (0, 0, 1_000_000), "microsecond": (0, 0, 1_000),
}  # fmt: skip
_UNIT_NAMES = {
    "millennium": "millennia mil mils millenniums", "century": "centuries cent c",
    "decade": "decades dec decs", "year": "years yr yrs y", "quarter": "quarters",
    "month": "months mon mons", "week": "weeks w", "day": "days d dayofmonth",
    "hour": "hours hr hrs h", "minute": "minutes min mins m", "second": "seconds sec secs s",
    "millisecond": "milliseconds ms msec msecs", "microsecond": "microseconds us usec usecs",
}  # fmt: skip
_UNIT_BY_NAME = {n: unit for unit, names in _UNIT_NAMES.items() for n in (unit, *names.split())}
_INTERVAL_SECONDS = re.compile(r"\s*-?\d+(?:\.\d*)?\s*", re.ASCII)
_INTERVAL_PART = re.compile(r"\s*(-?\d+(?:\.\d*)?)\s*([a-zA-Z]+)", re.ASCII)
_INTERVAL_CLOCK = re.compile(r"\s*([+-]?)(\d+):(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?)?", re.ASCII)


def read(text: str, dtype: pa.DataType) -> Any:
    """The value of type ``dtype`` that ``text`` writes.

    Raises:
        ValueError: it writes none.
    """
    if types.is_integer(dtype):
        return read_integer(text, dtype)
    if types.is_decimal(dtype):
        return to_decimal(_number(text), dtype)
    if types.is_float(dtype):
        return read_float(text, dtype)
    reader = _READERS.get(dtype)
    if reader is None:
        raise ValueError(f"no text form of {types.type_name(dtype)}")
    return reader(text)


def read_boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(text)


def read_integer(text: str, dtype: pa.DataType) -> int:
    """An integer; a fraction is rounded, halves away from zero."""
    hexadecimal = _HEX.fullmatch(text.strip())
    exact = Decimal(int(hexadecimal[1], 16)) if hexadecimal else _number(text)
    low, high = integer_range(dtype)
    if exact.adjusted() > 20 or not low <= (value := round_half_up(exact)) <= high:
        raise ValueError(text)
    return value


def read_float(text: str, dtype: pa.DataType) -> float:
    word = text.strip().lower()
    if word.lstrip("+-") in ("inf", "infinity", "nan"):
        value = float(word)
    else:
        value = float(_number(text))
    return to_float32(value) if dtype == types.FLOAT else value


def to_float32(value: float) -> float:
    """The nearest FLOAT, as a Python float."""
    with np.errstate(over="ignore"):
        result = float(np.float32(value))
    if math.isinf(result) and not math.isinf(value):
        raise ValueError(str(value))
    return result


def to_decimal(value: Decimal | int, dtype: pa.DataType) -> Decimal:
    """``value`` at the scale of ``dtype``, halves away from zero.

    Raises:
        ValueError: it has more digits than the type holds.
    """
    if Decimal(value).adjusted() > dtype.precision:
        raise ValueError(str(value))
    scaled = Decimal(value).quantize(Decimal(1).scaleb(-dtype.scale), rounding=ROUND_HALF_UP, context=_EXACT)
    if scaled.copy_abs() >= Decimal(10) ** (dtype.precision - dtype.scale):
        raise ValueError(str(value))
    return scaled or scaled.copy_abs()  # a decimal has no negative zero


def round_half_up(value: Decimal) -> int:
    """The nearest integer, halves away from zero."""
    return int(value.to_integral_value(rounding=ROUND_HALF_UP))


def integer_range(dtype: pa.DataType) -> tuple[int, int]:
    """The least and the greatest value of an integer type."""
    bits = dtype.bit_width
    if pa.types.is_signed_integer(dtype):
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _number(text: str) -> Decimal:
    word = text.strip()
    if not _NUMBER.fullmatch(word) or not any(c.isdigit() for c in word):
        raise ValueError(text)
    try:
        return Decimal(word.replace("_", ""))
    except InvalidOperation:
        raise ValueError(text) from None


def read_date(text: str) -> dt.date:
    """``1995-01-31``; a time of day after it is dropped."""
    word = text.strip()
    match = _DATE.match(word)
    if not match:
        if word.lower() == "epoch":
            return dt.date(1970, 1, 1)
        raise ValueError(text)
    rest = word[match.end() :]
    if rest:
        _clock_after_date(rest, text)
    return dt.date(int(match[1]), int(match[3]), int(match[4]))


def read_time(text: str) -> dt.time:
    """``10:30``, ``10:30:15.25``; also that of a timestamp."""
    match = _TIME.fullmatch(text.strip())
    return dt.time(*_clock(match)) if match else _timestamp(text)[0].time()


def read_timestamp(text: str) -> dt.datetime:
    """``1995-01-31 10:30:00``; without a time midnight; a zone's offset is dropped, as DuckDB drops it."""
    return _timestamp(text)[0]


def read_timestamptz(text: str) -> dt.datetime:
    """A moment: a timestamp less its zone's offset; without a zone it is UTC."""
    value, offset = _timestamp(text)
    return (value - offset).replace(tzinfo=dt.UTC)


def _timestamp(text: str) -> tuple[dt.datetime, dt.timedelta]:
    word = text.strip()
    if word.lower() == "epoch":
        return dt.datetime(1970, 1, 1), dt.timedelta()
    match = _DATE.match(word)
    if not match:
        raise ValueError(text)
    day = dt.date(int(match[1]), int(match[3]), int(match[4]))
    rest = word[match.end() :]
    if not rest:
        return dt.datetime.combine(day, dt.time()), dt.timedelta()
    clock, offset = _clock_after_date(rest, text)
    return dt.datetime.combine(day, clock), offset


def _clock_after_date(rest: str, text: str) -> tuple[dt.time, dt.timedelta]:
    if rest[0] not in " T":
        raise ValueError(text)
    match = _TIME.match(rest, len(rest) - len(rest[1:].lstrip()))
    if not match:
        raise ValueError(text)
    zone = rest[match.end() :]
    if not zone:
        return dt.time(*_clock(match)), dt.timedelta()
    found = _ZONE.fullmatch(zone)
    if not found:
        raise ValueError(text)
    if found[1]:
        return dt.time(*_clock(match)), dt.timedelta()
    offset = dt.timedelta(hours=int(found[3]), minutes=int(found[4] or 0))
    return dt.time(*_clock(match)), -offset if found[2] == "-" else offset


def _clock(match: re.Match[str]) -> tuple[int, int, int, int]:
    fraction = ((match[4] or "") + "000000")[:6]
    return int(match[1]), int(match[2]), int(match[3] or 0), int(fraction)


def interval_unit(name: str) -> str | None:
    """The plain name of an interval's unit (``mons`` is ``month``), or None."""
    return _UNIT_BY_NAME.get(name.lower())


def interval_of(quantity: Decimal | int, unit: str) -> pa.MonthDayNano:
    """So many of a unit. A fraction of a year is rounded to months, one of a month counts in days (30 to a
    month), one of a day in hours.

    Raises:
        ValueError: it does not fit an interval.
    """
    months, days, nanos = (Decimal(part) * quantity for part in _UNITS[unit])
    if unit in ("year", "decade", "century", "millennium"):
        months = Decimal(round_half_up(months))
    whole_months = int(months)
    days += (months - whole_months) * 30
    whole_days = int(days)
    nanos += (days - whole_days) * DAY_NANOSECONDS
    microseconds = int(nanos / 1000) if unit == "microsecond" else round_half_up(nanos / 1000)
    return make_interval(whole_months, whole_days, microseconds * 1000)


def make_interval(months: int, days: int, nanoseconds: int) -> pa.MonthDayNano:
    """An interval of its three parts.

    Raises:
        ValueError: a part does not fit.
    """
    if max(abs(months), abs(days)) >= 2**31 or abs(nanoseconds) >= 2**63:
        raise ValueError("interval out of range")
    return pa.MonthDayNano([months, days, nanoseconds])


def read_interval(text: str) -> pa.MonthDayNano:
    """``1 year 2 months``, ``3 days 04:05:06``, ``-1 day``, ``1 week ago``."""
    months = days = nanos = 0
    at, word = 0, text.strip().removeprefix("@")
    ago = word.lower().endswith(" ago")
    if ago:
        word = word[:-4].rstrip()
    if not word:
        raise ValueError(text)
    if _INTERVAL_SECONDS.fullmatch(word):
        word += " seconds"
    while at < len(word):
        clock = _INTERVAL_CLOCK.match(word, at)
        if clock:
            sign = -1 if clock[1] == "-" else 1
            fraction = int(((clock[5] or "") + "000000")[:6])
            seconds = int(clock[2]) * 3600 + int(clock[3]) * 60 + int(clock[4] or 0)
            nanos += sign * (seconds * 1_000_000 + fraction) * 1000
            at = clock.end()
            continue
        part = _INTERVAL_PART.match(word, at)
        unit = interval_unit(part[2]) if part else None
        if part is None or unit is None:
            raise ValueError(text)
        more = interval_of(Decimal(part[1]), unit)
        months, days, nanos = months + more[0], days + more[1], nanos + more[2]
        at = part.end()
    return make_interval(-months, -days, -nanos) if ago else make_interval(months, days, nanos)


def read_blob(text: str) -> bytes:
    r"""Characters as they are, ``\xAB`` a byte."""
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at] == "\\":
            digits = text[at + 2 : at + 4]
            if text[at + 1 : at + 2] != "x" or not re.fullmatch(r"[0-9a-fA-F]{2}", digits):
                raise ValueError(text)
            out.append(int(digits, 16))
            at += 4
        else:
            if ord(text[at]) > 127:
                raise ValueError(text)
            out.append(ord(text[at]))
            at += 1
    return bytes(out)


_READERS: dict[pa.DataType, Callable[[str], Any]] = {
    types.VARCHAR: str,
    types.BOOLEAN: read_boolean,
    types.DATE: read_date,
    types.TIME: read_time,
    types.TIMESTAMP: read_timestamp,
    types.TIMESTAMPTZ: read_timestamptz,
    types.INTERVAL: read_interval,
    types.BLOB: read_blob,
}
