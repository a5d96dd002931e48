"""What converts to what without asking, and the casts and operators that follow from it.

A *literal* is flexible, as in DuckDB: an integer literal takes the integer type beside it when it fits, a
string literal takes any type that can read it (and fails to bind when it cannot), NULL takes every type.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from planner import evaluate, literals, types
from planner.errors import BindError
from planner.expr import Arithmetic, Call, Cast, Comparison, Expr, InList, Literal, disjunction, null

_TEMPORAL_STEPS = {
    (types.DATE, types.TIMESTAMP): 1, (types.TIMESTAMP, types.TIMESTAMPTZ): 2,
    (types.DATE, types.TIMESTAMPTZ): 3,
}  # fmt: skip


def literal_of(value: Any) -> Literal:
    """The literal of a Python value, with the type SQL gives it.

    Raises:
        BindError: there is no SQL value for it.
    """
    match value:
        case None:
            return null(types.NULL)
        case bool():
            return Literal(value, types.BOOLEAN)
        case int():
            return integer_literal(value)
        case float():
            return Literal(value, types.DOUBLE)
        case Decimal():
            return decimal_literal(value)
        case str():
            return Literal(value, types.VARCHAR)
        case bytes() | bytearray() | memoryview():
            return Literal(bytes(value), types.BLOB)
        case dt.datetime():
            return _moment_literal(value)
        case dt.date():
            return Literal(value, types.DATE)
        case dt.time() if value.tzinfo is None:
            return Literal(value, types.TIME)
        case pa.MonthDayNano():
            return Literal(value, types.INTERVAL)
        case dt.timedelta():
            nanoseconds = (value.seconds * 1_000_000 + value.microseconds) * 1000
            return Literal(literals.make_interval(0, value.days, nanoseconds), types.INTERVAL)
        case _:
            return _other_literal(value)


def _moment_literal(value: dt.datetime) -> Literal:
    """A timestamp. Those of pandas are a class of their own: NaT is none, and has no value to compare with."""
    if value != value:
        return null(types.TIMESTAMP)
    if type(value) is not dt.datetime:
        value = dt.datetime.combine(value.date(), value.time(), value.tzinfo)
    if value.tzinfo is None:
        return Literal(value, types.TIMESTAMP)
    return Literal(value.astimezone(dt.UTC), types.TIMESTAMPTZ)


def _other_literal(value: Any) -> Literal:
    """Scalars of NumPy, pandas and Arrow, by what they turn into."""
    for method in ("as_py", "to_pydatetime", "item"):
        convert = getattr(value, method, None)
        if callable(convert):
            plain = convert()
            if type(plain) is not type(value):
                return literal_of(plain)
    raise BindError(
        f"a value of type {type(value).__name__} has no SQL type", hint="pass a number, string, date or None"
    )


def integer_literal(value: int) -> Literal:
    """An integer literal: INTEGER if it fits, BIGINT, else DECIMAL(38,0)."""
    for dtype in (types.INTEGER, types.BIGINT):
        low, high = literals.integer_range(dtype)
        if low <= value <= high:
            return Literal(value, dtype)
    if abs(value) >= 10**types.MAX_PRECISION:
        return Literal(float(value), types.DOUBLE)
    return Literal(Decimal(value), types.decimal(types.MAX_PRECISION, 0))


def decimal_literal(value: Decimal) -> Literal:
    """A decimal literal with as many digits as it is written with; beyond 38 digits a DOUBLE."""
    if not value.is_finite():
        return Literal(float(value), types.DOUBLE)
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if exponent > 0:
        digits, exponent = (*digits, *(0,) * exponent), 0
    precision = max(len(digits), -exponent)
    if precision > types.MAX_PRECISION:
        return Literal(float(value), types.DOUBLE)
    dtype = types.decimal(precision, -exponent)
    return Literal(literals.to_decimal(value, dtype), dtype)


def is_string_literal(expr: Expr) -> bool:
    return isinstance(expr, Literal) and expr.dtype == types.VARCHAR and expr.value is not None


def is_integer_literal(expr: Expr) -> bool:
    return isinstance(expr, Literal) and types.is_integer(expr.dtype) and expr.value is not None


def constant(expr: Expr) -> Literal | None:
    """The value of an expression that is constant for certain."""
    return evaluate.evaluate(expr)


def cast(expr: Expr, dtype: pa.DataType) -> Expr:
    """``expr`` as ``dtype``: itself, a converted literal, or a Cast.

    Raises:
        BindError: a literal that is no value of the type, or a conversion that does not exist.
    """
    if expr.dtype == dtype:
        return expr
    if isinstance(expr, Literal):
        return _cast_literal(expr, dtype)
    if not can_cast(expr.dtype, dtype):
        raise BindError(f"{types.type_name(expr.dtype)} does not convert to {types.type_name(dtype)}")
    return Cast(expr, dtype)


def _cast_literal(literal: Literal, dtype: pa.DataType) -> Expr:
    value, source = literal.value, literal.dtype
    if value is None:
        return null(dtype)
    if not can_cast(source, dtype):
        raise BindError(f"{types.type_name(source)} does not convert to {types.type_name(dtype)}")
    try:
        if source == types.VARCHAR:
            return Literal(literals.read(value, dtype), dtype)
        if types.is_integer(source) and types.is_float(dtype):
            return Literal(literals.to_float32(value) if dtype == types.FLOAT else float(value), dtype)
        if types.is_decimal(source) and types.is_float(dtype):
            return Literal(literals.to_float32(float(value)) if dtype == types.FLOAT else float(value), dtype)
        if types.is_integer(source) and types.is_integer(dtype):
            low, high = literals.integer_range(dtype)
            if not low <= value <= high:
                raise ValueError(value)
            return Literal(value, dtype)
        if (types.is_integer(source) or types.is_decimal(source)) and types.is_decimal(dtype):
            return Literal(literals.to_decimal(value, dtype), dtype)
        return Literal(evaluate.cast(value, source, dtype), dtype)
    except (ValueError, OverflowError):
        name = types.type_name(dtype)
        message = f"could not convert '{value}' to {name}"
        if source != types.VARCHAR:
            message = f"{value} is out of range for {name}"
        raise BindError(message, hint=_FORMS.get(dtype)) from None
    except evaluate.NotConstant:
        return Cast(literal, dtype)


_FORMS = {
    types.DATE: "a date is written '1995-01-31'",
    types.TIMESTAMP: "a timestamp is written '1995-01-31 10:30:00'",
    types.TIMESTAMPTZ: "a timestamp with time zone is written '1995-01-31 10:30:00+00'",
    types.TIME: "a time is written '10:30:00'",
    types.INTERVAL: "an interval is written '1 year 2 months 3 days 04:05:06'",
    types.BOOLEAN: "a boolean is written 'true' or 'false'",
}


def can_cast(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether CAST exists, whatever its values."""
    if source == target or types.NULL in (source, target) or types.VARCHAR in (source, target):
        return True
    number_like = (
        types.is_numeric(source) or source == types.BOOLEAN,
        types.is_numeric(target) or target == types.BOOLEAN,
    )
    if all(number_like):
        return True
    match source, target:
        case (types.DATE, types.TIMESTAMP | types.TIMESTAMPTZ):
            return True
        case (
            types.TIMESTAMP | types.TIMESTAMPTZ,
            types.DATE | types.TIME | types.TIMESTAMP | types.TIMESTAMPTZ,
        ):
            return True
        case _:
            return False


def cost(expr: Expr, target: pa.DataType) -> int | None:
    """How far ``expr`` is from ``target`` by conversions that nobody asked for; None if there is none."""
    source = expr.dtype
    if source == target:
        return 0
    if source == types.NULL:
        return 1
    if is_string_literal(expr):
        return 20
    if is_integer_literal(expr) and types.is_integer(target):
        assert isinstance(expr, Literal)
        low, high = literals.integer_range(target)
        return 1 + abs(int(target.bit_width) - int(source.bit_width)) // 8 if low <= expr.value <= high else None
    if types.is_numeric(source) and types.is_numeric(target):
        return _numeric_cost(source, target)
    return _TEMPORAL_STEPS.get((source, target))


def _numeric_cost(source: pa.DataType, target: pa.DataType) -> int | None:
    if types.is_integer(source) and types.is_integer(target):
        if types.common_supertype(source, target) != target:
            return None
        return 1 + int(target.bit_width - source.bit_width) // 8
    if target == types.DOUBLE:
        return 10
    if target == types.FLOAT:
        return 11 if source != types.DOUBLE else None
    if types.is_decimal(target) and not types.is_float(source):
        return 12 if types.common_decimal(source, target) == target else None
    return None


def common_type(args: Sequence[Expr]) -> pa.DataType | None:
    """The type that all arguments convert to without asking, literals being flexible; or None."""
    fixed: pa.DataType = types.NULL
    for arg in args:
        if not (is_string_literal(arg) or is_integer_literal(arg)):
            merged = types.common_supertype(fixed, arg.dtype)
            if merged is None:
                return None
            fixed = merged
    for arg in args:
        if not is_integer_literal(arg):
            continue
        if types.is_integer(fixed) and cost(arg, fixed) is not None:
            continue
        merged = types.common_supertype(fixed, arg.dtype)
        if merged is None:
            return None
        fixed = merged
    if fixed == types.NULL and any(map(is_string_literal, args)):
        return types.VARCHAR
    return fixed


def unify(args: Sequence[Expr], what: str) -> tuple[tuple[Expr, ...], pa.DataType]:
    """The arguments cast to their common type, and that type.

    Raises:
        BindError: there is none; ``what`` (``CASE``, ``COALESCE``) names the construct.
    """
    dtype = common_type(args)
    if dtype is None:
        names = ", ".join(dict.fromkeys(types.type_name(a.dtype) for a in args))
        raise BindError(f"{what} cannot mix {names}", hint="cast the values to one type")
    return tuple(cast(a, dtype) for a in args), dtype


def comparison_type(args: Sequence[Expr], *, equality: bool = True) -> pa.DataType | None:
    """The type that values are compared in: the common type, and two cases more, as DuckDB has them.

    A string compared for equality with another type is cast to that type, a boolean compared with a number to
    the number's type.
    """
    strings = [a for a in args if a.dtype == types.VARCHAR and not is_string_literal(a)]
    others = [a for a in args if not (a.dtype == types.VARCHAR or a.dtype == types.NULL)]
    if strings and others:
        if not equality:
            return None
        return common_type(others)
    booleans = [a for a in args if a.dtype == types.BOOLEAN]
    numbers = [a for a in args if types.is_numeric(a.dtype)]
    if booleans and numbers and len(booleans) + len(numbers) == len(others):
        return common_type(numbers)
    return common_type(args)


def compare(op: str, left: Expr, right: Expr) -> Expr:
    """``left op right`` with both sides cast to one type.

    Raises:
        BindError: the types do not compare.
    """
    equality = op in ("=", "<>", "is distinct from", "is not distinct from")
    dtype = comparison_type((left, right), equality=equality)
    if dtype is None:
        raise BindError(
            f"{types.type_name(left.dtype)} and {types.type_name(right.dtype)} do not compare",
            hint="cast one side to the other's type",
        )
    return Comparison(op, cast(left, dtype), cast(right, dtype))


def in_list(arg: Expr, values: Sequence[Expr]) -> Expr:
    """``arg IN (values)``: an InList of the constants, OR an equality for each of the other values."""
    dtype = comparison_type((arg, *values))
    if dtype is None:
        names = ", ".join(dict.fromkeys(types.type_name(v.dtype) for v in values))
        raise BindError(f"{types.type_name(arg.dtype)} and {names} do not compare", hint="cast the values to one type")
    arg = cast(arg, dtype)
    converted = [cast(v, dtype) for v in values]
    constants = tuple(dict.fromkeys(v for v in converted if isinstance(v, Literal)))
    tests: list[Expr] = [Comparison("=", arg, v) for v in converted if not isinstance(v, Literal)]
    if len(constants) == 1:
        tests.insert(0, Comparison("=", arg, constants[0]))
    elif constants:
        tests.insert(0, InList(arg, constants))
    return disjunction(tests)


def boolean(expr: Expr) -> Expr:
    """``expr`` where a condition is asked for: numbers are TRUE unless 0, strings are read.

    Raises:
        BindError: the type has no truth.
    """
    return cast(expr, types.BOOLEAN)


# ------------------------------------------------------------------------------ arithmetic


def arithmetic(op: str, left: Expr, right: Expr) -> Expr:
    """``left op right`` for ``+ - * / // %`` over numbers, dates, times and intervals.

    Raises:
        BindError: no such operator on these types.
    """
    left, right = _read_operand(left, right), _read_operand(right, left)
    if _number_like(left) and _number_like(right):
        return _numeric(op, left, right)
    found = _temporal(op, left, right)
    if found is not None:
        return found
    a, b = types.type_name(left.dtype), types.type_name(right.dtype)
    raise BindError(f"there is no {a} {op} {b}", hint="cast the operands to types that have it")


def _number_like(expr: Expr) -> bool:
    return types.is_numeric(expr.dtype) or expr.dtype == types.NULL


def _read_operand(expr: Expr, other: Expr) -> Expr:
    """A string literal beside a number is read as one."""
    if is_string_literal(expr) and types.is_numeric(other.dtype):
        return cast(expr, other.dtype)
    return expr


def _numeric(op: str, left: Expr, right: Expr) -> Expr:
    if left.dtype == types.NULL and right.dtype == types.NULL:
        left, right = null(types.INTEGER), null(types.INTEGER)
    elif types.NULL in (left.dtype, right.dtype):
        dtype = right.dtype if left.dtype == types.NULL else left.dtype
        left, right = cast(left, dtype), cast(right, dtype)
    floats = types.is_float(left.dtype) or types.is_float(right.dtype)
    decimals = types.is_decimal(left.dtype) or types.is_decimal(right.dtype)
    if op == "/" or (op == "//" and (floats or decimals)):
        # As in DuckDB, // is integer division of integers alone, and otherwise a / that has no quotient by zero.
        # / of two FLOATs stays FLOAT.
        dtype = common_type((left, right)) if floats else types.DOUBLE
        assert dtype is not None
        return Arithmetic(op, cast(left, dtype), cast(right, dtype), dtype)
    if floats or not decimals:
        dtype = common_type((left, right))
        assert dtype is not None
        if not types.is_decimal(dtype):  # UBIGINT beside a signed integer meets it in a decimal
            return Arithmetic(op, cast(left, dtype), cast(right, dtype), dtype)
        if op == "//":
            raise BindError(f"there is no {types.type_name(left.dtype)} // {types.type_name(right.dtype)}")
    left, right = _decimal_operand(left, op), _decimal_operand(right, op)
    return Arithmetic(op, left, right, _decimal_result(op, left.dtype, right.dtype))


def _decimal_operand(expr: Expr, op: str) -> Expr:
    if types.is_decimal(expr.dtype):
        return expr
    if is_integer_literal(expr) and op == "*":
        # A factor's own digits, not its type's: the product stays narrow enough for 64 bits.
        assert isinstance(expr, Literal)
        return cast(expr, types.decimal(len(str(abs(expr.value))), 0))
    return cast(expr, types.as_decimal(expr.dtype))


def _decimal_result(op: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    match op:
        case "+" | "-":
            return types.add_result(left, right)
        case "*":
            try:
                return types.multiply_result(left, right)
            except ValueError as error:
                raise BindError(str(error), hint="cast a factor to fewer decimal places, or to DOUBLE") from None
        case "%":
            return types.common_decimal(left, right)
        case _:
            raise BindError(f"there is no operator {op} on DECIMAL")


def _temporal(op: str, left: Expr, right: Expr) -> Expr | None:
    kinds = (_kind(left), op, _kind(right))
    if is_string_literal(left) or is_string_literal(right):
        return _temporal_string(op, left, right)
    if op == "+" and kinds in _COMMUTED:
        left, right = right, left
        kinds = (kinds[2], "+", kinds[0])
    match kinds:
        case ("date", "+" | "-", "number") if types.is_integer(right.dtype) or right.dtype == types.NULL:
            days = cast(right, types.INTEGER) if op == "+" else negate(cast(right, types.INTEGER))
            return Call("date_add_days", (left, days), types.DATE)
        case ("date", "+" | "-", "interval"):
            return Call("date_add_interval", (left, _signed(op, right)), types.TIMESTAMP)
        case ("timestamp" | "timestamptz", "+" | "-", "interval"):
            return Call("timestamp_add_interval", (left, _signed(op, right)), left.dtype)
        case ("time", "+" | "-", "interval"):
            return Call("time_add_interval", (left, _signed(op, right)), types.TIME)
        case ("date", "+", "time"):
            return Call("date_add_time", (left, right), types.TIMESTAMP)
        case ("date", "-", "date"):
            return Call("date_sub_date", (left, right), types.BIGINT)
        case ("date" | "timestamp" | "timestamptz", "-", "date" | "timestamp" | "timestamptz"):
            dtype = types.common_supertype(left.dtype, right.dtype)
            assert dtype is not None
            return Call("timestamp_diff", (cast(left, dtype), cast(right, dtype)), types.INTERVAL)
        case ("interval", "+" | "-", "interval"):
            return Call("interval_add", (left, _signed(op, right)), types.INTERVAL)
        case ("interval", "*" | "/", "number"):
            name = "interval_multiply" if op == "*" else "interval_divide"
            return Call(name, (left, cast(right, types.DOUBLE)), types.INTERVAL)
        case ("number", "*", "interval"):
            return Call("interval_multiply", (right, cast(left, types.DOUBLE)), types.INTERVAL)
        case _:
            return None


# What + takes the other way round too.
_COMMUTED = frozenset(
    {
        ("number", "+", "date"),
        ("time", "+", "date"),
        *(("interval", "+", k) for k in ("date", "timestamp", "timestamptz", "time")),
    }
)


def _temporal_string(op: str, left: Expr, right: Expr) -> Expr | None:
    """A string literal beside a date is refused by DuckDB as ambiguous, except where one meaning is left."""
    for text, other, forward in ((right, left, True), (left, right, False)):
        if not is_string_literal(text) or _kind(other) != "interval":
            continue
        read = cast(text, types.INTERVAL)
        return _temporal(op, other, read) if forward else _temporal(op, read, other)
    return None


def _kind(expr: Expr) -> str | None:
    dtype = expr.dtype
    if _number_like(expr):
        return "number"
    return {
        types.DATE: "date", types.TIMESTAMP: "timestamp", types.TIMESTAMPTZ: "timestamptz",
        types.TIME: "time", types.INTERVAL: "interval",
    }.get(dtype)  # fmt: skip


def _signed(op: str, interval: Expr) -> Expr:
    return interval if op == "+" else negate(interval)


def negate(expr: Expr) -> Expr:
    """``-expr`` of a number or an interval; a literal's sign is part of it.

    Raises:
        BindError: it is neither.
    """
    match expr:
        case Literal(None, dtype) if dtype == types.NULL:
            return null(types.BIGINT)
        case Literal(pa.MonthDayNano() as value, _):
            return Literal(literals.make_interval(-value[0], -value[1], -value[2]), types.INTERVAL)
        case Literal(int() as value, dtype) if types.is_integer(dtype):
            return (
                integer_literal(-value)
                if dtype in (types.INTEGER, types.BIGINT)
                else cast(integer_literal(-value), dtype)
            )
        case Literal(Decimal() as value, dtype) if dtype == types.decimal(types.MAX_PRECISION, 0):
            return integer_literal(-int(value))
        case Literal(float() | Decimal() as value, dtype) if types.is_numeric(dtype):
            negative = value and value.copy_negate() if isinstance(value, Decimal) else -value
            return Literal(negative, dtype)
    if types.is_numeric(expr.dtype):
        return Call("negate", (expr,), expr.dtype)
    if expr.dtype == types.INTERVAL:
        return Call("interval_negate", (expr,), types.INTERVAL)
    raise BindError(f"there is no - {types.type_name(expr.dtype)}")
