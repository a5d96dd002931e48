"""A session: statements that change it, and several threads that use it."""

from __future__ import annotations

import datetime as dt
import gc
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import sqlray
from planner.errors import BindError, SqlrayError, UnsupportedError
from tpch_queries import NUMBERS, TABLES, query


@pytest.fixture
def session() -> sqlray.Session:
    made = sqlray.connect()
    made.sql("create table t (a int primary key, b varchar not null); insert into t values (1, 'x'), (2, 'y')")
    return made


@pytest.mark.parametrize(
    "insert",
    [
        "insert into t values (3, 'z'), (1, 'again')",
        "insert into t values (3, null)",
        "insert into t select 3 + a, b from t union all select 1, 'x'",
        "insert into t select b::int, b from t",
        "insert into t values (3, 'z'), (4)",
    ],
)
def test_a_failing_insert_leaves_the_table_as_it_was(session: sqlray.Session, insert: str) -> None:
    with pytest.raises(SqlrayError):
        session.sql(insert)
    assert session.sql("select * from t order by a").fetchall() == [(1, "x"), (2, "y")]


def test_create_and_drop(session: sqlray.Session) -> None:
    session.sql("create table if not exists t (z int)")
    assert session.schema("t").names == ["a", "b"]
    with pytest.raises(BindError, match="already"):
        session.sql("create table t (z int)")
    session.sql("create or replace table u as select a * 2 as n from t")
    session.sql("create view v as select n + 1 as m from u; create view w as select sum(m) as s from v")
    assert session.sql("select s from w").fetchall() == [(8,)]
    session.sql("drop table u")
    with pytest.raises(BindError, match='"u"'):
        session.sql("select s from w")
    session.sql("drop view w; drop view if exists w; drop view v")
    assert session.sql("show tables").fetchall() == [("t",)]


@pytest.mark.parametrize(
    "statement", ["create table i (a int, b interval)", "create table i as select interval 1 day as b"]
)
def test_tables_keep_no_intervals(session: sqlray.Session, statement: str) -> None:
    with pytest.raises(UnsupportedError, match='"b" is an INTERVAL'):
        session.sql(statement)
    assert "i" not in session.tables()


def test_threads_insert_and_read(session: sqlray.Session) -> None:
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for i in range(10):
                session.sql(f"insert into t values ({thread * 100 + i + 10}, 'w')")
                session.sql("select count(*), max(b) from t").to_arrow()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert session.sql("select count(*) from t").fetchall() == [(42,)]


def test_a_result_is_read_twice_and_streamed(session: sqlray.Session) -> None:
    result = session.sql("select a from t where a < $1", [5])
    batches = result.batches()
    next(batches)
    assert result.to_arrow().num_rows == 2
    assert result.fetchall() == result.fetchall()


def test_a_reader_is_read_once_and_queried_twice() -> None:
    reader = pa.table({"a": [1, 2, 3]}).to_reader()  # noqa: F841 - found by name
    assert sqlray.sql("select sum(a) from reader").fetchall() == [(6,)]
    assert sqlray.sql("select count(*) from reader").fetchall() == [(3,)]


def test_dates_that_python_has_not(session: sqlray.Session) -> None:
    """Bounds of such columns are not known; before, the table could not be queried."""
    days = pa.array([0, 5_000_000, -5_000_000, None], pa.date32())
    moments = pa.array([0, 2**63 - 1, -(2**63) + 1, None], pa.timestamp("us"))
    session.register("far", pa.table({"d": days, "t": moments}))
    found = session.sql("select d, t from far where d > date '1000-01-01' or d is null").to_arrow()
    assert found.column("d").cast(pa.int32()).to_pylist() == [0, 5_000_000, None]
    assert found.column("t").cast(pa.int64()).to_pylist() == [0, 2**63 - 1, None]


def test_parameters_that_are_no_values(session: sqlray.Session) -> None:
    pandas = pytest.importorskip("pandas")
    assert session.sql("select ? is null, ?", params=[pandas.NaT, pandas.Timestamp("2020-01-01")]).fetchall() == [
        (True, dt.datetime(2020, 1, 1))
    ]
    with pytest.raises(BindError, match="time has no SQL type"):
        session.sql("select ?", params=[dt.time(1, tzinfo=dt.UTC)])


def test_columns_are_called_as_functions_are_written(session: sqlray.Session) -> None:
    names = ["arg_max(a, b)", "arg_min(a, b)", "quantile_cont(a, 0.5)", "quantile_disc(a, 0.5)"]
    assert session.sql(f"select {', '.join(names)} from (values (1, 2)) as v(a, b)").columns == names


TPCH = {f"q{n:02}": query(n) for n in NUMBERS}
OTHER = {
    "view": "create view v as select a from (select l_orderkey as a from lineitem) as x; select max(a) from v",
    "common table": "with x as (select l_orderkey as k, count(*) as c from lineitem group by 1) "
    "select a.k from x as a join x as b on a.k = b.k where a.c > 1 order by a.c limit 3",
    "set operation": "select l_orderkey from lineitem union all select l_partkey from lineitem order by 1 limit 3",
    "correlated": "select (select max(o_orderkey) from orders where o_orderkey = l_orderkey) as m, sum(l_tax) "
    "from lineitem group by 1 having m > 3 order by m limit 2",
    "error": "select nosuch from lineitem",
    "insert": "create table z as select * from lineitem limit 5; insert into z select * from lineitem limit 3",
    "explain": "explain select count(*) from lineitem where l_tax > 0.01",
    "alias": "select l_tax as t, t + 1 as u from lineitem where u > 1 group by all",
}


@pytest.mark.parametrize("name", [*TPCH, *OTHER])
def test_tables_go_without_the_garbage_collector(name: str, tpch_data: Path) -> None:
    """Nothing that a query was made of holds itself: a table of gigabytes would stay with it."""
    gc.collect()
    gc.disable()
    try:
        with sqlray.connect() as session:
            for table in TABLES:
                session.register(table, pl.read_parquet(tpch_data / f"{table}.parquet"))
            entries = [weakref.ref(session.catalog.get(table)) for table in TABLES]
            with suppress(SqlrayError):
                session.sql({**TPCH, **OTHER}[name]).to_arrow()
            for table in TABLES:
                session.unregister(table)
            left = [entry().name for entry in entries if entry() is not None]  # type: ignore[union-attr]
    finally:
        gc.enable()
    assert not left
