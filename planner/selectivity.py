"""Selectivity: the share of rows for which a predicate is TRUE, estimated from column statistics.

Values are taken as spread evenly over a column's range and columns as mostly independent: the conjuncts are
sorted, the two most selective count in full, each further one with half the exponent of the one before
(exponential backoff), since predicates on one table are rarely all independent. Where statistics are
missing, the constants below stand in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from planner import types
from planner.catalog import ColumnStatistics
from planner.expr import (
    FLIPPED,
    And,
    Call,
    Cast,
    Column,
    ColumnId,
    Comparison,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
    columns_of,
    conjuncts,
)
from planner.record import record

Columns = Mapping[ColumnId, ColumnStatistics]

DEFAULT_EQUALITY = 0.1  # column = constant, number of distinct values unknown
DEFAULT_RANGE = 0.3  # column < constant, range unknown
DEFAULT_NULLS = 0.05  # share of NULLs in a nullable column
DEFAULT_OTHER = 0.25  # any other predicate

_RARE = 0.001  # what is estimated to pass nobody, without a proof

UNKNOWN = ColumnStatistics()


def backoff(factors: Iterable[float]) -> float:
    """The product of selectivities: two in full, further ones with exponents 1/2, 1/4, …, smallest first."""
    result, exponent = 1.0, 1.0
    for position, factor in enumerate(sorted(factors)):
        if position >= 2:
            exponent /= 2
        result *= factor**exponent
    return result


def combined_ndv(ndvs: Iterable[float], rows: float) -> float:
    """Distinct combinations of several columns: the damped product (as ``backoff``), at most ``rows``."""
    result, exponent = 1.0, 1.0
    for position, ndv in enumerate(sorted(ndvs, reverse=True)):
        if position >= 2:
            exponent /= 2
        result *= max(ndv, 1.0) ** exponent
        if result >= rows:
            return rows
    return result


def distinct_after(ndv: float, rows: float, total: float | None = None) -> float:
    """Expected distinct values among ``rows`` rows, drawn from ``total`` rows that hold ``ndv`` equally
    often each.

    Without ``total`` the rows are drawn from the values themselves, each as often as chance has it.
    """
    if ndv <= 1 or rows <= 1:
        return min(ndv, rows)
    if total is not None:
        return ndv if rows >= total else ndv * (1 - (1 - rows / total) ** max(total / ndv, 1.0))
    return ndv * -math.expm1(-rows / ndv) if ndv > 100 else ndv * (1 - (1 - 1 / ndv) ** rows)


def selectivity(predicates: Sequence[Expr], columns: Columns, rows: float | None) -> float:
    """The share of rows that pass all ``predicates``; 0.0 only if the statistics prove that none does."""
    ranges: dict[ColumnId, Range] = {}
    factors: list[float] = []
    for predicate in (c for p in predicates for c in conjuncts(p)):
        bound = as_range(predicate)
        if bound is None:
            factors.append(_one(predicate, columns, rows))
        elif bound[0] in ranges:
            ranges[bound[0]] = ranges[bound[0]].intersect(bound[1])
        else:
            ranges[bound[0]] = bound[1]
    for id, interval in ranges.items():
        factors.append(_range_share(interval, columns.get(id, UNKNOWN), rows))
    return 0.0 if 0.0 in factors else backoff(factors)


@record
class Range:
    """Values between ``low`` and ``high`` (None: no limit), each end included or not."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False

    @property
    def is_closed(self) -> bool:
        return not (self.low_open or self.high_open)

    def intersect(self, other: Range) -> Range:
        low, low_open = self.low, self.low_open
        if other.low is not None and (low is None or (other.low, other.low_open) > (low, low_open)):
            low, low_open = other.low, other.low_open
        high, high_open = self.high, self.high_open
        if other.high is not None and (high is None or (other.high, not other.high_open) < (high, not high_open)):
            high, high_open = other.high, other.high_open
        return Range(low, high, low_open, high_open)


def as_range(predicate: Expr) -> tuple[ColumnId, Range] | None:
    """``column <op> constant`` (either way around) for an order comparison, as a range of the column."""
    if not isinstance(predicate, Comparison):
        return None
    op, left, right = predicate.op, predicate.left, predicate.right
    if isinstance(left, Literal):
        op, left, right = FLIPPED[op], right, left
    if not (isinstance(left, Column) and isinstance(right, Literal)) or right.value is None:
        return None
    match op:
        case "<" | "<=":
            return left.id, Range(high=right.value, high_open=op == "<")
        case ">" | ">=":
            return left.id, Range(low=right.value, low_open=op == ">")
        case _:
            return None


def null_share(column: ColumnStatistics, rows: float | None) -> float:
    """The share of NULLs in a column."""
    if column.null_count is None:
        return DEFAULT_NULLS
    if column.null_count == 0:
        return 0.0
    return min(1 - _RARE, column.null_count / rows) if rows else DEFAULT_NULLS


def narrowed(predicates: Sequence[Expr], columns: Columns) -> dict[ColumnId, ColumnStatistics]:
    """What the predicates say of the columns they compare with constants or with each other: only changed
    entries.

    The bounds stay safe: they hold for every row on which the predicates are TRUE.
    """
    out: dict[ColumnId, ColumnStatistics] = {}

    def known(id: ColumnId) -> ColumnStatistics:
        return out.get(id) or columns.get(id, UNKNOWN)

    for predicate in (c for p in predicates for c in conjuncts(p)):
        bound = as_range(predicate)
        if bound is not None:
            out[bound[0]] = _cut(known(bound[0]), bound[1])
            continue
        match predicate:
            case Comparison("=" | "is not distinct from", Column(id), Literal(value)) | Comparison(
                "=" | "is not distinct from", Literal(value), Column(id)
            ):
                if value is not None:
                    out[id] = _within(known(id), value, value, 1.0)
            case InList(Column(id), values):
                constants = [v.value for v in values if v.value is not None]
                if constants:
                    cut = _cut(known(id), Range(min(constants), max(constants)))
                    out[id] = replace(cut, ndv=min(cut.ndv or len(constants), len(constants)))
            case Comparison("=", Column(a), Column(b)):
                out[a], out[b] = _meet(known(a), known(b)), _meet(known(b), known(a))
            case Not(IsNull(Column(id))):
                out[id] = replace(known(id), null_count=0)
    return out


def _meet(a: ColumnStatistics, b: ColumnStatistics) -> ColumnStatistics:
    """What is known of ``a`` where it equals ``b`` in every row."""
    ndv = b.ndv if a.ndv is None else a.ndv if b.ndv is None else min(a.ndv, b.ndv)
    if b.min is None or b.max is None or b.likely:
        return replace(a, null_count=0, ndv=ndv)
    return _within(a, b.min, b.max, ndv)


def _cut(column: ColumnStatistics, interval: Range) -> ColumnStatistics:
    """The column where its values lie in the range."""
    ndv = column.ndv
    if ndv is not None:
        share = _fraction(interval, column)
        ndv = max(1.0, ndv * (DEFAULT_RANGE if share is None else share))
    return _within(column, interval.low, interval.high, ndv)


def _within(column: ColumnStatistics, least: Any, greatest: Any, ndv: float | None) -> ColumnStatistics:
    """The column where its values lie between two bounds (None: no bound) and ``ndv`` of them are distinct."""
    try:
        low = least if column.min is None or _greater(least, column.min) else column.min
        high = greatest if column.max is None or _greater(column.max, greatest) else column.max
        if _greater(low, high):
            high = low  # no value is left, so that any bounds hold; kernels expect an ordered pair
    except TypeError:  # bounds of another Python type than the constant: keep them
        low, high = column.min, column.max
    return ColumnStatistics(low, high, 0, ndv, column.width, unique=column.unique, likely=column.likely)


def _greater(a: Any, b: Any) -> bool:
    return a is not None and b is not None and bool(a > b)


def _one(predicate: Expr, columns: Columns, rows: float | None) -> float:
    """The selectivity of one predicate that is neither a conjunction nor a range."""
    match predicate:
        case Literal(value, _):
            return 1.0 if value is True else 0.0
        case And(args):
            return selectivity(args, columns, rows)
        case Or(args):
            return _or(args, columns, rows)
        case Not(arg):
            return _not(arg, columns, rows)
        case IsNull(arg):
            return _is_null(arg, columns, rows)
        case InList(arg, values):
            found = _statistics(arg, columns)
            constants = {v.value for v in values if v.value is not None}
            return min(1.0, sum(_equal_constant(found, v, rows) for v in constants))
        case Comparison(op, left, right):
            return _comparison(op, left, right, columns, rows)
        case Column(id):
            found = columns.get(id, UNKNOWN)
            return 0.5 * (1 - null_share(found, rows))
        case Call(name, args):
            return _call(name, args, columns)
        case _:
            return DEFAULT_OTHER


def _or(args: tuple[Expr, ...], columns: Columns, rows: float | None) -> float:
    parts = [selectivity(conjuncts(a), columns, rows) for a in args]
    touched = {columns_of(a) for a in args}
    if len(touched) == 1 and len(next(iter(touched))) == 1:
        return min(1.0, sum(parts))  # alternatives on one column are mostly exclusive
    missed = 1.0
    for part in parts:
        missed *= 1 - part
    return 1 - missed


def _not(arg: Expr, columns: Columns, rows: float | None) -> float:
    passed = selectivity(conjuncts(arg), columns, rows)
    if isinstance(arg, IsNull):
        return 1 - passed
    nulls = max((null_share(columns.get(c, UNKNOWN), rows) for c in columns_of(arg)), default=0.0)
    return max(_RARE, 1 - passed - nulls)


def _is_null(arg: Expr, columns: Columns, rows: float | None) -> float:
    if isinstance(arg, Column):
        return null_share(columns.get(arg.id, UNKNOWN), rows)
    return max((null_share(columns.get(c, UNKNOWN), rows) for c in columns_of(arg)), default=DEFAULT_NULLS)


def _comparison(op: str, left: Expr, right: Expr, columns: Columns, rows: float | None) -> float:
    if isinstance(left, Literal):
        op, left, right = FLIPPED[op], right, left
    a = _statistics(left, columns)
    if isinstance(right, Literal):
        if right.value is None:
            return {
                "is distinct from": 1 - null_share(a, rows),
                "is not distinct from": null_share(a, rows),
            }.get(op, 0.0)
        equal = _equal_constant(a, right.value, rows)
        match op:
            case "=" | "is not distinct from":
                return equal
            case "<>":
                return max(_RARE, 1 - equal - null_share(a, rows))
            case "is distinct from":
                return max(_RARE, 1 - equal)
            case _:
                limit = Range(high=right.value) if op in ("<", "<=") else Range(low=right.value)
                return _range_share(replace(limit, low_open=op == ">", high_open=op == "<"), a, rows)
    b = _statistics(right, columns)
    present = (1 - null_share(a, rows)) * (1 - null_share(b, rows))
    ndvs = [n for n in (a.ndv, b.ndv) if n is not None]
    equal = 1 / max(1.0, *ndvs) if ndvs else DEFAULT_EQUALITY
    match op:
        case "=" | "is not distinct from":
            return equal * present
        case "<>" | "is distinct from":
            return max(_RARE, (1 - equal) * present)
        case "<" | "<=":
            return _less_than(a, b) * present
        case _:
            return _less_than(b, a) * present


def _less_than(a: ColumnStatistics, b: ColumnStatistics) -> float:
    """P(a < b) for independent values, each spread evenly over its range."""
    ends = [to_number(v) for v in (a.min, a.max, b.min, b.max)]
    if None in ends:
        return DEFAULT_RANGE
    a0, a1, b0, b1 = (float(e) for e in ends if e is not None)
    if a1 <= b0:
        return 1.0
    if b1 <= a0:
        return 0.01
    # The mean over a of P(b > a), by the trapezoids of b's distribution function over a's range.
    steps = 16
    width = (a1 - a0) / steps
    total = 0.0
    for i in range(steps):
        x = a0 + (i + 0.5) * width
        total += 1.0 if x <= b0 else 0.0 if x >= b1 else (b1 - x) / (b1 - b0)
    return min(max(total / steps, 0.01), 1.0)


def _equal_constant(column: ColumnStatistics, value: Any, rows: float | None) -> float:
    try:
        if _greater(column.min, value) or _greater(value, column.max):
            return _nothing(column)
    except TypeError:
        pass
    if column.ndv is None:
        return DEFAULT_EQUALITY
    return (1 - null_share(column, rows)) / max(column.ndv, 1.0)


def _range_share(interval: Range, column: ColumnStatistics, rows: float | None) -> float:
    share = _fraction(interval, column)
    if share is None:
        share = DEFAULT_RANGE if interval.low is None or interval.high is None else DEFAULT_RANGE / 3
    return share * (1 - null_share(column, rows))


def _fraction(interval: Range, column: ColumnStatistics) -> float | None:
    """The share of a column's non-NULL values within a range; None if its bounds are unknown."""
    values = (interval.low, interval.high, column.min, column.max)
    if column.min is None or column.max is None:
        return None
    if str in map(type, values):
        numbers = string_numbers([v if isinstance(v, str) else None for v in values])
    else:
        numbers = [to_number(v) for v in values]
    low, high, least, greatest = numbers
    if least is None or greatest is None or (interval.low is not None and low is None):
        return None
    if interval.high is not None and high is None:
        return None
    if interval.is_closed and (interval.high is interval.low or interval.high == interval.low):
        inside = low is not None and least <= low <= greatest
        return 1 / max(column.ndv or 10.0, 1.0) if inside else _nothing(column)
    # A column of n values has steps: both ends of a closed range count.
    step = (greatest - least) / (column.ndv - 1) if column.ndv is not None and column.ndv > 1 else 0.0
    if isinstance(column.min, (int, date)) and not isinstance(column.min, datetime):
        step = max(step, 1.0)
    first = least if low is None or low < least else low + (step if interval.low_open and low >= least else 0.0)
    last = greatest if high is None or high > greatest else high - (step if interval.high_open else 0.0)
    span = greatest - least + step
    if span <= 0:
        return _nothing(column) if _outside(interval, column) else 1.0
    if first > last + step * 1e-9 and (first > greatest or last < least or step):
        if _outside(interval, column):
            return _nothing(column)
        return min(1.0, step / span) if step else DEFAULT_EQUALITY
    return min(1.0, max(last - first + step, 0.0) / span)


def _nothing(column: ColumnStatistics) -> float:
    """The share of rows beyond a column's min and max: none if they are bounds (of floats they are not: NaN)."""
    return _RARE if column.likely or isinstance(column.min, float) else 0.0


def _outside(interval: Range, column: ColumnStatistics) -> bool:
    """Whether the safe bounds prove that no value lies in the range."""
    low, high = interval.low, interval.high
    try:
        if low is not None and (low > column.max or (interval.low_open and low >= column.max)):
            return True
        if high is not None and (high < column.min or (interval.high_open and high <= column.min)):
            return True
        return low is not None and high is not None and bool(low > high)
    except TypeError:
        return False


def to_number(value: Any) -> float | None:
    """A number that orders and spaces values as they are; None for what has no distance."""
    match value:
        case bool() | int() | float() | Decimal():
            return float(value)
        case datetime():
            return value.replace(tzinfo=None).toordinal() * 86400.0 + _seconds(value.time())
        case date():
            return float(value.toordinal())
        case time():
            return _seconds(value)
        case _:
            return None


def _seconds(value: time) -> float:
    return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6


def string_numbers(values: Sequence[str | None]) -> list[float | None]:
    """Strings as numbers: the eight bytes after the prefix that all of them share."""
    encoded = [v.encode() if v is not None else None for v in values]
    present = [e for e in encoded if e is not None]
    shared = 0
    while present and all(len(e) > shared and e[shared] == present[0][shared] for e in present):
        shared += 1
    return [
        None if e is None else float(int.from_bytes(e[shared : shared + 8].ljust(8, b"\0"), "big")) for e in encoded
    ]


def _statistics(expr: Expr, columns: Columns) -> ColumnStatistics:
    """Statistics of an operand: a column's own; of anything computed from columns, at most their distinct values."""
    match expr:
        case Column(id):
            return columns.get(id, UNKNOWN)
        case Cast(Column(id), dtype) if types.is_numeric(dtype):
            return columns.get(id, UNKNOWN)
        case _:
            return derived(expr, columns)


def derived(expr: Expr, columns: Columns) -> ColumnStatistics:
    """Statistics of a computed value, without bounds."""
    if isinstance(expr, Call) and expr.name in _SMALL_DOMAINS:
        ndv: float | None = _SMALL_DOMAINS[expr.name]
        argument = _statistics(expr.args[0], columns) if expr.args else UNKNOWN
        if expr.name == "year" and isinstance(argument.min, date) and isinstance(argument.max, date):
            ndv = float(argument.max.year - argument.min.year + 1)
        return ColumnStatistics(ndv=ndv)
    limit = float("inf")
    if isinstance(expr, Call) and expr.name in ("substring", "left", "right") and len(expr.args) > 1:
        length = expr.args[-1]
        if isinstance(length, Literal) and isinstance(length.value, int) and length.value > 0:
            limit = 8.0 ** min(length.value, 10)
    product: float | None = 1.0
    for id in columns_of(expr):
        known = columns.get(id, UNKNOWN).ndv
        product = None if known is None or product is None else product * max(known, 1.0)
    return ColumnStatistics(ndv=None if product is None else min(product, limit))


_SMALL_DOMAINS = {
    "year": 20.0, "quarter": 4.0, "month": 12.0, "week": 53.0, "day": 31.0, "dayofweek": 7.0, "isodow": 7.0,
    "dayofyear": 366.0, "hour": 24.0, "minute": 60.0, "second": 60.0,
}  # fmt: skip


def _call(name: str, args: tuple[Expr, ...], columns: Columns) -> float:
    """String matching by the constant's shape: the more that must match, the fewer rows do."""
    pattern = args[1].value if len(args) > 1 and isinstance(args[1], Literal) else None
    if not isinstance(pattern, str):
        return DEFAULT_OTHER
    match name:
        case "like" | "ilike":
            share = like_selectivity(pattern)
        case "starts_with" | "ends_with":
            share = like_selectivity(pattern + "%")
        case "contains":
            share = like_selectivity(f"%{pattern}%")
        case "regexp_matches" | "regexp_full_match" | "glob":
            share = 0.1
        case _:
            return DEFAULT_OTHER
    ndv = _statistics(args[0], columns).ndv
    return max(share, 1 / ndv) if ndv else share


def like_selectivity(pattern: str) -> float:
    """The share of strings that match: each literal piece between wildcards takes its part."""
    pieces = [p for p in pattern.replace("_", "%").split("%") if p]
    if not pieces:
        return 1.0 if "%" in pattern else DEFAULT_EQUALITY
    share = 1.0
    for piece in pieces:
        share *= max(0.06, 0.4 ** min(len(piece), 3))
    return max(min(share, 1.0), 0.001)
