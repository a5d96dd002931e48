"""Rules that filter large scans by the keys of small ones: where they fire, where not, and that answers stay."""

from __future__ import annotations

import re

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import sqlray

ROWS, KEYS = 60_000, 2_000

FACT = pl.DataFrame(
    {
        "k": [None if i % 97 == 0 else i * 7919 % KEYS for i in range(ROWS)],
        "g": [i % 5 for i in range(ROWS)],
        "v": [i % 1013 for i in range(ROWS)],
    }
).to_arrow()
DIM = pl.DataFrame(
    {
        "k": [i // 2 for i in range(2 * KEYS)],  # not unique, or the joins would be semi joins already
        "kind": [f"kind {i // 2 % 50 if i % 2 else 50}" for i in range(2 * KEYS)],
    }
).to_arrow()
LINK = pl.DataFrame(
    {
        "k": [i % KEYS for i in range(KEYS * 4)],
        "g": [i % 5 for i in range(KEYS * 4)],
        "c": [i % 11 for i in range(KEYS * 4)],
    }
).to_arrow()

ABOVE_AVERAGE = """
    select sum(fact.v) from fact join dim on fact.k = dim.k
    where kind = 'kind 7' and fact.v > (select 1.1 * avg(v) from fact as f where f.k = dim.k)
"""
GROUPED = """
    select dim.k, s.total from dim join (select k, sum(v) as total from fact group by k) as s on s.k = dim.k
    where kind = 'kind 7'
"""
TWO_KEYS = """
    select count(*), sum(v * c) from fact join link on fact.k = link.k and fact.g = link.g
    join dim on dim.k = link.k where kind = 'kind 7'
"""


def session(**options: object) -> sqlray.Session:
    made = sqlray.connect(**options)
    for name, table in {"fact": FACT, "dim": DIM, "link": LINK}.items():
        made.register(name, table)
    return made


def shape(made: sqlray.Session, query: str) -> str:
    """The plan without the ids of columns, which differ from one planning to the next."""
    return re.sub(r"#\d+", "", made.sql(query).explain())


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    return sorted(tuple(row.values()) for row in table.to_pylist())


@pytest.mark.parametrize(
    ("rule", "query"),
    [("reduce_aggregates", GROUPED), ("share_joins", ABOVE_AVERAGE), ("reduce_probes", TWO_KEYS)],
)
def test_fires_and_changes_no_answer(rule: str, query: str) -> None:
    with_rule, without = session(), session(disabled_rules=rule)
    assert shape(with_rule, query) != shape(without, query)
    fact, dim, link = FACT, DIM, LINK  # noqa: F841 - DuckDB finds them by name
    expected = rows(duckdb.sql(query).to_arrow_table())
    for made in (with_rule, without, session(partitions=3)):
        assert rows(made.sql(query).to_arrow()) == expected


SHARED = {
    "one table, filtered by the keys of another": (ABOVE_AVERAGE, {"fact": 1, "dim": 2}),
    "several tables, looked up where repeated rows do not matter": (
        """select dim.k, fact.v, link.c from fact join link on fact.k = link.k and fact.g = link.g
           join dim on dim.k = fact.k
           where kind = 'kind 7' and fact.v = (
               select max(f.v) from fact as f join link as l on f.k = l.k and f.g = l.g where f.k = dim.k)""",
        {"fact": 1, "link": 1},
    ),
    "the query has a predicate of its own": (
        """select sum(fact.v) from fact join dim on fact.k = dim.k
           where kind = 'kind 7' and fact.g < 3 and fact.v > (select avg(v) from fact as f where f.k = dim.k)""",
        {"fact": 1, "dim": 2},
    ),
    "a predicate of both": (
        """select count(*) from fact join dim on fact.k = dim.k
           where kind = 'kind 7' and fact.g < 3
           and fact.v > (select avg(v) from fact as f where f.k = dim.k and f.g < 3)""",
        {"fact": 1, "dim": 2},
    ),
    "beside an outer join": (
        """select count(*), count(link.c) from fact join dim on fact.k = dim.k left join link on link.k = fact.k + 1
           where kind = 'kind 7' and fact.v > (select avg(v) from fact as f where f.k = dim.k)""",
        {"fact": 1, "link": 1},
    ),
    "grouped by two columns": (
        """select count(*) from fact join link on fact.k = link.k and fact.g = link.g join dim on dim.k = link.k
           where kind = 'kind 7' and fact.v > (
               select avg(v) from fact as f where f.k = link.k and f.g = link.g)""",
        {"fact": 1},
    ),
}


@pytest.mark.parametrize(("query", "scans"), SHARED.values(), ids=SHARED.keys())
def test_shared_rows_are_read_once(query: str, scans: dict[str, int]) -> None:
    plan = session().sql(query).explain()
    assert "joined rows of fact" in plan
    assert {table: plan.count(f"Scan {table} ") for table in scans} == scans
    fact, dim, link = FACT, DIM, LINK  # noqa: F841
    expected = rows_of(duckdb.sql(query).to_arrow_table())
    for made in (session(), session(partitions=3), session(disabled_rules="share_joins")):
        assert sorted(rows_of(made.sql(query).to_arrow())) == sorted(expected)


@pytest.mark.parametrize(
    "query",
    [
        # the aggregate reads fewer rows than the query
        """select count(*) from fact join dim on fact.k = dim.k
           where kind = 'kind 7' and fact.v > (select avg(v) from fact as f where f.k = dim.k and f.g < 3)""",
        # the groups are those of another column
        """select count(*) from fact join dim on fact.k = dim.k
           where kind = 'kind 7' and fact.v > (select avg(v) from fact as f where f.g = dim.k)""",
        # all groups are read: their rows are too many to keep
        "select count(*) from fact where v > (select avg(v) from fact as f where f.k = fact.k)",
        # rows that are read by position
        """select count(*) from (select * from fact limit 50000) as fact join dim on fact.k = dim.k
           where kind = 'kind 7' and fact.v > (select avg(v) from fact as f where f.k = dim.k)""",
    ],
)
def test_other_rows_are_not_shared(query: str) -> None:
    assert "joined rows" not in session().sql(query).explain()
    if "limit" not in query:
        fact, dim = FACT, DIM  # noqa: F841
        assert rows_of(session().sql(query).to_arrow()) == rows_of(duckdb.sql(query).to_arrow_table())


@pytest.mark.parametrize(
    "query",
    [
        # every group is wanted: no filter on the other side
        "select dim.k, s.total from dim join (select k, sum(v) as total from fact group by k) as s on s.k = dim.k",
        # groups without a match come out too
        """select d.k, s.total from (select * from dim where kind = 'kind 7') as d
           full join (select k, sum(v) as total from fact group by k) as s on s.k = d.k""",
    ],
)
def test_does_not_fire(query: str) -> None:
    off = session(disabled_rules="reduce_aggregates,share_joins,reduce_probes")
    assert shape(session(), query) == shape(off, query)
    fact, dim = FACT, DIM  # noqa: F841
    ours = session().sql(query).to_arrow()
    assert sorted(map(str, rows_of(ours))) == sorted(map(str, rows_of(duckdb.sql(query).to_arrow_table())))


def rows_of(table: pa.Table) -> list[list[object]]:
    return [[None if v is None else int(v) for v in row.values()] for row in table.to_pylist()]
