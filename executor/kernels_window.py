"""Window functions: columns that are computed from the rows around each.

They are computed in one step over all rows: their keys and what the functions read are put in order, and the results
go back to where their rows stand, so that no other column moves. What a function takes, and how its result is held, is
settled here; ``window_functions`` computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from executor import window_functions as functions
from executor.aggregate_parts import Composed, Group, Rows, fraction, interpolated, passing
from executor.arithmetic import to_float
from executor.dtypes import polars_dtype
from executor.expressions import translate
from executor.frame import Context, Frame, stored
from executor.intervals import comparable
from executor.kernels_aggregate import SETTINGS, aggregate_value, as_integer, summed
from executor.kernels_sort import sort_by
from executor.value import (
    NotOnDevice,
    Scope,
    Store,
    Value,
    bounds_of,
    integer_dtype,
    native,
    scaled_store,
    with_store,
)
from executor.window_functions import Aggregation, Compute
from executor.window_keys import KeyColumn, Positions, in_order, window_keys
from executor.window_rows import FrameColumns, Layout
from planner import types
from planner.expr import AggregateCall, Column, Expr, SortKey, column, column_name, new_field
from planner.functions_aggregate import is_aggregate, value_of_no_rows
from planner.physical import WindowExec
from planner.window import WHOLE_PARTITION, Exclusion, FrameBound, WindowCall, WindowFrame

_ALL = "#window"


def window(plan: WindowExec, frame: Frame, context: Context) -> Frame:
    """The rows, as they stand, with the columns of the window functions."""
    if context.device == "gpu":
        return _numbered(plan, frame, context)
    scope = context.scope(frame.columns, plan.bounds)
    most = frame.max_rows if plan.max_rows is None else plan.max_rows
    inputs = _Inputs(scope, context, plan.order[0] if plan.order else None, most)
    keys = [KeyColumn(inputs.key(c), True) for c in plan.partition]
    keys += [KeyColumn(inputs.key(k.expr), False, k.descending, k.nulls_first) for k in plan.order]
    made = [(column_name(i.field), *_compute(i.call, inputs)) for i in plan.items]
    dtypes = {name: _held_as(value) for name, value, _ in made}
    sorted = bool(plan.order) or not all(_reads_partitions(i.call) for i in plan.items)

    def compute(rows: pl.Series) -> pl.Series:
        if not len(rows):
            return pl.DataFrame(schema=dtypes).to_struct(_ALL)
        layout, back = _layout(rows.struct.unnest().rechunk(), keys, inputs.names, sorted)
        columns = [run(layout).rename(name).cast(dtypes[name]) for name, _, run in made]
        return pl.DataFrame(columns if back is None else [c.gather(back) for c in columns]).to_struct(_ALL)

    read = [pl.int_range(pl.len(), dtype=pl.UInt32).alias(_ALL), *inputs.exprs]
    struct = pl.struct(read).map_batches(compute, return_dtype=pl.Struct(dtypes))
    lazy = frame.lazy.with_columns(struct.alias(_ALL)).with_columns(pl.col(_ALL).struct.field(n) for n in dtypes)
    columns = {i.field.id: stored(value, name) for i, (name, value, _) in zip(plan.items, made, strict=True)}
    return Frame(lazy, {**frame.columns, **columns}, frame.max_rows)


def _reads_partitions(call: WindowCall) -> bool:
    """Whether a function aggregates the partition, in which rows may stand anywhere."""
    return call.frame == WHOLE_PARTITION and is_aggregate(call.name)


def _layout(
    rows: pl.DataFrame, keys: Sequence[KeyColumn], read: Sequence[str], sorted: bool
) -> tuple[Layout, Positions | None]:
    """Rows as the window wants them, and where each of them was, unless they stand so."""
    partitions, peers = window_keys(rows, keys)
    rows = rows.select(read or rows.columns[:1])
    if not sorted or pl.Series(peers.values).is_sorted():
        return Layout(rows, partitions, peers, sorted), None
    order = in_order(peers)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    ordered = replace(partitions, values=partitions.values[order])
    same = peers is partitions
    return Layout(rows[order], ordered, ordered if same else replace(peers, values=peers.values[order])), back


def _numbered(plan: WindowExec, frame: Frame, context: Context) -> Frame:
    """Row numbers on a GPU, which has no ranges: it adds up ones."""
    others = [i.call.name for i in plan.items if i.call.name != "row_number"]
    if others:
        raise NotOnDevice(f"the window function {others[0]} runs on the CPU")
    scope = context.scope(frame.columns)
    lazy = sort_by(frame.lazy, plan.order, scope) if plan.order else frame.lazy
    one = context.fresh("one")
    number = pl.col(one).cum_sum()
    if plan.partition:
        number = number.over([frame.columns[c.id].expr for c in plan.partition])
    names = [column_name(i.field) for i in plan.items]
    lazy = lazy.with_columns(pl.lit(1, dtype=pl.Int64).alias(one)).with_columns(number.alias(n) for n in names)
    columns = {
        i.field.id: Value(pl.col(n), types.BIGINT, nullable=False) for i, n in zip(plan.items, names, strict=True)
    }
    return Frame(lazy, {**frame.columns, **columns}, frame.max_rows)


def _held_as(value: Value) -> pl.DataType:
    return polars_dtype(value.dtype) if value.store is Store.NATIVE else integer_dtype(value.store)


@dataclass(slots=True)
class _Inputs:
    """The columns that a window and its functions read, computed for the rows as they stand."""

    scope: Scope
    context: Context
    first_key: SortKey | None
    max_rows: int | None
    exprs: list[pl.Expr] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of what functions read, not of keys
    known: dict[Expr, tuple[str, Value]] = field(default_factory=dict)

    def add(self, expr: pl.Expr) -> str:
        """A column that functions read, by the name that it gets."""
        name = self.context.fresh("input")
        self.exprs.append(expr.alias(name))
        self.names.append(name)
        return name

    def value(self, expr: Expr) -> tuple[str, Value]:
        """The column that holds an expression."""
        found = self.known.get(expr)
        if found is None:
            value = translate(expr, self.scope)
            name = self.add(value.expr.cast(_held_as(value)) if value.is_literal else value.expr)
            found = self.known[expr] = (name, replace(stored(value, name), nullable=value.nullable))
        return found

    def name(self, expr: Expr) -> str:
        return self.value(expr)[0]

    def key(self, expr: Expr) -> str:
        """The column that holds what rows are sorted by."""
        value = translate(expr, self.scope)
        name = self.context.fresh("key")
        self.exprs.append(comparable(value).alias(name))
        return name

    def frame(self, frame: WindowFrame) -> FrameColumns:
        def offset(bound: FrameBound) -> str | None:
            return None if bound.offset is None else self.native(bound.offset)

        key = None if frame.key is None else self.native(frame.key)
        descending, nulls_first = (
            (self.first_key.descending, self.first_key.nulls_first) if self.first_key is not None else (False, False)
        )
        return FrameColumns(
            frame.unit, frame.start.side, frame.end.side, frame.exclusion, offset(frame.start), offset(frame.end), key,
            descending, nulls_first,
        )  # fmt: skip

    def native(self, expr: Expr) -> str:
        """The column of an expression in its own type."""
        value = native(translate(expr, self.scope), self.scope.device)
        return self.add(value.expr)


def _compute(call: WindowCall, inputs: _Inputs) -> tuple[Value, Compute]:
    """How a call is computed, and how its column holds the result."""
    place = functions.PLACES.get(call.name)
    function = call.function
    if place is not None:
        return Value(pl.col(_ALL), function.dtype, nullable=False), place
    match call.name:
        case "ntile":
            return Value(pl.col(_ALL), types.BIGINT), functions.ntile(inputs.name(function.args[0]))
        case "lag" | "lead":
            return _shifted(call, inputs)
        case "first_value" | "last_value" | "nth_value":
            name, value = inputs.value(function.args[0])
            n = inputs.name(function.args[1]) if call.name == "nth_value" else None
            frame = inputs.frame(call.frame)
            run = functions.nth_value(name, frame, n, call.name == "last_value", call.ignore_nulls)
            return replace(value, nullable=True), run
        case _:
            return _aggregate(function, inputs, inputs.frame(call.frame))


def _shifted(call: WindowCall, inputs: _Inputs) -> tuple[Value, Compute]:
    args = call.function.args
    if len(args) < 3:
        name, value = inputs.value(args[0])
        default = None
    else:  # one store for the values of both
        value = native(translate(args[0], inputs.scope), inputs.scope.device)
        name, default = inputs.add(value.expr.cast(_held_as(value))), inputs.native(args[2])
    offset = inputs.name(args[1]) if len(args) > 1 else None
    run = functions.shifted(name, offset, default, call.name == "lag", call.ignore_nulls)
    return replace(value, bounds=value.bounds if default is None else None, nullable=True), run


def _aggregate(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    """An aggregate over a frame: over frames that overlap by what they share, where it can be computed so."""
    if not frame.whole:
        form = (_DISTINCT if call.distinct else _FRAMED).get(call.name)
        found = None if form is None else form(call, inputs, frame)
        if found is not None:
            return found
    return _written_out(call, inputs, frame)


def _argument(call: AggregateCall, inputs: _Inputs) -> Value:
    """The first argument, NULL for the rows that FILTER drops."""
    value = translate(call.args[0], inputs.scope)
    return value if call.filter is None else passing(value, translate(call.filter, inputs.scope).expr)


_Framed = Callable[[AggregateCall, _Inputs, FrameColumns], tuple[Value, Compute] | None]


def _count(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    counts: pl.Expr | None = None
    if call.name == "count":
        counts = _argument(call, inputs).expr.is_not_null()
    elif call.filter is not None:
        counts = translate(call.filter, inputs.scope).expr
    run = functions.count(None if counts is None else inputs.add(counts), frame)
    return Value(pl.col(_ALL), types.BIGINT, nullable=False), run


def _sum(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    value = _argument(call, inputs)
    if types.is_float(call.dtype):
        name = inputs.add(to_float(value, types.DOUBLE, inputs.scope))
        return Value(pl.col(_ALL), call.dtype), functions.sum_of_floats(name, frame)
    held, fits = _summed(value, inputs)
    run = functions.sum_of_integers(inputs.add(held.expr), frame, fits)
    if types.is_decimal(call.dtype):
        return replace(held, expr=pl.col(_ALL), dtype=call.dtype, nullable=True), run
    return Value(pl.col(_ALL), call.dtype, bounds=held.bounds if held.store is Store.INT64 else None), run


def _avg(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
    value = _argument(call, inputs)
    result = Value(pl.col(_ALL), call.dtype)
    if types.is_temporal(value.dtype):
        return None
    if types.is_float(value.dtype):
        name = inputs.add(value.expr.cast(pl.Float64))
        return result, functions.sum_of_floats(name, frame, mean=True)
    held, fits = _summed(value, inputs)
    unit = float(10**value.dtype.scale) if types.is_decimal(value.dtype) else 1.0
    return result, functions.mean_of_integers(inputs.add(held.expr), frame, unit, fits)


def _summed(value: Value, inputs: _Inputs) -> tuple[Value, bool]:
    """What is summed, and whether the sum of any rows is proved to fit."""
    held = summed(value, inputs.max_rows, inputs.scope.device)
    if held.store is not Store.NATIVE:
        return held, True
    most = 10**types.MAX_PRECISION - 1
    expr = as_integer(value, Store.INT128, inputs.scope.device)
    return replace(held, expr=expr, store=Store.INT128, bounds=(-most, most)), False


def _extreme(largest: bool) -> _Framed:
    def compute(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
        value = _argument(call, inputs)
        if value.dtype == types.INTERVAL:
            return None
        if types.is_decimal(value.dtype):
            value = with_store(value, scaled_store(bounds_of(value), inputs.scope.device), inputs.scope.device)
        run = functions.extreme(inputs.add(value.expr), frame, largest)
        return stored(value, _ALL, nullable=True), run

    return compute


def _at_extreme(largest: bool) -> _Framed:
    def compute(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
        value, by = _argument(call, inputs), translate(call.args[1], inputs.scope)
        if by.dtype == types.INTERVAL:
            return None
        run = functions.value_at_extreme(inputs.add(value.expr), inputs.add(by.expr), frame, largest)
        return stored(value, _ALL, nullable=True), run

    return compute


def _moment(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    others = [inputs.name(e) for e in call.args[1:]]
    columns = [inputs.add(_argument(call, inputs).expr), *others]
    return Value(pl.col(_ALL), call.dtype), functions.moment(columns, frame, call.name)


def _product(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    return Value(pl.col(_ALL), call.dtype), functions.product(inputs.add(_argument(call, inputs).expr), frame)


def _bits(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    value = _argument(call, inputs)
    run = functions.bits(inputs.add(value.expr.cast(_held_as(value))), frame, call.name)
    return Value(pl.col(_ALL), call.dtype), run


def _quantile_disc(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
    value = _argument(call, inputs)
    if value.dtype == types.INTERVAL:
        return None
    run = functions.quantile_disc(inputs.add(value.expr), frame, fraction(call))
    return stored(value, _ALL, nullable=True), run


def _quantile_cont(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
    value, dtype = _argument(call, inputs), call.dtype
    device = inputs.scope.device
    if types.is_temporal(dtype):
        expr, result = value.expr.cast(pl.Datetime("us")).cast(pl.Int64), Value(pl.col(_ALL), dtype)
    elif types.is_decimal(dtype):
        store = scaled_store(bounds_of(value), device)
        if store is not Store.INT64:
            return None
        expr = with_store(value, store, device).expr
        result = stored(replace(value, store=store), _ALL, nullable=True)
    else:
        expr, result = to_float(value, types.DOUBLE, inputs.scope), Value(pl.col(_ALL), dtype)

    def between(low: pl.Expr, high: pl.Expr, place: pl.Expr) -> pl.Expr:
        if types.is_temporal(dtype) or types.is_decimal(dtype):
            return interpolated(low, high, place, dtype)
        return pl.when(place == place.floor()).then(low).otherwise(low + (high - low) * (place - place.floor()))

    return result, functions.quantile_cont(inputs.add(expr), frame, fraction(call), between)


def _count_distinct(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
    value = _argument(call, inputs)
    if frame.exclusion is not Exclusion.NOTHING or value.dtype == types.INTERVAL:
        return None
    return Value(pl.col(_ALL), types.BIGINT, nullable=False), functions.count_distinct(inputs.add(value.expr), frame)


def _distinct(form: _Framed) -> _Framed:
    """The form of an aggregate over frames that begin with their partition, for distinct values."""

    def compute(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute] | None:
        found = form(call, inputs, frame) if frame.grows else None
        if found is None:
            return None
        return found[0], functions.of_distinct(inputs.names[-1], found[1])  # the argument was the last to be added

    return compute


# Aggregates that frames can share work for. Those of all others are written out.
_FRAMED: dict[str, _Framed] = {
    "count_star": _count,
    "count": _count,
    "sum": _sum,
    "avg": _avg,
    "min": _extreme(False),
    "max": _extreme(True),
    "bool_and": _extreme(False),
    "bool_or": _extreme(True),
    "stddev_samp": _moment,
    "stddev_pop": _moment,
    "var_samp": _moment,
    "var_pop": _moment,
    "covar_samp": _moment,
    "covar_pop": _moment,
    "corr": _moment,
    "product": _product,
    "bit_and": _bits,
    "bit_or": _bits,
    "bit_xor": _bits,
    "arg_min": _at_extreme(False),
    "arg_max": _at_extreme(True),
    "quantile_disc": _quantile_disc,
    "quantile_cont": _quantile_cont,
}
_DISTINCT: dict[str, _Framed] = {
    "count": _count_distinct,
    "sum": _distinct(_sum),
    "avg": _distinct(_avg),
    "stddev_samp": _distinct(_moment),
    "stddev_pop": _distinct(_moment),
    "var_samp": _distinct(_moment),
    "var_pop": _distinct(_moment),
    "product": _distinct(_product),
    "bit_xor": _distinct(_bits),
}


def _written_out(call: AggregateCall, inputs: _Inputs, frame: FrameColumns) -> tuple[Value, Compute]:
    """An aggregate by the kernels of GROUP BY, over the rows of each frame."""
    columns: dict[Expr, Column] = {}
    values = {}
    settings = call.args[1:] if call.name in SETTINGS else ()
    for expr in call.expressions():
        if expr in columns or expr in settings:
            continue
        _, value = inputs.value(expr)
        item = new_field("argument", value.dtype, value.nullable)
        columns[expr], values[item.id] = column(item), value
    over = call.with_expressions([columns.get(e, e) for e in call.expressions()])
    scope = replace(inputs.scope, columns=values)
    group = Group(scope, inputs.max_rows, may_be_empty=True, rows=Rows(inputs.context, ()))
    found = aggregate_value(over, group)
    names = [v.expr.meta.output_name() for v in values.values()]
    exprs = found.parts if isinstance(found, Composed) else (found.expr,)
    parts = tuple(e.alias(f"#part{n}") for n, e in enumerate(exprs))
    value = found.combine(*(pl.col(f"#part{n}") for n in range(len(parts)))) if isinstance(found, Composed) else found
    result = value.expr if isinstance(found, Composed) else pl.col("#part0")
    none = value_of_no_rows(call).value
    run = functions.aggregated(names, frame, Aggregation(parts, result, none))
    return replace(value, expr=pl.col(_ALL), nullable=none is None), run
