"""Which functions translate to cuDF: each overload of the table over columns, or it stands in ``cudf_exceptions.txt``.

Asked of cudf-polars' translator, which needs no GPU. Columns have bounds, as those of files have, and what is mostly
a constant is one (patterns, separators, positions).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from executor.device_frames import gpu_engine
from executor.dtypes import polars_dtype
from executor.kernels import KernelOptions, compile_fragment
from executor.value import NotOnDevice
from planner import types
from planner.expr import Expr, Field, Literal, Schema, column, column_name, new_field
from planner.functions import resolve_scalar, scalar_functions
from planner.functions_aggregate import aggregate_functions, resolve_aggregate
from planner.logical import AggregateItem, Item
from planner.physical import AggregateExec, InputExec, LimitExec, PhysicalPlan, ProjectExec
from planner.signatures import parse_signature

translator = pytest.importorskip(
    "cudf_polars.dsl.translate", reason="cudf-polars (the gpu extra) is not installed", exc_type=ImportError
)
pytestmark = pytest.mark.cudf

EXCEPTIONS = Path(__file__).parent / "cudf_exceptions.txt"
SHARE = 0.72  # of all overloads translate, with cudf-polars 26.10; what cuDF lacks most are INTERVAL, TIME and BLOB

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

INPUT = InputExec(0, Schema(tuple(COLUMNS.values())))


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
        elif parameter.constant or (found and parameter.kind in CONSTANTS):
            found.append(CONSTANTS[parameter.kind])
        else:
            found.append(column(COLUMNS[KINDS.get(parameter.kind, parameter.kind)]))
    return found


def overload(name: str, signature: str) -> str:
    """How the exceptions call one."""
    parameters, _, result = signature.partition("->")
    return f"{name}({parameters.strip()}) -> {result.strip()}"


def calls() -> Iterator[tuple[str, PhysicalPlan]]:
    """Every overload by its name, and a plan that computes it; aggregates of all rows and by group."""
    limits = bounds(*COLUMNS.values())
    some = LimitExec(INPUT, 1000, INPUT.schema)  # how many there are at most, the kernels know of a file too
    for function in scalar_functions():
        for signature in filter(None, function.signatures):
            expr = resolve_scalar(function.name, arguments(function.name, signature))
            field = new_field("v", expr.dtype)
            plan = ProjectExec(INPUT, (Item(field, expr),), Schema((field,)), limits)
            yield overload(function.name, signature), plan
    key = COLUMNS["BIGINT"]
    for aggregate in aggregate_functions():
        for signature in filter(None, aggregate.signatures):
            call = resolve_aggregate(aggregate.name, arguments(aggregate.name, signature))
            field = new_field("v", call.dtype)
            for keys, suffix in (((), ""), ((key,), " by group")):
                plan = AggregateExec(
                    some,
                    tuple(map(column, keys)),
                    (AggregateItem(field, call),),
                    Schema((*keys, field)),
                    bounds=limits,
                    max_rows=1000,
                )
                yield overload(aggregate.name, signature) + suffix, plan


def failure(plan: PhysicalPlan) -> str | None:
    """Why a plan does not run on cuDF."""
    frame = pl.LazyFrame(schema={column_name(f): polars_dtype(f.dtype) for f in INPUT.schema})
    try:
        lazy = compile_fragment(plan, {0: frame}, KernelOptions(device="gpu"))
    except NotOnDevice as error:
        return str(error)
    translation = translator.Translator(lazy._ldf.visit(), gpu_engine())
    translation.translate_ir()
    return "; ".join(str(e) for e in translation.errors) or None


def known_exceptions() -> dict[str, str]:
    """Overloads that do not translate, and why."""
    lines = EXCEPTIONS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" : ", 1) for line in lines if line and not line.startswith("#"))
    return {name: reason for name, reason in pairs if reason}


def test_every_function_translates_or_is_a_known_exception() -> None:
    found = {name: failure(plan) for name, plan in calls()}
    failed = {name: reason for name, reason in found.items() if reason is not None}
    known = known_exceptions()
    new = {name: reason for name, reason in failed.items() if name not in known}
    assert not new, "\n".join(f"{name} : {reason}" for name, reason in new.items())
    assert known.keys() - failed.keys() == set()  # they translate by now
    assert 1 - len(failed) / len(found) >= SHARE
