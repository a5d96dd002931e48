"""Stopping a running query."""

from __future__ import annotations

import os
import signal
import threading
import time

from planner.errors import CancelledError


class Cancellation:
    """Set by whoever wants the query to stop, asked by whoever runs it.

    Kernels notice SIGINT in the middle of their work, and a flag only between batches. So a query that the main
    thread waits for is interrupted by that signal, which the driver turns into CancelledError. A query in another
    thread stops at its next batch: Python gives signals to the main thread, which has done nothing to deserve it.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.RLock()  # a signal handler in the main thread may cancel too
        self._waiting_in_main = False
        self._signalled = False

    def cancel(self) -> None:
        """Ask the query to stop; may be called from any thread, also when it is no longer running."""
        with self._lock:
            first = not self._event.is_set()
            self._event.set()
            if first and self._waiting_in_main and threading.current_thread() is not threading.main_thread():
                # A program with a handler of its own takes the signal for something else.
                if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                    self._signalled = True
                    os.kill(os.getpid(), signal.SIGINT)

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises CancelledError if the query shall stop."""
        if self._event.is_set():
            raise CancelledError("the query was cancelled")

    def __enter__(self) -> Cancellation:
        """The thread waits for the query from here on: while it computes, not while the reader has its rows."""
        self._waiting_in_main = threading.current_thread() is threading.main_thread()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._lock:
                self._waiting_in_main = False
            if self._signalled and kind is not KeyboardInterrupt:
                time.sleep(0.01)  # the signal that is under way arrives here, and not in the caller's code
        except KeyboardInterrupt:
            self._waiting_in_main = False
            if not self._signalled:
                raise
        self._signalled = False
