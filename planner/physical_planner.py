"""From the optimized logical plan to a stage graph: the physical planner's entry, and its return while a query runs.

``algorithms`` picks operators for one place, ``exchange`` spreads them over tasks where one place is too small, and
``stages`` cuts the result. Whenever a stage has finished, ``rest`` gives what is left in one place, and the same way is
gone again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from planner.algorithms import plan_physical
from planner.device_cost import MARGIN, expected, place
from planner.devices import Rates
from planner.dynamic_filters import DynamicFilter, plan_filters
from planner.estimates import Estimates
from planner.exchange import ensure_distribution
from planner.join_meeting import JoinCondition, Meeting
from planner.logical import LogicalPlan
from planner.origins import Origin
from planner.physical import InputExec, MaterializeExec, PhysicalPlan
from planner.physical_context import PhysicalContext
from planner.precedence import precedence
from planner.record import record
from planner.rest import Rest
from planner.skew import divide_skewed
from planner.stages import ScanFilter, Stage, StageGraph, cut
from planner.started import StageSizes, StartedStage
from planner.tree import walk
from planner.working_set import choose_partitions

__all__ = ["PhysicalContext", "PhysicalQuery", "plan_physical", "plan_query", "plan_rest"]

_STAGED = 2  # tasks a stage where somebody only wants to see stages


@record
class PhysicalQuery:
    """How a query runs: its plan and stages, and what planning the rest of it again builds on.

    Args:
        plan: the plan with its exchanges; its ``InputExec``s read stages that have started.
        origins: what the nodes of ``plan`` stand for in one place.
        joins: how the sides of its hash joins meet.
        started: the stages that ``plan`` reads.
        changes: what was planned otherwise while the query ran, in words, in order.
    """

    plan: PhysicalPlan
    graph: StageGraph
    context: PhysicalContext
    partitions: int = 1
    origins: Mapping[int, Origin] = field(default_factory=dict)
    joins: Mapping[JoinCondition, Meeting] = field(default_factory=dict)
    started: Mapping[int, StartedStage] = field(default_factory=dict)
    changes: tuple[str, ...] = ()

    @property
    def estimates(self) -> Estimates:
        """What was estimated of each node of the stages' plans."""
        return self.context.estimates


def plan_query(plan: LogicalPlan, context: PhysicalContext) -> PhysicalQuery:
    """Plan an optimized query down to its stages."""
    local = plan_physical(plan, context)
    partitions = context.partitions or _partitions(local, context)
    if context.staged:
        partitions = max(partitions, _STAGED)
    planned = _spread(local, partitions, context)
    return planned if context.staged or context.partitions else _for_gpus(planned, local)


def place_again(query: PhysicalQuery) -> PhysicalQuery:
    """The same query, before it runs once more, with every stage on the device that is the better one by now: which
    tables a GPU holds, and how often they are read, is another from query to query."""
    if not isinstance(query.context.devices, Rates):
        return query
    stages = tuple(_placed(query.graph.stages, query.context))
    return replace(query, graph=replace(query.graph, stages=stages))


def on_cpu(query: PhysicalQuery) -> PhysicalQuery:
    """The same query, with every stage on the CPU."""
    stages = tuple(replace(s, device="cpu", why="", stays=False) for s in query.graph.stages)
    return replace(
        query, graph=replace(query.graph, stages=stages), context=replace(query.context, devices="cpu")
    )


def _for_gpus(planned: PhysicalQuery, local: PhysicalPlan) -> PhysicalQuery:
    """A query in as many tasks as there are GPUs rather than nodes, if it is clearly expected to be faster so."""
    context = planned.context
    if not isinstance(context.devices, Rates) or context.devices.gpus == context.nodes:
        return planned
    other = replace(context, nodes=context.devices.gpus, estimates=Estimates(context.estimates))
    partitions = _partitions(local, other)
    if partitions == planned.partitions:
        return planned
    found = _spread(local, partitions, other)
    before, after = (expected(q.graph.stages, q.context) for q in (planned, found))
    return found if before is not None and after is not None and after * MARGIN < before else planned


def plan_rest(query: PhysicalQuery, sizes: Mapping[int, StageSizes | None], finished: int) -> PhysicalQuery:
    """Plan what has not started anew.

    Args:
        sizes: the stages that have started; None for one that still runs.
        finished: the one whose sizes are news.
    """
    if query.partitions == 1:
        return query
    context = replace(query.context, estimates=Estimates(query.estimates))
    rest = Rest(query.origins, query.graph.made_of, sizes, query.started, context.estimates)
    local = rest.of(query.plan)
    partitions = query.partitions if _is_forced(context) else _partitions_again(local, rest.started, context)
    stages = [s for s in query.graph.stages if s.id in sizes]
    filters = [f for f in query.graph.filters if f.target in sizes]
    planned = _spread(local, partitions, context, rest.started, stages, filters)
    changes = (f"after stage {finished}: {change}" for change in _changes(query, planned))
    return replace(planned, changes=(*query.changes, *changes))


def _partitions(local: PhysicalPlan, context: PhysicalContext) -> int:
    return choose_partitions(local, context.estimates, context.memory_limit, context.nodes)


def _is_forced(context: PhysicalContext) -> bool:
    """Whether the number of partitions was asked for."""
    return context.staged or context.partitions > 1


def _spread(
    local: PhysicalPlan,
    partitions: int,
    context: PhysicalContext,
    started: Mapping[int, StartedStage] | None = None,
    stages: Sequence[Stage] = (),
    filters: Sequence[ScanFilter] = (),
) -> PhysicalQuery:
    """The stages of a plan in one place, after those that have started and with the filters on them."""
    started = started or {}
    distributed = ensure_distribution(local, partitions, context, _is_forced(context), started)
    spread, origins = distributed.plan, distributed.origins
    found: tuple[DynamicFilter, ...] = ()
    # In one place kernels filter the probe side's scan while they build (TPC-H Q17: 0.17 s, as a stage 0.23 s).
    if context.dynamic_filters and partitions > 1:
        filtered = plan_filters(spread, origins, context)
        spread, origins, found = filtered.plan, filtered.origins, filtered.filters
    graph = cut(spread, found, context.estimates, stages)
    if context.nodes > 1:
        keyed = _keyed(spread, origins, graph)
        new = graph.stages[len(stages) :]
        divided = (s if s.id in keyed else divide_skewed(s, started, context.skew_limit) for s in new)
        graph = replace(graph, stages=(*stages, *divided))
    if context.devices != "cpu":
        graph = replace(graph, stages=(*stages, *_placed(graph.stages[len(stages) :], context)))
    first = precedence(graph.stages, graph.filters, context.estimates, context.broadcast_limit)
    graph = replace(graph, filters=(*filters, *graph.filters), precedence=first)
    return PhysicalQuery(spread, graph, context, partitions, origins, distributed.joins, started)


def _placed(stages: Sequence[Stage], context: PhysicalContext) -> list[Stage]:
    """Stages on the devices that run them."""
    placed = [place(s, context) for s in stages]
    return [replace(s, stays=_stays(s, placed)) for s in placed]


def _stays(stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether the stage and all that read it run on the GPU."""
    readers = [s for s in stages if stage.id in s.inputs]
    return bool(readers) and all(s.device == "gpu" for s in (stage, *readers))


def _keyed(spread: PhysicalPlan, origins: Mapping[int, Origin], graph: StageGraph) -> set[int]:
    """The stages whose rows are kept as their tasks made them, and relied upon to be together by keys."""
    kept = [n for n in walk(spread) if isinstance(n, MaterializeExec)]
    found = ((n, origins.get(id(n)) or origins.get(id(n.input))) for n in kept)
    return {graph.made_of[id(n)] for n, origin in found if origin is not None and origin.placement.keys}


def _partitions_again(local: PhysicalPlan, started: Mapping[int, StartedStage], context: PhysicalContext) -> int:
    """The tasks for the rest of a query. If it reads hash partitions, a divisor of their number, so that they can be
    read as they are; of too large ones tasks divide their own share."""
    wanted = _partitions(local, context)
    read = [started[n.stage].placement for n in walk(local) if isinstance(n, InputExec)]
    made = max((p.tasks for p in read if p.keys or p.order), default=1)
    if made == 1:
        return wanted
    return min((n for n in range(wanted, made) if made % n == 0), default=made)


def _changes(old: PhysicalQuery, new: PhysicalQuery) -> list[str]:
    """What a query does otherwise now."""
    found = []
    if new.partitions != old.partitions:
        found.append(f"the rest in {new.partitions} instead of {old.partitions} tasks a stage")
    for condition, meeting in new.joins.items():
        before = old.joins.get(condition, meeting)
        if before is not meeting:
            found.append(f"{condition}: {meeting} instead of {before}")
    known = {s.divided for s in old.graph.stages}
    for stage in new.graph.stages:
        if stage.divided is not None and stage.divided not in known:
            found += _divided(stage, new.started[stage.divided])
    return found


def _divided(stage: Stage, leaf: StartedStage) -> list[str]:
    """How the tasks of a stage share the partitions of an input."""
    assert leaf.sizes is not None
    count = len({s.index for s in stage.shares})
    sizes = leaf.sizes.merged(count)
    return [
        f"{share.of} tasks share partition {share.index} of stage {stage.divided}, "
        f"{sizes.bytes[share.index] / 1e6:.1f} of {sizes.total / 1e6:.1f} MB"
        for share in stage.shares
        if share.of > 1 and share.part == 0
    ]
