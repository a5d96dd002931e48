"""What all joins are made of: the two sides, the join on equalities, and the inner join with any condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import polars as pl

from executor.dtypes import device_dtype
from executor.expressions import conjunction
from executor.frame import Context, Frame
from executor.join_keys import Keys, join_keys
from executor.value import Store, Value, integer_dtype
from planner import types
from planner.devices import Device
from planner.expr import ColumnId, Comparison, Expr, columns_of
from planner.physical import Bounds, KeyPair
from planner.record import record
from planner.tree import walk

BuildSide = Literal["prefer_left", "prefer_right"]
How = Literal["inner", "left", "right", "full", "semi", "anti"]


@record
class Sides:
    """The two inputs of a join and what pairs of their rows must satisfy, split by what it reads."""

    left: Frame
    right: Frame
    pairs: tuple[KeyPair, ...]
    left_only: tuple[Expr, ...]
    right_only: tuple[Expr, ...]
    both: tuple[Expr, ...]
    bounds: Bounds
    build: str
    # Whether no two rows of the left, of the right side agree on the keys.
    unique: tuple[bool, bool] = (False, False)

    @property
    def columns(self) -> dict[ColumnId, Value]:
        return {**self.left.columns, **self.right.columns}


def split_sides(
    inputs: tuple[Frame, Frame],
    pairs: Sequence[KeyPair],
    conditions: Sequence[Expr],
    bounds: Bounds,
    build: str,
    context: Context,
) -> Sides:
    """The sides of a join, its conditions sorted by what they read."""
    left, right = (_renamed_row(side, context) for side in inputs)
    left_only, right_only, both = [], [], []
    for condition in conditions:
        read = columns_of(condition)
        if read <= left.columns.keys():
            left_only.append(condition)
        elif read <= right.columns.keys():
            right_only.append(condition)
        else:
            both.append(condition)
    return Sides(left, right, tuple(pairs), tuple(left_only), tuple(right_only), tuple(both), bounds, build)


def _renamed_row(frame: Frame, context: Context) -> Frame:
    """A frame without columns still has one that counts its rows; here under a name that the other side has not."""
    if frame.columns:
        return frame
    name = context.fresh("row")
    return replace(frame, lazy=frame.lazy.with_columns(pl.lit(0, dtype=pl.Int8).alias(name)).select(name))


def filtered(frame: Frame, conditions: Sequence[Expr], bounds: Bounds, context: Context) -> Frame:
    test = conjunction(conditions, context.scope(frame.columns, bounds)) if conditions else None
    return frame if test is None else Frame(frame.lazy.filter(test), frame.columns, frame.max_rows)


def filter_right(sides: Sides, context: Context) -> Sides:
    """Conditions on the right side alone as a filter of it: for kinds that drop right rows without a match."""
    if not sides.right_only:
        return sides
    return replace(sides, right=filtered(sides.right, sides.right_only, sides.bounds, context), right_only=())


_CONSTANT = Keys((pl.lit(0, dtype=pl.Int8),), (pl.lit(0, dtype=pl.Int8),))  # of which every pair matches


def equi_join(
    left: pl.LazyFrame, right: pl.LazyFrame, keys: Keys, how: How, build: str, context: Context
) -> pl.LazyFrame:
    """Polars' join on keys; without any, every pair matches."""
    side: BuildSide = "prefer_left" if build == "left" else "prefer_right"
    if not keys.left:
        if how == "inner":
            return left.join(right, how="cross")
        keys = _CONSTANT
    left, left_on = with_keys(left, keys.left, context)
    right, right_on = with_keys(right, keys.right, context)
    return left.join(
        right,
        left_on=left_on,
        right_on=right_on,
        how=how,
        nulls_equal=keys.nulls_equal,
        coalesce=None if how in ("semi", "anti") else False,
        maintain_order="none",
        build_side=side,
    )


def _is_inequality_join(sides: Sides) -> bool:
    """Whether cuDF joins by the conditions themselves: one or two that compare integers or moments of both sides."""
    return 1 <= len(sides.both) <= 2 and all(_compares_numbers(c, sides) for c in sides.both)


def _compares_numbers(condition: Expr, sides: Sides) -> bool:
    if not (isinstance(condition, Comparison) and condition.op in ("<", "<=", ">", ">=")):
        return False
    found = columns_of(condition.left), columns_of(condition.right)
    of_sides = sides.left.columns.keys(), sides.right.columns.keys()
    apart = any(all(c and c <= s for c, s in zip(found, pair, strict=True)) for pair in (of_sides, of_sides[::-1]))
    nodes = [n for side in (condition.left, condition.right) for n in walk(side)]
    return apart and all(types.is_integer(n.dtype) or types.is_temporal(n.dtype) for n in nodes)


def with_keys(lazy: pl.LazyFrame, keys: Sequence[pl.Expr], context: Context) -> tuple[pl.LazyFrame, list[pl.Expr]]:
    """The frame with its computed keys as columns: Polars 1.44 loses the columns of keys that are expressions.

    A column that is a key twice gets a copy. Polars would else deduce that its two partners are equal, and panics where
    it meets that predicate at a cross join with a filter of its own.
    """
    plain = [k.meta.output_name() if k.meta.is_column() else None for k in keys]
    names = [context.fresh("key") if name is None or name in plain[:i] else None for i, name in enumerate(plain)]
    computed = [k.alias(n) for k, n in zip(keys, names, strict=True) if n is not None]
    columns = [k if n is None else pl.col(n) for k, n in zip(keys, names, strict=True)]
    return (lazy.with_columns(computed) if computed else lazy), columns


def grouped(
    lazy: pl.LazyFrame, keys: Keys, aggregates: Sequence[pl.Expr], context: Context
) -> tuple[pl.LazyFrame, Keys]:
    """The aggregates of each key of the right side (of all rows without a key), and the keys to join them by."""
    if not keys.right:
        return lazy.select(aggregates), keys
    names = [context.fresh("key") for _ in keys.right]
    keyed = lazy.with_columns(k.alias(n) for k, n in zip(keys.right, names, strict=True))
    return keyed.group_by(names).agg(aggregates), Keys(keys.left, tuple(map(pl.col, names)), keys.nulls_equal)


def inner_join(sides: Sides, context: Context) -> Frame:
    sides = filter_right(sides, context)
    left = filtered(sides.left, sides.left_only, sides.bounds, context)
    keys = join_keys(sides.pairs, ((), ()), left, sides.right, sides.bounds, context)
    if context.device == "gpu" and not keys.left and sides.both and not _is_inequality_join(sides):
        keys = _CONSTANT  # of a cross join and the filter Polars would make a nested loop, which cudf-polars has not
    lazy = equi_join(left.lazy, sides.right.lazy, keys, "inner", sides.build, context)
    return filtered(Frame(lazy, sides.columns, most_rows(sides)), sides.both, sides.bounds, context)


def most_rows(sides: Sides) -> int | None:
    """An upper bound of the matching pairs: a row meets at most one row of a side that is unique on the keys."""
    left, right = sides.left.max_rows, sides.right.max_rows
    bounds = [left if sides.unique[1] else None, right if sides.unique[0] else None]
    if left is not None and right is not None:
        bounds.append(left * right)
    return min((b for b in bounds if b is not None), default=None)


def numbered(frame: Frame, context: Context) -> tuple[Frame, str]:
    """The frame with a row number, computed once for all who read it: the number must not change between
    readers.
    """
    name = context.fresh("row_number")
    return Frame(frame.lazy.with_row_index(name).cache(), frame.columns, frame.max_rows), name


def held_dtype(value: Value, device: Device) -> pl.DataType:
    """The Polars type of a column that holds ``value``."""
    return device_dtype(value.dtype, device) if value.store is Store.NATIVE else integer_dtype(value.store)


def matching_rows(sides: Sides, row: str, context: Context) -> pl.LazyFrame:
    """The numbers of the left rows that match some right row."""
    return inner_join(sides, context).lazy.select(row).unique()
