"""Intervals: months, days and microseconds, which only a date turns into a length of time.

Inside kernels an interval is a struct of the three (``dtypes.INTERVAL_STRUCT``), on a GPU each is a column. Comparison
takes a month for 30 days and a day for 24 hours, as DuckDB and PostgreSQL do.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import polars as pl
import pyarrow as pa

from executor.checks import strict_cast
from executor.dtypes import INTERVAL_STRUCT
from executor.value import Scope, Value, in_parts
from planner import types
from planner.errors import ExecutionError

MICROS_PER_DAY = 86_400_000_000
MICROS_PER_MONTH = 30 * MICROS_PER_DAY


def interval(months: pl.Expr | int, days: pl.Expr | int, micros: pl.Expr | int, known: pl.Expr, scope: Scope) -> Value:
    """An interval from its parts, which are of 64 bits; NULL where it is not ``known``."""
    exprs = [pl.lit(p, dtype=pl.Int64) if isinstance(p, int) else p.cast(pl.Int64) for p in (months, days, micros)]
    *calendar, micro = (pl.when(known).then(e) for e in exprs)
    month, day = (strict_cast(e, pl.Int64(), pl.Int32(), scope) for e in calendar)
    if scope.device == "gpu":
        return in_parts(types.INTERVAL, (month, day, micro))
    made = pl.struct(e.alias(field.name) for e, field in zip((month, day, micro), INTERVAL_STRUCT.fields, strict=True))
    return Value(pl.when(known).then(made).otherwise(pl.lit(None, dtype=INTERVAL_STRUCT)), types.INTERVAL)


def parts(value: Value) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Months, days, microseconds."""
    if value.parts is not None:
        return value.parts
    fields = value.expr.struct
    return fields.field("months"), fields.field("days"), fields.field("micros")


def interval_length(value: Value) -> pl.Expr:
    """The length that comparisons and sorting use, in microseconds: more than 64 bits hold."""
    if value.parts is None:
        months, days, micros = (p.cast(pl.Int128) for p in parts(value))
        return months * MICROS_PER_MONTH + days * MICROS_PER_DAY + micros
    wide = pl.Decimal(38, 0)
    months, days, micros = (p.cast(wide) for p in value.parts)
    month, day = (pl.lit(Decimal(n), dtype=wide) for n in (MICROS_PER_MONTH, MICROS_PER_DAY))
    return months * month + days * day + micros


def comparable(value: Value) -> pl.Expr:
    """What comparisons, sorts and hashes take of a value: of an interval its length."""
    return interval_length(value) if value.dtype == types.INTERVAL else value.expr


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
    """The struct column as Arrow's month_day_nano_interval.

    Raises:
        ExecutionError: a time of more than 292 years, whose nanoseconds are more than 64 bits hold.
    """
    values: Sequence[dict[str, int] | None] = series.to_list()
    try:
        made = [None if v is None else pa.MonthDayNano([v["months"], v["days"], v["micros"] * 1000]) for v in values]
        return pa.array(made, type=pa.month_day_nano_interval())
    except OverflowError:
        raise ExecutionError("an INTERVAL of more than 292 years of time is out of range for Arrow") from None
