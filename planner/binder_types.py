"""Type names in SQL (CAST, column definitions) to the engine's types."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import exp

from planner import types
from planner.errors import BindError, UnsupportedError

_HUGE = types.decimal(types.MAX_PRECISION, 0)
_T = exp.DType

_SIMPLE: dict[exp.DType, pa.DataType] = {
    _T.BOOLEAN: types.BOOLEAN,
    _T.TINYINT: types.TINYINT, _T.SMALLINT: types.SMALLINT, _T.MEDIUMINT: types.INTEGER,
    _T.INT: types.INTEGER, _T.BIGINT: types.BIGINT, _T.INT128: _HUGE,
    _T.UTINYINT: types.UTINYINT, _T.USMALLINT: types.USMALLINT, _T.UMEDIUMINT: types.UINTEGER,
    _T.UINT: types.UINTEGER, _T.UBIGINT: types.UBIGINT,
    _T.FLOAT: types.FLOAT, _T.DOUBLE: types.DOUBLE, _T.BIGDECIMAL: types.decimal(38, 9),
    _T.VARCHAR: types.VARCHAR, _T.CHAR: types.VARCHAR, _T.BPCHAR: types.VARCHAR, _T.TEXT: types.VARCHAR,
    _T.NCHAR: types.VARCHAR, _T.NVARCHAR: types.VARCHAR, _T.NAME: types.VARCHAR,
    _T.TINYTEXT: types.VARCHAR, _T.MEDIUMTEXT: types.VARCHAR, _T.LONGTEXT: types.VARCHAR,
    _T.BINARY: types.BLOB, _T.VARBINARY: types.BLOB, _T.BLOB: types.BLOB,
    _T.TINYBLOB: types.BLOB, _T.MEDIUMBLOB: types.BLOB, _T.LONGBLOB: types.BLOB,
    _T.DATE: types.DATE, _T.DATE32: types.DATE, _T.TIME: types.TIME,
    _T.TIMESTAMP: types.TIMESTAMP, _T.TIMESTAMPNTZ: types.TIMESTAMP,
    _T.DATETIME: types.TIMESTAMP, _T.DATETIME2: types.TIMESTAMP, _T.DATETIME64: types.TIMESTAMP,
    _T.TIMESTAMPTZ: types.TIMESTAMPTZ, _T.TIMESTAMPLTZ: types.TIMESTAMPTZ,
    _T.INTERVAL: types.INTERVAL, _T.NULL: types.NULL,
}  # fmt: skip


def bind_type(node: exp.Expression) -> pa.DataType:
    """The Arrow type of a type name.

    Raises:
        BindError: its precision or scale is out of range.
        UnsupportedError: sqlray has no such type.
    """
    if isinstance(node, exp.Interval):
        return types.INTERVAL
    kind = node.this
    if kind == _T.DECIMAL:
        return _decimal(node)
    found = _SIMPLE.get(kind)
    if found is None:
        raise UnsupportedError(f"the type {node.sql(dialect='duckdb')} is not supported")
    return found


def _decimal(node: exp.Expression) -> pa.DataType:
    """DECIMAL(p,s); a lone p has the scale 0, and neither is (18,3), as in DuckDB."""
    parameters = [int(p.name) for p in node.expressions]
    if not parameters:
        return types.decimal(18, 3)
    precision, scale = parameters[0], parameters[1] if len(parameters) > 1 else 0
    if not 1 <= precision <= types.MAX_PRECISION:
        raise BindError(f"DECIMAL has 1 to {types.MAX_PRECISION} digits, not {precision}")
    if not 0 <= scale <= precision:
        raise BindError(f"the scale of DECIMAL({precision},{scale}) is larger than its precision")
    return types.decimal(precision, scale)
