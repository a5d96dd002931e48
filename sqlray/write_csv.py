"""Rows as CSV: Polars writes the values, what has to be quoted is quoted before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import BinaryIO

import polars as pl
import pyarrow as pa

from planner.file_format import FileFormat
from sqlray.format_values import python_values, value_text

# The characters that numbers, moments and truth values are made of.
_PLAIN = frozenset("0123456789+-.: eE") | frozenset("truefalseNaNinf")


def write_csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    """Write rows as CSV; returns their number. NULL is an empty field, or what the format says; text that looks like
    it is quoted, and so is text that would not be read back as it is."""
    if format.header:
        names = pl.Series(schema.names, dtype=pl.String)
        quoted = [i in format.force_quote for i in range(len(names))]
        names = _quoted(names, format, pl.Series(quoted), len(names) == 1)
        out.write((format.delimiter.join(names) + "\n").encode())
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if batch.num_rows:
            out.write(_text(batch, format).encode())
    return rows


def _text(batch: pa.RecordBatch, format: FileFormat) -> str:
    # "%.f" writes a fraction of a second only where there is one.
    return pl.DataFrame([_column(batch, i, format) for i in range(batch.num_columns)]).write_csv(
        include_header=False,
        separator=format.delimiter,
        null_value=format.null,
        quote_style="never",
        datetime_format="%Y-%m-%d %H:%M:%S%.f",
        time_format="%H:%M:%S%.f",
    )


def _column(batch: pa.RecordBatch, index: int, format: FileFormat) -> pl.Series:
    """A column as Polars is to write it: values that need no quotes in their own type, all others as text."""
    name = str(index)
    values = as_text(batch.column(index), name)
    forced = index in format.force_quote
    if values.dtype != pl.String:
        if not forced and not _PLAIN & set(format.delimiter + format.quote + format.escape + format.null):
            return values
        values = _plain_text(values)
    return _quoted(values, format, forced, batch.num_columns == 1)


def as_text(column: pa.Array, name: str) -> pl.Series:
    """A column as a series of its type, or of text where Polars does not write the type in SQL's notation."""
    dtype = column.type
    if pa.types.is_timestamp(dtype) and dtype.tz == "UTC":
        moments = pl.Series(name, pl.from_arrow(column)).dt.replace_time_zone(None)
        return moments.dt.to_string("%Y-%m-%d %H:%M:%S%.f+00")
    if _polars_writes(dtype):
        return pl.Series(name, pl.from_arrow(column))
    values = python_values(pa.chunked_array([column]))
    return pl.Series(name, [None if v is None else value_text(v) for v in values], dtype=pl.String)


def _plain_text(values: pl.Series) -> pl.Series:
    match values.dtype:
        case pl.Datetime():
            return values.dt.to_string("%Y-%m-%d %H:%M:%S%.f")
        case pl.Time():
            return values.dt.to_string("%H:%M:%S%.f")
        case _:
            return values.cast(pl.String)


def _polars_writes(dtype: pa.DataType) -> bool:
    """Whether Polars writes the type into CSV in SQL's notation."""
    return not (
        (pa.types.is_timestamp(dtype) and dtype.tz is not None)
        or pa.types.is_interval(dtype)
        or pa.types.is_duration(dtype)
        or pa.types.is_nested(dtype)
        or pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_binary_view(dtype)
        or pa.types.is_fixed_size_binary(dtype)
    )


def _quoted(values: pl.Series, format: FileFormat, forced: bool | pl.Series, alone: bool) -> pl.Series:
    """Text in quotes where it needs them, or is forced to have them; an empty one that is ``alone`` in its line does,
    since an empty line is no row."""
    quote, escape = format.quote, format.escape
    special = "".join(map(re.escape, dict.fromkeys((format.delimiter, quote, escape, "#", "\n", "\r"))))
    needed = values.str.contains(f"[{special}]") | (values == format.null) | forced
    if alone:
        needed |= values == ""
    if not needed.any():
        return values
    inside = values.str.replace_all(escape, 2 * escape, literal=True) if escape != quote else values
    inside = inside.str.replace_all(quote, escape + quote, literal=True)
    frame = pl.DataFrame({"plain": values, "inside": inside, "needed": needed})
    text = pl.when("needed").then(pl.concat_str(pl.lit(quote), "inside", pl.lit(quote))).otherwise("plain")
    return frame.select(text.alias(values.name)).to_series()
