"""Functions of dates, times and intervals."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import polars as pl
import pyarrow as pa

from executor.arithmetic import divide
from executor.calendar import (
    MICROS_PER_DAY,
    add_months,
    date,
    days_from_civil,
    days_in_month,
    month_start,
    timestamp,
)
from executor.checks import Failure, checked, lenient_cast, strict_cast
from executor.date_parts import date_difference, date_part, date_truncate, whole_parts
from executor.function_forms import Function, plain
from executor.intervals import interval, parts
from executor.value import INT64_MAX, NotOnDevice, Scope, Value, constant, literal_expr, null_test
from planner import types
from planner.errors import ExecutionError

# ------------------------------------------------------------------------------------------------------ parts


def _part(name: str) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        return Value(date_part(name, args[0], scope), dtype, nullable=args[0].nullable)

    return compute


def _named(pattern: str) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        return Value(_formatted(args[0].expr, pattern, scope), dtype)

    return compute


def _epoch_ms(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    value = args[0]
    if types.is_integer(value.dtype):
        return Value(_times(value.expr, 1000, scope).cast(pl.Datetime("us")), dtype)
    # Rounded to the nearest, as DuckDB has it.
    return Value((value.expr.cast(pl.Int64) + 500) // 1000, dtype)


def _epoch_ns(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    return Value(_times(args[0].expr.cast(pl.Int64), 1000, scope), dtype, nullable=args[0].nullable)


def _times(number: pl.Expr, factor: int, scope: Scope) -> pl.Expr:
    """A 64-bit product; one that has more bits raises."""
    number = number.cast(pl.Int64)
    inside = number.is_between(-((INT64_MAX + 1) // factor), INT64_MAX // factor)
    return checked(number * factor, inside.not_(), Failure.DATE_OUT_OF_RANGE, scope)


def _constant(value: Value, name: str) -> str:
    if value.literal is None:
        raise ExecutionError(f"{name} needs a date part that is not NULL")
    return str(value.literal).lower()


def _date_trunc(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    part = _constant(args[0], "date_trunc")
    moment = args[1].expr
    zoned = args[1].dtype == types.TIMESTAMPTZ
    local = moment.dt.replace_time_zone(None) if zoned else moment
    truncated = date_truncate(part, local)
    return Value(truncated.dt.replace_time_zone("UTC") if zoned else truncated, dtype, nullable=args[1].nullable)


def _between(function: Callable[[str, pl.Expr, pl.Expr], pl.Expr]) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        part = _constant(args[0], "date_diff")
        moments = []
        for value in args[1:]:
            local = value.expr.dt.replace_time_zone(None) if value.dtype == types.TIMESTAMPTZ else value.expr
            moments.append(local.cast(pl.Datetime("us")))
        return Value(function(part, *moments), dtype)

    return compute


# ----------------------------------------------------------------------------------------------------- making


def _last_day(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    moment = args[0].expr
    year, month = moment.dt.year().cast(pl.Int64), moment.dt.month().cast(pl.Int64)
    return Value(date(month_start(moment) + days_in_month(year, month) - 1, scope.device), dtype)


_LAST_DAY = 2**31 - 2  # since 1970, of a DATE; the first is as far before: what is beyond are infinities
_TIMESTAMP_YEARS = (-290_307, 294_246)  # those that a TIMESTAMP reaches as a whole
_LAST_YEAR = 6_000_000  # is beyond that day, and so are years whose days would wrap


def _date_of(days: pl.Expr, inside: pl.Expr, scope: Scope) -> pl.Expr:
    """The DATE of 64-bit days since 1970, raising where it is none, or not ``inside``."""
    inside = inside & days.is_between(-_LAST_DAY, _LAST_DAY)
    fitting = lenient_cast(days, pl.Int64(), pl.Int32(), scope)
    return checked(date(fitting, scope.device), inside.not_(), Failure.DATE_OUT_OF_RANGE, scope)


def _add_days(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    day, days = (a.expr.cast(pl.Int32).cast(pl.Int64) for a in args)
    return Value(_date_of(day + days, pl.lit(True), scope), dtype)


def _make_date(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    year, month, day = (a.expr for a in args)
    inside = (month >= 1) & (month <= 12) & (day >= 1) & (day <= days_in_month(year, month))
    inside = inside & year.is_between(-_LAST_YEAR, _LAST_YEAR)
    return Value(_date_of(days_from_civil(year, month, day), inside, scope), dtype)


def _clock(hour: pl.Expr, minute: pl.Expr, second: pl.Expr) -> pl.Expr:
    """Microseconds of the day."""
    whole = (hour.cast(pl.Int64) * 60 + minute.cast(pl.Int64)) * 60_000_000
    return whole + (second.cast(pl.Float64) * 1e6).round(0).cast(pl.Int64)


def _clock_inside(hour: pl.Expr, minute: pl.Expr, second: pl.Expr) -> pl.Expr:
    return (hour >= 0) & (hour < 24) & (minute >= 0) & (minute < 60) & (second >= 0) & (second < 60)


def _time(nanos: pl.Expr, scope: Scope) -> pl.Expr:
    """A TIME from the nanoseconds of the day."""
    return nanos if scope.device == "gpu" else nanos.cast(pl.Time)


def _make_time(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    exprs = [a.expr for a in args]
    made = _time(_clock(*exprs) * 1000, scope)
    return Value(checked(made, _clock_inside(*exprs).not_(), Failure.DATE_OUT_OF_RANGE, scope), dtype)


def _make_timestamp(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    exprs = [a.expr for a in args]
    if len(exprs) == 1:
        return Value(exprs[0].cast(pl.Datetime("us")), dtype)
    year, month, day, *time = exprs
    inside = (month >= 1) & (month <= 12) & (day >= 1) & (day <= days_in_month(year, month)) & _clock_inside(*time)
    inside = inside & year.is_between(*_TIMESTAMP_YEARS)
    made = timestamp(days_from_civil(year, month, day), _clock(*time))
    return Value(checked(made, inside.not_(), Failure.DATE_OUT_OF_RANGE, scope), dtype)


def _to_timestamp(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    micros = strict_cast((args[0].expr * 1e6).round(0), pl.Float64(), pl.Int64(), scope)
    return Value(micros.cast(pl.Datetime("us", "UTC")), dtype)


def _format(pattern: str) -> str:
    """DuckDB's format letters for fractions of a second, and for a moment as a whole, in chrono's."""
    return re.sub("%(.)", lambda letter: _CHRONO.get(letter[1], letter[0]), pattern, flags=re.DOTALL)


_CHRONO = {
    "f": "%6f", "g": "%3f", "n": "%9f", "c": "%Y-%m-%d %H:%M:%S", "x": "%Y-%m-%d", "X": "%H:%M:%S",
}  # fmt: skip


def _strftime(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    if args[1].literal is None:
        return Value(literal_expr(None, types.VARCHAR), dtype)
    # A date has no time of day in chrono.
    moment = args[0].expr.cast(pl.Datetime("us")) if args[0].dtype == types.DATE else args[0].expr
    return Value(_formatted(moment, _format(args[1].literal), scope), dtype)


def _formatted(moment: pl.Expr, pattern: str, scope: Scope) -> pl.Expr:
    """The moment as text. cuDF knows no names of days and months, and not all letters."""
    if scope.device == "cpu":
        return moment.dt.strftime(pattern)
    texts: list[pl.Expr] = []
    for name, rest in re.findall(r"(%[AaBbp])|((?:%[^AaBbp]|[^%])+)", pattern, re.DOTALL):
        if name:
            texts.append(_name_of(moment, name))
            continue
        for letter in re.findall(r"%(.)", rest, re.DOTALL):
            if letter not in _GPU_LETTERS:
                raise NotOnDevice(f"moments are not written by the format letter %{letter} on the GPU")
        texts.append(moment.dt.strftime(rest))
    return texts[0] if len(texts) == 1 else pl.concat_str(texts) if texts else moment.dt.strftime(pattern)


_GPU_LETTERS = "YmdHMSIjy%"


def _name_of(moment: pl.Expr, letter: str) -> pl.Expr:
    """The name of the weekday, the month or the half of the day."""
    names: Sequence[str]
    match letter:
        case "%p":
            return pl.when(moment.dt.hour() < 12).then(pl.lit("AM")).when(moment.is_not_null()).then(pl.lit("PM"))
        case "%A" | "%a":
            number, names = moment.dt.weekday(), list(calendar.day_name)
        case _:
            number, names = moment.dt.month(), list(calendar.month_name)[1:]
    chain: Any = pl
    for i, name in enumerate(names, 1):
        chain = chain.when(number == i).then(pl.lit(name if letter in ("%A", "%B") else name[:3]))
    return cast(pl.Expr, chain)


_TIME_LETTERS = ("%H", "%I", "%M", "%S", "%T", "%X", "%c", "%s", "%R")


def _strptime(safe: bool) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        text, pattern = args[0].expr, args[1].literal
        if pattern is None:
            return Value(literal_expr(None, dtype), dtype)
        if scope.guard is not None and not safe:
            text = pl.when(scope.guard).then(text)
        form = _format(pattern)
        text = text.str.strip_chars()
        if any(letter in form for letter in _TIME_LETTERS):
            return Value(text.str.to_datetime(form, strict=not safe, time_unit="us"), dtype)
        return Value(text.str.to_date(form, strict=not safe).cast(pl.Datetime("us")), dtype)

    return compute


def _timezone(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    zone, moment = args[0].literal, args[1].expr
    if dtype == types.TIMESTAMPTZ:
        return Value(moment.dt.replace_time_zone(zone).dt.convert_time_zone("UTC"), dtype)
    return Value(moment.dt.convert_time_zone(zone).dt.replace_time_zone(None), dtype)


def _now(form: Callable[[dt.datetime], Any]) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        moment = scope.now or dt.datetime.now(dt.UTC)
        return constant(form(moment), dtype, scope.device)

    return compute


# ------------------------------------------------------------------------------------------------- arithmetic


# An interval of up to so many years moves no moment near ours out of the 292,000 years that a TIMESTAMP reaches.
_SMALL_YEARS = 10_000
_MONTH = 30.436875 * MICROS_PER_DAY  # on average
_END_OF_TIME = 2.0**63 - 366.0 * MICROS_PER_DAY  # what a TIMESTAMP by average months must stay below


def _add_interval(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    """date or timestamp + interval: months first, then days, then time."""
    moment, added = args
    zoned = moment.dtype == types.TIMESTAMPTZ
    local = (moment.expr.dt.replace_time_zone(None) if zoned else moment.expr).cast(pl.Datetime("us"))
    if added.is_literal and added.literal is not None and _is_small(added.literal):
        months, days, nanos = added.literal
        if months and scope.device == "cpu":  # the calendar names its date dozens of times: sums that nest explode
            local, months = local.dt.offset_by(f"{months}mo"), 0
        shifted = _shift(local, pl.lit(months, dtype=pl.Int64) if months else None,
                         pl.lit(days * MICROS_PER_DAY + nanos // 1000, dtype=pl.Int64))  # fmt: skip
    else:
        m, d, u = (part.cast(pl.Int64) for part in parts(added))
        length = m.cast(pl.Float64) * _MONTH + d.cast(pl.Float64) * float(MICROS_PER_DAY) + u.cast(pl.Float64)
        over = (local.cast(pl.Int64).cast(pl.Float64) + length).abs() >= _END_OF_TIME
        shifted = _shift(local, m, d * MICROS_PER_DAY + u)
        shifted = checked(shifted, over, Failure.DATE_OUT_OF_RANGE, scope)
    return Value(shifted.dt.replace_time_zone("UTC") if zoned else shifted, dtype)


def _is_small(interval: pa.MonthDayNano) -> bool:
    months, days, nanos = interval
    return bool(max(abs(months) // 12, abs(days) // 366, abs(nanos) // 10**9 // 31_557_600) < _SMALL_YEARS)


def _shift(moment: pl.Expr, months: pl.Expr | None, micros: pl.Expr) -> pl.Expr:
    if months is None:
        return (moment.cast(pl.Int64) + micros).cast(pl.Datetime("us"))
    of_day = moment.cast(pl.Int64) % MICROS_PER_DAY
    return timestamp(add_months(moment, months), of_day + micros)


def _timestamp_diff(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    a, b = (x.expr.cast(pl.Int64) for x in args)
    difference = a - b
    days = difference.abs() // MICROS_PER_DAY
    days = pl.when(difference < 0).then(-days).otherwise(days)
    return interval(0, days, difference - days * MICROS_PER_DAY, difference.is_not_null(), scope)


def _time_add(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    _, _, micros = parts(args[1])
    moved = (args[0].expr.cast(pl.Int64) // 1000 + micros % MICROS_PER_DAY) % MICROS_PER_DAY
    return Value(_time(moved * 1000, scope), dtype)


_END_OF_MICROS = 2.0**63 * (1 - 2**-50)  # what a sum as DOUBLE must stay below


def _interval_add(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    pairs = list(zip(parts(args[0]), parts(args[1]), strict=True))
    months, days, micros = (a.cast(pl.Int64) + b for a, b in pairs)
    size = pairs[2][0].cast(pl.Float64) + pairs[2][1].cast(pl.Float64)
    micros = checked(micros, size.abs() >= _END_OF_MICROS, Failure.OUT_OF_RANGE, scope)
    return interval(months, days, micros, null_test(args[0]).not_() & null_test(args[1]).not_(), scope)


def _interval_negate(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    months, days, micros = (0 - p.cast(pl.Int64) for p in parts(args[0]))
    return interval(months, days, micros, null_test(args[0]).not_(), scope)


def _interval_scale(divide: bool) -> Function:
    """Fractions of a month become days (30 to a month), fractions of a day time."""

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        factor = args[1].expr.cast(pl.Float64)
        months, days, micros = (
            (p.cast(pl.Float64) / factor) if divide else (p.cast(pl.Float64) * factor) for p in parts(args[0])
        )

        def toward_zero(x: pl.Expr) -> pl.Expr:
            return pl.when(x < 0).then(x.ceil()).otherwise(x.floor())

        whole_months = toward_zero(months)
        all_days = days + (months - whole_months) * 30
        whole_days = toward_zero(all_days)
        all_micros = (micros + (all_days - whole_days) * float(MICROS_PER_DAY)).round(0)
        known = null_test(args[0]).not_() & factor.is_not_null()
        if divide and scope.division_by_zero == "null":
            known = known & (factor != 0)
        elif divide:
            known = checked(known, known & (factor == 0), Failure.DIVISION_BY_ZERO, scope)
        whole = (pl.when(known).then(x) for x in (whole_months, whole_days, all_micros))
        safe = [strict_cast(x, pl.Float64(), pl.Int64(), scope) for x in whole]
        return interval(safe[0], safe[1], safe[2], known, scope)

    return compute


def _to_interval(months: int = 0, days: int = 0, micros: int = 0) -> Function:
    """n units as an interval."""

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        n = args[0].expr
        known = n.is_not_null()
        if types.is_float(args[0].dtype):
            scaled = strict_cast((n.cast(pl.Float64) * micros).round(0), pl.Float64(), pl.Int64(), scope)
        else:
            scaled = _times(n, micros or months or days, scope)
        return interval(scaled if months else 0, scaled if days else 0, scaled if micros else 0, known, scope)

    return compute


def _age(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    """Whole months, then days of the earlier one's month, then time, all with one sign."""
    first, second = (a.expr.cast(pl.Datetime("us")) for a in args)
    forward = first >= second
    later = pl.when(forward).then(first).otherwise(second)
    earlier = pl.when(forward).then(second).otherwise(first)
    months, days, micros = (f(later) - f(earlier) for f in (_month_number, _day_of_month, _time_of_day))
    borrowed = micros < 0
    micros = pl.when(borrowed).then(micros + MICROS_PER_DAY).otherwise(micros)
    days = days - borrowed.cast(pl.Int64)
    borrowed = days < 0
    length = days_in_month(earlier.dt.year().cast(pl.Int64), earlier.dt.month().cast(pl.Int64))
    days = pl.when(borrowed).then(days + length).otherwise(days)
    months = months - borrowed.cast(pl.Int64)
    signed = (pl.when(forward).then(x).otherwise(0 - x) for x in (months, days, micros))
    return interval(next(signed), next(signed), next(signed), forward.is_not_null(), scope)


def _month_number(moment: pl.Expr) -> pl.Expr:
    return moment.dt.year().cast(pl.Int64) * 12 + moment.dt.month().cast(pl.Int64)


def _day_of_month(moment: pl.Expr) -> pl.Expr:
    return moment.dt.day().cast(pl.Int64)


def _time_of_day(moment: pl.Expr) -> pl.Expr:
    return moment.cast(pl.Int64) % MICROS_PER_DAY


def _date_add_time(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    day, time = (a.expr for a in args)
    return Value(
        (day.cast(pl.Datetime("us")).cast(pl.Int64) + time.cast(pl.Int64) // 1000).cast(pl.Datetime("us")),
        dtype,
    )


_JULIAN_EPOCH = 2_440_588.0


def _julian(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    days = divide(args[0].expr.cast(pl.Int64), pl.lit(float(MICROS_PER_DAY)), scope)
    return Value(days + _JULIAN_EPOCH, dtype, nullable=args[0].nullable)


DATES: dict[str, Function] = {
    **{
        name: _part(name)
        for name in (
            "year", "quarter", "month", "day", "decade", "century", "millennium", "week", "dayofweek", "isodow",
            "dayofyear", "isoyear", "yearweek", "hour", "minute", "second", "millisecond", "microsecond", "epoch",
        )
    },
    "epoch_ms": _epoch_ms,
    "epoch_us": plain(lambda x: x.cast(pl.Int64)),
    "epoch_ns": _epoch_ns,
    "julian": _julian,
    "date_trunc": _date_trunc,
    "date_diff": _between(date_difference),
    "date_sub": _between(whole_parts),
    "last_day": _last_day,
    "monthname": _named("%B"),
    "dayname": _named("%A"),
    "make_date": _make_date,
    "make_time": _make_time,
    "make_timestamp": _make_timestamp,
    "strftime": _strftime,
    "strptime": _strptime(False),
    "try_strptime": _strptime(True),
    "to_timestamp": _to_timestamp,
    "age": _age,
    "timezone": _timezone,
    "now": _now(lambda moment: moment),
    "localtimestamp": _now(lambda moment: moment.replace(tzinfo=None)),
    "current_date": _now(lambda moment: moment.date()),
    "localtime": _now(lambda moment: moment.time()),
    "to_years": _to_interval(months=12),
    "to_decades": _to_interval(months=120),
    "to_centuries": _to_interval(months=1200),
    "to_millennia": _to_interval(months=12000),
    "to_quarters": _to_interval(months=3),
    "to_months": _to_interval(months=1),
    "to_weeks": _to_interval(days=7),
    "to_days": _to_interval(days=1),
    "to_hours": _to_interval(micros=3_600_000_000),
    "to_minutes": _to_interval(micros=60_000_000),
    "to_seconds": _to_interval(micros=1_000_000),
    "to_milliseconds": _to_interval(micros=1_000),
    "to_microseconds": _to_interval(micros=1),
    "date_add_days": _add_days,
    "date_add_interval": _add_interval,
    "date_add_time": _date_add_time,
    "date_sub_date": plain(lambda a, b: a.cast(pl.Int32).cast(pl.Int64) - b.cast(pl.Int32).cast(pl.Int64)),
    "timestamp_add_interval": _add_interval,
    "timestamp_diff": _timestamp_diff,
    "time_add_interval": _time_add,
    "interval_add": _interval_add,
    "interval_negate": _interval_negate,
    "interval_multiply": _interval_scale(divide=False),
    "interval_divide": _interval_scale(divide=True),
}  # fmt: skip
