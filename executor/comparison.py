"""Comparisons. NaN is equal to itself and above every number, in Polars as in SQL; in cuDF it is neither."""

from __future__ import annotations

import math

import polars as pl

from executor.value import Scope, Value
from planner import types
from planner.errors import PlanError


def compare(op: str, left: Value, right: Value, scope: Scope) -> pl.Expr:
    """A comparison of two values of one type and store, as ``Comparison`` has it."""
    if scope.device == "gpu" and types.is_float(left.dtype):
        return _on_gpu(op, left, right)
    a, b = left.expr, right.expr
    match op:
        case "=":
            return a == b
        case "<>":
            return a != b
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
        case ">=":
            return a >= b
        case "is distinct from":
            return a.ne_missing(b)
        case "is not distinct from":
            return a.eq_missing(b)
        case _:
            raise PlanError(f"unknown comparison {op}")


def _on_gpu(op: str, left: Value, right: Value) -> pl.Expr:
    match op:
        case "=":
            return _equal(left, right)
        case "<>":
            return ~_equal(left, right)
        case "<":
            return _less(left, right)
        case "<=":
            return _at_most(left, right)
        case ">":
            return _less(right, left)
        case ">=":
            return _at_most(right, left)
        case "is distinct from":
            return ~_same(left, right)
        case "is not distinct from":
            return _same(left, right)
        case _:
            raise PlanError(f"unknown comparison {op}")


def _equal(a: Value, b: Value) -> pl.Expr:
    test = a.expr == b.expr
    return test | (_is_nan(a) & _is_nan(b)) if _may_be_nan(a) and _may_be_nan(b) else test


def _same(a: Value, b: Value) -> pl.Expr:
    test = a.expr.eq_missing(b.expr)
    if not (_may_be_nan(a) and _may_be_nan(b)):
        return test
    return test | (_is_nan(a) & _is_nan(b)).fill_null(False)


def _less(a: Value, b: Value) -> pl.Expr:
    test = a.expr < b.expr
    return test | (_is_nan(b) & ~_is_nan(a)) if _may_be_nan(b) and not _is_null(a) else test


def _at_most(a: Value, b: Value) -> pl.Expr:
    test = a.expr <= b.expr
    return test | (_is_nan(b) & a.expr.is_not_null()) if _may_be_nan(b) and not _is_null(a) else test


def _may_be_nan(value: Value) -> bool:
    return not value.is_literal or (value.literal is not None and math.isnan(value.literal))


def _is_null(value: Value) -> bool:
    return value.is_literal and value.literal is None


def _is_nan(value: Value) -> pl.Expr:
    """NULL where the value is."""
    if value.is_literal:
        return pl.lit(value.literal is not None and math.isnan(value.literal))
    return value.expr.is_nan()
