"""Parquet: a file, or several of one schema. Statistics come from the footers, and from one small sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import field
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from executor import residents
from executor.dtypes import polars_dtype
from executor.sources.base import conformed, engine_schema, readable
from executor.sources.errors import opening
from executor.sources.memory import estimate_ndv, types_width
from planner import types
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.errors import ExecutionError
from planner.record import record

_SAMPLE_ROWS = 8_192


FileKey = tuple[str, int, int]
"""A file's path, time of change (ns) and size (bytes)."""


@record
class Footer:
    """What one file's metadata says. Row-group bounds are read column by column, when asked for."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    columns: dict[str, tuple[ColumnStatistics, ...]] = field(default_factory=dict)


_MOST_TABLES = 256
_footers: dict[FileKey, Footer] = {}
_tables: dict[tuple[str, tuple[FileKey, ...], str], ParquetTable] = {}


@record(eq=False, weakref=True)
class ParquetTable:
    """Local Parquet files. ``hive`` are the partition columns that the paths carry, with their values per file."""

    name: str
    paths: tuple[str, ...]
    keys: tuple[FileKey, ...]
    schema: pa.Schema
    hive: tuple[str, ...] = ()
    hive_values: tuple[dict[str, Any], ...] = ()
    _columns: dict[str, ColumnStatistics] = field(default_factory=dict, repr=False)
    _samples: dict[str, pl.Series] = field(default_factory=dict, repr=False)
    _actual: list[pl.Schema] = field(default_factory=list, repr=False)  # the reader's schema, once it is known
    _conformed: dict[str, pl.Expr] = field(default_factory=dict, repr=False)  # columns that were read before
    _splits: list[Split] = field(default_factory=list, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Without what was found out about the files: a worker that needs it looks again."""
        return ParquetTable, (self.name, self.paths, self.keys, self.schema, self.hive, self.hive_values)

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        rows = sum(_footer(k).metadata.num_rows for k in self.keys)
        unknown = [c for c in columns if c not in self._columns and c not in self.hive]
        if unknown:
            self._sample(unknown)
        found = {}
        for name in columns:
            if name in self._columns:
                found[name] = self._columns[name]
            elif name in self.hive:
                values = [v[name] for v in self.hive_values]
                known = [v for v in values if v is not None]
                found[name] = ColumnStatistics(
                    min(known, default=None), max(known, default=None), None, len(set(values)), 16.0
                )
            else:
                found[name] = self._columns[name] = self._column(name, rows)
                self._samples.pop(name, None)
        held, reads = residents.resident(self, columns), residents.reads(self)
        return TableStatistics(rows, True, found, parquet=True, resident=held, reads=reads)

    def _column(self, name: str, rows: int) -> ColumnStatistics:
        groups = [g for k in self.keys for g in column_groups(_footer(k), name)]
        merged = merge_bounds(groups)
        dtype = self.schema.field(name).type
        ndv, width = guess(self._samples.get(name), rows, is_clustered(groups, merged), dtype)
        if isinstance(merged.min, int) and isinstance(merged.max, int) and not isinstance(merged.min, bool):
            ndv = min(ndv, merged.max - merged.min + 1)
        if types.is_decimal(dtype) and isinstance(merged.min, Decimal) and isinstance(merged.max, Decimal):
            ndv = min(ndv, float((merged.max - merged.min).scaleb(dtype.scale)) + 1)
        if dtype == types.DATE and merged.min is not None:
            ndv = min(ndv, (merged.max - merged.min).days + 1)
        return ColumnStatistics(merged.min, merged.max, merged.null_count, ndv, width, merged.exact)

    def _sample(self, columns: Sequence[str]) -> None:
        """Read some rows of columns, together, from a row group in the middle of the largest file."""
        known = [c for c in columns if types.normalize(self.schema.field(c).type) is not None]
        key = max(self.keys, key=lambda k: _footer(k).metadata.num_rows, default=None)
        if not known or key is None or _footer(key).metadata.num_rows == 0:
            return
        footer = _footer(key).metadata
        with opening(self.name, "Parquet"), pq.ParquetFile(key[0], metadata=footer, pre_buffer=False) as file:
            middle = [file.num_row_groups // 2]
            batch = next(file.iter_batches(_SAMPLE_ROWS, middle, known, use_threads=False), None)
        if batch is not None and batch.num_rows:
            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            self._samples.update({name: frame.get_column(name) for name in known})

    def splits(self) -> tuple[Split, ...]:
        if self._splits:
            return tuple(self._splits)
        found = []
        for path, key in zip(self.paths, self.keys, strict=True):
            metadata, at = _footer(key).metadata, 0
            for i in range(metadata.num_row_groups):
                group = metadata.row_group(i)
                found.append(Split((path, at, group.num_rows), group.num_rows, group.total_byte_size))
                at += group.num_rows
        self._splits[:] = found
        return tuple(found)

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        new = [c for c in columns if c not in self._conformed]
        readable(self.schema, new, self.name)
        self.check()
        if splits is None:
            frame = self._open(list(self.paths))
        else:
            parts = [self._open([path]).slice(start, count) for path, start, count in join_ranges(splits)]
            frame = pl.concat(parts) if parts else self._open(list(self.paths[:1])).head(0)
        with opening(self.name, "Parquet"):
            if not self._actual:
                self._actual.append(frame.collect_schema())
            self._conformed.update((c, conformed(c, self._actual[0], self.schema)) for c in new)
            return frame.select([self._conformed[c] for c in columns])

    def check(self) -> None:
        """See that the files are those that the table was opened over: what was proved of these holds for no others.

        Raises:
            ExecutionError: one of them is another one now.
        """
        for key in self.keys:
            if read_footer(key[0]) != key:
                raise _changed(key)

    def _open(self, paths: list[str]) -> pl.LazyFrame:
        if not paths:
            return pl.DataFrame(schema=pl.DataFrame(self.schema.empty_table()).schema).lazy()
        return pl.scan_parquet(
            paths,
            glob=False,
            hive_partitioning=bool(self.hive),
            hive_schema={c: polars_dtype(self.schema.field(c).type) for c in self.hive} or None,
            cache=False,
        )


def join_ranges(splits: Sequence[Split]) -> list[tuple[str, int, int]]:
    """Row ranges with neighbours of one file merged."""
    merged: list[tuple[str, int, int]] = []
    for split in splits:
        path, start, count = split.part
        if merged and merged[-1][0] == path and merged[-1][1] + merged[-1][2] == start:
            merged[-1] = (path, merged[-1][1], merged[-1][2] + count)
        else:
            merged.append((path, start, count))
    return merged


def parquet_table(name: str, paths: Sequence[str], hive: Sequence[dict[str, Any]] = ()) -> ParquetTable:
    """Open Parquet files: reads their footers (cached by path, time and size).

    Raises:
        ExecutionError: a file is missing, unreadable or not Parquet, or its columns differ from the first one's.
    """
    keys = tuple(read_footer(p) for p in paths)
    known = _tables.get((name, keys, repr(hive)))
    if known is not None:
        return known
    first = _footers[keys[0]].schema
    for path, key in zip(paths, keys, strict=True):
        check_same_columns(first, _footers[key].schema, paths[0], path)
    schema = engine_schema(first, name)
    hive_names = tuple(hive[0]) if hive else ()
    for column in hive_names:
        if column not in schema.names:
            values = [h[column] for h in hive]
            schema = schema.append(pa.field(column, types.normalize(pa.array(values).type) or types.VARCHAR))
    table = ParquetTable(name, tuple(paths), keys, schema, hive_names, tuple(hive))
    if len(_tables) >= _MOST_TABLES:
        _tables.clear()
    _tables[(name, keys, repr(hive))] = table
    return table


def check_same_columns(first: pa.Schema, other: pa.Schema, first_path: str, path: str) -> None:
    if set(first.names) != set(other.names):
        odd = sorted(set(first.names) ^ set(other.names))
        raise ExecutionError(
            f"{path} has other columns than {first_path}: {', '.join(odd)}", hint="read the files as separate tables"
        )
    for name in first.names:
        a, b = types.normalize(first.field(name).type), types.normalize(other.field(name).type)
        if a != b:
            raise ExecutionError(
                f'column "{name}" is {first.field(name).type} in {first_path} and {other.field(name).type} in {path}',
                hint="read the files as separate tables and cast the column",
            )


def file_key(path: str) -> FileKey:
    """A file's identity: a file that is written anew has another one."""
    stat = os.stat(path)
    return path, stat.st_mtime_ns, stat.st_size


def read_footer(path: str) -> FileKey:
    """Read a file's footer into the cache and return its key there."""
    try:
        key = file_key(path)
        if key not in _footers:
            with pq.ParquetFile(path) as file:
                _footers[key] = Footer(file.metadata, file.schema_arrow)
        return key
    except FileNotFoundError:
        raise ExecutionError(f"there is no file {path}") from None
    except PermissionError:
        raise ExecutionError(f"no permission to read {path}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ExecutionError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None


def _footer(key: FileKey) -> Footer:
    """The footer of a file as it was when its table was opened.

    Raises:
        ExecutionError: the file is another one now.
    """
    if key not in _footers and read_footer(key[0]) != key:
        raise _changed(key)
    return _footers[key]


def _changed(key: FileKey) -> ExecutionError:
    return ExecutionError(f"{key[0]} changed while the query was being planned", hint="run the query again")


def column_groups(footer: Footer, name: str) -> tuple[ColumnStatistics, ...]:
    """Bounds of one column, row group by row group."""
    hit = footer.columns.get(name)
    if hit is not None:
        return hit
    metadata = footer.metadata
    index = next(
        (i for i in range(metadata.num_columns) if metadata.schema.column(i).path == name), None
    )
    if index is None or types.normalize(footer.schema.field(name).type) is None:
        found: tuple[ColumnStatistics, ...] = (ColumnStatistics(),)
    else:
        dtype = footer.schema.field(name).type
        chunks = (metadata.row_group(i).column(index) for i in range(metadata.num_row_groups))
        found = tuple(_chunk_statistics(c, dtype) for c in chunks)
    footer.columns[name] = found
    return found


def _chunk_statistics(chunk: pq.ColumnChunkMetaData, dtype: pa.DataType) -> ColumnStatistics:
    if not chunk.is_stats_set:
        return ColumnStatistics()
    statistics = chunk.statistics
    nulls = statistics.null_count if statistics.has_null_count else None
    if nulls is not None and nulls == chunk.num_values:
        return ColumnStatistics(None, None, nulls, exact=True)
    if not statistics.has_min_max or pa.types.is_time(dtype) or pa.types.is_floating(dtype):
        return ColumnStatistics(null_count=nulls)  # footers do not say whether a float column holds NaN
    try:
        low, high = _moment(statistics.min), _moment(statistics.max)
    except (OverflowError, ValueError):  # a date that Python has not: infinity, or after the year 9999
        return ColumnStatistics(null_count=nulls)
    text = isinstance(low, (str, bytes))
    if isinstance(low, bytes) and types.normalize(dtype) == types.VARCHAR:
        return ColumnStatistics(null_count=nulls)
    if pa.types.is_timestamp(dtype) and dtype.tz is None and getattr(low, "tzinfo", None) is not None:
        low, high = low.replace(tzinfo=None), high.replace(tzinfo=None)
    return ColumnStatistics(low, high, nulls, exact=not text)  # writers may cut long strings


def _moment(value: Any) -> Any:
    """A footer's value; nanoseconds, which come as a class of pandas, cut to microseconds as the reader cuts them."""
    return value.floor("us").to_pydatetime() if hasattr(value, "to_pydatetime") else value


def merge_bounds(groups: Sequence[ColumnStatistics]) -> ColumnStatistics:
    """Bounds of a column from the bounds of its parts; a part without bounds (that is not all NULL) leaves none."""
    nulls = None if any(g.null_count is None for g in groups) else sum(g.null_count or 0 for g in groups)
    known = [g for g in groups if g.min is not None]
    if any(g.min is None and not g.exact for g in groups) or not known:
        return ColumnStatistics(null_count=nulls, exact=bool(groups) and all(g.exact for g in groups))
    exact = all(g.exact for g in groups) and nulls is not None
    return ColumnStatistics(min(g.min for g in known), max(g.max for g in known), nulls, exact=exact)


def guess(sample: pl.Series | None, rows: int, clustered: bool, dtype: pa.DataType) -> tuple[float, float]:
    """(distinct values of the column, average bytes of a value), guessed from a few thousand neighbouring rows.

    In a clustered column neighbours are alike and far rows are not, so that distinct values grow with the rows.
    """
    width = float(types_width(dtype))
    if sample is None:
        return float(max(rows, 1)), width
    if sample.dtype == pl.String:
        mean = sample.str.len_bytes().mean()
        width = 16.0 + (float(mean) if isinstance(mean, (int, float)) else 0.0)
    if clustered:
        return min(float(rows), sample.n_unique() * rows / len(sample)), width
    return estimate_ndv(sample, rows), width


def is_clustered(groups: Sequence[ColumnStatistics], merged: ColumnStatistics) -> bool:
    """Whether row groups cover nearly disjoint ranges, as in a sorted column."""
    if len(groups) < 2 or not isinstance(merged.min, (int, date, Decimal)) or merged.min == merged.max:
        return False
    covered = sum(float(_span(g.min, g.max)) for g in groups if g.min is not None)
    return covered < 2 * float(_span(merged.min, merged.max))


def _span(low: Any, high: Any) -> Any:
    return (high - low).total_seconds() if isinstance(low, date) else high - low
