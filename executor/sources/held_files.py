"""Columns of Parquet files that a GPU keeps decoded, from the second query that reads the files on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from weakref import WeakSet

import polars as pl
import pyarrow as pa

from executor import device_frames, residents
from executor.device_frames import DeviceFrame
from executor.dtypes import polars_dtype
from executor.sources.memory import MemoryTable
from executor.sources.parquet import ParquetTable
from executor.value import Store, Value, with_store
from planner.catalog import Split, TableStatistics
from planner.physical import PhysicalPlan, ScanExec
from planner.record import record
from planner.statistics import column_width
from planner.tree import transform_up, walk

_too_large: WeakSet[ParquetTable] = WeakSet()


@record(eq=False)
class HeldFiles:
    """Parquet files whose columns are read once, and then kept on the GPU; for a GPU alone."""

    table: ParquetTable

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        return self.table.statistics(columns)

    def splits(self) -> tuple[Split, ...]:
        return self.table.splits()

    def scan_on_device(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        """The rows of the copies that the GPU keeps; they are made when they are read there first.

        Decimals of up to 18 digits come as scaled integers.

        Raises:
            ExecutionError: a file is another one than was planned for.
        """
        rows = int(self.statistics(()).rows or 0)
        ranges = None if splits is None else self._ranges(splits)

        def size(name: str) -> float:
            return _bytes(self.table, [name])

        def load(names: Sequence[str]) -> DeviceFrame:
            try:
                return device_frames.load(self.decoded(names))
            except MemoryError:
                _too_large.add(self.table)
                raise

        def read(names: Sequence[str]) -> DeviceFrame:
            copy = residents.loaded_columns(self.table, rows, names, size, load)
            return copy if ranges is None else device_frames.pieces(copy, ranges)

        return device_frames.source(self.decoded(columns).collect_schema(), read)

    def decoded(self, columns: Sequence[str]) -> pl.LazyFrame:
        """The columns of all rows as the GPU keeps them, read from the files."""

        def form(name: str) -> pl.Expr:
            value = Value(pl.col(name), self.schema.field(name).type)
            return (with_store(value, Store.INT64, "gpu") if self.is_scaled_on_device(name) else value).expr

        return self.table.scan(columns, None).select(form(name).alias(name) for name in columns)

    def is_scaled_on_device(self, column: str) -> bool:
        """Whether ``scan_on_device`` gives a decimal column as scaled integers."""
        return residents.is_scaled(polars_dtype(self.schema.field(column).type))

    def _ranges(self, splits: Sequence[Split]) -> list[tuple[int, int]]:
        """Splits as ranges of the table's rows: the first, and how many."""
        first: dict[tuple[str, int], int] = {}
        at = 0
        for split in self.splits():
            path, start, count = split.part
            first.setdefault((path, start), at)
            at += count
        found: list[tuple[int, int]] = []
        for split in splits:
            path, start, count = split.part
            at = first[path, start]
            if found and sum(found[-1]) == at:
                found[-1] = found[-1][0], found[-1][1] + count
            else:
                found.append((at, count))
        return found


def with_held_files(plan: PhysicalPlan, held: frozenset[ParquetTable]) -> PhysicalPlan:
    """The plan with these tables read from the copies on the GPU."""

    def change(node: PhysicalPlan) -> PhysicalPlan:
        if isinstance(node, ScanExec) and node.table in held:
            assert isinstance(node.table, ParquetTable)
            return replace(node, table=HeldFiles(node.table))
        return node

    return transform_up(plan, change) if held else plan


def worth_holding(plan: PhysicalPlan) -> frozenset[ParquetTable]:
    """The tables whose columns a GPU that runs the plan should keep: those that a query before this one has read too,
    if all fit into what is set aside for copies, and have never turned out not to."""
    found = {
        table: _bytes(table, names)
        for table, names in _files(plan)
        if not table.hive and table not in _too_large and residents.reads(table) > 1
    }
    fit = found and sum(found.values()) <= residents.SHARE * device_frames.device_memory()
    return frozenset(found if fit else ())


def _files(plan: PhysicalPlan) -> Iterable[tuple[ParquetTable, set[str]]]:
    """The tables of files that a plan reads whole, and their columns; a table once."""
    found: dict[ParquetTable, set[str]] = {}
    for node in walk(plan):
        if isinstance(node, ScanExec) and isinstance(node.table, ParquetTable) and node.limit is None:
            found.setdefault(node.table, set()).update(f.name for f in node.fields)
    return found.items()


def _bytes(table: ParquetTable, names: Iterable[str]) -> float:
    """About how much memory columns take."""
    known = table.statistics(list(names))
    return (known.rows or 0) * sum(column_width(table.schema.field(n).type, c) for n, c in known.columns.items())


def note_reads(plans: Iterable[PhysicalPlan]) -> None:
    """Count a query that reads tables whose columns a GPU may keep: those that are read often are worth a copy."""
    owners: dict[int, pl.DataFrame | ParquetTable] = {}
    for plan in plans:
        for node in walk(plan):
            match node:
                case ScanExec(MemoryTable() as table):
                    owners[id(table.frame)] = table.frame
                case ScanExec(ParquetTable() as table):
                    owners[id(table)] = table
                case _:
                    pass
    for owner in owners.values():
        residents.note_read(owner)
