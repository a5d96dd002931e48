"""What a running query tells: its progress, and what each stage and operator took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from planner.record import record


@record
class Progress:
    """A query's state: finished stages of all, the running stage's name and finished tasks, rows made so far."""

    stages_done: int
    stages: int
    stage: str
    tasks_done: int
    tasks: int
    rows: int


ProgressListener = Callable[[Progress], None]


@dataclass(slots=True)
class OperatorMetrics:
    """Actual rows, bytes and seconds of one physical operator (EXPLAIN ANALYZE)."""

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class StageMetrics:
    """What one stage took."""

    tasks: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


@record
class Fallback:
    """A stage, or a part of it, that ran on the CPU because the GPU could not run it."""

    stage: int
    reason: str


@dataclass(slots=True)
class QueryMetrics:
    """What a query took; operators by the identity of their physical node."""

    stages: dict[int, StageMetrics] = field(default_factory=dict)
    operators: dict[int, OperatorMetrics] = field(default_factory=dict)
    fallbacks: list[Fallback] = field(default_factory=list)
    spilled_bytes: int = 0
    seconds: float = 0.0
