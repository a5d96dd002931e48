"""Copies of plans: with other columns put in place of the ones they read, or with ids of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from planner.errors import PlanError
from planner.expr import Column, ColumnId, Expr, Field, column, mint, substitute
from planner.logical import (
    Aggregate,
    AggregateItem,
    CommonSubplan,
    DependentJoin,
    Filter,
    Item,
    Join,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
)
from planner.outer_columns import OuterColumns
from planner.tree import transform_up


def substitute_columns(plan: LogicalPlan, mapping: Mapping[ColumnId, Expr]) -> LogicalPlan:
    """``plan`` with columns replaced in every expression; meant for the ones it reads from outside."""

    def swap(node: LogicalPlan) -> LogicalPlan:
        return _with_substituted(node, mapping)

    return transform_up(plan, swap) if mapping else plan


def copy_with_new_ids(plan: LogicalPlan) -> tuple[LogicalPlan, dict[ColumnId, ColumnId]]:
    """A copy of ``plan`` in which every column it produces has a new id, and the new id of each old one.

    Columns it reads from outside stay. A CommonSubplan is not copied but read once more: it still runs
    once, unless it depends on a column that is copied.
    """
    copy = _Copy()
    return copy.of(plan), copy.ids


@dataclass(slots=True)
class _Copy:
    """Copies of plans with new ids: ``ids`` are the new ones of the old, and ``columns`` the new columns."""

    ids: dict[ColumnId, ColumnId] = field(default_factory=dict)
    columns: dict[ColumnId, Expr] = field(default_factory=dict)
    _known: dict[int, LogicalPlan] = field(default_factory=dict)
    _reads: OuterColumns = field(default_factory=OuterColumns)

    def of(self, node: LogicalPlan) -> LogicalPlan:
        if id(node) not in self._known:
            self._known[id(node)] = self._renewed(node)
        return self._known[id(node)]

    def _field(self, item: Field) -> Field:
        if item.id not in self.ids:
            self.ids[item.id] = mint()
            self.columns[item.id] = Column(self.ids[item.id], item.name, item.dtype)
        return replace(item, id=self.ids[item.id])

    def _renewed(self, node: LogicalPlan) -> LogicalPlan:
        columns = self.columns
        if isinstance(node, CommonSubplan):
            node = substitute_columns(node, {c: columns[c] for c in self._reads.of(node) if c in columns})
            return Project(node, tuple(Item(self._field(f), column(f)) for f in node.schema))
        inputs = [self.of(c) for c in node.children()]  # fills ``columns`` with what the expressions read
        if isinstance(node, Scan):
            for item in node.fields:
                self._field(item)
        if isinstance(node, Aggregate):
            return self._aggregate(node, inputs[0])
        if inputs:
            node = node.with_children(inputs)
        node = _with_substituted(node, columns)
        match node:
            case Scan(_, fields) | Values(fields, _) | Union(_, fields):
                return replace(node, fields=tuple(map(self._field, fields)))
            case Project(_, items):
                return replace(node, items=tuple(replace(i, field=self._field(i.field)) for i in items))
            case Join() | DependentJoin():
                return replace(node, mark=self._field(node.mark)) if node.mark is not None else node
            case Window(_, _, _, calls):
                return replace(node, items=tuple(replace(c, field=self._field(c.field)) for c in calls))
            case Filter() | Sort() | Limit():
                return node
            case _:
                raise PlanError(f"copy_with_new_ids: not a logical operator: {type(node).__name__}")

    def _aggregate(self, node: Aggregate, source: LogicalPlan) -> Aggregate:
        # Input and keys change together: the schema is looked up by key.
        calls = [
            a.call.with_expressions([substitute(e, self.columns) for e in a.call.expressions()])
            for a in node.aggregates
        ]
        fields = [self._field(a.field) for a in node.aggregates]
        keys = tuple(column(self._field(node.schema[k.id])) for k in node.keys)
        return Aggregate(source, keys, tuple(map(AggregateItem, fields, calls)))


def _with_substituted(node: LogicalPlan, mapping: Mapping[ColumnId, Expr]) -> LogicalPlan:
    old = node.expressions()
    new = [substitute(e, mapping) for e in old]
    return node if all(a is b for a, b in zip(old, new, strict=True)) else node.with_expressions(new)
