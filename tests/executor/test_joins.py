"""Every kind of join against a loop over all pairs, on data full of NULLs, duplicates and NaN."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from executor.kernels import collect, compile_fragment
from executor.sources.memory import memory_table
from planner import types
from planner.errors import ExecutionError
from planner.expr import Comparison, Expr, Field, Literal, Schema, column, new_field
from planner.logical import JoinKind, join_fields
from planner.physical import HashJoinExec, KeyPair, NestedLoopJoinExec, ScanExec

Row = tuple[Any, ...]
KINDS = [k for k in JoinKind if k is not JoinKind.MARK]


def make_scan(rows: list[Row], dtypes: list[pa.DataType], prefix: str) -> tuple[ScanExec, tuple[Field, ...]]:
    names = [f"{prefix}{i}" for i in range(len(dtypes))]
    columns = [pa.array([r[i] for r in rows], type=t) for i, t in enumerate(dtypes)]
    table = memory_table(prefix, pa.table(columns, names=names))
    fields = tuple(new_field(n, t) for n, t in zip(names, dtypes, strict=True))
    return ScanExec(table, fields, Schema(fields)), fields


def random_rows(rng: random.Random, count: int, kinds: str) -> list[Row]:
    def value(kind: str) -> Any:
        if rng.random() < 0.25:
            return None
        if kind == "f":
            return rng.choice([0.0, -0.0, 1.5, math.nan])
        if kind == "s":
            return rng.choice(["a", "b", ""])
        return rng.randint(0, 3)

    return [tuple(value(k) for k in kinds) for _ in range(count)]


DTYPES = {"i": types.BIGINT, "f": types.DOUBLE, "s": types.VARCHAR, "n": types.INTEGER}


def compare(op: str, a: Any, b: Any) -> bool | None:
    if op in ("is not distinct from", "is distinct from"):
        same = (a is None and b is None) or (a is not None and b is not None and bool(compare("=", a, b)))
        return same if op == "is not distinct from" else not same
    if a is None or b is None:
        return None

    def order(x: Any) -> Any:
        return (1, 0.0) if isinstance(x, float) and math.isnan(x) else (0, x)

    a, b = order(a), order(b)
    truth: dict[str, bool] = {"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
    return truth[op]


def plain(row: Row) -> Row:
    return tuple("nan" if isinstance(v, float) and math.isnan(v) else v for v in row)


def expected(
    kind: JoinKind, left: list[Row], right: list[Row], match: Any, comparison: Any, width: int
) -> list[Row] | None:
    """The join's rows; None where a SINGLE join must fail."""
    out: list[Row] = []
    nulls = (None,) * width
    for a in left:
        matches = [b for b in right if match(a, b)]
        match kind:
            case JoinKind.INNER | JoinKind.RIGHT:
                out += [a + b for b in matches]
            case JoinKind.LEFT | JoinKind.FULL:
                out += [a + b for b in matches] or [a + nulls]
            case JoinKind.SINGLE:
                if len(matches) > 1:
                    return None
                out += [a + b for b in matches] or [a + nulls]
            case JoinKind.SEMI:
                out += [a] if matches else []
            case JoinKind.ANTI:
                out += [] if matches else [a]
            case JoinKind.MARK:
                if comparison is None:
                    out.append((*a, bool(matches)))
                else:
                    truths = [comparison(a, b) for b in matches]
                    out.append((*a, True if True in truths else None if None in truths else False))
    if kind in (JoinKind.RIGHT, JoinKind.FULL):
        width_left = len(left[0]) if left else 0
        out += [(None,) * width_left + b for b in right if not any(match(a, b) for a in left)]
    return out


def run(plan: HashJoinExec | NestedLoopJoinExec) -> list[Row]:
    return collect(compile_fragment(plan)).rows()


def check(
    kind: JoinKind,
    kinds: str,
    key_ops: list[str],
    residual: list[tuple[str, str, str]],
    comparison: tuple[str, int, int] | None,
    seed: int,
    build: str = "right",
) -> None:
    """Key i is ``l_i op r_i``; a residual is (op, "l2" or "5", "r1"); the comparison (op, left index, right index)."""
    rng = random.Random(seed)
    left = random_rows(rng, rng.choice([0, 1, 7, 12]), kinds) or [tuple(None for _ in kinds)]
    right = random_rows(rng, rng.choice([0, 1, 6, 12]), kinds)
    dtypes = [DTYPES[k] for k in kinds]
    scan_left, mine = make_scan(left, dtypes, "l")
    scan_right, theirs = make_scan(right, dtypes, "r")

    def operand(text: str) -> Expr:
        if text[0] in "lr":
            return column((mine if text[0] == "l" else theirs)[int(text[1:])])
        return Literal(int(text), types.BIGINT)

    def read(text: str, a: Row, b: Row) -> Any:
        return (a if text[0] == "l" else b)[int(text[1:])] if text[0] in "lr" else int(text)

    def match(a: Row, b: Row) -> bool:
        keys = all(compare(op, a[i], b[i]) for i, op in enumerate(key_ops))
        return keys and all(compare(op, read(x, a, b), read(y, a, b)) for op, x, y in residual)

    mark = new_field("mark", types.BOOLEAN) if kind is JoinKind.MARK else None
    conditions = tuple(Comparison(op, operand(x), operand(y)) for op, x, y in residual)
    compared = None
    if comparison is not None:
        compared = Comparison(comparison[0], column(mine[comparison[1]]), column(theirs[comparison[2]]))
    schema = Schema(join_fields(kind, scan_left.schema, scan_right.schema, mark))
    plan: HashJoinExec | NestedLoopJoinExec
    if key_ops:
        pairs = tuple(
            KeyPair(column(mine[i]), column(theirs[i]), op == "is not distinct from") for i, op in enumerate(key_ops)
        )
        plan = HashJoinExec(kind, scan_left, scan_right, pairs, schema, conditions, compared, mark, build)
    else:
        plan = NestedLoopJoinExec(kind, scan_left, scan_right, conditions, schema, compared, mark)
    truth = None
    if comparison is not None:
        op, i, j = comparison
        truth = lambda a, b: compare(op, a[i], b[j])  # noqa: E731
    want = expected(kind, left, right, match, truth, len(kinds))
    if want is None:
        with pytest.raises(ExecutionError, match="more than one row"):
            run(plan)
        return
    assert Counter(map(plain, run(plan))) == Counter(map(plain, want))


KEYS = [
    ("in", ["="]),
    ("fi", ["="]),
    ("si", ["="]),
    ("ini", ["=", "="]),
    ("isi", ["=", "is not distinct from"]),
    ("ii", ["is not distinct from"]),
    ("ii", []),
]
RESIDUALS: list[list[tuple[str, str, str]]] = [
    [],
    [("<>", "l1", "r1")],
    [("<", "l1", "r1"), (">", "r1", "0")],
    [(">", "l1", "1")],
    [("<", "r1", "2")],
    [(">=", "r1", "l1")],
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("kinds", "ops"), KEYS)
def test_join_equals_loop(kind: JoinKind, kinds: str, ops: list[str]) -> None:
    for seed, (residual, build) in enumerate(itertools.product(RESIDUALS, ["left", "right"])):
        if kinds[1] == "s" and residual:
            continue
        for repeat in range(3):
            check(kind, kinds, ops, residual, None, seed * 10 + repeat, build)


@pytest.mark.parametrize(("kinds", "ops"), KEYS)
@pytest.mark.parametrize("comparison", [None, ("=", 1, 1), ("=", 0, 0), ("<", 1, 1), ("<>", 1, 1)])
def test_mark_join_equals_loop(kinds: str, ops: list[str], comparison: tuple[str, int, int] | None) -> None:
    for seed, residual in enumerate(RESIDUALS):
        if kinds[1] == "s" and residual:
            continue
        for repeat in range(4):
            check(JoinKind.MARK, kinds, ops, residual, comparison, seed * 10 + repeat)


def test_cross_join_without_columns() -> None:
    table = memory_table("t", pl.DataFrame({"a": [1, 2, 3]}))
    scans = [ScanExec(table, (), Schema(())) for _ in range(2)]
    joined = NestedLoopJoinExec(JoinKind.INNER, scans[0], scans[1], (), Schema(()))
    assert collect(compile_fragment(joined)).height == 9


def test_joins_of_frames_without_columns_nest() -> None:
    table = memory_table("t", pl.DataFrame({"a": [1, 2, 3]}))
    scans = [ScanExec(table, (), Schema(())) for _ in range(3)]
    inner = NestedLoopJoinExec(JoinKind.INNER, scans[0], scans[1], (), Schema(()))
    outer = NestedLoopJoinExec(JoinKind.LEFT, inner, scans[2], (), Schema(()))
    assert collect(compile_fragment(outer)).height == 27
