"""`sqlray tpch verify`: every row and every digit of the 22 queries against DuckDB on the same files.

Rows must be the same, as often; the sort keys must stand in the same order, so that only rows that the query
leaves unordered may change places. Integers and decimals are compared as values, exactly (DuckDB sums
integers as HUGEINT where sqlray has BIGINT or DECIMAL). Doubles, which AVG and division return, may differ by
1e-12 of their value, because the order in which they are summed is nobody's promise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from planner.record import record
from planner.types import is_numeric, is_string, type_name
from sqlray.format_values import python_values
from sqlray.tpch_engines import Engine

TOLERANCE = 1e-12

# The columns that each query is sorted by, by position.
SORT_KEYS: dict[int, tuple[int, ...]] = {
    1: (0, 1), 2: (0, 2, 1, 3), 3: (1, 2), 4: (0,), 5: (1,), 7: (0, 1, 2), 8: (0,), 9: (0, 1), 10: (2,),
    11: (1,), 12: (0,), 13: (1, 0), 15: (0,), 16: (3, 0, 1, 2), 18: (4, 3), 20: (0,), 21: (1, 0), 22: (0,),
}  # fmt: skip

Row = tuple[Any, ...]


@record
class Verdict:
    """Whether a query's result is right, and if not, what is wrong with it."""

    number: int
    rows: int
    problem: str | None = None


def verify(queries: list[int], engine: Engine, oracle: Engine) -> Iterator[Verdict]:
    """Run each query on both and compare."""
    for number in queries:
        expected = oracle(number)
        try:
            actual = engine(number)
        except Exception as error:  # whatever fails, the other queries are still worth a verdict
            yield Verdict(number, 0, f"{type(error).__name__}: {error}")
            continue
        yield Verdict(number, actual.num_rows, compare(actual, expected, SORT_KEYS.get(number, ())))


def compare(
    actual: pa.Table, expected: pa.Table, sort_keys: tuple[int, ...], tolerance: float = TOLERANCE
) -> str | None:
    """The first difference between two results, or None. Doubles may differ by ``tolerance`` of their value."""
    if problem := _compare_columns(actual.schema, expected.schema):
        return problem
    if actual.num_rows != expected.num_rows:
        return f"{actual.num_rows} rows instead of {expected.num_rows}"
    ours, theirs = _rows(actual), _rows(expected)
    for index, (our, their) in enumerate(zip(ours, theirs, strict=True), start=1):
        our_key, their_key = _part(our, sort_keys), _part(their, sort_keys)
        if not _same_row(our_key, their_key, tolerance):
            return f"row {index} sorts by {_text(our_key)} instead of {_text(their_key)}"
    exact = tuple(i for i, field in enumerate(expected.schema) if not pa.types.is_floating(field.type))
    ours, theirs = _sorted(ours, exact), _sorted(theirs, exact)
    for our, their in zip(ours, theirs, strict=True):
        if not _same_row(our, their, tolerance):
            return f"{_text(our)} instead of {_text(their)}"
    return None


def _compare_columns(actual: pa.Schema, expected: pa.Schema) -> str | None:
    if [name.lower() for name in actual.names] != [name.lower() for name in expected.names]:
        return f"columns {', '.join(actual.names)} instead of {', '.join(expected.names)}"
    for ours, theirs in zip(actual, expected, strict=True):
        if not _compatible(ours.type, theirs.type):
            return f"{ours.name} is {type_name(ours.type)} instead of {type_name(theirs.type)}"
    return None


def _compatible(ours: pa.DataType, theirs: pa.DataType) -> bool:
    if is_string(theirs):
        return is_string(ours)
    if pa.types.is_floating(theirs) or not is_numeric(theirs):
        return bool(ours == theirs)
    if not is_numeric(ours) or pa.types.is_floating(ours):
        return False
    # The digits behind the point are part of the answer; how many there may be before it is not.
    return _scale(ours) == _scale(theirs)


def _scale(dtype: pa.DataType) -> int:
    return int(dtype.scale) if pa.types.is_decimal(dtype) else 0


def _rows(table: pa.Table) -> list[Row]:
    return list(zip(*(python_values(column) for column in table.columns), strict=True))


def _part(row: Row, columns: tuple[int, ...]) -> Row:
    return tuple(row[column] for column in columns)


def _sorted(rows: list[Row], columns: tuple[int, ...]) -> list[Row]:
    def key(row: Row) -> tuple[tuple[bool, str], ...]:
        return tuple((row[column] is None, _canonical(row[column])) for column in columns)

    return sorted(rows, key=key)


def _canonical(value: object) -> str:
    """Text that is the same for the same number, whatever its type."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return str(Decimal(value).normalize())
    return str(value)


def _same_row(ours: Row, theirs: Row, tolerance: float) -> bool:
    return all(_same(our, their, tolerance) for our, their in zip(ours, theirs, strict=True))


def _same(ours: object, theirs: object, tolerance: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=tolerance) or (math.isnan(ours) and math.isnan(theirs))
    return ours == theirs


def _text(row: Row) -> str:
    return "(" + ", ".join(str(value) for value in row) + ")"
