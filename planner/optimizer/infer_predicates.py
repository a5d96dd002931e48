"""Carry what is known of a join key over to the keys that equal it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pyarrow as pa

from planner.evaluate import cast
from planner.expr import Cast, Column, ColumnId, Comparison, Expr, InList, Literal, conjuncts
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Filter,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Sort,
    Window,
    operators,
)
from planner.optimizer.construct import filtered
from planner.optimizer.context import OptimizerContext
from planner.optimizer.equivalences import Equivalences
from planner.optimizer.ranges import combine_ranges
from planner.optimizer.unwrap_casts import is_lossless, unwrap_comparison, unwrap_in_list
from planner.record import record
from planner.tree import replace_children

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
    if Join not in operators(plan):
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
            known = {i.field.id: below[i.expr.id] for i in items if isinstance(i.expr, Column) and i.expr.id in below}
            return result, known
        case Aggregate(_, keys, _):
            return result, {k.id: visited[0][1][k.id] for k in keys if k.id in visited[0][1]}
        case Sort() | Limit() | Window() | CommonSubplan():
            return result, visited[0][1]
        case _:
            return result, {}


def facts_of(predicates: Iterable[Expr]) -> Facts:
    """The conjuncts that compare one column with constants."""
    facts: Facts = {}
    for predicate in predicates:
        match predicate:
            case Comparison("=" | "<" | "<=" | ">" | ">=" as op, Column(id, _, dtype), Literal(constant) as value) if (
                constant is not None
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


@record
class _Widening:
    """``CAST(narrow AS t) = wide`` where the cast loses nothing, so that bounds of one bound the other."""

    narrow: Column
    wide: Column

    def up(self, facts: Facts) -> Facts:
        """What follows for the wide column: the same constants in its type."""
        source, target = self.narrow.dtype, self.wide.dtype

        def converted(value: Literal) -> Literal:
            return Literal(cast(value.value, source, target), target)

        found: list[Expr] = []
        for predicate in facts.get(self.narrow.id, ()):
            match predicate:
                case Comparison(op, _, Literal() as value):
                    found.append(Comparison(op, _placeholder(target), converted(value)))
                case InList(_, values):
                    found.append(InList(_placeholder(target), tuple(map(converted, values))))
        return {self.wide.id: tuple(found)} if found else {}

    def down(self, facts: Facts) -> Facts:
        """What follows for the narrow column, where its type has a constant that says it."""
        casted = Cast(_placeholder(self.narrow.dtype), self.wide.dtype)
        found: list[Expr] = []
        for predicate in facts.get(self.wide.id, ()):
            narrowed: Expr | None = None
            match predicate:
                case Comparison(op, _, value):
                    narrowed = unwrap_comparison(Comparison(op, casted, value))
                case InList(_, values):
                    narrowed = unwrap_in_list(InList(casted, values))
            if narrowed is not None:
                found.append(narrowed)
        return {self.narrow.id: tuple(found)} if found else {}


def _widening(predicate: Expr) -> _Widening | None:
    match predicate:
        case Comparison("=", Cast(Column() as narrow, _, False), Column() as wide) | Comparison(
            "=", Column() as wide, Cast(Column() as narrow, _, False)
        ) if is_lossless(narrow.dtype, wide.dtype):
            return _Widening(narrow, wide)
        case _:
            return None


def _carried(predicate: Expr, facts: Facts) -> Facts:
    """What the facts of one input say of the columns that ``predicate`` equates with them."""
    match predicate:
        case Comparison("=", Column(a), Column(b)):
            return {to: facts[known] for known, to in ((a, b), (b, a)) if known in facts}
        case _:
            wide = _widening(predicate)
            return {**wide.up(facts), **wide.down(facts)} if wide is not None else {}


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
    for wide in filter(None, map(_widening, cluster.condition)):
        across = merged(wide.up(known), wide.down(known))
        known = {**known, **{i: merged(known, {i: p})[i] for i, p in across.items()}}
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
        from_left, from_right = _carried(predicate, left_facts), _carried(predicate, right_facts)
        if node.kind in _LEFT_TO_RIGHT:
            to_right = merged(to_right, {i: p for i, p in from_left.items() if i in node.right.schema})
        if node.kind in _RIGHT_TO_LEFT:
            to_left = merged(to_left, {i: p for i, p in from_right.items() if i in node.left.schema})
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
