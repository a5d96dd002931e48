"""Dictionaries of text columns of tables in memory, and tables that are read as their codes.

A code is the place of a value among all values in order, so that codes compare and sort as the values do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from weakref import WeakKeyDictionary

import polars as pl
import pyarrow as pa

from executor import residents
from executor.sources.memory import MemoryTable, memory_table
from planner import types
from planner.catalog import Split, TableStatistics
from planner.expr import Expr
from planner.record import record

LEAST_ROWS = 100_000
"""Of a table, from which on codes pay: kernels over fewer rows take as long to start as to run."""

MOST_VALUES = 4096
"""Of a dictionary: what is asked of a column is looked up for each value when a query is compiled."""

CODE, VALUE = "code", "value"  # the columns of a dictionary's table


@record(eq=False)
class Dictionary:
    """The values of a text column, each once and in order, without NULL.

    Args:
        values: the code of each is its place.
        table: the same as rows of CODE and VALUE.
        truths: what was asked of each value, and of NULL; None for what failed for one of them.
    """

    values: pl.Series
    table: MemoryTable
    truths: dict[Expr, list[bool | None] | None] = field(default_factory=dict, repr=False)

    @property
    def dtype(self) -> pa.DataType:
        """The SQL type of the codes."""
        return self.table.schema.field(CODE).type


_known: WeakKeyDictionary[MemoryTable, dict[str, Dictionary | None]] = WeakKeyDictionary()


def dictionary(table: MemoryTable, column: str) -> Dictionary | None:
    """The dictionary of a column; None if it is not text, or if codes in its place would not pay."""
    if table.frame.height < LEAST_ROWS or table.schema.field(column).type != types.VARCHAR:
        return None
    known = _known.setdefault(table, {})
    if column not in known:
        known[column] = _found(table, column)
    return known[column]


def _found(table: MemoryTable, column: str) -> Dictionary | None:
    guess = table.statistics([column]).columns[column].ndv
    if guess is None or guess > 2 * MOST_VALUES:
        return None
    values = table.frame.get_column(column).drop_nulls().unique().sort().alias(VALUE)
    if not 0 < len(values) <= MOST_VALUES:
        return None
    codes = pl.Series(CODE, range(len(values)), dtype=residents.code_dtype(values))
    name = f"the values of {table.name}.{column}"
    return Dictionary(values, memory_table(name, pl.DataFrame([codes, values]), frozenset((CODE, VALUE))))


@record(eq=False)
class CodedTable:
    """A table in memory of whose columns some are read as their codes; on a GPU alone."""

    table: MemoryTable
    dictionaries: Mapping[str, Dictionary]
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        coded = self.dictionaries
        fields = (f.with_type(coded[f.name].dtype) if f.name in coded else f for f in self.table.schema)
        object.__setattr__(self, "schema", pa.schema(list(fields)))

    @property
    def name(self) -> str:
        return self.table.name

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        return self.table.statistics(columns)

    def splits(self) -> tuple[Split, ...]:
        return self.table.splits()

    def scan_on_device(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        """See ``MemoryTable.scan_on_device``."""
        coded = {name: d.values for name, d in self.dictionaries.items()}
        return self.table.scan_on_device(columns, splits, coded)

    def is_scaled_on_device(self, column: str) -> bool:
        """See ``MemoryTable.is_scaled_on_device``."""
        return column not in self.dictionaries and self.table.is_scaled_on_device(column)
