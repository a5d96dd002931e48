"""The forms that most scalar functions have: an expression of native columns, or Python over a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from executor.dtypes import polars_dtype
from executor.value import NotOnDevice, Scope, Value, native

Function = Callable[[Sequence[Value], pa.DataType, Scope], Value]


def plain(function: Callable[..., pl.Expr]) -> Function:
    """A function of Polars expressions, each in its own type."""

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        return Value(function(*(native(a, scope.device).expr for a in args)), dtype)

    return compute


def elementwise(rows: Callable[..., Sequence[Any]]) -> Function:
    """A function that Polars has no form of: Python over whole columns, on the CPU."""

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        if scope.device == "gpu":
            raise NotOnDevice("a function that runs in Python")
        target = polars_dtype(dtype)

        def run(columns: Sequence[pl.Series]) -> pl.Series:
            # A constant comes as one row beside columns of many.
            length = 0 if any(len(c) == 0 for c in columns) else max(len(c) for c in columns)
            full = [c if len(c) == length else c.new_from_index(0, length) if length else c.clear() for c in columns]
            return pl.Series(columns[0].name, rows(*full), dtype=target)

        exprs = [native(a, scope.device).expr for a in args]
        return Value(pl.map_batches(exprs, run, return_dtype=target, is_elementwise=True), dtype)

    return compute


def by_row(function: Callable[..., Any]) -> Function:
    """Python over one row's values, none of them NULL; a NULL argument gives NULL."""

    def rows(*columns: pl.Series) -> list[Any]:
        lists = [c.to_list() for c in columns]
        return [None if any(v is None for v in row) else function(*row) for row in zip(*lists, strict=True)]

    return elementwise(rows)
