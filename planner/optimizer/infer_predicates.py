"""Carry what is known of a join key over to the keys that equal it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pyarrow as pa

from planner.expr import Column, ColumnId, Comparison, Expr, InList, Literal, conjuncts
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Filter,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    RowNumber,
    Scan,
    Sort,
)
from planner.optimizer.construct import filtered
from planner.optimizer.context import OptimizerContext
from planner.optimizer.equivalences import Equivalences
from planner.optimizer.ranges import combine_ranges
from planner.tree import replace_children, walk

# Conjuncts that hold for every row, by the one column that each compares with constants. They are written
# over the placeholder column 0, so that those of different columns compare.
Facts = dict[ColumnId, tuple[Expr, ...]]

_PLACEHOLDER = ColumnId(0)

# Non-inner joins: whether what holds of the left key may filter the right input, and the other way round. A
# row may be dropped from the side whose rows without a match do not come out.
_LEFT_TO_RIGHT = frozenset({JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK, JoinKind.SINGLE})
_RIGHT_TO_LEFT = frozenset({JoinKind.RIGHT, JoinKind.SEMI})

Memo = dict[int, tuple[LogicalPlan, LogicalPlan, Facts]]


def infer_predicates(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """From a = b and a = 5 conclude b = 5; likewise for ranges and IN lists, through any number of inner
    joins.

    Safe because a pair whose keys are equal passes the conjunct on one key exactly if it passes it on the
    other. Through an outer, anti or mark join a conjunct goes only toward the side whose unmatched rows do
    not come out. The new filters stand on the inputs of the joins; ``push_filters`` takes them down. A
    conjunct that the input implies already is not added, so that the rule settles.

        Join inner on a#1 = b#2
          Scan t [a#1] where a#1 = 5
          Scan u [b#2]
    →   Join inner on a#1 = b#2
          Scan t [a#1] where a#1 = 5
          Filter b#2 = 5
            Scan u [b#2]
    """
    if not any(isinstance(n, Join) for n in walk(plan)):
        return plan
    return _visit(plan, {})[0]


def _visit(node: LogicalPlan, memo: Memo) -> tuple[LogicalPlan, Facts]:
    hit = memo.get(id(node))
    if hit is None:
        result, facts = _infer(node, memo)
        hit = memo[id(node)] = (node, result, facts)
    return hit[1], hit[2]


def _infer(node: LogicalPlan, memo: Memo) -> tuple[LogicalPlan, Facts]:
    if isinstance(node, Join):
        return _inner(node, memo) if node.kind is JoinKind.INNER else _one_way(node, memo)
    visited = [_visit(c, memo) for c in node.children()]
    result = replace_children(node, [plan for plan, _ in visited])
    match node:
        case Scan(_, _, predicates):
            return result, facts_of(predicates)
        case Filter(_, predicate):
            return result, merged(visited[0][1], facts_of(conjuncts(predicate)))
        case Project(_, items):
            below = visited[0][1]
            known = {
                i.field.id: below[i.expr.id]
                for i in items
                if isinstance(i.expr, Column) and i.expr.id in below
            }
            return result, known
        case Aggregate(_, keys, _):
            return result, {k.id: visited[0][1][k.id] for k in keys if k.id in visited[0][1]}
        case Sort() | Limit() | RowNumber() | CommonSubplan():
            return result, visited[0][1]
        case _:
            return result, {}


def facts_of(predicates: Iterable[Expr]) -> Facts:
    """The conjuncts that compare one column with constants."""
    facts: Facts = {}
    for predicate in predicates:
        match predicate:
            case Comparison(op, Column(id, _, dtype), Literal() as value) if op in (
                "=",
                "<",
                "<=",
                ">",
                ">=",
            ):
                facts[id] = (*facts.get(id, ()), Comparison(op, _placeholder(dtype), value))
            case InList(Column(id, _, dtype), values):
                facts[id] = (*facts.get(id, ()), InList(_placeholder(dtype), values))
    return facts


def merged(a: Facts, b: Facts) -> Facts:
    """Both, of each column the tightest."""
    if not a or not b:
        return a or b
    out = dict(a)
    for id, predicates in b.items():
        out[id] = tuple(combine_ranges([*out[id], *predicates])) if id in out else predicates
    return out


def _placeholder(dtype: pa.DataType) -> Column:
    return Column(_PLACEHOLDER, "", dtype)


def _over(predicate: Expr, target: Column) -> Expr:
    """A fact as a conjunct on ``target``."""
    match predicate:
        case Comparison(op, _, value):
            return Comparison(op, target, value)
        case InList(_, values):
            return InList(target, values)
        case _:
            return predicate  # FALSE: the facts exclude each other


@dataclass(slots=True)
class _Cluster:
    """Inner joins that stand on each other: what they join, with its facts, and all their conjuncts."""

    leaves: list[tuple[LogicalPlan, LogicalPlan, Facts]]
    condition: list[Expr]


def _inner(node: Join, memo: Memo) -> tuple[LogicalPlan, Facts]:
    cluster = _Cluster([], [])
    _gather(node, cluster, memo)
    known: Facts = {}
    for _, _, facts in cluster.leaves:
        known = merged(known, facts)
    known = merged(known, facts_of(cluster.condition))
    for members in Equivalences.of(cluster.condition).classes():
        together: Facts = {}
        for member in members:
            if member in known:
                together = merged(together, {_PLACEHOLDER: known[member]})
        if together:
            known.update(dict.fromkeys(members, together[_PLACEHOLDER]))
    leaves = {id(old): _restricted(new, facts, known) for old, new, facts in cluster.leaves}
    return _rebuild(node, leaves), known


def _gather(node: LogicalPlan, cluster: _Cluster, memo: Memo) -> None:
    if isinstance(node, Join) and node.kind is JoinKind.INNER:
        cluster.condition.extend(node.condition)
        _gather(node.left, cluster, memo)
        _gather(node.right, cluster, memo)
    else:
        cluster.leaves.append((node, *_visit(node, memo)))


def _rebuild(node: LogicalPlan, leaves: dict[int, LogicalPlan]) -> LogicalPlan:
    if isinstance(node, Join) and node.kind is JoinKind.INNER:
        return replace_children(node, [_rebuild(c, leaves) for c in node.children()])
    return leaves[id(node)]


def _restricted(plan: LogicalPlan, own: Facts, known: Facts) -> LogicalPlan:
    """``plan`` filtered by what is known of its columns beyond what it fulfils already."""
    new: list[Expr] = []
    for item in plan.schema:
        if item.id in known:
            target = Column(item.id, item.name, item.dtype)
            new.extend(_over(p, target) for p in known[item.id] if p not in own.get(item.id, ()))
    return filtered(plan, new)


def _one_way(node: Join, memo: Memo) -> tuple[LogicalPlan, Facts]:
    (left, left_facts), (right, right_facts) = _visit(node.left, memo), _visit(node.right, memo)
    to_left: Facts = {}
    to_right: Facts = {}
    for predicate in node.condition:
        match predicate:
            case Comparison("=", Column(a), Column(b)):
                if a not in node.left.schema:
                    a, b = b, a
                if a in left_facts and b in node.right.schema and node.kind in _LEFT_TO_RIGHT:
                    to_right = merged(to_right, {b: left_facts[a]})
                if b in right_facts and a in node.left.schema and node.kind in _RIGHT_TO_LEFT:
                    to_left = merged(to_left, {a: right_facts[b]})
    if to_right:
        right = _restricted(right, right_facts, merged(right_facts, to_right))
    if to_left:
        left = _restricted(left, left_facts, merged(left_facts, to_left))
    result = node
    if left is not node.left or right is not node.right:
        result = replace(node, left=left, right=right)
    match node.kind:
        case JoinKind.SEMI:
            return result, merged(left_facts, to_left)
        case JoinKind.LEFT | JoinKind.SINGLE | JoinKind.ANTI | JoinKind.MARK:
            return result, left_facts
        case JoinKind.RIGHT:
            return result, right_facts
        case _:
            return result, {}
