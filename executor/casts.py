"""CAST and TRY_CAST: every pair of types, with DuckDB's rounding and text forms.

A cast that bounds prove safe is a plain cast. Otherwise it raises for a value that does not convert, or
gives NULL where the cast is ``safe`` (TRY_CAST).
"""

from __future__ import annotations

import re
from collections.abc import Callable
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
    literal_expr,
    native,
    scaled_store,
    with_store,
)
from planner import types
from planner.errors import ExecutionError, UnsupportedError

_TRUE = ("true", "t", "1", "yes", "y", "on")
_FALSE = ("false", "f", "0", "no", "n", "off")
_DATE = r"^\s*(-?\d+)[-/](\d{1,2})[-/](\d{1,2})"


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
        return Value(_parse_integer(value.expr, target, safe, scope), dtype, nullable=value.nullable or safe)
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
            and fits(bounds_of(rescale(value, dtype.scale, scope)), 10**dtype.precision - 1)
        ):
            grown = rescale(value, dtype.scale, scope)
            return replace(grown, dtype=dtype, expr=literal_expr(value.literal, dtype))
        if types.is_decimal(source) and scale == dtype.scale:
            moved = value
        elif scale <= dtype.scale:
            moved = rescale(value, dtype.scale, scope)
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
        stripped = _stripped(value.expr, scope)
        if scope.device == "gpu":
            return _within_precision(_parse_decimal(stripped, dtype, safe, scope), dtype, safe, scope)
        expr = _convert(stripped, pl.String(), polars_dtype(dtype), safe, scope)
        return Value(expr, dtype, nullable=value.nullable or safe)
    raise _unsupported(source, dtype)


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
    if types.is_numeric(source):
        return to_float(value, dtype, scope)
    if source == types.BOOLEAN:
        return value.expr.cast(target)
    if source == types.VARCHAR:
        stripped = _stripped(value.expr, scope)
        if scope.device == "gpu" and dtype == types.DOUBLE:
            return parsed_float(stripped, safe, scope)
        return _convert(stripped, pl.String(), target, safe, scope)
    raise _unsupported(source, dtype)


def _stripped(text: pl.Expr, scope: Scope) -> pl.Expr:
    """Text without the white space around it."""
    return text.str.strip_chars(WHITESPACE if scope.device == "gpu" else None)


def _parse_decimal(text: pl.Expr, dtype: pa.DataType, safe: bool, scope: Scope) -> Value:
    """Text as a decimal on a GPU: a scaled integer of 18 digits."""
    if dtype.scale > 17:
        raise NotOnDevice("decimals of more than 17 digits after the point are read on the CPU")
    limit = 10**18 - 1
    return Value(parsed_decimal(text, dtype.scale, safe, scope), dtype, Store.INT64, (-limit, limit))


def _parse_integer(text: pl.Expr, target: pl.DataType, safe: bool, scope: Scope) -> pl.Expr:
    """Text as an integer. '1.5' and '1e3' are numbers too, and round half away from zero."""
    stripped = _stripped(text, scope)
    if scope.device == "gpu":
        return _convert(parsed_integer(stripped, safe, scope), pl.Int64(), target, safe, scope)
    direct = stripped.cast(target, strict=False)
    number = stripped.cast(pl.Float64, strict=False).round(0, mode="half_away_from_zero").cast(target, strict=False)
    parsed = pl.when(direct.is_null()).then(number).otherwise(direct)
    if safe:
        return parsed
    # Only what did not parse reaches the strict cast, which then names it.
    failed = pl.when(parsed.is_null() & text.is_not_null()).then(text)
    return pl.coalesce(parsed, strict_cast(failed, pl.String(), target, scope))


# -------------------------------------------------------------------------------------------------- other types


def _to_other(value: Value, dtype: pa.DataType, safe: bool, scope: Scope) -> pl.Expr:
    source, expr = value.dtype, value.expr
    match dtype:
        case types.VARCHAR:
            return to_text(value, scope)
        case types.BOOLEAN if types.is_numeric(source):
            return expr != 0
        case types.BOOLEAN if source == types.VARCHAR:
            return _parse_boolean(expr, safe, scope)
        case types.BLOB if source == types.VARCHAR:
            return _mapped(_to_bytes, expr, pl.Binary(), scope)
        case types.DATE:
            return _to_date(source, expr, safe, scope)
        case types.TIMESTAMP | types.TIMESTAMPTZ:
            return _to_timestamp(source, expr, dtype, safe, scope)
        case types.TIME if types.is_timestamp(source):
            if scope.device == "gpu":
                return expr.cast(pl.Int64) % MICROS_PER_DAY * 1000
            return expr.dt.time()
        case types.TIME if source == types.VARCHAR:
            stripped = expr.str.strip_chars()
            parsed = pl.coalesce(
                stripped.str.to_time("%H:%M:%S%.f", strict=False), stripped.str.to_time("%H:%M", strict=False)
            )
            return _parsed(parsed, expr, pl.Time(), safe, scope)
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


def _to_bytes(text: str) -> bytes:
    """ASCII as it is, any other byte written \\xAB."""
    if not text.isascii():
        raise ExecutionError(
            f"could not convert string '{text}' to BLOB",
            hint="write bytes as \\xAB, or use encode(…) for UTF-8",
        )
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


def _from_bytes(data: bytes) -> str:
    plain = (chr(b) if 32 <= b < 127 and b not in b"\\'\"" else f"\\x{b:02X}" for b in data)
    return "".join(plain)


def _parsed(parsed: pl.Expr, text: pl.Expr, target: pl.DataType, safe: bool, scope: Scope) -> pl.Expr:
    """The parsed value; text that is not NULL and did not parse raises, naming the text."""
    if safe:
        return parsed
    failed = parsed.is_null() & text.is_not_null()
    if scope.guard is not None:
        failed = failed & scope.guard
    culprit = pl.when(failed).then(text)
    match target:
        case pl.Date():
            refused = culprit.str.to_date("%Y-%m-%d", strict=True)
        case pl.Time():
            refused = culprit.str.to_time("%H:%M:%S", strict=True)
        case _:
            refused = culprit.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=True, time_unit="us")
            if isinstance(target, pl.Datetime) and target.time_zone:
                refused = refused.dt.replace_time_zone(target.time_zone)
    return pl.coalesce(parsed, refused)


def _parse_boolean(text: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    word = _stripped(text, scope).str.to_lowercase()
    truth = pl.when(word.is_in(_TRUE)).then(True).when(word.is_in(_FALSE)).then(False)
    if safe:
        return truth
    if scope.device == "gpu":
        return checked(truth, truth.is_null() & text.is_not_null(), Failure.OUT_OF_RANGE, scope)
    # The number cast names the text that is neither.
    failed = pl.when(word.is_in([*_TRUE, *_FALSE])).then(None).otherwise(text)
    return pl.coalesce(truth, strict_cast(failed, pl.String(), pl.Int8(), scope) != 0)


def _to_date(source: pa.DataType, expr: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    if types.is_timestamp(source):
        return expr.dt.date() if source == types.TIMESTAMPTZ else expr.cast(pl.Date)
    if source == types.VARCHAR:
        stripped = _stripped(expr, scope)
        if scope.device == "gpu":
            return date(parsed_iso(stripped, safe, scope) // MICROS_PER_DAY, scope.device)
        iso = stripped.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
        plain = pl.when(stripped.str.contains(r"^\d{1,4}-\d{1,2}-\d{1,2}([ T]([01]?\d|2[0-3]):[0-5]?\d(:.*)?)?$")).then(
            pl.coalesce(iso, stripped.str.extract(_DATE, 0).str.to_date("%Y-%m-%d", strict=False))
        )
        slashes = stripped.str.extract(r"^(\d{1,4}/\d{1,2}/\d{1,2})$", 1).str.to_date("%Y/%m/%d", strict=False)
        return _parsed(pl.coalesce(plain, slashes), expr, pl.Date(), safe, scope)
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
        parsed = parse_timestamp(expr)
        parsed = parsed.dt.replace_time_zone("UTC") if zoned else parsed
        return _parsed(parsed, expr, polars_dtype(dtype), safe, scope)
    raise _unsupported(source, dtype)


def parse_timestamp(text: pl.Expr) -> pl.Expr:
    """Text as a TIMESTAMP, NULL where it is none: ISO dates with an optional time, fraction and zone offset."""
    stripped = text.str.strip_chars()
    plain = stripped.str.replace(r"^(\S{8,10})T", "${1} ").str.replace(r"\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$", "")
    has_zone = stripped.str.contains(r"\d:\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$")
    local = pl.when(has_zone).then(plain).otherwise(stripped.str.replace(r"^(\S{8,10})T", "${1} "))
    parts = stripped.str.extract_groups(r":\d{2}(?:\.\d+)?\s*([+-])(\d{2}):?(\d{2})?$")
    minutes = parts.struct[1].cast(pl.Int64) * 60 + parts.struct[2].cast(pl.Int64).fill_null(0)
    offset = pl.when(parts.struct[0] == "-").then(-minutes).otherwise(minutes).fill_null(0)
    parsed = pl.coalesce(
        local.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us"),
        local.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us"),
        local.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    return parsed - pl.duration(minutes=offset, time_unit="us")


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
