"""SQL types are Arrow types: which ones there are, how they combine, and what results have.

The rules are DuckDB's, with two choices of ours: SUM over integers up to 32 bits is BIGINT and over 64 bits is
DECIMAL(38,0) (DuckDB's HUGEINT has no Arrow type), and a decimal product whose precision passes 38 keeps its scale.
"""

from __future__ import annotations

import pyarrow as pa

NULL = pa.null()
BOOLEAN = pa.bool_()
TINYINT, SMALLINT, INTEGER, BIGINT = pa.int8(), pa.int16(), pa.int32(), pa.int64()
UTINYINT, USMALLINT, UINTEGER, UBIGINT = pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()
FLOAT, DOUBLE = pa.float32(), pa.float64()
VARCHAR, BLOB = pa.string(), pa.binary()
DATE, TIME = pa.date32(), pa.time64("us")
TIMESTAMP = pa.timestamp("us")
TIMESTAMPTZ = pa.timestamp("us", tz="UTC")
INTERVAL = pa.month_day_nano_interval()

MAX_PRECISION = 38

_INTEGER_DIGITS = {
    TINYINT: 3, SMALLINT: 5, INTEGER: 10, BIGINT: 19,
    UTINYINT: 3, USMALLINT: 5, UINTEGER: 10, UBIGINT: 20,
}  # fmt: skip

_NAMES = {
    NULL: "NULL", BOOLEAN: "BOOLEAN",
    TINYINT: "TINYINT", SMALLINT: "SMALLINT", INTEGER: "INTEGER", BIGINT: "BIGINT",
    UTINYINT: "UTINYINT", USMALLINT: "USMALLINT", UINTEGER: "UINTEGER", UBIGINT: "UBIGINT",
    FLOAT: "FLOAT", DOUBLE: "DOUBLE", VARCHAR: "VARCHAR", BLOB: "BLOB",
    DATE: "DATE", TIME: "TIME", TIMESTAMP: "TIMESTAMP", INTERVAL: "INTERVAL",
}  # fmt: skip


def decimal(precision: int, scale: int) -> pa.DataType:
    """DECIMAL(precision, scale), the precision held to 38 and the scale to the precision."""
    precision = min(max(precision, 1), MAX_PRECISION)
    return pa.decimal128(precision, min(scale, precision))


def type_name(dtype: pa.DataType) -> str:
    """The SQL name of a type, as DuckDB prints it."""
    if pa.types.is_decimal(dtype):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if pa.types.is_timestamp(dtype) and dtype.tz is not None:
        return "TIMESTAMP WITH TIME ZONE"
    return _NAMES.get(dtype, str(dtype).upper())


def is_integer(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype))


def is_float(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_floating(dtype))


def has_equal_variants(dtype: pa.DataType) -> bool:
    """Whether values that are equal can be different ones: 0.0 and -0.0, a month and 30 days."""
    return is_float(dtype) or dtype == INTERVAL


def is_decimal(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(dtype))


def is_numeric(dtype: pa.DataType) -> bool:
    return is_integer(dtype) or is_float(dtype) or is_decimal(dtype)


def is_string(dtype: pa.DataType) -> bool:
    return bool(dtype == VARCHAR)


def is_temporal(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(dtype)) and dtype != INTERVAL


def is_timestamp(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(dtype))


def integer_digits(dtype: pa.DataType) -> int:
    """Decimal digits that any value of an integer type fits in."""
    return _INTEGER_DIGITS[dtype]


def normalize(dtype: pa.DataType) -> pa.DataType | None:
    """The engine's type for a source column's Arrow type; None where there is none yet (nested types, …).

    Dictionaries read as their values, every string layout as VARCHAR, every time unit as microseconds.
    """
    if pa.types.is_dictionary(dtype):
        return normalize(dtype.value_type)
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return VARCHAR
    if (
        pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_fixed_size_binary(dtype)
        or pa.types.is_binary_view(dtype)
    ):
        return BLOB
    if pa.types.is_date(dtype):
        return DATE
    if pa.types.is_time(dtype):
        return TIME
    if pa.types.is_timestamp(dtype):
        return TIMESTAMP if dtype.tz is None else TIMESTAMPTZ
    if pa.types.is_decimal(dtype):
        fits = dtype.precision <= MAX_PRECISION and dtype.scale >= 0
        return decimal(dtype.precision, dtype.scale) if fits else None
    if dtype == pa.float16():
        return FLOAT
    if dtype in _NAMES:
        return dtype
    return None


def as_decimal(dtype: pa.DataType) -> pa.DataType:
    """The decimal type that holds every value of an integer or decimal type."""
    return dtype if is_decimal(dtype) else decimal(integer_digits(dtype), 0)


def common_decimal(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The decimal that holds both: the larger scale, and the larger number of integer digits."""
    a, b = as_decimal(a), as_decimal(b)
    scale = max(a.scale, b.scale)
    return decimal(max(a.precision - a.scale, b.precision - b.scale) + scale, scale)


def _common_integer(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    signed_a, signed_b = pa.types.is_signed_integer(a), pa.types.is_signed_integer(b)
    if signed_a == signed_b:
        return a if a.bit_width >= b.bit_width else b
    signed, unsigned = (a, b) if signed_a else (b, a)
    if signed.bit_width > unsigned.bit_width:
        return signed
    wider = {8: SMALLINT, 16: INTEGER, 32: BIGINT}.get(unsigned.bit_width)
    return wider if wider is not None else decimal(20, 0)


def common_supertype(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The smallest type that both convert to without asking, or None.

    Numbers meet numbers, dates meet timestamps, NULL meets everything. VARCHAR meets only VARCHAR here: a string
    *literal* beside another type is cast by the binder, a string column is not.
    """
    if a == b:
        return a
    if a == NULL:
        return b
    if b == NULL:
        return a
    if is_integer(a) and is_integer(b):
        return _common_integer(a, b)
    if is_numeric(a) and is_numeric(b):
        if DOUBLE in (a, b):
            return DOUBLE
        if is_float(a) or is_float(b):
            return FLOAT
        return common_decimal(a, b)
    if is_temporal(a) and is_temporal(b) and TIME not in (a, b):
        return TIMESTAMPTZ if TIMESTAMPTZ in (a, b) else TIMESTAMP
    return None


def add_result(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """DECIMAL ± DECIMAL: one digit more than the operands' common type."""
    common = common_decimal(a, b)
    return decimal(common.precision + 1, common.scale)


def multiply_result(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """DECIMAL × DECIMAL: precisions and scales add up (ISO 9075-2, 6.29).

    Raises:
        ValueError: the scale alone passes 38 digits.
    """
    a, b = as_decimal(a), as_decimal(b)
    scale = a.scale + b.scale
    if scale > MAX_PRECISION:
        raise ValueError(f"the product of {type_name(a)} and {type_name(b)} needs a scale of {scale}; at most 38 fits")
    return decimal(a.precision + b.precision, scale)
