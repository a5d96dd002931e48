"""The rows that window functions see: partitions, peers and frames, as positions in rows that are sorted.

Rows stand sorted by the window's partition and order keys, so that a partition, the peers of a row (rows that the order
does not tell apart) and a frame are ranges of positions: arrays of first positions and of positions past the end, one
of each for every row. A frame that leaves rows out is up to three ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from executor.window_keys import Codes, Positions, compressed, dense_ranks
from planner.errors import ExecutionError
from planner.record import record
from planner.window import Exclusion, FrameUnit, Side

_ROOM = 2**61  # for a key and what is added to it
_FEW = 8  # numbers of partitions a row, as places in an array

Range = tuple[Positions, Positions]
"""For each row the first position and the one past the last; none where they are equal."""


@record
class FrameColumns:
    """A frame, and the columns that hold what it depends on.

    Args:
        start_offset, end_offset: numbers of rows or groups, or keys, as in ``planner.window.FrameBound``.
        key: of a RANGE frame with offsets, the sort key; its direction, and where its NULLs are.
    """

    unit: FrameUnit
    start: Side
    end: Side
    exclusion: Exclusion
    start_offset: str | None = None
    end_offset: str | None = None
    key: str | None = None
    descending: bool = False
    nulls_first: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is the partition."""
        unbounded = self.start is Side.PRECEDING and self.start_offset is None
        unbounded = unbounded and self.end is Side.FOLLOWING and self.end_offset is None
        return unbounded and self.exclusion is Exclusion.NOTHING

    @property
    def grows(self) -> bool:
        """Whether it begins with the partition and leaves nothing out."""
        return self.start is Side.PRECEDING and self.start_offset is None and self.exclusion is Exclusion.NOTHING


class Layout:
    """Where partitions and peers begin and end: for every row (``first`` to ``last``, ``peer_first`` to ``peer_last``,
    and the numbers of its partition and of its group of peers), and for every such group.

    Args:
        columns: what functions read, of one row at least, in the order of the codes of their partitions and peers.
        sorted: whether they are: where nothing but whole partitions is asked for, they need not be.
    """

    def __init__(self, columns: pl.DataFrame, partitions: Codes, peers: Codes, sorted: bool = True) -> None:
        self.columns = columns
        self.size = columns.height
        self.rows: Positions = np.arange(self.size, dtype=np.int64)
        self._partitions, self._peers, self._sorted = partitions, peers, sorted
        self._frames: dict[FrameColumns, list[Range]] = {}

    def with_column(self, column: pl.Series) -> Layout:
        """The same layout with another column of that name."""
        made = copy(self)
        made.columns = self.columns.with_columns(column)
        return made

    @cached_property
    def partition(self) -> Positions:
        if not self._sorted:
            few = self._partitions.span <= _FEW * self.size
            return (self._partitions if few else compressed(self._partitions)).values
        return self._partition_ranges[2]

    @cached_property
    def _partition_ranges(self) -> tuple[Positions, Positions, Positions]:
        return _ranges(self._partitions.values)

    @cached_property
    def _group_ranges(self) -> tuple[Positions, Positions, Positions]:
        return self._partition_ranges if self._peers is self._partitions else _ranges(self._peers.values)

    @cached_property
    def first(self) -> Positions:
        return self._partition_ranges[0][self.partition]

    @cached_property
    def last(self) -> Positions:
        return self._partition_ranges[1][self.partition]

    @property
    def group(self) -> Positions:
        return self._group_ranges[2]

    @property
    def group_starts(self) -> Positions:
        return self._group_ranges[0]

    @property
    def group_ends(self) -> Positions:
        return self._group_ranges[1]

    @cached_property
    def peer_first(self) -> Positions:
        return self.group_starts[self.group]

    @cached_property
    def peer_last(self) -> Positions:
        return self.group_ends[self.group]

    def frame(self, frame: FrameColumns) -> list[Range]:
        """The ranges of positions that a frame consists of, in order, for each row."""
        if frame not in self._frames:
            start, end = self._start(frame), self._end(frame)
            self._frames[frame] = _without(frame.exclusion, (start, np.maximum(start, end)), self)
        return self._frames[frame]

    def _start(self, frame: FrameColumns) -> Positions:
        if frame.start is Side.CURRENT:
            return self.rows if frame.unit is FrameUnit.ROWS else self.peer_first
        if frame.start_offset is None:
            return self.first
        if frame.unit is FrameUnit.RANGE:
            return self._limit(frame, frame.start, frame.start_offset, "left")
        moved = self._moved(frame, frame.start, frame.start_offset)
        if frame.unit is FrameUnit.ROWS:
            return np.clip(moved, self.first, self.last)
        beyond = moved > self.group[self.last - 1]
        return np.where(beyond, self.last, self.group_starts[self._group_within(moved)])

    def _end(self, frame: FrameColumns) -> Positions:
        if frame.end is Side.CURRENT:
            return self.rows + 1 if frame.unit is FrameUnit.ROWS else self.peer_last
        if frame.end_offset is None:
            return self.last
        if frame.unit is FrameUnit.RANGE:
            return self._limit(frame, frame.end, frame.end_offset, "right")
        moved = self._moved(frame, frame.end, frame.end_offset)
        if frame.unit is FrameUnit.ROWS:
            return np.clip(moved + 1, self.first, self.last)
        before = moved < self.group[self.first]
        return np.where(before, self.first, self.group_ends[self._group_within(moved)])

    def _group_within(self, group: Positions) -> Positions:
        """Groups of peers, no further than those of the row's partition."""
        return np.clip(group, self.group[self.first], self.group[self.last - 1])

    def _moved(self, frame: FrameColumns, side: Side, column: str) -> Positions:
        """So many rows or groups before or after each."""
        offsets = self.columns[column]
        if offsets.null_count():
            raise ExecutionError(f"the offset of {frame.unit} {side} is NULL for a row")
        if (offsets < 0).any():
            raise ExecutionError(f"the offset of {frame.unit} {side} is negative for a row: {offsets.min()!r}")
        count: Positions = np.minimum(offsets.to_numpy(), self.size)
        here = self.rows if frame.unit is FrameUnit.ROWS else self.group
        return here - count if side is Side.PRECEDING else here + count

    def _limit(self, frame: FrameColumns, side: Side, column: str, edge: str) -> Positions:
        """Where in its partition the sort key passes a limit: the first position of the limit, or past its last."""
        assert frame.key is not None
        keys, limits = self.columns[frame.key], self.columns[column]
        key, limit, most = _on_one_scale(keys, limits, _ROOM // (int(self.partition[-1]) + 1))
        if frame.descending:
            key, limit = most + 1 - key, most + 1 - limit
        no_key, no_limit = keys.is_null().to_numpy(), limits.is_null().to_numpy()
        if (no_limit & ~no_key).any():
            raise ExecutionError(f"the offset of RANGE {side} is NULL for a row")
        wrong = (limit > key) if side is Side.PRECEDING else (limit < key)
        if (wrong & ~no_key).any():
            raise ExecutionError(f"the offset of RANGE {side} is negative for a row")
        # Partitions and their keys on one ascending line, NULLs at their end of each.
        line = self.partition * (most + 2)
        placed = line + np.where(no_key, 0 if frame.nulls_first else most + 1, key)
        found = np.searchsorted(placed, line + limit, "left" if edge == "left" else "right")
        return np.where(no_key, self.peer_first if edge == "left" else self.peer_last, found)


def _ranges(codes: Positions) -> tuple[Positions, Positions, Positions]:
    """Where ranges of equal codes start and end, and the number of each row's."""
    begins = np.concatenate((np.ones(1, dtype=np.bool_), codes[1:] != codes[:-1]))
    starts = np.flatnonzero(begins)
    return starts, np.append(starts[1:], len(codes)), np.cumsum(begins) - 1


def _on_one_scale(keys: pl.Series, limits: pl.Series, room: int) -> tuple[Positions, Positions, int]:
    """Keys and limits of keys as numbers in their order from 1 on, and the largest; anything for NULL. They are ranks,
    unless the values themselves have ``room``."""
    whole = keys.to_physical()
    if whole.dtype.is_integer() and whole.dtype != pl.Int128 and keys.null_count() < len(keys):
        low, high = int(whole.min()), int(whole.max())  # type: ignore[arg-type]
        if abs(low) < _ROOM and abs(high) < _ROOM and high - low < room - 4:
            least, most = low - 1, high + 1  # where limits beyond all keys are put
            numbers = (s.to_physical().cast(pl.Int64).fill_null(low).clip(least, most) for s in (keys, limits))
            key, limit = ((n - least + 1).to_numpy() for n in numbers)
            return key, limit, most - least + 1
    ranks = dense_ranks(pl.concat([keys, limits])) + 1
    return ranks[: len(keys)], ranks[len(keys) :], int(np.max(ranks))


def _without(exclusion: Exclusion, whole: Range, layout: Layout) -> list[Range]:
    """A range without the rows that are excluded."""
    rows, (start, end) = layout.rows, whole
    match exclusion:
        case Exclusion.NOTHING:
            return [whole]
        case Exclusion.CURRENT_ROW:
            return [_part(whole, start, rows), _part(whole, rows + 1, end)]
        case Exclusion.GROUP:
            return [_part(whole, start, layout.peer_first), _part(whole, layout.peer_last, end)]
        case Exclusion.TIES:
            before, after = _part(whole, start, layout.peer_first), _part(whole, layout.peer_last, end)
            return [before, _part(whole, rows, rows + 1), after]


def _part(whole: Range, start: Positions, end: Positions) -> Range:
    start = np.clip(start, *whole)
    return start, np.maximum(start, np.clip(end, *whole))


@record
class Counted:
    """Positions that count, such as those of values that are not NULL.

    ``at``: the positions that count, in order; ``before``: how many there are before each.
    """

    at: Positions
    before: Positions

    @staticmethod
    def of(counts: npt.NDArray[np.bool_]) -> Counted:
        return Counted(np.flatnonzero(counts), np.concatenate(([0], np.cumsum(counts))))

    def between(self, start: Positions, end: Positions) -> Positions:
        """How many there are in each range."""
        return self.before[end] - self.before[start]


def nth(ranges: Sequence[Range], counted: Counted, n: Positions) -> Positions:
    """The position of the ``n``-th (from 0) that counts in the ranges of each row; -1 where there is none."""
    found = np.full(len(n), -1, dtype=np.int64)
    left = np.where(n < 0, np.iinfo(np.int64).max, n)
    for start, end in ranges:
        count = counted.between(start, end)
        here = left < count
        found[here] = counted.at[counted.before[start[here]] + left[here]]
        left = np.where(here, np.iinfo(np.int64).max, left - np.where(left == np.iinfo(np.int64).max, 0, count))
    return found


def total(ranges: Sequence[Range], counted: Counted) -> Positions:
    """How many positions count in all ranges of each row."""
    found: Positions = np.sum([counted.between(start, end) for start, end in ranges], axis=0)
    return found


def fold(
    states: Sequence[npt.NDArray[Any]],
    empty: Sequence[object],
    combine: Callable[..., Sequence[npt.NDArray[Any]]],
    ranges: Sequence[Range],
) -> list[npt.NDArray[Any]]:
    """The states of all positions in the ranges of each row combined, in any order.

    A range is a few blocks of 1, 2, 4, … positions each (the nodes of a segment tree), which are combined level by
    level for all rows at once: the number of steps is the logarithm of the longest range.

    Args:
        states: for each position what ``combine`` combines, in one array or more.
        empty: the state of no position.
        combine: two states, each as many arrays, as one.
    """
    size = len(ranges[0][0])
    result: list[npt.NDArray[Any]] = [np.full(size, e, dtype=s.dtype) for e, s in zip(empty, states, strict=True)]

    def add(rows: npt.NDArray[np.intp], blocks: Positions) -> None:
        made = combine([r[rows] for r in result], [s[blocks] for s in level])
        for r, m in zip(result, made, strict=True):
            r[rows] = m

    for start, end in ranges:
        level = list(states)
        rows = np.flatnonzero(start < end)
        left, right = start[rows], end[rows]
        while len(rows):
            odd = (left & 1).astype(np.bool_)
            add(rows[odd], left[odd])
            left = left + odd
            odd = ((right & 1).astype(np.bool_)) & (left < right)
            right = right - odd
            add(rows[odd], right[odd])
            more = left < right
            rows, left, right = rows[more], left[more] >> 1, right[more] >> 1
            if len(rows):
                pairs = len(level[0]) // 2 * 2
                level = list(combine([s[0:pairs:2] for s in level], [s[1:pairs:2] for s in level]))
    return result
