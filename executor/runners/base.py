"""What every runner offers the driver: stages run, their blocks, and rows handed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from executor.device_frames import DeviceTimes
from executor.metrics import Fallback, TaskMetrics
from planner.devices import Device
from planner.expr import Field, Schema, SortKey
from planner.physical import InputExec, Partitioning
from planner.stages import Stage
from planner.started import StageSizes


class LostWithGpu(Exception):
    """The last GPU is gone, and with it rows that only a GPU could compute again."""


class Block(Protocol):
    """Some rows of a finished stage, wherever they are."""

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...


@dataclass(slots=True)
class StageOutput:
    """A finished stage: the blocks of each output partition, in task order."""

    schema: Schema
    partitioning: Partitioning | None
    partitions: Sequence[Sequence[Block]]

    @property
    def rows(self) -> int:
        return sum(b.rows for p in self.partitions for b in p)

    @property
    def bytes(self) -> int:
        return sum(b.bytes for p in self.partitions for b in p)

    @property
    def sizes(self) -> StageSizes:
        """What planning the rest of the query needs to know."""
        each = [sum(b.bytes for b in p) for p in self.partitions]
        return StageSizes(self.rows, tuple(each), tuple(len(p) for p in self.partitions))

    def blocks(self) -> list[Block]:
        """The blocks of all partitions."""
        return [b for blocks in self.partitions for b in blocks]


def input_blocks(stage: Stage, task: int, leaf: InputExec, output: StageOutput) -> list[Block]:
    """The blocks that task ``task`` of ``stage`` reads of the stage under ``leaf``."""
    if not leaf.partitioned:
        return output.blocks()
    share = stage.share(task)
    found = [b for blocks in output.partitions[share.index :: leaf.tasks] for b in blocks]
    return found[share.part :: share.of] if leaf.stage == stage.divided else found


StageProgress = Callable[[Stage, int, int, int], None]
"""Told of a stage's finished tasks, and of the rows and bytes that it has made so far: when it begins, whenever it has
made more, and when all of its tasks are done."""


class Runner(Protocol):
    """Runs the stages of one query. ``submit`` starts stages, ``wait`` gives them back one by one as they finish."""

    @property
    def spilled_bytes(self) -> int:
        """Bytes that went to disk so far."""
        ...

    @property
    def fallbacks(self) -> Sequence[Fallback]:
        """What ran on the CPU so far because the GPU could not run it."""
        ...

    @property
    def device_times(self) -> DeviceTimes:
        """What tasks took on GPUs so far."""
        ...

    def tasks(self, stage: Stage) -> tuple[TaskMetrics, ...]:
        """What the tasks of a finished stage took; none where tasks are not told apart."""
        ...

    def has_room(self, device: Device) -> bool:
        """Whether another stage for a device could start at once. One that waits may still be planned otherwise."""
        ...

    def submit(self, stage: Stage, inputs: Mapping[int, StageOutput]) -> None:
        """Start a stage; the stages it reads have finished."""
        ...

    def wait(self) -> tuple[Stage, StageOutput] | None:
        """Wait until a submitted stage has finished, or (None) until there is room for another.

        Raises:
            ExecutionError: a task failed.
            CancelledError: the query was cancelled.
            LostWithGpu: rows are lost that only a GPU could compute again, and there is none any more.
        """
        ...

    def stream(self, stage: Stage, inputs: Mapping[int, StageOutput]) -> Iterator[pl.DataFrame]:
        """Run the last stage and hand over its rows, tasks in order.

        Raises: as ``wait``.
        """
        ...

    def distinct(self, output: StageOutput, column: Field) -> pl.Series:
        """The values of a finished stage's column, without NULL, each once."""
        ...

    def sample(self, output: StageOutput, keys: Sequence[SortKey], rows: int) -> pl.DataFrame:
        """The sort keys of about so many rows of a finished stage, evenly from all of its blocks (or of all rows, if it
        has fewer). See ``ranges``."""
        ...

    def free(self, output: StageOutput) -> None:
        """Forget the blocks of a stage that nothing reads any more."""
        ...

    def close(self) -> None:
        """Stop what runs and forget everything but what it took: the query may begin anew."""
        ...
