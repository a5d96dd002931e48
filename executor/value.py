"""A SQL value inside a kernel: a Polars expression, and how it holds the value.

A DECIMAL(p,s) is mostly held as the *scaled integer* ``v * 10^s``: 64-bit where bounds prove that it fits,
else 128-bit. Polars' own decimals round products to the operands' scale and are slower; they stand at the
edges (scans, blocks, results) and where 38 digits may overflow, because they check. Every integer and
decimal value carries bounds, so that most arithmetic is proved safe when the plan is compiled and needs no
check when it runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import field, replace
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from executor.dtypes import INTERVAL_STRUCT, device_dtype, integer_range, polars_dtype
from planner import types
from planner.devices import Device
from planner.errors import PlanError
from planner.expr import ColumnId
from planner.record import record

INT64_MAX = 2**63 - 1
INT128_MAX = 2**127 - 1

Bounds = tuple[int, int]

HAS_REINTERPRET = tuple(int(x) for x in pl.__version__.split(".")[:2]) >= (2, 0)


class NotOnDevice(Exception):
    """The fragment needs an operation that the GPU has no exact form of; it runs on the CPU instead."""


class Store(Enum):
    """How a value is held: as its own Polars type, or as a scaled integer."""

    NATIVE = "native"
    INT64 = "int64"
    INT128 = "int128"


@record
class Value:
    """A compiled expression of SQL type ``dtype``.

    ``bounds`` hold every non-NULL value of an integer, or of a decimal times 10^scale. ``literal`` is the
    constant when it is one (``is_literal``), so that it can be written in whatever store its partner has.
    ``parts`` are the months, days and microseconds of an INTERVAL on a GPU, which has no column for the whole: there
    ``expr`` is what no device runs, so that nothing takes it for the value.
    """

    expr: pl.Expr
    dtype: pa.DataType
    store: Store = Store.NATIVE
    bounds: Bounds | None = None
    nullable: bool = True
    is_literal: bool = False
    literal: Any = None
    parts: tuple[pl.Expr, pl.Expr, pl.Expr] | None = None


@record
class Scope:
    """What an expression is compiled against: the input's columns, the device, and the rows that count.

    ``guard`` says for which rows the expression's value is used (a branch of a CASE): only those may raise.
    """

    columns: Mapping[ColumnId, Value]
    device: Device = "cpu"
    guard: pl.Expr | None = None
    division_by_zero: Literal["error", "null"] = "error"
    now: Any = field(default=None, compare=False)

    def guarded(self, condition: pl.Expr) -> Scope:
        """The scope of a subexpression that is used only where ``condition`` is TRUE."""
        return replace(self, guard=condition if self.guard is None else self.guard & condition)


def type_bounds(dtype: pa.DataType) -> Bounds | None:
    """The bounds that a type itself proves."""
    if types.is_integer(dtype):
        return integer_range(dtype)
    if types.is_decimal(dtype):
        limit = 10**dtype.precision - 1
        return -limit, limit
    return None


def bounds_of(value: Value) -> Bounds:
    """The bounds of an integer or decimal value."""
    if value.bounds is not None:
        return value.bounds
    proved = type_bounds(value.dtype)
    if proved is None:
        raise PlanError(f"no bounds for a value of type {types.type_name(value.dtype)}")
    return proved


def fits(bounds: Bounds, limit: int) -> bool:
    return -limit <= bounds[0] and bounds[1] <= limit


def to_unscaled(value: Any, dtype: pa.DataType) -> int:
    """A Python number as the integer that a decimal (or integer) of type ``dtype`` is made of."""
    scale = dtype.scale if types.is_decimal(dtype) else 0
    exact = Decimal(value) if not isinstance(value, Decimal) else value
    sign, digits, exponent = exact.as_tuple()
    if not isinstance(exponent, int):
        raise PlanError(f"{value} is not a number")
    number = int("".join(map(str, digits)) or "0")
    shift = exponent + scale
    number = number * int(10**shift) if shift >= 0 else number // int(10**-shift)
    return -number if sign else number


@lru_cache(maxsize=4096)
def scaled_bounds(bounds: tuple[Any, Any], dtype: pa.DataType) -> Bounds | None:
    """Statistics' bounds (Python values) in the form of ``Value.bounds``; None where the type has none.

    Decimals with more digits than the type's scale are widened outward.
    """
    if not (types.is_integer(dtype) or types.is_decimal(dtype)) or bounds[0] is None or bounds[1] is None:
        return None
    low, high = to_unscaled(bounds[0], dtype), to_unscaled(bounds[1], dtype)
    if types.is_decimal(dtype):  # to_unscaled truncates toward zero: one unit outward holds what it cut
        low, high = low - (low <= 0), high + (high >= 0)
    proved = type_bounds(dtype)
    assert proved is not None
    return max(low, proved[0]), min(high, proved[1])


def integer_dtype(store: Store) -> pl.DataType:
    return pl.Int128() if store is Store.INT128 else pl.Int64()


def literal_expr(value: Any, dtype: pa.DataType, store: Store = Store.NATIVE, device: Device = "cpu") -> pl.Expr:
    """A constant as a Polars literal of its type, in the given store."""
    if store is not Store.NATIVE:
        unscaled = None if value is None else to_unscaled(value, dtype)
        return pl.lit(unscaled, dtype=integer_dtype(store))
    if value is None:
        return pl.lit(None, dtype=device_dtype(dtype, device))
    if isinstance(value, pa.MonthDayNano):
        fields = zip(INTERVAL_STRUCT.fields, literal_parts(value), strict=True)
        return pl.struct(*(part.alias(field.name) for field, part in fields))
    if types.is_decimal(dtype):
        return pl.lit(Decimal(value), dtype=polars_dtype(dtype))
    if isinstance(value, (str, bool)):
        return pl.lit(value)  # by itself of that type, and much faster than where Polars is told a type
    return pl.lit(device_constant(value) if device == "gpu" else value, dtype=device_dtype(dtype, device))


def constant(value: Any, dtype: pa.DataType, device: Device) -> Value:
    """A constant, as a device holds it."""
    bounds: Bounds | None = None
    if type_bounds(dtype) is not None:
        unscaled = 0 if value is None else to_unscaled(value, dtype)
        bounds = (unscaled, unscaled)
    if dtype == types.INTERVAL and device == "gpu":
        return replace(in_parts(dtype, literal_parts(value), value is None), is_literal=True, literal=value)
    expr = literal_expr(value, dtype, device=device)
    return Value(expr, dtype, bounds=bounds, nullable=value is None, is_literal=True, literal=value)


def literal_parts(value: pa.MonthDayNano | None) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """The months, days and microseconds of a constant INTERVAL."""
    months, days, nanos = (None, None, None) if value is None else value
    micros = None if nanos is None else nanos // 1000
    return pl.lit(months, dtype=pl.Int32), pl.lit(days, dtype=pl.Int32), pl.lit(micros, dtype=pl.Int64)


def device_constant(value: Any) -> Any:
    """A Python value as a GPU holds it (see ``device_types``)."""
    if isinstance(value, dt.time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**9 + value.microsecond * 1000
    return value.hex().upper() if isinstance(value, bytes) else value


def in_parts(dtype: pa.DataType, parts: tuple[pl.Expr, pl.Expr, pl.Expr], nullable: bool = True) -> Value:
    """An INTERVAL on a GPU."""
    return Value(pl.lit(0).map_batches(_no_whole, return_dtype=INTERVAL_STRUCT), dtype, nullable=nullable, parts=parts)


def _no_whole(column: pl.Series) -> pl.Series:
    raise NotOnDevice("there is no INTERVAL on the GPU as a whole")


def null_test(value: Value) -> pl.Expr:
    """Whether the value is NULL."""
    return (value.parts[-1] if value.parts is not None else value.expr).is_null()


def scaled_store(bounds: Bounds, device: Device) -> Store:
    """The narrowest store for scaled integers within ``bounds``; NATIVE where no integer holds them."""
    if fits(bounds, INT64_MAX):
        return Store.INT64
    if device == "cpu" and fits(bounds, INT128_MAX):
        return Store.INT128
    return Store.NATIVE


def with_store(value: Value, store: Store, device: Device) -> Value:
    """The same decimal held in another store. INT64 must be proved by the value's bounds."""
    if value.store is store or not types.is_decimal(value.dtype):
        return value
    if value.is_literal:
        expr = literal_expr(value.literal, value.dtype, store)
    elif store is Store.NATIVE:
        expr = _to_native(value.expr, value.store, value.dtype, device)
    elif value.store is Store.NATIVE:
        expr = _to_scaled(value.expr, store, value.dtype, device)
    else:
        expr = value.expr.cast(integer_dtype(store))
    return replace(value, expr=expr, store=store)


def native(value: Value, device: Device) -> Value:
    return with_store(value, Store.NATIVE, device)


def _to_scaled(expr: pl.Expr, store: Store, dtype: pa.DataType, device: Device) -> pl.Expr:
    if device == "gpu":
        # cuDF has no to_physical: the product is a whole number, so that no cast rounds it.
        whole = expr.cast(pl.Decimal(38, dtype.scale)) * pl.lit(Decimal(10**dtype.scale), dtype=pl.Decimal(38, 0))
        return whole.cast(pl.Int64) if dtype.scale else expr.cast(pl.Int64)
    physical = expr.to_physical()
    return physical.cast(pl.Int64) if store is Store.INT64 else physical


def _to_native(expr: pl.Expr, store: Store, dtype: pa.DataType, device: Device) -> pl.Expr:
    scale = dtype.scale
    target = polars_dtype(dtype)
    if scale == 0:
        return expr.cast(target)
    if HAS_REINTERPRET and device == "cpu":
        wide = expr if store is Store.INT128 else expr.cast(pl.Int128)
        return wide.reinterpret(dtype=target)
    if store is Store.INT64 and scale <= 19:  # 19 digits and the scale fit 38
        unit = pl.lit(Decimal(1).scaleb(-scale), dtype=pl.Decimal(38, scale))
        return (expr.cast(pl.Decimal(38, scale)) * unit).cast(target)
    if device == "gpu":
        raise NotOnDevice("a wide scaled integer does not turn back into a decimal on the GPU")

    def relabel(series: pl.Series) -> pl.Series:
        array = series.cast(pl.Decimal(38, 0)).to_arrow()
        typed = pa.Array.from_buffers(dtype, len(array), array.buffers(), array.null_count, array.offset)
        return pl.Series(series.name, pl.from_arrow(typed), dtype=target)

    return expr.map_batches(relabel, return_dtype=target, is_elementwise=True)
