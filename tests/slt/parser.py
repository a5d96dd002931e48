"""Reads sqllogictest files, in SQLite's form and in DuckDB's.

A file is a list of records separated by blank lines:

    statement ok | statement error          then SQL, and for DuckDB's form `----` and a part of the message
    query <types> [<sort mode>] [<label>]   then SQL, `----`, and the expected values

SQLite's form writes one value a line, DuckDB's one row a line with tabs between its values. Long results are
`N values hashing to MD5` in both. `skipif`/`onlyif NAME` stand before a record, `halt` ends the file,
`hash-threshold` only matters to a writer. DuckDB's form adds `loop`, `foreach`, `require` and `mode skip`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Form = Literal["sqlite", "duckdb"]
SortMode = Literal["nosort", "rowsort", "valuesort"]

_HASH = re.compile(r"(\d+) values hashing to ([0-9a-f]{32})\s*$")
_SORTS: dict[str, SortMode] = {
    "nosort": "nosort",
    "rowsort": "rowsort",
    "sort": "rowsort",
    "valuesort": "valuesort",
}
# `require` names that need nothing from an engine of this kind; any other ends the file.
_HARMLESS_REQUIREMENTS = frozenset(
    {"vector_size", "skip_reload", "noforcestorage", "64bit", "no_alternative_verify"}
)


class SltSyntaxError(Exception):
    """The file is not a sqllogictest file, at this line."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`skipif NAME # reason` or `onlyif NAME # reason` before a record."""

    only: bool
    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """One statement or query. `types` is empty for a statement; `expected` is then its error text, if any."""

    line: int
    sql: str
    types: str = ""
    sort: SortMode = "nosort"
    label: str | None = None
    expect_error: bool = False
    expected: tuple[str, ...] = ()
    expected_hash: tuple[int, str] | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def is_query(self) -> bool:
        return bool(self.types)


@dataclass(frozen=True, slots=True)
class Halt:
    """The end of the file for the engines whose conditions let it run."""

    line: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class SltFile:
    path: Path
    form: Form
    records: tuple[Record | Halt, ...] = field(repr=False)


@dataclass(slots=True)
class _Reader:
    """The lines of a file and the place in them."""

    path: Path
    lines: list[tuple[int, str]]
    at: int = 0

    def next(self) -> tuple[int, str] | None:
        if self.at >= len(self.lines):
            return None
        self.at += 1
        return self.lines[self.at - 1]

    def block(self) -> list[str]:
        """The lines up to the next blank one or `----`, which stays."""
        found: list[str] = []
        while self.at < len(self.lines):
            text = self.lines[self.at][1]
            if not text.strip() or text.strip() == "----":
                break
            found.append(text)
            self.at += 1
        return found

    def results(self) -> list[str]:
        """The lines after `----` up to the next blank one; nothing if no `----` stands here."""
        if self.at >= len(self.lines) or self.lines[self.at][1].strip() != "----":
            return []
        self.at += 1
        found: list[str] = []
        while self.at < len(self.lines) and self.lines[self.at][1].strip("\r\n"):
            found.append(self.lines[self.at][1])
            self.at += 1
        return found


def parse_file(path: Path, form: Form | None = None) -> SltFile:
    """Reads one file. Without `form`, DuckDB's is recognized by its `# name:` header."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return parse_text(text, path, form)


def parse_text(text: str, path: Path, form: Form | None = None) -> SltFile:
    """Reads the text of a file; `path` is only for messages."""
    raw = text.splitlines()
    form = form or ("duckdb" if any(line.startswith("# name:") for line in raw[:10]) else "sqlite")
    lines = _expand_loops(path, [(number, line.rstrip("\r")) for number, line in enumerate(raw, 1)])
    return SltFile(path, form, tuple(_records(_Reader(path, lines))))


def _records(reader: _Reader) -> Iterator[Record | Halt]:
    conditions: list[Condition] = []
    skipping = False
    while (item := reader.next()) is not None:
        number, text = item
        if not text.strip() or text.startswith("#"):
            continue
        words = text.split("#", 1)[0].split()
        match words[0]:
            case "skipif" | "onlyif":
                reason = text.split("#", 1)[1].strip() if "#" in text else ""
                conditions.append(Condition(words[0] == "onlyif", words[1], reason))
                continue
            case "statement" | "query":
                record = _record(reader, number, text.split(), tuple(conditions))
                if not skipping:
                    yield record
            case "halt":
                yield Halt(number, tuple(conditions))
            case "mode":
                skipping = words[1:2] == ["skip"]
            case "require" | "require-env":
                if words[1] not in _HARMLESS_REQUIREMENTS:
                    yield Halt(number)
            case "hash-threshold" | "set" | "tags":
                pass
            case "load" | "restart" | "reconnect" | "sleep" | "unzip" | "test-env":
                yield Halt(number)
            case unknown:
                raise SltSyntaxError(f"{reader.path}:{number}: unknown record {unknown!r}")
        conditions.clear()


def _record(reader: _Reader, number: int, words: list[str], conditions: tuple[Condition, ...]) -> Record:
    sql = "\n".join(reader.block())
    results = reader.results()
    if words[0] == "statement":
        return Record(
            number,
            sql,
            expect_error=words[1:2] == ["error"],
            expected=tuple(results),
            conditions=conditions,
        )
    types = words[1] if len(words) > 1 else ""
    if types == "error":
        return Record(number, sql, expect_error=True, expected=tuple(results), conditions=conditions)
    if not types or not set(types) <= set("IRTDBN"):
        raise SltSyntaxError(f"{reader.path}:{number}: a query needs its column types, not {types!r}")
    sort = _SORTS.get(words[2], "nosort") if len(words) > 2 else "nosort"
    hashed = _HASH.match(results[0]) if len(results) == 1 else None
    return Record(
        number,
        sql,
        types=types,
        sort=sort,
        label=words[3] if len(words) > 3 else None,
        expected=() if hashed else tuple(results),
        expected_hash=(int(hashed[1]), hashed[2]) if hashed else None,
        conditions=conditions,
    )


def _expand_loops(path: Path, lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Writes out `loop NAME FROM TO … endloop` and `foreach NAME VALUE… … endloop`, also nested."""
    if not any(text.startswith(("loop ", "foreach ")) for _, text in lines):
        return lines
    expanded: list[tuple[int, str]] = []
    at = 0
    while at < len(lines):
        number, text = lines[at]
        words = text.split()
        if not words or words[0] not in ("loop", "foreach"):
            expanded.append(lines[at])
            at += 1
            continue
        end = _loop_end(path, lines, at)
        body = _expand_loops(path, lines[at + 1 : end])
        name = words[1]
        values = [str(i) for i in range(int(words[2]), int(words[3]))] if words[0] == "loop" else words[2:]
        for value in values:
            expanded.extend((row, line.replace("${" + name + "}", value)) for row, line in body)
            expanded.append((number, ""))
        at = end + 1
    return expanded


def _loop_end(path: Path, lines: list[tuple[int, str]], start: int) -> int:
    depth = 0
    for at in range(start, len(lines)):
        word = lines[at][1].split()[:1]
        depth += word in (["loop"], ["foreach"])
        depth -= word == ["endloop"]
        if depth == 0:
            return at
    raise SltSyntaxError(f"{path}:{lines[start][0]}: loop without endloop")
