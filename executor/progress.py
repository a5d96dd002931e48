"""What a running query tells of its stages, for whoever looks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from planner.record import record
from planner.stages import Stage

State = Literal["waiting", "running", "done"]


@record
class StageStatus:
    """A stage at one moment: its finished tasks of all, the rows and bytes it has made, the seconds since it began."""

    id: int
    name: str
    state: State
    tasks_done: int
    tasks: int
    rows: int
    bytes: int
    seconds: float


@record
class Progress:
    """A query at one moment: its stages, those first that have begun, and the seconds since it began."""

    stages: tuple[StageStatus, ...]
    seconds: float

    def in_state(self, state: State) -> tuple[StageStatus, ...]:
        """The stages that wait, run, or are done."""
        return tuple(s for s in self.stages if s.state == state)

    @property
    def stages_done(self) -> int:
        return len(self.in_state("done"))


@dataclass(slots=True)
class _Entry:
    stage: Stage
    tasks_done: int = 0
    rows: int = 0
    bytes: int = 0
    began: float | None = None
    ended: float | None = None


class QueryProgress:
    """A running query as others see it: the driver says which stages there are, the runner how far they are, and any
    thread takes a look.

    Nobody is called when something changes: what the query pays is a few assignments for each batch of rows, whether
    somebody looks or not.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._entries: dict[int, _Entry] = {}

    def plan(self, stages: Iterable[Stage]) -> None:
        """Say which stages there are; also later, when others shall run than was planned. Those that have begun stay
        known, those that have not and are not among ``stages`` are forgotten."""
        begun = {i: e for i, e in self._entries.items() if e.began is not None}
        waiting = {s.id: _Entry(s) for s in stages if s.id not in begun}
        self._entries = {**begun, **waiting}  # at once: another thread may be looking

    def forget(self) -> None:
        """Say that the query begins anew."""
        self._entries = {}

    def tell(self, stage: Stage, tasks_done: int, rows: int, size: int) -> None:
        """Say how far a stage is: the first time when it begins, the last time with all of its tasks done."""
        entry = self._entries.get(stage.id)
        if entry is None:
            entry = _Entry(stage)
            self._entries = {**self._entries, stage.id: entry}
        entry.stage, entry.tasks_done, entry.rows, entry.bytes = stage, tasks_done, rows, size
        if entry.began is None:
            entry.began = time.perf_counter()
        if entry.ended is None and tasks_done >= stage.tasks:
            entry.ended = time.perf_counter()

    def look(self) -> Progress:
        """The query as it is now."""
        now = time.perf_counter()
        entries = sorted(self._entries.values(), key=lambda e: e.began or now)
        return Progress(tuple(_status(e, now) for e in entries), now - self._began)


def _status(entry: _Entry, now: float) -> StageStatus:
    state: State = "waiting" if entry.began is None else "running" if entry.ended is None else "done"
    seconds = (entry.ended or now) - (entry.began or now)
    stage = entry.stage
    return StageStatus(stage.id, stage.name, state, entry.tasks_done, stage.tasks, entry.rows, entry.bytes, seconds)
