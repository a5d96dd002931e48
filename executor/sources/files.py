"""From what a user names — a path, a glob, a directory, a list of them — to the files of a table, and its
source."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import unquote

from executor.sources.base import Source
from executor.sources.csv import csv_table
from executor.sources.ipc import ipc_table
from executor.sources.jsonl import json_table
from executor.sources.parquet import FileKey, file_key, parquet_table
from executor.sources.remote_parquet import remote_parquet_table
from planner.errors import BindError, UnsupportedError, nearest
from planner.file_format import EXTENSIONS, extension

Hive = Sequence[dict[str, Any]]
Opener = Callable[[str, Sequence[str], Hive, Mapping[str, object]], Source]


def _parquet(name: str, paths: Sequence[str], hive: Hive, options: Mapping[str, object]) -> Source:
    if any("://" in p for p in paths):
        return remote_parquet_table(name, paths, options)
    refuse_options("parquet", options)
    return parquet_table(name, paths, hive)


def refuse_options(format: str, options: Mapping[str, object]) -> None:
    """Raise UnsupportedError if a reader without options was given some."""
    if options:
        raise UnsupportedError(f"reading {format} has no option {next(iter(options))!r}")


FORMATS: Mapping[str, Opener] = {
    "parquet": _parquet,
    "csv": csv_table,
    "json": json_table,
    "arrow": ipc_table,
}

_MAGIC = frozenset("*?[")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def open_files(
    paths: str | Sequence[str],
    format: str | None = None,
    options: Mapping[str, object] | None = None,
    *,
    name: str | None = None,
) -> Source:
    """Open a table over files.

    Args:
        paths: a file, a glob, a directory (read recursively; ``key=value`` folders become columns), a URL,
            or a list of them.
        format: a key of FORMATS; by default from the files' extension.
        options: the reader's options by name, such as a CSV's ``delim``.
        name: how errors and EXPLAIN call the table; by default the path.

    Raises:
        BindError: nothing is there, or the format cannot be told.
        ExecutionError: a file cannot be read.
    """
    given = [paths] if isinstance(paths, str) else list(paths)
    if not given:
        raise BindError("the list of files is empty")
    found = [f for p in given for f in expand(p)]
    kind = format or format_of(found)
    opener = FORMATS.get(kind)
    if opener is None:
        formats = ", ".join(FORMATS)
        raise UnsupportedError(f"files of format {kind!r} cannot be read", hint=f"formats: {formats}")
    called = name or (given[0] if len(given) == 1 else f"{given[0]}, …")
    return opener(called, found, hive_values(given, found), options or {})


def snapshot(paths: str | Sequence[str]) -> tuple[FileKey, ...]:
    """What tells whether a table's files have changed: each file with its time of change and size (a URL: zeros).

    Raises:
        BindError: nothing is there.
    """
    given = [paths] if isinstance(paths, str) else paths
    return tuple((f, 0, 0) if "://" in f else file_key(f) for p in given for f in expand(p))


def expand(path: str) -> list[str]:
    """The files that a path, glob or directory names, sorted.

    Raises:
        BindError: there are none.
    """
    path = path.removeprefix("file://")
    if "://" in path:
        return [path]
    path = os.path.expanduser(path)
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        files = [os.path.join(folder, f) for folder, _, names in os.walk(path) for f in names]
        found = sorted(f for f in files if is_data_file(f))
        if not found:
            known = " ".join(EXTENSIONS)
            raise BindError(f"the directory {path} holds no data files", hint=f"known: {known}")
        return found
    if _MAGIC & set(path):
        found = [f for f in glob.glob(path, recursive=True) if os.path.isfile(f)]
        if not found:
            raise BindError(f"no file matches {path}")
        return sorted(found)
    raise missing(path)


def missing(path: str) -> BindError:
    """The error for a path where no file is, with the nearest name beside it."""
    if os.path.exists(path):
        return BindError(f"{path} is no plain file", hint="write what it gives to a file, and read that")
    folder, base = os.path.split(path)
    try:
        close = nearest(base, os.listdir(folder or "."))
    except OSError:
        close = None
    meant = f"did you mean {os.path.join(folder, close)}?" if close else None
    return BindError(f"there is no file {path}", hint=meant or "check the path and the working directory")


def is_data_file(path: str) -> bool:
    """Whether a file in a directory belongs to the table: not hidden, not a marker of some writer."""
    base = os.path.basename(path)
    return not base.startswith((".", "_")) and extension(base) in EXTENSIONS


def format_of(paths: Sequence[str]) -> str:
    """The one format of files, by their extensions.

    Raises:
        BindError: an extension is unknown, or they differ.
    """
    kinds = {EXTENSIONS.get(extension(p), "parquet" if _is_remote_folder(p) else None) for p in paths}
    if len(kinds) > 1:
        raise BindError(f"the files of {os.path.dirname(paths[0])} have different formats")
    kind = kinds.pop()
    if kind is None:
        raise BindError(
            f"cannot tell the format of {paths[0]} from its name", hint=f"known: {' '.join(EXTENSIONS)}"
        )
    return kind


def _is_remote_folder(path: str) -> bool:
    return "://" in path and path.endswith(("/", "*"))


def hive_values(given: Sequence[str], found: Sequence[str]) -> list[dict[str, Any]]:
    """The ``key=value`` folders of each file beneath a directory or glob; empty where there are none.

    Values are integers or dates where all of a key's values are, else text; so is 01, which is more than a
    number.
    """
    if len(given) == len(found) and all(map(os.path.isfile, given)):
        return []
    rows = [
        {k: unquote(v) for k, v in (p.split("=", 1) for p in f.split(os.sep)[:-1] if "=" in p)} for f in found
    ]
    if not rows or not rows[0]:
        return []
    if any(set(r) != set(rows[0]) for r in rows):
        raise BindError(f"the files of {given[0]} do not all have the same key=value folders")
    columns: dict[str, list[Any]] = {k: [_null(r[k]) for r in rows] for k in rows[0]}
    for key, values in columns.items():
        if all(v is None or _INTEGER.fullmatch(v) for v in values):
            columns[key] = [None if v is None else int(v) for v in values]
        elif all(v is None or _DATE.fullmatch(v) for v in values):
            columns[key] = [None if v is None else date.fromisoformat(v) for v in values]
    return [{k: v[i] for k, v in columns.items()} for i in range(len(found))]


def _null(value: str) -> str | None:
    return None if value == _HIVE_NULL else value
