"""The progress bar of queries that take over a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from executor.metrics import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class ProgressBar:
    """A bar on a terminal: `update` takes what the running query reports, `draw` shows the latest of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._latest: Progress | None = None
        self._bar: tuple[Bar, TaskID] | None = None

    def update(self, progress: Progress) -> None:
        """Take a report; called from the query's thread."""
        self._latest = progress

    def draw(self) -> None:
        """Show the latest report."""
        bar, task = self._bar = self._bar or self._open()
        latest = self._latest
        if latest is None or (latest.stages <= 1 and latest.tasks <= 1):
            bar.update(task, description="running")
            return
        done = latest.stages_done + latest.tasks_done / max(latest.tasks, 1)
        text = f"stage {min(latest.stages_done + 1, latest.stages)} of {latest.stages}: {latest.stage}"
        if latest.rows:
            text += f", {latest.rows:,} rows"
        bar.update(task, description=text, completed=done, total=latest.stages)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar[0].stop()

    def _open(self) -> tuple[Bar, TaskID]:
        # rich takes a while to import, and most queries are done before it is needed
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        bar.start()
        return bar, bar.add_task("running", total=None)
