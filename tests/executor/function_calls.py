"""Every overload of the function table as a plan, rows of awkward values to run it over, and how answers are compared.

Columns have bounds, as those of files have, and what is mostly a constant is one (patterns, separators, positions).
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa

import sqlray
from executor.device_frames import translate
from executor.dtypes import INTERVAL_STRUCT, polars_dtype
from executor.kernels import KernelOptions, collect, compile_fragment, optimizations
from executor.value import NotOnDevice
from planner import types
from planner.expr import Expr, Field, Literal, Schema, column, column_name, new_field
from planner.functions import resolve_scalar, scalar_functions
from planner.functions_aggregate import aggregate_functions, resolve_aggregate
from planner.logical import AggregateItem, Item
from planner.physical import AggregateExec, InputExec, LimitExec, PhysicalPlan, ProjectExec
from planner.signatures import parse_signature
from tests.executor import oracle
from tests.planned import planned_query

COLUMNS: dict[str, Field] = {
    kind: new_field(kind.lower(), dtype)
    for kind, dtype in {
        "ANY": types.INTEGER, "BOOLEAN": types.BOOLEAN, "BIGINT": types.BIGINT, "UBIGINT": types.UBIGINT,
        "DEC": types.decimal(15, 2), "FLOAT": types.FLOAT, "DOUBLE": types.DOUBLE, "VARCHAR": types.VARCHAR,
        "BLOB": types.BLOB, "DATE": types.DATE, "TIME": types.TIME, "TIMESTAMP": types.TIMESTAMP,
        "TIMESTAMPTZ": types.TIMESTAMPTZ, "INTERVAL": types.INTERVAL,
    }.items()
}  # fmt: skip
KINDS = {"T": "ANY", "NUM": "ANY", "INT": "ANY", "INTEGER": "ANY", "TEXT": "VARCHAR"}
CONSTANTS = {
    "VARCHAR": Literal("a", types.VARCHAR), "TEXT": Literal("a", types.VARCHAR), "INTEGER": Literal(2, types.INTEGER),
    "BIGINT": Literal(2, types.BIGINT), "DOUBLE": Literal(0.5, types.DOUBLE),
}  # fmt: skip
SETTINGS = {
    "regexp_matches": "c", "regexp_full_match": "c", "regexp_replace": "g", "regexp_extract": "c", "like": "!",
    "ilike": "!", "timezone": "UTC", "strptime": "%Y-%m-%d", "try_strptime": "%Y-%m-%d", "strftime": "%Y-%m-%d",
    "string_agg": ",",
}  # fmt: skip

PATTERNS = {"regexp_extract": "(.)(a)"}  # with the group that is asked for

INPUT = InputExec(0, Schema(tuple(COLUMNS.values())))
VOLATILE = ("random", "gen_random_uuid", "now", "localtimestamp", "current_date", "localtime")
LIBM = (
    "cbrt", "exp", "ln", "log10", "log2", "log", "pow", "sin", "cos", "tan", "cot", "asin", "acos", "atan", "atan2",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "degrees", "radians",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call: the plan that computes it (and the rows it reads), how exact its floats are, and whether a GPU may
    leave it to the CPU."""

    name: str
    plan: PhysicalPlan
    inputs: Mapping[int, pl.LazyFrame]
    tolerance: float = 0.0
    gives_up: bool = False


def bounds(*fields: Field) -> dict[int, tuple[Any, Any]]:
    """Small bounds for every number."""
    exact = [f for f in fields if types.is_integer(f.dtype) or types.is_decimal(f.dtype)]
    return {f.id: _bounds(f.dtype) for f in exact}


def _bounds(dtype: pa.DataType) -> tuple[Any, Any]:
    low, high = (0 if pa.types.is_unsigned_integer(dtype) else -100), 100
    return (Decimal(low), Decimal(high)) if types.is_decimal(dtype) else (low, high)


def arguments(name: str, signature: str) -> list[Expr]:
    """A column first, then constants where there are any of the kind."""
    found: list[Expr] = []
    for parameter in parse_signature(signature).parameters:
        if parameter.constant and parameter.kind == "VARCHAR":
            found.append(Literal(SETTINGS.get(name, "month"), types.VARCHAR))
        elif parameter.kind == "VARCHAR" and found and name in PATTERNS:
            found.append(Literal(PATTERNS[name], types.VARCHAR))
        elif parameter.constant or (found and parameter.kind in CONSTANTS):
            found.append(CONSTANTS[parameter.kind])
        else:
            found.append(column(COLUMNS[KINDS.get(parameter.kind, parameter.kind)]))
    return found


def overload(name: str, signature: str) -> str:
    """How the exceptions call one."""
    parameters, _, result = signature.partition("->")
    return f"{name}({parameters.strip()}) -> {result.strip()}"


def calls(bounded: bool = True) -> Iterator[Call]:
    """Every overload; aggregates of all rows and by group. Numbers are small and known to be, or any of their type."""
    limits = bounds(*COLUMNS.values()) if bounded else {}
    inputs = {0: rows(bounded).lazy()}
    some = LimitExec(INPUT, 1000, INPUT.schema)  # how many there are at most, the kernels know of a file too
    for function in scalar_functions():
        for signature in filter(None, function.signatures):
            expr = resolve_scalar(function.name, arguments(function.name, signature))
            field = new_field("v", expr.dtype)
            plan = ProjectExec(INPUT, (Item(field, expr),), Schema((field,)), limits)
            tolerance = 1e-12 if function.name in LIBM else 0.0
            yield Call(overload(function.name, signature), plan, inputs, tolerance)
    key = COLUMNS["BIGINT"]
    for aggregate in aggregate_functions():
        for signature in filter(None, aggregate.signatures):
            call = resolve_aggregate(aggregate.name, arguments(aggregate.name, signature))
            field = new_field("v", call.dtype)
            for keys, suffix in (((), ""), ((key,), " by group")):
                grouped = AggregateExec(
                    some,
                    tuple(map(column, keys)),
                    (AggregateItem(field, call),),
                    Schema((*keys, field)),
                    bounds=limits,
                    max_rows=1000,
                )
                yield Call(overload(aggregate.name, signature) + suffix, grouped, inputs, 1e-9)


def queries(texts: Sequence[str], template: str, tolerance: float, gives_up: bool = False) -> Iterator[Call]:
    """SQL over the oracle's table: each text in the template."""
    session = oracle.session()
    session.set_option("staged", False)
    session.set_option("partitions", 0)
    for text in texts:
        sql = template.format(text)
        try:
            plan = planned_query(session, sql).physical.graph.result.plan
        except sqlray.SqlrayError:
            continue
        yield Call(sql, plan, {}, tolerance, gives_up)


SMALL: dict[str, list[Any]] = {
    "ANY": [0, 1, -1, 2, 3, 5, 8, -8, 12, 63, 64, -64, 99, -100, 100, 7, 31],
    "BOOLEAN": [True, False],
    "BIGINT": [0, 1, -1, 2, 10, 12, -64, 100, 30, 97],
    "UBIGINT": [0, 1, 2, 10, 64, 100, 97],
    "DEC": [Decimal(x) for x in ("0.00", "1.25", "-1.25", "0.05", "2.50", "-2.50", "99.99", "-0.01", "-100.00")],
    "FLOAT": [0.0, 1.5, -2.25, 0.5, 100.0, 16777216.0, -0.125],
    "DOUBLE": [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -2.5, 0.1, 1000.0, 1024.0, 1e-3, 123.456, -0.75, 1e15, 1e22, 2.0**-20],
    "VARCHAR": [
        "", "a", "abc", "Hello World", "aXbXc", "äöü", "aäa", "a%b_c", "  pad ", "x\ny", "ABCabc", "日本語", "a,b,,c",
        "2020-02-29", "1969-12-31", "7f00", "YWJj", "Za", "'", "banana",
    ],
    "BLOB": [b"", b"abc", b"a", b"\x00\xff", b"\xc3\xa4", b"aa\n"],
    "DATE": [
        dt.date(*x)
        for x in (
            (1970, 1, 1), (1969, 12, 31), (2000, 2, 29), (2024, 12, 30), (1899, 3, 1), (2020, 1, 31), (1, 1, 1),
            (9999, 12, 31), (1600, 2, 29), (1583, 10, 15), (2021, 1, 3), (2016, 1, 3), (1995, 6, 18),
        )
    ],
    "TIME": oracle.TIMES,
    "TIMESTAMP": [
        *oracle.TIMESTAMPS, dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
        dt.datetime(2021, 1, 3, 0, 0, 0, 1), dt.datetime(1600, 2, 29, 23, 59), dt.datetime(1995, 6, 18, 12),
    ],
    "INTERVAL": [
        {"months": m, "days": d, "micros": u}
        for m, d, u in (
            (0, 0, 0), (1, 0, 0), (-1, 3, 5), (14, -40, 3_600_000_001), (0, 0, -1), (0, 31, 86_400_000_000),
            (-25, 0, 1),
        )
    ],
}  # fmt: skip
LARGE: dict[str, list[Any]] = {
    "ANY": [2**31 - 1, -(2**31), 12345],
    "BIGINT": [2**63 - 1, -(2**63), 10**12, -(10**12), 2**62, 2**53 + 1],
    "UBIGINT": [2**64 - 1, 2**63, 10**19],
    "DEC": [Decimal("9999999999999.99"), Decimal("-9999999999999.99")],
    "FLOAT": [math.nan, math.inf, -math.inf, 3e38],
    "DOUBLE": [math.nan, math.inf, -math.inf, 1e300, -1e-300, 1e16],
}


@cache
def rows(bounded: bool = True) -> pl.DataFrame:
    """Sixty rows, a fifth of them NULL: every value of each kind, and again in another order."""
    rng = random.Random(7)
    data: dict[str, pl.Series] = {}
    for kind, field in COLUMNS.items():
        if kind == "TIMESTAMPTZ":
            values: list[Any] = [x.replace(tzinfo=dt.UTC) for x in SMALL["TIMESTAMP"]]
        else:
            values = SMALL[kind] + ([] if bounded else LARGE.get(kind, []))
        shuffled = values[:]
        rng.shuffle(shuffled)
        cells = list(itertools.islice(itertools.cycle(shuffled), 48)) + [None] * 12
        rng.shuffle(cells)
        dtype = INTERVAL_STRUCT if field.dtype == types.INTERVAL else polars_dtype(field.dtype)
        data[column_name(field)] = pl.Series(cells, dtype=dtype, strict=False)
    return pl.DataFrame(data)


def run_on_cpu(call: Call) -> pl.DataFrame | Exception:
    """What the CPU answers, or the error that it raises."""
    try:
        return collect(compile_fragment(call.plan, call.inputs, KernelOptions()))
    except Exception as error:  # of any kind: the GPU must fail then, too
        return error


def refusals(lazy: pl.LazyFrame) -> list[str]:
    """Why cudf-polars, which must be installed, cannot run a frame; it needs no GPU to tell."""
    try:
        translate(lazy, optimizations())
    except NotOnDevice as error:
        return str(error).split("; ")
    return []


def _cells(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The rows; moments as numbers, since Python has none after the year 9999."""
    return frame.with_columns(pl.col(pl.Date, pl.Datetime, pl.Time).to_physical()).rows()


def difference(call: Call, expected: pl.DataFrame, found: pl.DataFrame) -> str | None:
    """The first cells that differ; groups come in any order."""
    if list(map(_form, expected.dtypes)) != list(map(_form, found.dtypes)) or expected.columns != found.columns:
        return f"types {found.dtypes}, the CPU's {expected.dtypes}"
    if expected.height != found.height:
        return f"{found.height} rows, the CPU's {expected.height}"
    keys = expected.columns[:-1]
    ours, theirs = (f.sort(keys, maintain_order=True) if keys else f for f in (found, expected))
    pairs = [
        (row, a, b)
        for row, (a, b) in enumerate(zip(_cells(ours), _cells(theirs), strict=True))
        if not all(_same(x, y, call.tolerance) for x, y in zip(a, b, strict=True))
    ]
    return f"(row, found, the CPU's) {pairs[:3]} and {len(pairs)} in all" if pairs else None


def _form(dtype: pl.DataType) -> object:
    """A type as kernels care for it: decimals may have more digits than they need."""
    return ("decimal", dtype.scale) if isinstance(dtype, pl.Decimal) else dtype


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if tolerance and isinstance(a, float) and isinstance(b, float) and abs(a - b) < 1e-30:
        return True  # a variance of equal values may be a rounded 0
    return oracle.same(a, b, tolerance) if tolerance or isinstance(a, float) else bool(a == b)
