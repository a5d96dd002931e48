"""DuckDB over the generated tables, and the comparison of its rows with sqlray's."""

import datetime
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

# The tables are small: a query that takes longer joins too much of them.
_MOST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, or the error that took their place; neither if it took too long."""

    table: pa.Table | None
    error: str = ""

    @property
    def is_late(self) -> bool:
        return self.table is None and not self.error


class Oracle:
    """A DuckDB connection that is opened anew after an internal error of DuckDB's."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._tables = tables
        self._open()

    def _open(self) -> None:
        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 1; SET TimeZone = 'UTC'")
        for name, table in self._tables.items():
            self._connection.register(name, table)

    def run(self, sql: str) -> Answer:
        timer = threading.Timer(_MOST_SECONDS, self._connection.interrupt)
        timer.start()
        try:
            return Answer(self._connection.sql(sql).to_arrow_table())
        except duckdb.InterruptException:
            return Answer(None)
        except duckdb.Error as error:
            if isinstance(error, duckdb.InternalException | duckdb.FatalException):
                self._open()
            return Answer(None, f"{type(error).__name__}: {error}")
        finally:
            timer.cancel()


def type_class(dtype: pa.DataType) -> str:
    """A type as far as both engines must agree on it: integers of any width are one class."""
    if pa.types.is_integer(dtype) or (pa.types.is_decimal(dtype) and dtype.scale == 0):
        return "integer"
    if pa.types.is_decimal(dtype):
        return f"decimal scale {dtype.scale}"
    if pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        return "binary"
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return "string"
    return str(dtype)


def difference(expected: pa.Table, found: pa.Table, ordered_by: Sequence[int] = ()) -> str | None:
    """Nothing if both tables hold the same rows, else what differs.

    Rows are compared as a multiset; where the query orders by output columns, these columns also in order.
    """
    if expected.num_columns != found.num_columns:
        return f"{expected.num_columns} columns expected, {found.num_columns} found"
    for want, have in zip(expected.schema, found.schema, strict=True):
        if want.name != have.name:
            return f"name {want.name!r} expected, {have.name!r} found"
        if type_class(want.type) != type_class(have.type):
            return f"type {want.type} expected, {have.type} found"
    wanted, have_rows = _rows(expected), _rows(found)
    if len(wanted) != len(have_rows):
        return f"{len(wanted)} rows expected, {len(have_rows)} found; {_sample(wanted, have_rows)}"
    if ordered_by:
        for place, (want_row, have_row) in enumerate(zip(wanted, have_rows, strict=True)):
            if not all(_same(want_row[at], have_row[at]) for at in ordered_by):
                return f"order: row {place} is {have_row}, expected {want_row}"
    wanted.sort(key=_sort_key)
    have_rows.sort(key=_sort_key)
    for want_row, have_row in zip(wanted, have_rows, strict=True):
        if not all(_same(a, b) for a, b in zip(want_row, have_row, strict=True)):
            return f"row {want_row} expected, {have_row} found; {_sample(wanted, have_rows)}"
    return None


def _rows(table: pa.Table) -> list[tuple[object, ...]]:
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def _sample(wanted: list[tuple[object, ...]], found: list[tuple[object, ...]]) -> str:
    missing = [row for row in wanted if row not in found][:3]
    extra = [row for row in found if row not in wanted][:3]
    return f"missing {missing}, extra {extra}"


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return a == b


def _sort_key(row: tuple[object, ...]) -> tuple[object, ...]:
    """A total order over rows in which doubles that differ only by rounding stay together, at the end."""
    exact = tuple(_value_key(value) for value in row if not isinstance(value, float))
    doubles = [value for value in row if isinstance(value, float)]
    nulls = tuple(value is None for value in row)
    return (nulls, exact, tuple(_float_key(d, 7) for d in doubles), tuple(_float_key(d, 17) for d in doubles))


def _value_key(value: object) -> tuple[int, object]:
    match value:
        case None:
            return (0, 0)
        case bool():
            return (1, value)
        case int() | Decimal():
            return (2, Decimal(value))
        case str():
            return (3, value)
        case datetime.datetime():
            return (4, value.isoformat())
        case datetime.date():
            return (5, value)
        case _:
            return (6, str(value))


def _float_key(value: float, digits: int) -> tuple[bool, float]:
    return (True, 0.0) if math.isnan(value) else (False, float(f"{value:.{digits}g}"))
