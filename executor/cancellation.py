"""Stopping a running query."""

from __future__ import annotations

import os
import signal
import threading

from planner.errors import CancelledError


class Cancellation:
    """Set by whoever wants the query to stop, asked by whoever runs it.

    Kernels notice SIGINT in the middle of their work, and a flag only between batches. So a query that the main
    thread waits for is interrupted by that signal, which the driver turns into CancelledError.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waiting_in_main = False

    def cancel(self) -> None:
        """Ask the query to stop; may be called from any thread, also when it is no longer running."""
        first = not self._event.is_set()
        self._event.set()
        if first and self._waiting_in_main and threading.current_thread() is not threading.main_thread():
            os.kill(os.getpid(), signal.SIGINT)

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises CancelledError if the query shall stop."""
        if self._event.is_set():
            raise CancelledError("the query was cancelled")

    def __enter__(self) -> Cancellation:
        self._waiting_in_main = threading.current_thread() is threading.main_thread()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting_in_main = False
