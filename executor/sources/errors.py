"""What goes wrong while a file is opened, as an error that names the file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow as pa

from planner.errors import ExecutionError

_UNREADABLE = (
    pl.exceptions.PolarsError,
    pa.ArrowException,
    OSError,
    EOFError,
    UnicodeDecodeError,
    zlib.error,
)


@contextmanager
def opening(path: str, format: str) -> Iterator[None]:
    """Turn whatever a reader raises into an ExecutionError.

    Args:
        path: the file or URL that is being opened.
        format: what it is expected to be, as in "is not a readable … file".
    """
    try:
        yield
    except FileNotFoundError:
        raise ExecutionError(f"there is no file {path}") from None
    except PermissionError:
        raise ExecutionError(f"no permission to read {path}") from None
    except IsADirectoryError:
        raise ExecutionError(f"{path} is a directory, not a {format} file") from None
    except _UNREADABLE as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "://" in path:
            hint = "check the address, the network and the credentials (environment variables or reader options)"
            raise ExecutionError(f"{path} could not be read: {reason}", hint=hint) from None
        hint = "it may be cut off, corrupt, or of another format"
        raise ExecutionError(f"{path} is not a readable {format} file: {reason}", hint=hint) from None
