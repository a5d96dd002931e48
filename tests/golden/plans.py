"""The golden text of a TPC-H query: every level of its plan, over fixed statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.binder import BindContext, bind
from planner.logical import LogicalPlan
from planner.logical import pretty as pretty_logical
from planner.optimizer.context import OptimizerContext
from planner.optimizer.driver import optimize
from planner.parser import parse
from planner.physical import pretty as pretty_physical
from planner.physical import show_partitioning
from planner.physical_context import PhysicalContext
from planner.physical_planner import plan_query
from planner.stages import StageGraph
from planner.statements import Query
from planner.statistics import Estimator
from tests.golden.tables import FixedTable, tpch_tables
from tests.rules.cases import normalized
from tpch_queries import query

PARTITIONS = 4
MEMORY = 8 * 2**30


def path(number: int) -> Path:
    return Path(__file__).parent / "tpch" / f"q{number:02}.txt"


def bound(number: int, tables: Mapping[str, FixedTable] | None = None) -> LogicalPlan:
    """A TPC-H query as the binder gives it, over the tables at scale 1 if no others are given."""
    sql = query(number)
    statement = bind(parse(sql)[0], BindContext((tables or tpch_tables()).get, _no_files, sql))
    assert isinstance(statement, Query)
    return statement.plan


def text(number: int) -> str:
    """Bound, optimized, physical in one process, and the stages for several partitions."""
    plan = bound(number)
    estimator = Estimator()
    optimized = optimize(plan, OptimizerContext(estimator))
    local = plan_query(optimized, PhysicalContext(estimator, memory_limit=MEMORY))
    spread = plan_query(optimized, PhysicalContext(estimator, partitions=PARTITIONS, memory_limit=MEMORY))
    sections = {
        "bound": pretty_logical(plan),
        "optimized": pretty_logical(optimized),
        "physical": pretty_physical(local.plan),
        f"stages for {PARTITIONS} partitions": _stages(spread.graph),
    }
    # One numbering through all sections, so that a column can be followed from level to level.
    return normalized("\n\n".join(f"-- {title}\n{body}" for title, body in sections.items())) + "\n"


def _stages(graph: StageGraph) -> str:
    blocks = []
    for stage in graph.stages:
        output = "result" if stage.output is None else show_partitioning(stage.output)
        head = f"stage {stage.id}: {stage.tasks} task{'s' if stage.tasks > 1 else ''}, to {output}"
        blocks.append(f"{head}\n{_indented(pretty_physical(stage.plan))}")
    filters = (
        f"filter: {f.scan.table.name} in stage {f.target} by {f.column.name}#{f.column.id}"
        f" from {f.source_column.name}#{f.source_column.id} of stage {f.source}"
        for f in graph.filters
    )
    return "\n".join([*blocks, *filters])


def _indented(lines: str) -> str:
    return "\n".join(f"  {line}" for line in lines.splitlines())


def _no_files(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("golden plans read no files")
