"""Errors that rows raise while a query runs, and the Polars exceptions they come back as.

Polars has no expression that raises. A strict cast of a value that does not fit does, and names the value:
so a failed check casts a code that fits no Int8, and ``execution_error`` turns the code into words.

On a GPU numbers are cast without a check, and only text that is no number raises: there a failed check casts such text.
What it says is not read, since the fragment then runs again on the CPU.
"""

from __future__ import annotations

import re
from enum import IntEnum

import polars as pl

from executor.dtypes import integer_limits
from executor.value import NotOnDevice, Scope
from planner.errors import ExecutionError, OutOfMemoryError, SqlrayError


class Failure(IntEnum):
    """What can go wrong with a row, beyond a value that does not convert."""

    DIVISION_BY_ZERO = 1_000_001
    DECIMAL_OVERFLOW = 1_000_002
    MORE_THAN_ONE_ROW = 1_000_003
    DATE_OUT_OF_RANGE = 1_000_004
    NEGATIVE_SHIFT = 1_000_005
    OUT_OF_RANGE = 1_000_006


_MESSAGES: dict[Failure, tuple[str, str | None]] = {
    Failure.DIVISION_BY_ZERO: ("division by zero", "guard the divisor: x // nullif(y, 0)"),
    Failure.DECIMAL_OVERFLOW: (
        "a value does not fit the digits of its DECIMAL type",
        "cast to a DECIMAL with more digits, or to DOUBLE",
    ),
    Failure.MORE_THAN_ONE_ROW: (
        "more than one row returned by a subquery used as an expression",
        "add LIMIT 1, or an aggregate such as any_value(…), to the subquery",
    ),
    Failure.DATE_OUT_OF_RANGE: ("a date or timestamp is out of range", None),
    Failure.NEGATIVE_SHIFT: ("cannot shift the bits of a negative number to the left", None),
    Failure.OUT_OF_RANGE: ("a number is out of range", "cast to a wider type, or use TRY_CAST"),
}

_SQL_TYPES = {
    "i8": "TINYINT", "i16": "SMALLINT", "i32": "INTEGER", "i64": "BIGINT", "i128": "DECIMAL(38)",
    "u8": "UTINYINT", "u16": "USMALLINT", "u32": "UINTEGER", "u64": "UBIGINT",
    "f32": "FLOAT", "f64": "DOUBLE", "str": "VARCHAR", "bool": "BOOLEAN", "date": "DATE", "time": "TIME",
}  # fmt: skip

_CONVERSION = re.compile(
    r"conversion from `(?P<source>[^`]+)` to `(?P<target>[^`]+)` failed in column .*? for \d+ out of \d+ values: "
    r"\[(?P<values>.*?)\]",
    re.DOTALL,
)

_CSV_VALUE = re.compile(
    r"could not parse `(?P<value>.*)` as dtype `(?P<target>[^`]+)` at column '(?P<column>.*)' \(column number"
)
_JSON_VALUE = re.compile(r"cannot parse '(?P<value>.*)' \((?P<source>\w+)\) as (?P<target>\w+)")


def fail_if(condition: pl.Expr, failure: Failure, scope: Scope) -> pl.Expr:
    """A Boolean that is always TRUE; evaluating it raises if ``condition`` is TRUE for a row that counts."""
    fails = condition if scope.guard is None else condition & scope.guard
    if scope.device == "gpu":  # one value for all rows: what is checked is not copied then
        return pl.when(fails.any()).then(pl.lit("fails")).otherwise(pl.lit("0")).cast(pl.Int64) == 0
    return pl.when(fails).then(pl.lit(int(failure), dtype=pl.Int32)).otherwise(0).cast(pl.Int8) == 0


def checked(expr: pl.Expr, condition: pl.Expr, failure: Failure, scope: Scope) -> pl.Expr:
    """``expr``, raising ``failure`` if ``condition`` is TRUE for a row that counts."""
    return pl.when(fail_if(condition, failure, scope)).then(expr)


def strict_cast(expr: pl.Expr, source: pl.DataType, dtype: pl.DataType, scope: Scope) -> pl.Expr:
    """A cast of a ``source`` that raises where a value does not fit, for the rows that count."""
    if scope.device == "gpu":
        inside = fits_type(expr, source, dtype)
        return checked(expr.cast(dtype, strict=False), inside.not_(), Failure.OUT_OF_RANGE, scope)
    if scope.guard is not None:
        expr = pl.when(scope.guard).then(expr)
    return expr.cast(dtype)


def lenient_cast(expr: pl.Expr, source: pl.DataType, dtype: pl.DataType, scope: Scope) -> pl.Expr:
    """A cast of a ``source`` that gives NULL where a value does not fit."""
    if scope.device == "gpu":
        return pl.when(fits_type(expr, source, dtype)).then(expr.cast(dtype, strict=False))
    return expr.cast(dtype, strict=False)


def fits_type(number: pl.Expr, source: pl.DataType, target: pl.DataType) -> pl.Expr:
    """Whether a number of type ``source`` fits an integer type, told without a cast; NULL for NULL.

    Raises:
        NotOnDevice: it is not a number, or the target no integer.
    """
    if not target.is_integer() or not (source.is_integer() or source.is_float()):
        raise NotOnDevice(f"cuDF does not check casts (of {source} to {target})")
    low, high = integer_limits(target)
    if source.is_float():  # powers of two, which floats hold
        return number.is_between(pl.lit(float(low), dtype=source), pl.lit(float(high + 1), dtype=source), closed="left")
    least, most = integer_limits(source)
    # The number is named once: what nests would grow with every name.
    return number.is_between(pl.lit(max(low, least), dtype=source), pl.lit(min(high, most), dtype=source))


def execution_error(error: BaseException) -> SqlrayError:
    """The sqlray error for an exception that Polars raised while a plan ran."""
    if isinstance(error, SqlrayError):
        return _restored(error)
    text = str(error)
    found = _CONVERSION.search(text)
    if found is not None:
        return _conversion_error(found)
    found = _CSV_VALUE.search(text)
    if found is not None:
        return ExecutionError(
            f"column \"{found['column']}\" of a CSV file holds '{found['value']}', which is no "
            f"{_sql_type(found['target'])} as the first rows are",
            hint="read_csv('…', sample_size = -1) tells types from the whole file, all_varchar = true reads text",
        )
    found = _JSON_VALUE.search(text)
    if found is not None:
        return ExecutionError(
            f"a JSON file holds {found['value']} ({found['source']}) where the first rows have {found['target']}",
            hint="read_json('…', sample_size = -1) tells types from the whole file",
        )
    if "overflow in decimal" in text or "doesn't fit Decimal" in text or "decimal precision" in text.lower():
        return failure_error(Failure.DECIMAL_OVERFLOW)
    if isinstance(error, MemoryError):
        return OutOfMemoryError("the query ran out of memory", hint="SET memory_limit to bound what it holds")
    if isinstance(error, FileNotFoundError):
        return ExecutionError(f"a file is missing: {_first_line(text)}")
    if isinstance(error, PermissionError):
        return ExecutionError(f"no permission to read a file: {_first_line(text)}")
    if isinstance(error, OSError):
        return ExecutionError(f"a file could not be read or written: {_first_line(text)}")
    if "regex" in text.lower():
        return ExecutionError(f"a regular expression is not valid: {_first_line(text)}")
    if isinstance(error, pl.exceptions.ComputeError) and ("parquet" in text.lower() or "file" in text.lower()):
        return ExecutionError(f"a file could not be read: {_first_line(text)}", hint="it may be cut off or corrupt")
    return ExecutionError(f"the query failed while it ran: {_first_line(text)}")


def _restored(error: SqlrayError) -> SqlrayError:
    """An error of ours as it was raised: Polars raises it again, with all of its text and an expression as message."""
    text, _, place = error.message.partition("\n\nThis error occurred in the following expression:")
    if not place:
        return error
    message, _, hint = text.partition("\nHint: ")
    return type(error)(message, hint=hint or error.hint)


def failure_error(failure: Failure) -> ExecutionError:
    message, hint = _MESSAGES[failure]
    return ExecutionError(message, hint=hint)


def _conversion_error(found: re.Match[str]) -> ExecutionError:
    value = found["values"].split(", ")[0]
    if found["target"] == "i8" and value.lstrip("-").isdigit() and int(value) in Failure._value2member_map_:
        return failure_error(Failure(int(value)))
    source, target = _sql_type(found["source"]), _sql_type(found["target"])
    if source == "VARCHAR":
        text = value.strip('"').replace("'", "''")
        return ExecutionError(
            f"could not convert string '{text}' to {target}", hint="TRY_CAST gives NULL instead of an error"
        )
    return ExecutionError(
        f"overflow: the value {value} is out of range for {target}",
        hint="cast to a wider type, or use TRY_CAST",
    )


def _sql_type(name: str) -> str:
    if name.startswith("decimal"):
        return name.upper().replace("[", "(").replace("]", ")")
    if name.startswith("datetime"):
        return "TIMESTAMP"
    return _SQL_TYPES.get(name, name)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "no reason given"
