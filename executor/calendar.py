"""The proleptic Gregorian calendar in integer arithmetic: exact for every date, and in forms that cuDF has
too.

(cuDF has neither Polars' month offsets nor its truncation.) After Howard Hinnant's "chrono-Compatible Low-
Level Date Algorithms".
"""

from __future__ import annotations

import polars as pl

from planner.devices import Device

MICROS_PER_DAY = 86_400_000_000


def days_from_civil(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """Days since 1970-01-01 of a date, as Int64."""
    month = month.cast(pl.Int64)
    shifted = year.cast(pl.Int64) - (month <= 2).cast(pl.Int64)
    era = shifted // 400
    year_of_era = shifted - era * 400
    moved = month + pl.when(month > 2).then(-3).otherwise(9)
    day_of_year = (153 * moved + 2) // 5 + day.cast(pl.Int64) - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


def is_leap(year: pl.Expr) -> pl.Expr:
    return (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))


def days_in_month(year: pl.Expr, month: pl.Expr) -> pl.Expr:
    february = pl.when(is_leap(year)).then(29).otherwise(28)
    short = (month == 4) | (month == 6) | (month == 9) | (month == 11)
    return pl.when(month == 2).then(february).when(short).then(30).otherwise(31).cast(pl.Int64)


def add_months(date: pl.Expr, months: pl.Expr) -> pl.Expr:
    """Days since 1970 of the date so many months on; the day is cut to the month's last."""
    total = date.dt.year().cast(pl.Int64) * 12 + date.dt.month().cast(pl.Int64) - 1 + months.cast(pl.Int64)
    year, month = total // 12, total % 12 + 1
    day = date.dt.day().cast(pl.Int64)
    last = days_in_month(year, month)
    return days_from_civil(year, month, pl.when(day > last).then(last).otherwise(day))


def timestamp(days: pl.Expr, micros: pl.Expr | None = None) -> pl.Expr:
    """A TIMESTAMP from days since 1970 and microseconds."""
    total = days.cast(pl.Int64) * MICROS_PER_DAY
    return (total if micros is None else total + micros).cast(pl.Datetime("us"))


def date(days: pl.Expr, device: Device) -> pl.Expr:
    """A DATE from days since 1970, which fit 32 bits.

    On a GPU by way of milliseconds: cuDF takes the integers' 64 bits for those of dates, which have 32.
    """
    if device == "gpu":
        return (days.cast(pl.Int64) * (MICROS_PER_DAY // 1000)).cast(pl.Datetime("ms")).cast(pl.Date)
    return days.cast(pl.Int32).cast(pl.Date)


def month_start(date: pl.Expr) -> pl.Expr:
    """Days since 1970 of the first of the month."""
    return date.cast(pl.Date).cast(pl.Int32).cast(pl.Int64) - date.dt.day().cast(pl.Int64) + 1
