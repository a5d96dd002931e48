# ruff: noqa: E501 - tables of samples read better unbroken
"""The tables of functions: names, signatures, types, and how aggregates split."""

from __future__ import annotations

from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from planner import coercion, functions, functions_aggregate, literals, signatures, types
from planner.errors import BindError, UnsupportedError
from planner.expr import (
    AggregateCall,
    Arithmetic,
    Call,
    Case,
    Cast,
    Expr,
    Literal,
    SortKey,
    column,
    is_volatile,
    new_field,
    null,
)

N, B = column(new_field("i", types.INTEGER)), column(new_field("b", types.BIGINT))
D = column(new_field("d", types.DOUBLE))
M = column(new_field("m", types.decimal(15, 2)))
S = column(new_field("s", types.VARCHAR))
T = column(new_field("t", types.BOOLEAN))
DAY = column(new_field("day", types.DATE))
MOMENT = column(new_field("moment", types.TIMESTAMP))

_SAMPLES = {
    "ANY": N, "T": N, "NUM": N, "INT": N, "DEC": M, "TEXT": S, "BOOLEAN": T, "INTEGER": N, "BIGINT": B, "DOUBLE": D,
    "VARCHAR": S, "DATE": DAY, "TIMESTAMP": MOMENT, "FLOAT": column(new_field("f", types.FLOAT)),
    "TIMESTAMPTZ": column(new_field("tz", types.TIMESTAMPTZ)), "TIME": column(new_field("tm", types.TIME)),
    "INTERVAL": column(new_field("iv", types.INTERVAL)), "BLOB": column(new_field("bl", types.BLOB)),
    "UBIGINT": column(new_field("ub", types.UBIGINT)),
}  # fmt: skip
_CONSTANTS = {
    "VARCHAR": Literal("month", types.VARCHAR),
    "INTEGER": Literal(1, types.INTEGER),
    "DOUBLE": Literal(0.5, types.DOUBLE),
}


def _arguments(text: str) -> list[Expr]:
    signature = signatures.parse_signature(text)
    return [_CONSTANTS[p.kind] if p.constant else _SAMPLES[p.kind] for p in signature.parameters]


def _all(table: list[functions.Function]) -> list[tuple[str, str]]:
    return [(f.name, s) for f in table for s in f.signatures if s]


@pytest.mark.parametrize(("name", "signature"), _all(functions.scalar_functions()))
def test_every_signature_resolves(name: str, signature: str) -> None:
    expr = functions.resolve_scalar(name, _arguments(signature))
    assert isinstance(expr, Call | Case | Literal | Cast | type(N))
    if isinstance(expr, Call):
        assert expr.name == name or name.startswith("to_")
        assert isinstance(functions.null_on_null(name), bool)


@pytest.mark.parametrize("function", functions_aggregate.aggregate_functions(), ids=lambda f: f.name)
def test_every_aggregate_resolves(function: functions_aggregate.AggregateFunction) -> None:
    for signature in function.signatures:
        if signature:
            call = functions_aggregate.resolve_aggregate(function.name, _arguments(signature))
            assert call.name == function.name


def test_names_are_unique_and_described() -> None:
    seen: dict[str, str] = {}
    table = [(f.name, f.aliases, f.help) for f in functions.scalar_functions()]
    table += [(f.name, f.aliases, f.help) for f in functions_aggregate.aggregate_functions()]
    for canonical, aliases, text in table:
        assert text and not text.endswith(".")
        for name in (canonical, *aliases):
            assert name not in seen, f"{name} is {seen[name]} and {canonical}"
            seen[name] = canonical


# What sqlray adds to DuckDB's names: internal names of operators, syntax of its parser, other dialects' names.
_OWN_NAMES = frozenset(
    [
        "nvl",
        "iif",
        "ifnull",
        "coalesce",
        "mod",
        "negate",
        "if",
        "nullif",
        "position",
        "convert",
        "bitwise_and",
        "bitwise_or",
        "bitwise_not",
        "shift_left",
        "shift_right",
        "count_star",
        "percentile_cont",
        "percentile_disc",
        "current_timestamp",
        "localtimestamp",
        "localtime",
        "sha1",
        "date_add_days",
        "date_add_interval",
        "date_add_time",
        "date_sub_date",
        "timestamp_add_interval",
        "timestamp_diff",
        "time_add_interval",
        "interval_add",
        "interval_negate",
        "interval_multiply",
        "interval_divide",
        "like",
        "ilike",
        "glob",
        "dow",
        "doy",
        "every",
        "logical_and",
        "logical_or",
    ]
)


def test_names_are_duckdbs() -> None:
    rows = duckdb.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    known = {row[0] for row in rows}
    ours = set(functions.scalar_names() + functions_aggregate.aggregate_names())
    assert sorted(ours - known - _OWN_NAMES) == []


def test_volatile_functions() -> None:
    assert is_volatile(functions.resolve_scalar("random", []))
    assert is_volatile(functions.resolve_scalar("uuid", []))
    for function in functions.scalar_functions():
        if function.volatile:
            args = _arguments(function.signatures[0])
            assert is_volatile(functions.resolve_scalar(function.name, args)), function.name


def test_overloads_take_the_nearest() -> None:
    assert functions.resolve_scalar("round", [D]).dtype == types.DOUBLE
    assert functions.resolve_scalar("round", [M, Literal(1, types.INTEGER)]).dtype == types.decimal(15, 1)
    assert functions.resolve_scalar("hex", [N]).dtype == types.VARCHAR
    call = functions.resolve_scalar("hex", [N])
    assert isinstance(call, Call) and call.args[0].dtype == types.BIGINT
    call = functions.resolve_scalar("year", [DAY])
    assert isinstance(call, Call) and call.args == (DAY,)
    call = functions.resolve_scalar("date_diff", [Literal("Days", types.VARCHAR), DAY, MOMENT])
    assert isinstance(call, Call) and call.args[0] == Literal("day", types.VARCHAR)
    assert call.args[1] == Cast(DAY, types.TIMESTAMP)


def test_constants_are_folded_where_asked_for() -> None:
    two = Arithmetic("+", Literal(1, types.INTEGER), Literal(1, types.INTEGER), types.INTEGER)
    call = functions.resolve_scalar("round", [D, two])
    assert isinstance(call, Call) and call.args[1] == Literal(2, types.INTEGER)
    with pytest.raises(UnsupportedError, match="must be a constant"):
        functions.resolve_scalar("round", [D, N])


def test_unknown_functions_suggest() -> None:
    with pytest.raises(BindError) as caught:
        functions.resolve_scalar("uper", [S])
    assert "upper" in str(caught.value)
    with pytest.raises(BindError) as caught:
        functions_aggregate.resolve_aggregate("cuont", [S])
    assert "count" in str(caught.value)
    with pytest.raises(BindError, match="substring does not take"):
        functions.resolve_scalar("substring", [S])


@pytest.mark.parametrize(
    ("name", "arg", "expected"),
    [
        ("sum", N, types.BIGINT),
        ("sum", B, types.decimal(38, 0)),
        ("sum", M, types.decimal(38, 2)),
        ("sum", D, types.DOUBLE),
        ("sum", T, types.BIGINT),
        ("sum", null(types.NULL), types.decimal(38, 0)),
        ("avg", M, types.DOUBLE),
        ("avg", N, types.DOUBLE),
        ("avg", DAY, types.TIMESTAMP),
        ("min", S, types.VARCHAR),
        ("count", S, types.BIGINT),
        ("stddev", M, types.DOUBLE),
        ("median", N, types.DOUBLE),
        ("median", M, types.decimal(15, 2)),
        ("median", S, types.VARCHAR),
    ],
)
def test_types_of_aggregates(name: str, arg: Expr, expected: pa.DataType) -> None:
    assert functions_aggregate.resolve_aggregate(name, [arg]).dtype == expected


def _split(name: str, *args: Expr, **options: object) -> functions_aggregate.AggregateSplit | None:
    return functions_aggregate.split_aggregate(functions_aggregate.resolve_aggregate(name, args, **options))  # type: ignore[arg-type]


def _names(items: tuple[object, ...]) -> list[str]:
    return [item.call.name for item in items]  # type: ignore[attr-defined]


def test_splits() -> None:
    split = _split("sum", N, filter=T)
    assert split is not None and _names(split.partials) == ["sum"] and split.partials[0].call.filter == T
    assert split.finals[0].call.filter is None and split.result.dtype == types.BIGINT
    split = _split("count", S)
    assert split is not None and _names(split.partials) == ["count"] and _names(split.finals) == ["sum"]
    assert isinstance(split.result, Call) and split.result.name == "coalesce" and split.result.dtype == types.BIGINT
    split = _split("avg", M)
    assert split is not None and _names(split.partials) == ["sum", "count"] and _names(split.finals) == ["sum", "sum"]
    assert isinstance(split.result, Arithmetic) and split.result.op == "/" and split.result.dtype == types.DOUBLE
    for name in ("min", "max", "any_value"):
        split = _split(name, S)
        assert split is not None and _names(split.finals) == [name] and split.result.dtype == types.VARCHAR
    split = _split("sum", B)
    assert split is not None and split.result.dtype == types.decimal(38, 0)


def test_what_does_not_split() -> None:
    assert _split("count", N, distinct=True) is None
    assert _split("sum", N, distinct=True) is None
    assert _split("stddev", N) is None
    assert _split("median", N) is None
    assert _split("string_agg", S) is None
    assert _split("first", S) is None
    assert _split("any_value", S, order_by=[SortKey(N)]) is None
    assert _split("max", S, distinct=True) is not None  # duplicates change nothing


def test_value_of_no_rows() -> None:
    def value(call: AggregateCall) -> object:
        return functions_aggregate.value_of_no_rows(call).value

    assert value(functions_aggregate.resolve_aggregate("count", [])) == 0
    assert value(functions_aggregate.resolve_aggregate("count", [S])) == 0
    assert value(functions_aggregate.resolve_aggregate("sum", [N])) is None


TEXTS = {
    "INTEGER": ["5", " 5 ", "-5", "+5", "5.5", "2.5", "-2.5", "1e3", "1_000", "0x1F", "", "a", "5 5", "2147483648", "1.", "."],
    "TINYINT": ["127", "128", "-128", "-129", "127.4", "127.5"],
    "UTINYINT": ["255", "256", "-1", "-0"],
    "BIGINT": ["9223372036854775807", "9223372036854775808", "1e18"],
    "DECIMAL(10,2)": ["1.255", "1.254", "-1.255", "1e2", "99999999.99", "99999999.995", "100000000", "abc", ".5", "5."],
    "DOUBLE": ["1.5", "1e5", "inf", "-inf", "nan", "Infinity", "x", "", "1e400", " 2.5 "],
    "BOOLEAN": ["true", "TRUE", "t", "f", "false", "yes", "no", "y", "n", "1", "0", "2", "on", ""],
    "DATE": [
        "1995-01-31", "1995-1-5", "1995/01/05", " 1995-01-05 ", "1995-02-30", "1995-01", "x", "1995-01-05 10:00:00",
        "1995-01-05x", "0001-01-01", "1995-13-01", "1995-01/05", "95-01-05", "19950105", "epoch", "",
    ],
    "TIMESTAMP": [
        "1995-01-05", "1995-01-05 10:00", "1995-01-05 10:00:01", "1995-01-05T10:00:01.25", "1995-01-05 10:00:01.1234567",
        "1995-01-05T10:00:01Z", "1995-01-05 10:00:00+02", "1995-01-05 25:00:00", "1995-01-05 10", "1995-01-05 10:00:61",
        "1995-01-05  10:00:00", "x", "1995-01-05 10:00:00 ", "1995-01-05 1:2:3", "1995-01-05 10:00:00 UTC", "",
    ],
    "TIME": ["10:00", "10:00:01", "10:00:01.5", "10", "10:60", "1:2:3", "x", "10:00:01.1234567"],
    "INTERVAL": [
        "1 day", "1 year 2 months", "3 days 04:05:06", "-1 day", "1 week ago", "04:05:06.5", "-04:05:06", "1 mon", "2 hrs",
        "1.5 days", "2.7 years", "1.5 months", "1 decade", "1 century", "10", "1 foo", "", "day", "90 minutes", "1 day 2",
        "1 day, 2 hours", "@ 1 day", "1 quarter", "250 ms", "-1 year -2 days", "1month",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("type_name", "text"), [(t, v) for t, values in TEXTS.items() for v in values])
def test_texts_read_as_in_duckdb(type_name: str, text: str) -> None:
    dtype = {
        "INTEGER": types.INTEGER, "TINYINT": types.TINYINT, "UTINYINT": types.UTINYINT, "BIGINT": types.BIGINT,
        "DECIMAL(10,2)": types.decimal(10, 2), "DOUBLE": types.DOUBLE, "BOOLEAN": types.BOOLEAN, "DATE": types.DATE,
        "TIMESTAMP": types.TIMESTAMP, "TIME": types.TIME, "INTERVAL": types.INTERVAL,
    }[type_name]  # fmt: skip
    try:
        relation = duckdb.sql(f"SELECT ?::{type_name} AS x", params=[text])
        assert relation is not None
        (expected,) = relation.to_arrow_table().column("x").to_pylist()
    except (duckdb.ConversionException, duckdb.OutOfRangeException):
        with pytest.raises(BindError):
            coercion.cast(Literal(text, types.VARCHAR), dtype)
        return
    found = coercion.cast(Literal(text, types.VARCHAR), dtype)
    assert isinstance(found, Literal)
    assert repr(found.value) == repr(expected)


def test_python_values_as_literals() -> None:
    assert coercion.literal_of(5) == Literal(5, types.INTEGER)
    assert coercion.literal_of(2**40).dtype == types.BIGINT
    assert coercion.literal_of(Decimal("1.50")) == Literal(Decimal("1.50"), types.decimal(3, 2))
    assert coercion.literal_of(pa.scalar(1.5)) == Literal(1.5, types.DOUBLE)
    assert coercion.literal_of(None).dtype == types.NULL
    with pytest.raises(BindError, match="no SQL type"):
        coercion.literal_of(object())


def test_decimals_round_half_away_from_zero() -> None:
    assert literals.to_decimal(Decimal("-1.005"), types.decimal(5, 2)) == Decimal("-1.01")
    with pytest.raises(ValueError):
        literals.to_decimal(Decimal("999.995"), types.decimal(5, 2))
