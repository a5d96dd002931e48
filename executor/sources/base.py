"""What kernels ask of a source beyond what the planner asks of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import polars as pl
import pyarrow as pa

from executor.dtypes import polars_dtype
from planner import types
from planner.catalog import Split, Table
from planner.errors import UnsupportedError


@runtime_checkable
class Source(Table, Protocol):
    """A table that kernels can read."""

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        """The named columns (original names, engine types, that order) of the given splits, or of the whole table.

        The frame is lazy, so that filters and limits above it reach the reader.
        """
        ...


def engine_schema(source: pa.Schema, table: str) -> pa.Schema:
    """The engine's types for a source's columns. Columns without one yet raise when a query reads them (``readable``),
    so that the rest of the table stays usable: they keep their Arrow type here."""
    return pa.schema([pa.field(f.name, types.normalize(f.type) or f.type, f.nullable) for f in source])


def readable(schema: pa.Schema, columns: Sequence[str], table: str) -> None:
    """Check that the columns have types that the engine knows.

    Raises:
        UnsupportedError: one of them has not.
    """
    for name in columns:
        dtype = schema.field(name).type
        if types.normalize(dtype) is None:
            raise UnsupportedError(
                f'column "{name}" of {table} has the type {dtype}, which sqlray cannot read yet',
                hint="leave the column out of the query",
            )


def conform(frame: pl.LazyFrame, actual: pl.Schema, schema: pa.Schema, columns: Sequence[str]) -> pl.LazyFrame:
    """Select ``columns`` with the engine's types."""
    return frame.select([conformed(name, actual, schema) for name in columns])


def conformed(name: str, actual: pl.Schema, schema: pa.Schema) -> pl.Expr:
    """A column with the engine's type; one that has its type already is left alone."""
    want = polars_dtype(schema.field(name).type)
    have = actual[name]
    decimals = isinstance(have, pl.Decimal) and isinstance(want, pl.Decimal) and have.scale == want.scale
    return pl.col(name) if have == want or decimals else pl.col(name).cast(want)
