"""Shows how far queries are that take a while: in the shell, in notebooks, and in programs that ask for it."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from typing import Protocol

from executor.progress import Progress, QueryProgress
from sqlray.progress_notebook import NotebookDisplay, in_notebook
from sqlray.progress_terminal import TerminalDisplay

# What takes longer than this shows its progress.
PATIENCE = 1.0


class Display(Protocol):
    """Where progress is shown."""

    @property
    def interval(self) -> float:
        """Seconds between two pictures."""
        ...

    def draw(self, progress: Progress | None, seconds: float) -> None:
        """Show a query's progress, None while it is not running yet, and the seconds that all has taken so far."""
        ...

    def close(self) -> None:
        """Take everything off the screen."""
        ...


class Watch:
    """Shows on a display what goes on between its entry and its exit, if that takes longer than ``patience``,
    by default `PATIENCE`."""

    def __init__(self, display: Display, *, patience: float | None = None) -> None:
        self._display = display
        self._patience = PATIENCE if patience is None else patience
        self._query: QueryProgress | None = None
        self._ended = threading.Event()
        # Notebooks know by the context of a thread to which cell its output belongs.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="sqlray-progress", daemon=True)

    def follow(self, query: QueryProgress) -> None:
        """Show this query's progress from now on."""
        self._query = query

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        try:
            self._thread.join()
        finally:
            with contextlib.suppress(Exception):  # as in `_work`
                self._display.close()

    def _work(self) -> None:
        started = time.monotonic()
        wait = self._patience
        while not self._ended.wait(wait):
            query = self._query
            progress = None if query is None else query.look()
            try:
                self._display.draw(progress, time.monotonic() - started)
            except Exception:  # a terminal or notebook that went away is no reason to fail a query
                return
            wait = self._display.interval


def find_display(option: str) -> Display | None:
    """Where a program's queries show their progress, by the value of option ``progress``; None for nowhere."""
    if option == "off":
        return None
    if in_notebook():
        return NotebookDisplay()
    if option == "on" and sys.stderr is not None and sys.stderr.isatty():
        return TerminalDisplay(sys.stderr)
    return None
