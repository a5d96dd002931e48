"""From the optimized logical plan to a stage graph: the physical planner's entry.

``algorithms`` picks operators for one place, ``exchange`` spreads them over tasks where one place is too
small, and ``stages`` cuts the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.algorithms import plan_physical
from planner.estimates import Estimates
from planner.logical import LogicalPlan
from planner.physical import PhysicalPlan
from planner.physical_context import PhysicalContext
from planner.stages import StageGraph, cut

__all__ = ["PhysicalContext", "PhysicalQuery", "plan_physical", "plan_query"]


@dataclass(frozen=True, slots=True)
class PhysicalQuery:
    """How a query runs: the whole plan, its stages, and what was estimated of each node of the plan."""

    plan: PhysicalPlan
    graph: StageGraph
    estimates: Estimates
    partitions: int = 1


def plan_query(plan: LogicalPlan, context: PhysicalContext) -> PhysicalQuery:
    """Plan an optimized query down to its stages."""
    physical = plan_physical(plan, context)
    return PhysicalQuery(physical, cut(physical), context.estimates)
