"""Where the values of a join key come from: small filtered scans that hold every value it can have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.expr import Column, ColumnId, Comparison, Expr, columns_of, is_volatile
from planner.logical import Aggregate, Filter, Join, JoinKind, LogicalPlan, Project, Scan
from planner.optimizer.context import OptimizerContext
from planner.rename import copy_with_new_ids
from planner.tree import walk

# A set of keys must leave at most this share of the values, or computing the set is not worth it.
_SHARE = 0.25

KEEPS_LEFT = (JoinKind.SEMI, JoinKind.ANTI, JoinKind.LEFT, JoinKind.SINGLE, JoinKind.MARK)


def semi_join_with_source(
    input: LogicalPlan, key: Column, other: LogicalPlan, column: Column, context: OptimizerContext
) -> LogicalPlan | None:
    """``input`` restricted to rows whose ``key`` is among the values that ``column`` can have in ``other``.

    None where no scan beneath ``other`` tells those values cheaply and leaves few of ``key``'s. The scan is read twice.
    """
    best = _best_source(other, column, input, key, context)
    if best is None:
        return None
    source, found = best
    copy, renamed = copy_with_new_ids(source)
    match = Comparison("=", key, replace(found, id=renamed[found.id]))
    return Join(JoinKind.SEMI, input, copy, (match,))


def _best_source(
    other: LogicalPlan, column: Column, input: LogicalPlan, key: Column, context: OptimizerContext
) -> tuple[LogicalPlan, Column] | None:
    """The scan with the fewest values of ``column``, if it is much cheaper than ``input`` and leaves few groups."""
    estimator = context.estimator
    groups = estimator.distinct((key.id,), input)
    if groups is None or _is_reduced(input, key):
        return None
    read = sum(estimator.rows(_base(n)) or 0.0 for n in walk(input) if isinstance(n, Scan))
    best: tuple[float, LogicalPlan, Column] | None = None
    for source, found in _sources(other, column):
        values, cost = estimator.distinct((found.id,), source), estimator.rows(_base(source))
        if values is None or cost is None or cost > read / 2 or values > groups * _SHARE:
            continue
        if best is None or values < best[0]:
            best = (values, source, found)
    return None if best is None else (best[1], best[2])


def _sources(plan: LogicalPlan, column: Column) -> Iterator[tuple[LogicalPlan, Column]]:
    """Filtered scans beneath ``plan`` whose values of some column include every value that ``column`` has in it."""
    match plan:
        case Scan(_, _, predicates) if predicates and not any(map(is_volatile, predicates)):
            yield plan, column
        case Filter(Scan(), predicate) if not is_volatile(predicate):
            yield plan, column
        case Filter(input, _):
            yield from _sources(input, column)
        case Project(input, items):
            stem = next((i.expr for i in items if i.field.id == column.id), None)
            if isinstance(stem, Column):
                yield from _sources(input, stem)
        case Aggregate(input, keys, _) if column in keys:
            yield from _sources(input, column)
        case Join(kind, left, right, condition) if kind in (JoinKind.INNER, JoinKind.SEMI):
            for child in (left, right) if kind is JoinKind.INNER else (left,):
                if column.id in child.schema:
                    yield from _sources(child, column)
            for twin in _equals(condition, column.id):
                for child in (left, right):
                    if twin.id in child.schema:
                        yield from _sources(child, twin)
        case Join(kind, left) if kind in KEEPS_LEFT and column.id in left.schema:
            yield from _sources(left, column)
        case _:
            return


def _equals(condition: tuple[Expr, ...], id: ColumnId) -> Iterator[Column]:
    """The columns that a join's condition equates with a column."""
    for predicate in condition:
        match predicate:
            case Comparison("=", Column() as a, Column() as b) if a.id == id:
                yield b
            case Comparison("=", Column() as a, Column() as b) if b.id == id:
                yield a
            case _:
                pass


def _base(source: LogicalPlan) -> LogicalPlan:
    """The scan of a source without its predicates: what reading it costs."""
    match source:
        case Filter(Scan() as scan, _):
            return replace(scan, predicates=())
        case Scan():
            return replace(source, predicates=())
        case _:
            return source


def _is_reduced(input: LogicalPlan, key: Column) -> bool:
    """Whether ``input`` is filtered by a set of its keys already."""
    match input:
        case Join(JoinKind.SEMI, left, _, condition):
            return any(key.id in columns_of(c) for c in condition) or _is_reduced(left, key)
        case _:
            return False
