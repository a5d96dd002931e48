"""What every rule gets besides the plan."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from planner.logical import LogicalPlan
from planner.optimizer.column_needs import Needs, column_needs
from planner.record import record

if TYPE_CHECKING:
    from planner.statistics import Estimator


@record
class OptimizerContext:
    """``estimator`` knows rows and columns of any plan; ``disabled`` names the rules that are switched
    off. ``simplified`` remembers what ``simplify`` made of each node: it runs in every round over much that is
    as it was.
    """

    estimator: Estimator
    disabled: frozenset[str] = frozenset()
    simplified: dict[int, tuple[LogicalPlan, LogicalPlan]] = field(default_factory=dict, repr=False)
    _needs: dict[int, tuple[LogicalPlan, Needs]] = field(default_factory=dict, repr=False)

    def needs(self, plan: LogicalPlan) -> Needs:
        """``column_needs``, remembered: several rules in a row often see the same plan."""
        hit = self._needs.get(id(plan))
        if hit is None:
            hit = self._needs[id(plan)] = (plan, column_needs(plan))
        return hit[1]
