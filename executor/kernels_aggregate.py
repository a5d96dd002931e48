"""Aggregation: groups, DISTINCT, and each aggregate function.

NULLs are skipped and an aggregate of no values is NULL (a count 0). Sums never wrap: they run in 64 bits
where the bounds of the argument and the number of rows prove it, else in 128.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from executor.aggregate_parts import (
    DEVICE_ROWS,
    DOUBLE_MAX,
    Argument,
    Composed,
    Group,
    Rows,
    fraction,
    in_order,
    interpolated,
    or_null,
    paired,
    passing,
)
from executor.aggregates_gpu import GPU_FORMS, Strings, join_strings, one_of_each
from executor.arithmetic import divide, to_float
from executor.checks import Failure, checked, strict_cast
from executor.dtypes import device_dtype, polars_dtype
from executor.expressions import largest, translate
from executor.frame import Context, Frame, stored
from executor.value import (
    INT64_MAX,
    NotOnDevice,
    Scope,
    Store,
    Value,
    bounds_of,
    fits,
    integer_dtype,
    literal_expr,
    native,
    scaled_store,
    with_store,
)
from planner import types
from planner.devices import Device
from planner.errors import UnsupportedError
from planner.expr import AggregateCall, Column, ColumnId, Expr, Literal, column, column_name, columns_of, new_field
from planner.physical import AggregateExec

# No task reads more rows than this: it bounds what a 128-bit sum of 64-bit values can reach, with room to spare.
_MANY_ROWS = 2**48
SETTINGS = frozenset({"quantile_cont", "quantile_disc", "string_agg"})
"""Aggregates whose second argument is a constant, and no value of a row."""
_LIKELY = 1000  # times what fits: values are far from their bounds, and rows from theirs


def aggregate(plan: AggregateExec, frame: Frame, context: Context) -> Frame:
    frame = _narrow_decimals(frame, plan, context)
    if not plan.aggregates:
        known = context.scope(frame.columns).columns
        keys = {k.id: known[k.id] for k in plan.keys}
        lazy = frame.lazy.select(v.expr for v in keys.values()) if keys else frame.lazy.head(1)
        return Frame(lazy.unique(maintain_order=False) if keys else lazy, keys, frame.max_rows)
    calls = [item.call for item in plan.aggregates]
    if context.device == "gpu":
        frame, calls = _columns_first(frame, calls, context)
    scope = context.scope(frame.columns)
    keys = {k.id: scope.columns[k.id] for k in plan.keys}
    names = [v.expr for v in keys.values()]
    if context.device == "gpu" and keys:
        frame, calls = _distinct_first(frame, calls, tuple(keys.values()), scope)
    rows = Rows(context, names)
    group = Group(scope, _fewer(frame.max_rows, plan.max_rows), may_be_empty=not keys, rows=rows)
    parts = _Parts(context)
    combined: list[pl.Expr] = []
    strings: list[Strings] = []
    columns: dict[ColumnId, Value] = dict(keys)
    for item, call in zip(plan.aggregates, calls, strict=True):
        name = column_name(item.field)
        if call.name == "string_agg" and keys and context.device == "gpu":
            strings.append(Strings(_argument(call, group), name))
            columns[item.field.id] = Value(pl.col(name), types.VARCHAR)
            continue
        value = aggregate_value(call, group)
        if isinstance(value, Composed):
            value = value.combine(*map(parts.column, value.parts))
            combined.append(value.expr.alias(name))
        elif (same := parts.find(value.expr)) is not None:
            combined.append(same.alias(name))
        else:
            parts.add(value.expr, name)
        columns[item.field.id] = stored(value, name)
    if strings:
        lazy = join_strings(strings, frame.lazy, rows, parts.exprs)
    else:
        lazy = rows.add_to(frame.lazy)
        lazy = lazy.group_by(names).agg(parts.exprs) if keys else lazy.select(parts.exprs)
    lazy = lazy.with_columns(combined) if combined else lazy
    return Frame(lazy, columns, group.max_rows if keys else 1)


class _Parts:
    """The columns of an aggregation. What several aggregates consist of is computed once: cuDF would do it for each."""

    def __init__(self, context: Context) -> None:
        self.exprs: list[pl.Expr] = []
        self._context = context
        self._known: dict[str, list[tuple[pl.Expr, str]]] = {}  # by text, since to compare each with all is slow

    def add(self, expr: pl.Expr, name: str) -> None:
        """A column of that name."""
        self._known.setdefault(str(expr), []).append((expr, name))
        self.exprs.append(expr.alias(name))

    def find(self, expr: pl.Expr) -> pl.Expr | None:
        """The column that holds what ``expr`` is, if there is one."""
        alike = self._known.get(str(expr), ())
        return next((pl.col(name) for known, name in alike if known.meta == expr), None)

    def column(self, expr: pl.Expr) -> pl.Expr:
        """The same, which is there from now on."""
        found = self.find(expr)
        if found is None:
            name = self._context.fresh("part")
            self.add(expr, name)
            found = pl.col(name)
        return found


def _fewer(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _columns_first(
    frame: Frame, calls: Sequence[AggregateCall], context: Context
) -> tuple[Frame, list[AggregateCall]]:
    """The calls over columns that hold what they evaluate: cuDF raises nothing, and nests nothing, in a group."""
    scope = context.scope(frame.columns)
    found: dict[Expr, Column] = {}
    columns = dict(frame.columns)
    exprs: list[pl.Expr] = []

    def as_column(expr: Expr, aggregated: bool) -> Expr:
        if isinstance(expr, Column) or (isinstance(expr, Literal) and not aggregated):
            return expr
        if expr not in found:
            value = translate(expr, scope)
            if value.is_literal and not aggregated:
                return expr
            item = new_field(context.fresh("argument"), value.dtype, value.nullable)
            exprs.append(value.expr.alias(column_name(item)))
            columns[item.id] = stored(value, column_name(item))
            found[expr] = column(item)
        return found[expr]

    done = [
        call.with_expressions([as_column(e, _is_value(call, i)) for i, e in enumerate(call.expressions())])
        for call in calls
    ]
    return (Frame(frame.lazy.with_columns(exprs), columns, frame.max_rows) if exprs else frame), done


def _distinct_first(
    frame: Frame, calls: list[AggregateCall], keys: Sequence[Value], scope: Scope
) -> tuple[Frame, list[AggregateCall]]:
    """Counts of one column's distinct values as counts of values, over rows that are each there once: cuDF sorts every
    group to count its distinct values, where it only hashes to drop rows that are there twice."""
    first = calls[0]
    if any((c.name, c.args, c.distinct, c.filter) != ("count", first.args, True, None) for c in calls):
        return frame, calls
    read = (*keys, translate(first.args[0], scope))
    names = {v.expr.meta.output_name() for v in read if v.parts is None and not types.is_float(v.dtype)}
    if len(names) < len(read):  # of floats -0.0 and 0.0 are one value, which are not the same to all kernels
        return frame, calls
    rows = frame.lazy.select(v.expr for v in read).unique(maintain_order=False)
    return replace(frame, lazy=rows), [replace(c, distinct=False) for c in calls]


def _narrow_decimals(frame: Frame, plan: AggregateExec, context: Context) -> Frame:
    """The frame with the decimals that the aggregation reads as scaled 64-bit integers, where they fit.

    Not before: what a join or a filter drops need not be converted.
    """
    columns = dict(context.scope(frame.columns, plan.bounds).columns)
    read = columns_of(*plan.keys, *(e for a in plan.aggregates for e in a.call.expressions()))
    narrowed: list[pl.Expr] = []
    for id in sorted(read) if context.device == "cpu" else ():
        value = columns[id]
        if types.is_decimal(value.dtype) and value.store is Store.NATIVE:
            store = scaled_store(bounds_of(value), context.device)
            if store is Store.INT64:
                name = context.fresh(value.expr.meta.output_name())
                held = with_store(value, store, context.device)
                narrowed.append(held.expr.alias(name))
                columns[id] = stored(held, name)
    lazy = frame.lazy.with_columns(narrowed) if narrowed else frame.lazy
    return Frame(lazy, columns, frame.max_rows)


def aggregate_value(call: AggregateCall, group: Group) -> Value | Composed:
    """One aggregate, as an expression over a group."""
    if call.name == "count_star":
        return _count_star(call, group)
    function = _FUNCTIONS.get(call.name)
    if function is None:
        raise UnsupportedError(f"the aggregate {call.name} cannot be computed yet")
    argument = _argument(call, group)
    other = GPU_FORMS.get(call.name) if group.device == "gpu" else None
    value = other(argument) if other is not None else None
    return function(argument) if value is None else value  # a form may decline


def _argument(call: AggregateCall, group: Group) -> Argument:
    values = [translate(a, group.scope) for a in call.args]
    test = translate(call.filter, group.scope).expr if call.filter is not None else None
    if test is not None:
        values[0] = passing(values[0], test)
    for i, value in enumerate(values):
        if not value.expr.meta.root_names() and _is_value(call, i):
            values[i] = _per_row(value, group, len(values) > 1 and call.name not in SETTINGS)
    return Argument(call, tuple(values), test, group)


def _is_value(call: AggregateCall, position: int) -> bool:
    """Whether the expression at a position is an argument that has a value for each row."""
    return position == 0 or (position < len(call.args) and call.name not in SETTINGS)


def _per_row(value: Value, group: Group, beside_others: bool) -> Value:
    """A constant argument once a row: Polars would take it once a group."""
    if group.device == "gpu" or beside_others:  # which Polars filters and sorts as one value
        column = value.expr.cast(device_dtype(value.dtype, group.device)) if value.is_literal else value.expr
        return replace(value, expr=group.rows.column(column), is_literal=False, literal=None)
    repeated = pl.repeat(value.expr, pl.len())
    if value.is_literal and value.literal is None:
        repeated = pl.repeat(None, pl.len(), dtype=polars_dtype(value.dtype))
    return replace(value, expr=repeated, is_literal=False, literal=None)


def _count_star(call: AggregateCall, group: Group) -> Value:
    if call.filter is None:
        expr = pl.len()
    else:
        passed = translate(call.filter, group.scope).expr
        if not passed.meta.root_names():
            passed = pl.repeat(passed, pl.len())
        expr = passed.fill_null(False).cast(pl.Int64).sum()
    bounds = (0, group.max_rows if group.max_rows is not None else INT64_MAX)
    return Value(expr.cast(pl.Int64), types.BIGINT, bounds=bounds, nullable=False)


def _count(argument: Argument) -> Value:
    expr = argument.expr
    counted = expr.drop_nulls().n_unique() if argument.call.distinct else expr.count()
    if argument.call.distinct and argument.group.device == "gpu":
        counted = counted.fill_null(0)  # cuDF counts no values as NULL
    if not argument.call.distinct and not argument.skips and argument.group.device == "cpu":
        counted = pl.len()
    bounds = (0, argument.group.max_rows if argument.group.max_rows is not None else INT64_MAX)
    return Value(counted.cast(pl.Int64), types.BIGINT, bounds=bounds, nullable=False)


def _distinct(argument: Argument) -> Argument:
    """Each value once, without NULL."""
    if not argument.call.distinct:
        return argument
    if argument.group.device == "gpu":
        return replace(argument, values=(replace(argument.value, expr=one_of_each(argument)), *argument.values[1:]))
    value = replace(argument.value, expr=argument.expr.drop_nulls().unique())
    return replace(argument, values=(value, *argument.values[1:]))


def summed(value: Value, rows: int | None, device: Device) -> Value:
    """The integers that are added up for a sum of integers or decimals, with the type, the store and the bounds of the
    sum; NATIVE where no store is proved to hold it."""
    dtype = types.decimal(types.MAX_PRECISION, value.dtype.scale if types.is_decimal(value.dtype) else 0)
    low, high = bounds_of(value)
    largest = max(abs(low), abs(high))
    if rows is not None and largest * rows <= INT64_MAX:
        bounds = (min(low * rows, 0), max(high * rows, 0))
        return Value(as_integer(value, Store.INT64, device), dtype, Store.INT64, bounds, value.nullable)
    if device == "cpu" and largest * _MANY_ROWS < 10**38:
        bounds = (min(low * _MANY_ROWS, 0), max(high * _MANY_ROWS, 0))
        return Value(as_integer(value, Store.INT128, device), dtype, Store.INT128, bounds, value.nullable)
    return Value(value.expr, dtype, nullable=value.nullable)


def _exact_sum(argument: Argument) -> tuple[Value, pl.Expr | None]:
    """The sum of integers or decimals, held as a scaled integer where that cannot overflow.

    On a GPU it may: then the sum of the absolute values, as DOUBLE and in the unit of what is summed, comes with it.
    As long as that fits, no sum of any of the rows wraps.
    """
    value = argument.value
    rows = argument.group.max_rows
    device = argument.group.device
    if device == "gpu":
        rows = min(rows or DEVICE_ROWS, DEVICE_ROWS)
    held = summed(value, rows, device)
    if held.store is not Store.NATIVE:
        return replace(held, expr=or_null(held.expr.sum(), argument), nullable=argument.skips), None
    dtype, scale = held.dtype, held.dtype.scale
    low, high = bounds_of(value)
    largest = max(abs(low), abs(high))
    # Of decimals only where it will hardly wrap: where it does, the fragment has to run again.
    unlikely = value.store is Store.INT64 and rows is not None and largest * rows <= _LIKELY * INT64_MAX
    if device == "gpu" and (unlikely or types.is_integer(value.dtype)) and fits((low, high), INT64_MAX + 1):
        integer = as_integer(value, Store.INT64, device)
        bounds = (-INT64_MAX, INT64_MAX)
        held = Value(or_null(integer.sum(), argument), dtype, Store.INT64, bounds, argument.skips)
        return held, integer.cast(pl.Float64).abs().sum()
    native_value = value.expr.cast(pl.Decimal(38, 0)) if types.is_integer(value.dtype) else native(value, device).expr
    wide = native_value.cast(pl.Decimal(38, scale))
    total = Value(or_null(wide.sum(), argument), dtype, Store.NATIVE, None, argument.skips)
    if device == "gpu" and largest * _MANY_ROWS >= 10**38:
        return total, wide.cast(pl.Float64).abs().sum() * float(10**scale)
    return total, None


# What a sum of absolute values must stay below: it is rounded once a row, of 2^31 rows at most.
_MARGIN = 1 - 2**-20


def _no_overflow(total: Value, size: pl.Expr, group: Group) -> pl.Expr:
    """The sum, raising if the ``size`` that came with it says that it may have wrapped."""
    limit = (2.0**63 if total.store is Store.INT64 else 1e38) * _MARGIN
    return checked(total.expr, (size < limit).not_(), Failure.OUT_OF_RANGE, group.scope)


def as_integer(value: Value, store: Store, device: Device) -> pl.Expr:
    """An integer, or a decimal as the integer that it is scaled to."""
    if types.is_decimal(value.dtype):
        return with_store(value, store, device).expr
    return value.expr.cast(integer_dtype(store))


def _sum(argument: Argument) -> Value | Composed:
    argument = _distinct(argument)
    dtype = argument.call.dtype
    if types.is_float(dtype):
        expr = to_float(argument.value, types.DOUBLE, argument.group.scope).sum()
        return Value(or_null(expr, argument), dtype, nullable=argument.skips)
    total, size = _exact_sum(argument)
    if types.is_decimal(dtype):
        total = replace(total, dtype=dtype)
    elif total.store is Store.INT64:  # SUM(INTEGER) is BIGINT
        total = replace(total, dtype=dtype, store=Store.NATIVE)
    elif total.store is Store.INT128:
        expr = strict_cast(total.expr, pl.Int128(), pl.Int64(), argument.group.scope)
        total = Value(expr, dtype, bounds=None, nullable=total.nullable)
    else:
        raise NotOnDevice("a sum of unsigned integers that may overflow is not checked on the GPU")
    if size is None:
        return total
    group = argument.group

    def combine(sum: pl.Expr, size: pl.Expr) -> Value:
        return replace(total, expr=_no_overflow(replace(total, expr=sum), size, group))

    return Composed((total.expr, size), combine)


def _avg(argument: Argument) -> Value | Composed:
    argument = _distinct(argument)
    value = argument.value
    if types.is_temporal(value.dtype):
        return _mean_moment(argument)
    if types.is_float(value.dtype):
        return Value(value.expr.cast(pl.Float64).mean(), argument.call.dtype)
    total, size = _exact_sum(replace(argument, values=(replace(value, nullable=False),), test=None))
    scale = value.dtype.scale if types.is_decimal(value.dtype) else 0
    some = argument.skips or argument.call.distinct  # else each row counts
    count = (argument.expr.count() if some else pl.len()).cast(pl.Int64)
    unit = float(10**scale) if total.store is not Store.NATIVE and scale else 1.0
    group = argument.group

    def quotient(sum: pl.Expr, count: pl.Expr, *sizes: pl.Expr) -> Value:
        count = count.cast(pl.Float64) if unit == 1 else count.cast(pl.Float64) * unit
        exact = _no_overflow(replace(total, expr=sum), sizes[0], group) if sizes else sum
        return Value(divide(exact.cast(pl.Float64), count, group.scope), types.DOUBLE, nullable=argument.skips)

    return Composed((or_null(total.expr, argument), count, *([] if size is None else [size])), quotient)


def _mean_moment(argument: Argument) -> Value:
    dtype = argument.call.dtype
    micros = argument.expr.cast(pl.Datetime("us")).cast(pl.Int64)
    total, count = micros.cast(pl.Int128).sum(), argument.expr.count().cast(pl.Int128)
    # DuckDB's rounding: before 1970 toward zero, after it to the nearest, halves down.
    size = total.abs() // count
    up = (total > 0) & ((total.abs() % count) * 2 > count)
    mean = (pl.when(total < 0).then(0 - size).otherwise(size) + up.cast(pl.Int128)).cast(pl.Int64)
    return Value(or_null(mean.cast(polars_dtype(dtype)), argument), dtype)


def _min(argument: Argument) -> Value | Composed:
    value = argument.value
    if value.dtype == types.INTERVAL:
        raise UnsupportedError("min of an INTERVAL cannot be computed yet")
    smallest = replace(value, expr=value.expr.min(), nullable=argument.skips)
    if argument.group.device == "cpu" or not types.is_float(value.dtype):
        return smallest

    def combine(least: pl.Expr, count: pl.Expr) -> Value:  # cuDF finds none among NaN alone
        nan = pl.lit(float("nan"), dtype=polars_dtype(value.dtype))
        return replace(smallest, expr=pl.when(least.is_null() & (count > 0)).then(nan).otherwise(least))

    return Composed((smallest.expr, value.expr.count()), combine)


def _max(argument: Argument) -> Value:
    value = argument.value
    if value.dtype == types.INTERVAL:
        raise UnsupportedError("max of an INTERVAL cannot be computed yet")
    return replace(value, expr=largest(value), nullable=argument.skips)


def _bool_and(argument: Argument) -> Value:
    return Value(argument.expr.min(), types.BOOLEAN, nullable=argument.skips)


def _bool_or(argument: Argument) -> Value:
    return Value(argument.expr.max(), types.BOOLEAN, nullable=argument.skips)


def _moment(name: str, ddof: int) -> Callable[[Argument], Value]:
    def compute(argument: Argument) -> Value:
        expr = _distinct(argument).expr
        result = expr.std(ddof=ddof) if name == "std" else expr.var(ddof=ddof)
        return Value(or_null(result, argument), argument.call.dtype)  # the streaming engine: 0 for a single NULL

    return compute


def _covariance(ddof: int) -> Callable[[Argument], Value]:
    def compute(argument: Argument) -> Value:
        y, x = paired(argument)
        total = ((y - y.mean()) * (x - x.mean())).sum()
        count = y.count().cast(pl.Float64)
        return Value(pl.when(count > ddof).then(total / (count - ddof)), types.DOUBLE)

    return compute


def _corr(argument: Argument) -> Value:
    y, x = paired(argument)
    total = ((y - y.mean()) * (x - x.mean())).mean()
    return Value(pl.when(y.count() > 0).then(total / (y.std(ddof=0) * x.std(ddof=0))), types.DOUBLE)


def _bits(name: str) -> Callable[[Argument], Value]:
    def compute(argument: Argument) -> Value:
        expr = getattr(_distinct(argument).expr.drop_nulls(), name)()
        return Value(or_null(expr, argument), argument.call.dtype)

    return compute


def _product(argument: Argument) -> Value:
    expr = _distinct(argument).expr.drop_nulls().product()
    return Value(or_null(expr, argument), argument.call.dtype)


def _string_agg(argument: Argument) -> Value:
    separator = argument.call.args[1]
    assert isinstance(separator, Literal)
    expr = in_order(argument.expr, argument).drop_nulls()
    if argument.call.distinct:
        expr = expr.unique(maintain_order=True)
    if separator.value is None:
        return Value(literal_expr(None, types.VARCHAR), types.VARCHAR)
    joined = expr.str.join(separator.value)
    if argument.group.device == "gpu":
        joined = joined.first()  # cuDF makes no row of no rows
    return Value(or_null(joined, argument), types.VARCHAR)


def _any_value(argument: Argument) -> Value:
    expr = in_order(argument.expr, argument).drop_nulls().first()
    return replace(argument.value, expr=expr, nullable=argument.skips)


def _edge(name: str) -> Callable[[Argument], Value]:
    def compute(argument: Argument) -> Value:
        expr = in_order(argument.expr, argument)
        if argument.test is not None:
            kept = translate(argument.call.args[0], argument.group.scope).expr
            chosen = in_order(argument.test.fill_null(False), argument)
            expr = in_order(kept, argument).filter(chosen)
        return replace(argument.value, expr=getattr(expr, name)(), nullable=True)

    return compute


def _extreme(descending: bool) -> Callable[[Argument], Value]:
    """arg_min and arg_max: rows where one of the two is NULL do not count."""

    def compute(argument: Argument) -> Value:
        value, by = argument.values[0], argument.values[1]
        order = by.expr
        both = value.expr.is_not_null() & order.is_not_null()
        expr = value.expr.filter(both).sort_by(order.filter(both), descending=descending, maintain_order=True).first()
        return replace(value, expr=expr, nullable=True)

    return compute


def _quantile_cont(argument: Argument) -> Value:
    argument = _distinct(argument)
    value, dtype, scope = argument.value, argument.call.dtype, argument.group.scope
    at = fraction(argument.call)
    if types.is_temporal(value.dtype):
        middle = _interpolated(value.expr.cast(pl.Datetime("us")).cast(pl.Int64), at, dtype, narrow=False)
        return Value(middle.cast(polars_dtype(dtype)), dtype)
    if types.is_decimal(dtype):
        held = with_store(value, scaled_store(bounds_of(value), scope.device), scope.device)
        if held.store is Store.NATIVE:
            raise NotOnDevice("quantiles of decimals of more than 18 digits")
        narrow = fits(bounds_of(value), DOUBLE_MAX)
        return Value(_interpolated(held.expr, at, dtype, narrow), dtype, held.store, bounds_of(value))
    result = to_float(value, types.DOUBLE, scope).quantile(at, "linear")
    return Value(result.cast(polars_dtype(dtype)), dtype)


def _interpolated(numbers: pl.Expr, fraction: float, dtype: pa.DataType, narrow: bool) -> pl.Expr:
    """The quantile of integers. ``narrow`` ones are exact as doubles too, which spares the sort."""
    position = (numbers.count().cast(pl.Float64) - 1) * fraction
    if narrow:
        low = numbers.quantile(fraction, "lower").cast(pl.Int64)
        high = numbers.quantile(fraction, "higher").cast(pl.Int64)
    else:
        ordered = numbers.drop_nulls().sort()
        low, high = (
            ordered.get(p.cast(pl.Int64).clip(lower_bound=0), null_on_oob=True)
            for p in (position.floor(), position.ceil())
        )
    return interpolated(low, high, position, dtype)


def _quantile_disc(argument: Argument) -> Value:
    argument = _distinct(argument)
    expr, at = argument.expr.drop_nulls(), fraction(argument.call)
    count = expr.len().cast(pl.Float64)
    position = ((count * at).ceil() - 1).clip(lower_bound=0.0).cast(pl.Int64)
    picked = expr.sort().get(position, null_on_oob=True)
    return replace(argument.value, expr=picked, nullable=True)


def _mode(argument: Argument) -> Value:
    expr = argument.expr.drop_nulls().mode(maintain_order=True).first()
    return replace(argument.value, expr=expr, nullable=True)


_FUNCTIONS: Mapping[str, Callable[[Argument], Value | Composed]] = {
    "count": _count,
    "sum": _sum,
    "avg": _avg,
    "min": _min,
    "max": _max,
    "bool_and": _bool_and,
    "bool_or": _bool_or,
    "stddev_samp": _moment("std", 1),
    "stddev_pop": _moment("std", 0),
    "var_samp": _moment("var", 1),
    "var_pop": _moment("var", 0),
    "covar_samp": _covariance(1),
    "covar_pop": _covariance(0),
    "corr": _corr,
    "bit_and": _bits("bitwise_and"),
    "bit_or": _bits("bitwise_or"),
    "bit_xor": _bits("bitwise_xor"),
    "product": _product,
    "string_agg": _string_agg,
    "any_value": _any_value,
    "first": _edge("first"),
    "last": _edge("last"),
    "quantile_cont": _quantile_cont,
    "quantile_disc": _quantile_disc,
    "mode": _mode,
    "arg_min": _extreme(False),
    "arg_max": _extreme(True),
}


def implemented() -> Sequence[str]:
    """The aggregates that kernels compute, for the test that none is missing."""
    return ("count_star", *_FUNCTIONS)
