"""Common subplans that gain nothing are put back where they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from planner.expr import Column, ColumnId, Expr, is_volatile, substitute
from planner.logical import CommonSubplan, Filter, Item, LogicalPlan, Project, Scan, Values, operators
from planner.optimizer.context import OptimizerContext
from planner.rename import copy_with_new_ids
from planner.tree import replace_children, walk


def unwrap_subplans(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Dissolve a CommonSubplan that has a single reader, or whose body is cheap: a scan, perhaps filtered or
    projected.

    Safe because the body gives the same rows wherever it stands, if it is not volatile; with several readers
    each gets a copy with column ids of its own. What is gained: filters, limits and unread columns reach the
    scan again, and the joins above see it.

        Project [a#1 as x#7]                 Project [a#1 as x#7]
          CommonSubplan cte            →       Scan t [a#1, b#2]
            Scan t [a#1, b#2]
    """
    if CommonSubplan not in operators(plan):
        return plan
    readers = Counter(id(c) for n in walk(plan) for c in n.children() if isinstance(c, CommonSubplan))
    return _Unwrapped(readers).of(plan)


@dataclass(slots=True)
class _Unwrapped:
    """Plans without the subplans that gain nothing; ``readers`` counts those of each, by identity."""

    readers: Counter[int]
    _known: dict[int, tuple[LogicalPlan, LogicalPlan]] = field(default_factory=dict)

    def of(self, node: LogicalPlan) -> LogicalPlan:
        hit = self._known.get(id(node))
        if hit is None:
            hit = self._known[id(node)] = (node, self._rebuilt(node))
        return hit[1]

    def _rebuilt(self, node: LogicalPlan) -> LogicalPlan:
        match node:
            case CommonSubplan(input) if self.readers[id(node)] <= 1:
                return self.of(input)
            case Project(CommonSubplan(input) as common, items) if self.readers[id(common)] > 1 and _is_cheap(input):
                return _copied(self.of(input), items)
            case _:
                return replace_children(node, [self.of(c) for c in node.children()])


def _is_cheap(plan: LogicalPlan) -> bool:
    match plan:
        case Scan(_, _, _, limit):
            return limit is None
        case Values(_, rows):
            return len(rows) <= 16
        case Filter(input) | Project(input):
            return _is_cheap(input) and not any(is_volatile(e) for e in plan.expressions())
        case _:
            return False


def _copied(body: LogicalPlan, items: tuple[Item, ...]) -> LogicalPlan:
    """A Project over a copy of ``body``."""
    copy, ids = copy_with_new_ids(body)
    columns: dict[ColumnId, Expr] = {f.id: Column(ids[f.id], f.name, f.dtype) for f in body.schema}
    return Project(copy, tuple(Item(i.field, substitute(i.expr, columns)) for i in items))
