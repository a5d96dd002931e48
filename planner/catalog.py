"""What the planner asks of tables: their schema, their statistics and how they split. Sources implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from planner.errors import BindError, nearest
from planner.record import record


@record
class ColumnStatistics:
    """What is known of one column. None is unknown, never zero.

    ``min`` and ``max`` bound every non-NULL value (Python values of the column's type); they are *safe bounds* even
    when not exact. ``exact`` says that min, max and null_count are attained, so that queries may be answered from
    them. ``ndv`` is an estimate of the number of distinct values; ``unique`` says that no value occurs twice.
    ``likely`` says that min and max are no bounds, but where most values are expected; sources never set it.
    """

    min: Any = None
    max: Any = None
    null_count: int | None = None
    ndv: float | None = None
    width: float | None = None  # average bytes a value in Arrow form
    exact: bool = False
    unique: bool = False
    likely: bool = False


@record
class TableStatistics:
    """What is known of a table.

    Args:
        rows: None if it is not known how many there are.
        exact: whether that is their number.
        columns: by name.
        parquet: whether the rows are in Parquet files, which a GPU decodes by itself.
        resident: those of the columns that the GPU's memory holds a copy of.
        reads: how many queries have read the table, if the GPU's memory may hold copies of its columns.
    """

    rows: float | None = None
    exact: bool = False
    columns: Mapping[str, ColumnStatistics] = field(default_factory=dict)
    parquet: bool = False
    resident: frozenset[str] = frozenset()
    reads: int = 0


@record
class Split:
    """A part of a table that one task reads: source-specific ``part``, with its rows and bytes where known.

    ``statistics`` bound the part's columns, so that a filter can skip it without reading (partition and row-group
    pruning).
    """

    part: Any
    rows: int | None = None
    bytes: int | None = None
    statistics: Mapping[str, ColumnStatistics] = field(default_factory=dict)


@runtime_checkable
class Table(Protocol):
    """A source of rows. Immutable for the length of a query; schema types are the engine's (types.normalize)."""

    @property
    def name(self) -> str:
        """How EXPLAIN and errors call it: a registered name or a path."""
        ...

    @property
    def schema(self) -> pa.Schema: ...

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        """What is known of the table and the named columns, cheaply (footers, samples), cached by file identity."""
        ...

    def splits(self) -> tuple[Split, ...]:
        """The parts, in the table's order; their union is the table."""
        ...


@record
class View:
    """A named query: its SQL text, and the dialect it was written in."""

    name: str
    sql: str
    dialect: str
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Catalog:
    """The named tables and views of a session. Names compare without case and keep the case they were given. May be
    used from several threads.

    Args:
        version: how often a name was given or taken.
    """

    version: int = 0
    _entries: dict[str, tuple[str, Table | View]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def get(self, name: str) -> Table | View | None:
        hit = self._entries.get(name.lower())
        return hit[1] if hit else None

    def put(self, name: str, entry: Table | View) -> None:
        with self._lock:
            self._entries[name.lower()] = (name, entry)
            self.version += 1

    def drop(self, name: str) -> None:
        """Remove an entry.

        Raises:
            BindError: there is none of that name.
        """
        with self._lock:
            found = self._entries.pop(name.lower(), None)
            self.version += found is not None
        if found is None:
            raise self.unknown(name)

    def names(self) -> list[str]:
        return sorted(name for name, _ in self._entries.values())

    def unknown(self, name: str) -> BindError:
        """The error for a name that is no table, with the nearest one as a hint."""
        close = nearest(name, self.names())
        hint = f'did you mean "{close}"?' if close else "register it, or quote a path: FROM 'file.parquet'"
        return BindError(f'there is no table "{name}"', hint=hint)
