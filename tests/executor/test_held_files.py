"""Columns of Parquet files that stay on a GPU, told from a fake one: when they are read, and that the answers are
the CPU's."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import sqlray
from executor import device_frames, device_rates, residents
from executor.sources.held_files import HeldFiles
from executor.sources.parquet import ParquetTable
from planner.device_cost import KEPT, Work, on_cpu, on_gpu
from planner.devices import H100, Rates, default_cpu
from sqlray.tpch_verify import compare
from tests.executor.fake_gpu import FakeGpu
from tests.planned import planned_query, run

COUNT = 1000
ROWS = pl.DataFrame(
    {
        "id": range(COUNT),
        "price": [None if i % 7 == 0 else Decimal(i * 37 - 9000) / 100 for i in range(COUNT)],
        "wide": [Decimal(i) * 10**20 for i in range(COUNT)],
        "day": [dt.date(1960, 1, 1) + dt.timedelta(i * 13) if i % 5 else None for i in range(COUNT)],
        "name": [None if i % 11 == 0 else f"näme {i % 13}" for i in range(COUNT)],
        "share": [i / 3 for i in range(COUNT)],
        "flag": [i % 3 == 0 for i in range(COUNT)],
    },
    schema_overrides={"price": pl.Decimal(15, 2), "wide": pl.Decimal(38, 2)},
)
QUERIES = (
    "select count(*), sum(price), min(price), max(price * 2), avg(price) from t where price > -12.345 or id < 20",
    "select name, sum(wide), count(day), min(day) from t where day < date '1980-01-01' group by name order by name",
    "select price, flag, id from t where name like '%3' order by price desc nulls last, id limit 7",
    "select a.name, count(*), sum(b.share) from t as a join t as b on a.id = b.id + 1 group by all order by all",
    "select count(*) from t",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files, of several row groups each."""
    for i, (first, count) in enumerate([(0, 300), (300, 1), (301, 699)]):
        ROWS.slice(first, count).write_parquet(tmp_path / f"{i}.parquet", row_group_size=70)
    return tmp_path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu().install(monkeypatch)


def expected(folder: Path, query: str) -> pa.Table:
    with sqlray.connect(device="cpu") as session:
        session.register("t", folder)
        return session.sql(query).to_arrow()


@pytest.mark.parametrize("partitions", [0, 2, 5])
@pytest.mark.parametrize("query", QUERIES)
def test_answers_are_those_of_the_cpu(query: str, partitions: int, folder: Path, gpu: FakeGpu) -> None:
    with sqlray.connect(device="gpu", partitions=partitions) as session:
        session.register("t", folder)
        loads = []
        for _ in range(3):
            answer, metrics = run(planned_query(session, query))
            assert metrics.fallbacks == []
            assert compare(answer, expected(folder, query), (), 1e-12) is None
            loads.append(len(gpu.loads))
    held = query != QUERIES[-1]  # which the footers answer
    assert loads[0] == 0  # the second query may find them worth keeping …
    assert (loads[1] > 0) == held
    assert loads[2] == loads[1]  # … and the third finds them there


def test_a_column_is_read_once_for_all_queries(folder: Path, gpu: FakeGpu) -> None:
    with sqlray.connect(device="gpu") as session:
        session.register("t", folder)
        for column in ("id", "price", "id", "price"):
            session.sql(f"select sum({column}) from t where {column} > 7").to_arrow()
        assert gpu.loads == ["price", "id"]
        session.sql("select sum(id * price) from t where share > 7").to_arrow()
        assert gpu.loads == ["price", "id", "share"]
        table = session.catalog.get("t")
        assert isinstance(table, ParquetTable)
        assert table.statistics(["id", "day"]).resident == {"id"}
        assert table.statistics([]).reads == 5
        assert HeldFiles(table).decoded(["price"]).collect_schema() == {"price": pl.Int64}


def test_files_that_change_are_read_again(folder: Path, gpu: FakeGpu) -> None:
    with sqlray.connect(device="gpu") as session:
        session.register("t", folder)
        query = "select sum(id) from t where share >= 0"
        for _ in range(3):
            assert session.sql(query).fetchall() == [(COUNT * (COUNT - 1) // 2,)]
        pl.DataFrame({"id": [5], "share": [1.0]}).write_parquet(folder / "0.parquet")
        for path in ("1.parquet", "2.parquet"):
            (folder / path).unlink()
        for _ in range(3):
            assert session.sql(query).fetchall() == [(5,)]
    assert len(gpu.loads) == 4


def test_what_does_not_fit_is_read_from_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGpu(memory=1 / KEPT * 8 * COUNT).install(monkeypatch)
    with sqlray.connect(device="gpu") as session:
        session.register("t", folder)
        for _ in range(3):
            session.sql("select sum(id) from t where share > 1").to_arrow()
        assert fake.loads == []
        for _ in range(2):
            session.sql("select sum(id) from t where id > 1").to_arrow()
        assert fake.loads == ["id"]


def test_a_gpu_without_memory(folder: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(lazy: pl.LazyFrame) -> object:
        raise MemoryError("std::bad_alloc: out_of_memory: CUDA error")

    monkeypatch.setattr(device_frames, "load", fail)
    with sqlray.connect(device="gpu") as session:
        session.register("t", folder)
        reasons = []
        for _ in range(3):
            answer, metrics = run(planned_query(session, QUERIES[0]))
            assert answer.equals(expected(folder, QUERIES[0]))
            reasons.append([f.reason for f in metrics.fallbacks])
    assert reasons[0] == []
    assert ["out_of_memory" in reason for reason in reasons[1]] == [True]
    assert reasons[2] == []  # from the files again


@pytest.mark.parametrize(
    "query", ["select id, name from t limit 3", "select max(clock) from t where clock > time '00:00:00'"]
)
def test_what_is_not_kept(query: str, folder: Path, gpu: FakeGpu) -> None:
    clocks = ROWS.select("id", "name", clock=pl.time(pl.col("id") % 24, 0, 0))
    clocks.write_parquet(folder / "only.parquet")
    with sqlray.connect(device="gpu") as session:
        session.register("t", folder / "only.parquet")
        answers = [session.sql(query).fetchall() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert gpu.loads == []


def test_partitioned_folders_are_not_kept(tmp_path: Path, gpu: FakeGpu) -> None:
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        ROWS.select("id").write_parquet(tmp_path / f"year={year}" / "a.parquet")
    with sqlray.connect(device="gpu") as session:
        session.register("t", tmp_path)
        for _ in range(3):
            assert session.sql("select year, sum(id) from t group by year order by year").fetchall() == [
                (2020, COUNT * (COUNT - 1) // 2),
                (2021, COUNT * (COUNT - 1) // 2),
            ]
    assert gpu.loads == []


def test_files_that_are_read_often_move_to_the_gpu(folder: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(default_cpu(1), replace(H100, launch=0.0, start=0.0, decode=1e6))
    monkeypatch.setattr(device_rates, "known_rates", lambda: rates)
    monkeypatch.setattr(device_rates, "measured_rates", lambda: rates)
    ran_on = []
    with sqlray.connect(device="auto") as session:
        session.register("t", folder)
        for _ in range(15):
            planned = planned_query(session, "select sum(id) from t where share > 1")
            answer, _ = run(planned)
            assert answer.to_pylist() == [{"sum(id)": sum(range(4, COUNT))}]
            ran_on.append(planned.physical.graph.result.device)
    assert ran_on[0] == "cpu"
    assert ran_on[-1] == "gpu"
    assert gpu.plans == ran_on.count("gpu")
    assert sorted(gpu.loads) == ["id", "share"]


def test_a_gpu_decodes_what_it_does_not_hold() -> None:
    done = Work(decoded=1e9, copied=1e9, decoded_before=8e8, copied_before=6e8)
    rates = Rates(default_cpu(8), H100)
    keeps = on_gpu(done, rates)
    assert keeps.parquet == pytest.approx(2e8 / H100.decode)
    assert keeps.copies == pytest.approx(4e8 / H100.upload)
    forgets = on_gpu(done, Rates(rates.cpu, H100, keeps=False))
    assert forgets.parquet == pytest.approx(1e9 / H100.decode)
    assert forgets.copies == pytest.approx(1e9 / H100.upload)
    large = Work(decoded=H100.memory * KEPT + 1, decoded_before=1e9)
    assert on_gpu(large, rates).parquet == pytest.approx(large.decoded / H100.decode)
    assert on_cpu(done, rates).parquet == pytest.approx(1e9 / rates.cpu.decode)
    assert residents.SHARE == KEPT
