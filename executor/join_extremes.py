"""Comparisons with all rows of a group at once: ``x < ANY (y …)`` is ``x < max(y)``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import polars as pl

from executor.expressions import largest
from executor.value import Value
from planner.errors import PlanError

EXTREMES = ("<>", "<", "<=", ">", ">=")
"""The comparisons that the smallest and the largest value of a group decide."""


def extremes(op: str, value: Value) -> list[pl.Expr]:
    """The values of a group that ``op`` has to be held against."""
    smallest, greatest = value.expr.min(), largest(value)
    match op:
        case "<>":
            return [smallest, greatest]
        case "<" | "<=":
            return [greatest]
        case ">" | ">=":
            return [smallest]
        case _:
            raise PlanError(f"no extreme decides {op}")


def beyond(op: str, expr: pl.Expr, ends: Sequence[pl.Expr]) -> pl.Expr:
    """Whether ``expr op y`` for some y of the group with these extremes; NULL if the group has none."""
    compare = {"<>": expr.__ne__, "<": expr.__lt__, "<=": expr.__le__, ">": expr.__gt__, ">=": expr.__ge__}[op]
    return reduce(lambda a, b: a | b, [compare(end) for end in ends])
