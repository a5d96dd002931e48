"""Polars frames as Arrow tables with exactly the types that a query's schema promises."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from executor.intervals import intervals_to_arrow
from planner import types

# An Arrow string column addresses 2 GiB: a frame with more is handed over in pieces.
_PIECE = 1 << 30


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame's columns, by position, under the names and with the types of ``schema``."""
    pieces = int(frame.estimated_size()) // _PIECE + 1
    if pieces > 1 and frame.height > 1:
        rows = -(-frame.height // pieces)
        tables = [_table(frame.slice(at, rows), schema) for at in range(0, frame.height, rows)]
        return pa.concat_tables(tables)
    return _table(frame, schema)


def _table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    if not len(schema):  # keeps the number of rows
        return pa.table({"": pa.nulls(frame.height)}).select([])
    columns = [_column(series, field.type) for series, field in zip(frame.get_columns(), schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(series: pl.Series, dtype: pa.DataType) -> pa.Array:
    if dtype == types.INTERVAL:
        return intervals_to_arrow(series)
    array = series.alias("").to_arrow()  # a name may hold what Polars cannot export: a zero character
    return array if array.type == dtype else array.cast(dtype)
