"""What is known of stages that have started: how their rows stand, and their sizes once they have finished."""

from __future__ import annotations

from math import ceil
from statistics import median

from planner.placement import Placement
from planner.record import record

_SKEWED = 4.0  # times the median partition


@record
class StageSizes:
    """A finished stage: its rows, and bytes and blocks of each partition."""

    rows: int
    bytes: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.bytes)

    def merged(self, tasks: int) -> StageSizes:
        """The sizes of what each of ``tasks`` tasks reads (see ``InputExec``)."""
        shares = range(tasks)
        return StageSizes(
            self.rows,
            tuple(sum(self.bytes[i::tasks]) for i in shares),
            tuple(sum(self.blocks[i::tasks]) for i in shares),
        )


@record
class StartedStage:
    """A stage that runs (``sizes`` None) or has finished."""

    placement: Placement
    sizes: StageSizes | None = None

    def skewed(self, tasks: int, least: int) -> dict[int, int]:
        """Of the shares that ``tasks`` tasks read, those that are much larger than the others and have more than
        ``least`` bytes; with the number of tasks that each is worth."""
        if self.sizes is None or tasks < 2:
            return {}
        merged = self.sizes.merged(tasks)
        usual = median(merged.bytes)
        large = (i for i in range(tasks) if merged.bytes[i] > max(least, _SKEWED * usual))
        worth = {i: min(merged.blocks[i], ceil(merged.bytes[i] / max(least, usual))) for i in large}
        return {i: count for i, count in worth.items() if count > 1}
