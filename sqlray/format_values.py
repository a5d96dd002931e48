"""Arrow values as Python values and as the text that people read."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

_PRINTABLE = frozenset(range(32, 127)) - frozenset(b"\"'\\")  # bytes of a blob that stand for themselves
_MICROSECOND = 1_000


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column as Python objects; nanoseconds are cut to the microseconds that Python has."""
    dtype = column.type
    if pa.types.is_timestamp(dtype) and dtype.unit == "ns":
        column = column.cast(pa.timestamp("us", dtype.tz), safe=False)
    elif pa.types.is_duration(dtype) and dtype.unit == "ns":
        column = column.cast(pa.duration("us"), safe=False)
    elif pa.types.is_time64(dtype) and dtype.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):  # dates outside of Python's years 1 to 9999
        values = column.cast(pa.string()).to_pylist()
    return values


def text_values(column: pa.ChunkedArray, null: str) -> list[str]:
    """The values of a column as text, NULL as `null`."""
    text = _text_of(column.type)
    return [null if value is None else text(value) for value in python_values(column)]


def _text_of(dtype: pa.DataType) -> Callable[[Any], str]:
    # Python's float is a double: a FLOAT's shortest digits are those of its own width.
    if dtype in (pa.float32(), pa.float16()):
        return lambda value: str(np.float32(value))
    return value_text


def value_text(value: object) -> str:
    """A Python value of a result as text, in SQL's notation."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case datetime.datetime():
            text = _fraction(value.replace(tzinfo=None).isoformat(sep=" "))
            return text if value.tzinfo is None else text + _offset(value)
        case datetime.time():
            return _fraction(value.isoformat())
        case pa.MonthDayNano():
            return interval_text(value.months, value.days, value.nanoseconds)
        case datetime.timedelta():
            return interval_text(0, 0, round(value / datetime.timedelta(microseconds=1)) * _MICROSECOND)
        case bytes():
            return "".join(chr(b) if b in _PRINTABLE else f"\\x{b:02X}" for b in value)
        case list():
            return "[" + ", ".join("NULL" if item is None else value_text(item) for item in value) + "]"
        case dict():
            items = (f"{key}: {'NULL' if item is None else value_text(item)}" for key, item in value.items())
            return "{" + ", ".join(items) + "}"
        case _:  # for numbers and dates, str() is SQL's notation
            return str(value)


def _fraction(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def _offset(value: datetime.datetime) -> str:
    offset = value.strftime("%z")  # +HHMM
    return offset[:3] if offset[3:] == "00" else f"{offset[:3]}:{offset[3:]}"


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """`1 year 2 months 3 days 04:05:06.5`: an interval as DuckDB and PostgreSQL print it."""
    years, months = int(months / 12), int(abs(months) % 12) * (1 if months >= 0 else -1)
    parts = [
        f"{count} {unit}{'' if abs(count) == 1 else 's'}"
        for count, unit in ((years, "year"), (months, "month"), (days, "day"))
        if count
    ]
    microseconds = abs(nanoseconds) // _MICROSECOND
    if microseconds or not parts:
        seconds, fraction = divmod(microseconds, 1_000_000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        if fraction:
            clock = _fraction(f"{clock}.{fraction:06}")
        parts.append("-" + clock if nanoseconds < 0 else clock)
    return " ".join(parts)


def one_line(text: str) -> str:
    """The text with line breaks and control characters escaped, so that a table's row stays one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{ord(character):02x}")


def display_width(text: str) -> int:
    """The columns that the text takes in a terminal: East Asian wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Me", "Mn", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text cut to a width, with an ellipsis where something is missing."""
    if display_width(text) <= width:
        return text
    kept = ""
    room = width - 1
    for character in text:
        room -= _character_width(character)
        if room < 0:
            break
        kept += character
    return kept + "…"


def pad(text: str, width: int, *, right: bool) -> str:
    """The text filled with spaces to a width, at the right edge for numbers."""
    space = " " * (width - display_width(text))
    return space + text if right else text + space
