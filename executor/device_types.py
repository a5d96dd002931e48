"""SQL types that cuDF has none for, in forms that it computes with: how rows change between a host's form and a GPU's.

=========  ==============================  ====================================
type       on the host                     on a GPU
=========  ==============================  ====================================
TIME       Polars' Time                    nanoseconds of the day, Int64
BLOB       Binary                          its bytes in hexadecimal, text
INTERVAL   a struct of three               three columns, all NULL where it is
=========  ==============================  ====================================

Times and bytes keep their order and what they equal, so that only what looks inside of them need know. cuDF refuses
the host's types: what was forgotten runs on the CPU, and is not wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from executor.dtypes import INTERVAL_STRUCT, polars_dtype
from planner import types
from planner.expr import Field, Schema, column_name

_OTHERWISE = (types.TIME, types.BLOB, types.INTERVAL)


def differs(field: Field) -> bool:
    """Whether a column has another form on a GPU."""
    return field.dtype in _OTHERWISE


def part_names(name: str) -> list[str]:
    """The columns that hold an INTERVAL on a GPU."""
    return [f"{name}.{part.name}" for part in INTERVAL_STRUCT.fields]


def to_device(lazy: pl.LazyFrame, schema: Schema) -> pl.LazyFrame:
    """Rows in the form for a GPU: as they are, or read and changed here where a column of them has another form."""
    held = lazy.collect_schema()
    changed = [f for f in schema if differs(f) and held.get(column_name(f)) in (pl.Time, pl.Binary, INTERVAL_STRUCT)]
    if not changed:
        return lazy
    frame = lazy.with_columns(e for f in changed for e in _device_columns(f)).collect()
    return frame.drop(column_name(f) for f in changed if f.dtype == types.INTERVAL).lazy()


def _device_columns(field: Field) -> Sequence[pl.Expr]:
    name = column_name(field)
    if field.dtype != types.INTERVAL:
        return [device_form(name, polars_dtype(field.dtype))]
    parts = zip(INTERVAL_STRUCT.fields, part_names(name), strict=True)
    return [pl.col(name).struct.field(part.name).alias(alias) for part, alias in parts]


def device_form(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column of TIME or BLOB in the form for a GPU."""
    if dtype == pl.Time():
        return pl.col(name).cast(pl.Int64)
    return pl.col(name).bin.encode("hex").str.to_uppercase()


def from_device(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Rows that a GPU computed, with the columns of ``schema`` in their own types."""
    if not any(differs(f) for f in schema):
        return frame
    return frame.select(_host_column(f) for f in schema)


def _host_column(field: Field) -> pl.Expr:
    name = column_name(field)
    match field.dtype:
        case types.TIME:
            return pl.col(name).cast(pl.Time)
        case types.BLOB:
            return pl.col(name).str.decode("hex")
        case types.INTERVAL:
            names = part_names(name)
            fields = zip(INTERVAL_STRUCT.fields, names, strict=True)
            made = pl.struct(pl.col(alias).alias(part.name) for part, alias in fields)
            return pl.when(pl.col(names[-1]).is_not_null()).then(made).alias(name)
        case _:
            return pl.col(name)
