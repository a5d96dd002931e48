"""Which columns a plan reads from outside of itself: the correlation of a subquery."""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.expr import ColumnId, columns_of
from planner.logical import DependentJoin, LogicalPlan, Scan

NO_COLUMNS: frozenset[ColumnId] = frozenset()


@dataclass(slots=True)
class OuterColumns:
    """The columns that each plan reads and does not produce, remembered by node."""

    _memo: dict[int, tuple[LogicalPlan, frozenset[ColumnId]]] = field(default_factory=dict)

    def of(self, plan: LogicalPlan) -> frozenset[ColumnId]:
        hit = self._memo.get(id(plan))
        if hit is None:
            hit = self._memo[id(plan)] = (plan, self._compute(plan))
        return hit[1]

    def _compute(self, plan: LogicalPlan) -> frozenset[ColumnId]:
        own = columns_of(*plan.expressions())
        if isinstance(plan, DependentJoin):
            left = plan.left.schema.ids
            return self.of(plan.left) | (self.of(plan.right) - left) | (own - left - plan.right.schema.ids)
        produced = plan.schema.ids if isinstance(plan, Scan) else NO_COLUMNS
        produced = produced.union(*(c.schema.ids for c in plan.children()))
        return (own - produced).union(*map(self.of, plan.children()))
