"""Plans that have no rows, and what that makes of the operators above them."""

from __future__ import annotations

from dataclasses import replace

from planner.expr import FALSE, Literal, conjuncts
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Filter,
    Item,
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
    passthrough,
)
from planner.optimizer.construct import empty, null_items
from planner.optimizer.context import OptimizerContext
from planner.tree import transform_up


def empty_relations(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Replace what cannot have rows by ``Values`` without rows, and carry that upward.

    Safe by the meaning of each operator on an empty input: an inner or semi join is empty, an anti join keeps
    its left rows, an outer join pads them, an aggregate with groups has none. An aggregate without groups has
    one row all the same, and stays.

        Join left on a#1 = b#2
          Scan t [a#1]
          Filter FALSE
            Scan u [b#2]
    →   Project [a#1, NULL as b#2]
          Scan t [a#1]
    """
    return transform_up(plan, _visit)


def _is_empty(plan: LogicalPlan) -> bool:
    return isinstance(plan, Values) and not plan.rows


def _never(predicates: tuple[object, ...]) -> bool:
    return any(isinstance(p, Literal) and not p.value for p in predicates)


def _visit(node: LogicalPlan) -> LogicalPlan:
    match node:
        case Scan(_, _, predicates, limit):
            return empty(node.schema) if limit == 0 or _never(predicates) else node
        case Filter(input, predicate):
            return empty(node.schema) if _is_empty(input) or _never(conjuncts(predicate)) else node
        case Limit(input, limit, _) | Sort(input, _, limit, _):
            return empty(node.schema) if _is_empty(input) or limit == 0 else node
        case Project(input) | Window(input) | CommonSubplan(input):
            return empty(node.schema) if _is_empty(input) else node
        case Aggregate(input, keys, _):
            return empty(node.schema) if keys and _is_empty(input) else node
        case Union(inputs):
            return _union(node, [i for i in inputs if not _is_empty(i)])
        case Join():
            return _join(node)
        case _:
            return node


def _union(node: Union, inputs: list[LogicalPlan]) -> LogicalPlan:
    if len(inputs) == len(node.inputs):
        return node
    if not inputs:
        return empty(node.schema)
    if len(inputs) > 1:
        return replace(node, inputs=tuple(inputs))
    items = [
        replace(item, field=field)
        for field, item in zip(node.fields, passthrough(inputs[0].schema.fields), strict=True)
    ]
    return Project(inputs[0], tuple(items))


def _join(node: Join) -> LogicalPlan:
    left, right = node.left, node.right
    no_left, no_right = _is_empty(left), _is_empty(right)
    no_match = no_left or no_right or _never(node.condition)
    if not no_match:
        return node
    match node.kind:
        case JoinKind.INNER | JoinKind.SEMI:
            return empty(node.schema)
        case JoinKind.ANTI:
            return left
        case JoinKind.MARK:
            assert node.mark is not None
            return Project(left, (*passthrough(left.schema.fields), Item(node.mark, FALSE)))
        case JoinKind.LEFT | JoinKind.SINGLE:
            return Project(left, (*passthrough(left.schema.fields), *null_items(right.schema.fields)))
        case JoinKind.RIGHT:
            return Project(right, (*null_items(left.schema.fields), *passthrough(right.schema.fields)))
        case JoinKind.FULL if no_right:
            return Project(left, (*passthrough(left.schema.fields), *null_items(right.schema.fields)))
        case JoinKind.FULL if no_left:
            return Project(right, (*null_items(left.schema.fields), *passthrough(right.schema.fields)))
        case _:
            return node
