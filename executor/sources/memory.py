"""Tables in memory: registered Arrow, pandas and Polars data, session tables, and finished stages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from typing import Any

import polars as pl
import pyarrow as pa

from executor import device_frames, residents
from executor.device_frames import DeviceFrame
from executor.sources.base import conform, conformed, engine_schema, readable
from planner import types
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.errors import UnsupportedError
from planner.record import record

_SAMPLE = 20_000


@record(eq=False, weakref=True)
class MemoryTable:
    """Rows held as one Polars frame, which nobody else changes.

    ``unique`` names columns that are known to hold no value twice; ``keys`` are declared sets of columns that no two
    rows may share.
    """

    name: str
    frame: pl.DataFrame
    schema: pa.Schema
    unique: frozenset[str] = frozenset()
    keys: tuple[tuple[str, ...], ...] = ()
    _statistics: dict[str, ColumnStatistics] = field(default_factory=dict, repr=False)

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        for name in columns:
            if name not in self._statistics:
                self._statistics[name] = column_statistics(
                    self.frame.get_column(name), self.schema.field(name).type, name in self.unique
                )
        return TableStatistics(
            self.frame.height,
            True,
            {c: self._statistics[c] for c in columns},
            resident=residents.resident(self.frame, columns),
            reads=residents.reads(self.frame),
        )

    def splits(self) -> tuple[Split, ...]:
        rows = self.frame.height
        pieces = max(1, min(64, rows // 100_000))
        size = int(self.frame.estimated_size())
        edges = [rows * i // pieces for i in range(pieces + 1)]
        return tuple(Split((a, b - a), b - a, size // pieces) for a, b in pairwise(edges))

    def part(self, split: Split) -> pl.DataFrame:
        """The rows of one split."""
        return self.frame.slice(*split.part)

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        readable(self.schema, columns, self.name)
        frame = self.frame
        if splits is not None:
            parts = [self.part(s) for s in splits]
            frame = pl.concat(parts) if parts else frame.clear()
        return conform(frame.lazy(), frame.schema, self.schema, columns)

    def scan_on_device(
        self,
        columns: Sequence[str],
        splits: Sequence[Split] | None,
        dictionaries: Mapping[str, pl.Series] | None = None,
    ) -> pl.LazyFrame:
        """The same rows of the copy that the GPU keeps; it is made when they are read there first.

        Columns come as ``residents`` holds them; those of the ``dictionaries`` as codes.
        """
        readable(self.schema, columns, self.name)
        coded = dictionaries or {}

        def read(names: Sequence[str]) -> DeviceFrame:
            copy = residents.columns(self.frame, names, coded)
            return copy if splits is None else device_frames.pieces(copy, [s.part for s in splits])

        def dtype(name: str) -> pl.DataType:
            return residents.code_dtype(coded[name]) if name in coded else residents.held_dtype(self.frame.schema[name])

        schema = pl.Schema({name: dtype(name) for name in columns})
        lazy = device_frames.source(schema, read)
        plain = [name for name in columns if schema[name] == self.frame.schema[name]]
        return lazy.with_columns(conformed(name, schema, self.schema) for name in plain)

    def is_scaled_on_device(self, column: str) -> bool:
        """Whether ``scan_on_device`` gives a decimal column as scaled integers."""
        return residents.is_scaled(self.frame.schema[column])


def column_statistics(values: pl.Series, dtype: pa.DataType, unique: bool = False) -> ColumnStatistics:
    """Exact bounds and NULL count of a column in memory, and its distinct values guessed from a sample."""
    rows, nulls = len(values), values.null_count()
    width = float(types_width(dtype)) if not types.is_string(dtype) else _string_width(values)
    ndv: float | None = None
    if rows:
        step = max(1, rows // _SAMPLE)
        sample = values.gather_every(step) if step > 1 else values
        ndv = estimate_ndv(sample, rows)
    low, high, exact = None, None, False
    if not (types.normalize(dtype) is None or dtype in (types.NULL, types.BLOB, types.INTERVAL)):
        if _is_python(values):
            low, high, exact = values.min(), values.max(), True
        if types.is_float(dtype):  # NaN is the greatest value in SQL, Polars' max skips it
            if values.is_nan().any():
                low, high, exact = None, None, False
    if isinstance(low, int) and isinstance(high, int) and ndv is not None:
        ndv = min(ndv, high - low + 1)
    counted = rows > 0 and ndv == rows and rows <= _SAMPLE
    return ColumnStatistics(low, high, nulls, ndv, width, exact, unique or counted)


_FIRST_DAY, _LAST_DAY = (d.toordinal() - dt.date(1970, 1, 1).toordinal() for d in (dt.date.min, dt.date.max))


def _is_python(values: pl.Series) -> bool:
    """Whether Python has every value: its dates and times are of the years 1 to 9999."""
    match values.dtype:
        case pl.Date():
            units = 1
        case pl.Datetime() as dtype:
            units = 86_400 * {"ms": 10**3, "us": 10**6, "ns": 10**9}[dtype.time_unit]
        case _:
            return True
    numbers = values.to_physical()
    low, high = numbers.min(), numbers.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return True
    return low // units >= _FIRST_DAY and high // units <= _LAST_DAY


def estimate_ndv(sample: pl.Series, rows: int) -> float:
    """Distinct values of ``rows`` rows from a sample: the GEE estimator (Charikar et al., PODS 2000), which scales the
    values seen once by the square root of the sampling ratio — unless nearly all are seen once: then the column is
    taken for a key."""
    values = sample.drop_nulls()
    if len(values) == 0:
        return 1.0
    counts = values.value_counts(sort=False).get_column("count" if sample.name != "count" else "counts_")
    once = int((counts == 1).sum())
    distinct = len(counts)
    ratio = rows / max(len(sample), 1)
    if distinct == len(values):
        return float(rows)
    if ratio <= 1.0:
        return float(distinct)
    if once > 0.9 * len(values):
        return min(float(rows), distinct * ratio)
    return min(float(rows), (distinct - once) + once * float(ratio**0.5))


def types_width(dtype: pa.DataType) -> int:
    """Bytes that a value of a fixed-width type takes in Arrow."""
    if dtype == types.BOOLEAN:
        return 1
    return int(dtype.bit_width) // 8 if pa.types.is_primitive(dtype) or types.is_decimal(dtype) else 16


def _string_width(values: pl.Series) -> float:
    if values.dtype != pl.String or len(values) == 0:
        return 16.0
    head = values.head(_SAMPLE).str.len_bytes().mean()
    return 16.0 + float(head) if isinstance(head, (int, float)) else 16.0


def check_holdable(dtype: pa.DataType, column: str) -> None:
    """Check that a table in memory can hold a column, which errors call ``column``.

    Raises:
        UnsupportedError: it is an INTERVAL.
    """
    if dtype == types.INTERVAL:
        raise UnsupportedError(
            f"{column} is an INTERVAL, which tables in memory cannot hold yet",
            hint="leave the column out, or cast it to text",
        )


def _importable(table: pa.Table, name: str) -> pa.Table:
    """A table with NULLs in place of the columns that no query can read: Polars has not all of their types.

    Raises:
        UnsupportedError: a column is an INTERVAL, which queries could read.
    """
    for i, column in enumerate(table.schema):
        check_holdable(column.type, f'column "{column.name}" of {name}')
        if types.normalize(column.type) is None:
            table = table.set_column(i, column.name, pa.nulls(table.num_rows))
    return table


def memory_table(name: str, data: Any, unique: frozenset[str] = frozenset()) -> MemoryTable:
    """A table over Arrow (table, batch, reader, anything with ``__arrow_c_stream__``), Polars, pandas, a dict of
    columns or a list of dicts. Arrow and Polars data are not copied; a Polars frame that is changed in place afterwards
    stays here as it was. (Not so if an array is changed whose memory it shares, which is nobody's to change.)"""
    if isinstance(data, pl.LazyFrame):
        frame = data.collect()
    elif isinstance(data, pl.DataFrame):
        frame = data.clone()
    elif isinstance(data, pl.Series):
        frame = data.to_frame()
    elif isinstance(data, (list, Mapping)):
        table = pa.Table.from_pylist(data) if isinstance(data, list) else pa.table(dict(data))
        return memory_table(name, table, unique)
    elif isinstance(data, pa.RecordBatchReader):
        return memory_table(name, data.read_all(), unique)
    elif isinstance(data, pa.RecordBatch):
        return memory_table(name, pa.Table.from_batches([data]), unique)
    elif isinstance(data, pa.Table):
        schema = engine_schema(data.schema, name)
        return MemoryTable(name, pl.DataFrame(_importable(data, name)), schema, unique)
    elif type(data).__module__.split(".")[0] == "pandas":
        return memory_table(name, pa.Table.from_pandas(data, preserve_index=False), unique)
    elif hasattr(data, "__arrow_c_stream__"):
        return memory_table(name, pa.table(data), unique)
    else:
        raise TypeError(f"not a table: {type(data).__name__}")
    return MemoryTable(name, frame, engine_schema(frame.head(0).to_arrow().schema, name), unique)

