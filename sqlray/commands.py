"""Statements that run at once: DDL, INSERT, COPY, SHOW, DESCRIBE, SET, EXPLAIN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from executor.dtypes import polars_dtype
from executor.sources.memory import MemoryTable, check_holdable
from planner import types
from planner.catalog import Catalog, Table, View
from planner.errors import BindError, ExecutionError, PlanError, UnsupportedError
from planner.statements import (
    ColumnDefinition,
    CopyFrom,
    CopyTo,
    CreateIndex,
    CreateTable,
    CreateView,
    Describe,
    Drop,
    Explain,
    Insert,
    Query,
    ResetOption,
    SetOption,
    ShowTables,
    Statement,
)
from sqlray.result import Result
from sqlray.write_file import whole_file, write_rows


class Host(Protocol):
    """What statements change, and how queries run: the session."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def lock(self) -> AbstractContextManager[bool | None]: ...

    def run_query(self, query: Query) -> Result: ...

    def set_option(self, name: str, value: object) -> None: ...

    def reset_option(self, name: str | None = None) -> None: ...


def execute(statement: Statement, host: Host) -> Result:
    """Run a statement.

    Raises:
        BindError: it does not fit the catalog.
        ExecutionError: its query failed, or rows break a constraint.
    """
    match statement:
        case Query():
            return host.run_query(statement)
        case CreateTable():
            return _create_table(statement, host)
        case CreateView(view, replace, if_not_exists):
            if _free(view.name, replace, if_not_exists, host.catalog):
                host.catalog.put(view.name, view)
            return done("CREATE VIEW")
        case CreateIndex():
            return done("CREATE INDEX")
        case Drop():
            return _drop(statement, host.catalog)
        case Insert():
            return done(f"INSERT {_insert(statement, host)}")
        case CopyTo(query, path, format):
            result = host.run_query(query)
            with whole_file(path) as out, closing(result.watched()) as batches:
                count = write_rows(result.schema, batches, format, out)
            return counted("COPY", count)
        case CopyFrom(insert, path):
            try:
                return counted("COPY", _insert(insert, host))
            except ExecutionError as error:
                raise type(error)(f"cannot copy the rows of '{path}': {error.message}", hint=error.hint) from error
        case Describe(query):
            result = host.run_query(query)
            rows = [[f.name for f in result.schema], [types.type_name(f.type) for f in result.schema]]
            return text_result(["column_name", "column_type"], rows)
        case ShowTables():
            return text_result(["name"], [host.catalog.names()])
        case SetOption(name, value):
            host.set_option(name, value)
            return done("SET")
        case ResetOption(name):
            host.reset_option(name)
            return done("RESET")
        case Explain(Query() as query, analyze):
            text = host.run_query(query).explain(analyze)
            return text_result(["plan"], [text.splitlines()], message=text)
        case Explain():
            raise UnsupportedError("EXPLAIN takes a query")
        case _:
            raise PlanError(f"no way to run {type(statement).__name__}")


def done(message: str) -> Result:
    """The result of a statement that returns no rows."""
    return Result(pa.schema([]), lambda: iter(()), lambda _: message, message)


def counted(what: str, rows: int) -> Result:
    """The result of a statement that tells how many rows it was about, as DuckDB does."""
    table = pa.table({"Count": pa.array([rows], pa.int64())})
    message = f"{what} {rows}"
    return Result(table.schema, lambda: iter(table.to_batches()), lambda _: message, message, told=True)


def text_result(names: Sequence[str], columns: Sequence[Sequence[str]], *, message: str | None = None) -> Result:
    """A result of text columns, displayed as ``message`` if there is one."""
    table = pa.table([pa.array(c, pa.string()) for c in columns], names=list(names))

    def run() -> Iterator[pa.RecordBatch]:
        return iter(table.to_batches())

    return Result(table.schema, run, lambda _: "a constant table", message)


def _free(name: str, replace: bool, if_not_exists: bool, catalog: Catalog) -> bool:
    """Whether something may be created under ``name``; False if it shall stay as it is."""
    if catalog.get(name) is None or replace:
        return True
    if if_not_exists:
        return False
    raise BindError(f'there already is a table or view "{name}"', hint="CREATE OR REPLACE replaces it, DROP removes it")


def _create_table(statement: CreateTable, host: Host) -> Result:
    if not _free(statement.name, statement.replace, statement.if_not_exists, host.catalog):
        return done("CREATE TABLE")
    if statement.query is None:
        definitions = statement.columns
        _check_types(definitions)
        frame = pl.DataFrame(schema={c.name: polars_dtype(c.dtype) for c in definitions})
        schema = pa.schema([pa.field(c.name, c.dtype, not c.not_null) for c in definitions])
    else:
        result = host.run_query(statement.query)
        definitions = tuple(ColumnDefinition(f.name, f.type) for f in result.schema)
        _check_names([d.name for d in definitions])
        _check_types(definitions)
        frame = pl.DataFrame(result.to_arrow())
        schema = pa.schema([pa.field(f.name, f.type) for f in result.schema])
    host.catalog.put(statement.name, _table(statement.name, frame, schema, statement.keys))
    return done("CREATE TABLE")


def _check_types(columns: Sequence[ColumnDefinition]) -> None:
    for item in columns:
        check_holdable(item.dtype, f'the column "{item.name}"')


def _check_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise BindError(f'the table would have two columns "{name}"', hint="give one of them an alias")
        seen.add(name.lower())


def _table(name: str, frame: pl.DataFrame, schema: pa.Schema, keys: tuple[tuple[str, ...], ...]) -> MemoryTable:
    unique = frozenset(k[0] for k in keys if len(k) == 1)
    return MemoryTable(name, frame, schema, unique, keys)


def _drop(statement: Drop, catalog: Catalog) -> Result:
    if statement.kind == "INDEX":
        return done("DROP INDEX")
    for name in statement.names:
        entry = catalog.get(name)
        if entry is None and statement.if_exists:
            continue
        if entry is not None and isinstance(entry, View) != (statement.kind == "VIEW"):
            actual = "VIEW" if isinstance(entry, View) else "TABLE"
            raise BindError(f'"{name}" is a {actual.lower()}', hint=f"use DROP {actual}")
        catalog.drop(name)
    return done(f"DROP {statement.kind}")


def _insert(statement: Insert, host: Host) -> int:
    """Put a query's rows into a table; returns their number."""
    table: Table = statement.table
    if not isinstance(table, MemoryTable):
        raise UnsupportedError(f'cannot insert into "{statement.name}": its rows are not the session\'s own')
    result = host.run_query(statement.query)
    rows = result.to_arrow()
    added = pl.DataFrame(rows.rename_columns([f"c{i}" for i in range(rows.num_columns)]))
    added.columns = table.schema.names
    casts = [pl.col(name).cast(dtype) for name, dtype in table.frame.schema.items()]
    for item in table.schema:
        if not item.nullable and added.get_column(item.name).null_count():
            raise ExecutionError(f'column "{item.name}" of "{statement.name}" must not be NULL')
    with host.lock:  # to the rows of now: another thread may have added some since the statement was bound
        now = host.catalog.get(statement.name)
        if not isinstance(now, MemoryTable) or now.schema != table.schema:
            raise ExecutionError(f'"{statement.name}" was changed by another thread', hint="run the INSERT again")
        frame = pl.concat([now.frame, added.select(casts)])
        for key in now.keys:
            check_unique(frame, key, statement.name)
        host.catalog.put(statement.name, MemoryTable(now.name, frame, now.schema, now.unique, now.keys))
    return added.height


def check_unique(frame: pl.DataFrame, key: tuple[str, ...], table: str) -> None:
    """Raise ExecutionError if two rows agree in ``key`` (a NULL agrees with nothing)."""
    values = frame.select(key).drop_nulls()
    if values.n_unique() != values.height if values.height else False:
        twice: dict[str, Any] = values.filter(values.is_duplicated()).row(0, named=True)
        shown = ", ".join(f"{k} = {v}" for k, v in twice.items())
        raise ExecutionError(f'"{table}" already has a row with {shown}', hint="the columns are declared unique")
