"""What a query took: each stage, task and operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from executor.device_frames import DeviceTimes
from planner.record import record


@dataclass(slots=True)
class OperatorMetrics:
    """Actual rows, bytes and seconds of one physical operator (EXPLAIN ANALYZE)."""

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """What one task of a cluster took, without waiting for its turn."""

    seconds: float
    spilled_bytes: int


@dataclass(slots=True)
class StageMetrics:
    """What one stage took, and its tasks where they are told apart."""

    tasks: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    each: tuple[TaskMetrics, ...] = ()

    @property
    def slowest(self) -> float | None:
        """Seconds of the slowest task."""
        return max((t.seconds for t in self.each), default=None)

    @property
    def median(self) -> float | None:
        """Seconds of the median task."""
        return median(t.seconds for t in self.each) if self.each else None

    @property
    def spilled_bytes(self) -> int:
        """Bytes that the tasks wrote to disk."""
        return sum(t.spilled_bytes for t in self.each)


@record
class Fallback:
    """A stage, or a part of it, that ran on the CPU because the GPU could not run it."""

    stage: int
    reason: str


@dataclass(slots=True)
class QueryMetrics:
    """What a query took."""

    stages: dict[int, StageMetrics] = field(default_factory=dict)
    fallbacks: list[Fallback] = field(default_factory=list)
    device: DeviceTimes = field(default_factory=DeviceTimes)
    spilled_bytes: int = 0
    seconds: float = 0.0
