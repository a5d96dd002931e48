"""What a compiled operator is: a lazy frame, and how it holds each column."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from executor.device_types import part_names
from executor.dtypes import device_dtype
from executor.value import Scope, Store, Value, in_parts, native, scaled_bounds
from planner import types
from planner.devices import Device
from planner.expr import ColumnId, Field, Schema, column_name
from planner.physical import Bounds
from planner.record import record

ROW = "#row"
"""The one column of a frame without columns: Polars keeps no row count without one."""


@record
class KernelOptions:
    """How fragments are compiled and run."""

    device: Device = "cpu"
    division_by_zero: Literal["error", "null"] = "error"
    batch_rows: int | None = None


@record
class Frame:
    """Rows, and their columns by id. ``max_rows`` is a proved upper bound of the number of rows, where there
    is one.

    The lazy frame may have further columns that nothing refers to.
    """

    lazy: pl.LazyFrame
    columns: Mapping[ColumnId, Value]
    max_rows: int | None = None


@dataclass(slots=True)
class Context:
    """What the compilation of one fragment shares."""

    options: KernelOptions
    inputs: Mapping[int, pl.LazyFrame]
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def device(self) -> Device:
        return self.options.device

    def fresh(self, name: str) -> str:
        """A column name that no other column of the fragment has."""
        return f"#{name}{next(self._numbers)}"

    def scope(self, columns: Mapping[ColumnId, Value], bounds: Bounds | None = None) -> Scope:
        """What expressions over ``columns`` are compiled against, with what the plan proves about them."""
        known = narrow(columns, bounds) if bounds else columns
        return Scope(known, self.device, division_by_zero=self.options.division_by_zero)


def narrow(columns: Mapping[ColumnId, Value], bounds: Bounds) -> Mapping[ColumnId, Value]:
    """The columns with the plan's bounds on top of those that they have."""
    changed: dict[ColumnId, Value] = {}
    for id, pair in bounds.items():
        value = columns.get(id)
        proved = None if value is None else scaled_bounds(pair, value.dtype)
        if value is None or proved is None:
            continue
        if value.bounds is not None:
            low, high = max(proved[0], value.bounds[0]), min(proved[1], value.bounds[1])
            proved = (low, high) if low <= high else proved
        if proved != value.bounds:
            changed[id] = replace(value, bounds=proved)
    return {**columns, **changed} if changed else columns


def column_value(item: Field, device: Device = "cpu") -> Value:
    """A column as blocks and sources hold it, in the form for the device."""
    if device == "gpu" and item.dtype == types.INTERVAL:
        return in_parts(item.dtype, _part_columns(column_name(item)), item.nullable)
    return Value(pl.col(column_name(item)), item.dtype, nullable=item.nullable)


def _part_columns(name: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    months, days, micros = map(pl.col, part_names(name))
    return months, days, micros


def named(value: Value, name: str) -> list[pl.Expr]:
    """The column ``name`` that holds the value, or the columns."""
    if value.parts is None:
        return [value.expr.alias(name)]
    return [part.alias(alias) for part, alias in zip(value.parts, part_names(name), strict=True)]


def stored(value: Value, name: str, nullable: bool | None = None) -> Value:
    """The column ``name`` that holds what ``value`` computes."""
    kept = value.nullable if nullable is None else nullable
    if value.parts is not None:
        return in_parts(value.dtype, _part_columns(name), kept)
    return Value(pl.col(name), value.dtype, value.store, value.bounds, kept)


def nullable(columns: Mapping[ColumnId, Value]) -> dict[ColumnId, Value]:
    """The columns of a side that an outer join fills up with NULLs."""
    return {i: replace(v, nullable=True) for i, v in columns.items()}


def select(lazy: pl.LazyFrame, exprs: Sequence[pl.Expr]) -> pl.LazyFrame:
    """The expressions for every row, also if they are all constants or none at all."""
    if not exprs:
        return lazy.with_columns(pl.lit(0, dtype=pl.Int8).alias(ROW)).select(ROW)
    if all(not e.meta.root_names() for e in exprs):
        names = [e.meta.output_name() for e in exprs]
        return lazy.with_columns(exprs).select(names)
    return lazy.select(exprs)


def output(frame: Frame, schema: Schema, device: Device) -> pl.LazyFrame:
    """The columns of ``schema`` in their own types, or a device's forms of them, named as blocks name them."""
    exprs = []
    for item in schema:
        value = native(frame.columns[item.id], device)
        # The precision of decimals is looser inside: what proves that they fit is bounds, not types.
        if value.dtype != item.dtype or types.is_decimal(item.dtype):
            value = replace(value, expr=value.expr.cast(device_dtype(item.dtype, device)))
        exprs += named(value, column_name(item))
    return select(frame.lazy, exprs)


def unify_frames(frames: Sequence[Frame], device: Device) -> list[Frame]:
    """The frames with every column in its own type."""
    done = []
    for frame in frames:
        held = {i: v for i, v in frame.columns.items() if v.store is not Store.NATIVE}
        if held:
            names = {i: v.expr.meta.output_name() for i, v in held.items()}
            lazy = frame.lazy.with_columns(native(v, device).expr.alias(names[i]) for i, v in held.items())
            columns = {**frame.columns, **{i: replace(v, store=Store.NATIVE) for i, v in held.items()}}
            frame = Frame(lazy, columns, frame.max_rows)
        done.append(frame)
    return done
