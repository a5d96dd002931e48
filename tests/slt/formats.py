"""Writes result values as sqllogictest writes them, and compares them with what a file expects."""

import datetime
import hashlib
import math
from collections.abc import Sequence
from decimal import Decimal

from tests.slt.parser import Form, Record

Row = Sequence[object]


def compare(record: Record, rows: Sequence[Row], form: Form) -> str | None:
    """Nothing if the rows are what the record expects, else what differs."""
    columns = len(record.types)
    if rows and len(rows[0]) != columns:
        return f"expected {columns} columns, got {len(rows[0])}"
    if form == "sqlite":
        actual = [[sqlite_text(v, kind) for v, kind in zip(row, record.types, strict=True)] for row in rows]
    else:
        actual = [[duckdb_text(value) for value in row] for row in rows]
    if record.expected_hash is not None:
        count, digest = record.expected_hash
        values = _sorted_values(record, actual)
        if len(values) != count:
            return f"expected {count} values, got {len(values)}"
        found = hashlib.md5("".join(f"{value}\n" for value in values).encode()).hexdigest()
        return None if found == digest else f"expected hash {digest}, got {found}; first values {values[:8]}"
    expected = _expected_rows(record, columns)
    if isinstance(expected, str):
        return expected
    wanted, found_values = _sorted_values(record, expected), _sorted_values(record, actual)
    if len(wanted) != len(found_values):
        return f"expected {len(wanted)} values {wanted[:12]}, got {len(found_values)} {found_values[:12]}"
    same = _equal_duckdb if form == "duckdb" else str.__eq__
    for place, (want, found) in enumerate(zip(wanted, found_values, strict=True)):
        if not same(want, found):
            return f"value {place}: expected {want!r}, got {found!r}; {wanted[:8]} against {found_values[:8]}"
    return None


def _expected_rows(record: Record, columns: int) -> list[list[str]] | str:
    """The expected rows: a row a line with tabs between the values, or a value a line."""
    lines = record.expected
    by_row = [line.split("\t") for line in lines]
    if columns > 1 and lines and all(len(row) == columns for row in by_row):
        return by_row
    if len(lines) % columns:
        return f"the file expects {len(lines)} values, which is no multiple of {columns} columns"
    return [list(lines[at : at + columns]) for at in range(0, len(lines), columns)]


def _sorted_values(record: Record, rows: list[list[str]]) -> list[str]:
    match record.sort:
        case "nosort":
            return [value for row in rows for value in row]
        case "rowsort":
            return [value for row in sorted(rows, key=_row_bytes) for value in row]
        case "valuesort":
            return sorted((value for row in rows for value in row), key=str.encode)
        case other:
            raise AssertionError(other)


def _row_bytes(row: list[str]) -> list[bytes]:
    return [value.encode() for value in row]


def sqlite_text(value: object, kind: str) -> str:
    """SQLite's rule: the kind decides, and another type is converted as SQLite's C interface does."""
    if value is None:
        return "NULL"
    match kind:
        case "I":
            return str(_as_integer(value))
        case "R":
            return f"{_as_float(value):.3f}"
        case _:
            text = _plain_text(value)
            return "".join(c if " " <= c <= "~" else "@" for c in text) or "(empty)"


def _as_integer(value: object) -> int:
    match value:
        case bool() | int() | float() | Decimal():
            return int(value)
        case _:
            return int(_leading_number(str(value)))


def _as_float(value: object) -> float:
    match value:
        case bool() | int() | float() | Decimal():
            return float(value)
        case _:
            return _leading_number(str(value))


def _leading_number(text: str) -> float:
    """The number that a text begins with, as SQLite's conversion reads it; 0 if it begins with none."""
    for end in range(len(text), 0, -1):
        try:
            return float(text[:end])
        except ValueError:
            continue
    return 0.0


def _plain_text(value: object) -> str:
    match value:
        case bool():
            return str(int(value))
        case float():
            return str(int(value)) + ".0" if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
        case bytes():
            return value.decode("latin-1")
        case _:
            return str(value)


def duckdb_text(value: object) -> str:
    """DuckDB's rule: the value's own text, whatever the kind says."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case float():
            if math.isfinite(value):
                return repr(value)
            return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case bytes():
            return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02X}" for b in value)
        case str():
            return value.replace("\0", "\\0") or "(empty)"
        case _:
            return str(value)


def _equal_duckdb(want: str, found: str) -> bool:
    """Equal as texts, as booleans written 1 and 0, or as numbers up to rounding."""
    if want == found or {want, found} in ({"true", "1"}, {"false", "0"}):
        return True
    try:
        return math.isclose(float(want), float(found), rel_tol=1e-6, abs_tol=1e-12)
    except ValueError:
        return False
