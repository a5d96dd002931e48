"""What aggregates are computed from: their arguments, the group, and the steps before and after the grouping.

cuDF groups columns, not expressions, and computes nothing across the rows of a group beside the aggregates themselves.
So on a GPU an aggregate may have columns computed for every row first (``Rows``), and any aggregate may consist of
several that are combined once the groups are done (``Composed``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa

from executor.frame import Context
from executor.kernels_sort import sort_expression
from executor.value import Scope, Value
from planner import types
from planner.devices import Device
from planner.errors import PlanError
from planner.expr import AggregateCall, Literal
from planner.record import record

DOUBLE_MAX = 2**53  # up to here a double holds every integer
DEVICE_ROWS = 2**31 - 1  # of a column of cuDF
_INT64_DIGITS = 18  # of decimals that DuckDB holds in 64 bits


@dataclass(slots=True)
class Rows:
    """Columns that are computed for every row, before the rows are grouped by ``keys``.

    The columns of a step may read those of the steps before it.
    """

    context: Context
    keys: Sequence[pl.Expr]
    steps: list[list[pl.Expr]] = field(default_factory=list)

    def column(self, expr: pl.Expr, step: int = 0) -> pl.Expr:
        """The column that holds what ``expr`` is for each row."""
        while len(self.steps) <= step:
            self.steps.append([])
        name = self.context.fresh("row")
        self.steps[step].append(expr.alias(name))
        return pl.col(name)

    def grouped(self, aggregate: pl.Expr, step: int, *further: pl.Expr) -> pl.Expr:
        """The column that holds, for each row, an aggregate over the rows with its keys, and its ``further`` ones."""
        keys = [*self.keys, *further]
        return self.column(aggregate.over(keys) if keys else aggregate, step)

    def add_to(self, lazy: pl.LazyFrame) -> pl.LazyFrame:
        for step in self.steps:
            lazy = lazy.with_columns(step)
        return lazy


@record
class Group:
    """What an aggregate is computed in: the scope of its arguments, and what is known of the group."""

    scope: Scope
    max_rows: int | None
    may_be_empty: bool
    rows: Rows

    @property
    def device(self) -> Device:
        return self.scope.device


@record
class Argument:
    """An aggregate's arguments for the rows that its FILTER passes; the first is NULL for the others."""

    call: AggregateCall
    values: tuple[Value, ...]
    test: pl.Expr | None
    group: Group

    @property
    def value(self) -> Value:
        return self.values[0]

    @property
    def expr(self) -> pl.Expr:
        return self.values[0].expr

    @property
    def skips(self) -> bool:
        """Whether there may be rows, or groups, without a value."""
        return self.value.nullable or self.test is not None or self.group.may_be_empty


@record
class Composed:
    """An aggregate of several, combined once the groups are done: ``combine`` takes the columns of ``parts``."""

    parts: tuple[pl.Expr, ...]
    combine: Callable[..., Value]


def or_null(expr: pl.Expr, argument: Argument) -> pl.Expr:
    """The aggregate, NULL for a group without a value."""
    return pl.when(argument.expr.count() > 0).then(expr) if argument.skips else expr


def passing(value: Value, test: pl.Expr) -> Value:
    """The value, NULL for the rows that FILTER drops."""
    return replace(value, expr=pl.when(test).then(value.expr), nullable=True, is_literal=False, literal=None)


def paired(argument: Argument) -> tuple[pl.Expr, pl.Expr]:
    """Both arguments, each NULL where one of them is."""
    y, x = argument.values[0].expr, argument.values[1].expr
    both = y.is_not_null() & x.is_not_null()
    return pl.when(both).then(y), pl.when(both).then(x)


def in_order(expr: pl.Expr, argument: Argument) -> pl.Expr:
    """The rows of a group in the order that the call asks for."""
    keys = argument.call.order_by
    if not keys:
        return expr
    return expr.sort_by(
        [sort_expression(k, argument.group.scope) for k in keys],
        descending=[k.descending for k in keys],
        nulls_last=[not k.nulls_first for k in keys],
    )


def fraction(call: AggregateCall) -> float:
    """Of a quantile."""
    value = call.args[1]
    if not isinstance(value, Literal):
        raise PlanError("the fraction of a quantile must be a constant")
    return float(value.value)


def interpolated(low: pl.Expr, high: pl.Expr, position: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """The integer at a position between two neighbours, rounded as DuckDB does for the type of the quantile.

    It interpolates the distance between the neighbours. Of moments the sum goes to the nearest, halves up; of decimals
    of more than 18 digits the distance is cut. The sum of smaller ones is a double, cut toward zero; it stays exact
    here beyond the integers that a double holds, which DuckDB's does not.
    """
    distance = (high - low) * (position - position.floor())
    below = low + distance.floor().cast(pl.Int64)
    rest = distance - distance.floor()
    if types.is_temporal(dtype):
        return below + (rest >= 0.5).cast(pl.Int64)
    if dtype.precision > _INT64_DIGITS:
        return below
    exact = below + ((rest > 0) & (below < 0)).cast(pl.Int64)
    held = (low >= -DOUBLE_MAX) & (high <= DOUBLE_MAX)
    return pl.when(held).then((low.cast(pl.Float64) + distance).cast(pl.Int64)).otherwise(exact)
