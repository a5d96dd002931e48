"""What physical planning knows besides the plan."""

from __future__ import annotations

from dataclasses import field

from planner.cost import CostModel
from planner.devices import Device, Rates
from planner.estimates import Estimates
from planner.record import record
from planner.statistics import Estimator


@record
class PhysicalContext:
    """Limits and choices of one query's physical plan.

    Args:
        estimator: rows and columns of the logical plan.
        partitions: tasks of a stage that reads much, and partitions of a shuffle; 0: as many as needed.
        staged: cut the plan into stages even where one task would do.
        nodes: places that tasks can run in.
        memory_limit: bytes that one place may use.
        broadcast_limit: bytes up to which a join's build side is sent whole to every task.
        skew_limit: bytes of a partition up to which it is one task's, however much smaller the others are.
        dynamic_filters: in a plan of several tasks, let small build sides finish first, so that scans can
            skip what cannot match them.
        devices: the device of every stage; or what the devices do in a second, where each stage has the choice.
        model: weights of costs.
        estimates: where the planner notes what it estimated of each physical node.
    """

    estimator: Estimator
    partitions: int = 0
    staged: bool = False
    nodes: int = 1
    memory_limit: int = 8 * 2**30
    broadcast_limit: int = 64 * 10**6
    skew_limit: int = 64 * 10**6
    dynamic_filters: bool = True
    devices: Device | Rates = "cpu"
    model: CostModel = field(default_factory=CostModel)
    estimates: Estimates = field(default_factory=Estimates)
