"""Move LIMIT toward the rows, and drop orders that nobody sees."""

from __future__ import annotations

from dataclasses import replace

from planner.expr import Column, columns_of, is_volatile, substitute
from planner.logical import (
    Aggregate,
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
    operators,
)
from planner.optimizer.construct import is_renaming, item_expressions
from planner.optimizer.context import OptimizerContext
from planner.tree import replace_children, transform_down, transform_up

# Joins in which every left row comes out at least once, so that n left rows suffice for n rows.
_KEEPS_LEFT = frozenset({JoinKind.LEFT, JoinKind.SINGLE, JoinKind.MARK})

# Aggregates whose result depends on the order of their input.
_ORDERED = frozenset({"string_agg", "first", "last", "any_value", "list", "array_agg"})


def push_limits(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Turn Limit over Sort into a top-N, and let limits sink toward the scans.

    Safe because a Project gives one row a row; because a Union, and the left side of a LEFT, SINGLE or MARK
    join, give at least as many rows as the input did, so that limit + offset rows of the input suffice (there
    the limit is copied and the upper one stays); and because a scan need not read on after limit + offset
    rows have passed its predicates.

        Limit 10 offset 5                        Project [a#1 + 1 as b#2]
          Project [a#1 + 1 as b#2]       →         Sort [a#1] limit 10 offset 5
            Sort [a#1]                               Scan t [a#1]
              Scan t [a#1]
    """
    return plan if operators(plan).isdisjoint((Limit, Sort)) else transform_down(plan, _push)


def _push(node: LogicalPlan) -> LogicalPlan:
    match node:
        case Limit(input, None, 0):
            return _push(input)
        case Limit(input, limit, offset):
            return _push_limit(node, input, limit, offset)
        case Sort(Join(kind, left) as join, keys, int(limit), offset) if kind in _KEEPS_LEFT:
            if not columns_of(*(k.expr for k in keys)) <= left.schema.ids or _has_at_most(
                left, limit + offset
            ):
                return node
            return replace(node, input=replace(join, left=Sort(left, keys, limit + offset)))
        case Sort(Project() as project, _, int(), _):
            return _sort_below(node, project)
        case _:
            return node


def _sort_below(node: Sort, project: Project) -> LogicalPlan:
    """A top-N before what is computed, so that it is computed for N rows, if it orders by none of that."""
    computed = item_expressions(project.items)
    passed = {id: e for id, e in computed.items() if isinstance(e, Column)}
    moves = not is_renaming(project.items) and columns_of(*node.expressions()) <= passed.keys()
    if not moves or any(is_volatile(i.expr) for i in project.items):
        return node
    keys = tuple(replace(k, expr=substitute(k.expr, passed)) for k in node.keys)
    return replace(project, input=_push(replace(node, input=project.input, keys=keys)))


def _push_limit(node: Limit, input: LogicalPlan, limit: int | None, offset: int) -> LogicalPlan:
    match input:
        case Project(below, items) if not any(is_volatile(i.expr) for i in items):
            return replace(input, input=_push(Limit(below, limit, offset)))
        case Limit(below, inner, skipped):
            return _push(Limit(below, _combined(limit, offset, inner), skipped + offset))
        case Sort(_, _, inner, skipped):
            return _push(replace(input, limit=_combined(limit, offset, inner), offset=skipped + offset))
        case Scan(_, _, _, known) if limit is not None and (known is None or known > limit + offset):
            return Limit(replace(input, limit=limit + offset), limit, offset)
        case Union(inputs) if limit is not None:
            first = [_first(i, limit + offset) for i in inputs]
            union = replace_children(input, first)
            return node if union is input else Limit(union, limit, offset)
        case Join(kind, left) if limit is not None and kind in _KEEPS_LEFT:
            kept = _first(left, limit + offset)
            return node if kept is left else Limit(replace(input, left=kept), limit, offset)
        case _:
            return node


def _combined(limit: int | None, offset: int, inner: int | None) -> int | None:
    """The limit of a Limit over another one: what the inner leaves after the outer's offset, at most."""
    left = None if inner is None else max(inner - offset, 0)
    return left if limit is None else limit if left is None else min(limit, left)


def _first(plan: LogicalPlan, rows: int) -> LogicalPlan:
    return plan if _has_at_most(plan, rows) else Limit(plan, rows)


def _has_at_most(plan: LogicalPlan, rows: int) -> bool:
    match plan:
        case Limit(_, int(limit)) | Sort(_, _, int(limit)) | Scan(_, _, _, int(limit)):
            return limit <= rows
        case Values(_, values):
            return len(values) <= rows
        case Project(input):
            return _has_at_most(input, rows)
        case _:
            return False


def drop_sorts(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Remove a Sort without a limit where the operator above does not keep, or does not see, the order.

    Safe because a table has no order: joins, unions, row numbers with an order of their own and other sorts
    give no promise about the order of their input, and aggregates ask for none, but for those that depend on
    it (``string_agg``, ``first``, …), under which the Sort stays.

        Aggregate [sum(a#1) as s#2]           Aggregate [sum(a#1) as s#2]
          Sort [b#3]                    →       Scan t [a#1, b#3]
            Scan t [a#1, b#3]
    """
    if Sort not in operators(plan):
        return plan

    def visit(node: LogicalPlan) -> LogicalPlan:
        if isinstance(node, (Join, Union, Sort)) or (
            isinstance(node, Aggregate) and not any(a.call.name in _ORDERED for a in node.aggregates)
        ):
            return replace_children(node, [_unordered(c) for c in node.children()])
        return node

    return transform_up(plan, visit)


def _unordered(plan: LogicalPlan) -> LogicalPlan:
    match plan:
        case Sort(input, _, None, 0):
            return _unordered(input)
        case Project() | Filter():
            return replace_children(plan, [_unordered(plan.input)])
        case _:
            return plan
