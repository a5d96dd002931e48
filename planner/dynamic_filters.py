"""Filters from finished build sides: which joins' build sides run first, so that scans can skip what cannot match.

A join that keeps only matching rows of a side makes that side's scan wasteful where the other side has few keys:
part ⋈ lineitem with two hundred parts reads six million rows to keep six thousand. If the small side runs as a stage of
its own, its keys are known when the scan starts, and become a predicate of it (the driver adds range and set). Here it
is decided by estimates where that pays; what it then filters is exact either way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from planner import types
from planner.expr import Column, ColumnId, Field
from planner.logical import JoinKind
from planner.origins import Origin
from planner.physical import (
    AggregateExec,
    ExchangeExec,
    FilterExec,
    HashJoinExec,
    InputExec,
    MaterializeExec,
    PhysicalPlan,
    ProjectExec,
    ScanExec,
    SortExec,
)
from planner.physical_context import PhysicalContext
from planner.record import record
from planner.selectivity import UNKNOWN
from planner.tree import replace_children

MOST_KEYS = 5_000.0
"""Estimated keys up to which a build side may run first: a set of them is cheap to test each row against."""

_MOST_BUILD_ROWS = 1e6
_LEAST_PROBE_ROWS = 200_000.0
_MOST_KEPT = 0.02  # share of the scan's rows that the filter may leave and still be worth a stage

# Sides whose rows without a match never reach the result, so that they may be filtered by the other side's keys.
_FILTERS_LEFT = (JoinKind.INNER, JoinKind.SEMI, JoinKind.RIGHT)
_FILTERS_RIGHT = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI, JoinKind.SINGLE)

# Joins that a filter on a column of one side may pass below: dropping rows of that side drops only their own output.
_KEEPS_LEFT = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK, JoinKind.SINGLE)
_KEEPS_RIGHT = (JoinKind.INNER, JoinKind.RIGHT)


@record
class DynamicFilter:
    """Values of ``source_column`` in ``source`` (a stage) bound what ``scan`` has to read of ``column``."""

    source: ExchangeExec | MaterializeExec | InputExec
    source_column: Field
    scan: ScanExec
    column: Field


@record
class Filtered:
    """A distributed plan with a ``MaterializeExec`` over each build side that runs first, and the filters it gives."""

    plan: PhysicalPlan
    filters: tuple[DynamicFilter, ...]
    origins: Mapping[int, Origin]


def plan_filters(plan: PhysicalPlan, origins: Mapping[int, Origin], context: PhysicalContext) -> Filtered:
    """Let build sides run first where that pays; ``origins`` tell what the plan's nodes stand for."""
    finder = _Finder(plan, origins, context)
    made = finder.visit(plan)
    return Filtered(made, tuple(finder.filters), finder.origins)


class _Finder:
    def __init__(self, plan: PhysicalPlan, origins: Mapping[int, Origin], context: PhysicalContext) -> None:
        self.estimates = context.estimates
        self.filters: list[DynamicFilter] = []
        self.origins: dict[int, Origin] = {}
        self._before = origins
        self._uses = _uses(plan)
        self._done: dict[int, tuple[PhysicalPlan, PhysicalPlan]] = {}

    def visit(self, node: PhysicalPlan) -> PhysicalPlan:
        hit = self._done.get(id(node))
        if hit is not None:
            return hit[1]
        made = replace_children(node, [self.visit(c) for c in node.children()])
        if isinstance(node, HashJoinExec) and isinstance(made, HashJoinExec):
            made = self.join(node, made)
        self.estimates.inherit(made, node)
        self._done[id(node)] = (node, made)
        found = self._before.get(id(node))
        if found is not None:
            inputs = made.children() if isinstance(made, HashJoinExec) else tuple(map(self.visit, found.inputs))
            self.origins[id(made)] = replace(found, node=made, inputs=inputs)
        return made

    def join(self, node: HashJoinExec, made: HashJoinExec) -> HashJoinExec:
        """``made`` (``node`` over planned inputs) with its build side as a stage, if that pays."""
        right_builds = node.build == "right"
        if node.kind not in (_FILTERS_LEFT if right_builds else _FILTERS_RIGHT):
            return made
        build, probe = (node.right, node.left) if right_builds else (node.left, node.right)
        rows = self.estimates.get(build).rows
        if rows is None or rows > _MOST_BUILD_ROWS:
            return made
        found = []
        for key in node.keys:
            ours, theirs = (key.right, key.left) if right_builds else (key.left, key.right)
            if key.null_safe or not isinstance(ours, Column) or not isinstance(theirs, Column):
                continue
            target = trace(probe, theirs.id)
            if target is not None and self.pays(build, rows, ours.id, *target):
                found.append((build.schema[ours.id], *target))
        if not found:
            return made
        planned = made.right if right_builds else made.left
        source = self.stage(planned)
        self.filters += [DynamicFilter(source, field, scan, column) for field, scan, column in found]
        return replace(made, right=source) if right_builds else replace(made, left=source)

    def stage(self, build: PhysicalPlan) -> ExchangeExec | MaterializeExec | InputExec:
        """``build`` as a stage of its own, which it may be already."""
        if isinstance(build, (ExchangeExec, MaterializeExec, InputExec)):
            return build
        made = MaterializeExec(build, "build side", build.schema)
        self.estimates.inherit(made, build)
        return made

    def pays(self, build: PhysicalPlan, rows: float, key: ColumnId, scan: ScanExec, column: Field) -> bool:
        if self._uses[id(scan)] > 1 or scan.limit is not None or types.is_decimal(column.dtype):
            return False  # (decimals are slow to look up in a set)
        probe = self.estimates.get(scan)
        if probe.rows is None or probe.rows < _LEAST_PROBE_ROWS:
            return False
        domain = probe.columns.get(column.id, UNKNOWN).ndv
        keys = self.estimates.get(build).columns.get(key, UNKNOWN).ndv
        distinct = rows if keys is None else min(keys, rows)
        return domain is not None and distinct <= MOST_KEYS and distinct <= domain * _MOST_KEPT


def trace(plan: PhysicalPlan, id: ColumnId) -> tuple[ScanExec, Field] | None:
    """The scan that column ``id`` of ``plan`` comes from unchanged, by a way that a filter on it may go down."""
    while True:
        match plan:
            case ScanExec():
                return plan, plan.schema[id]
            case FilterExec(input) | ExchangeExec(input):
                plan = input
            case SortExec(input, limit=None):
                plan = input
            case ProjectExec(input, items):
                expr = next(i.expr for i in items if i.field.id == id)
                if not isinstance(expr, Column):
                    return None
                plan, id = input, expr.id
            case AggregateExec(input, keys):
                if all(k.id != id for k in keys):
                    return None
                plan = input  # whole groups go, and no other changes
            case HashJoinExec(kind, left, right):
                if id in left.schema and kind in _KEEPS_LEFT:
                    plan = left
                elif id in right.schema and kind in _KEEPS_RIGHT:
                    plan = right
                else:
                    return None
            case _:
                return None


def _uses(plan: PhysicalPlan) -> Counter[int]:
    """How often each node stands in the plan, where a shared subplan counts for each of its parents."""
    order: list[PhysicalPlan] = []
    _append_after_inputs(plan, order, set())
    uses = Counter({id(plan): 1})
    for node in reversed(order):
        for child in node.children():
            uses[id(child)] += uses[id(node)]
    return uses


def _append_after_inputs(node: PhysicalPlan, order: list[PhysicalPlan], seen: set[int]) -> None:
    if id(node) not in seen:
        seen.add(id(node))
        for child in node.children():
            _append_after_inputs(child, order, seen)
        order.append(node)
