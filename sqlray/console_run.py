"""Runs a query so that Ctrl-C cancels the query and not the program, with a progress bar if it takes long."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from sqlray.console_progress import ProgressBar
from sqlray.session import Session

# A query that takes longer than this shows its progress.
_PATIENCE = 1.0
_POLL = 0.05


def run_cancellable(session: Session, work: Callable[[], None], *, progress: bool) -> None:
    """Run `work` in a thread of its own, so that this one can react to Ctrl-C: the first cancels the query.

    A second Ctrl-C, while the query is still stopping, raises KeyboardInterrupt.
    """
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # whatever it is, it belongs to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=guarded, name="sqlray query", daemon=True)
    interrupts = 0

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            raise KeyboardInterrupt
        session.cancel()

    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, interrupt) if in_main else None
    bar = ProgressBar(sys.stderr) if progress else None
    session.progress = bar.update if bar is not None else None
    started = time.monotonic()
    try:
        thread.start()
        while thread.is_alive():
            thread.join(_POLL)
            if bar is not None and time.monotonic() - started > _PATIENCE:
                bar.draw()
    finally:
        session.progress = None
        if bar is not None:
            bar.close()
        if in_main:
            signal.signal(signal.SIGINT, previous)
    if failures:
        raise failures[0]
