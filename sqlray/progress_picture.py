"""What is shown of a query's progress, wherever it is shown."""

from __future__ import annotations

from executor.progress import Progress, StageStatus
from planner.record import record
from sqlray.options import format_size


@record
class Bar:
    """Something that runs. ``fraction`` is how much of it is done, None where nobody knows."""

    label: str
    fraction: float | None
    facts: tuple[str, ...]
    seconds: float


@record
class Picture:
    """A line about the whole query, if it has more than one stage, and a bar for whatever runs."""

    summary: str | None
    bars: tuple[Bar, ...]


def picture(progress: Progress | None, seconds: float, most: int) -> Picture:
    """The picture of a query, with ``most`` bars at the most.

    Args:
        progress: the query's, None if it has not begun to run.
        seconds: the time that all has taken so far.
    """
    if progress is None or not progress.stages:
        return Picture(None, (Bar("running", None, (), seconds),))
    if len(progress.stages) == 1:
        return Picture(None, (_bar(progress.stages[0], "running", seconds),))
    running = progress.in_state("running")
    summary = [f"{progress.stages_done} of {len(progress.stages)} stages done in {clock(seconds)}"]
    if len(running) > most:
        summary.append(f"{len(running)} running")
    # The latest first: those that do not fit on the line are of the least interest.
    done = [f"{s.name} {count(s.rows, 'row')}" for s in reversed(progress.in_state("done"))]
    if done:
        summary.append(", ".join(done))
    return Picture("; ".join(summary), tuple(_bar(s, f"stage {s.id}: {s.name}", s.seconds) for s in running[:most]))


def clock(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: int, what: str) -> str:
    """`1 row`, `1,234 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _bar(stage: StageStatus, label: str, seconds: float) -> Bar:
    facts = []
    if stage.tasks > 1:
        facts.append(f"{stage.tasks_done} of {count(stage.tasks, 'task')}")
    if stage.rows:
        facts += [count(stage.rows, "row"), format_size(stage.bytes)]
    return Bar(label, stage.tasks_done / stage.tasks if stage.tasks > 1 else None, tuple(facts), seconds)
