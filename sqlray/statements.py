"""Cuts a text into its statements at the semicolons, so that a script runs and reports one by one."""

from __future__ import annotations

import re

from planner.errors import Position, SqlrayError
from planner.record import record

# What may hold a semicolon that ends nothing: strings, quoted names, comments, dollar-quoted text.
_TOKEN = re.compile(
    r"""
      (?P<end>;)
    | (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<quote>'(?:[^']|'')*('|\Z)|"(?:[^"]|"")*("|\Z))
    | (?P<dollar>\$(?P<tag>[A-Za-z_]\w*|)\$)
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s+|--[^\n]*|/\*")
_TEXT = re.compile(r"\S")
_BLOCK = re.compile(r"/\*|\*/")


@record
class Statement:
    """One statement of a script, or one dot command: a line that starts with a point.

    Args:
        text: the statement, from its first character on and without the semicolon.
        line: the line of the script that it starts in, from 1.
        column: the column that it starts in, from 1.
        complete: whether a semicolon ends it; a dot command always is complete.
    """

    text: str
    line: int
    column: int
    complete: bool

    @property
    def is_command(self) -> bool:
        """Whether this is a dot command."""
        return self.text.startswith(".")

    def place(self, error: SqlrayError, script: str) -> SqlrayError:
        """The error with its place counted in the script, if it is about this statement's own text.

        It is about another where a command runs one: `.read FILE`, `.explain QUERY`.
        """
        if error.position is not None and error.sql == self.text:
            line, column, length = error.position.line, error.position.column, error.position.length
            column += self.column - 1 if line == 1 else 0
            error.position = Position(line + self.line - 1, column, length)
            error.sql = script
        return error


def split_statements(script: str) -> list[Statement]:
    """The statements and dot commands of a script, without empty ones."""
    statements: list[Statement] = []
    line, line_start, position = 1, 0, 0
    while True:
        start = _text_start(script, position)
        line += script.count("\n", position, start)
        line_start = max(line_start, script.rfind("\n", position, start) + 1)
        if start == len(script):
            return statements
        if script[start] == ".":
            newline = script.find("\n", start)
            end, complete = len(script) if newline < 0 else newline, True
        else:
            end, complete = _statement_end(script, start)
        if not _is_blank(script, start, end):
            text = script[start:end].rstrip()
            statements.append(Statement(text, line, start - line_start + 1, complete))
        line += script.count("\n", start, end)
        line_start = max(line_start, script.rfind("\n", start, end) + 1)
        position = min(end + (script[end : end + 1] == ";"), len(script))


def is_complete(text: str) -> bool:
    """Whether what was typed so far is ready to run: nothing is open at its end."""
    statements = split_statements(text)
    return not statements or statements[-1].complete


def _statement_end(script: str, position: int) -> tuple[int, bool]:
    """Where the statement at `position` ends, and whether a semicolon stands there."""
    while match := _TOKEN.search(script, position):
        if match["end"]:
            return match.start(), True
        if match["block"]:
            position = _block_end(script, match.end())
        elif match["dollar"] and not script[max(match.start() - 1, 0) : match.start()].isalnum():
            closing = script.find(match["dollar"], match.end())
            position = len(script) if closing < 0 else closing + len(match["dollar"])
        else:
            position = match.end()
    return len(script), False


def _block_end(script: str, position: int) -> int:
    """The end of a block comment, which may hold others."""
    depth = 1
    while depth:
        match = _BLOCK.search(script, position)
        if match is None:
            return len(script)
        depth += 1 if match[0] == "/*" else -1
        position = match.end()
    return position


def _text_start(script: str, position: int) -> int:
    match = _TEXT.search(script, position)
    return match.start() if match else len(script)


def _is_blank(script: str, position: int, end: int) -> bool:
    """Whether nothing but white space and comments stands between two places."""
    while match := _SPACE.match(script, position, end):
        position = _block_end(script, match.end()) if match[0] == "/*" else match.end()
    return position >= end
