"""The engines that sqllogictest files run on: sqlray, and DuckDB to check the runner and the files."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import duckdb

import sqlray
from tests.slt.parser import Form


class Engine(Protocol):
    """One fresh database for one file."""

    names: frozenset[str]

    def run(self, sql: str) -> Sequence[Sequence[object]]:
        """Runs one statement or query and returns its rows."""

    def cancel(self) -> None:
        """Stops what runs; called from another thread."""

    def close(self) -> None: ...


class SqlrayEngine:
    """A new session. SQLite's files are read in SQLite's dialect, where `/` of integers divides integers."""

    def __init__(self, form: Form, options: Mapping[str, str]) -> None:
        self.names = frozenset({"sqlray", "duckdb"}) if form == "duckdb" else frozenset({"sqlray"})
        self._dialect = "sqlite" if form == "sqlite" else None
        self._session = sqlray.connect()
        for name, value in options.items():
            self._session.sql(f"SET {name} = '{value}'")

    def run(self, sql: str) -> Sequence[Sequence[object]]:
        return self._session.sql(sql, dialect=self._dialect).fetchall()

    def cancel(self) -> None:
        self._session.cancel()

    def close(self) -> None:
        self._session.close()


class DuckDBEngine:
    """An in-memory DuckDB; for SQLite's files with integer division."""

    def __init__(self, form: Form) -> None:
        self.names = frozenset({"duckdb"})
        self._connection = duckdb.connect()
        if form == "sqlite":
            self._connection.execute("SET integer_division = true")

    def run(self, sql: str) -> Sequence[Sequence[object]]:
        return self._connection.execute(sql).fetchall()

    def cancel(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()


def open_engine(name: str, form: Form, options: Mapping[str, str]) -> Engine:
    """The engine of this name, with these session options (sqlray only)."""
    match name:
        case "sqlray":
            return SqlrayEngine(form, options)
        case "duckdb":
            return DuckDBEngine(form)
        case other:
            raise ValueError(f"no engine {other!r}: sqlray or duckdb")
