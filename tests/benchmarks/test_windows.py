"""Window functions, one group for each with DuckDB beside sqlray.

    pytest tests/benchmarks/test_windows.py --benchmark-only --benchmark-group-by=group

SQLRAY_TPCH_DATA names a directory of Parquet files of any scale; without it the data is of scale 0.01.
"""

from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlray

QUERIES = {
    "number": "row_number() over (partition by l_orderkey order by l_linenumber)",
    "share": "l_extendedprice / sum(l_extendedprice) over (partition by l_shipmode)",
    "running": "sum(l_quantity) over (partition by l_suppkey order by l_shipdate, l_orderkey, l_linenumber)",
    "moving": "avg(l_extendedprice) over (partition by l_suppkey order by l_orderkey, l_linenumber rows 6 preceding)",
    "extreme": "max(l_tax) over (order by l_orderkey, l_linenumber rows between 99 preceding and 99 following)",
    "days": "sum(l_quantity) over (partition by l_suppkey order by l_shipdate range interval 30 days preceding)",
    "deviation": "stddev(l_quantity) over (partition by l_suppkey order by l_shipdate)",
    "median": "median(l_quantity) over (partition by l_suppkey order by l_orderkey, l_linenumber rows 6 preceding)",
    "distinct": "count(distinct l_shipmode) over (partition by l_suppkey order by l_shipdate)",
    "text": "rank() over (partition by l_shipmode order by l_comment)",
}


@pytest.mark.parametrize("engine", ["sqlray", "duckdb"])
@pytest.mark.parametrize("name", QUERIES)
def test_window(benchmark: Any, tpch_data: Path, name: str, engine: str) -> None:
    query = f"select max(r) from (select {QUERIES[name]} as r from '{tpch_data / 'lineitem.parquet'}')"
    run = sqlray.connect(plan_cache_size=0).sql if engine == "sqlray" else duckdb.connect().sql
    benchmark.group = name
    benchmark(lambda: run(query).fetchall())
