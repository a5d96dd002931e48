"""The errors a user can see. Every failure that leaves sqlray is one of these.

An error says what happened, where in the query (when it concerns a place in it) and what to do about it.
"""

from __future__ import annotations

from difflib import get_close_matches

from planner.record import record


@record
class Position:
    """A place in the SQL text: 1-based line and column, and the length of the marked token."""

    line: int
    column: int
    length: int = 1


class SqlrayError(Exception):
    """Base of every error raised by sqlray.

    Args:
        message: what happened, one sentence without a trailing period.
        position: the place in the query, if there is one.
        sql: the query text that ``position`` refers to.
        hint: what the user can do.
    """

    def __init__(
        self,
        message: str,
        *,
        position: Position | None = None,
        sql: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.sql = sql
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.position is not None and self.sql is not None:
            lines += underline(self.sql, self.position)
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.position, self.sql, self.hint))


class ParseError(SqlrayError):
    """The text is not SQL."""


class BindError(SqlrayError):
    """The SQL does not fit the tables: unknown or ambiguous names, wrong types, missing files."""


class UnsupportedError(SqlrayError):
    """The SQL is meaningful, but sqlray cannot run it yet."""


class PlanError(SqlrayError):
    """The planner broke one of its own rules. Always a defect of sqlray; names the failing step."""


class ExecutionError(SqlrayError):
    """The query failed while it ran: overflow, a bad cast, an unreadable file, memory, disk."""


class OutOfMemoryError(ExecutionError):
    """An operator does not fit ``memory_limit`` even after it was repartitioned."""


class CancelledError(ExecutionError):
    """The query was cancelled by its user."""


def _rebuild(
    cls: type[SqlrayError], message: str, position: Position | None, sql: str | None, hint: str | None
) -> SqlrayError:
    return cls(message, position=position, sql=sql, hint=hint)


def underline(sql: str, position: Position) -> list[str]:
    """The source line of ``position`` with a line of carets beneath it."""
    source = sql.splitlines()
    if not 1 <= position.line <= len(source):
        return []
    text = source[position.line - 1].replace("\t", " ")
    start = max(position.column - 1, 0)
    width = max(1, min(position.length, len(text) - start))
    prefix = f"line {position.line}: "
    # A very long line is cut around the place, so that the carets stay on the screen.
    if len(text) > 120:
        left = max(0, start - 50)
        shown = text[left : left + 110]
        text, start = ("…" + shown if left else shown), start - left + (1 if left else 0)
    return [prefix + text, " " * (len(prefix) + start) + "^" * width]


def nearest(name: str, candidates: list[str]) -> str | None:
    """The candidate that ``name`` most likely misspells, or None."""
    lowered = {c.lower(): c for c in reversed(candidates)}
    found = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[found[0]] if found else None
