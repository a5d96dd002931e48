"""Parts of dates, times and intervals: EXTRACT, date_trunc, date_diff."""

from __future__ import annotations

import polars as pl

from executor.arithmetic import divide
from executor.calendar import MICROS_PER_DAY, days_from_civil, month_start, timestamp
from executor.intervals import MICROS_PER_MONTH, parts
from executor.value import Scope, Value
from planner import types
from planner.errors import ExecutionError

_HOUR, _MINUTE, _SECOND = 3_600_000_000, 60_000_000, 1_000_000
_UNITS = {"hour": _HOUR, "minute": _MINUTE, "second": _SECOND, "millisecond": 1_000, "microsecond": 1}

_ALIASES = {
    "y": "year", "yr": "year", "yrs": "year", "years": "year", "quarters": "quarter", "mon": "month", "mons": "month",
    "months": "month", "w": "week", "weeks": "week", "d": "day", "days": "day", "dayofmonth": "day", "h": "hour",
    "hr": "hour", "hrs": "hour", "hours": "hour", "m": "minute", "min": "minute", "mins": "minute",
    "minutes": "minute", "s": "second", "sec": "second", "secs": "second", "seconds": "second", "ms": "millisecond",
    "msec": "millisecond", "msecs": "millisecond", "milliseconds": "millisecond", "us": "microsecond",
    "usec": "microsecond", "usecs": "microsecond", "microseconds": "microsecond", "decades": "decade",
    "centuries": "century", "millennia": "millennium", "mil": "millennium", "weekofyear": "week",
}  # fmt: skip


def _unknown(part: str) -> ExecutionError:
    return ExecutionError(
        f"'{part}' is not a date part", hint="year, quarter, month, week, day, hour, minute, second, …"
    )


def toward_zero(x: pl.Expr, unit: int) -> pl.Expr:
    """The integer quotient, cut toward zero."""
    quotient = x.abs() // unit
    return pl.when(x < 0).then(-quotient).otherwise(quotient)


def date_part(part: str, value: Value, scope: Scope) -> pl.Expr:
    """EXTRACT(part FROM value): BIGINT, for ``epoch`` DOUBLE."""
    if part == "epoch":
        return _epoch(value, scope)
    if value.dtype == types.INTERVAL:
        return _interval_part(part, value).cast(pl.Int64)
    if value.dtype == types.TIME and scope.device == "gpu":  # the time of a day as a moment of the first of all days
        return _calendar_part(part, (value.expr // 1000).cast(pl.Datetime("us"))).cast(pl.Int64)
    moment = value.expr.cast(pl.Datetime("us")) if value.dtype == types.DATE and part in _UNITS else value.expr
    return _calendar_part(part, moment).cast(pl.Int64)


def _calendar_part(part: str, expr: pl.Expr) -> pl.Expr:
    year = expr.dt.year().cast(pl.Int64)
    match part:
        case "year":
            return year
        case "decade":
            return toward_zero(year, 10)
        case "century":
            return pl.when(year > 0).then((year - 1) // 100 + 1).otherwise(-((-year) // 100) - 1)
        case "millennium":
            return pl.when(year > 0).then((year - 1) // 1000 + 1).otherwise(-((-year) // 1000) - 1)
        case "quarter":
            return expr.dt.quarter()
        case "month":
            return expr.dt.month()
        case "week":
            return expr.dt.week()
        case "day":
            return expr.dt.day()
        case "dayofweek":
            return expr.dt.weekday() % 7
        case "isodow":
            return expr.dt.weekday()
        case "dayofyear":
            return expr.dt.ordinal_day()
        case "isoyear":
            return expr.dt.iso_year()
        case "yearweek":
            return expr.dt.iso_year().cast(pl.Int64) * 100 + expr.dt.week().cast(pl.Int64)
        case "hour":
            return expr.dt.hour()
        case "minute":
            return expr.dt.minute()
        case "second":
            return expr.dt.second()
        case "millisecond":
            return expr.dt.second().cast(pl.Int64) * 1000 + expr.dt.millisecond().cast(pl.Int64)
        case "microsecond":
            return expr.dt.second().cast(pl.Int64) * 1_000_000 + expr.dt.microsecond().cast(pl.Int64)
        case _:
            raise _unknown(part)


def _interval_part(part: str, value: Value) -> pl.Expr:
    months, days, micros = (p.cast(pl.Int64) for p in parts(value))
    within_year = months - toward_zero(months, 12) * 12
    within_minute = micros - toward_zero(micros, _MINUTE) * _MINUTE
    match part:
        case "year":
            return toward_zero(months, 12)
        case "decade":
            return toward_zero(months, 120)
        case "century":
            return toward_zero(months, 1200)
        case "millennium":
            return toward_zero(months, 12000)
        case "quarter":
            return toward_zero(within_year, 3) + 1
        case "month":
            return within_year
        case "day":
            return days
        case "hour":
            return toward_zero(micros, _HOUR)
        case "minute":
            return toward_zero(micros - toward_zero(micros, _HOUR) * _HOUR, _MINUTE)
        case "second":
            return toward_zero(within_minute, _SECOND)
        case "millisecond":
            return toward_zero(within_minute, 1000)
        case "microsecond":
            return within_minute
        case _:
            raise _unknown(part)


def _epoch(value: Value, scope: Scope) -> pl.Expr:
    expr = value.expr
    match value.dtype:
        case types.INTERVAL:
            months, days, micros = (p.cast(pl.Int64) for p in parts(value))
            years = toward_zero(months, 12)
            # A year has 365.25 days here, what is left of the months 30 each.
            seconds = years * 31_557_600 + (months - years * 12) * (MICROS_PER_MONTH // _SECOND) + days * 86_400
            return seconds + divide(micros, pl.lit(float(_SECOND)), scope)
        case types.DATE:
            return expr.cast(pl.Int32).cast(pl.Float64) * 86_400.0
        case types.TIME:
            return divide(expr.cast(pl.Int64), pl.lit(1e9), scope)
        case _:
            return divide(expr.cast(pl.Int64), pl.lit(float(_SECOND)), scope)


def date_truncate(part: str, moment: pl.Expr) -> pl.Expr:
    """The start of the part that a TIMESTAMP lies in."""
    part = _ALIASES.get(part, part)
    unit = _UNITS.get(part)
    micros = moment.cast(pl.Int64)
    if unit is not None:
        return (micros // unit * unit).cast(pl.Datetime("us"))
    year, month = moment.dt.year().cast(pl.Int64), moment.dt.month().cast(pl.Int64)
    one = pl.lit(1, dtype=pl.Int64)
    match part:
        case "day":
            return timestamp(micros // MICROS_PER_DAY)
        case "week":
            return timestamp(_monday(moment))
        case "month":
            return timestamp(month_start(moment))
        case "quarter":
            return timestamp(days_from_civil(year, (month - 1) // 3 * 3 + 1, one))
        case "year":
            return timestamp(days_from_civil(year, one, one))
        case "isoyear":
            fourth = days_from_civil(moment.dt.iso_year().cast(pl.Int64), one, pl.lit(4, dtype=pl.Int64))
            return timestamp(fourth - (fourth + 3) % 7)
        case "decade" | "century" | "millennium":
            years = {"decade": 10, "century": 100, "millennium": 1000}[part]
            return timestamp(days_from_civil(toward_zero(year, years) * years, one, one))
        case _:
            raise _unknown(part)


def _monday(moment: pl.Expr) -> pl.Expr:
    days = moment.cast(pl.Int64) // MICROS_PER_DAY
    return days - (days + 3) % 7  # 1970-01-01 was a Thursday


def date_difference(part: str, start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """How many boundaries of the part lie between two TIMESTAMPs."""
    part = _ALIASES.get(part, part)
    unit = _UNITS.get(part)
    if unit is not None:
        return end.cast(pl.Int64) // unit - start.cast(pl.Int64) // unit
    match part:
        case "day" | "dayofweek" | "isodow" | "dayofyear" | "dow" | "doy" | "weekday":
            return end.cast(pl.Int64) // MICROS_PER_DAY - start.cast(pl.Int64) // MICROS_PER_DAY
        case "week" | "yearweek":  # spans of seven days, as in DuckDB since 2.0
            days = end.cast(pl.Int64) // MICROS_PER_DAY - start.cast(pl.Int64) // MICROS_PER_DAY
            return toward_zero(days, 7)
        case "month":
            return _month_number(end) - _month_number(start)
        case "quarter":
            return _month_number(end) // 3 - _month_number(start) // 3
        case "year":
            return end.dt.year().cast(pl.Int64) - start.dt.year().cast(pl.Int64)
        case "isoyear":
            return end.dt.iso_year().cast(pl.Int64) - start.dt.iso_year().cast(pl.Int64)
        case "decade" | "century" | "millennium":
            years = {"decade": 10, "century": 100, "millennium": 1000}[part]
            return toward_zero(end.dt.year().cast(pl.Int64), years) - toward_zero(start.dt.year().cast(pl.Int64), years)
        case _:
            raise _unknown(part)


def _month_number(moment: pl.Expr) -> pl.Expr:
    return moment.dt.year().cast(pl.Int64) * 12 + moment.dt.month().cast(pl.Int64) - 1


def whole_parts(part: str, start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """How many whole parts fit between two TIMESTAMPs, toward zero."""
    part = _ALIASES.get(part, part)
    fixed = {**_UNITS, "day": MICROS_PER_DAY, "week": 7 * MICROS_PER_DAY}
    unit = fixed.get(part)
    if unit is not None:
        return toward_zero(end.cast(pl.Int64) - start.cast(pl.Int64), unit)
    months = {"month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1200, "millennium": 12000}.get(part)
    if months is None:
        raise _unknown(part)
    forward = _whole_months(start, end)
    backward = -_whole_months(end, start)
    return toward_zero(pl.when(start <= end).then(forward).otherwise(backward), months)


def _whole_months(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Whole months from an earlier to a later moment: the last one counts when day and time have come round
    again.

    The last day of a short month stands for all the days that it lacks.
    """
    difference = _month_number(end) - _month_number(start)
    day_a, day_b = start.dt.day().cast(pl.Int64), end.dt.day().cast(pl.Int64)
    time_a, time_b = (x.cast(pl.Int64) % MICROS_PER_DAY for x in (start, end))
    end_is_last = (end.cast(pl.Int64) // MICROS_PER_DAY + 1) == _next_month(end)
    day_a = pl.when(end_is_last & (day_a > day_b)).then(day_b).otherwise(day_a)
    early = (day_b < day_a) | ((day_b == day_a) & (time_b < time_a))
    return difference - early.cast(pl.Int64)


def _next_month(moment: pl.Expr) -> pl.Expr:
    number = _month_number(moment) + 1
    return days_from_civil(number // 12, number % 12 + 1, pl.lit(1, dtype=pl.Int64))
