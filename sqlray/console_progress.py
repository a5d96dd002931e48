"""The progress bar of queries that take over a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class ProgressBar:
    """A bar on a terminal: `update` takes what the running query reports, `draw` shows the latest of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._latest: Any = None
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def update(self, progress: Any) -> None:
        """Take a report; called from the query's thread."""
        self._latest = progress

    def draw(self) -> None:
        """Show the latest report."""
        if self._rich is None:
            self._open()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._rich is not None:
            self._rich.stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._rich = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._task = self._rich.add_task("running", total=None)
        self._rich.start()
