"""Aggregations beneath a join are spared the groups that the join drops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.expr import Column, ColumnId, Comparison, Expr, columns_of, is_volatile
from planner.logical import Aggregate, Filter, Join, JoinKind, LogicalPlan, Project, Scan
from planner.optimizer.context import OptimizerContext
from planner.rename import copy_with_new_ids
from planner.tree import replace_children, transform_up, walk

# A set of keys must leave at most this share of the groups, or computing the set is not worth it.
_SHARE = 0.25

_LEFT_DECIDES = (JoinKind.INNER, JoinKind.SEMI, JoinKind.ANTI, JoinKind.LEFT, JoinKind.SINGLE, JoinKind.MARK)
_KEEPS_LEFT = (JoinKind.SEMI, JoinKind.ANTI, JoinKind.LEFT, JoinKind.SINGLE, JoinKind.MARK)


def reduce_aggregates(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Filter the input of an aggregation by the group keys that the other side of its join can have at all.

    The keys come from the smallest scan that the other side's column stems from, read once more. This is the semi-join
    reduction that "magic sets" (Mumick et al., SIGMOD 1990) give to decorrelated subqueries. Safe because a group whose
    key is no key of the other side matches no row of it: it would be computed and dropped, in every kind of join that
    does not preserve the aggregation's side. Other groups keep all of their rows.

        Join inner on a#1 = b#2
          Scan part [a#1] where brand#5 = 'x'
          Aggregate by [b#2] [avg(q#3) as q#4]
            Scan lineitem [b#2, q#3]
    →   Join inner on a#1 = b#2
          Scan part [a#1] where brand#5 = 'x'
          Aggregate by [b#2] [avg(q#3) as q#4]
            Join semi on b#2 = a#6
              Scan lineitem [b#2, q#3]
              Scan part [a#6] where brand#7 = 'x'
    """

    def visit(node: LogicalPlan) -> LogicalPlan:
        if not isinstance(node, Join) or node.kind not in _LEFT_DECIDES:
            return node
        left, right = node.left, _reduced(node.right, node.left, node.condition, context)
        if node.kind is JoinKind.INNER:
            left = _reduced(node.left, node.right, node.condition, context)
        return replace_children(node, [left, right])

    return transform_up(plan, visit)


def _reduced(
    side: LogicalPlan, other: LogicalPlan, condition: tuple[Expr, ...], context: OptimizerContext
) -> LogicalPlan:
    """``side`` with the aggregation at its top reduced by keys of ``other``, or ``side`` itself."""
    for predicate in condition:
        match predicate:
            case Comparison("=", Column() as a, Column() as b):
                ours, theirs = (a, b) if a.id in side.schema else (b, a)
                if ours.id in side.schema and theirs.id in other.schema:
                    changed = _reduce(side, ours, other, theirs, context)
                    if changed is not side:
                        return changed
    return side


def _reduce(
    side: LogicalPlan, key: Column, other: LogicalPlan, column: Column, context: OptimizerContext
) -> LogicalPlan:
    """Go down to the aggregation through what passes its key, and filter its input."""
    match side:
        case Filter(input, _):
            return replace_children(side, [_reduce(input, key, other, column, context)])
        case Project(input, items):
            stem = next((i.expr for i in items if i.field.id == key.id), None)
            if isinstance(stem, Column):
                return replace_children(side, [_reduce(input, stem, other, column, context)])
        case Aggregate(input, keys, aggregates) if aggregates and key in keys:
            keys_of_other = _best_source(other, column, input, key, context)
            if keys_of_other is not None:
                source, found = keys_of_other
                copy, renamed = copy_with_new_ids(source)
                match_key = Comparison("=", key, replace(found, id=renamed[found.id]))
                return replace(side, input=Join(JoinKind.SEMI, input, copy, (match_key,)))
        case _:
            pass
    return side


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
        case Join(kind, left) if kind in _KEEPS_LEFT and column.id in left.schema:
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
