"""TPC-H tables as the planner sees them at scale factor 1: schema and fixed statistics, no rows.

``statistics.json`` was written by ``write_statistics`` from files of tpchgen-cli, so that golden plans do not
move with how statistics are gathered.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from planner import types
from planner.catalog import ColumnStatistics, Split, Table, TableStatistics

PATH = Path(__file__).parent / "statistics.json"


@dataclass(frozen=True, slots=True)
class FixedTable:
    """A table without rows that knows its statistics, and its bytes on disk."""

    name: str
    schema: pa.Schema
    known: TableStatistics
    parts: tuple[Split, ...]

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        found = {c: self.known.columns[c] for c in columns}
        return replace(self.known, columns=found)

    def splits(self) -> tuple[Split, ...]:
        return self.parts


@cache
def tpch_tables() -> Mapping[str, FixedTable]:
    """The eight tables by name."""
    return {name: _table(name, stored) for name, stored in json.loads(PATH.read_text()).items()}


@cache
def scaled_tables(scale: int, parquet: bool) -> Mapping[str, FixedTable]:
    """The tables as they are at another scale, in Parquet files or in the host's memory."""
    return {name: _scaled(table, scale, parquet) for name, table in tpch_tables().items()}


def _scaled(table: FixedTable, scale: int, parquet: bool) -> FixedTable:
    """A table with more rows: of keys, and of what is nearly one, there are more values too."""
    known = table.known
    assert known.rows is not None
    if table.name in ("nation", "region"):
        return replace(table, known=replace(known, parquet=parquet))
    columns = {}
    for name, column in known.columns.items():
        key = name.endswith("key") and name[2:] not in ("nationkey", "regionkey")
        if key:
            column = replace(column, max=column.max * scale)
        if key or (column.ndv or 0.0) > known.rows / 2:
            column = replace(column, ndv=(column.ndv or 0.0) * scale)
        columns[name] = column
    parts = tuple(replace(s, rows=(s.rows or 0) * scale, bytes=(s.bytes or 0) * scale) for s in table.parts)
    return replace(table, known=TableStatistics(known.rows * scale, True, columns, parquet), parts=parts)


def _table(name: str, stored: Any) -> FixedTable:
    fields, columns = [], {}
    for column, given in stored["columns"].items():
        dtype = _TYPES[given["type"]]
        fields.append(pa.field(column, dtype, given["nullable"]))
        read = _reader(dtype)
        columns[column] = ColumnStatistics(
            read(given["min"]),
            read(given["max"]),
            given["null_count"],
            given["ndv"],
            given["width"],
            given["exact"],
        )
    parts = tuple(Split(i, rows, size) for i, (rows, size) in enumerate(stored["splits"]))
    return FixedTable(name, pa.schema(fields), TableStatistics(stored["rows"], True, columns), parts)


_TYPES = {
    types.type_name(t): t
    for t in (types.BIGINT, types.INTEGER, types.VARCHAR, types.DATE, types.decimal(15, 2))
}


def _reader(dtype: pa.DataType) -> Any:
    if types.is_decimal(dtype):
        return Decimal
    return dt.date.fromisoformat if dtype == types.DATE else lambda value: value


def write_statistics(tables: Mapping[str, Table]) -> None:
    """Write what ``tables`` know of themselves."""
    stored = {}
    for name, table in sorted(tables.items()):
        known = table.statistics(table.schema.names)
        columns = {}
        for f in table.schema:
            c = known.columns[f.name]
            columns[f.name] = {
                "type": types.type_name(f.type),
                "nullable": f.nullable,
                "min": _plain(c.min),
                "max": _plain(c.max),
                "null_count": c.null_count,
                "ndv": c.ndv,
                "width": c.width,
                "exact": c.exact,
            }
        stored[name] = {
            "rows": known.rows,
            "columns": columns,
            "splits": [[s.rows, s.bytes] for s in table.splits()],
        }
    PATH.write_text(json.dumps(stored, indent=1) + "\n")


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else str(value)
