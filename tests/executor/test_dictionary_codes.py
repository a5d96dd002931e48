"""Text as codes on a GPU, told from a fake one: which columns are read as codes, and that the answers are the CPU's."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import polars as pl
import pytest
from polars.exceptions import PanicException

import sqlray
from executor import dictionary_codes, residents
from executor.dictionary_codes import with_codes
from executor.sources import dictionary
from executor.sources.dictionary import CodedTable
from executor.sources.memory import memory_table
from planner.expr import show
from planner.physical import PhysicalPlan, ScanExec, pretty
from planner.tree import walk
from tests.executor.fake_gpu import FakeGpu
from tests.planned import planned_query, run

TEXT = ["pear", "apple", None, "Äpfel", "", "apple pie", "fig", "pear"]
OTHER = ["one", "two", "one", None, "two", "one", "three", "one"]
ROWS = pl.DataFrame({"id": range(16), "s": TEXT + TEXT[::-1], "u": OTHER * 2, "n": ["7", "8"] * 7 + ["x", None]})
NAMES = pl.DataFrame({"name": ["pear", "fig", "kiwi", None], "price": [1, 2, 3, 4]})


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    monkeypatch.setattr(dictionary, "LEAST_ROWS", 5)  # all of ROWS, none of NAMES
    return FakeGpu().install(monkeypatch)


@pytest.fixture
def sessions() -> Iterator[tuple[sqlray.Session, sqlray.Session]]:
    with sqlray.connect(device="cpu") as cpu, sqlray.connect(device="gpu") as on_gpu:
        for session in (cpu, on_gpu):
            session.register("t", ROWS)
            session.register("names", NAMES)
        yield cpu, on_gpu


def coded(plan: PhysicalPlan) -> list[str]:
    """The columns that the plan reads as codes."""
    tables = (n.table for n in walk(with_codes(plan)) if isinstance(n, ScanExec))
    return sorted(name for t in tables if isinstance(t, CodedTable) for name in t.dictionaries)


QUERIES = {
    "select count(*) from t where s = 'pear'": "s",
    "select count(*) from t where 'pear' <> s and u in ('one', 'three')": "s u",
    "select s, count(*), sum(id) from t group by s order by s": "s",
    "select s, u, min(id) from t where u > 'one' group by 1, 2 order by 1 desc nulls last, 2": "s u",
    "select distinct u from t order by u": "u",
    "select u, count(distinct s), count(s) from t group by u order by u": "s u",
    "select s, id from t order by s, id": "s",
    "select s, id from t order by s desc, id limit 3": "s",
    "select s, id from t order by s nulls first, id limit 3 offset 2": "s",
    "select * from (select s, id from t order by s, id limit 5) as x where s <> 'fig' order by id": "s",
    "select s as label, id from t where s like 'a%' order by id": "s",
    "select sum(case when s like '%p%' then id when s is null then 100 else 0 end) from t": "s",
    "select count(*) filter (where length(s) > 4), count(*) filter (where not s ilike 'Ä%') from t": "s",
    "select id from t where (s = 'fig' or id > 13) and (s = 'pear' or u = 'one') order by id": "s u",
    "select id from t where s between 'apple' and 'fig' and substring(s, 2, 1) = 'p' order by id": "s",
    "select id from t where (s = 'pear') is not true order by id": "s",
    "select id, s from t where s is not null and u = 'two' order by id": "u",
    "select a.s, b.u, count(*) from t as a, t as b where a.id = b.id and b.s < 'pear' "
    "group by all order by all": "s s u",
    "select s, row_number from (select s, count(*) as row_number from t group by s) as x order by 2, 1": "s",
    "select u, (select count(*) from t as i where i.u = o.u and i.s = 'pear') from t as o group by u order by u": "s",
    "with x as (select s, u from t where u = 'one') select s, count(*) from x group by s union all "
    "select u, count(*) from x group by u order by 1, 2": "u",
    "select name, count(id) from names left join t on s = name group by name order by name": "",
    "select not (s like null), count(*) from t group by 1": "",
    "select max(s), min(u) from t where id < 9": "",
    "select upper(s), count(*) from t group by 1 order by 1": "",
    "select s || u from t where s = 'fig' order by 1": "",
    "select id from t where s = u or coalesce(s, 'fig') = 'fig' order by id": "",
    "select count(*) from t where s is null": "",
    "select id from t where s is not distinct from 'pear' order by id": "",
    "select s from t order by id": "",
    "select s from (select s, id from t where s = 'pear' order by id limit 3) as x": "s",
}


@pytest.mark.parametrize("partitions", [0, 3])
@pytest.mark.parametrize("query", QUERIES)
def test_answers_are_those_of_the_cpu(
    query: str, partitions: int, sessions: tuple[sqlray.Session, sqlray.Session], gpu: FakeGpu
) -> None:
    cpu, on_gpu = sessions
    on_gpu.set_option("partitions", partitions)
    planned = planned_query(on_gpu, query)
    answer, metrics = run(planned)
    assert metrics.fallbacks == []
    assert gpu.plans
    assert answer.to_pylist() == cpu.sql(query).to_arrow().to_pylist()
    if not partitions:
        (stage,) = planned.physical.graph.stages
        assert " ".join(coded(stage.plan)) == QUERIES[query], pretty(with_codes(stage.plan))


@pytest.mark.parametrize("partitions", [0, 3])
@pytest.mark.parametrize(
    "query",
    [
        "select k.s, count(*), count(k.s) from t left join k on t.id = k.id group by k.s order by 1",
        "select k.s, n.s, count(*) from k full join n on k.id = n.id group by all order by all",
        "select t.id, k.s, k.s = 'fig' from t left join k on t.id = k.id order by 1",
        "select t.id, (select k.s from k where k.id = t.id and k.s <> 'x') from t order by 1",
        "with x as (select k.s, count(*) as c from t left join k on t.id = k.id group by k.s) "
        "select a.s, b.s from x as a join x as b on a.c = b.c where a.s is null or a.s = 'fig' order by all",
    ],
)
def test_nulls_of_outer_joins_in_columns_that_have_none(
    query: str, partitions: int, sessions: tuple[sqlray.Session, sqlray.Session]
) -> None:
    for session in sessions:
        for name in ("k", "n"):
            session.sql(f"create table {name} (id bigint, s varchar not null)")
        session.sql("insert into k values (1, 'fig'), (2, 'kiwi'), (70, 'fig'), (71, 'kiwi'), (72, 'fig')")
        session.sql("insert into n values (2, 'one'), (71, 'two'), (90, 'one'), (91, 'one'), (92, 'two')")
    cpu, on_gpu = sessions
    on_gpu.set_option("partitions", partitions)
    planned = planned_query(on_gpu, query)
    assert any(coded(stage.plan) for stage in planned.physical.graph.stages)
    assert run(planned)[0].to_pylist() == cpu.sql(query).to_arrow().to_pylist()


TESTS = {
    "s = 'apple'": "s#0 = 1",
    "s <> 'apple'": "s#0 <> 1",
    "s in ('apple', 'fig')": "s#0 IN (1, 3)",
    "s not in ('apple', 'fig')": "NOT (s#0 IN (1, 3))",
    "s like 'apple%'": "(s#0 >= 1) AND (s#0 <= 2)",
    "s < 'fig'": "s#0 <= 2",
    "s >= 'fig'": "s#0 >= 3",
    "s = 'kiwi'": "s#0 < 0",
    "s <> 'kiwi'": "s#0 >= 0",
    "length(s) <> 3 and s > 'a'": "s#0 <> 3 AND s#0 >= 1",
    "length(s) <> 3": "s#0 <> 3",
    "s in ('', 'apple', 'fig', 'pear')": "NOT (s#0 IN (2, 5))",
}


@pytest.mark.parametrize("test", TESTS)
def test_what_is_asked_of_values_is_asked_of_codes(test: str, sessions: tuple[sqlray.Session, sqlray.Session]) -> None:
    plan = with_codes(planned_query(sessions[1], f"select id from t where {test}").physical.graph.result.plan)
    (scan,) = (n for n in walk(plan) if isinstance(n, ScanExec))
    (held,) = (f for f in scan.fields if f.name == "s")
    assert " AND ".join(map(show, scan.predicates)).replace(f"#{held.id}", "#0") == TESTS[test]


def test_what_fails_for_a_value_that_does_not_count_is_asked_of_text(
    sessions: tuple[sqlray.Session, sqlray.Session],
) -> None:
    query = "select sum(id) from t where case when n = 'x' then false else cast(n as integer) > 7 end"
    for session in sessions:
        assert session.sql(query).fetchall() == [(49,)]
    (stage,) = planned_query(sessions[1], query).physical.graph.stages
    assert coded(stage.plan) == ["n"]  # n = 'x' is a test of its own
    failing = "select sum(id) from t where id < 14 and cast(n as integer) > 7"
    (stage,) = planned_query(sessions[1], failing).physical.graph.stages
    assert coded(stage.plan) == []
    assert sessions[1].sql(failing).fetchall() == sessions[0].sql(failing).fetchall() == [(49,)]


def test_what_panics_for_a_value_is_asked_of_text(
    sessions: tuple[sqlray.Session, sqlray.Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*args: object) -> None:
        raise PanicException("as Polars does where it gives up")

    monkeypatch.setattr(dictionary_codes, "translate", panic)
    assert sessions[1].sql("select count(*) from t where s = 'fig'").fetchall() == [(2,)]


def test_random_values_are_asked_of_every_row(sessions: tuple[sqlray.Session, sqlray.Session]) -> None:
    (stage,) = planned_query(sessions[1], "select count(*) from t where s > random()::varchar").physical.graph.stages
    assert coded(stage.plan) == []


@pytest.mark.parametrize(("values", "dtype"), [(3, pl.Int8), (127, pl.Int8), (128, pl.Int16), (4096, pl.Int16)])
def test_codes_are_small(values: int, dtype: pl.DataType) -> None:
    frame = pl.DataFrame({"s": [f"{i:05}" for i in range(values)] * 2 + [None]})
    table = memory_table("t", frame)
    found = dictionary.dictionary(table, "s")
    assert found is not None
    held = residents.columns(table.frame, ["s"], {"s": found.values})
    assert held.schema == {"s": dtype}
    assert isinstance(held.held, pl.DataFrame)
    assert held.held.to_series().to_list() == [*range(values), *range(values), None]
    assert residents.resident(table.frame, ["s", "t"]) == {"s"}


@pytest.mark.parametrize("values", [[f"{i}" for i in range(4097)], [None] * 10, ["a"] * 4, [b"a"] * 9])
def test_columns_without_a_dictionary(values: list[str | bytes | None]) -> None:
    frame = pl.DataFrame({"s": pl.Series(values, dtype=pl.Binary if b"a" in values else pl.String)})
    assert dictionary.dictionary(memory_table("t", frame), "s") is None


def test_text_and_codes_of_a_column_are_two_copies(
    sessions: tuple[sqlray.Session, sqlray.Session], gpu: FakeGpu
) -> None:
    _, session = sessions
    for _ in range(2):
        assert session.sql("select count(*) from t where s = 'fig'").fetchall() == [(2,)]
        assert session.sql("select max(s || '!') from t").fetchall() == [("Äpfel!",)]
    assert gpu.uploads == ["s", "s"]
    assert session.sql("select s, count(*) from t where s = 'fig' group by s").fetchall() == [("fig", 2)]
    assert gpu.uploads == ["s", "s", "code", "value"]  # the dictionary's, which stay as well
    assert session.sql("select s, count(*) from t where s = 'fig' group by s").fetchall() == [("fig", 2)]
    assert len(gpu.uploads) == 4


def test_dictionaries_go_with_their_table(sessions: tuple[sqlray.Session, sqlray.Session]) -> None:
    _, session = sessions
    session.sql("select s, count(*) from t group by s").to_arrow()
    held = weakref.ref(session.catalog.get("t"))
    known = [weakref.ref(d.table) for d in dictionary._known[held()].values() if d is not None]  # type: ignore[index]
    assert known
    session.unregister("t")
    gc.collect()
    assert held() is None
    assert not any(table() for table in known)
