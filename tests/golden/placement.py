"""Where every stage of TPC-H runs, and why, on machines with GPUs of three sizes: over fixed statistics and rates."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from planner.devices import H100, DeviceRates, Rates, default_cpu
from planner.logical import LogicalPlan
from planner.optimizer.context import OptimizerContext
from planner.optimizer.driver import optimize
from planner.physical_context import PhysicalContext
from planner.physical_planner import plan_query
from planner.stages import StageGraph
from planner.statistics import Estimator
from tests.golden.plans import bound
from tests.golden.tables import scaled_tables
from tpch_queries import NUMBERS

MEMORY = 64 * 2**30
PARTITIONS = 4

# The H100's rates are fitted to what it did; those of the others are made up: what differs is what matters here.
DEVICES = {
    "datacentre": Rates(default_cpu(16), H100),
    "laptop": Rates(
        default_cpu(8), DeviceRates("laptop", 8e9, 6e9, 1e9, 0.6e9, 0.6e9, 0.6e9, 1.5e-3, 10e-3, 6e9, 6e9)
    ),
    "old": Rates(default_cpu(4), DeviceRates("old", 4e9, 2.5e9, 0.4e9, 0.2e9, 0.2e9, 0.2e9, 2e-3, 15e-3, 2e9, 2e9)),
}

# Title, scale, whether from Parquet, partitions.
CASES = (
    ("scale 1 from Parquet", 1, True, 0),
    ("scale 10 from Parquet", 10, True, 0),
    ("scale 10 from memory", 10, False, 0),
    (f"scale 10 from Parquet in {PARTITIONS} partitions", 10, True, PARTITIONS),
)


def path(name: str) -> Path:
    return Path(__file__).parent / "devices" / f"{name}.txt"


def text(name: str) -> str:
    """Every stage of every query on one machine."""
    lines = []
    for title, scale, parquet, partitions in CASES:
        lines.append(f"-- {title}")
        for number in NUMBERS:
            graph = stages(number, scale, parquet, partitions, DEVICES[name])
            lines += [f"q{number:02} stage {s.id} {s.device}: {s.why}" for s in graph.stages]
    return "\n".join(lines) + "\n"


def stages(number: int, scale: int, parquet: bool, partitions: int, devices: Rates) -> StageGraph:
    plan, estimator = optimized(number, scale, parquet)
    context = PhysicalContext(estimator, partitions=partitions, memory_limit=MEMORY, devices=devices)
    return plan_query(plan, context).graph


@cache
def optimized(number: int, scale: int, parquet: bool) -> tuple[LogicalPlan, Estimator]:
    """A TPC-H query as the optimizer gives it, and what it knows of it."""
    estimator = Estimator()
    plan = bound(number, scaled_tables(scale, parquet))
    return optimize(plan, OptimizerContext(estimator)), estimator
