"""CAST and TRY_CAST: every pair of types, with DuckDB's rounding and text forms.

A cast that bounds prove safe is a plain cast. Otherwise it raises for a value that does not convert, or
gives NULL where the cast is ``safe`` (TRY_CAST).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from executor.arithmetic import rescale, to_float
from executor.calendar import MICROS_PER_DAY, date
from executor.checks import Failure, checked, lenient_cast, strict_cast
from executor.dtypes import integer_range, polars_dtype
from executor.intervals import interval_to_text
from executor.parsing_gpu import WHITESPACE, parsed_decimal, parsed_float, parsed_integer, parsed_iso
from executor.value import (
    INT64_MAX,
    NotOnDevice,
    Scope,
    Store,
    Value,
    bounds_of,
    constant,
    fits,
    integer_dtype,
    native,
    scaled_store,
    to_unscaled,
    with_store,
)
from planner import literals, types
from planner.errors import ExecutionError, UnsupportedError

_TRUE = ("true", "t", "1", "yes", "y")
_FALSE = ("false", "f", "0", "no", "n")
_FLOAT_END = 2.0**128 - 2.0**103  # the smallest DOUBLE that rounds to no FLOAT
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]+)?"
_MOMENT = rf"^({_DATE})[ T]({_TIME})(Z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?$"


def cast(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> Value:
    """``CAST(value AS dtype)``; TRY_CAST when ``safe``."""
    source = value.dtype
    if source == dtype:
        return value
    if source == types.NULL or (value.is_literal and value.literal is None):
        return constant(None, dtype, scope.device)
    if types.is_decimal(dtype):
        return _to_decimal(value, dtype, safe, scope)
    if types.is_integer(dtype):
        return _to_integer(value, dtype, safe, scope)
    if types.is_float(dtype):
        return Value(_to_float(value, dtype, safe, scope), dtype, nullable=value.nullable or safe)
    expr = _to_other(native(value, scope.device), dtype, safe, scope)
    return Value(expr, dtype, nullable=value.nullable or safe)


def _unsupported(source: pa.DataType, target: pa.DataType) -> UnsupportedError:
    return UnsupportedError(f"cannot cast {types.type_name(source)} to {types.type_name(target)}")


def _convert(expr: pl.Expr, source: pl.DataType, dtype: pl.DataType, safe: bool, scope: Scope) -> pl.Expr:
    """A Polars cast that raises or gives NULL."""
    return (lenient_cast if safe else strict_cast)(expr, source, dtype, scope)


# ------------------------------------------------------------------------------------------------------- numbers


def _to_integer(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> Value:
    target = polars_dtype(dtype)
    low, high = integer_range(dtype)
    source = value.dtype
    if types.is_integer(source) or types.is_decimal(source):
        whole = _whole(value, scope) if types.is_decimal(source) else value
        bounds = bounds_of(whole)
        kept = (min(max(low, bounds[0]), high), max(min(high, bounds[1]), low))
        result = Value(whole.expr, dtype, bounds=kept, nullable=value.nullable or safe)
        if low <= bounds[0] and bounds[1] <= high:
            return replace(result, expr=whole.expr.cast(target), nullable=value.nullable)
        held = polars_dtype(source) if types.is_integer(source) else integer_dtype(whole.store)
        return replace(result, expr=_convert(whole.expr, held, target, safe, scope))
    if types.is_float(source):
        rounded = value.expr.cast(pl.Float64).round(0, mode="half_to_even")
        return Value(_convert(rounded, pl.Float64(), target, safe, scope), dtype, nullable=value.nullable or safe)
    if source == types.BOOLEAN:
        return Value(value.expr.cast(target), dtype, bounds=(0, 1), nullable=value.nullable)
    if source == types.VARCHAR:
        return Value(_parse_integer(value.expr, dtype, safe, scope), dtype, nullable=value.nullable or safe)
    raise _unsupported(source, dtype)


def _whole(value: Value, scope: Scope) -> Value:
    """A decimal rounded to a whole number, halves away from zero; an integer of the store's width."""
    if value.dtype.scale == 0:
        store = scaled_store(bounds_of(value), scope.device)
        if store is Store.NATIVE:
            raise NotOnDevice("decimals of more than 18 digits are no integers on the GPU")
        return with_store(value, store, scope.device)
    return _round_down(value, 0, scope)


def _round_down(value: Value, scale: int, scope: Scope) -> Value:
    """A decimal at a smaller scale, halves away from zero. The result's precision is 38."""
    cut = value.dtype.scale - scale
    unit = int(10**cut)
    low, high = bounds_of(value)
    half = unit // 2
    store = scaled_store((low - half, high + half), scope.device)
    if store is Store.NATIVE:
        raise NotOnDevice("rounding decimals of more than 18 digits")
    held = with_store(value, store, scope.device).expr
    integer = integer_dtype(store)
    up = (held + half) // pl.lit(unit, dtype=integer)
    if low < 0:
        down = 0 - (half - held) // pl.lit(unit, dtype=integer)
        up = down if high <= 0 else pl.when(held < 0).then(down).otherwise(up)

    def rounded(v: int) -> int:
        return (v + half) // unit if v >= 0 else -((half - v) // unit)

    return Value(up, types.decimal(38, scale), store, (rounded(low), rounded(high)), value.nullable)


def _to_decimal(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> Value:
    source = value.dtype
    if types.is_integer(source) or types.is_decimal(source):
        scale = types.as_decimal(source).scale
        if (
            value.is_literal
            and scale <= dtype.scale
            and fits((grown := to_unscaled(value.literal, dtype), grown), 10**dtype.precision - 1)
        ):
            return constant(value.literal, dtype, scope.device)
        if types.is_decimal(source) and scale == dtype.scale:
            moved = value
        elif scale <= dtype.scale:
            moved = rescale(value, dtype.scale, scope, safe)
        else:
            moved = _round_down(value, dtype.scale, scope)
        return _within_precision(replace(moved, is_literal=False, literal=None), dtype, safe, scope)
    if types.is_float(source):
        scaled = (value.expr.cast(pl.Float64) * float(10**dtype.scale)).round(0, mode="half_away_from_zero")
        store = Store.INT64 if dtype.precision <= 18 else Store.INT128
        expr = _convert(scaled, pl.Float64(), integer_dtype(store), safe, scope)
        held = Value(expr, dtype, store, (-INT64_MAX, INT64_MAX) if store is Store.INT64 else (-(2**127), 2**127), True)
        return _within_precision(held, dtype, safe, scope)
    if source == types.BOOLEAN:
        number = Value(value.expr.cast(pl.Int8), types.TINYINT, bounds=(0, 1), nullable=value.nullable)
        return _to_decimal(number, dtype, safe, scope)
    if source == types.VARCHAR:
        if scope.device == "gpu":
            parsed = _parse_decimal(_stripped(value.expr, scope), dtype, safe, scope)
            return _within_precision(parsed, dtype, safe, scope)
        expr = _parsed(value.expr, lambda text: _plain_decimal(_stripped(text, scope), dtype), dtype, safe, scope)
        return Value(expr, dtype, nullable=value.nullable or safe)
    raise _unsupported(source, dtype)


def _plain_decimal(text: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """Text that is a number without an exponent as a decimal, NULL where it is another one or too large.

    Polars rounds halves to even: what has more digits than the scale is cut after one digit more, and rounded here.
    """
    more = dtype.scale + 1
    short = pl.when(text.str.contains(rf"\.[0-9]{{{more}}}|[eE]").not_()).then(text)
    exact = short.cast(polars_dtype(dtype), strict=False)
    if more >= types.MAX_PRECISION:
        return exact
    longer = pl.when(text.str.contains(rf"^[-+]?[0-9]*\.[0-9]{{{more},}}$")).then(text)
    finer = types.decimal(dtype.precision + 1, more)
    cut = longer.str.extract(rf"^(.*\.[0-9]{{{more}}})", 1).cast(polars_dtype(finer), strict=False)
    scope = Scope({})
    rounded = _round_down(Value(cut, finer), dtype.scale, scope)
    return pl.coalesce(exact, native(_within_precision(rounded, dtype, True, scope), scope.device).expr)


def _within_precision(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> Value:
    """``value``, whose scale is ``dtype``'s already, as ``dtype``: checked where its bounds leave it open."""
    limit = 10**dtype.precision - 1
    low, high = bounds_of(value)
    result = replace(value, dtype=dtype, bounds=(max(low, -limit), min(high, limit)))
    if -limit <= low and high <= limit:
        return result
    held = value.expr
    if value.store is Store.NATIVE and scope.device == "gpu":
        wide = pl.Decimal(38, dtype.scale)
        most, least = (pl.lit(Decimal(n).scaleb(-dtype.scale), dtype=wide) for n in (limit, -limit))
        over = (held > most) | (held < least)
        narrow = held.cast(polars_dtype(dtype), strict=False)
        expr = pl.when(~over).then(narrow) if safe else checked(narrow, over, Failure.DECIMAL_OVERFLOW, scope)
        return replace(result, expr=expr)
    if value.store is Store.NATIVE:
        return replace(result, expr=_convert(held, pl.Decimal(38, dtype.scale), polars_dtype(dtype), safe, scope))
    bound = (
        pl.lit(limit, dtype=integer_dtype(value.store))
        if fits((-limit, limit), INT64_MAX)
        else pl.lit(limit, dtype=pl.Int128)
    )
    over = (held > bound) | (held < -bound)
    expr = pl.when(~over).then(held) if safe else checked(held, over, Failure.DECIMAL_OVERFLOW, scope)
    # What passed the check fits the store that the type needs, which may be narrower.
    store = scaled_store(result.bounds or (-limit, limit), scope.device)
    if store is Store.INT64 and value.store is Store.INT128:
        return replace(result, expr=expr.cast(pl.Int64, strict=False), store=store)
    return replace(result, expr=expr)


def _to_float(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> pl.Expr:
    source = value.dtype
    target = polars_dtype(dtype)
    if source == types.DOUBLE:
        return _to_single(value.expr, safe, scope)
    if types.is_numeric(source):
        return to_float(value, dtype, scope)
    if source == types.BOOLEAN:
        return value.expr.cast(target)
    if source == types.VARCHAR:
        if scope.device == "gpu" and dtype == types.DOUBLE:
            return parsed_float(_stripped(value.expr, scope), safe, scope)
        number = _parsed(value.expr, _plain_number(pl.Float64()), types.DOUBLE, safe, scope)
        return number if dtype == types.DOUBLE else _to_single(number, safe, scope)
    raise _unsupported(source, dtype)


def _to_single(double: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    """A DOUBLE as FLOAT: what is finite must not become infinite."""
    over = (double.abs() >= _FLOAT_END) & (double.abs() < math.inf)
    single = double.cast(pl.Float32)
    return pl.when(over.not_()).then(single) if safe else checked(single, over, Failure.OUT_OF_RANGE, scope)


def _stripped(text: pl.Expr, scope: Scope) -> pl.Expr:
    """Text without the white space around it."""
    return text.str.strip_chars(WHITESPACE if scope.device == "gpu" else None)


def _parse_decimal(text: pl.Expr, dtype: pa.DataType, safe: bool, scope: Scope) -> Value:
    """Text as a decimal on a GPU: a scaled integer of 18 digits."""
    if dtype.scale > 17:
        raise NotOnDevice("decimals of more than 17 digits after the point are read on the CPU")
    limit = 10**18 - 1
    return Value(parsed_decimal(text, dtype.scale, safe, scope), dtype, Store.INT64, (-limit, limit))


def _parse_integer(text: pl.Expr, dtype: pa.DataType, safe: bool, scope: Scope) -> pl.Expr:
    """Text as an integer. '1.5' and '1e3' are numbers too, and round half away from zero."""
    target = polars_dtype(dtype)
    if scope.device == "gpu":
        return _convert(parsed_integer(_stripped(text, scope), safe, scope), pl.Int64(), target, safe, scope)
    return _parsed(text, _plain_number(target), dtype, safe, scope)


def _plain_number(target: pl.DataType) -> Callable[[pl.Expr], pl.Expr]:
    return lambda text: text.str.strip_chars().cast(target, strict=False)


def _parsed(
    text: pl.Expr, plain: Callable[[pl.Expr], pl.Expr], dtype: pa.DataType, safe: bool, scope: Scope
) -> pl.Expr:
    """Text as values: those that ``plain`` finds in its common forms; other text is read as string literals are.

    Text that is no value raises, or is NULL where the cast is ``safe``.
    """
    if scope.device == "gpu":
        raise NotOnDevice(f"text becomes {types.type_name(dtype)} on the CPU")
    target = polars_dtype(dtype)
    form = plain(pl.col("text"))

    def read(columns: Sequence[pl.Series]) -> pl.Series:
        length = next((len(c) for c in columns if len(c) != 1), 1)  # a constant is one row
        texts, *counts = (c if len(c) == length else c.new_from_index(0, length) for c in columns)
        values = texts.to_frame("text").select(form.alias(texts.name)).to_series()
        others = values.is_null() & texts.is_not_null()
        for guard in counts:
            others = others & guard.fill_null(False)
        if not others.any():
            return values
        read_ones = [_read(t, dtype, safe) for t in texts.filter(others).to_list()]
        places = (others.cast(pl.Int64).cum_sum() - 1).clip(0)
        return pl.Series(texts.name, read_ones, dtype=target).gather(places).zip_with(others, values)

    # One function, since Polars would evaluate the plain form each time it is named.
    guards = [] if scope.guard is None or safe else [scope.guard]
    return pl.map_batches([text, *guards], read, return_dtype=target, is_elementwise=True)


def _read(text: str, dtype: pa.DataType, safe: bool) -> Any:
    """The value of text, as a string literal is read.

    Raises:
        ExecutionError: it is none, and the cast is not ``safe``.
    """
    try:
        return literals.read(text, dtype)
    except (ValueError, OverflowError):
        if safe:
            return None
        name = types.type_name(dtype)
        hint = "TRY_CAST gives NULL instead of an error"
        raise ExecutionError(f"could not convert string '{text}' to {name}", hint=hint) from None


# -------------------------------------------------------------------------------------------------- other types


def _to_other(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> pl.Expr:
    source, expr = value.dtype, value.expr
    match dtype:
        case types.VARCHAR:
            return to_text(value, scope)
        case types.BOOLEAN if types.is_numeric(source):
            return expr != 0
        case types.BOOLEAN if source == types.VARCHAR and scope.device == "cpu":
            return _parsed(expr, _plain_truth, dtype, safe, scope)
        case types.BOOLEAN if source == types.VARCHAR:
            truth = _plain_truth(expr)
            missing = truth.is_null() & expr.is_not_null()
            return truth if safe else checked(truth, missing, Failure.OUT_OF_RANGE, scope)
        case types.BLOB if source == types.VARCHAR:
            return _parsed(expr, _plain_bytes, dtype, safe, scope)
        case types.DATE:
            return _to_date(source, expr, safe, scope)
        case types.TIMESTAMP | types.TIMESTAMPTZ:
            return _to_timestamp(source, expr, dtype, safe, scope)
        case types.TIME if types.is_timestamp(source):
            if scope.device == "gpu":
                return expr.cast(pl.Int64) % MICROS_PER_DAY * 1000
            return expr.dt.time()
        case types.TIME if source == types.VARCHAR:
            return _parsed(expr, _plain_time, dtype, safe, scope)
        case _:
            raise _unsupported(source, dtype)


def _mapped(function: Callable[[Any], Any], expr: pl.Expr, dtype: pl.DataType, scope: Scope) -> pl.Expr:
    """Python over each value that is not NULL."""
    if scope.device == "gpu":
        raise NotOnDevice("a cast that runs in Python")

    def convert(series: pl.Series) -> pl.Series:
        values = [None if v is None else function(v) for v in series.to_list()]
        return pl.Series(series.name, values, dtype=dtype)

    return expr.map_batches(convert, return_dtype=dtype, is_elementwise=True)


def _from_bytes(data: bytes) -> str:
    plain = (chr(b) if 32 <= b < 127 and b not in b"\\'\"" else f"\\x{b:02X}" for b in data)
    return "".join(plain)


def _plain_truth(text: pl.Expr) -> pl.Expr:
    word = text.str.to_lowercase()
    return pl.when(word.is_in(_TRUE)).then(True).when(word.is_in(_FALSE)).then(False)


def _plain_bytes(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.contains(r"^[\x00-\x7f&&[^\\]]*$")).then(text).cast(pl.Binary)


def _plain_time(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.contains(f"^{_TIME}$")).then(text).str.to_time("%H:%M:%S%.f", strict=False)


def _plain_date(text: pl.Expr) -> pl.Expr:
    stripped = text.str.strip_chars()
    return pl.when(stripped.str.contains(f"^{_DATE}$")).then(stripped).str.to_date("%Y-%m-%d", strict=False)


def _to_date(source: pa.DataType, expr: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    if types.is_timestamp(source):
        return expr.dt.date() if source == types.TIMESTAMPTZ else expr.cast(pl.Date)
    if source == types.VARCHAR:
        if scope.device == "gpu":
            return date(parsed_iso(_stripped(expr, scope), safe, scope) // MICROS_PER_DAY, scope.device)
        return _parsed(expr, _plain_date, types.DATE, safe, scope)
    raise _unsupported(source, types.DATE)


def _to_timestamp(source: pa.DataType, expr: pl.Expr, dtype: pa.DataType, safe: bool, scope: Scope) -> pl.Expr:
    zoned = dtype == types.TIMESTAMPTZ
    if source == types.DATE:
        moment = expr.cast(pl.Datetime("us"))
        return moment.dt.replace_time_zone("UTC") if zoned else moment
    if types.is_timestamp(source):
        return expr.dt.replace_time_zone("UTC" if zoned else None)
    if source == types.VARCHAR:
        if scope.device == "gpu":
            return parsed_iso(_stripped(expr, scope), safe, scope).cast(polars_dtype(dtype))
        return _parsed(expr, lambda text: _plain_moment(text.str.strip_chars(), zoned), dtype, safe, scope)
    raise _unsupported(source, dtype)


def _plain_moment(text: pl.Expr, zoned: bool) -> pl.Expr:
    """Text of the common form as a moment, NULL where it has another: a day, or a day and a time with seconds. A
    zone's offset counts where the type has a zone, and is dropped where it has none.
    """
    parts = text.str.extract_groups(_MOMENT).struct
    clock = pl.concat_str([parts[0], pl.lit(" "), parts[1]])
    timed = clock.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    day = pl.when(text.str.contains(f"^{_DATE}$")).then(text).str.to_date("%Y-%m-%d", strict=False)
    if not zoned:
        return pl.coalesce(timed, day.cast(pl.Datetime("us")))
    zone = pl.when(parts[2] != "Z").then(parts[2]).str.replace(":", "", literal=True)
    minutes = zone.str.slice(1, 2).cast(pl.Int64) * 60 + zone.str.slice(3, 2).str.pad_start(1, "0").cast(pl.Int64)
    offset = pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    moment = pl.coalesce(timed - pl.duration(minutes=offset, time_unit="us"), day.cast(pl.Datetime("us")))
    return moment.dt.replace_time_zone("UTC")


def to_text(value: Value, scope: Scope) -> pl.Expr:
    """A value as text, in DuckDB's form."""
    source, expr = value.dtype, value.expr
    if types.is_float(source):
        return float_text(expr)
    if types.is_decimal(source) and scope.device == "gpu":
        return _decimal_text(value)
    if types.is_integer(source) or types.is_decimal(source) or source in (types.BOOLEAN, types.VARCHAR):
        return expr.cast(pl.String)
    if source == types.DATE:
        return expr.dt.strftime("%Y-%m-%d")
    if types.is_timestamp(source):
        if scope.device == "gpu":
            text = expr.dt.strftime("%Y-%m-%d %H:%M:%S") + _fraction(expr.cast(pl.Int64))
        else:
            text = trim_fraction(expr.dt.strftime("%Y-%m-%d %H:%M:%S%.6f"))
        return text + "+00" if source == types.TIMESTAMPTZ else text
    if source == types.TIME and scope.device == "gpu":
        micros = expr // 1000
        return micros.cast(pl.Datetime("us")).dt.strftime("%H:%M:%S") + _fraction(micros)
    if source == types.TIME:
        return trim_fraction(expr.dt.strftime("%H:%M:%S%.6f"))
    if source == types.INTERVAL:
        if scope.device == "gpu":
            raise NotOnDevice("INTERVALs become text on the CPU")
        return interval_to_text(expr)
    if source == types.BLOB:
        return _mapped(_from_bytes, expr, pl.String(), scope)
    raise _unsupported(source, types.VARCHAR)


def _decimal_text(value: Value) -> pl.Expr:
    """A decimal digit by digit: cuDF writes none."""
    store = scaled_store(bounds_of(value), "gpu")
    if store is Store.NATIVE:
        raise NotOnDevice("decimals of more than 18 digits become text on the CPU")
    held, scale = with_store(value, store, "gpu").expr, value.dtype.scale
    size = held.abs()
    sign = pl.when(held < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    whole = (size // 10**scale).cast(pl.String)
    if not scale:
        return pl.concat_str([sign, whole])
    return pl.concat_str([sign, whole, pl.lit("."), (size % 10**scale).cast(pl.String).str.pad_start(scale, "0")])


def _fraction(micros: pl.Expr) -> pl.Expr:
    """The fraction of a second with its point, without trailing zeros; nothing where it is zero."""
    rest = micros % 1_000_000
    digits = rest.cast(pl.String).str.pad_start(6, "0").str.strip_chars_end("0")
    return pl.when(rest == 0).then(pl.lit("")).otherwise(pl.concat_str([pl.lit("."), digits]))


def trim_fraction(text: pl.Expr) -> pl.Expr:
    """Seconds without trailing zeros of their fraction."""
    return text.str.replace(r"(\.\d*?)0+$", "${1}").str.replace(r"\.$", "")


def float_text(expr: pl.Expr) -> pl.Expr:
    """Floats as DuckDB writes them: two digits of exponent at least, 'nan', and 1e-05 where Polars writes
    0.00001.
    """
    text = expr.cast(pl.String)
    return (
        text.str.replace(r"^(-?)0\.0000([1-9])$", "${1}${2}e-05")
        .str.replace(r"^(-?)0\.0000([1-9])(\d+)$", "${1}${2}.${3}e-05")
        .str.replace(r"e([+-]?)(\d)$", "e${1}0${2}")
        .str.replace("NaN", "nan", literal=True)
    )
