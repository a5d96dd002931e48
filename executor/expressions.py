"""Expr → pl.Expr: the one translation of scalar expressions, for the CPU and the GPU.

Three-valued logic is Polars' own (Kleene AND/OR, NULL through comparisons). Polars evaluates every branch of
a CASE for every row, and may evaluate conjuncts in any order: so what may raise in a branch or behind an AND
is compiled with a guard, and raises only for rows that reach it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import polars as pl
import pyarrow as pa

from executor import functions
from executor.arithmetic import arithmetic
from executor.casts import cast
from executor.comparison import compare
from executor.dtypes import device_dtype, polars_dtype
from executor.intervals import comparable, interval_length
from executor.value import (
    INT64_MAX,
    Bounds,
    NotOnDevice,
    Scope,
    Store,
    Value,
    bounds_of,
    constant,
    device_constant,
    fits,
    in_parts,
    integer_dtype,
    native,
    null_test,
    scaled_store,
    to_unscaled,
    type_bounds,
    with_store,
)
from planner import types
from planner.errors import PlanError
from planner.expr import (
    FLIPPED,
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    Comparison,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
    column_name,
    node_types,
)
from planner.tree import walk

_RAISING = frozenset((Arithmetic, Cast, Call))
_FEW_VALUES = 4  # an IN list up to here becomes comparisons, which scans hold against row-group statistics


def translate(expr: Expr, scope: Scope) -> Value:
    """Compile an expression against the columns of ``scope``.

    Raises:
        NotOnDevice: the GPU has no exact form of it.
        UnsupportedError: no device has.
    """
    value = _translated(expr, scope)
    if scope.device == "gpu" and max(len(str(e)) for e in value.parts or (value.expr,)) > _LARGEST:
        raise NotOnDevice("the expression grows too large")
    return value


# Characters that a GPU's expression has at most, written out. What a form names twice doubles with every level.
_LARGEST = 200_000


def _translated(expr: Expr, scope: Scope) -> Value:
    match expr:
        case Column():
            return scope.columns[expr.id]
        case Literal(value, dtype):
            return constant(value, dtype, scope.device)
        case Arithmetic(op, left, right, dtype):
            return arithmetic(op, translate(left, scope), translate(right, scope), dtype, scope)
        case Cast(arg, dtype, safe):
            return cast(translate(arg, scope), dtype, safe, scope)
        case Comparison(op, left, right):
            return _comparison(op, translate(left, scope), translate(right, scope), scope)
        case And(args):
            return _boolean(reduce(lambda a, b: a & b, _conjuncts(args, scope)))
        case Or(args):
            return _boolean(reduce(lambda a, b: a | b, [predicate(a, scope) for a in args]))
        case Not(arg):
            return _boolean(~predicate(arg, scope))
        case IsNull(arg):
            return _boolean(null_test(translate(arg, scope)), nullable=False)
        case InList(arg, values):
            return _boolean(_in_list(translate(arg, scope), [v.value for v in values], scope))
        case Case(whens, otherwise):
            return _case(whens, otherwise, scope)
        case Call(name, args, dtype):
            return _call(name, args, dtype, scope)
        case _:
            raise PlanError(f"not an expression: {expr!r}")


def predicate(expr: Expr, scope: Scope) -> pl.Expr:
    """A BOOLEAN expression; NULL is a third value."""
    return translate(expr, scope).expr


def conjunction(predicates: Iterable[Expr], scope: Scope) -> pl.Expr | None:
    """All of the predicates; None if there are none."""
    exprs = _conjuncts(tuple(predicates), scope)
    return reduce(lambda a, b: a & b, exprs) if exprs else None


def key_expressions(keys: Sequence[Expr]) -> list[pl.Expr]:
    """Keys over blocks, whose columns are named ``name#id`` and hold their own types, as what equal values share: of
    intervals the length."""
    columns = {n.id: n for key in keys for n in walk(key) if isinstance(n, Column)}
    scope = Scope({i: Value(pl.col(column_name(c)), c.dtype) for i, c in columns.items()})
    return [comparable(native(translate(key, scope), scope.device)) for key in keys]


def unify(values: Sequence[Value], scope: Scope) -> list[Value]:
    """Values of one type, all held in one store: their own if they share it, else one that every one fits."""
    if not types.is_decimal(values[0].dtype):
        return list(values)
    held = [v for v in values if not v.is_literal]
    if held and all(v.store is Store.NATIVE for v in held):  # as scans can hold them against statistics
        return [with_store(v, Store.NATIVE, scope.device) for v in values]
    low, high = (f(b) for f, b in zip((min, max), zip(*(bounds_of(v) for v in values), strict=True), strict=True))
    store = scaled_store((low, high), scope.device)
    return [with_store(v, store, scope.device) for v in values]


def largest(value: Value) -> pl.Expr:
    """The largest of a group's values. NaN is larger than every number; Polars' max leaves it out."""
    if not types.is_float(value.dtype):
        return value.expr.max()
    nan = pl.lit(float("nan"), dtype=polars_dtype(value.dtype))
    return pl.when(value.expr.is_nan().max()).then(nan).otherwise(value.expr.max())


def _boolean(expr: pl.Expr, nullable: bool = True) -> Value:
    return Value(expr, types.BOOLEAN, nullable=nullable)


def may_raise(expr: Expr) -> bool:
    """Whether evaluating the expression for a row can raise: a guess on the safe side, by its form."""
    return not _RAISING.isdisjoint(node_types(expr))


def _conjuncts(args: Sequence[Expr], scope: Scope) -> list[pl.Expr]:
    """The arguments of an AND. Those that may raise do so only for rows that the others before them let pass."""
    exprs: list[pl.Expr] = []
    passed: list[pl.Expr] = []
    for arg in args:
        raising = may_raise(arg)
        inner = scope.guarded(reduce(lambda a, b: a & b, passed)) if raising and passed else scope
        expr = predicate(arg, inner)
        exprs.append(expr)
        if not raising:
            passed.append(expr)
    return exprs


def _comparison(op: str, left: Value, right: Value, scope: Scope) -> Value:
    left, right = unify((left, right), scope)
    if not right.is_literal and not left.expr.meta.root_names() and right.expr.meta.root_names():
        # Polars compares a constant on the left with a column that is one value throughout as one row.
        op, left, right = FLIPPED[op], right, left
    if left.dtype == types.INTERVAL:
        left, right = (replace(v, expr=interval_length(v)) for v in (left, right))
    return _boolean(compare(op, left, right, scope), nullable=not op.endswith("distinct from"))


def _in_list(value: Value, values: Sequence[Any], scope: Scope) -> pl.Expr:
    known = list(dict.fromkeys(v for v in values if v is not None))
    has_null = len(known) < len(values) and any(v is None for v in values)
    if not known:
        return pl.lit(None, dtype=pl.Boolean)
    if len(known) <= _FEW_VALUES or value.dtype == types.INTERVAL or any(v != v for v in known):
        hits = [_comparison("=", value, constant(v, value.dtype, scope.device), scope).expr for v in known]
        found = reduce(lambda a, b: a | b, hits)
    else:
        found = _is_in(value, known, scope)
    return pl.when(found).then(True).otherwise(None) if has_null else found


def _is_in(value: Value, known: list[Any], scope: Scope) -> pl.Expr:
    dtype = device_dtype(value.dtype, scope.device)
    if types.is_decimal(value.dtype) and value.store is not Store.NATIVE:
        numbers = [to_unscaled(v, value.dtype) for v in known]
        dtype = integer_dtype(value.store)
        if value.store is Store.INT64:
            numbers = [n for n in numbers if fits((n, n), INT64_MAX)]
        return value.expr.is_in(pl.lit(pl.Series([numbers], dtype=pl.List(dtype))))
    if scope.device == "gpu" and not types.is_decimal(value.dtype):
        return value.expr.is_in([device_constant(v) for v in known])
    return value.expr.is_in(pl.lit(pl.Series([known], dtype=pl.List(dtype))))


def _case(whens: Sequence[tuple[Expr, Expr]], otherwise: Expr, scope: Scope) -> Value:
    conditions: list[pl.Expr] = []
    values: list[Value] = []
    reached = scope
    for condition, result in whens:
        test = predicate(condition, reached)
        conditions.append(test)
        values.append(translate(result, reached.guarded(test) if may_raise(result) else reached))
        reached = reached.guarded(test.not_().fill_null(True))
    values.append(translate(otherwise, reached))
    return choose(conditions, values, scope)


def choose(conditions: Sequence[pl.Expr], values: Sequence[Value], scope: Scope) -> Value:
    """The value of the first condition that is TRUE, else the last value."""
    values = unify(values, scope)
    if values[0].dtype == types.INTERVAL and scope.device == "gpu":
        return _choose_parts(conditions, values)
    dtype = values[0].dtype
    bounds: Bounds | None = None
    if type_bounds(dtype) is not None:
        some = [bounds_of(v) for v in values if not (v.is_literal and v.literal is None)] or [(0, 0)]
        bounds = (min(b[0] for b in some), max(b[1] for b in some))
    chosen = _chain(conditions, [v.expr for v in values])
    return Value(chosen, dtype, values[0].store, bounds, nullable=any(v.nullable for v in values))


def _chain(conditions: Sequence[pl.Expr], exprs: Sequence[pl.Expr]) -> pl.Expr:
    chain: Any = pl
    for condition, expr in zip(conditions, exprs[:-1], strict=True):
        chain = chain.when(condition).then(expr)
    chosen: pl.Expr = chain.otherwise(exprs[-1])
    return chosen


def _choose_parts(conditions: Sequence[pl.Expr], values: Sequence[Value]) -> Value:
    months, days, micros = (_chain(conditions, [v.parts[i] for v in values if v.parts]) for i in range(3))
    return in_parts(values[0].dtype, (months, days, micros), any(v.nullable for v in values))


def _call(name: str, args: Sequence[Expr], dtype: pa.DataType, scope: Scope) -> Value:
    match name:
        case "coalesce":
            values: list[Value] = []
            reached = scope
            for arg in args:
                values.append(translate(arg, reached))
                reached = reached.guarded(null_test(values[-1]))
            tests = [null_test(v).not_() for v in values[:-1]]
            result = choose(tests, values, scope)
            return replace(result, nullable=all(v.nullable for v in values))
        case "if":
            otherwise = args[2] if len(args) > 2 else Literal(None, dtype)
            return _case([(args[0], args[1])], otherwise, scope)
        case "nullif":
            first, second = translate(args[0], scope), translate(args[1], scope)
            if first.dtype != second.dtype:
                common = types.common_supertype(first.dtype, second.dtype) or first.dtype
                same = _comparison("=", cast(first, common, False, scope), cast(second, common, False, scope), scope)
            else:
                same = _comparison("=", first, second, scope)
            return choose([same.expr], [constant(None, first.dtype, scope.device), first], scope)
        case _:
            return functions.call(name, [translate(a, scope) for a in args], dtype, scope)
