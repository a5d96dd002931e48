"""Runs a query so that Ctrl-C cancels the query and not the program, and shows its progress if it takes long."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from planner.errors import CancelledError
from sqlray.progress import Watch
from sqlray.progress_terminal import TerminalDisplay
from sqlray.session import Session

_POLL = 0.05

# Polars, which the session has imported, hooks Ctrl-C below Python in order to stop in the middle of its
# work; the hook calls Python as well. signal.signal() removes it, and so does a prompt, which runs asyncio.
_get_hook = ctypes.pythonapi.PyOS_getsig
_get_hook.restype, _get_hook.argtypes = ctypes.c_void_p, (ctypes.c_int,)
_set_hook = ctypes.pythonapi.PyOS_setsig
_set_hook.restype, _set_hook.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
_POLARS_HOOK = _get_hook(signal.SIGINT)


@contextlib.contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let Ctrl-C call `handler`, besides stopping Polars."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, handler)
    _set_hook(signal.SIGINT, _POLARS_HOOK)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        _set_hook(signal.SIGINT, _POLARS_HOOK)


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

    session.watch = Watch(TerminalDisplay(sys.stderr)) if progress else None
    try:
        with session.watch or contextlib.nullcontext(), _on_interrupt(interrupt):
            thread.start()
            while thread.is_alive():
                thread.join(_POLL)
    finally:
        session.watch = None
    match failures:
        case []:
            return
        case [KeyboardInterrupt()]:  # Polars saw Ctrl-C before `interrupt` was called
            raise CancelledError("the query was cancelled")
        case [error, *_]:
            raise error
