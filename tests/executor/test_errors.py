"""What raises, what does not, and what the error says."""

from __future__ import annotations

import duckdb
import pytest

import sqlray
from planner.errors import ExecutionError, UnsupportedError
from tests.executor import oracle

RAISING = {
    "select b + b from t": "out of range for BIGINT",
    "select b * 3 from t": "out of range for BIGINT",
    "select i + i from t": "out of range for INTEGER",
    "select i * i from t": "out of range for INTEGER",
    "select t + t from t": "out of range for TINYINT",
    "select u - u - 1::utinyint from t": "out of range for UTINYINT",
    "select -t from t": "out of range for TINYINT",
    "select abs(t) from t": "out of range for TINYINT",
    "select i // j from t": "division by zero",
    "select i % j from t": "division by zero",
    "select d % e from t": "division by zero",
    "select w * 100000000000000000 from t": "DECIMAL",
    "select sum(w * 100000000000) from t": "DECIMAL",
    "select d::decimal(4, 2) from t": "DECIMAL",
    "select i::tinyint from t": "out of range for TINYINT",
    "select f::integer from t": "out of range for INTEGER",
    "select x::integer from t": "to INTEGER",
    "select s::double from t": "could not convert string",
    "select y::date from t": "to DATE",
    "select y::timestamp from t": "to TIMESTAMP",
    "select s::boolean from t": "could not convert string",
    "select s::decimal(10, 2) from t": "could not convert string",
    "select make_date(2021, 2, 29 + abs(n)) from t": "out of range",
    "select make_date(99999999, 1, 1) from t": "out of range",
    "select make_date(b, 1, 1) from t": "out of range",
    "select make_date(5881580 + n * 0, 7, 11) from t": "out of range",
    "select date '2000-01-01' + 2147483647": "out of range",
    "select da + i from t": "out of range",
    "select da - i from t": "out of range",
    "select (select i from t)": "more than one row",
    "select id, (select b.i from t b where b.j = a.j) from t a": "more than one row",
    "select regexp_matches(s, '(') from t": "regular expression",
    r"select regexp_replace(s, '(b)', '\2') from t": "group 2",
    r"select regexp_replace(s, 'b', '\1') from t": "group 1",
    r"select regexp_replace(s, 'b', '\x') from t": "stray backslash",
    r"select regexp_replace(s, '(b)', s || '\') from t": "stray backslash",
    "select sum(b) filter (where b > 0)::bigint from t": "out of range for BIGINT",
    "select unhex('zz' || left(s, 0)) from t": "hexadecimal",
    "select chr(-5 - abs(j)) from t": "code of a character",
    "select j << 3 from t": "negative number",
    "select g // 0.0 from t": "division by zero",
    "select d // 0.0 from t": "division by zero",
    "select (f * 1e300)::float from t": "out of range",
    "select lcm(b, 4) from t": "out of range for BIGINT",
    "select w * 99999999999999999999999999999999.5 from t": "DECIMAL",
    r"select (s || '\xZ')::blob from t": "to BLOB",
}

GUARDED = [
    "select case when j <> 0 then i // j end from t",
    "select case when j = 0 then 0 else i % j end from t",
    "select coalesce(case when j = 0 then 1 end, i // j) from t",
    "select case when b between -1000 and 1000 then b * 1000 end from t",
    "select case when w < 1000 then w::decimal(38, 20) end from t",
    "select case when s = 'abc' then s::blob end from t",
    "select case when i > 2147483647 then lower('5A')::integer when k then lower('5')::integer end from t",
    "select case when i > 2147483647 then lower('5A')::integer when k then lower('5')::integer end from t where id < 0",
    "select case when abs(f) < 10 then (f * 1e30)::float end from t",
    "select case when x similar to '[0-9]+' then x::bigint end from t",
    "select count(*) from t where j <> 0 and i // j > 1",
    "select case when k then case when j > 0 then 100 // j end when not k and j < 0 then 100 % j end from t",
    "select if(j <> 0, i // j, -1) from t",
    "select case when b between 1 and 9999 then make_date(b, 1, 1) end from t",
    "select case when i between -1000 and 1000 then da + i end from t",
    "select case when i between -100 and 100 then i::tinyint end from t",
]


@pytest.fixture(scope="module")
def session() -> sqlray.Session:
    return oracle.session()


@pytest.mark.parametrize(("sql", "message"), RAISING.items())
def test_raises(session: sqlray.Session, sql: str, message: str) -> None:
    with pytest.raises(ExecutionError) as caught:
        session.sql(sql).to_arrow()
    assert message in str(caught.value)
    assert session.sql("select 1").fetchall() == [(1,)]


@pytest.mark.parametrize("sql", GUARDED)
def test_branches_not_taken_do_not_raise(session: sqlray.Session, sql: str) -> None:
    ours = sorted(session.sql(sql).fetchall(), key=repr)
    assert ours == sorted(oracle.connection().sql(sql).fetchall(), key=repr)


def test_sums_pass_64_bits() -> None:
    data = "(select 9223372036854775807 as x union all select 9223372036854775807)"
    assert sqlray.sql(f"select sum(x)::varchar from {data}").fetchall() == [("18446744073709551614",)]
    assert duckdb.sql(f"select sum(x)::varchar from {data}").fetchall() == [("18446744073709551614",)]


def test_decimal_products_are_exact() -> None:
    sql = "select (1.25::decimal(15, 2) * 0.05::decimal(15, 2))::varchar, sum(1.25::decimal(15,2) * 0.05::decimal(15,2))::varchar"  # noqa: E501
    assert sqlray.sql(sql).fetchall() == [("0.0625", "0.0625")]


def test_what_is_too_wide_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="more than 38 digits"):
        oracle.session().sql("select w % 0.5::decimal(38, 20) from t").fetchall()


def test_errors_of_text_show_no_internals() -> None:
    with pytest.raises(ExecutionError) as raised:
        oracle.session().sql("select (s || 'é')::blob from t").fetchall()
    assert "expression" not in str(raised.value)
    assert raised.value.hint == "TRY_CAST gives NULL instead of an error"
