"""Every fragment of TPC-H translates to cuDF: asked of cudf-polars' translator, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import sqlray
from executor.device_frames import translate
from executor.dtypes import polars_dtype
from executor.kernels import KernelOptions, compile_fragment, optimizations
from executor.value import NotOnDevice
from planner.expr import column_name
from planner.physical import InputExec
from planner.stages import Stage
from planner.tree import walk
from tests.planned import planned_query
from tpch_queries import NUMBERS, TABLES, query

pytest.importorskip(
    "cudf_polars.dsl.translate", reason="cudf-polars (the gpu extra) is not installed", exc_type=ImportError
)
pytestmark = pytest.mark.cudf


def errors(stage: Stage) -> list[str]:
    """What keeps a stage from running on cuDF."""
    inputs = {
        node.stage: pl.LazyFrame(schema={column_name(f): polars_dtype(f.dtype) for f in node.schema})
        for node in walk(stage.plan)
        if isinstance(node, InputExec)
    }
    lazy = compile_fragment(stage.plan, inputs, KernelOptions(device="gpu"))
    try:
        translate(lazy, optimizations())
    except NotOnDevice as error:
        return [str(error)]
    return []


@pytest.mark.parametrize("number", NUMBERS)
def test_every_fragment_translates(number: int, tpch_data: Path) -> None:
    session = sqlray.connect()
    for table in TABLES:
        session.register(table, tpch_data / f"{table}.parquet")
    graph = planned_query(session, query(number)).physical.graph
    found = {s.name: errors(s) for s in graph.stages}
    assert not any(found.values()), found
