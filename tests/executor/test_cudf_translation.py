"""Every fragment of TPC-H translates to cuDF: asked of cudf-polars' translator, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import sqlray
from executor.device_frames import translate
from executor.kernels import optimizations
from executor.sources import dictionary
from executor.sources.files import open_files
from executor.sources.held_files import HeldFiles
from executor.sources.parquet import ParquetTable
from tests.planned import planned_query, refusal
from tpch_queries import NUMBERS, TABLES, query

pytest.importorskip(
    "cudf_polars.dsl.translate", reason="cudf-polars (the gpu extra) is not installed", exc_type=ImportError
)
pytestmark = pytest.mark.cudf


@pytest.mark.parametrize("source", ["files", "memory"])
@pytest.mark.parametrize("number", NUMBERS)
def test_every_fragment_translates(
    number: int, source: str, tpch_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary, "LEAST_ROWS", 1)
    session = sqlray.connect()
    for table in TABLES:
        path = tpch_data / f"{table}.parquet"
        session.register(table, path if source == "files" else pl.read_parquet(path))
    graph = planned_query(session, query(number)).physical.graph
    found = {s.name: refusal(s) for s in graph.stages}
    assert not any(found.values()), found


@pytest.mark.parametrize("name", TABLES)
def test_columns_of_files_are_decoded_on_the_gpu(name: str, tpch_data: Path) -> None:
    table = open_files(str(tpch_data / f"{name}.parquet"))
    assert isinstance(table, ParquetTable)
    translate(HeldFiles(table).decoded(table.schema.names), optimizations())
