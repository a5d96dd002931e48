"""Intervals: months, days and microseconds, which only a date turns into a length of time.

Inside kernels an interval is a struct of the three (``dtypes.INTERVAL_STRUCT``). Comparison takes a month
for 30 days and a day for 24 hours, as DuckDB and PostgreSQL do.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from executor.dtypes import INTERVAL_STRUCT

MICROS_PER_DAY = 86_400_000_000
MICROS_PER_MONTH = 30 * MICROS_PER_DAY


def interval(months: pl.Expr | int, days: pl.Expr | int, micros: pl.Expr | int, like: pl.Expr) -> pl.Expr:
    """An interval from its parts, NULL where ``like`` is."""

    def part(value: pl.Expr | int, name: str, dtype: pl.DataType) -> pl.Expr:
        expr = pl.lit(value) if isinstance(value, int) else value
        return expr.cast(dtype).alias(name)

    made = pl.struct(
        part(months, "months", pl.Int32()), part(days, "days", pl.Int32()), part(micros, "micros", pl.Int64())
    )
    return pl.when(like.is_not_null()).then(made).otherwise(pl.lit(None, dtype=INTERVAL_STRUCT))


def parts(expr: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Months, days, microseconds."""
    return expr.struct.field("months"), expr.struct.field("days"), expr.struct.field("micros")


def interval_length(expr: pl.Expr) -> pl.Expr:
    """The length that comparisons and sorting use, in microseconds."""
    months, days, micros = (p.cast(pl.Int128) for p in parts(expr))
    return months * MICROS_PER_MONTH + days * MICROS_PER_DAY + micros


def interval_to_text(expr: pl.Expr) -> pl.Expr:
    """'1 year 2 months 3 days 04:05:06.5', as DuckDB writes it."""
    return expr.map_batches(_write_all, return_dtype=pl.String(), is_elementwise=True)


def _write_all(series: pl.Series) -> pl.Series:
    texts = [None if v is None else _write(v["months"], v["days"], v["micros"]) for v in series.to_list()]
    return pl.Series(series.name, texts, dtype=pl.String)


def _write(months: int, days: int, micros: int) -> str:
    years, rest = (abs(months) // 12, abs(months) % 12)
    sign = -1 if months < 0 else 1
    words = []
    for number, unit in ((sign * years, "year"), (sign * rest, "month"), (days, "day")):
        if number:
            words.append(f"{number} {unit}{'' if abs(number) == 1 else 's'}")
    if micros or not words:
        seconds, fraction = divmod(abs(micros), 1_000_000)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        if fraction:
            clock += f".{fraction:06d}".rstrip("0")
        words.append(("-" if micros < 0 else "") + clock)
    return " ".join(words)


def intervals_to_arrow(series: pl.Series) -> pa.Array:
    """The struct column as Arrow's month_day_nano_interval."""
    values: Sequence[dict[str, int] | None] = series.to_list()
    made = [None if v is None else pa.MonthDayNano([v["months"], v["days"], v["micros"] * 1000]) for v in values]
    return pa.array(made, type=pa.month_day_nano_interval())
