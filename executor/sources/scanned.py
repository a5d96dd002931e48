"""Tables over files that Polars scans one by one: CSV, JSON, Arrow IPC, and Parquet at a URL.

A ``FileReader`` knows one format with its options; ``ScannedTable`` puts files of one schema together, adds
the columns that their folders carry, and guesses statistics from a sample.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from executor.dtypes import polars_dtype
from executor.sources.base import conform, readable
from executor.sources.errors import opening
from executor.sources.memory import estimate_ndv, types_width
from planner import types
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.errors import ExecutionError
from planner.record import record


class FileReader(Protocol):
    """One format with its options. Immutable, and small enough to be sent to a worker."""

    def open(self, path: str) -> pl.LazyFrame:
        """All columns of one file."""
        ...

    def sample(self, path: str) -> pl.DataFrame:
        """Some rows of one file, to guess statistics from."""
        ...


@record
class ScannedFile:
    """One file of a table: its size and rows where known (``exact``: counted, not guessed), its folders'
    values."""

    path: str
    bytes: int | None = None
    rows: int | None = None
    exact: bool = False
    hive: Mapping[str, Any] = field(default_factory=dict)


@record(eq=False)
class ScannedTable:
    """Files of one format and schema; a split is a file."""

    name: str
    schema: pa.Schema
    reader: FileReader
    files: tuple[ScannedFile, ...]
    _statistics: dict[str, ColumnStatistics] = field(default_factory=dict, repr=False)

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        counts = [f.rows for f in self.files]
        rows = None if None in counts else sum(c for c in counts if c is not None)
        missing = [c for c in columns if c not in self._statistics]
        if missing:
            self._statistics.update(self._sampled(missing, rows))
        exact = all(f.exact for f in self.files)
        return TableStatistics(rows, exact, {c: self._statistics[c] for c in columns})

    def _sampled(self, columns: Sequence[str], rows: int | None) -> dict[str, ColumnStatistics]:
        """Distinct values and widths; a sample proves no bounds."""
        hive = {c for f in self.files for c in f.hive}
        found = {c: self._folder_statistics(c) for c in columns if c in hive}
        stored = [c for c in columns if c not in hive]
        if stored and self.files:
            largest = max(self.files, key=lambda f: f.bytes or 0)
            sample = self.reader.sample(largest.path)
            for name in stored:
                dtype = self.schema.field(name).type
                values = sample.get_column(name) if name in sample.columns else None
                if values is None or types.normalize(dtype) is None:
                    found[name] = ColumnStatistics()
                    continue
                ndv = estimate_ndv(values, max(rows or 0, len(values))) if len(values) else None
                found[name] = ColumnStatistics(ndv=ndv, width=_width(values, dtype))
        return {c: found.get(c, ColumnStatistics()) for c in columns}

    def _folder_statistics(self, column: str) -> ColumnStatistics:
        values = {f.hive[column] for f in self.files}
        known = [v for v in values if v is not None]
        nulls = 0 if len(known) == len(values) else None
        return ColumnStatistics(min(known, default=None), max(known, default=None), nulls, len(values), 16.0)

    def splits(self) -> tuple[Split, ...]:
        return tuple(
            Split(i, f.rows if f.exact else None, f.bytes, {c: _constant(v) for c, v in f.hive.items()})
            for i, f in enumerate(self.files)
        )

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        readable(self.schema, columns, self.name)
        files = self.files if splits is None else [self.files[s.part] for s in splits]
        frames = [self._scan_file(f, columns) for f in files]
        if not frames:
            dtypes = {c: polars_dtype(self.schema.field(c).type) for c in columns}
            return pl.LazyFrame(schema=dtypes)
        return pl.concat(frames) if len(frames) > 1 else frames[0]

    def _scan_file(self, file: ScannedFile, columns: Sequence[str]) -> pl.LazyFrame:
        frame = self.reader.open(file.path)
        constants = [pl.lit(v).cast(self._dtype(c)).alias(c) for c, v in file.hive.items() if c in columns]
        if constants:
            frame = frame.with_columns(constants)
        with opening(file.path, "data"):
            return conform(frame, frame.collect_schema(), self.schema, columns)

    def _dtype(self, column: str) -> pl.DataType:
        return polars_dtype(self.schema.field(column).type)


def with_folder_columns(schema: pa.Schema, hive: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """``schema`` with the columns of ``key=value`` folders; they take the place of a file's column of that
    name."""
    for column in hive[0] if hive else ():
        dtype = types.normalize(pa.array([h[column] for h in hive]).type)
        item = pa.field(column, types.VARCHAR if dtype in (None, types.NULL) else dtype)
        at = schema.get_field_index(column)
        schema = schema.append(item) if at < 0 else schema.set(at, item)
    return schema


def file_size(path: str) -> int | None:
    """Bytes of a local file; None for a URL."""
    return None if "://" in path else os.stat(path).st_size


def check_same_names(names: Sequence[str], path: str, first: Sequence[str], first_path: str) -> None:
    """Raise ExecutionError if two files of one table have different columns."""
    odd = sorted(set(names) ^ set(first))
    if odd:
        raise ExecutionError(
            f"{path} has other columns than {first_path}: {', '.join(odd)}",
            hint="read the files as separate tables",
        )


def _constant(value: Any) -> ColumnStatistics:
    """The statistics of a column with one value in all rows."""
    return ColumnStatistics() if value is None else ColumnStatistics(value, value, 0, 1)


def _width(values: pl.Series, dtype: pa.DataType) -> float:
    if values.dtype != pl.String:
        return float(types_width(dtype))
    mean = values.str.len_bytes().mean()
    return 16.0 + (float(mean) if isinstance(mean, (int, float)) else 0.0)
