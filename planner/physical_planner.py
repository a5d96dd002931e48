"""From the optimized logical plan to a stage graph: the physical planner's entry.

``algorithms`` picks operators for one place, ``exchange`` spreads them over tasks where one place is too
small, and ``stages`` cuts the result.
"""

from __future__ import annotations

from planner.algorithms import plan_physical
from planner.dynamic_filters import DynamicFilter, plan_filters
from planner.estimates import Estimates
from planner.exchange import ensure_distribution
from planner.logical import LogicalPlan
from planner.physical import PhysicalPlan
from planner.physical_context import PhysicalContext
from planner.record import record
from planner.stages import StageGraph, cut
from planner.working_set import choose_partitions

__all__ = ["PhysicalContext", "PhysicalQuery", "plan_physical", "plan_query"]

_STAGED = 2  # tasks a stage where somebody only wants to see stages


@record
class PhysicalQuery:
    """How a query runs: the whole plan, its stages, and what was estimated of each node of the plan."""

    plan: PhysicalPlan
    graph: StageGraph
    estimates: Estimates
    partitions: int = 1


def plan_query(plan: LogicalPlan, context: PhysicalContext) -> PhysicalQuery:
    """Plan an optimized query down to its stages."""
    local = plan_physical(plan, context)
    partitions = context.partitions or choose_partitions(
        local, context.estimates, context.memory_limit, context.nodes
    )
    if context.staged:
        partitions = max(partitions, _STAGED)
    forced = context.staged or context.partitions > 1
    spread = ensure_distribution(local, partitions, context, forced)
    filters: tuple[DynamicFilter, ...] = ()
    # In one place kernels filter the probe side's scan while they build (TPC-H Q17: 0.17 s, as a stage 0.23 s).
    if context.dynamic_filters and partitions > 1:
        spread, filters = plan_filters(spread, context)
    return PhysicalQuery(spread, cut(spread, filters, context.estimates), context.estimates, partitions)
