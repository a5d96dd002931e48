"""Parquet files with columns and footers that are out of the ordinary."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sqlray
from sqlray import UnsupportedError


@pytest.fixture
def session() -> sqlray.Session:
    return sqlray.connect()


def test_moments_that_python_has_not(session: sqlray.Session, tmp_path: Path) -> None:
    """Infinity, as DuckDB writes it: the footer's bounds are none that a plan could hold."""
    path = tmp_path / "x.parquet"
    duckdb.sql(
        f"""copy (select * from (values (1, 'infinity'::date, '-infinity'::timestamp, 'infinity'::timestamptz),
        (2, '2020-01-01', '2020-01-01', '2020-01-01'), (3, null, null, null)) v(i, d, t, z)) to '{path}'"""
    )
    for condition in ("d > date '2021-01-01'", "t < timestamp '2000-01-01'", "z > timestamptz '2021-01-01'"):
        assert session.sql(f"select i from '{path}' where {condition}").fetchall() == [(1,)]
    counted = session.sql(f"select count(d), count(distinct t), count(max_z) from '{path}', "
                          f"(select max(z) as max_z from '{path}')")  # fmt: skip
    assert counted.fetchall() == [(2, 2, 3)]


def test_nanoseconds_of_many_years(session: sqlray.Session, tmp_path: Path) -> None:
    """More of them than 64 bits hold lie between the ends: their bounds are compared as microseconds."""
    path = tmp_path / "x.parquet"
    ends = [-(2**62), -1001, -1, None, 2**62]
    pq.write_table(pa.table({"t": pa.array(ends, pa.timestamp("ns"))}), path)
    epoch = dt.datetime(1970, 1, 1)
    micros = [None if n is None else epoch + dt.timedelta(microseconds=n // 1000) for n in ends]
    assert session.sql(f"select t from '{path}'").fetchall() == [(m,) for m in micros]
    assert session.sql(f"select min(t), max(t), count(distinct t) from '{path}'").fetchall() == [
        (micros[0], micros[-1], 4)
    ]
    assert session.sql(f"select count(*) from '{path}' where t >= ?", params=[micros[2]]).fetchall() == [(2,)]


@pytest.mark.parametrize("query", ["select count(x), max(x) from {}", "select x, count(*) from {} group by x"])
def test_nested_columns_are_refused(query: str, session: sqlray.Session, tmp_path: Path) -> None:
    table = pa.table({"x": [[1], None], "i": [1, 2]})
    pq.write_table(table, tmp_path / "x.parquet")
    session.register("t", table)
    for source in ("t", f"'{tmp_path}/x.parquet'"):
        with pytest.raises(UnsupportedError, match="cannot"):
            session.sql(query.format(source)).fetchall()
        assert session.sql(f"select sum(i) from {source}").fetchall() == [(3,)]


def test_types_that_polars_has_not(session: sqlray.Session) -> None:
    odd = [
        pa.array([1, None], pa.decimal256(50, 2)),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([5, None])),
        pa.array([1500, None], pa.decimal128(8, -2)),
    ]
    for array in odd:
        session.register("t", pa.table({"x": array, "i": [1, 2]}))
        assert session.sql("select sum(i) from t").fetchall() == [(3,)]
        with pytest.raises(UnsupportedError, match="cannot read yet"):
            session.sql("select x from t").fetchall()
    interval = pa.array([pa.MonthDayNano([1, 2, 3000])], pa.month_day_nano_interval())
    with pytest.raises(UnsupportedError, match="INTERVAL"):
        session.register("t", pa.table({"x": interval}))
