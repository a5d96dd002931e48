"""Tasks as a worker gets them, and how many objects they give back."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import pyarrow as pa
from ray import ObjectRef

from executor.kernels import KernelOptions
from executor.runners.base import StageOutput, input_blocks
from executor.runners.ray.blocks import remote
from executor.runners.ray.tables import ClusterTables, detached
from executor.runners.worker import ClusterInput, ClusterTask, dump_task
from planner.devices import Device
from planner.physical import InputExec
from planner.record import record
from planner.stages import Stage, partition_count, task_plan
from planner.tree import walk

_MOST_OBJECTS = 10_000  # blocks of one shuffle; beyond, tasks give back bundles of partitions, which are merged


@record(eq=False)
class Attempt:
    """One run of a task.

    Args:
        claim: the CPUs that it asks for.
        schema: of its rows, if they leave the engine.
        number: how often the task was started, this time included, because it was killed for memory.
        partitions: where what it makes will lie, once it was started.
    """

    stage: Stage
    task: int
    inputs: Mapping[int, StageOutput]
    device: Device
    claim: float
    memory_limit: int
    schema: pa.Schema | None = None
    number: int = 1
    partitions: tuple[ObjectRef[Any], ...] = ()


def sent(attempt: Attempt, tables: ClusterTables, temp_directory: str) -> list[Any]:
    """The arguments of ``worker.run``."""
    stage = attempt.stage
    plan = task_plan(stage, attempt.task)
    inputs: list[ClusterInput] = []
    blocks: list[ObjectRef[Any]] = []
    for leaf in {n.stage: n for n in walk(plan) if isinstance(n, InputExec)}.values():
        source = attempt.inputs[leaf.stage]
        found = remote(input_blocks(stage, attempt.task, leaf, source))
        inputs.append(ClusterInput(leaf.stage, source.partitioning, len(found)))
        blocks += [b.ref for b in found]
    task = ClusterTask(
        tables.of_task(plan),
        tuple(inputs),
        stage.output,
        _partitions(stage),
        attempt.memory_limit,
        temp_directory,
        KernelOptions(device=attempt.device),
        attempt.schema,
        bundles(stage),
    )
    payload, of_tables = dump_task(task, detached)
    return [payload, len(of_tables), *of_tables, *blocks]


def objects(stage: Stage) -> int:
    """How many objects each task of a stage gives back beside its report."""
    return len(bundles(stage)) or _partitions(stage)


def bundles(stage: Stage) -> tuple[int, ...]:
    """The sizes of the bundles in which each of many tasks gives back many partitions; none where they are few.

    A shuffle of m tasks into n partitions makes m·n objects, and the driver holds a reference to each. With bundles of
    √n partitions there are m·√n and n: 33 thousand instead of a million at m = n = 1000.
    """
    partitions = _partitions(stage)
    if partitions == 1 or stage.tasks * partitions <= _MOST_OBJECTS:
        return ()
    count = isqrt(partitions - 1) + 1
    return tuple(partitions * (i + 1) // count - partitions * i // count for i in range(count))


def _partitions(stage: Stage) -> int:
    """The partitions that each task of a stage divides its rows over."""
    return 1 if stage.output is None else partition_count(stage.output, stage.tasks)
