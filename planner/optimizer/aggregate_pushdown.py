"""Group before a join what is grouped after it."""

from __future__ import annotations

from dataclasses import replace

from planner.expr import AggregateCall, Column, ColumnId, Comparison, columns_of
from planner.functions_aggregate import AggregateSplit, split_aggregate
from planner.logical import Aggregate, Item, Join, JoinKind, LogicalPlan, Project, operators, passthrough
from planner.optimizer.construct import is_passthrough
from planner.optimizer.context import OptimizerContext
from planner.optimizer.nullability import is_null_with
from planner.tree import transform_up

# Aggregates whose value over the partial values of parts is their value over all rows, each part repeated as
# often as its rows were.
_REPEATABLE = frozenset({"sum", "count", "count_star", "avg", "min", "max", "bool_and", "bool_or"})

_REDUCTION = 4.0  # rows a group, from which on a hash table of the groups costs less than it saves
_KEPT = 0.5  # share of the rows that the join must keep: grouping what it drops is waste


def aggregate_pushdown(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Aggregate one input of a join by its join keys first, where all aggregates read only that input.

    Safe because rows of the input that agree on the join keys, and on the group keys it has, meet the same
    partners and end up in the same groups: the join repeats or drops them together, and their partial
    aggregates in their place. A row of a left join without a partner brings NULL for the partial aggregates,
    as it brought NULL for the arguments; so there every argument must be NULL if its columns are, and
    count(*) is left alone. A DISTINCT is the case without aggregates. Only done where statistics say that
    groups are few and that the join keeps most rows.

        Aggregate by [c#1] [count(o#2) as n#3]         Project [c#1, coalesce(m#6, 0) as n#3]
          Join left on c#1 = k#4                         Aggregate by [c#1] [sum(p#5) as m#6]
            Scan customer [c#1]                   →        Join left on c#1 = k#4
            Scan orders [o#2, k#4]                           Scan customer [c#1]
                                                             Aggregate by [k#4] [count(o#2) as p#5]
                                                               Scan orders [o#2, k#4]
    """
    if Aggregate not in operators(plan):
        return plan

    def visit(node: LogicalPlan) -> LogicalPlan:
        return _pushed(node, context) if isinstance(node, Aggregate) else node

    return transform_up(plan, visit)


def _pushed(node: Aggregate, context: OptimizerContext) -> LogicalPlan:
    join = node.input
    if isinstance(join, Project) and is_passthrough(join.items):
        join = join.input
    if not isinstance(join, Join):
        return node
    match join.kind:
        case JoinKind.INNER:
            sides: tuple[str, ...] = ("left", "right")
        case JoinKind.LEFT:
            sides = ("right",)
        case _:
            return node
    for side in sides:
        grouped = join.left if side == "left" else join.right
        keys = _join_keys(join, grouped)
        if keys is None or not all(_reads_only(a.call, grouped, join.kind) for a in node.aggregates):
            continue
        by = tuple({k.id: k for k in (*keys, *(k for k in node.keys if k.id in grouped.schema))}.values())
        if _pays(grouped, by, join, context):
            return _split(node, join, grouped, by, context)
    return node


def _join_keys(join: Join, side: LogicalPlan) -> list[Column] | None:
    """The columns of ``side`` in the condition, if that is nothing but equalities of them."""
    keys = []
    for predicate in join.condition:
        match predicate:
            case Comparison("=" | "is not distinct from", left, right):
                own = [e for e in (left, right) if isinstance(e, Column) and e.id in side.schema]
                if len(own) != 1 or len(columns_of(predicate) & side.schema.ids) != 1:
                    return None
                keys.append(own[0])
            case _:
                return None
    return keys or None


def _reads_only(call: AggregateCall, side: LogicalPlan, kind: JoinKind) -> bool:
    read = columns_of(*call.expressions())
    if call.name not in _REPEATABLE or call.distinct or not read <= side.schema.ids:
        return False
    return kind is JoinKind.INNER or any(is_null_with(a, side.schema.ids) for a in call.args)


def _pays(side: LogicalPlan, by: tuple[Column, ...], join: Join, context: OptimizerContext) -> bool:
    rows, groups = context.estimator.rows(side), context.estimator.distinct([k.id for k in by], side)
    joined = context.estimator.rows(join)
    if rows is None or groups is None or joined is None:
        return False
    return rows >= _REDUCTION * groups and joined >= _KEPT * rows


def _split(
    node: Aggregate, join: Join, grouped: LogicalPlan, by: tuple[Column, ...], context: OptimizerContext
) -> LogicalPlan:
    splits: dict[ColumnId, AggregateSplit] = {}
    for item in node.aggregates:
        split = split_aggregate(item.call)
        if split is None:
            return node
        splits[item.field.id] = split
    partial = Aggregate(grouped, by, tuple(p for s in splits.values() for p in s.partials))
    below = _pushed(partial, context)
    joined = replace(join, left=below) if grouped is join.left else replace(join, right=below)
    final = Aggregate(joined, node.keys, tuple(f for s in splits.values() for f in s.finals))
    results = (Item(a.field, splits[a.field.id].result) for a in node.aggregates)
    return Project(final, (*passthrough(node.schema.fields[: len(node.keys)]), *results))
