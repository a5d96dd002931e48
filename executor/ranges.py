"""Dividing rows over partitions in the order of sort keys: where the partitions end is found in a sample.

A sample of a hundred rows for each partition makes none of them likely to be more than a third too large: Blelloch et
al., "A comparison of sorting algorithms for the Connection Machine CM-2", SPAA 1991, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import polars as pl

from executor.kernels_sort import sort_columns
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
    return frame.select([e.alias(_name(i)) for i, e in enumerate(sort_columns(keys))])


def every(frame: pl.LazyFrame, keys: Sequence[SortKey], step: int) -> pl.LazyFrame:
    """The sort keys of every so many rows of a block."""
    return keys_of(frame, keys).gather_every(step)


def limits(sample: pl.DataFrame, keys: Sequence[SortKey], count: int) -> pl.DataFrame:
    """The last row of each of ``count`` ranges but the last one, for ranges of about equal size."""
    if sample.height == 0:
        return sample
    ordered = _sorted(sample, keys)
    return ordered[[ordered.height * i // count for i in range(1, count)]]


def range_partition(
    frame: pl.DataFrame, keys: Sequence[SortKey], limits: pl.DataFrame, count: int
) -> list[pl.DataFrame | None]:
    """``frame`` in ``count`` parts by the limits of their ranges; a part without rows is None.

    Rows and limits are sorted together, so that the order is the one of the kernel that sorts each part.
    """
    if frame.height == 0:
        return [None] * count
    row = pl.int_range(pl.len(), dtype=pl.UInt32).alias(_ROW)
    rows = keys_of(frame.lazy(), keys).with_columns(row).collect()
    last = limits.with_columns(pl.lit(None, pl.UInt32).alias(_ROW))
    ordered = _sorted(pl.concat([rows, last]), keys)[_ROW]  # a limit comes after the rows that are equal to it
    ends = ordered.is_null().arg_true().to_list()
    sorted_rows = frame[ordered.drop_nulls()]
    edges = [0, *(end - i for i, end in enumerate(ends)), frame.height]
    edges += [frame.height] * (count + 1 - len(edges))
    parts = (sorted_rows.slice(a, b - a) for a, b in pairwise(edges))
    return [part if part.height else None for part in parts]


def _sorted(frame: pl.DataFrame, keys: Sequence[SortKey]) -> pl.DataFrame:
    return frame.sort(
        [_name(i) for i in range(len(keys))],
        descending=[k.descending for k in keys],
        nulls_last=[not k.nulls_first for k in keys],
        maintain_order=True,
    )


def _name(key: int) -> str:
    return f"__key{key}"
