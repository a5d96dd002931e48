"""Every scalar expression against DuckDB, over columns of awkward values and NULLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlray
from executor.functions import implemented
from executor.kernels_aggregate import implemented as implemented_aggregates
from planner.errors import SqlrayError
from planner.functions import find_scalar, scalar_names
from planner.functions_aggregate import aggregate_names, find_aggregate
from tests.executor import oracle

_LINES = (Path(__file__).parent / "scalar_expressions.txt").read_text(encoding="utf-8").splitlines()
EXPRESSIONS = [line for line in _LINES if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def engines() -> tuple[sqlray.Session, duckdb.DuckDBPyConnection]:
    return oracle.session(), oracle.connection()


def run(engines: tuple[sqlray.Session, duckdb.DuckDBPyConnection], expression: str) -> tuple[Any, Any]:
    """Both columns, or the errors."""
    sql = f"select {expression} as v from t order by id"
    session, connection = engines
    results: list[Any] = []
    try:
        results.append(session.sql(sql).to_arrow().column(0).to_pylist())
    except SqlrayError as error:
        results.append(error)
    try:
        results.append(connection.sql(sql).to_arrow_table().column(0).to_pylist())
    except duckdb.Error as error:
        results.append(error)
    return results[0], results[1]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_equals_duckdb(engines: tuple[sqlray.Session, duckdb.DuckDBPyConnection], expression: str) -> None:
    ours, theirs = run(engines, expression)
    if isinstance(theirs, duckdb.Error):
        assert isinstance(ours, SqlrayError), f"DuckDB says {theirs}"
        return
    if isinstance(ours, SqlrayError):
        raise ours
    wrong = [(a, b) for a, b in zip(ours, theirs, strict=True) if not oracle.same(a, b)]
    assert not wrong, f"(ours, DuckDB's): {wrong[:5]}"


def test_every_function_is_computed() -> None:
    """The planner's table and the kernels know the same functions."""
    computed = {*implemented(), "coalesce", "if", "nullif"}
    canonical = {find_scalar(name).name for name in scalar_names()}  # type: ignore[union-attr]
    rewritten = {"date_part", "date_add"}  # the planner turns them into others
    assert canonical - computed - rewritten == set()


def test_every_aggregate_is_computed() -> None:
    canonical = {find_aggregate(name).name for name in aggregate_names()}  # type: ignore[union-attr]
    rewritten = {"median", "count_if", "approx_count_distinct"}
    assert canonical - set(implemented_aggregates()) - rewritten == set()


def test_volatile_functions(engines: tuple[sqlray.Session, duckdb.DuckDBPyConnection]) -> None:
    session = engines[0]
    rows = session.sql("select random() as r, gen_random_uuid() as u from t").fetchall()
    assert len({r for r, _ in rows}) > 100 and len({u for _, u in rows}) == len(rows)
    assert all(0 <= r < 1 for r, _ in rows)
    (row,) = session.sql(
        "select now() = now(), current_date = now()::date, localtimestamp = now()::timestamp"
    ).fetchall()
    assert row == (True, True, True)


def test_division_is_exact_to_the_last_digit() -> None:
    """Polars multiplies by the reciprocal of a constant divisor; kernels must not."""
    data = {"a": [i * 0.37 for i in range(1, 2000)], "b": list(range(1, 2000))}
    session = sqlray.connect()
    session.register("t", data)
    rows = session.sql("select a, b, a / 7, b / 100, 1 / b, round(a, 1) from t").fetchall()
    assert all((q, r, s) == (a / 7, b / 100, 1 / b) for a, b, q, r, s, _ in rows)
    assert all(x == round(x * 10) / 10 for *_, x in rows)
    assert session.sql("select sum(b) / 7, avg(b) from t").fetchall() == [(sum(data["b"]) / 7, 1000.0)]
