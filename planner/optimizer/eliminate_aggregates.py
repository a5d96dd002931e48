"""Drop a DISTINCT where rows are distinct already, and work that aggregates do twice or for nothing."""

from __future__ import annotations

from dataclasses import replace

from planner.expr import AggregateCall, Column, column
from planner.logical import (
    Aggregate,
    AggregateItem,
    Filter,
    Item,
    LogicalPlan,
    Project,
    Union,
    operators,
    passthrough,
    project_to,
)
from planner.optimizer.column_needs import DUPLICATE_INSENSITIVE
from planner.optimizer.context import OptimizerContext
from planner.tree import replace_children, transform_up


def eliminate_aggregates(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Remove DISTINCT over unique rows or right under another one; compute equal aggregates once.

    Safe because a set of columns that contains a unique key has no duplicates to remove, and because a
    DISTINCT (or an aggregate such as max) gives the same answer whether or not its input had duplicates.
    DISTINCT inside an aggregate goes where it changes nothing: in min and max, and in count(DISTINCT x) where
    x is unique anyway.

        Distinct by [a#1]                     Distinct by [a#1]
          Union [a#1]                           Union [a#1]
            Distinct by [b#2]           →         Scan t [b#2]
              Scan t [b#2]                        Scan u [c#3]
            Scan u [c#3]
    """
    if Aggregate not in operators(plan):
        return plan

    def visit(node: LogicalPlan) -> LogicalPlan:
        return _simpler(node, context) if isinstance(node, Aggregate) else node

    return transform_up(plan, visit)


def _simpler(node: Aggregate, context: OptimizerContext) -> LogicalPlan:
    if not node.aggregates:
        ids = [k.id for k in node.keys]
        if context.estimator.is_unique(node.input, ids):
            return project_to(node.input, ids)
    items = tuple(_without_distinct(node, item, context) for item in node.aggregates)
    if any(a is not b for a, b in zip(items, node.aggregates, strict=True)):
        node = replace(node, aggregates=items)
    if all(a.call.name in DUPLICATE_INSENSITIVE or a.call.distinct for a in items):
        below = _with_duplicates(node.input)
        node = node if below is node.input else replace(node, input=below)
    return _once(node)


def _with_duplicates(plan: LogicalPlan) -> LogicalPlan:
    """``plan`` without a DISTINCT at its top."""
    match plan:
        case Aggregate(input, keys, ()) if keys:
            return project_to(_with_duplicates(input), [k.id for k in keys])
        case Project() | Filter() | Union():
            return replace_children(plan, [_with_duplicates(c) for c in plan.children()])
        case _:
            return plan


def _without_distinct(node: Aggregate, item: AggregateItem, context: OptimizerContext) -> AggregateItem:
    call = item.call
    if not call.distinct:
        return item
    if call.name not in DUPLICATE_INSENSITIVE:
        read = [a.id for a in call.args if isinstance(a, Column)]
        if len(read) != len(call.args) or not context.estimator.is_unique(node.input, read):
            return item
    return replace(item, call=replace(call, distinct=False))


def _once(node: Aggregate) -> LogicalPlan:
    """Equal aggregates are computed once, and given out under all their names by a Project."""
    first: dict[AggregateCall, AggregateItem] = {}
    for item in node.aggregates:
        first.setdefault(item.call, item)
    if len(first) == len(node.aggregates):
        return node
    fields = node.schema.fields[: len(node.keys)]
    shared = tuple(Item(i.field, column(first[i.call].field)) for i in node.aggregates)
    return Project(Aggregate(node.input, node.keys, tuple(first.values())), (*passthrough(fields), *shared))
