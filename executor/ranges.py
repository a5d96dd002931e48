"""Dividing rows over partitions in the order of sort keys: where the partitions end is found in a sample.

A sample of a hundred rows for each partition makes none of them likely to be more than a third too large: Blelloch et
al., "A comparison of sorting algorithms for the Connection Machine CM-2", SPAA 1991, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from executor.expressions import key_expressions
from executor.runners.base import Runner, StageOutput
from planner.errors import PlanError
from planner.expr import SortKey
from planner.physical import InputExec, RangePartitioned
from planner.stages import Stage

_SAMPLE = 100  # rows a partition
_ROW = "__row"


def find_limits(stage: Stage, finished: Mapping[int, StageOutput], runner: Runner) -> Stage:
    """``stage`` with the limits of its output's ranges, from a sample of what it reads."""
    output = stage.output
    if not isinstance(output, RangePartitioned):
        return stage
    if not isinstance(stage.plan, InputExec):
        raise PlanError(f"stage {stage.id} divides rows by ranges that no stage has made")
    sample = runner.sample(finished[stage.plan.stage], output.keys, _SAMPLE * output.count)
    return replace(stage, output=replace(output, limits=limits(sample, output.keys, output.count)))


def keys_of(frame: pl.LazyFrame, keys: Sequence[SortKey]) -> pl.LazyFrame:
    """The sort keys of a block's rows, in columns named by their place."""
    return frame.select([e.alias(_name(i)) for i, e in enumerate(key_expressions([k.expr for k in keys]))])


def every(frame: pl.LazyFrame, keys: Sequence[SortKey], step: int) -> pl.LazyFrame:
    """The sort keys of every so many rows of a block."""
    return keys_of(frame, keys).gather_every(step)


def limits(sample: pl.DataFrame, keys: Sequence[SortKey], count: int) -> pl.DataFrame:
    """The last row of each of ``count`` ranges but the last one, for ranges of about equal size."""
    if sample.height == 0:
        return sample
    ordered = sample.sort(
        sample.columns, descending=[k.descending for k in keys], nulls_last=[not k.nulls_first for k in keys]
    )
    return ordered[[ordered.height * i // count for i in range(1, count)]]


def range_partition(
    frame: pl.DataFrame, keys: Sequence[SortKey], limits: pl.DataFrame, count: int
) -> list[pl.DataFrame | None]:
    """``frame`` in ``count`` parts by the limits of their ranges; a part without rows is None."""
    if frame.height == 0:
        return [None] * count
    rows = keys_of(frame.lazy(), keys).with_row_index(_ROW).collect()
    found = _divided(rows, [_after(limits[i], keys) for i in range(limits.height)])
    return [frame[part] if len(part) else None for part in found]


def _divided(rows: pl.DataFrame, after: Sequence[pl.Expr]) -> list[pl.Series]:
    """The numbers of the rows of each range, by halves; ``after`` tell which rows are behind each limit."""
    if not after or rows.height == 0:
        return [rows[_ROW]] * (1 + len(after))
    middle = len(after) // 2
    behind = rows.select(after[middle]).to_series()
    return [*_divided(rows.filter(~behind), after[:middle]), *_divided(rows.filter(behind), after[middle + 1 :])]


def _after(limit: pl.DataFrame, keys: Sequence[SortKey]) -> pl.Expr:
    """Whether a row sorts after the limit of a range (one row), key by key as the kernel that sorts does."""
    after = pl.lit(False)
    for i, key in reversed(list(enumerate(keys))):
        value = pl.col(_name(i))
        last = limit[_name(i)]
        if last.null_count():
            behind, equal = value.is_not_null() & key.nulls_first, value.is_null()
        else:
            end = pl.lit(last).first()
            behind = (value < end if key.descending else value > end).fill_null(not key.nulls_first)
            equal = (value == end).fill_null(False)
        after = behind | (equal & after)
    return after


def _name(key: int) -> str:
    return f"__key{key}"
