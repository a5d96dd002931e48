"""What a statement asks a session to do: the binder's result, which names no syntax any more."""

from __future__ import annotations

import pyarrow as pa

from planner.catalog import Table, View
from planner.file_format import FileFormat
from planner.logical import LogicalPlan
from planner.record import record


@record
class Query:
    """Rows to compute; ``names`` are the output columns as the user wrote them, repeated names included."""

    plan: LogicalPlan
    names: tuple[str, ...]


@record
class ColumnDefinition:
    """A column of CREATE TABLE."""

    name: str
    dtype: pa.DataType
    not_null: bool = False


@record
class CreateTable:
    """CREATE TABLE with columns, or from a query.

    Args:
        columns: the columns, none if there is a query.
        query: its rows are the table's.
        keys: PRIMARY KEY and UNIQUE constraints: sets of columns (by name) whose values no two rows share.
            Columns of a primary key are also ``not_null``.
    """

    name: str
    columns: tuple[ColumnDefinition, ...] = ()
    query: Query | None = None
    replace: bool = False
    if_not_exists: bool = False
    keys: tuple[tuple[str, ...], ...] = ()


@record
class CreateView:
    """CREATE VIEW; ``view`` holds the query's own text."""

    view: View
    replace: bool = False
    if_not_exists: bool = False


@record
class CreateIndex:
    """CREATE INDEX: nothing to do, since an index changes no answer."""

    name: str
    table: str


@record
class Drop:
    """DROP TABLE, DROP VIEW or DROP INDEX; ``kind`` is "TABLE", "VIEW" or "INDEX"."""

    kind: str
    names: tuple[str, ...]
    if_exists: bool = False


@record
class Insert:
    """INSERT: the query has the table's columns, in its order and types; those not named are NULL."""

    table: Table
    name: str
    query: Query


@record
class CopyTo:
    """COPY … TO: the query's rows are written to a file."""

    query: Query
    path: str
    format: FileFormat


@record
class CopyFrom:
    """COPY … FROM: the rows of a file are put into a table."""

    insert: Insert
    path: str


@record
class Describe:
    """DESCRIBE: the names and types of a query's columns."""

    query: Query


@record
class ShowTables:
    """SHOW TABLES."""


@record
class SetOption:
    """SET name = value; the value is a bool, int, float, str or None."""

    name: str
    value: bool | int | float | str | None


@record
class ResetOption:
    """RESET name."""

    name: str


@record
class Explain:
    """EXPLAIN, or EXPLAIN ANALYZE."""

    statement: Statement
    analyze: bool = False


Statement = (
    Query
    | CreateTable
    | CreateView
    | CreateIndex
    | Drop
    | Insert
    | CopyTo
    | CopyFrom
    | Describe
    | ShowTables
    | SetOption
    | ResetOption
    | Explain
)
