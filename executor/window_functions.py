"""What window functions compute: one column, for rows that stand as their ``Layout`` says.

A function takes the layout (there is one row at least) and gives a Series of one value a row. What it reads are columns
of ``Layout.columns``, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from executor.checks import Failure, failure_error
from executor.window_keys import Codes, Positions, dense_ranks, in_order
from executor.window_order import among, below, nth_smallest
from executor.window_rows import Counted, FrameColumns, Layout, Range, fold, nth, total
from planner.errors import ExecutionError
from planner.record import record

Compute = Callable[[Layout], pl.Series]

_LARGEST_SUM = 1e38 * (1 - 2**-20)  # of doubles, which are rounded
_PAIRS = 2**21  # rows of frames that are written out at once
_ROW = "#frame"


# ------------------------------------------------------------------------------ places


def row_number(layout: Layout) -> pl.Series:
    return pl.Series(layout.rows - layout.first + 1)


def rank(layout: Layout) -> pl.Series:
    return pl.Series(layout.peer_first - layout.first + 1)


def dense_rank(layout: Layout) -> pl.Series:
    return pl.Series(layout.group - layout.group[layout.first] + 1)


def percent_rank(layout: Layout) -> pl.Series:
    others = layout.last - layout.first - 1
    return pl.Series((layout.peer_first - layout.first) / np.maximum(others, 1))


def cume_dist(layout: Layout) -> pl.Series:
    return pl.Series((layout.peer_last - layout.first) / (layout.last - layout.first))


PLACES: Mapping[str, Compute] = {
    "row_number": row_number,
    "rank": rank,
    "dense_rank": dense_rank,
    "percent_rank": percent_rank,
    "cume_dist": cume_dist,
}


def ntile(buckets: str) -> Compute:
    """The first rows' buckets have one row more where they cannot all be equal."""

    def compute(layout: Layout) -> pl.Series:
        column = layout.columns[buckets]
        if (column < 1).any():
            raise ExecutionError(f"ntile needs at least one bucket, not {column.min()!r}")
        count = column.fill_null(1).to_numpy()
        size, longer = np.divmod(layout.last - layout.first, count)
        row = layout.rows - layout.first
        in_longer = longer * (size + 1)
        bucket = np.where(row < in_longer, row // (size + 1), longer + (row - in_longer) // np.maximum(size, 1))
        return _null_where(pl.Series(bucket + 1), column.is_null().to_numpy())

    return compute


# ------------------------------------------------------------------------------ values of other rows


def shifted(value: str, offset: str | None, default: str | None, back: bool, ignore_nulls: bool) -> Compute:
    """lag (``back``) and lead: without an ``offset`` 1 row away."""

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        distance, unknown = np.ones(layout.size, dtype=np.int64), np.zeros(layout.size, dtype=np.bool_)
        if offset is not None:
            column = layout.columns[offset]
            distance, unknown = column.fill_null(0).to_numpy(), column.is_null().to_numpy()
            distance = np.clip(distance, -layout.size, layout.size)
        away = -distance if back else distance
        counted = _counted(values, ignore_nulls)
        here = layout.rows
        # Among the rows that count: the one so many before this row, or after it.
        number = away + np.where(away < 0, counted.before[here], counted.before[here + 1] - 1)
        inside = (number >= counted.before[layout.first]) & (number < counted.before[layout.last])
        found = np.where(inside, counted.at[np.where(inside, number, 0)] if len(counted.at) else 0, -1)
        found = np.where(away == 0, here, found)
        result = _take(values, found)
        if default is not None:
            result = result.zip_with(pl.Series(found >= 0), layout.columns[default])
        return _null_where(result, unknown)

    return compute


def nth_value(value: str, frame: FrameColumns, n: str | None, last: bool, ignore_nulls: bool) -> Compute:
    """The value of the ``n``-th row of the frame, from 1; without ``n`` of its first or ``last``."""

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        counted = _counted(values, ignore_nulls)
        ranges = layout.frame(frame)
        if n is not None:
            wanted = layout.columns[n].fill_null(0).to_numpy() - 1
        else:
            wanted = total(ranges, counted) - 1 if last else np.zeros(layout.size, dtype=np.int64)
        return _take(values, nth(ranges, counted, wanted))

    return compute


def _counted(values: pl.Series, ignore_nulls: bool) -> Counted:
    return Counted.of(values.is_not_null().to_numpy() if ignore_nulls else np.ones(len(values), dtype=np.bool_))


def _take(values: pl.Series, positions: Positions) -> pl.Series:
    """The values at positions, NULL at -1."""
    missing = positions < 0
    if not missing.any():
        return values.gather(positions)
    return values.gather(_null_where(pl.Series(np.where(missing, 0, positions)), missing))


def _null_where(values: pl.Series, nulls: npt.NDArray[np.bool_]) -> pl.Series:
    if not nulls.any():
        return values
    return pl.select(pl.when(~pl.Series(nulls)).then(values).alias(values.name)).to_series()


# ------------------------------------------------------------------------------ aggregates of frames


def count(counts: str | None, frame: FrameColumns) -> Compute:
    """The number of rows, or of those where the column ``counts`` is neither NULL nor FALSE."""

    def compute(layout: Layout) -> pl.Series:
        ranges = layout.frame(frame)
        if counts is None:
            return pl.Series(np.sum([end - start for start, end in ranges], axis=0))
        return pl.Series(total(ranges, Counted.of(_holds(layout.columns[counts]))))

    return compute


def _holds(column: pl.Series) -> npt.NDArray[np.bool_]:
    holds = column.fill_null(False) if column.dtype == pl.Boolean else column.is_not_null()
    return holds.to_numpy()


def sum_of_integers(value: str, frame: FrameColumns, fits: bool) -> Compute:
    """The sum of a column of 64 or 128 bits, in which the sum of any of its values ``fits``, or is seen to."""

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        if not fits:
            _check_sums(values, layout.frame(frame))
        return _null_where(_sums(values, layout.frame(frame)), _values(layout, value, frame) == 0)

    return compute


def _sums(values: pl.Series, ranges: Sequence[Range]) -> pl.Series:
    """Differences of the sums up to the ends of each range: exact, even where a sum of all wraps."""
    before = pl.concat([pl.Series([0], dtype=values.dtype), values.fill_null(0).cum_sum().rename("")])
    parts = [before.gather(end) - before.gather(start) for start, end in ranges]
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result


def _check_sums(values: pl.Series, ranges: Sequence[Range]) -> None:
    """Raises where the sum of a frame may have more digits than a decimal has."""
    sizes = values.cast(pl.Float64).abs().fill_null(0.0)
    if sizes.sum() < _LARGEST_SUM:
        return
    (of_frames,) = fold([sizes.to_numpy()], [0.0], lambda a, b: [np.add(a[0], b[0])], ranges)
    if np.max(of_frames) >= _LARGEST_SUM:
        raise failure_error(Failure.DECIMAL_OVERFLOW)


def _values(layout: Layout, value: str, frame: FrameColumns) -> Positions:
    """How many values that are not NULL each frame has."""
    return total(layout.frame(frame), Counted.of(layout.columns[value].is_not_null().to_numpy()))


def mean_of_integers(value: str, frame: FrameColumns, unit: float, fits: bool) -> Compute:
    """The mean of a column as ``sum_of_integers`` takes it, in ``unit``s of one."""

    def compute(layout: Layout) -> pl.Series:
        if not fits:
            _check_sums(layout.columns[value], layout.frame(frame))
        number = _values(layout, value, frame)
        sums = _sums(layout.columns[value], layout.frame(frame)).cast(pl.Float64).to_numpy()
        return _null_where(pl.Series(sums / (np.maximum(number, 1) * unit)), number == 0)

    return compute


def sum_of_floats(value: str, frame: FrameColumns, mean: bool = False) -> Compute:
    def compute(layout: Layout) -> pl.Series:
        number = _values(layout, value, frame)
        with np.errstate(invalid="ignore", over="ignore"):
            sums = _folded(layout, layout.columns[value].fill_null(0.0), frame, 0.0, np.add, "cum_sum")
            return _null_where(pl.Series(sums / np.maximum(number, 1) if mean else sums), number == 0)

    return compute


def product(value: str, frame: FrameColumns) -> Compute:
    def compute(layout: Layout) -> pl.Series:
        number = _values(layout, value, frame)
        with np.errstate(invalid="ignore", over="ignore"):
            made = _folded(layout, layout.columns[value].fill_null(1.0), frame, 1.0, np.multiply, "cum_prod")
        return _null_where(pl.Series(made), number == 0)

    return compute


def extreme(value: str, frame: FrameColumns, largest: bool) -> Compute:
    """The smallest or largest value: of what is an integer inside as such, of any other type that can be sorted that of
    the row whose value has such a rank."""

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        whole = values.cast(pl.Int8) if values.dtype == pl.Boolean else values.to_physical()
        direct = whole.dtype.is_integer() and whole.dtype not in (pl.Int128, pl.UInt64)
        numbers = whole.cast(pl.Int64) if direct else pl.Series(dense_ranks(values))
        nulls, limits = values.is_null(), np.iinfo(np.int64)
        none = limits.min if largest else limits.max  # an integer of 64 bits may be that too
        ranks = numbers.zip_with(~nulls, pl.Series([none]))
        combine, running = (np.maximum, "cum_max") if largest else (np.minimum, "cum_min")
        found = _folded(layout, ranks, frame, none, combine, running).astype(np.int64)
        empty = _values(layout, value, frame) == 0
        if direct:
            return pl.Series(np.where(empty, 0, found)).cast(values.dtype).set(pl.Series(empty), None)
        row_of = np.zeros(layout.size, dtype=np.int64)
        row_of[numbers.to_numpy()] = layout.rows
        return _take(values, np.where(empty, -1, row_of[np.where(empty, 0, found)]))

    return compute


def value_at_extreme(value: str, by: str, frame: FrameColumns, largest: bool) -> Compute:
    """arg_min and arg_max: of rows with the same extreme the first; rows where one of the two is NULL do not count."""

    def compute(layout: Layout) -> pl.Series:
        values, keys = layout.columns[value], layout.columns[by]
        counts = (values.is_not_null() & keys.is_not_null()).to_numpy()
        place = layout.size - 1 - layout.rows if largest else layout.rows
        none = -1 if largest else np.iinfo(np.int64).max
        ranks = pl.Series(np.where(counts, dense_ranks(keys) * layout.size + place, none))
        combine, running = (np.maximum, "cum_max") if largest else (np.minimum, "cum_min")
        found = _folded(layout, ranks, frame, none, combine, running).astype(np.int64)
        row = np.where(found == none, 0, found) % layout.size
        return _take(values, np.where(found == none, -1, layout.size - 1 - row if largest else row))

    return compute


def bits(value: str, frame: FrameColumns, name: str) -> Compute:
    """bit_and, bit_or and bit_xor of integers."""
    combine = {"bit_and": np.bitwise_and, "bit_or": np.bitwise_or, "bit_xor": np.bitwise_xor}[name]

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        numbers = values.fill_null(0).to_numpy()
        empty = np.bitwise_not(np.zeros(1, dtype=numbers.dtype))[0] if name == "bit_and" else 0
        numbers = np.where(values.is_null().to_numpy(), empty, numbers).astype(numbers.dtype)
        (made,) = fold([numbers], [empty], lambda a, b: [combine(a[0], b[0])], layout.frame(frame))
        return _null_where(pl.Series(made), _values(layout, value, frame) == 0)

    return compute


def _folded(
    layout: Layout, values: pl.Series, frame: FrameColumns, empty: float, combine: np.ufunc, running: str
) -> npt.NDArray[Any]:
    """All values of each frame combined. Where frames grow with the row, by Polars' ``running`` form of it."""
    ranges = layout.frame(frame)
    if not frame.grows:
        (made,) = fold([values.to_numpy()], [empty], lambda a, b: [combine(a[0], b[0])], ranges)
        return made
    rows = pl.DataFrame({"value": values, "partition": layout.partition})
    upto = rows.select(getattr(pl.col("value"), running)().over("partition")).to_series().to_numpy()
    start, end = ranges[0]
    return np.where(end > start, upto[np.maximum(end - 1, 0)], empty)


def moment(columns: Sequence[str], frame: FrameColumns, name: str) -> Compute:
    """Variances of one column, covariances and correlation of two, from means and products of distances from them,
    which are combined (Chan et al. 1979). Rows where one of the two is NULL do not count."""
    pairs = [(0, 0)] if len(columns) == 1 else [(0, 1), (0, 0), (1, 1)]
    means = slice(1, 1 + len(columns))

    def combine(a: Sequence[npt.NDArray[Any]], b: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        n, m = a[0], b[0]
        both = n + m
        part = m / np.maximum(both, 1.0)
        shared = n * part
        steps = [other - mean for mean, other in zip(a[means], b[means], strict=True)]
        far = [np.where(shared > 0, step, 0.0) for step in steps]  # inf * 0 where one has no rows would be NaN
        sums = zip(a[means.stop :], b[means.stop :], pairs, strict=True)
        return [
            both,
            *(mean + step * part for mean, step in zip(a[means], steps, strict=True)),
            *(s + t + far[i] * far[j] * shared for s, t, (i, j) in sums),
        ]

    def compute(layout: Layout) -> pl.Series:
        read = [layout.columns[c] for c in columns]
        counts = np.all([c.is_not_null().to_numpy() for c in read], axis=0)
        values = [np.where(counts, c.fill_null(0.0).to_numpy(), 0.0) for c in read]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            none = np.where(np.isfinite(sum(values)), 0.0, np.nan)  # of one row that is infinite
            states = [counts.astype(np.float64), *values, *(none for _ in pairs)]
            found = fold(states, [0.0] * len(states), combine, layout.frame(frame))
            made, least = _MOMENTS[name](found[0], *found[means.stop :])
            return _null_where(pl.Series(made), found[0] <= least)

    return compute


_Moment = Callable[
    ..., tuple[npt.NDArray[Any], int]
]  # of the number of rows and the products; and how many are too few
_MOMENTS: Mapping[str, _Moment] = {
    "var_samp": lambda n, square: (square / np.maximum(n - 1, 1), 1),
    "var_pop": lambda n, square: (square / np.maximum(n, 1), 0),
    "stddev_samp": lambda n, square: (np.sqrt(square / np.maximum(n - 1, 1)), 1),
    "stddev_pop": lambda n, square: (np.sqrt(square / np.maximum(n, 1)), 0),
    "covar_samp": lambda n, both, y, x: (both / np.maximum(n - 1, 1), 1),
    "covar_pop": lambda n, both, y, x: (both / np.maximum(n, 1), 0),
    "corr": lambda n, both, y, x: (both / np.sqrt(y * x), 0),
}


# ------------------------------------------------------------------------------ by order and by value


def quantile_disc(value: str, frame: FrameColumns, fraction: float) -> Compute:
    """The first value with so many, at least, of the frame's values up to it."""

    def compute(layout: Layout) -> pl.Series:
        number = _values(layout, value, frame)
        place = np.maximum(np.ceil(number * fraction) - 1, 0).astype(np.int64)
        (found,) = _smallest(layout, value, frame, [place])
        return _take(layout.columns[value], np.where(number == 0, -1, found))

    return compute


def quantile_cont(value: str, frame: FrameColumns, fraction: float, between: Callable[..., pl.Expr]) -> Compute:
    """The value so far along the frame's sorted values: ``between`` computes it from its neighbours and the place."""

    def compute(layout: Layout) -> pl.Series:
        values, number = layout.columns[value], _values(layout, value, frame)
        place = np.maximum(number - 1, 0) * fraction
        low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
        found = _smallest(layout, value, frame, [low, high])
        rows = pl.DataFrame(
            [_take(values, np.where(number == 0, -1, f)).alias(n) for n, f in zip(("low", "high"), found, strict=True)]
        )
        rows = rows.with_columns(pl.Series("place", place))
        return rows.select(between(pl.col("low"), pl.col("high"), pl.col("place"))).to_series()

    return compute


def _smallest(layout: Layout, value: str, frame: FrameColumns, places: Sequence[Positions]) -> list[Positions]:
    """The rows with the values at such places of each frame's sorted values; any row where it has none."""
    values = layout.columns[value]
    counted = Counted.of(values.is_not_null().to_numpy())
    ranks = dense_ranks(values)[counted.at]
    row_of = np.zeros(layout.size + 1, dtype=np.int64)
    row_of[ranks] = counted.at
    found = nth_smallest(ranks, among(counted, layout.frame(frame)), places)
    return [row_of[np.minimum(f, layout.size)] for f in found]


def count_distinct(value: str, frame: FrameColumns) -> Compute:
    """The number of different values: of those whose like before, if any, is before the frame."""

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        counted = Counted.of(values.is_not_null().to_numpy())
        before = _like_before(dense_ranks(values)[counted.at]) + 1
        ((start, end),) = among(counted, layout.frame(frame))
        most = int(np.max(before, initial=0))
        fewer = below(before, (start, end), np.minimum(start + 1, most))
        return pl.Series(np.where(start + 1 > most, end - start, fewer))

    return compute


def of_distinct(value: str, run: Compute) -> Compute:
    """An aggregate of distinct values over frames that grow: each value counts where its partition has it first."""

    def compute(layout: Layout) -> pl.Series:
        values = layout.columns[value]
        again = _like_before(dense_ranks(values)) >= layout.first
        return run(layout.with_column(_null_where(values, again)))

    return compute


def _like_before(ranks: Positions) -> Positions:
    """For each position the last one before with the same rank, -1 if there is none."""
    order = in_order(Codes(ranks, len(ranks)))
    same = ranks[order[1:]] == ranks[order[:-1]]
    found = np.full(len(ranks), -1, dtype=np.int64)
    found[order[1:][same]] = order[:-1][same]
    return found


# ------------------------------------------------------------------------------ any aggregate


@record
class Aggregation:
    """An aggregate as Polars computes it over groups of rows: the columns of a group, and one made of these."""

    parts: tuple[pl.Expr, ...]
    result: pl.Expr
    of_no_rows: int | None


def aggregated(columns: Sequence[str], frame: FrameColumns, aggregation: Aggregation) -> Compute:
    """Any aggregate, over the rows of each frame written out: of each frame that is another than the row's before."""

    def compute(layout: Layout) -> pl.Series:
        read = layout.columns.select(columns or layout.columns.columns[:1])
        if frame.whole:
            number = layout.partition
            groups: Iterable[pl.DataFrame] = [read.with_columns(pl.Series(_ROW, number))]
        else:
            ranges = layout.frame(frame)
            new = np.zeros(layout.size, dtype=np.bool_)
            new[0] = True
            for bounds in ranges:
                for bound in bounds:
                    new[1:] |= bound[1:] != bound[:-1]
            number = np.cumsum(new) - 1
            groups = _written_out(read, [(start[new], end[new]) for start, end in ranges])
        made = [
            g.lazy().group_by(_ROW).agg(aggregation.parts).select(_ROW, aggregation.result.alias("value")).collect()
            for g in groups
        ]
        found = pl.concat(made)
        place = np.full(int(np.max(number)) + 1, -1, dtype=np.int64)
        place[found[_ROW].to_numpy()] = np.arange(found.height)
        result = _take(found["value"], place[number])
        return result if aggregation.of_no_rows is None else result.fill_null(aggregation.of_no_rows)

    return compute


def _written_out(columns: pl.DataFrame, ranges: Sequence[Range]) -> Iterator[pl.DataFrame]:
    """The rows of each frame one after the other, with the frame's number; a bounded number of rows at a time."""
    starts = np.stack([start for start, _ in ranges], axis=1)
    lengths = np.stack([end - start for start, end in ranges], axis=1)
    upto = np.cumsum(lengths.sum(axis=1))
    frames, done = len(upto), 0
    while done < frames:
        before = int(upto[done - 1]) if done else 0
        stop = max(int(np.searchsorted(upto, before + _PAIRS, "right")), done + 1)
        sizes = lengths[done:stop].ravel()
        begins = np.cumsum(sizes) - sizes
        rows = np.arange(int(sizes.sum())) + np.repeat(starts[done:stop].ravel() - begins, sizes)
        number = np.repeat(np.arange(done, stop), lengths[done:stop].sum(axis=1))
        yield columns[rows].with_columns(pl.Series(_ROW, number).set_sorted())
        done = stop
