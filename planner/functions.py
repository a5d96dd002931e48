"""Every function sqlray knows: one line a function, and how a call finds its types.

A line names the function, its signatures (read as ``signatures`` says), its aliases, and says what it does.
The executor implements every function by its canonical name; a function that does not look at NULLs itself
gives NULL for a NULL argument. Aggregates are in ``functions_aggregate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from planner import coercion, literals, types
from planner.errors import BindError, UnsupportedError, nearest
from planner.expr import Call, Case, Expr, Literal, null
from planner.record import record
from planner.signatures import match_signature, no_overload, result_type, unknown_function


@record
class Function:
    """A scalar function: a line of the table below."""

    name: str
    signatures: tuple[str, ...]
    help: str
    aliases: tuple[str, ...] = ()
    null_on_null: bool = True
    volatile: bool = False


def _f(
    name: str, signatures: str, help: str, aliases: str = "", *, nulls: bool = False, volatile: bool = False
) -> Function:
    """One line: overloads are separated by ``|``; ``nulls`` says that the function looks at NULLs itself."""
    return Function(
        name,
        tuple(s.strip() for s in signatures.split("|")),
        help,
        tuple(aliases.split()),
        not nulls,
        volatile,
    )


_DATE_PART = "DATE -> BIGINT | TIMESTAMP -> BIGINT | TIMESTAMPTZ -> BIGINT | INTERVAL -> BIGINT"
_CALENDAR_PART = "DATE -> BIGINT | TIMESTAMP -> BIGINT | TIMESTAMPTZ -> BIGINT"
_TIME_PART = f"{_DATE_PART} | TIME -> BIGINT"
_DIFFERENCE = (
    "VARCHAR!, DATE, DATE -> BIGINT | VARCHAR!, TIMESTAMP, TIMESTAMP -> BIGINT"
    " | VARCHAR!, TIMESTAMPTZ, TIMESTAMPTZ -> BIGINT"
)
_DOUBLE = "DOUBLE -> DOUBLE"

# fmt: off
_NUMBERS = (
    _f("abs", "NUM -> 1", "Absolute value", "@"),
    _f("negate", "NUM -> negate", "The number with its sign changed; what unary minus calls"),
    _f("sign", "NUM -> TINYINT", "-1, 0 or 1 by the sign"),
    _f("ceil", "DEC -> integral | FLOAT -> FLOAT | DOUBLE -> DOUBLE", "Smallest integer not below",
       "ceiling"),
    _f("floor", "DEC -> integral | FLOAT -> FLOAT | DOUBLE -> DOUBLE", "Largest integer not above"),
    _f("round", "INT, [INTEGER!] -> 1 | DEC, [INTEGER!] -> rounded | FLOAT, [INTEGER!] -> FLOAT"
       " | DOUBLE, [INTEGER!] -> DOUBLE", "Rounded to digits after the point, halves away from zero"),
    _f("trunc", "INT, [INTEGER!] -> 1 | DEC, [INTEGER!] -> rounded | FLOAT, [INTEGER!] -> FLOAT"
       " | DOUBLE, [INTEGER!] -> DOUBLE", "Cut toward zero, to digits after the point"),
    _f("sqrt", _DOUBLE, "Square root; of a negative number NaN"),
    _f("cbrt", _DOUBLE, "Cube root"),
    _f("exp", _DOUBLE, "e to the power"),
    _f("ln", _DOUBLE, "Natural logarithm"),
    _f("log10", _DOUBLE, "Logarithm to base 10"),
    _f("log2", _DOUBLE, "Logarithm to base 2"),
    _f("log", "DOUBLE -> DOUBLE | DOUBLE, DOUBLE -> DOUBLE", "log(x): to base 10; log(b, x): to base b"),
    _f("pow", "DOUBLE, DOUBLE -> DOUBLE", "Power", "power ** ^"),
    _f("mod", "", "Remainder, with the sign of the dividend; the operator %", "%"),
    _f("greatest", "T... -> T", "The largest argument that is not NULL", nulls=True),
    _f("least", "T... -> T", "The smallest argument that is not NULL", nulls=True),
    _f("sin", _DOUBLE, "Sine"),
    _f("cos", _DOUBLE, "Cosine"),
    _f("tan", _DOUBLE, "Tangent"),
    _f("cot", _DOUBLE, "Cotangent"),
    _f("asin", _DOUBLE, "Arc sine; outside [-1, 1] NaN"),
    _f("acos", _DOUBLE, "Arc cosine; outside [-1, 1] NaN"),
    _f("atan", _DOUBLE, "Arc tangent"),
    _f("atan2", "DOUBLE, DOUBLE -> DOUBLE", "Arc tangent of y / x, in the right quadrant"),
    _f("sinh", _DOUBLE, "Hyperbolic sine"),
    _f("cosh", _DOUBLE, "Hyperbolic cosine"),
    _f("tanh", _DOUBLE, "Hyperbolic tangent"),
    _f("asinh", _DOUBLE, "Inverse hyperbolic sine"),
    _f("acosh", _DOUBLE, "Inverse hyperbolic cosine"),
    _f("atanh", _DOUBLE, "Inverse hyperbolic tangent"),
    _f("pi", "-> DOUBLE", "3.14159…"),
    _f("degrees", _DOUBLE, "Radians in degrees"),
    _f("radians", _DOUBLE, "Degrees in radians"),
    _f("bitwise_and", "T, T -> integers", "Bits set in both; the operator &", "&"),
    _f("bitwise_or", "T, T -> integers", "Bits set in either; the operator |", "|"),
    _f("xor", "T, T -> integers", "Bits set in one alone"),
    _f("bitwise_not", "INT -> 1", "Bits turned over; the operator ~", "~"),
    _f("shift_left", "T, T -> integers", "Bits moved left; the operator <<", "<<"),
    _f("shift_right", "T, T -> integers", "Bits moved right; the operator >>", ">>"),
    _f("bit_count", "INT -> TINYINT", "Number of bits set"),
    _f("gcd", "BIGINT, BIGINT -> BIGINT", "Greatest common divisor", "greatest_common_divisor"),
    _f("lcm", "BIGINT, BIGINT -> BIGINT", "Least common multiple", "least_common_multiple"),
    _f("even", "DOUBLE -> DOUBLE", "Next even number away from zero"),
    _f("isnan", "FLOAT -> BOOLEAN | DOUBLE -> BOOLEAN", "Whether it is NaN"),
    _f("isinf", "FLOAT -> BOOLEAN | DOUBLE -> BOOLEAN", "Whether it is infinite"),
    _f("isfinite", "FLOAT -> BOOLEAN | DOUBLE -> BOOLEAN", "Whether it is neither NaN nor infinite"),
    _f("random", "-> DOUBLE", "A random number in [0, 1), another for each row", volatile=True),
)

_STRINGS = (
    _f("length", "VARCHAR -> BIGINT", "Number of characters", "len char_length character_length"),
    _f("strlen", "VARCHAR -> BIGINT", "Number of bytes"),
    _f("octet_length", "BLOB -> BIGINT", "Number of bytes"),
    _f("bit_length", "VARCHAR -> BIGINT", "Number of bits"),
    _f("lower", "VARCHAR -> VARCHAR", "In small letters", "lcase"),
    _f("upper", "VARCHAR -> VARCHAR", "In capital letters", "ucase"),
    _f("trim", "VARCHAR, [VARCHAR] -> VARCHAR", "Without leading and trailing spaces (or given characters)"),
    _f("ltrim", "VARCHAR, [VARCHAR] -> VARCHAR", "Without leading spaces (or given characters)"),
    _f("rtrim", "VARCHAR, [VARCHAR] -> VARCHAR", "Without trailing spaces (or given characters)"),
    _f("substring", "VARCHAR, BIGINT, [BIGINT] -> VARCHAR", "Part from a position (1 is first), of a length",
       "substr"),
    _f("left", "VARCHAR, BIGINT -> VARCHAR", "The first n characters; negative: all but the last n"),
    _f("right", "VARCHAR, BIGINT -> VARCHAR", "The last n characters; negative: all but the first n"),
    _f("replace", "VARCHAR, VARCHAR, VARCHAR -> VARCHAR", "Every occurrence of the second by the third"),
    _f("||", "TEXT, TEXT -> VARCHAR | BLOB, BLOB -> BLOB", "Both, one after the other; NULL if one is NULL"),
    _f("concat", "TEXT... -> VARCHAR", "All, one after the other, without the NULLs", nulls=True),
    _f("concat_ws", "VARCHAR, TEXT... -> VARCHAR", "All but the NULLs, with a separator between", nulls=True),
    _f("strpos", "VARCHAR, VARCHAR -> BIGINT", "Where the second is in the first (1 is first), 0 if nowhere",
       "position instr"),
    _f("starts_with", "VARCHAR, VARCHAR -> BOOLEAN", "Whether it begins with", "prefix ^@"),
    _f("ends_with", "VARCHAR, VARCHAR -> BOOLEAN", "Whether it ends with", "suffix"),
    _f("contains", "VARCHAR, VARCHAR -> BOOLEAN", "Whether the second is in the first"),
    _f("lpad", "VARCHAR, INTEGER, VARCHAR -> VARCHAR", "Filled on the left, or cut, to a length"),
    _f("rpad", "VARCHAR, INTEGER, VARCHAR -> VARCHAR", "Filled on the right, or cut, to a length"),
    _f("repeat", "VARCHAR, BIGINT -> VARCHAR", "n times, one after the other"),
    _f("reverse", "VARCHAR -> VARCHAR", "Characters in the opposite order"),
    _f("split_part", "VARCHAR, VARCHAR, BIGINT -> VARCHAR",
       "The nth part between separators; negative: from the end"),
    _f("regexp_matches", "VARCHAR, VARCHAR, [VARCHAR!] -> BOOLEAN",
       "Whether the pattern matches somewhere; the operator ~"),
    _f("regexp_full_match", "VARCHAR, VARCHAR, [VARCHAR!] -> BOOLEAN",
       "Whether the pattern matches all of it; SIMILAR TO"),
    _f("regexp_replace", "VARCHAR, VARCHAR, VARCHAR, [VARCHAR!] -> VARCHAR",
       "The first match (option g: every match) replaced; \\1 is group 1"),
    _f("regexp_extract", "VARCHAR, VARCHAR, [INTEGER!], [VARCHAR!] -> VARCHAR",
       "The match, or one of its groups; '' if there is none"),
    _f("like", "VARCHAR, VARCHAR, [VARCHAR!] -> BOOLEAN",
       "LIKE: % any characters, _ one; with an escape character",
       "~~ like_escape"),
    _f("ilike", "VARCHAR, VARCHAR, [VARCHAR!] -> BOOLEAN", "LIKE that ignores case", "~~* ilike_escape"),
    _f("glob", "VARCHAR, VARCHAR -> BOOLEAN", "GLOB: * any characters, ? one, [a-z] one of", "~~~"),
    _f("ascii", "VARCHAR -> INTEGER", "Code of the first character; of '' 0"),
    _f("unicode", "VARCHAR -> INTEGER", "Code of the first character; of '' -1", "ord"),
    _f("chr", "INTEGER -> VARCHAR", "The character of a code"),
    _f("md5", "VARCHAR -> VARCHAR | BLOB -> VARCHAR", "MD5 hash in hexadecimal"),
    _f("sha1", "VARCHAR -> VARCHAR | BLOB -> VARCHAR", "SHA-1 hash in hexadecimal"),
    _f("sha256", "VARCHAR -> VARCHAR | BLOB -> VARCHAR", "SHA-256 hash in hexadecimal"),
    _f("translate", "VARCHAR, VARCHAR, VARCHAR -> VARCHAR",
       "Each character of the second by the one of the third at its place, or dropped"),
    _f("hex", "VARCHAR -> VARCHAR | BIGINT -> VARCHAR | UBIGINT -> VARCHAR | BLOB -> VARCHAR",
       "In hexadecimal", "to_hex"),
    _f("bin", "BIGINT -> VARCHAR | UBIGINT -> VARCHAR", "In binary", "to_binary"),
    _f("unhex", "VARCHAR -> BLOB", "The bytes that hexadecimal digits stand for", "from_hex"),
    _f("to_base64", "BLOB -> VARCHAR", "In base 64", "base64"),
    _f("from_base64", "VARCHAR -> BLOB", "The bytes that base 64 digits stand for"),
    _f("encode", "VARCHAR -> BLOB", "The UTF-8 bytes of a string"),
    _f("decode", "BLOB -> VARCHAR", "The string that UTF-8 bytes stand for"),
    _f("levenshtein", "VARCHAR, VARCHAR -> BIGINT", "Edit distance", "editdist3"),
    _f("gen_random_uuid", "-> VARCHAR", "A random UUID, another for each row", "uuid", volatile=True),
)

_DATES = (
    _f("year", _DATE_PART, "The year"),
    _f("quarter", _DATE_PART, "The quarter, 1 to 4"),
    _f("month", _DATE_PART, "The month, 1 to 12"),
    _f("day", _DATE_PART, "The day of the month", "dayofmonth"),
    _f("decade", _DATE_PART, "The year divided by 10"),
    _f("century", _DATE_PART, "The century; 2000 is in the 20th"),
    _f("millennium", _DATE_PART, "The millennium"),
    _f("week", _CALENDAR_PART, "The ISO week of the year", "weekofyear"),
    _f("dayofweek", _CALENDAR_PART, "The day of the week, Sunday 0 to Saturday 6", "weekday dow"),
    _f("isodow", _CALENDAR_PART, "The day of the week, Monday 1 to Sunday 7"),
    _f("dayofyear", _CALENDAR_PART, "The day of the year, 1 to 366", "doy"),
    _f("isoyear", _CALENDAR_PART, "The year that the ISO week belongs to"),
    _f("yearweek", _CALENDAR_PART, "ISO year and week as one number, 199501"),
    _f("hour", _TIME_PART, "The hour, 0 to 23"),
    _f("minute", _TIME_PART, "The minute"),
    _f("second", _TIME_PART, "The whole second of the minute"),
    _f("millisecond", _TIME_PART, "Seconds of the minute in milliseconds"),
    _f("microsecond", _TIME_PART, "Seconds of the minute in microseconds"),
    _f("epoch", _TIME_PART.replace("BIGINT", "DOUBLE"),
       "Seconds since 1970, with fraction"),
    _f("epoch_ms", "TIMESTAMP -> BIGINT | TIMESTAMPTZ -> BIGINT | BIGINT -> TIMESTAMP",
       "Milliseconds since 1970, and back"),
    _f("epoch_us", "TIMESTAMP -> BIGINT | TIMESTAMPTZ -> BIGINT", "Microseconds since 1970"),
    _f("epoch_ns", "TIMESTAMP -> BIGINT | TIMESTAMPTZ -> BIGINT", "Nanoseconds since 1970"),
    _f("julian", "TIMESTAMP -> DOUBLE", "The Julian day, with fraction"),
    _f("date_part", "", "A part of a date, time or interval: date_part('year', d), EXTRACT(year FROM d)",
       "datepart"),
    _f("date_trunc", "VARCHAR!, TIMESTAMP -> TIMESTAMP | VARCHAR!, TIMESTAMPTZ -> TIMESTAMPTZ",
       "The start of the year, month, day, … it lies in", "datetrunc"),
    _f("date_diff", _DIFFERENCE, "Boundaries of a part between two dates", "datediff"),
    _f("date_sub", _DIFFERENCE, "Whole parts between two dates", "datesub"),
    _f("date_add", "", "The operator +"),
    _f("last_day", "DATE -> DATE | TIMESTAMP -> DATE | TIMESTAMPTZ -> DATE", "The last day of its month"),
    _f("monthname", _CALENDAR_PART.replace("BIGINT", "VARCHAR"), "The month's name in English"),
    _f("dayname", _CALENDAR_PART.replace("BIGINT", "VARCHAR"), "The day's name in English"),
    _f("make_date", "BIGINT, BIGINT, BIGINT -> DATE", "A date from year, month, day"),
    _f("make_time", "BIGINT, BIGINT, DOUBLE -> TIME", "A time from hour, minute, seconds"),
    _f("make_timestamp", "BIGINT, BIGINT, BIGINT, BIGINT, BIGINT, DOUBLE -> TIMESTAMP | BIGINT -> TIMESTAMP",
       "A timestamp from its parts, or from microseconds since 1970"),
    _f("strftime",
       "DATE, VARCHAR! -> VARCHAR | TIMESTAMP, VARCHAR! -> VARCHAR | TIMESTAMPTZ, VARCHAR! -> VARCHAR",
       "As text, by a format such as '%Y-%m-%d'"),
    _f("strptime", "VARCHAR, VARCHAR! -> TIMESTAMP", "A timestamp from text, by a format"),
    _f("try_strptime", "VARCHAR, VARCHAR! -> TIMESTAMP",
       "strptime that gives NULL where the text does not fit",
       nulls=True),
    _f("to_timestamp", "DOUBLE -> TIMESTAMPTZ", "The time so many seconds after 1970"),
    _f("age", "TIMESTAMP, TIMESTAMP -> INTERVAL", "The first less the second, in years, months and days"),
    _f("timezone", "VARCHAR!, TIMESTAMP -> TIMESTAMPTZ | VARCHAR!, TIMESTAMPTZ -> TIMESTAMP",
       "A local time of a zone as a moment, and back; AT TIME ZONE"),
    _f("now", "-> TIMESTAMPTZ", "When the query began",
       "current_timestamp get_current_timestamp transaction_timestamp"),
    _f("localtimestamp", "-> TIMESTAMP", "When the query began, in UTC", "current_localtimestamp"),
    _f("current_date", "-> DATE", "The day the query began", "today"),
    _f("localtime", "-> TIME", "The time of day the query began, in UTC", "current_localtime"),
    _f("to_millennia", "BIGINT -> INTERVAL", "An interval of millennia"),
    _f("to_centuries", "BIGINT -> INTERVAL", "An interval of centuries"),
    _f("to_decades", "BIGINT -> INTERVAL", "An interval of decades"),
    _f("to_years", "BIGINT -> INTERVAL", "An interval of years"),
    _f("to_quarters", "BIGINT -> INTERVAL", "An interval of quarters"),
    _f("to_months", "BIGINT -> INTERVAL", "An interval of months"),
    _f("to_weeks", "BIGINT -> INTERVAL", "An interval of weeks"),
    _f("to_days", "BIGINT -> INTERVAL", "An interval of days"),
    _f("to_hours", "BIGINT -> INTERVAL", "An interval of hours"),
    _f("to_minutes", "BIGINT -> INTERVAL", "An interval of minutes"),
    _f("to_seconds", "DOUBLE -> INTERVAL", "An interval of seconds"),
    _f("to_milliseconds", "DOUBLE -> INTERVAL", "An interval of milliseconds"),
    _f("to_microseconds", "BIGINT -> INTERVAL", "An interval of microseconds"),
    _f("date_add_days", "DATE, INTEGER -> DATE", "date + days"),
    _f("date_add_interval", "DATE, INTERVAL -> TIMESTAMP", "date + interval: months, then days, then time"),
    _f("date_add_time", "DATE, TIME -> TIMESTAMP", "date + time"),
    _f("date_sub_date", "DATE, DATE -> BIGINT", "date - date, in days"),
    _f("timestamp_add_interval", "TIMESTAMP, INTERVAL -> TIMESTAMP | TIMESTAMPTZ, INTERVAL -> TIMESTAMPTZ",
       "timestamp + interval: months, then days, then time"),
    _f("timestamp_diff", "TIMESTAMP, TIMESTAMP -> INTERVAL | TIMESTAMPTZ, TIMESTAMPTZ -> INTERVAL",
       "timestamp - timestamp, in days and time"),
    _f("time_add_interval", "TIME, INTERVAL -> TIME", "time + interval, around midnight"),
    _f("interval_add", "INTERVAL, INTERVAL -> INTERVAL", "interval + interval"),
    _f("interval_negate", "INTERVAL -> INTERVAL", "-interval"),
    _f("interval_multiply", "INTERVAL, DOUBLE -> INTERVAL", "interval * number"),
    _f("interval_divide", "INTERVAL, DOUBLE -> INTERVAL", "interval / number"),
)

_GENERAL = (
    _f("coalesce", "T... -> T", "The first argument that is not NULL", "ifnull nvl", nulls=True),
    _f("nullif", "ANY, ANY -> 1", "NULL if both are equal, else the first", nulls=True),
    _f("if", "BOOLEAN, T, [T] -> T", "The second if the first is TRUE, else the third", "iif", nulls=True),
    _f("typeof", "ANY -> VARCHAR", "The name of its type", nulls=True),
)
# fmt: on

_TABLE = (*_NUMBERS, *_STRINGS, *_DATES, *_GENERAL)
_BY_NAME = {name: f for f in _TABLE for name in (f.name, *f.aliases)}


# ------------------------------------------------------------------------------ resolution


def scalar_names() -> list[str]:
    """Every name a scalar function can be called by, for completion and for suggestions."""
    return sorted(name for name in _BY_NAME if name[0].isalpha())


def scalar_functions() -> list[Function]:
    """The table."""
    return list(_TABLE)


def find_scalar(name: str) -> Function | None:
    """The function of that name or alias, whatever its case."""
    return _BY_NAME.get(name.lower())


def null_on_null(name: str) -> bool:
    """Whether a function (by its canonical name) gives NULL as soon as one argument is NULL."""
    return _BY_NAME[name].null_on_null


def volatile(name: str) -> bool:
    """Whether two calls with the same arguments can differ."""
    return _BY_NAME[name].volatile


def resolve_scalar(name: str, args: Sequence[Expr]) -> Expr:
    """The call of a scalar function, with the casts its signature asks for.

    Raises:
        BindError: there is no such function, or none for these arguments.
        UnsupportedError: an argument must be a constant and is not.
    """
    function = find_scalar(name)
    if function is None:
        raise unknown_function(name, scalar_names())
    args = tuple(args)
    special = _SPECIAL.get(function.name)
    if special is not None:
        expr = special(args)
        if expr is not None:
            return expr
    signature, converted = match_signature(function.name, function.signatures, args)
    return Call(function.name, converted, result_type(signature, converted))


# -------------------------------------------------------------- functions that turn into something else


def _expect(name: str, args: tuple[Expr, ...], *counts: int) -> None:
    if len(args) not in counts:
        wanted = " or ".join(map(str, counts))
        raise BindError(f"{name} takes {wanted} arguments, not {len(args)}")


def _mod(args: tuple[Expr, ...]) -> Expr:
    _expect("mod", args, 2)
    return coercion.arithmetic("%", *args)


def _negate(args: tuple[Expr, ...]) -> Expr:
    _expect("negate", args, 1)
    return coercion.negate(args[0])


def _nullif(args: tuple[Expr, ...]) -> Expr:
    _expect("nullif", args, 2)
    first, second = args
    if first.dtype == types.NULL:
        return first
    return Case(((coercion.compare("=", first, second), null(first.dtype)),), first)


def _if(args: tuple[Expr, ...]) -> Expr:
    _expect("if", args, 2, 3)
    values, _ = coercion.unify((args[1], args[2] if len(args) == 3 else null(types.NULL)), "IF")
    return Case(((coercion.boolean(args[0]), values[0]),), values[1])


def _typeof(args: tuple[Expr, ...]) -> Expr:
    _expect("typeof", args, 1)
    name = types.type_name(args[0].dtype)
    return Literal('"NULL"' if name == "NULL" else name, types.VARCHAR)


def _coalesce(args: tuple[Expr, ...]) -> Expr | None:
    if not args:
        return None
    values, dtype = coercion.unify(args, "COALESCE")
    useful = tuple(v for v in values if not (isinstance(v, Literal) and v.value is None))
    return useful[0] if len(useful) == 1 else null(dtype) if not useful else Call("coalesce", useful, dtype)


def _date_add(args: tuple[Expr, ...]) -> Expr:
    _expect("date_add", args, 2)
    return coercion.arithmetic("+", *args)


# The units of to_years(n) and the like; where there is no such kernel, what it is in years.
_INTERVAL_UNITS = {
    "to_millennia": "millennium", "to_centuries": "century", "to_decades": "decade", "to_years": "year",
    "to_quarters": "quarter", "to_months": "month", "to_weeks": "week", "to_days": "day", "to_hours": "hour",
    "to_minutes": "minute", "to_seconds": "second", "to_milliseconds": "millisecond",
    "to_microseconds": "microsecond",
}  # fmt: skip
_YEARS = {"to_millennia": 1000, "to_centuries": 100, "to_decades": 10}


def _to_interval(name: str) -> Callable[[tuple[Expr, ...]], Expr]:
    """An interval of so many units: a literal if the number is one."""

    def resolve(args: tuple[Expr, ...]) -> Expr:
        _, (quantity,) = match_signature(name, _BY_NAME[name].signatures, args)
        if isinstance(quantity, Literal) and quantity.value is not None:
            try:
                value = literals.interval_of(Decimal(quantity.value), _INTERVAL_UNITS[name])
            except ValueError:
                raise BindError(f"{name}({quantity.value}) is out of range") from None
            return Literal(value, types.INTERVAL)
        if name in _YEARS:
            years = coercion.arithmetic("*", quantity, Literal(_YEARS[name], types.BIGINT))
            return Call("to_years", (coercion.cast(years, types.INTEGER),), types.INTERVAL)
        if _INTERVAL_UNITS[name] in ("year", "quarter", "month", "week", "day"):  # counted in 32 bits
            quantity = coercion.cast(args[0], types.INTEGER)
        return Call(name, (quantity,), types.INTERVAL)

    return resolve


# Every name of a part of a date in EXTRACT and date_part, and the function that takes it.
DATE_PARTS = {
    alias: part
    for part, aliases in {
        "year": "yr y years yrs", "quarter": "quarters", "month": "mon months mons",
        "day": "days d dayofmonth", "decade": "dec decades decs", "century": "cent centuries c",
        "millennium": "mil millenniums millennia mils", "week": "weeks w weekofyear",
        "dayofweek": "weekday dow",
        "isodow": "", "dayofyear": "doy", "isoyear": "", "yearweek": "", "hour": "hr hours hrs h",
        "minute": "min minutes mins m", "second": "sec seconds secs s",
        "millisecond": "milliseconds ms msec msecs", "microsecond": "microseconds us usec usecs",
        "epoch": "", "julian": "",
    }.items()
    for alias in (part, *aliases.split())
}  # fmt: skip
_TRUNC_PARTS = frozenset(
    [
        "millennium",
        "century",
        "decade",
        "year",
        "isoyear",
        "quarter",
        "month",
        "week",
        "day",
        "dayofweek",
        "isodow",
        "dayofyear",
        "hour",
        "minute",
        "second",
        "millisecond",
        "microsecond",
        "yearweek",
    ]
)


def date_part_name(literal: Expr) -> str:
    """The plain name of a date part given as a string.

    Raises:
        UnsupportedError: it is not a constant.
        BindError: there is no such part.
    """
    if not isinstance(literal, Literal) or not isinstance(literal.value, str):
        raise UnsupportedError("the part of a date must be a constant", hint="write it as a string: 'year', 'month', …")
    part = DATE_PARTS.get(literal.value.lower())
    if part is None:
        close = nearest(literal.value, list(DATE_PARTS))
        hint = f'did you mean "{close}"?' if close else f"parts are {', '.join(dict.fromkeys(DATE_PARTS.values()))}"
        raise BindError(f'there is no date part "{literal.value}"', hint=hint)
    return part


def _date_part(args: tuple[Expr, ...]) -> Expr:
    _expect("date_part", args, 2)
    return resolve_scalar(date_part_name(args[0]), args[1:])


def _with_part(name: str, parts: frozenset[str] | None) -> Callable[[tuple[Expr, ...]], Expr]:
    """The date functions whose first argument is a part: it is written by its plain name."""

    def resolve(args: tuple[Expr, ...]) -> Expr:
        function = _BY_NAME[name]
        if not args:
            raise no_overload(name, function.signatures, args)
        part = date_part_name(args[0])
        if parts is not None and part not in parts:
            raise BindError(f'{name} has no part "{part}"', hint=f"parts are {', '.join(sorted(parts))}")
        args = (Literal(part, types.VARCHAR), *args[1:])
        signature, converted = match_signature(name, function.signatures, args)
        return Call(name, converted, result_type(signature, converted))

    return resolve


_SPECIAL: dict[str, Callable[[tuple[Expr, ...]], Expr | None]] = {
    **{name: _to_interval(name) for name in _INTERVAL_UNITS},
    "mod": _mod,
    "negate": _negate,
    "nullif": _nullif,
    "if": _if,
    "typeof": _typeof,
    "coalesce": _coalesce,
    "date_add": _date_add,
    "date_part": _date_part,
    "date_trunc": _with_part("date_trunc", _TRUNC_PARTS),
    "date_diff": _with_part("date_diff", _TRUNC_PARTS),
    "date_sub": _with_part("date_sub", _TRUNC_PARTS),
}
