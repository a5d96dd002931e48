"""Aggregates in forms that cuDF has too, where it lacks what the CPU's forms are made of.

cuDF's groups know sums, extremes, counts and the first row in an order. So whatever looks at the rows of a group as a
whole gets columns first: a mean, a count or a rank within the group for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import polars as pl

from executor.aggregate_parts import (
    DEVICE_ROWS,
    DOUBLE_MAX,
    Argument,
    Composed,
    Rows,
    fraction,
    interpolated,
    or_null,
    paired,
)
from executor.calendar import MICROS_PER_DAY
from executor.dtypes import integer_range, polars_dtype
from executor.kernels_sort import sort_expression
from executor.value import NotOnDevice, Store, Value, bounds_of, fits, scaled_store, with_store
from planner import types
from planner.expr import Literal
from planner.record import record

_SECONDS_PER_DAY = 86_400
_SECOND = 1_000_000


def _mean_moment(argument: Argument) -> Composed:
    """The mean of TIMESTAMPs, from sums of days, seconds and microseconds, each of which fits 64 bits."""
    micros = argument.expr.cast(pl.Datetime("us")).cast(pl.Int64)
    of_day = micros % MICROS_PER_DAY
    parts = (micros // MICROS_PER_DAY, of_day // _SECOND, of_day % _SECOND)

    def combine(days: pl.Expr, seconds: pl.Expr, micros: pl.Expr, count: pl.Expr) -> Value:
        n = pl.when(count > 0).then(count)
        seconds = days % n * _SECONDS_PER_DAY + seconds
        micros = seconds % n * _SECOND + micros
        below = days // n * MICROS_PER_DAY + seconds // n * _SECOND + micros // n
        rest = micros % n
        # DuckDB's rounding: before 1970 toward zero, after it to the nearest, halves down.
        up = pl.when(below < 0).then(rest > 0).otherwise(rest * 2 > n)
        mean = (below + up.cast(pl.Int64)).cast(polars_dtype(argument.call.dtype))
        return Value(mean, argument.call.dtype)

    return Composed((*(p.sum() for p in parts), argument.expr.count().cast(pl.Int64)), combine)


def _covariance(ddof: int) -> Callable[[Argument], Value]:
    def compute(argument: Argument) -> Value:
        total, count = _deviations(argument)
        count = count.cast(pl.Float64)
        return Value(pl.when(count > ddof).then(total / (count - ddof)), types.DOUBLE)

    return compute


def _deviations(argument: Argument) -> tuple[pl.Expr, pl.Expr]:
    """The sum of the products of what both arguments are off their means, and the number of pairs."""
    rows = argument.group.rows
    y, x = (rows.column(e.cast(pl.Float64)) for e in paired(argument))
    off = [v - rows.grouped(v.mean(), 1) for v in (y, x)]
    product = rows.column(off[0] * off[1], 2)
    return product.sum(), product.count()


def _squares(expr: pl.Expr, rows: Rows) -> tuple[pl.Expr, pl.Expr]:
    """The sum of the squares of what values are off their mean, and the number of values.

    In two passes: cuDF's own variance is a difference of squares, loses digits and may come out below 0.
    """
    value = rows.column(expr.cast(pl.Float64))
    off = value - rows.grouped(value.mean(), 1)
    square = rows.column(off * off, 2)
    return square.sum(), square.count()


def _moment(root: bool, ddof: int) -> Callable[[Argument], Value | None]:
    def compute(argument: Argument) -> Value | None:
        if argument.call.distinct:
            return None
        total, count = _squares(argument.expr, argument.group.rows)
        variance = pl.when(count > ddof).then(total / (count.cast(pl.Float64) - ddof))
        return Value(variance.sqrt() if root else variance, argument.call.dtype)

    return compute


def _correlation(argument: Argument) -> Value:
    total, count = _deviations(argument)
    squares = [_squares(e, argument.group.rows)[0] for e in paired(argument)]
    spread = squares[0].sqrt() * squares[1].sqrt()
    return Value(pl.when(count > 0).then(total / spread), types.DOUBLE)


def _bits(name: str) -> Callable[[Argument], Composed | None]:
    """Bit by bit: set in all, in one, in an odd number."""

    def compute(argument: Argument) -> Composed | None:
        if argument.call.distinct:
            return None
        dtype = polars_dtype(argument.call.dtype)
        low, high = integer_range(argument.call.dtype)
        units = [2**k for k in range(high.bit_length())] + ([low] if low < 0 else [])
        parts = []
        for unit in units:
            is_set = (argument.expr & pl.lit(unit, dtype=dtype)) != 0
            match name:
                case "and":
                    part = is_set.min()
                case "or":
                    part = is_set.max()
                case _:
                    part = or_null(is_set.cast(pl.Int64).sum() % 2 == 1, argument)
            parts.append(part)

        def combine(*columns: pl.Expr) -> Value:
            zero = pl.lit(0, dtype=dtype)
            pairs = zip(columns, units, strict=True)
            bits = [pl.when(c).then(pl.lit(u, dtype=dtype)).otherwise(zero) for c, u in pairs]
            known = columns[0].is_not_null()
            return Value(pl.when(known).then(reduce(lambda a, b: a | b, bits)), argument.call.dtype)

        return Composed(tuple(parts), combine)

    return compute


def _product(argument: Argument) -> Value:
    factor = one_of_each(argument) if argument.call.distinct else argument.expr
    return Value(or_null(factor.product(), argument), argument.call.dtype)


def _extreme(descending: bool) -> Callable[[Argument], Value]:
    """arg_min and arg_max: rows where one of the two is NULL do not count."""

    def compute(argument: Argument) -> Value:
        value, by = paired(argument)
        first = value.sort_by(by, descending=descending, nulls_last=True, maintain_order=True).first()
        return replace(argument.value, expr=first, nullable=True)

    return compute


def one_of_each(argument: Argument) -> pl.Expr:
    """The argument once for each value of the group, NULL in the other rows."""
    rows = argument.group.rows
    value = rows.column(argument.expr)
    place = rows.grouped(value.rank("ordinal"), 1, value)
    return rows.column(pl.when(place == 1).then(value), 2)


def _edge(name: str) -> Callable[[Argument], Value | None]:
    """The first or last row that the FILTER passes: those that it does not stand at the other end."""

    def compute(argument: Argument) -> Value | None:
        if argument.test is None:
            return None
        chosen = argument.test.fill_null(False)
        found = _ordered(argument, chosen, descending=name == "first")
        return replace(argument.value, expr=pl.when(chosen.max()).then(getattr(found, name)()), nullable=True)

    return compute


def _ordered(argument: Argument, first: pl.Expr, descending: bool) -> pl.Expr:
    """The rows of a group in the order of ``first``, then in the order that the call asks for."""
    keys = argument.call.order_by
    return argument.expr.sort_by(
        [first, *(sort_expression(k, argument.group.scope) for k in keys)],
        descending=[descending, *(k.descending for k in keys)],
        nulls_last=[True, *(not k.nulls_first for k in keys)],
        maintain_order=True,
    )


def _any_value(argument: Argument) -> Value | None:
    if not argument.call.order_by:
        return None
    first = _ordered(argument, argument.expr.is_null(), descending=False).first()
    return replace(argument.value, expr=first, nullable=True)


def _mode(argument: Argument) -> Value:
    """The first row of the most frequent value."""
    rows = argument.group.rows
    value = rows.column(argument.expr)
    times = rows.grouped(pl.len(), 1, value)
    known = rows.column(pl.when(value.is_not_null()).then(times), 2)
    first = value.sort_by(known, descending=True, nulls_last=True, maintain_order=True).first()
    return replace(argument.value, expr=first, nullable=True)


def _places(argument: Argument, values: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """The values for each row, their places in the group's order (1 is first), and how many the group has."""
    if argument.call.distinct:
        raise NotOnDevice("quantiles of distinct values")
    rows = argument.group.rows
    value = rows.column(values)
    place = rows.grouped(value.rank("ordinal"), 1).cast(pl.Int64)
    return value, place, rows.grouped(value.count(), 1).cast(pl.Float64)


def _picked(argument: Argument, value: pl.Expr, place: pl.Expr, wanted: pl.Expr) -> pl.Expr:
    """The value at a place of the group's order."""
    return argument.group.rows.column(pl.when(place == wanted).then(value), 2).drop_nulls().first()


def _quantile_disc(argument: Argument) -> Value:
    value, place, count = _places(argument, argument.expr)
    wanted = (count * fraction(argument.call)).ceil().cast(pl.Int64).clip(lower_bound=1)
    return replace(argument.value, expr=_picked(argument, value, place, wanted), nullable=True)


def _quantile_cont(argument: Argument) -> Composed | None:
    """Of moments, and of decimals that doubles do not hold; for the others cuDF has the CPU's form."""
    value, dtype = argument.value, argument.call.dtype
    temporal = types.is_temporal(value.dtype)
    if not temporal and (not types.is_decimal(dtype) or fits(bounds_of(value), DOUBLE_MAX)):
        return None
    device = argument.group.scope.device
    held = value if temporal else with_store(value, scaled_store(bounds_of(value), device), device)
    if not temporal and held.store is Store.NATIVE:
        raise NotOnDevice("quantiles of decimals of more than 18 digits")
    numbers = held.expr.cast(pl.Datetime("us")).cast(pl.Int64) if temporal else held.expr
    number, place, count = _places(argument, numbers)
    position = (count - 1) * fraction(argument.call)
    edges = [_picked(argument, number, place, p.cast(pl.Int64) + 1) for p in (position.floor(), position.ceil())]

    def combine(low: pl.Expr, high: pl.Expr, count: pl.Expr) -> Value:
        position = (count.cast(pl.Float64) - 1) * fraction(argument.call)
        middle = interpolated(low, high, position, dtype)
        if temporal:
            return Value(middle.cast(polars_dtype(dtype)), dtype)
        return Value(middle, dtype, held.store, bounds_of(held))

    return Composed((*edges, numbers.count()), combine)


_ARITY = 8


@record
class Strings:
    """A string_agg by group, and the column that gets it."""

    argument: Argument
    name: str

    def joined(self, lazy: pl.LazyFrame, group: str) -> pl.LazyFrame:
        """A row for each group that has a string: pieces of it are joined eight by eight until there is one."""
        call, scope = self.argument.call, self.argument.group.scope
        separator = call.args[1]
        assert isinstance(separator, Literal)
        place, text = "#place", self.name
        if separator.value is None:
            raise NotOnDevice("strings are joined by NULL")
        keys = [sort_expression(k, scope).alias(f"#key{i}") for i, k in enumerate(call.order_by)]
        names = [f"#key{i}" for i in range(len(keys))]
        lazy = lazy.select(group, self.argument.expr.alias(text), *keys).drop_nulls(text)
        lazy = lazy.sort(
            [group, *names],
            descending=[False, *(k.descending for k in call.order_by)],
            nulls_last=[False, *(not k.nulls_first for k in call.order_by)],
            maintain_order=True,
        )
        if call.distinct:
            lazy = lazy.unique([group, text], keep="first", maintain_order=True)
        lazy = lazy.select(group, text).with_row_index(place)
        number = pl.col(place).cast(pl.Int64)
        lazy = lazy.with_columns(number - number.min().over(group))
        most = self.argument.group.max_rows or DEVICE_ROWS
        pieces = [pl.when(pl.col(place) % _ARITY == i).then(pl.col(text)).max().alias(f"#{i}") for i in range(_ARITY)]
        together = pl.concat_str([f"#{i}" for i in range(_ARITY)], separator=separator.value, ignore_nulls=True)
        while most > 1:
            lazy = lazy.group_by(group, pl.col(place) // _ARITY).agg(pieces)
            lazy = lazy.select(group, place, together.alias(text))
            most = -(-most // _ARITY)
        return lazy.select(group, text)


def join_strings(
    strings: Sequence[Strings], lazy: pl.LazyFrame, rows: Rows, aggregates: Sequence[pl.Expr]
) -> pl.LazyFrame:
    """The groups with their ``aggregates`` and strings; a group is known by its first row, never NULL and never NaN."""
    row, group = rows.context.fresh("row"), rows.context.fresh("group")
    lazy = rows.add_to(lazy.with_row_index(row)).with_columns(pl.col(row).min().over(rows.keys).alias(group)).cache()
    groups = lazy.group_by(rows.keys).agg(pl.col(group).min(), *aggregates)
    for one in strings:
        groups = groups.join(one.joined(lazy, group), on=group, how="left", maintain_order="none")
    return groups


GPU_FORMS: Mapping[str, Callable[[Argument], Value | Composed | None]] = {
    "avg": lambda a: _mean_moment(a) if types.is_temporal(a.value.dtype) and not a.call.distinct else None,
    "covar_samp": _covariance(1),
    "covar_pop": _covariance(0),
    "corr": _correlation,
    "var_samp": _moment(False, 1),
    "var_pop": _moment(False, 0),
    "stddev_samp": _moment(True, 1),
    "stddev_pop": _moment(True, 0),
    "bit_and": _bits("and"),
    "bit_or": _bits("or"),
    "bit_xor": _bits("xor"),
    "product": _product,
    "any_value": _any_value,
    "first": _edge("first"),
    "last": _edge("last"),
    "quantile_cont": _quantile_cont,
    "quantile_disc": _quantile_disc,
    "mode": _mode,
    "arg_min": _extreme(False),
    "arg_max": _extreme(True),
}
