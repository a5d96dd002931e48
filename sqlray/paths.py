"""Paths given to the command and the shell: which table each becomes."""

from __future__ import annotations

import re

from planner.errors import BindError
from sqlray.session import Session

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)


def register_path(session: Session, path: str) -> str:
    """Register a path, or a path as `name=path`, as a table; returns the table's name."""
    named = _NAMED.fullmatch(path)
    name, source = (named[1], named[2]) if named else (table_name(path), path)
    if name in session.tables():
        raise BindError(f"there already is a table '{name}'", hint=f"give '{source}' another name: NAME={source}")
    session.register(name, source)
    return name


def table_name(path: str) -> str:
    """The name of a path's table: its last part without wildcards and without its suffixes."""
    parts = [part for part in re.split(r"[/\\]+", path) if part not in ("", ".", "..")]
    for part in reversed(parts):
        stem = part.split(".", 1)[0] if not part.startswith(".") else part
        # `orders/*.parquet` is the table orders, and so is `orders/day=*/part-*.parquet`.
        if not any(c in part for c in "*?[=") and stem:
            return stem
    raise BindError(f"'{path}' has no name that a table could have", hint=f"give it one: NAME={path}")
