"""Every fragment of TPC-H translates to cuDF: asked of cudf-polars' translator, which needs no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sqlray
from executor.dtypes import polars_dtype
from executor.kernels import KernelOptions, compile_fragment
from planner.expr import column_name
from planner.physical import InputExec
from planner.stages import Stage
from planner.tree import walk
from sqlray import pipeline
from tpch_queries import NUMBERS, TABLES, query

translator = pytest.importorskip(
    "cudf_polars.dsl.translate", reason="cudf-polars (the gpu extra) is not installed", exc_type=ImportError
)


def stages(session: sqlray.Session, sql: str, monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """The stages that a query is cut into."""
    planned: list[Any] = []
    real = pipeline.plan

    def remember(*args: Any) -> Any:
        planned.append(real(*args))
        return planned[-1]

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "plan", remember)
        session.sql(sql)
    return list(planned[-1].physical.graph.stages)


def errors(stage: Stage) -> list[str]:
    """What keeps a stage from running on cuDF."""
    inputs = {
        node.stage: pl.LazyFrame(schema={column_name(f): polars_dtype(f.dtype) for f in node.schema})
        for node in walk(stage.plan)
        if isinstance(node, InputExec)
    }
    lazy = compile_fragment(stage.plan, inputs, KernelOptions(device="gpu"))
    engine = pl.GPUEngine(executor="in-memory", raise_on_fail=True)
    translation = translator.Translator(lazy._ldf.visit(), engine)
    translation.translate_ir()
    return [str(e) for e in translation.errors]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_fragment_translates(number: int, tpch_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = sqlray.connect()
    for table in TABLES:
        session.register(table, tpch_data / f"{table}.parquet")
    found = {s.name: errors(s) for s in stages(session, query(number), monkeypatch)}
    assert not any(found.values()), found
