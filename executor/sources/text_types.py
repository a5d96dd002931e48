"""Types of text: what a column of a CSV or JSON file holds, and how its text becomes that."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from executor.casts import cast
from executor.value import Scope, Value, native
from planner import types

# In the order in which they are tried. A number with a leading zero or plus is more often a code than a
# number.
_CANDIDATES: tuple[tuple[pa.DataType, str], ...] = (
    (types.BOOLEAN, r"(?i)^(true|false|t|f)$"),
    (types.BIGINT, r"^\s*-?(0|[1-9][0-9]{0,18})\s*$"),
    (types.decimal(38, 0), r"^\s*-?(0|[1-9][0-9]{0,37})\s*$"),
    (types.DOUBLE, r"(?i)^\s*-?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|nan)\s*$"),
    (types.TIME, r"^[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?$"),
    (types.DATE, r"^[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}$"),
    (
        types.TIMESTAMP,
        r"^[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}([ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?$",
    ),
)


def text_type(values: pl.Series) -> pa.DataType:
    """The first type that every text of ``values`` is written as; NULL if there is none, VARCHAR if nothing
    fits."""
    texts = values.drop_nulls().unique()
    if len(texts) == 0:
        return types.NULL
    for dtype, pattern in _CANDIDATES:
        if texts.str.contains(pattern).all() and converts(texts, dtype):
            return dtype
    return types.VARCHAR


def converts(texts: pl.Series, dtype: pa.DataType) -> bool:
    """Whether every text is a value of ``dtype``."""
    if dtype == types.VARCHAR:
        return True
    converted = texts.to_frame("text").select(_cast("text", dtype, safe=True)).to_series()
    return bool(converted.null_count() == texts.null_count())


def convert(column: str, dtype: pa.DataType) -> pl.Expr:
    """The text ``column`` as ``dtype``, under its name; a text that is no such value is an error."""
    return _cast(column, dtype, safe=False).alias(column)


def _cast(column: str, dtype: pa.DataType, safe: bool) -> pl.Expr:
    return native(cast(Value(pl.col(column), types.VARCHAR), dtype, safe, Scope({})), "cpu").expr
