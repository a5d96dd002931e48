"""Random queries with a correlated aggregate over tables that the query joins as well: the rule `share_joins` changes
no answer, and fires for many of them."""

from __future__ import annotations

import random

import duckdb
import pyarrow as pa
import pytest

import sqlray
from planner.optimizer import share_joins

QUERIES = 60


def nullable(rng: random.Random, rows: int, columns: str, values: int, key: bool = False) -> pa.Table:
    """Columns of few values and some NULLs; with ``key`` a unique column ``id`` beside them."""
    data = {c: pa.array([None if rng.random() < 0.15 else rng.randrange(values) for _ in range(rows)], pa.int64())
            for c in columns}  # fmt: skip
    return pa.table(data | ({"id": pa.array(range(rows), pa.int64())} if key else {}))


def tables(rng: random.Random) -> dict[str, pa.Table]:
    return {
        "a": nullable(rng, 60, "kgvw", 8),
        "b": nullable(rng, 30, "kgc", 8),
        "d": nullable(rng, 8, "xy", 4, key=True),
        "e": nullable(rng, 8, "xz", 4, key=True),
    }


def random_query(rng: random.Random) -> str:
    key = rng.choice("kg")
    joins_b = rng.random() < 0.5
    outer, where = ["a"], []
    inner, inner_where = ["a as a2"], []
    if joins_b or rng.random() < 0.3:
        outer.append("b")
        where.append(rng.choice(["a.k = b.k", "a.k = b.k and a.g = b.g", "a.g = b.g"]))
    if joins_b:
        inner.append("b as b2")
        condition = where[0] if rng.random() < 0.8 else rng.choice(["a.k = b.k", "a.g = b.g"])
        inner_where.append(condition.replace("a.", "a2.").replace("b.", "b2."))
    if rng.random() < 0.8:
        outer.append("d")
        where.append(rng.choice([f"d.id = a.{key}", f"d.x = a.{key}", "d.id = a.v"]))
        where += ["d.y < 3"] if rng.random() < 0.5 else []
    if rng.random() < 0.4:
        outer.append("e")
        where.append(rng.choice([f"e.id = a.{key}", f"e.x = a.{key}", *(["e.id = d.x"] if "d" in outer else [])]))
    if rng.random() < 0.4:
        condition = rng.choice(["%s.w < 6", "%s.v > 1", "%s.g <> 3", "%s.k < 5"])
        where += [condition % "a"] if rng.random() < 0.8 else []
        inner_where += [condition % "a2"] if rng.random() < 0.7 else []
    inner_where.append(f"a2.{key} = " + ("d.id" if f"d.id = a.{key}" in where and rng.random() < 0.5 else f"a.{key}"))
    if rng.random() < 0.3:
        inner_where.append("a2.g = a.g" if key == "k" else "a2.k = a.k")
    value = rng.choice(["a2.v", "a2.w", *(["b2.c"] if joins_b else [])])
    aggregate = rng.choice(["min", "max", "avg", "sum", "count", "count distinct", "sum distinct"])
    name, _, distinct = aggregate.partition(" ")
    subquery = f"(select {name}({distinct} {value}) from {', '.join(inner)} where {' and '.join(inner_where)})"
    where.append(rng.choice(["a.v > %s", "a.v = %s", "a.w <= %s", "%s > 1", "a.v < 0.5 * %s"]) % subquery)
    return f"select count(*), sum(a.v), sum(a.w) from {', '.join(outer)} where {' and '.join(where)}"


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_stay(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_joins, "_SHARE", 1e9)  # whether it pays or not
    rng = random.Random(seed)
    oracle = duckdb.connect()
    sessions = [sqlray.connect(), sqlray.connect(partitions=3), sqlray.connect(disabled_rules="share_joins")]
    for name, table in tables(rng).items():
        oracle.register(name, table)
        for session in sessions:
            session.register(name, table)
    fired = 0
    for _ in range(QUERIES):
        text = random_query(rng)
        expected = [tuple(map(float, [v or 0 for v in row])) for row in oracle.execute(text).fetchall()]
        for session in sessions:
            rows = [tuple(map(float, [v or 0 for v in row])) for row in session.sql(text).fetchall()]
            assert rows == expected, text
        fired += "joined rows of" in sessions[0].sql(text).explain()
    assert fired > QUERIES / 4
