"""Which Polars type holds which SQL type.

INTERVAL has no Polars type: inside kernels it is a struct of months, days and microseconds
(``INTERVAL_STRUCT``).
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from planner import types
from planner.devices import Device
from planner.errors import UnsupportedError

INTERVAL_STRUCT = pl.Struct({"months": pl.Int32, "days": pl.Int32, "micros": pl.Int64})

_DTYPES: dict[pa.DataType, pl.DataType] = {
    types.NULL: pl.Null(),
    types.BOOLEAN: pl.Boolean(),
    types.TINYINT: pl.Int8(),
    types.SMALLINT: pl.Int16(),
    types.INTEGER: pl.Int32(),
    types.BIGINT: pl.Int64(),
    types.UTINYINT: pl.UInt8(),
    types.USMALLINT: pl.UInt16(),
    types.UINTEGER: pl.UInt32(),
    types.UBIGINT: pl.UInt64(),
    types.FLOAT: pl.Float32(),
    types.DOUBLE: pl.Float64(),
    types.VARCHAR: pl.String(),
    types.BLOB: pl.Binary(),
    types.DATE: pl.Date(),
    types.TIME: pl.Time(),
    types.TIMESTAMP: pl.Datetime("us"),
    types.TIMESTAMPTZ: pl.Datetime("us", "UTC"),
    types.INTERVAL: INTERVAL_STRUCT,
}


def polars_dtype(dtype: pa.DataType) -> pl.DataType:
    """The Polars type that columns of SQL type ``dtype`` have between operators."""
    if types.is_decimal(dtype) and dtype.precision <= types.MAX_PRECISION and dtype.scale >= 0:
        return pl.Decimal(dtype.precision, dtype.scale)
    found = _DTYPES.get(dtype)
    if found is None:
        raise UnsupportedError(f"the type {types.type_name(dtype)} cannot be computed with")
    return found


def device_dtype(dtype: pa.DataType, device: Device) -> pl.DataType:
    """The Polars type that a column of SQL type ``dtype`` has on a device, where one column holds it."""
    if device == "gpu" and dtype in (types.TIME, types.BLOB):  # see ``device_types``
        return pl.Int64() if dtype == types.TIME else pl.String()
    return polars_dtype(dtype)


def integer_range(dtype: pa.DataType) -> tuple[int, int]:
    """The smallest and the largest value of an integer type."""
    return _limits(dtype.bit_width, pa.types.is_signed_integer(dtype))


_BITS: dict[pl.DataType, int] = {
    pl.Int8(): 8, pl.Int16(): 16, pl.Int32(): 32, pl.Int64(): 64, pl.Int128(): 128,
    pl.UInt8(): 8, pl.UInt16(): 16, pl.UInt32(): 32, pl.UInt64(): 64,
}  # fmt: skip


def integer_limits(dtype: pl.DataType) -> tuple[int, int]:
    """The smallest and the largest value of Polars' integer type."""
    return _limits(_BITS[dtype], dtype.is_signed_integer())


def _limits(bits: int, signed: bool) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
