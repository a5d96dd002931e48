"""The text of a plan at every level, with what was estimated and, after a run, what was measured.

The estimate of a node is its output rows and its own cost, without its inputs. With measurements a line adds
actual rows, how many times more rows there were than estimated (or fewer, below 1), time and output bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from planner import logical, physical, tree
from planner.cost import CostModel
from planner.estimates import Estimates
from planner.logical import LogicalPlan
from planner.physical import PhysicalPlan, show_partitioning
from planner.physical_planner import PhysicalQuery
from planner.stages import Stage, StageGraph
from planner.statistics import Estimator


class Measured(Protocol):
    """What a run tells of one operator."""

    rows: int
    bytes: int
    seconds: float


class MeasuredStage(Protocol):
    """What a run tells of one stage."""

    rows: int
    bytes: int
    seconds: float

    @property
    def slowest(self) -> float | None: ...

    @property
    def median(self) -> float | None: ...

    @property
    def spilled_bytes(self) -> int: ...


def explain_logical(plan: LogicalPlan, estimator: Estimator | None = None) -> str:
    """A logical plan, with estimated rows if an estimator is given."""

    def line(node: LogicalPlan) -> str:
        text = logical.describe(node)
        return text if estimator is None else f"{text}  ({_rows(estimator.rows(node))} rows)"

    return tree.pretty(plan, line)


def explain_physical(
    plan: PhysicalPlan,
    estimates: Estimates,
    measured: Mapping[int, Measured] | None = None,
    model: CostModel | None = None,
) -> str:
    """A physical plan with its estimates, and measurements by the identity of its nodes."""
    weights = model or CostModel()

    def line(node: PhysicalPlan) -> str:
        known = estimates.get(node)
        notes = f"{_rows(known.rows)} rows, cost {_number(weights.total(known.cost))}"
        actual = None if measured is None else measured.get(id(node))
        if actual is not None:
            notes += f"; actual {_rows(actual.rows)}{_ratio(actual.rows, known.rows)}"
            notes += f", {_time(actual.seconds)}, {_bytes(actual.bytes)}"
        return f"{physical.describe(node)}  ({notes})"

    return tree.pretty(plan, line)


def explain_stages(
    graph: StageGraph,
    estimates: Estimates,
    measured: Mapping[int, Measured] | None = None,
    stages: Mapping[int, MeasuredStage] | None = None,
) -> str:
    """Every stage under a heading; a query that is one stage, of which nothing was measured, has none. Where there is
    a GPU, each stage tells its device."""
    if len(graph.stages) == 1 and stages is None:
        where = _device(graph.result)
        return explain_physical(graph.result.plan, estimates, measured) + (f"\nRuns {where}" if where else "")
    parts = []
    for stage in graph.stages:
        body = explain_physical(stage.plan, estimates, measured)
        indented = "\n".join("  " + text for text in body.splitlines())
        took = None if stages is None else stages.get(stage.id)
        parts.append(f"{_heading(stage, graph)}{'' if took is None else _took(took)}\n{indented}")
    return "\n".join(parts)


def explain_query(
    query: PhysicalQuery,
    measured: Mapping[int, Measured] | None = None,
    stages: Mapping[int, MeasuredStage] | None = None,
) -> str:
    """How a planned query runs, stage by stage, and its cost in all; with what was measured of operators, or stages."""
    text = explain_stages(query.graph, query.estimates, measured, stages)
    total = sum(
        CostModel().total(query.estimates.get(node).cost)
        for stage in query.graph.stages
        for node in tree.walk(stage.plan)
    )
    return f"{text}\nTotal cost {_number(total)}"


def _heading(stage: Stage, graph: StageGraph) -> str:
    tasks = f"{stage.tasks} task{'' if stage.tasks == 1 else 's'}"
    text = f"Stage {stage.id}: {stage.name}, {tasks}"
    if stage is not graph.result:
        text += f", {'kept as it is' if stage.output is None else show_partitioning(stage.output)}"
    for item in graph.filters:
        if item.target == stage.id:
            text += f"; {item.column.name} filtered by {item.source_column.name} of stage {item.source}"
    where = _device(stage)
    return f"{text}; {where}" if where else text


def _device(stage: Stage) -> str:
    """Where a stage runs, and why; nothing where there is only the CPU."""
    if stage.device == "cpu" and not stage.why:
        return ""
    return f"on the {stage.device.upper()}" + (f": {stage.why}" if stage.why else "")


def _took(stage: MeasuredStage) -> str:
    text = f"  (actual {_rows(stage.rows)} rows, {_bytes(stage.bytes)}, {_time(stage.seconds)}"
    if stage.median is not None and stage.slowest is not None:
        text += f"; tasks: median {_time(stage.median)}, slowest {_time(stage.slowest)}"
    if stage.spilled_bytes:
        text += f"; {_bytes(stage.spilled_bytes)} spilled"
    return text + ")"


def _rows(rows: float | None) -> str:
    return "?" if rows is None else f"{round(rows):,}"


def _number(value: float) -> str:
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f}{unit}"
    return f"{value:.1f}"


def _bytes(size: float) -> str:
    return f"{_number(size)}B" if size >= 1000 else f"{round(size)}B"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _ratio(actual: int, estimate: float | None) -> str:
    """Actual rows over estimated ones."""
    if not estimate:
        return ""
    return f" (×{actual / estimate:.2g})"
