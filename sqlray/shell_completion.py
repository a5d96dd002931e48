"""Completion in the shell: keywords, tables, columns and functions, by what stands before the cursor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from planner.errors import SqlrayError
from sqlray.format import FORMATS
from sqlray.options import option_names
from sqlray.session import Session
from sqlray.shell_commands import COMMANDS

KEYWORDS = [
    "ALL",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COPY",
    "CREATE",
    "CROSS",
    "DATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FIRST",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NATURAL",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "REPLACE",
    "RESET",
    "RIGHT",
    "SELECT",
    "SEMI",
    "SET",
    "SHOW",
    "SIMILAR",
    "SOME",
    "TABLE",
    "TABLES",
    "THEN",
    "TO",
    "TRUE",
    "TRY_CAST",
    "UNION",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
    "ANALYZE",
    "ANTI",
    "TIMESTAMP",
]

_WORD = re.compile(r"[A-Za-z_][\w]*$")
_QUALIFIED = re.compile(r"""(?:([A-Za-z_]\w*)|"([^"]+)")\.(\w*)$""")
_AFTER_RELATION = re.compile(r"\b(?:from|join|into|table|describe|view|copy)\s+(?:[\w\"]+\s*,\s*)*$", re.IGNORECASE)
_OPEN_PATH = re.compile(r"\b(?:from|join|to)\s+'([^']*)$", re.IGNORECASE)
_ALIAS = re.compile(r"""\b(?:from|join|,)\s*(?:([A-Za-z_]\w*)|"([^"]+)")\s+(?:as\s+)?([A-Za-z_]\w*)""", re.IGNORECASE)
_MENTIONED = re.compile(r"""[A-Za-z_]\w*|(?<=")[^"]+(?=")""")


class SqlCompleter(Completer):
    """Completes SQL and dot commands from what a session has."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._functions = sorted(session.functions())

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The completions at the cursor, the likeliest first."""
        before = document.text_before_cursor
        if before.lstrip().startswith("."):
            return self._command(before.lstrip(), complete_event)
        if path := _OPEN_PATH.search(before):
            return _paths(path[1], complete_event)
        if qualified := _QUALIFIED.search(before):
            table = self._aliases(document.text).get((qualified[1] or qualified[2]).lower())
            return _matching(qualified[3], [(c, "column") for c in self._columns([table] if table else [])])
        word = _WORD.search(before)
        typed = word[0] if word else ""
        tables = [(name, "table") for name in sorted(self._session.tables())]
        if _AFTER_RELATION.search(before[: len(before) - len(typed)]):
            return _matching(typed, tables)
        if not typed:
            return ()
        # Keywords in the case that the user types in.
        keywords = [(k if typed.isupper() else k.lower(), "keyword") for k in KEYWORDS]
        columns = [(name, "column") for name in self._columns(self._mentioned(document.text))]
        functions = [(name.lower(), "function") for name in self._functions]
        return _matching(typed, [*columns, *tables, *keywords, *functions])

    def _command(self, before: str, event: CompleteEvent) -> Iterator[Completion]:
        name, space, argument = before.partition(" ")
        if not space:
            yield from _matching(name, [(command, "command") for command in COMMANDS])
            return
        match name:
            case ".schema":
                yield from _matching(argument, [(t, "table") for t in sorted(self._session.tables())])
            case ".format":
                yield from _matching(argument, [(form, "format") for form in FORMATS])
            case ".timer":
                yield from _matching(argument, [("on", ""), ("off", "")])
            case ".set":
                yield from _matching(argument, [(option, "option") for option in option_names()])
            case ".read" | ".load":
                yield from _paths(argument.rpartition("=")[2], event)

    def _mentioned(self, text: str) -> list[str]:
        """The tables that the statement names, or all tables as long as it names none."""
        words = {word.lower() for word in _MENTIONED.findall(text)}
        tables = self._session.tables()
        return [table for table in tables if table.lower() in words] or tables

    def _aliases(self, text: str) -> dict[str, str]:
        tables = {table.lower(): table for table in self._session.tables()}
        aliases = dict(tables)
        for match in _ALIAS.finditer(text):
            table = tables.get((match[1] or match[2]).lower())
            if table is not None:
                aliases[match[3].lower()] = table
        return aliases

    def _columns(self, tables: list[str]) -> list[str]:
        names: dict[str, None] = {}
        for table in tables:
            try:
                names.update(dict.fromkeys(self._session.schema(table).names))
            except SqlrayError:  # its file went away; the query will say so
                continue
        return list(names)


def _matching(typed: str, candidates: Iterable[tuple[str, str]]) -> Iterator[Completion]:
    seen = set()
    for name, kind in candidates:
        if name.lower().startswith(typed.lower()) and name.lower() not in seen:
            seen.add(name.lower())
            text = name if re.fullmatch(r"[.\w]+", name) else '"' + name.replace('"', '""') + '"'
            yield Completion(text, start_position=-len(typed), display=name, display_meta=kind)


def _paths(typed: str, event: CompleteEvent) -> Iterable[Completion]:
    return PathCompleter(expanduser=True).get_completions(Document(typed, len(typed)), event)
