"""TPC-H, one group for each query with DuckDB beside sqlray.

    pytest tests/benchmarks --benchmark-only --benchmark-group-by=group

SQLRAY_TPCH_DATA names a directory of Parquet files of any scale; without it the data is of scale 0.01.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlray
import tpch_queries
from tests.conftest import TPCH_TABLES

QUERIES = range(1, 23)


@pytest.fixture(scope="module")
def session(tpch_data: Path) -> Iterator[sqlray.Session]:
    with sqlray.connect(plan_cache_size=0) as made:
        for table in TPCH_TABLES:
            made.register(table, str(tpch_data / f"{table}.parquet"))
        yield made


@pytest.fixture(scope="module")
def connection(tpch_data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        for table in TPCH_TABLES:
            made.execute(f"CREATE VIEW {table} AS FROM '{tpch_data / f'{table}.parquet'}'")
        yield made


@pytest.mark.parametrize("number", QUERIES)
def test_sqlray(benchmark: Any, session: sqlray.Session, number: int) -> None:
    benchmark.group = f"q{number:02}"
    benchmark(lambda: session.sql(tpch_queries.query(number)).to_arrow())


@pytest.mark.parametrize("number", QUERIES)
def test_duckdb(benchmark: Any, connection: duckdb.DuckDBPyConnection, number: int) -> None:
    benchmark.group = f"q{number:02}"
    benchmark(lambda: connection.sql(tpch_queries.query(number)).to_arrow_table())


@pytest.mark.parametrize("number", QUERIES)
def test_planning(benchmark: Any, session: sqlray.Session, number: int) -> None:
    """From text to the physical plan with the files' metadata read: `sql()` plans at once and runs later."""
    benchmark.group = "planning"
    text = tpch_queries.query(number)
    session.sql(text)
    benchmark(lambda: session.sql(text))


@pytest.mark.parametrize("number", QUERIES)
def test_plans_that_are_kept(benchmark: Any, session: sqlray.Session, number: int) -> None:
    """The same where the query was asked before."""
    benchmark.group = "planning"
    text = tpch_queries.query(number)
    with sqlray.connect() as keeping:
        for table in TPCH_TABLES:
            keeping.register(table, session.catalog.get(table))
        keeping.sql(text)
        benchmark(lambda: keeping.sql(text))
