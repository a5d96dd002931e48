"""How long planning takes for joins of many tables, and how long the command takes to start."""

import itertools
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest

import sqlray


def chain_join(tables: int) -> str:
    """A join of so many tables, each with the next."""
    names = [f"t{at}" for at in range(tables)]
    joins = " AND ".join(f"{a}.b = {b}.a" for a, b in itertools.pairwise(names))
    return f"SELECT count(*) FROM {', '.join(names)} WHERE {joins or 'TRUE'}"


def star_join(tables: int) -> str:
    """A join of one table with all others."""
    names = [f"t{at}" for at in range(tables)]
    return f"SELECT count(*) FROM {', '.join(names)} WHERE " + " AND ".join(
        f"t0.a = {t}.a" for t in names[1:]
    )


@pytest.mark.parametrize("shape", [chain_join, star_join])
@pytest.mark.parametrize("tables", [8, 16, 64])
def test_join_order(benchmark: Any, shape: Any, tables: int) -> None:
    benchmark.group = f"join of {tables} tables"
    rows = pa.table({"a": pa.array(range(10)), "b": pa.array(range(10))})
    with sqlray.connect(plan_cache_size=0) as session:
        for at in range(tables):
            session.register(f"t{at}", rows)
        text = shape(tables)
        benchmark(lambda: session.sql(text))


STARTS = {
    "import polars": "import polars",
    "import sqlray": "import sqlray",
    "sqlray -c": "from sqlray.cli import main; main(['-c', 'select 1'])",
}


@pytest.mark.parametrize("code", STARTS.values(), ids=STARTS.keys())
def test_start(benchmark: Any, code: str) -> None:
    benchmark.group = "start of a process"
    command = [sys.executable, "-c", code]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=5)
