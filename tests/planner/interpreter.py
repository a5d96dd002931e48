"""A reference interpreter: what a logical plan means, row by row in Python.

Slow and plain on purpose. It runs a DependentJoin as a loop, so that rewrites can be held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

import pyarrow as pa

from planner import types
from planner.catalog import Split, TableStatistics
from planner.expr import (
    AggregateCall,
    And,
    Arithmetic,
    Call,
    Case,
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
    SortKey,
)
from planner.logical import (
    Aggregate,
    CommonSubplan,
    DependentJoin,
    Filter,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
)
from planner.window import UP_TO_PEERS, WHOLE_PARTITION, FrameUnit, Side, WindowFrame

Row = dict[ColumnId, Any]


class TooManyRows(Exception):
    """A scalar subquery gave more than one row."""


@dataclass(frozen=True, slots=True)
class ListTable:
    """A table of Python rows."""

    name: str
    schema: pa.Schema
    rows: tuple[tuple[Any, ...], ...]

    def statistics(self, columns: Any) -> TableStatistics:
        return TableStatistics()

    def splits(self) -> tuple[Split, ...]:
        return (Split(None),)


def run(plan: LogicalPlan) -> list[tuple[Any, ...]]:
    """The rows of ``plan``, in the order of its schema's columns."""
    return [tuple(row[f.id] for f in plan.schema) for row in evaluate(plan, {})]


def evaluate(plan: LogicalPlan, outer: Row) -> list[Row]:
    """The rows of ``plan`` where ``outer`` are the values of the columns around it."""
    match plan:
        case Scan(table, fields, predicates):
            assert isinstance(table, ListTable)
            at = [table.schema.get_field_index(f.name) for f in fields]
            rows = [{f.id: r[i] for f, i in zip(fields, at, strict=True)} for r in table.rows]
            return [r for r in rows if all(value(p, outer | r) is True for p in predicates)]
        case Values(fields, cells):
            return [{f.id: value(c, outer) for f, c in zip(fields, row, strict=True)} for row in cells]
        case Filter(source, predicate):
            return [r for r in evaluate(source, outer) if value(predicate, outer | r) is True]
        case Project(source, items):
            return [{i.field.id: value(i.expr, outer | r) for i in items} for r in evaluate(source, outer)]
        case Join() | DependentJoin():
            return list(_join(plan, outer))
        case Aggregate():
            return _aggregate(plan, outer)
        case Sort(source, keys, limit, offset):
            rows = _sorted(evaluate(source, outer), keys, outer)
            return rows[offset:] if limit is None else rows[offset : offset + limit]
        case Limit(source, limit, offset):
            rows = evaluate(source, outer)
            return rows[offset:] if limit is None else rows[offset : offset + limit]
        case Union(inputs, fields):
            return [
                {f.id: r[s.id] for f, s in zip(fields, source.schema, strict=True)}
                for source in inputs
                for r in evaluate(source, outer)
            ]
        case Window():
            return _window(plan, outer)
        case CommonSubplan(source):
            return evaluate(source, outer)
        case _:
            raise TypeError(plan)


def _join(plan: Join | DependentJoin, outer: Row) -> Iterable[Row]:
    left = evaluate(plan.left, outer)
    fixed = None if isinstance(plan, DependentJoin) else evaluate(plan.right, outer)
    no_left = {f.id: None for f in plan.left.schema}
    no_right = {f.id: None for f in plan.right.schema}
    matched_right: set[int] = set()
    for a in left:
        right = evaluate(plan.right, outer | a) if fixed is None else fixed
        hits = [i for i, b in enumerate(right) if all(value(c, outer | a | b) is True for c in plan.condition)]
        matched_right.update(hits)
        match plan.kind:
            case JoinKind.INNER | JoinKind.RIGHT:
                yield from (a | right[i] for i in hits)
            case JoinKind.LEFT | JoinKind.FULL | JoinKind.SINGLE:
                if plan.kind is JoinKind.SINGLE and len(hits) > 1:
                    raise TooManyRows
                yield from [a | right[i] for i in hits] or [a | no_right]
            case JoinKind.SEMI:
                yield from [a] if hits else []
            case JoinKind.ANTI:
                yield from [] if hits else [a]
            case JoinKind.MARK:
                assert plan.mark is not None
                found: list[Any] = [True] * len(hits)
                if plan.comparison is not None:
                    found = [value(plan.comparison, outer | a | right[i]) for i in hits]
                yield a | {plan.mark.id: _or(found)}
    if plan.kind in (JoinKind.RIGHT, JoinKind.FULL):
        assert fixed is not None
        yield from (no_left | b for i, b in enumerate(fixed) if i not in matched_right)


def _aggregate(plan: Aggregate, outer: Row) -> list[Row]:
    groups: dict[Any, list[Row]] = {} if plan.keys else {(): []}
    for r in evaluate(plan.input, outer):
        groups.setdefault(tuple(r[k.id] for k in plan.keys), []).append(r)
    out = []
    for rows in groups.values():
        row = {k.id: rows[0][k.id] for k in plan.keys}
        for item in plan.aggregates:
            row[item.field.id] = _call(item.call, [outer | r for r in rows], outer)
        out.append(row)
    return out


def _window(plan: Window, outer: Row) -> list[Row]:
    partitions: dict[Any, list[Row]] = {}
    for r in _sorted(evaluate(plan.input, outer), plan.order, outer):
        partitions.setdefault(tuple(r[c.id] for c in plan.partition), []).append(r)
    out = []
    for rows in partitions.values():
        keys = [[value(k.expr, outer | r) for k in plan.order] for r in rows]
        for i, row in enumerate(rows):
            added = {}
            for item in plan.items:
                if item.call.name == "row_number":
                    added[item.field.id] = i + 1
                else:
                    frame = [outer | r for r in rows[slice(*_frame(item.call.frame, i, keys, outer | row))]]
                    added[item.field.id] = _call(item.call.function, frame, outer)
            out.append(row | added)
    return out


def _frame(frame: WindowFrame, i: int, keys: list[Any], row: Row) -> tuple[int, int]:
    """Whole partitions, frames up to the peers of a row, and those of rows with an offset at their start."""
    if frame == WHOLE_PARTITION:
        return 0, len(keys)
    if frame == UP_TO_PEERS:
        return 0, max(j for j, key in enumerate(keys) if key == keys[i]) + 1
    assert frame.unit is FrameUnit.ROWS and frame.end.side is Side.CURRENT and frame.start.offset is not None
    return max(0, i - value(frame.start.offset, row)), i + 1


def _call(call: AggregateCall, rows: list[Row], outer: Row) -> Any:
    if call.filter is not None:
        rows = [r for r in rows if value(call.filter, r) is True]
    if call.name == "count_star":
        return len(rows)
    values = [v for r in _sorted(rows, call.order_by, outer) if (v := value(call.args[0], r)) is not None]
    if call.distinct:
        values = list(dict.fromkeys(values))
    match call.name:
        case "count":
            return len(values)
        case "sum":
            return sum(values) if values else None
        case "min":
            return min(values) if values else None
        case "max":
            return max(values) if values else None
        case "avg":
            return sum(values) / len(values) if values else None
        case "string_agg":
            return ",".join(values) if values else None
        case _:
            raise NotImplementedError(call.name)


def _sorted(rows: list[Row], keys: Iterable[SortKey], outer: Row) -> list[Row]:
    keys = tuple(keys)

    def compare(a: Row, b: Row) -> int:
        for key in keys:
            x, y = value(key.expr, outer | a), value(key.expr, outer | b)
            if x is None or y is None:
                if x is None and y is None:
                    continue
                first = (x is None) == key.nulls_first
                return -1 if first else 1
            if x != y:
                return -1 if (x < y) != key.descending else 1
        return 0

    return sorted(rows, key=cmp_to_key(compare)) if keys else rows


def _or(values: Iterable[Any]) -> bool | None:
    seen = list(values)
    return True if any(v is True for v in seen) else None if any(v is None for v in seen) else False


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def value(expr: Expr, row: Row) -> Any:
    """The value of a scalar expression."""
    match expr:
        case Column(id):
            return row[id]
        case Literal(v, _):
            return v
        case Comparison("is distinct from", left, right):
            return value(left, row) != value(right, row)
        case Comparison("is not distinct from", left, right):
            return value(left, row) == value(right, row)
        case Comparison(op, left, right):
            a, b = value(left, row), value(right, row)
            return None if a is None or b is None else _COMPARE[op](a, b)
        case And(args):
            seen = [value(a, row) for a in args]
            return False if any(v is False for v in seen) else None if None in seen else True
        case Or(args):
            return _or(value(a, row) for a in args)
        case Not(arg):
            v = value(arg, row)
            return None if v is None else not v
        case IsNull(arg):
            return value(arg, row) is None
        case InList(arg, values):
            return _or(value(Comparison("=", arg, v), row) for v in values)
        case Case(whens, otherwise):
            return next((value(v, row) for c, v in whens if value(c, row) is True), value(otherwise, row))
        case Cast(arg, dtype, _):
            return _cast(value(arg, row), dtype)
        case Arithmetic(op, left, right, dtype):
            return _arithmetic(op, value(left, row), value(right, row), dtype)
        case Call("coalesce", args, _):
            return next((v for a in args if (v := value(a, row)) is not None), None)
        case Call("abs", (arg,), _):
            v = value(arg, row)
            return None if v is None else abs(v)
        case _:
            raise NotImplementedError(expr)


def _arithmetic(op: str, a: Any, b: Any, dtype: pa.DataType) -> Any:
    if a is None or b is None:
        return None
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return None if b == 0 else a / b
        case "//":
            return None if b == 0 else int(Decimal(a) / Decimal(b))
        case "%":
            return None if b == 0 else a - b * int(Decimal(a) / Decimal(b))
        case _:
            raise NotImplementedError(op)


def _cast(v: Any, dtype: pa.DataType) -> Any:
    if v is None:
        return None
    if dtype == types.BOOLEAN:
        return bool(v)
    if types.is_integer(dtype):
        return int(v)
    if types.is_decimal(dtype):
        return Decimal(v)
    if types.is_float(dtype):
        return float(v)
    if types.is_string(dtype):
        return str(v)
    raise NotImplementedError(dtype)
