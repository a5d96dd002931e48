"""Plans that are kept: used again for the same query, and never where something has changed."""

from __future__ import annotations

import gc
import json
import os
import random
import threading
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import sqlray
from executor import compiled
from planner.errors import ExecutionError, SqlrayError
from sqlray import pipeline
from sqlray.plan_cache import PlanCache
from tests.planned import planned_query

QUERY = "select b, sum(a) as s from t group by b order by b"


@pytest.fixture
def session() -> sqlray.Session:
    made = sqlray.connect()
    made.register("t", pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]}))
    return made


class Counter:
    """How often queries were planned, and fragments compiled, since the last look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans = self.fragments = 0
        plan, compile_fragment = pipeline.plan, compiled.compile_fragment

        def counted_plan(*args: Any) -> pipeline.PlannedQuery:
            self.plans += 1
            return plan(*args)

        def counted_fragment(*args: Any) -> pl.LazyFrame:
            self.fragments += 1
            return compile_fragment(*args)

        monkeypatch.setattr(pipeline, "plan", counted_plan)
        monkeypatch.setattr(compiled, "compile_fragment", counted_fragment)

    def look(self) -> tuple[int, int]:
        found = self.plans, self.fragments
        self.plans = self.fragments = 0
        return found


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


def test_a_query_that_is_asked_again_is_planned_once(session: sqlray.Session, counter: Counter) -> None:
    first = session.sql(QUERY)
    assert first.fetchall() == [("x", 4), ("y", 2)]
    assert counter.look() == (1, 1)
    again = session.sql(QUERY)
    assert again is not first
    assert again.fetchall() == [("x", 4), ("y", 2)]
    assert again.explain() == first.explain()
    assert counter.look() == (0, 0)


def test_files_are_looked_at_each_time(session: sqlray.Session, counter: Counter, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"a": [1, 2]}).write_parquet(path)
    session.register("rows", str(path))
    for query in ("select sum(a) as s from rows", f"select sum(a) as s from '{path}'"):
        for _ in range(2):
            assert session.sql(query).fetchall() == [(3,)]
        assert counter.look() == (1, 1)
    planned = session.sql("select a from rows where a > 1")
    pl.DataFrame({"a": [5, 6, 7]}).write_parquet(path)
    with pytest.raises(ExecutionError, match="changed"):
        planned.fetchall()
    assert session.sql("select a from rows where a > 1").fetchall() == [(5,), (6,), (7,)]


CHANGES: dict[str, tuple[Callable[[sqlray.Session], object], list[tuple[object, ...]]]] = {
    "registered anew": (lambda s: s.register("t", pl.DataFrame({"a": [7], "b": ["z"]})), [("z", 7)]),
    "in other letters": (lambda s: s.register("T", pl.DataFrame({"a": [7], "b": ["z"]})), [("z", 7)]),
    "other types": (lambda s: s.register("t", pl.DataFrame({"a": [0.5], "b": [1]})), [(1, 0.5)]),
    "insert": (lambda s: s.sql("insert into t values (10, 'y')"), [("x", 4), ("y", 12)]),
    "replaced": (lambda s: s.sql("create or replace table t as select 9 as a, 'q' as b"), [("q", 9)]),
    "dropped and made": (lambda s: s.sql("drop table t; create table t (a int, b varchar)"), []),
    "a view": (lambda s: s.sql("drop table t; create view t as select 8 as a, 'v' as b"), [("v", 8)]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_changed_is_planned_anew(session: sqlray.Session, change: str) -> None:
    make, after = CHANGES[change]
    session.sql("create or replace table t as select * from t")
    assert session.sql(QUERY).fetchall() == [("x", 4), ("y", 2)]
    make(session)
    assert session.sql(QUERY).fetchall() == after
    session.unregister("t")
    with pytest.raises(SqlrayError, match='no table "t"'):
        session.sql(QUERY)


def test_a_view_and_what_it_reads(session: sqlray.Session) -> None:
    session.sql("create view v as select a + 1 as n from t")
    assert session.sql("select sum(n) from v").fetchall() == [(9,)]
    session.sql("insert into t values (10, 'y')")
    assert session.sql("select sum(n) from v").fetchall() == [(20,)]
    session.sql("create or replace view v as select a as n from t")
    assert session.sql("select sum(n) from v").fetchall() == [(16,)]


def test_files_that_changed(session: sqlray.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, *values: int) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n" + "".join(f"{v}\n" for v in values))

    write("one/x.csv", 1)
    write("two/x.csv", 2)
    pattern = f"select sum(a) as s from '{tmp_path}/one/*.csv'"
    assert session.sql(pattern).fetchall() == [(1,)]
    write("one/y.csv", 10)
    assert session.sql(pattern).fetchall() == [(11,)]
    os.remove(tmp_path / "one" / "x.csv")
    assert session.sql(pattern).fetchall() == [(10,)]
    os.remove(tmp_path / "one" / "y.csv")
    with pytest.raises(SqlrayError, match="no file matches") as error:
        session.sql(pattern)
    assert error.value.position is not None

    write("one/x.csv", 1)
    for folder, value in (("one", 1), ("two", 2), ("one", 1)):
        monkeypatch.chdir(tmp_path / folder)
        assert session.sql("select a from 'x.csv'").fetchall() == [(value,)]


@pytest.mark.parametrize(
    "values",
    [
        [1, 1.0, True, "1", b"1", Decimal("1"), Decimal("1.0"), None],
        [0.0, -0.0, float("nan"), float("inf"), 0],
    ],
)
def test_parameters_are_told_apart_by_type_and_value(session: sqlray.Session, values: list[object]) -> None:
    def describe(value: object, **options: object) -> tuple[object, ...]:
        with sqlray.connect(**options) as other:
            found = (session if not options else other).sql("select ? as p", [value])
        return str(found.schema.field(0).type), repr(found.fetchall())

    for _ in range(2):
        for value in values:
            assert describe(value) == describe(value, plan_cache_size=0)


class Zone(tzinfo):
    """A zone of no name."""

    def __init__(self, hours: int) -> None:
        self.hours = hours

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=self.hours)

    def __repr__(self) -> str:
        return "Zone()"


def test_moments_are_told_apart_by_their_zones(session: sqlray.Session) -> None:
    for hours in (1, 5):
        moment = datetime(2020, 1, 1, 12, tzinfo=Zone(hours))
        assert session.sql("select ? as p", [moment]).fetchall() == [(moment,)]


def test_names_of_parameters(session: sqlray.Session) -> None:
    query = "select $a as a, $b as b"
    assert session.sql(query, {"a": 1, "b": 2}).fetchall() == [(1, 2)]
    assert session.sql(query, {"b": 1, "a": 2}).fetchall() == [(2, 1)]
    assert session.sql(query, {"a": 1, "b": 2}).fetchall() == [(1, 2)]


def test_what_the_caller_holds_is_looked_for_each_time(session: sqlray.Session, counter: Counter) -> None:
    query = "select sum(a) as s from mine"
    for value in (1, 2):
        mine = pl.DataFrame({"a": [value]})
        assert session.sql(query).fetchall() == [(value,)]
        assert session.sql(query, mine=pl.DataFrame({"a": [10 * value]})).fetchall() == [(10 * value,)]
    mine = mine.with_columns(a=7)
    assert session.sql(query).fetchall() == [(7,)]
    session.sql("create table mine (a int); insert into mine values (3)")  # a session's own comes first
    for _ in range(2):
        assert session.sql(query).fetchall() == [(3,)]
    assert session.sql(query, mine=pl.DataFrame({"a": [4]})).fetchall() == [(4,)]
    assert session.sql(query).fetchall() == [(3,)]
    session.unregister("mine")
    assert session.sql(query).fetchall() == [(7,)]


def test_a_table_in_place_of_a_file(
    session: sqlray.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("a\n1\n")
    query = "select a from 'x.csv'"
    assert session.sql(query).fetchall() == [(1,)]
    session.register("x.csv", pl.DataFrame({"a": [2]}))
    assert session.sql(query).fetchall() == [(2,)]
    session.unregister("x.csv")
    assert session.sql(query).fetchall() == [(1,)]


def test_moments_and_random_numbers_are_new_each_time(session: sqlray.Session) -> None:
    for query in ("select now()", "select a from t where now() > '2000-01-01'", "create view n as select now() as m"):
        session.sql(query)
    assert not session._plans._kept
    assert session.sql("select now() = now()").fetchall() == [(True,)]
    first, second = (session.sql("select m from n").fetchall() for _ in range(2))
    assert first < second
    for query in ("select random() from t", "select uuid() from t"):
        rows = [session.sql(query).fetchall() for _ in range(3)]
        assert len({value for row in rows for value in row}) == 9


def test_options_are_part_of_a_query(session: sqlray.Session, counter: Counter) -> None:
    for _ in range(2):
        session.sql(QUERY).fetchall()
    assert counter.look() == (1, 1)
    session.sql("set partitions = 3")
    assert planned_query(session, QUERY).physical.partitions == 3
    assert counter.look()[0] == 1
    session.sql("reset partitions")
    assert planned_query(session, QUERY).physical.partitions == 1
    assert counter.look()[0] == 0
    session.sql(QUERY, dialect="postgres")
    assert counter.look()[0] == 1
    session.sql("set plan_cache_size = 0")
    for _ in range(2):
        session.sql(QUERY)
    assert counter.look()[0] == 2


def test_an_option_that_another_thread_sets_meanwhile(
    session: sqlray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = sqlray.session.bind

    def beside(*args: Any) -> Any:
        session.set_option("partitions", 3)
        return bind(*args)

    with monkeypatch.context() as patched:
        patched.setattr(sqlray.session, "bind", beside)
        session.sql(QUERY)
    session.reset_option("partitions")
    assert planned_query(session, QUERY).physical.partitions == 1


def test_plans_go_when_fewer_are_wanted(session: sqlray.Session) -> None:
    for i in range(4):
        session.sql(f"select {i} from t")
    session.sql("set plan_cache_size = 2")
    assert len(session._plans._kept) == 2
    session.sql("set plan_cache_size = 0")
    assert not session._plans._kept


def test_the_plans_asked_for_last_stay(counter: Counter) -> None:
    session = sqlray.connect(plan_cache_size=2)
    for query in ("select 1", "select 2", "select 1", "select 3", "select 1", "select 2"):
        session.sql(query)
    assert counter.look()[0] == 4
    assert len(session._plans._kept) == 2


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("select sum(i) from range(20000) as r(i)", None),
        ("select 1 --" + "-" * 70_000, None),
        ("select 1 where 1 in (?)", [np.int64(1)]),
        ("select ? + ?", np.array([1, 2])),
        ("select octet_length(?)", [b"x" * 70_000]),
        ("select count(*) from '{folder}/rows.json'", None),
    ],
)
def test_plans_that_hold_much_or_what_may_change_are_not_kept(
    session: sqlray.Session, query: str, params: list[object] | None, tmp_path: Path
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"a": 1}] * 20_000))  # an array is read into memory whole
    assert session.sql(query.format(folder=tmp_path), params).num_rows == 1
    assert not session._plans._kept


@pytest.mark.parametrize("go", ["drop", "unregister", "register", "close"])
def test_tables_go_when_their_name_does(go: str) -> None:
    session = sqlray.connect()
    session.sql("create table big as select * from range(1000) as r(i)")
    session.sql("select sum(i) from big").fetchall()
    entry = session.catalog.get("big")
    assert entry is not None
    gone = weakref.ref(entry)
    del entry
    match go:
        case "drop":
            session.sql("drop table big")
        case "unregister":
            session.unregister("big")
        case "register":
            session.register("big", pl.DataFrame({"i": [1]}))
        case _:
            session.close()
    gc.collect()
    assert gone() is None


def test_threads_share_plans(session: sqlray.Session) -> None:
    answers: list[object] = []

    def ask() -> None:
        answers.extend(session.sql(QUERY).fetchall() for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[("x", 4), ("y", 2)]] * 80


STATEMENTS = [
    "insert into t values ({n}, 'y')",
    "create or replace table t as select a + {n} as a, b from t where a < 60",
    "create or replace view v as select a * {n} as a, b from t",
    "create or replace view v as select a, b from u",
    "create or replace table u as select a - {n} as a, b from t",
    "insert into u select a, b from t where a < {n}",
    "drop table if exists u",
    "set staged = true",
    "set staged = false",
    "set disabled_rules = 'push_filters'",
    "set disabled_rules = ''",
]
QUERIES = [
    "select sum(a), count(*) from t",
    "select b, max(a) from v group by b order by b",
    "select count(*) from u where a > 2",
    "select t.b, sum(u.a) from t join u on t.a = u.a group by t.b order by 1",
    "with t as (select 1 as a) select * from t, (select max(a) as m from v) as x",
    "select a from t where a in (select a from v) order by a limit 3",
    "select count(*) from t where a > ?",
]


@pytest.mark.parametrize("seed", range(6))
def test_random_statements_beside_a_session_that_keeps_no_plans(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    sessions = sqlray.connect(), sqlray.connect(plan_cache_size=0)
    for session in sessions:
        session.sql("create table t (a bigint, b varchar); insert into t values (1, 'x'), (2, 'y'), (5, 'x')")
        session.sql("create table u as select * from t; create view v as select * from t")

    get, hits = PlanCache.get, 0

    def counted(*args: Any) -> pipeline.PlannedQuery | None:
        nonlocal hits
        found = get(*args)
        hits += found is not None
        return found

    monkeypatch.setattr(PlanCache, "get", counted)

    def answer(session: sqlray.Session, text: str, params: list[int] | None) -> object:
        try:
            return session.sql(text, params).fetchall()
        except SqlrayError as error:
            return str(error)

    for _ in range(120):
        text = chance.choice(QUERIES if chance.random() < 0.8 else STATEMENTS).format(n=chance.randint(0, 3))
        params = [chance.randint(0, 3)] if "?" in text else None
        kept, anew = (answer(session, text, params) for session in sessions)
        assert kept == anew, text
    assert hits > 20
