"""sqlray: SQL over files and data frames, on a laptop or a cluster."""

import gc

# Importing makes many objects and no garbage: collecting meanwhile is a sixth of the command's start-up time, and the
# first collection afterwards, which would look at all of them, a twelfth.
_collecting = gc.isenabled()
gc.disable()

from planner.errors import (
    BindError,
    CancelledError,
    ExecutionError,
    OutOfMemoryError,
    ParseError,
    PlanError,
    Position,
    SqlrayError,
    UnsupportedError,
)
from sqlray.result import Result
from sqlray.session import Session, connect, default_session, sql
from sqlray.version import __version__

if _collecting:
    if not gc.get_freeze_count():  # else it would thaw what the application froze
        gc.freeze()
        gc.unfreeze()  # into the oldest generation, which is looked at last
    gc.enable()

# Tracebacks name the errors as users import them.
for _error in (
    SqlrayError,
    BindError,
    CancelledError,
    ExecutionError,
    OutOfMemoryError,
    ParseError,
    PlanError,
    UnsupportedError,
):
    _error.__module__ = __name__

__all__ = [
    "BindError",
    "CancelledError",
    "ExecutionError",
    "OutOfMemoryError",
    "ParseError",
    "PlanError",
    "Position",
    "Result",
    "Session",
    "SqlrayError",
    "UnsupportedError",
    "__version__",
    "connect",
    "default_session",
    "sql",
]
