"""Rows as JSON: one object a line, or one array of objects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import BinaryIO

import polars as pl
import pyarrow as pa

from planner.file_format import FileFormat
from sqlray.format_values import python_values, value_text
from sqlray.write_csv import as_text

# What a JSON text may not hold as it is.
_ESCAPES = {
    **{chr(code): f"\\u{code:04x}" for code in range(32)},
    '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f",
}  # fmt: skip


def write_json(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    """Write rows as JSON; returns their number."""
    keys = [json.dumps(name, ensure_ascii=False) + ":" for name in schema.names]
    begin, between, end = ("[", ",\n", "]\n") if format.array else ("", "\n", "\n")
    rows = 0
    for batch in batches:
        if batch.num_rows:
            out.write((between if rows else begin).encode())
            out.write(_objects(batch, keys, between).encode())
            rows += batch.num_rows
    out.write((end if rows else "[]\n" if format.array else "").encode())
    return rows


def _objects(batch: pa.RecordBatch, keys: list[str], between: str) -> str:
    frame = pl.DataFrame([_values(column, str(i)) for i, column in enumerate(batch.columns)])
    parts = [pl.lit("{" + keys[0])]
    for i, key in enumerate(keys):
        parts += [pl.lit("," + key)] if i else []
        parts.append(pl.col(str(i)).fill_null("null"))
    text: str = frame.select(pl.concat_str([*parts, pl.lit("}")]).str.join(between)).item()
    return text


def _values(column: pa.Array, name: str) -> pl.Series:
    """A column's values as JSON, NULL as NULL."""
    dtype = column.type
    if pa.types.is_nested(dtype):
        values = python_values(pa.chunked_array([column]))
        return pl.Series(name, [None if v is None else json_text(v) for v in values], dtype=pl.String)
    series = as_text(column, name)
    text = pl.col(name).cast(pl.String)
    value: pl.Expr
    match series.dtype:
        case pl.Float32() | pl.Float64():  # there are no NaN and no infinities in JSON
            value = pl.when(pl.col(name).is_finite()).then(text)
        case pl.Boolean() | pl.Decimal():
            value = text
        case dtype if dtype.is_integer():
            value = text
        case pl.Datetime():
            value = _quoted(pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S%.f"))
        case pl.Time():
            value = _quoted(pl.col(name).dt.to_string("%H:%M:%S%.f"))
        case pl.String():
            value = _quoted(pl.col(name).str.replace_many(list(_ESCAPES), list(_ESCAPES.values())))
        case _:
            value = _quoted(text)
    return series.to_frame().select(value.alias(name)).to_series()


def _quoted(text: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit('"'), text, pl.lit('"'))


def json_text(value: object) -> str:
    """A value as JSON: decimals with every digit; null for NaN and infinities, which JSON does not have."""
    match value:
        case None:
            return "null"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else "null"
        case Decimal():
            return format(value, "f")
        case list():
            return "[" + ",".join(map(json_text, value)) + "]"
        case dict():
            return "{" + ",".join(f"{json.dumps(str(k))}:{json_text(v)}" for k, v in value.items()) + "}"
        case _:
            return json.dumps(value_text(value), ensure_ascii=False)
