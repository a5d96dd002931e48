"""Writes random expressions of a wanted kind.

Every function takes the context, the scope and how deep the expression may still grow, and returns SQL text
that can stand anywhere an operand can. What would make DuckDB fail at run time (division by zero, overflow, a
text that is no number) is mostly guarded, because a query that fails tests little.
"""

from collections.abc import Callable, Sequence

from tests.property.data import WORDS
from tests.property.kinds import (
    BIG,
    BLOB,
    BOOLEAN,
    DATE,
    DOUBLE,
    EXACT_KINDS,
    INTEGER,
    ROUGH,
    STRING,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    Kind,
    decimal,
)
from tests.property.scope import Context, Scope

Maker = Callable[[Context, Scope, int], str]
_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
_SMALL_DECIMAL = decimal(10, 2)


def value(ctx: Context, scope: Scope, kind: Kind, depth: int) -> str:
    """An expression of this kind."""
    if depth <= 0 or ctx.chance(0.4):
        return leaf(ctx, scope, kind)
    shape = ctx.rng.random()
    if shape < 0.08 and ctx.subqueries is not None and kind.exact and ctx.take_block():
        return f"({ctx.subqueries.scalar(scope, kind)})"
    if shape < 0.16:
        return case(ctx, scope, kind, depth - 1)
    if shape < 0.24:
        arguments = [value(ctx, scope, kind, depth - 1) for _ in range(ctx.rng.randint(2, 3))]
        return f"coalesce({', '.join(arguments)})"
    if shape < 0.29:
        return f"nullif({value(ctx, scope, kind, depth - 1)}, {value(ctx, scope, kind, depth - 1)})"
    if shape < 0.34 and kind.name != "boolean":
        function = ctx.pick(["greatest", "least"])
        return f"{function}({value(ctx, scope, kind, depth - 1)}, {value(ctx, scope, kind, depth - 1)})"
    return ctx.weighted(_MAKERS[kind.name] if kind.exact else _ROUGH)(ctx, scope, depth - 1)


def leaf(ctx: Context, scope: Scope, kind: Kind) -> str:
    """A column if there is one, else a literal; now and then a NULL of the kind or a column from outside."""
    if ctx.chance(0.008):
        return f"CAST(NULL AS {kind.sql})"
    columns = scope.of(kind)
    outside = scope.outside(kind)
    if outside and ctx.chance(0.3 if columns else 0.8):
        return ctx.pick(outside).text
    if columns and ctx.chance(0.9):
        return ctx.pick(columns).text
    return literal(ctx, kind)


def literal(ctx: Context, kind: Kind) -> str:
    """A constant of the kind."""
    rng = ctx.rng
    match kind.name:
        case "integer" | "big":
            return str(rng.choice([0, 1, 2, 3, 5, 7, 10, rng.randrange(-5, 13)]))
        case "decimal":
            return rng.choice(["0.5", "1.25", "-3.10", "0.00", "12.5", "7.0", f"{rng.randrange(-999, 999) / 100:.2f}"])
        case "double":
            return f"CAST({rng.randrange(-40, 40) / 4} AS DOUBLE)"
        case "string":
            return "'" + rng.choice(WORDS).replace("'", "''") + "'"
        case "date":
            days = ["2020-02-29", "2020-12-31", "2021-01-01", "1969-12-31", "2021-07-15"]
            return f"DATE '{rng.choice(days)}'"
        case "timestamp":
            moments = ["2020-02-29 12:00:00", "2021-01-01 00:00:00", "1969-12-31 23:59:59.5"]
            return f"TIMESTAMP '{rng.choice(moments)}'"
        case "time":
            return f"TIME '{rng.choice(['00:00:00', '12:00:00.5', '23:59:59'])}'"
        case "timestamptz":
            return f"TIMESTAMPTZ '{rng.choice(['2020-02-29 12:00:00+00', '2021-01-01 00:00:00+02'])}'"
        case "blob":
            return rng.choice(["'a'::BLOB", "''::BLOB", "'\\x00\\xFF'::BLOB"])
        case "boolean":
            return rng.choice(["TRUE", "FALSE"])


def case(ctx: Context, scope: Scope, kind: Kind, depth: int) -> str:
    """CASE in its searched or its simple form, with or without ELSE."""
    otherwise = f" ELSE {value(ctx, scope, kind, depth)}" if ctx.chance(0.7) else ""
    count = ctx.rng.randint(1, 2)
    if ctx.chance(0.7):
        arms = [f"WHEN {condition(ctx, scope, depth)} THEN {value(ctx, scope, kind, depth)}" for _ in range(count)]
        return f"CASE {' '.join(arms)}{otherwise} END"
    over = ctx.pick([INTEGER, STRING])
    subject = value(ctx, scope, over, depth)
    arms = [f"WHEN {value(ctx, scope, over, 0)} THEN {value(ctx, scope, kind, depth)}" for _ in range(count)]
    return f"CASE {subject} {' '.join(arms)}{otherwise} END"


def condition(ctx: Context, scope: Scope, depth: int) -> str:
    """A boolean expression."""
    if depth <= 0:
        return comparison(ctx, scope, 0)
    return ctx.weighted(_CONDITIONS)(ctx, scope, depth - 1)


def comparable_kind(ctx: Context, scope: Scope) -> Kind:
    """A kind to compare by, mostly one that a column of the scope has."""
    present = [kind for kind in EXACT_KINDS if scope.of(kind)]
    return ctx.pick(present) if present and ctx.chance(0.9) else ctx.pick(EXACT_KINDS)


def comparison(ctx: Context, scope: Scope, depth: int) -> str:
    kind = comparable_kind(ctx, scope)
    other = kind
    if kind.is_number and ctx.chance(0.25):
        other = ctx.pick([INTEGER, BIG, _SMALL_DECIMAL, DOUBLE])
    if kind.name in ("date", "timestamp") and ctx.chance(0.25):
        other = ctx.pick([DATE, TIMESTAMP])
    left, right = value(ctx, scope, kind, depth), value(ctx, scope, other, depth)
    if left == right or not any(column.text in left for column in scope.columns):
        columns = [column.text for column in scope.of(kind) if column.text != right]
        left = ctx.pick(columns) if columns else left
    return f"({left} {ctx.pick(_COMPARISONS)} {right})"


def _logic(ctx: Context, scope: Scope, depth: int) -> str:
    word = ctx.pick([" AND ", " OR "])
    return "(" + word.join(condition(ctx, scope, depth) for _ in range(ctx.rng.randint(2, 3))) + ")"


def _not(ctx: Context, scope: Scope, depth: int) -> str:
    return f"(NOT {condition(ctx, scope, depth)})"


def _is_null(ctx: Context, scope: Scope, depth: int) -> str:
    return f"({value(ctx, scope, comparable_kind(ctx, scope), depth)} IS {ctx.pick(['', 'NOT '])}NULL)"


def _is_truth(ctx: Context, scope: Scope, depth: int) -> str:
    return f"({condition(ctx, scope, depth)} IS {ctx.pick(['TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE'])})"


def _boolean_value(ctx: Context, scope: Scope, depth: int) -> str:
    return value(ctx, scope, BOOLEAN, depth)


def _in_list(ctx: Context, scope: Scope, depth: int) -> str:
    kind = comparable_kind(ctx, scope)
    items = [literal(ctx, kind) for _ in range(ctx.rng.randint(1, 4))]
    if ctx.chance(0.2):
        items.append("NULL")
    if ctx.chance(0.15):
        items.append(value(ctx, scope, kind, 0))
    return f"({value(ctx, scope, kind, depth)} {ctx.pick(['', 'NOT '])}IN ({', '.join(items)}))"


def _between(ctx: Context, scope: Scope, depth: int) -> str:
    kind = comparable_kind(ctx, scope)
    low, high = value(ctx, scope, kind, 0), value(ctx, scope, kind, 0)
    return f"({value(ctx, scope, kind, depth)} {ctx.pick(['', 'NOT '])}BETWEEN {low} AND {high})"


def _distinct_from(ctx: Context, scope: Scope, depth: int) -> str:
    kind = comparable_kind(ctx, scope)
    left, right = value(ctx, scope, kind, depth), value(ctx, scope, kind, depth)
    return f"({left} IS {ctx.pick(['', 'NOT '])}DISTINCT FROM {right})"


def _like(ctx: Context, scope: Scope, depth: int) -> str:
    pattern = ctx.pick(["a%", "%b", "%", "_", "a_", "%a%", "", "_b%", "A%", "%é%", "__"])
    operator = ctx.pick(["LIKE", "NOT LIKE", "ILIKE"])
    return f"({value(ctx, scope, STRING, depth)} {operator} '{pattern}')"


def _text_test(ctx: Context, scope: Scope, depth: int) -> str:
    text = value(ctx, scope, STRING, depth)
    return ctx.pick(
        [
            f"starts_with({text}, {literal(ctx, STRING)})",
            f"ends_with({text}, {literal(ctx, STRING)})",
            f"contains({text}, {literal(ctx, STRING)})",
            f"regexp_matches({text}, '^[ab]+$')",
        ]
    )


def _in_subquery(ctx: Context, scope: Scope, depth: int) -> str:
    if ctx.subqueries is None or not ctx.take_block():
        return comparison(ctx, scope, depth)
    kind = comparable_kind(ctx, scope)
    query = ctx.subqueries.column(scope, kind)
    return f"({value(ctx, scope, kind, depth)} {ctx.pick(['', 'NOT '])}IN ({query}))"


def _row_in_subquery(ctx: Context, scope: Scope, depth: int) -> str:
    if ctx.subqueries is None or not ctx.take_block():
        return comparison(ctx, scope, depth)
    kinds = comparable_kind(ctx, scope), comparable_kind(ctx, scope)
    row = ", ".join(value(ctx, scope, kind, min(depth, 1)) for kind in kinds)
    return f"(({row}) {ctx.pick(['', 'NOT '])}IN ({ctx.subqueries.pairs(scope, kinds)}))"


def _text_literal(ctx: Context, scope: Scope, depth: int) -> str:
    """A comparison with a text that must be read as the other side's type."""
    kind, text = ctx.pick(
        [(DATE, "2020-02-29"), (TIMESTAMP, "2021-01-01 00:00:00"), (INTEGER, "3"), (_SMALL_DECIMAL, "5.00")]
    )
    return f"({value(ctx, scope, kind, depth)} {ctx.pick(_COMPARISONS)} '{text}')"


def _exists(ctx: Context, scope: Scope, depth: int) -> str:
    if ctx.subqueries is None or not ctx.take_block():
        return comparison(ctx, scope, depth)
    return f"({ctx.pick(['', 'NOT '])}EXISTS ({ctx.subqueries.rows(scope)}))"


def _quantified(ctx: Context, scope: Scope, depth: int) -> str:
    if ctx.subqueries is None or not ctx.take_block():
        return comparison(ctx, scope, depth)
    kind = comparable_kind(ctx, scope)
    query = ctx.subqueries.column(scope, kind)
    return f"({value(ctx, scope, kind, depth)} {ctx.pick(_COMPARISONS)} {ctx.pick(['ANY', 'ALL'])} ({query}))"


_CONDITIONS: Sequence[tuple[float, Maker]] = (
    (8, comparison),
    (5, _logic),
    (2, _not),
    (2, _is_null),
    (1, _is_truth),
    (1, _boolean_value),
    (2, _in_list),
    (1.5, _between),
    (1.5, _distinct_from),
    (1.2, _like),
    (0.8, _text_test),
    (1.5, _in_subquery),
    (0.5, _row_in_subquery),
    (0.6, _text_literal),
    (1.5, _exists),
    (1, _quantified),
)


def _template(text: str, *kinds: Kind) -> Maker:
    """A maker that fills `{}` after `{}` with expressions of these kinds."""

    def make(ctx: Context, scope: Scope, depth: int) -> str:
        return text.format(*(value(ctx, scope, kind, depth) for kind in kinds))

    return make


def _arithmetic(kind: Kind, operators: Sequence[str]) -> Maker:
    def make(ctx: Context, scope: Scope, depth: int) -> str:
        return f"({value(ctx, scope, kind, depth)} {ctx.pick(operators)} {value(ctx, scope, kind, depth)})"

    return make


def _small_product(kind: Kind, other: Kind) -> Maker:
    """A product of leaves only, so that widths and magnitudes stay small."""

    def make(ctx: Context, scope: Scope, depth: int) -> str:
        columns = [c.text for c in scope.of(kind) if c.kind.precision <= 18 and c.text.count("(") == 0]
        left = ctx.pick(columns) if columns else literal(ctx, kind)
        return f"({left} * {literal(ctx, other)})"

    return make


def _truncated(kind: Kind) -> Maker:
    def make(ctx: Context, scope: Scope, depth: int) -> str:
        unit = ctx.pick(["year", "quarter", "month", "week", "day"])
        return f"date_trunc('{unit}', {value(ctx, scope, kind, depth)})"

    return make


def _date_part(ctx: Context, scope: Scope, depth: int) -> str:
    part = ctx.pick(["year", "quarter", "month", "day", "dow", "doy", "week"])
    return f"extract({part} FROM {value(ctx, scope, ctx.pick([DATE, TIMESTAMP]), depth)})"


def _shifted(kind: Kind, units: Sequence[str]) -> Maker:
    def make(ctx: Context, scope: Scope, depth: int) -> str:
        amount = ctx.pick([0, 1, 3, 12, 30, 400])
        text = f"{value(ctx, scope, kind, depth)} {ctx.pick(['+', '-'])} INTERVAL {amount} {ctx.pick(units)}"
        return f"CAST({text} AS DATE)" if kind is DATE else f"({text})"

    return make


def _any_cast(target: Kind, *sources: Kind) -> Maker:
    def make(ctx: Context, scope: Scope, depth: int) -> str:
        return f"CAST({value(ctx, scope, ctx.pick(sources), depth)} AS {target.sql})"

    return make


def _as_boolean(ctx: Context, scope: Scope, depth: int) -> str:
    return condition(ctx, scope, depth)


_MAKERS: dict[str, Sequence[tuple[float, Maker]]] = {
    "integer": (
        (4, _arithmetic(INTEGER, ["+", "-"])),
        (2, _template("({} * {})", INTEGER, INTEGER)),
        (1, _template("({} % nullif({}, 0))", INTEGER, INTEGER)),
        (1, _template("({} // nullif({}, 0))", INTEGER, INTEGER)),
        (1, _template("(- {})", INTEGER)),
        (1, _template("abs({})", INTEGER)),
        (0.5, _template("sign({})", INTEGER)),
        (1, _template("length({})", STRING)),
        (0.5, _template("strpos({}, {})", STRING, STRING)),
        (1.5, _date_part),
        (0.7, _template("({} - {})", DATE, DATE)),
        (0.7, _template("date_diff('day', {}, {})", DATE, DATE)),
        (0.4, _template("date_diff('month', {}, {})", DATE, DATE)),
        (0.8, _any_cast(INTEGER, DOUBLE, _SMALL_DECIMAL, BOOLEAN)),
        (0.5, _template("TRY_CAST({} AS INTEGER)", STRING)),
        (0.3, _template("ascii({})", STRING)),
        (0.3, _template("({} & 7)", INTEGER)),
        (0.3, _template("({} | 2)", INTEGER)),
        (0.3, _template("mod({}, 3)", INTEGER)),
        (0.3, _template("if({}, 1, 2)", BOOLEAN)),
        (0.3, _template("CAST(floor({}) AS INTEGER)", DOUBLE)),
        (0.3, _template("extract(hour FROM {})", TIMESTAMP)),
        (0.3, _template("extract(minute FROM {})", TIME)),
        (0.3, _template("extract(year FROM {})", TIMESTAMPTZ)),
        (0.3, _template("octet_length({})", BLOB)),
        (0.3, _template("date_diff('hour', {}, {})", TIMESTAMP, TIMESTAMP)),
    ),
    "big": (
        (3, _arithmetic(BIG, ["+", "-"])),
        (1, _template("({} + {})", BIG, INTEGER)),
        (1, _small_product(BIG, INTEGER)),
        (1, _template("(- {})", BIG)),
        (1, _template("abs({})", BIG)),
        (1, _any_cast(BIG, INTEGER, _SMALL_DECIMAL)),
    ),
    "decimal": (
        (3, _arithmetic(_SMALL_DECIMAL, ["+", "-"])),
        (2, _small_product(_SMALL_DECIMAL, _SMALL_DECIMAL)),
        (1, _small_product(_SMALL_DECIMAL, INTEGER)),
        (1, _template("({} + {})", _SMALL_DECIMAL, INTEGER)),
        (1, _template("(- {})", _SMALL_DECIMAL)),
        (1, _template("abs({})", _SMALL_DECIMAL)),
        (1, _template("round({}, 1)", _SMALL_DECIMAL)),
        (1, _any_cast(decimal(12, 1), INTEGER, _SMALL_DECIMAL)),
        (0.7, _any_cast(decimal(14, 3), INTEGER, _SMALL_DECIMAL, DOUBLE)),
    ),
    "double": (
        (3, _arithmetic(DOUBLE, ["+", "-"])),
        (1, _template("({} + {})", DOUBLE, INTEGER)),
        (1, _template("({} * 2)", DOUBLE)),
        (1, _template("({} / 4)", DOUBLE)),
        (1, _template("abs({})", DOUBLE)),
        (0.5, _template("floor({})", DOUBLE)),
        (0.5, _template("ceil({})", DOUBLE)),
        (0.5, _template("round({})", DOUBLE)),
        (1, _any_cast(DOUBLE, INTEGER)),
    ),
    "string": (
        (2, _template("({} || {})", STRING, STRING)),
        (1, _template("concat({}, {})", STRING, STRING)),
        (1, _template("upper({})", STRING)),
        (1, _template("lower({})", STRING)),
        (1, _template("trim({})", STRING)),
        (0.5, _template("ltrim({})", STRING)),
        (1, _template("substring({}, 2)", STRING)),
        (1, _template("substring({}, 1, 2)", STRING)),
        (0.5, _template("left({}, 2)", STRING)),
        (0.5, _template("right({}, 1)", STRING)),
        (0.5, _template("reverse({})", STRING)),
        (0.7, _template("replace({}, 'a', 'xy')", STRING)),
        (0.4, _template("repeat({}, 2)", STRING)),
        (0.4, _template("lpad({}, 4, '*')", STRING)),
        (0.4, _template("rpad({}, 4, '*')", STRING)),
        (0.3, _template("concat_ws('-', {}, {})", STRING, STRING)),
        (0.3, _template("split_part({}, 'b', 1)", STRING)),
        (0.3, _template("regexp_replace({}, '[ab]+', 'z')", STRING)),
        (0.3, _template("regexp_extract({}, '[a-z]+')", STRING)),
        (0.3, _template("translate({}, 'ab', 'xy')", STRING)),
        (0.2, _template("md5({})", STRING)),
        (0.3, _template("strftime({}, '%Y-%m')", DATE)),
        (0.3, _template("monthname({})", DATE)),
        (0.2, _template("if({}, {}, {})", BOOLEAN, STRING, STRING)),
        (1, _any_cast(STRING, INTEGER, _SMALL_DECIMAL, BOOLEAN, DATE, BIG)),
        (0.4, _any_cast(STRING, TIMESTAMP, DOUBLE, TIME, TIMESTAMPTZ, BLOB)),
    ),
    "date": (
        (1, _template("({} + 3)", DATE)),
        (1, _template("({} - 40)", DATE)),
        (2, _shifted(DATE, ["DAY", "MONTH", "YEAR"])),
        (1, _any_cast(DATE, TIMESTAMP)),
        (0.5, _template("last_day({})", DATE)),
        (0.7, _template("CAST(date_trunc('month', {}) AS DATE)", DATE)),
    ),
    "timestamp": (
        (2, _shifted(TIMESTAMP, ["DAY", "MONTH", "YEAR", "HOUR", "MINUTE", "SECOND"])),
        (1, _truncated(TIMESTAMP)),
        (1, _truncated(DATE)),
        (1, _any_cast(TIMESTAMP, DATE)),
    ),
    "time": (
        (1, _template("coalesce({}, {})", TIME, TIME)),
        (1, _any_cast(TIME, TIMESTAMP)),
    ),
    "timestamptz": (
        (1, _shifted(TIMESTAMPTZ, ["DAY", "MONTH", "HOUR"])),
        (0.5, _truncated(TIMESTAMPTZ)),
        (0.5, _any_cast(TIMESTAMPTZ, TIMESTAMP)),
    ),
    "blob": ((1, _template("coalesce({}, {})", BLOB, BLOB)),),
    "boolean": (
        (4, _as_boolean),
        (0.5, _any_cast(BOOLEAN, INTEGER)),
    ),
}
_ROUGH: Sequence[tuple[float, Maker]] = (
    (2, _template("({} / nullif({}, 0))", INTEGER, INTEGER)),
    (2, _template("({} / nullif({}, 0))", _SMALL_DECIMAL, _SMALL_DECIMAL)),
    (1, _template("({} / nullif({}, 0))", DOUBLE, DOUBLE)),
    (1, _template("sqrt(abs({}))", DOUBLE)),
    (1, _template("power({}, 2)", DOUBLE)),
    (1, _template("ln(abs({}) + 1)", DOUBLE)),
    (1, _template("exp({} / 100)", DOUBLE)),
    (1, _template("({} * {})", DOUBLE, DOUBLE)),
    (1, _template("({} + {})", ROUGH, DOUBLE)),
)
