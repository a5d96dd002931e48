"""Read and carry only the columns that are needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa

from planner.expr import ColumnId, Field, columns_of
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
    project_to,
)
from planner.optimizer.column_needs import (
    Needs,
    child_needs,
    column_needs,
    kept_aggregates,
    kept_items,
    kept_positions,
)
from planner.optimizer.construct import is_identity, is_passthrough
from planner.optimizer.context import OptimizerContext
from planner.tree import replace_children


def prune_columns(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Drop unread columns from scans, projections, aggregates, unions and values, and marks that nobody looks
    at.

    Safe because a column that no parent reads cannot change the answer, and rows are never dropped: one
    column always stays to count them by. A common subplan keeps what any of its parents reads; a Union, which
    goes by position, keeps the same positions of every input. Projects that only select columns are removed
    as well, so that joins stand directly on each other; ``narrow_inputs`` puts some back when the joins are
    in order.

        Project [a#1]                        Project [a#1]
          Join inner on a#1 = c#3       →      Join inner on a#1 = c#3
            Scan t [a#1, b#2]                    Scan t [a#1]
            Scan u [c#3, d#4]                    Scan u [c#3]
    """
    pruned = _Pruning(context.needs(plan)).visit(plan)
    return _with_output_of(plan, pruned)


def narrow_inputs(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Put a Project over an input whose columns are not all read, where the operator above would carry them
    along.

    Safe as ``prune_columns`` is. Joins, sorts and common subplans copy every column of their inputs; columns that
    only a filter or a lower join needed are cut before them.

        Join inner on a#1 = c#3
          Scan t [a#1, b#2] where b#2 = 5
    →   Join inner on a#1 = c#3
          Project [a#1]
            Scan t [a#1, b#2] where b#2 = 5
    """
    return _with_output_of(plan, _with_narrow_inputs(plan, column_needs(plan, as_it_stands=True), {}))


def _with_narrow_inputs(
    node: LogicalPlan, needs: Needs, memo: dict[int, tuple[LogicalPlan, LogicalPlan]]
) -> LogicalPlan:
    hit = memo.get(id(node))
    if hit is None:
        children = [_with_narrow_inputs(c, needs, memo) for c in node.children()]
        if isinstance(node, (Join, Sort, Window, CommonSubplan)):
            wanted = child_needs(node, needs.of(node))
            children = [_narrowed(c, frozenset(w)) for c, w in zip(children, wanted, strict=True)]
        result = replace_children(node, children)
        if isinstance(result, Project) and is_identity(result):
            result = result.input
        hit = memo[id(node)] = (node, result)
    return hit[1]


def _narrowed(plan: LogicalPlan, wanted: frozenset[ColumnId]) -> LogicalPlan:
    kept = [f.id for f in plan.schema if f.id in wanted]
    if not kept or len(kept) == len(plan.schema):
        return plan
    if isinstance(plan, Project) and is_passthrough(plan.items):
        plan = plan.input
    return project_to(plan, kept)


def _with_output_of(before: LogicalPlan, after: LogicalPlan) -> LogicalPlan:
    return after if after is before else project_to(after, [f.id for f in before.schema])


@dataclass(slots=True)
class _Pruning:
    needs: Needs
    memo: dict[int, tuple[LogicalPlan, LogicalPlan]] = field(default_factory=dict)

    def visit(self, node: LogicalPlan) -> LogicalPlan:
        hit = self.memo.get(id(node))
        if hit is None:
            hit = self.memo[id(node)] = (node, self.prune(node, self.needs.of(node)))
        return hit[1]

    def prune(self, node: LogicalPlan, out: set[ColumnId]) -> LogicalPlan:
        match node:
            case Scan():
                return _prune_scan(node, out)
            case Values(fields, rows):
                kept = [i for i, f in enumerate(fields) if f.id in out] or list(range(len(fields)))[:1]
                if len(kept) == len(fields):
                    return node
                return Values(
                    tuple(fields[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows)
                )
            case Project(input, items):
                left = kept_items(items, out)
                child = self.visit(input) if isinstance(input, CommonSubplan) else self.input(input)
                if child is input and len(left) == len(items):
                    return node
                return Project(child, left)
            case Aggregate(input, keys, aggregates):
                calls = kept_aggregates(keys, aggregates, out)
                child = self.input(input)
                if child is input and len(calls) == len(aggregates):
                    return node
                return Aggregate(child, keys, calls)
            case Window(input, partition, order, calls):
                kept_calls = tuple(c for c in calls if c.field.id in out)
                child = self.input(input)
                if not kept_calls:
                    return child
                if child is input and len(kept_calls) == len(calls):
                    return node
                return Window(child, partition, order, kept_calls)
            case Join(JoinKind.MARK, left_input, _, _, _, mark) if mark is not None and mark.id not in out:
                return self.input(left_input)
            case Union():
                return self.union(node, out)
            case CommonSubplan(input):
                return replace_children(node, [self.visit(input)])
            case Join(_, left_input, right_input):
                left_child, right_child = self.input(left_input), self.input(right_input)
                if not left_child.schema.ids.isdisjoint(right_child.schema.ids):
                    # Both read one subplan without new ids, and a Project hid what they share.
                    left_child, right_child = self.visit(left_input), self.visit(right_input)
                return replace_children(node, [left_child, right_child])
            case Filter() | Sort() | Limit():
                return replace_children(node, [self.input(c) for c in node.children()])
            case DependentJoin():
                return replace_children(node, [self.visit(c) for c in node.children()])
            case _:
                raise TypeError(f"not a logical operator: {node!r}")

    def input(self, node: LogicalPlan) -> LogicalPlan:
        """An input of an operator that does not mind further columns."""
        result = self.visit(node)
        while (
            isinstance(result, Project)
            and is_passthrough(result.items)
            and not isinstance(result.input, CommonSubplan)
        ):
            result = result.input
        return result

    def union(self, node: Union, out: set[ColumnId]) -> LogicalPlan:
        positions = kept_positions(node, out)
        inputs = []
        for child in node.inputs:
            ids = [child.schema.fields[i].id for i in positions]
            inputs.append(project_to(self.visit(child), ids))
        if len(positions) == len(node.fields):
            return replace_children(node, inputs)
        return replace(node, inputs=tuple(inputs), fields=tuple(node.fields[i] for i in positions))


def _prune_scan(node: Scan, out: set[ColumnId]) -> Scan:
    read = out | columns_of(*node.predicates)
    kept = tuple(f for f in node.fields if f.id in read)
    if not kept and node.fields:
        kept = (min(node.fields, key=_width),)
    return node if len(kept) == len(node.fields) else Scan(node.table, kept, node.predicates, node.limit)


def _width(item: Field) -> int:
    """Bits a value takes, large where it varies."""
    dtype = item.dtype
    return dtype.bit_width if pa.types.is_primitive(dtype) or pa.types.is_decimal(dtype) else 1024
