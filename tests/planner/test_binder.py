"""The binder: plans as text (``binder/*.test``), statements, names, parameters, errors and their places.

A case of a ``.test`` file is a title, a query over t, u and w, and what the binder makes of it: the output names
and the plan, or the error. ``SQLRAY_REGENERATE=1 pytest tests/planner/test_binder.py`` writes them anew; the diff is
what one reads.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from planner import statements, types
from planner.binder import BindContext, bind
from planner.catalog import Table, View
from planner.errors import BindError, ParseError, SqlrayError, UnsupportedError
from planner.expr import Cast, Literal
from planner.logical import CommonSubplan, Limit, Project, Values, pretty
from planner.optimizer.verify import Verifier
from planner.parser import parse
from planner.tree import walk
from tests.golden.tables import tpch_tables
from tests.planner.interpreter import ListTable
from tpch_queries import query

FOLDER = Path(__file__).parent / "binder"


def _table(name: str, **columns: pa.DataType) -> ListTable:
    return ListTable(name, pa.schema(list(columns.items())), ())


TABLES: dict[str, Table | View] = {
    "t": _table("t", a=types.INTEGER, b=types.INTEGER, c=types.VARCHAR),
    "u": _table("u", a=types.INTEGER, d=types.INTEGER),
    "w": _table("w", k=types.BIGINT, v=types.DOUBLE, s=types.VARCHAR, day=types.DATE),
    "view_of_t": View("view_of_t", "select a, b + 1 as n from t", "duckdb", ("first",)),
    "itself": View("itself", "select * from itself", "duckdb"),
}


def _open(paths: str | Sequence[str], format: str | None = None, options: Mapping[str, object] | None = None) -> Table:
    if "missing" in paths:
        raise BindError(f"there is no file {paths}")
    return _table(f"{paths} {format} {dict(options or {})}", x=types.INTEGER)


def bound(sql: str, parameters: Any = None, tables: Mapping[str, Table | View] = TABLES) -> Any:
    """What the binder makes of one statement."""
    context = BindContext(
        lookup=lambda name: tables.get(name.lower()),
        open_path=_open,
        sql=sql,
        parameters=parameters,
        table_names=lambda: list(tables),
    )
    (statement,) = parse(sql)
    return bind(statement, context)


def outcome(sql: str) -> str:
    """The names and the plan of a query, or its error."""
    try:
        found = bound(sql)
    except SqlrayError as error:
        return f"{type(error).__name__}: {error}"
    assert isinstance(found, statements.Query)
    seen: dict[str, int] = {}
    plan = re.sub(r"#(\d+)\b(?!')", lambda m: f"#{seen.setdefault(m[1], len(seen) + 1)}", pretty(found.plan))
    return f"{' | '.join(found.names)}\n{plan}"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a file."""

    title: str
    sql: str
    expected: str


def _read(path: Path) -> list[Case]:
    cases = []
    for block in re.split(r"^# ", path.read_text(), flags=re.MULTILINE)[1:]:
        title, _, body = block.partition("\n")
        sql, _, expected = body.partition("\n---")
        cases.append(Case(title, sql.strip(), expected.strip("\n")))
    return cases


FILES = sorted(FOLDER.glob("*.test"))
CASES = [(path.stem, case) for path in FILES for case in _read(path)]


@pytest.fixture(scope="session", autouse=True)
def _regenerate() -> None:
    if os.environ.get("SQLRAY_REGENERATE"):
        for path in FILES:
            blocks = (f"# {c.title}\n{c.sql}\n---\n{outcome(c.sql)}\n" for c in _read(path))
            path.write_text("\n".join(blocks))


@pytest.mark.parametrize("case", [c for _, c in CASES], ids=[f"{file}: {c.title}" for file, c in CASES])
def test_plan(case: Case) -> None:
    if os.environ.get("SQLRAY_REGENERATE"):
        pytest.skip("the plans are being written")
    assert outcome(case.sql) == case.expected


@pytest.mark.parametrize("case", [c for _, c in CASES], ids=[f"{file}: {c.title}" for file, c in CASES])
def test_plan_is_well_formed(case: Case) -> None:
    try:
        plan = bound(case.sql).plan
    except SqlrayError:
        pytest.skip("an error is expected")
    Verifier().check(plan)


# ---------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("sql", "parameters", "values"),
    [
        ("select ?, ?", [1, "x"], [1, "x"]),
        ("select $2, $1", [1, "x"], ["x", 1]),
        ("select $1,$2", [1, "x"], [1, "x"]),
        ("select $a,$b", {"a": 1, "b": "$a"}, [1, "$a"]),
        ("select $$it's $1,$2$$, $t$'$1,$2$t$, '$1,$2', $1,$2", [1, 2], ["it's $1,$2", "'$1,$2", "$1,$2", 1, 2]),
        ("select $a, $B", {"a": 1.5, "B": True}, [1.5, True]),
        ("select ?", [Decimal("1.50")], [Decimal("1.50")]),
        ("select ?", [dt.date(2020, 1, 2)], [dt.date(2020, 1, 2)]),
        ("select ?", [b"\x00"], [b"\x00"]),
    ],
)
def test_parameters(sql: str, parameters: Any, values: list[Any]) -> None:
    plan = bound(sql, parameters).plan
    assert isinstance(plan, Project)
    found = [item.expr for item in plan.items]
    assert [e.value for e in found if isinstance(e, Literal)] == values


def test_a_cast_parameter_is_no_other_operator() -> None:
    plan = bound("select ?::varchar", ["x"]).plan
    assert isinstance(plan, Project)
    assert plan.items[0].expr == Cast(Literal("x", types.VARCHAR), types.VARCHAR)


def test_parameters_are_numbered_as_they_stand_in_the_text() -> None:
    plan = bound("select ? from (values (?)) limit ?", [10, 20, 30]).plan
    limits = [n.limit for n in walk(plan) if isinstance(n, Limit)]
    assert limits == [30]
    values = next(n for n in walk(plan) if isinstance(n, Values))
    assert values.rows[0][0] == Literal(20, types.INTEGER)


@pytest.mark.parametrize(
    ("sql", "parameters"), [("select ?", None), ("select $2", [1]), ("select $x", {"y": 1}), ("select $x", [1])]
)
def test_missing_parameter(sql: str, parameters: Any) -> None:
    with pytest.raises(BindError, match="there is no value for parameter"):
        bound(sql, parameters)


# ---------------------------------------------------------------------------------------------------- statements


def test_create_table() -> None:
    found = bound("create table x (a integer primary key, b varchar(30) not null, c decimal(5, 2), unique (b, c))")
    assert isinstance(found, statements.CreateTable)
    assert [(c.name, c.dtype, c.not_null) for c in found.columns] == [
        ("a", types.INTEGER, True),
        ("b", types.VARCHAR, True),
        ("c", types.decimal(5, 2), False),
    ]
    assert found.keys == (("a",), ("b", "c"))
    assert not found.replace
    assert not found.if_not_exists


def test_create_table_as() -> None:
    found = bound("create or replace table x as select a, null as n from t")
    assert isinstance(found, statements.CreateTable)
    assert found.replace
    assert found.query is not None
    assert found.query.names == ("a", "n")
    assert [f.dtype for f in found.query.plan.schema] == [types.INTEGER, types.INTEGER]


def test_create_view_keeps_its_text() -> None:
    found = bound("create view v(p) as select a, b from t where a < 3")
    assert isinstance(found, statements.CreateView)
    assert found.view.columns == ("p",)
    again = bound("select p, b from v", tables={**TABLES, "v": found.view})
    assert again.names == ("p", "b")


def test_insert_fills_the_tables_columns() -> None:
    found = bound("insert into t (c, a) values ('x', 1), (null, 2)")
    assert isinstance(found, statements.Insert)
    assert found.query.names == ("a", "b", "c")
    assert [f.dtype for f in found.query.plan.schema] == [types.INTEGER, types.INTEGER, types.VARCHAR]
    assert bound("insert into t by name select 'x' as c").query.names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("drop table if exists x, y", statements.Drop("TABLE", ("x", "y"), True)),
        ("drop view v", statements.Drop("VIEW", ("v",))),
        ("create unique index i on t(a)", statements.CreateIndex("i", "t")),
        ("show tables", statements.ShowTables()),
        ("set threads = 2", statements.SetOption("threads", 2)),
        ("set memory_limit = '2GB'", statements.SetOption("memory_limit", "2GB")),
        ("set x to on", statements.SetOption("x", "on")),
        ("set x = -1.5", statements.SetOption("x", -1.5)),
        ("set x = true", statements.SetOption("x", True)),
        ("set x = default", statements.ResetOption("x")),
        ("reset threads", statements.ResetOption("threads")),
    ],
)
def test_statements(sql: str, expected: statements.Statement) -> None:
    assert bound(sql) == expected


def test_describe_and_explain() -> None:
    assert bound("describe t").query.names == ("a", "b", "c")
    assert bound("show t").query.names == ("a", "b", "c")
    assert bound("describe select a + 1 as n from t").query.names == ("n",)
    found = bound("explain analyze select ';' as x")
    assert isinstance(found, statements.Explain)
    assert found.analyze
    assert isinstance(found.statement, statements.Query)


@pytest.mark.parametrize(
    "sql",
    [
        "begin", "commit", "rollback", "delete from t", "update t set a = 1", "truncate t",
        "alter table t add x int", "copy t to", "create schema s", "create function f(x) as x",
        "create table x (a int check (a > 0))", "create table x (a int default 1)",
        "create table x (a int references t(a))", "attach 'x'", "use x", "pragma y", "insert into t default values",
        "insert or replace into t values (1, 2, 'x')", "insert into t select 1 returning *",
        "insert into view_of_t values (1, 2)", "create view v as select ?",
        "merge into t using u on true when matched then delete",
    ],
)  # fmt: skip
def test_refused_statements(sql: str) -> None:
    with pytest.raises((UnsupportedError, BindError)):
        bound(sql, [1])


# ---------------------------------------------------------------------------------------------------- the parser


def test_parse_splits_statements() -> None:
    assert len(parse("select 1; -- a comment;\n ; explain select ';'; select 3")) == 3
    assert parse(" -- nothing\n;;") == []


@pytest.mark.parametrize(
    ("sql", "line", "column", "length"),
    [
        ("select * form t", 1, 15, 1),
        ("select a\n  fro b", 2, 7, 1),
        ("select 'abc", 1, 8, 1),
        ("explain\nselect (1", 2, 9, 1),
        ("selec", 1, 1, 5),
        ("select 1;\n 1 + 1", 2, 2, 1),
    ],
)
def test_parse_errors_have_their_place(sql: str, line: int, column: int, length: int) -> None:
    with pytest.raises(ParseError) as caught:
        parse(sql)
    position = caught.value.position
    assert position is not None
    assert (position.line, position.column, position.length) == (line, column, length)


def test_unknown_dialect() -> None:
    with pytest.raises(BindError, match="dialect") as caught:
        parse("select 1", "postgress")
    assert caught.value.hint == 'did you mean "postgres"?'


@pytest.mark.parametrize("dialect", ["sqlite", "postgres", "mysql", "snowflake", "bigquery", "spark", "trino"])
def test_statements_of_every_dialect(dialect: str) -> None:
    for sql, kind in (
        ("explain select 1", statements.Explain),
        ("reset threads", statements.ResetOption),
        ("show tables", statements.ShowTables),
        ("select ?", statements.Query),
    ):
        (tree,) = parse(sql, dialect)
        context = BindContext(lambda name: None, _open, sql, dialect, [1])
        assert isinstance(bind(tree, context), kind)


def test_error_in_a_view_shows_the_views_text() -> None:
    tables: dict[str, Table | View] = {"v": View("v", "select nosuch from w", "duckdb"), "w": TABLES["w"]}
    with pytest.raises(BindError, match='no column "nosuch"') as caught:
        bound("select * from v", tables=tables)
    assert caught.value.sql == "select nosuch from w"


# ---------------------------------------------------------------------------------------------------- sharing


def test_a_cte_of_two_references_is_one_plan() -> None:
    plan = bound("with c as (select a from t) select * from c x, c y").plan
    assert len([n for n in walk(plan) if isinstance(n, CommonSubplan)]) == 1
    plan = bound("with c as (select a from t) select * from c x").plan
    assert not [n for n in walk(plan) if isinstance(n, CommonSubplan)]
    plan = bound("with c as not materialized (select a from t) select * from c x, c y").plan
    assert not [n for n in walk(plan) if isinstance(n, CommonSubplan)]


@pytest.mark.parametrize("number", range(1, 23))
def test_tpch_binds(number: int) -> None:
    found = bound(query(number), tables=tpch_tables())
    assert isinstance(found, statements.Query)
    Verifier().check(found.plan)
