"""Every aggregate against DuckDB: global, grouped, filtered, distinct, over no rows."""

from __future__ import annotations

import random
from typing import Any

import duckdb
import polars as pl
import pytest

import sqlray
from executor.kernels import KernelOptions, compile_fragment
from planner.errors import SqlrayError, UnsupportedError
from tests.executor import oracle
from tests.executor.fake_gpu import FakeGpu
from tests.planned import planned_query

AGGREGATES = [
    "count(*)",
    "count(i)",
    "count(distinct i)",
    "count(distinct d)",
    "count(distinct f)",
    "count(distinct s)",
    "sum(i)",
    "sum(t)",
    "sum(u)",
    "sum(b)",
    "sum(n)",
    "sum(d)",
    "sum(e)",
    "sum(w)",
    "sum(g)",
    "sum(r)",
    "sum(distinct j)",
    "sum(distinct d)",
    "sum(d * e)",
    "sum(d * (1 - e))",
    "sum(i * 2)",
    "sum(case when k then d else 0 end)",
    "sum(1)",
    "avg(i)",
    "avg(d)",
    "avg(g)",
    "avg(distinct j)",
    "avg(distinct coalesce(j, 0))",
    "avg(distinct coalesce(d, 0))",
    "bit_xor(distinct u)",
    "bit_xor(distinct n) filter (where k)",
    "avg(d * e)",
    "avg(b)",
    "avg(1.5)",
    "avg(w)",
    "min(i)",
    "max(i)",
    "min(d)",
    "max(d)",
    "min(f)",
    "max(f)",
    "min(g)",
    "max(s)",
    "min(s)",
    "min(da)",
    "max(ta)",
    "max(k)",
    "min(ti)",
    "max(tz)",
    "max(r)",
    "min(bl)",
    "max(w)",
    "min(u)",
    "stddev(g)",
    "stddev_pop(g)",
    "var_samp(i)",
    "var_pop(d)",
    "covar_pop(g, j)",
    "covar_samp(g, n)",
    "corr(g, j)",
    "bool_and(k)",
    "bool_or(k)",
    "bool_and(i > 0)",
    "bit_and(u)",
    "bit_or(u)",
    "bit_xor(u)",
    "bit_or(i)",
    "product(j)",
    "string_agg(s, ',' order by id)",
    "string_agg(s, '-' order by id desc)",
    "string_agg(s, ',' order by s, id)",
    "string_agg(i, ';' order by id)",
    "string_agg(distinct s, ',' order by s)",
    "first(i order by id)",
    "last(s order by id)",
    "any_value(i order by id)",
    "first(d order by id desc)",
    "median(i)",
    "median(g)",
    "median(d)",
    "median(da)",
    "median(ta)",
    "quantile_cont(g, 0.3)",
    "quantile_cont(i, 0.25)",
    "quantile_disc(i, 0.3)",
    "quantile_disc(s, 0.5)",
    "quantile_disc(d, 0)",
    "quantile_disc(g, 1)",
    "quantile_cont(d, 0.6)",
    "arg_max(id, b * 0 + id)",
    "arg_min(s, id)",
    "arg_max(d, id)",
    "coalesce(count_if(k), 0)",
    "approx_count_distinct(j)",
    "max_by(s, id)",
    "count(*) filter (where k)",
    "sum(d) filter (where i > 0)",
    "avg(i) filter (where k)",
    "max(f) filter (where l)",
    "count(distinct i) filter (where k)",
    "min(s) filter (where s > 'b')",
    "sum(g) filter (where null)",
    "sum(null::integer)",
    "first(i order by id) filter (where k)",
    "string_agg(s, ',' order by id) filter (where l)",
    "bool_or(k) filter (where l)",
    "sum(i) + count(*)",
    "sum(d) / count(d)",
    "max(i) - min(i)",
    "avg(ta)",
    "sum(k)",
    "sum(d) * 2 > 1",
]

SHAPES = {
    "global": "select {} as v from t",
    "nothing": "select {} as v from t where id < 0",
    "by integer": "select n, {} as v from t group by n",
    "by text": "select p, {} as v from t group by p",
    "by float": "select g, {} as v from t group by g",
    "by two": "select k, j, {} as v from t group by k, j",
    "by expression": "select d * 2 as z, {} as v from t where i is not null group by d * 2",
    "no group": "select n, {} as v from t where id < 0 group by n",
}


@pytest.fixture(scope="module")
def engines() -> tuple[sqlray.Session, duckdb.DuckDBPyConnection]:
    return oracle.session(), oracle.connection()


ONE = [
    *("sum", "avg", "min", "max", "count", "stddev", "stddev_pop", "var_samp", "var_pop", "median", "product"),
    *("first", "last", "any_value", "mode", "bit_or", "bool_and", "approx_count_distinct"),
]


@pytest.mark.parametrize("value", ["null::double", "null::decimal(5, 2)", "null::integer", "null::boolean", "7"])
@pytest.mark.parametrize("name", ONE)
def test_of_a_single_row(name: str, value: str) -> None:
    """Kernels take shortcuts for tables of one row."""
    sql = f"select g, {name}(x) as v from (values (1, {value})) as t(g, x) group by g"
    try:
        expected = duckdb.sql(sql).fetchall()
    except duckdb.Error:
        return
    try:
        found = sqlray.sql(sql).fetchall()
    except UnsupportedError:
        return
    assert len(found) == len(expected)
    assert oracle.same(found[0][1], expected[0][1], 1e-9), (found, expected)


def key(row: tuple[Any, ...]) -> list[str]:
    return [repr(v + 0.0 if isinstance(v, float) else v) for v in row[:-1]]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_duckdb(engines: tuple[sqlray.Session, duckdb.DuckDBPyConnection], shape: str, aggregate: str) -> None:
    session, connection = engines
    sql = SHAPES[shape].format(aggregate)
    try:
        table = connection.sql(sql).to_arrow_table()
    except duckdb.Error:
        with pytest.raises(SqlrayError):
            session.sql(sql).to_arrow()
        return
    theirs = sorted(zip(*(c.to_pylist() for c in table.columns), strict=True), key=key)
    found = session.sql(sql).to_arrow()
    ours = sorted(zip(*(c.to_pylist() for c in found.columns), strict=True), key=key)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert all(oracle.same(x, y, 1e-9) for x, y in zip(a, b, strict=True)), f"ours {a}, DuckDB's {b}"


@pytest.mark.parametrize("digits", [4, 9, 18, 38])
def test_quantiles_of_decimals_are_rounded_as_duckdb_rounds_them(digits: int) -> None:
    """Sums of doubles, but of more than 18 digits: 2.20 and a fifth of 1.10, a bit less as a double, is 2.42.

    Of other numbers only by fractions that are exact: DuckDB may fuse a product and a sum, and round once.
    """
    rng = random.Random(digits)
    most = 10 ** min(digits, 12) - 1
    rows = [(g, rng.randint(-most, most)) for g in range(60) for _ in range(rng.randint(1, 7))]
    for numbers, fractions in ((rows, (0, 0.25, 0.5, 1)), ([(0, x) for x in (110, 220, 330, 440, 550)], (0.3,))):
        values = ", ".join(f"({g}, {'-' * (x < 0)}{abs(x) // 100}.{abs(x) % 100:02})" for g, x in numbers)
        calls = ", ".join(f"quantile_cont(v, {q})" for q in fractions)
        source = f"(select g, v::decimal({digits}, 2) as v from (values {values}) as t(g, v)) as s"
        sql = f"select g, {calls} from {source} group by g order by g"
        assert sqlray.sql(sql).fetchall() == duckdb.sql(sql).fetchall()


@pytest.mark.parametrize(
    ("aggregates", "columns"),
    [
        ("sum(a), avg(a), count(*), avg(b), sum(b)", ["a.sum", "len", "b.sum"]),  # as TPC-H Q1 has them
        ("count(*), count(a), avg(a)", ["len", "a.sum"]),
        ("sum(a), sum(distinct a), sum(a) filter (where a > 1)", ["a.sum", "a.unique.sum", "filtered.sum"]),
    ],
)
def test_what_several_aggregates_consist_of_is_computed_once(aggregates: str, columns: list[str]) -> None:
    frame = pl.DataFrame({"a": [1, 2, 2, 4], "b": [0.5, 1.5, 2.5, 4.5], "k": [1, 1, 2, 2]})
    with sqlray.connect() as session:
        session.register("t", frame.with_columns(pl.col("b").cast(pl.Decimal(9, 1))))
        stage = planned_query(session, f"select k, {aggregates} from t group by k").physical.graph.result
        text = compile_fragment(stage.plan).explain(optimized=False)
    (grouping,) = (line for line in text.splitlines() if "BY [" in line)
    assert grouping.count(".alias(") == len(columns)


@pytest.mark.parametrize(
    "counts", ["count(distinct v)", "count(distinct v), count(distinct v) + 1", "count(distinct k)"]
)
def test_distinct_values_on_a_gpu(counts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted in rows that are each there once."""
    rng = random.Random(1)
    rows = [(rng.choice(["a", "b", None]), rng.choice([None, 1, 2, 3])) for _ in range(200)]
    frame = pl.DataFrame(rows, schema={"k": pl.String, "v": pl.Int64}, orient="row")
    query = f"select k, {counts} from t group by k order by k"
    with sqlray.connect(device="cpu") as session:
        session.register("t", frame)
        expected = session.sql(query).fetchall()
    fake = FakeGpu().install(monkeypatch)
    with sqlray.connect(device="gpu") as session:
        session.register("t", frame)
        assert session.sql(query).fetchall() == expected
        plan = planned_query(session, query).physical.graph.result.plan
    text = compile_fragment(plan, {}, KernelOptions(device="gpu")).explain(optimized=False)
    assert ("UNIQUE" in text) == ("n_unique" not in text) == ("(distinct k)" not in counts)
    assert fake.plans == 1


def test_distinct_pairs_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="DISTINCT"):
        oracle.session().sql("select corr(distinct g, j) from t")


def test_averages_of_distinct_values_without_nulls() -> None:
    """A column that has no NULL, as its statistics say: before, its rows were counted instead of its values."""
    session = sqlray.connect()
    session.sql("create table v as select * from (values (1, 1), (1, 1), (1, 4), (2, 5), (2, 5)) as v(g, i)")
    rows = session.sql("select g, avg(distinct i), avg(i) from v group by g order by g").fetchall()
    assert rows == [(1, 2.5, 2.0), (2, 5.0, 5.0)]
    assert session.sql("select avg(distinct i) from v").fetchall() == [(10 / 3,)]
