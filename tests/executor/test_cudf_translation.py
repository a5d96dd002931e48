"""Every fragment of TPC-H translates to cuDF: asked of cudf-polars' translator, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

import sqlray
from tests.planned import planned_query, refusal
from tpch_queries import NUMBERS, TABLES, query

pytest.importorskip(
    "cudf_polars.dsl.translate", reason="cudf-polars (the gpu extra) is not installed", exc_type=ImportError
)
pytestmark = pytest.mark.cudf


@pytest.mark.parametrize("number", NUMBERS)
def test_every_fragment_translates(number: int, tpch_data: Path) -> None:
    session = sqlray.connect()
    for table in TABLES:
        session.register(table, tpch_data / f"{table}.parquet")
    graph = planned_query(session, query(number)).physical.graph
    found = {s.name: refusal(s) for s in graph.stages}
    assert not any(found.values()), found
