"""Progress in a terminal: bars below the last line of text, gone when the query ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TextIO

from executor.progress import Progress
from sqlray.progress_picture import Picture, clock, picture

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_BAR_WIDTH = 24
_FREE = 3  # columns that stay free: a Ctrl-C is echoed there, and must not reach the next line
_MOST_BARS = 8

# A terminal shows one query's progress at a time: two would write over each other.
_screen = threading.Lock()


class TerminalDisplay:
    """Bars on a stream that is a terminal."""

    interval = 0.1

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live: Live | None = None

    def draw(self, progress: Progress | None, seconds: float) -> None:
        live = self._live or self._open()
        if live is None:
            return
        width, height = live.console.size
        shown = picture(progress, seconds, max(1, min(_MOST_BARS, height - 2)))
        live.update(_lines(shown, width - _FREE), refresh=True)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            finally:
                _screen.release()

    def _open(self) -> Live | None:
        if not _screen.acquire(blocking=False):
            return None
        # rich takes a while to import, and most queries are done before it is needed
        from rich.console import Console
        from rich.live import Live

        # What a query prints to stdout stays there: in a program that may be a file.
        console = Console(file=self._stream)
        self._live = Live(console=console, transient=True, auto_refresh=False, redirect_stdout=False)
        self._live.start()
        return self._live


def _lines(shown: Picture, width: int) -> RenderableType:
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def line(text: str) -> Text:
        return Text(text, no_wrap=True, overflow="ellipsis")

    bar_width = max(1, min(_BAR_WIDTH, width // 4))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(width=bar_width)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column()  # the one that gives way where the terminal is narrow
    for bar in shown.bars:
        done = (bar.fraction or 0.0) * 100
        drawn = ProgressBar(100, done, width=bar_width, pulse=bar.fraction is None)
        grid.add_row(bar.label, drawn, clock(bar.seconds), line(", ".join(bar.facts)))
    lines = [grid] if shown.summary is None else [line(shown.summary), grid]
    return Constrain(Group(*lines), max(width, 1))
