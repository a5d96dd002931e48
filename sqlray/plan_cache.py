"""Plans of queries that were asked before: the same text over the same tables is not planned again.

A plan depends on its text, parameters and options, and on what the text's names stood for. Tables are immutable, so
that a plan fits for as long as its names stand for the same objects, and its paths for files that nobody has changed.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from executor.sources.base import Source
from executor.sources.files import open_files, snapshot
from executor.sources.memory import MemoryTable
from executor.sources.parquet import FileKey
from planner.catalog import Catalog, Table, View
from planner.errors import SqlrayError
from planner.logical import LogicalPlan, Scan, Values
from planner.record import record
from planner.tree import walk
from sqlray.options import Options
from sqlray.pipeline import PlannedQuery

Parameters = Sequence[Any] | Mapping[str, Any] | None
Find = Callable[[str], Table | View | None]

_LONGEST = 1 << 16  # characters of a text and its parameters: longer ones are rows in the shape of a query
_MOST_ROWS = 10_000  # that a plan may itself hold
_VALUES = (bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, type(None))


@dataclass(slots=True)
class Surroundings:
    """What a statement reads beside its text, and a note of what that was.

    Args:
        find: the table or view of a name.
        names: what was found, by name.
        files: the files that stood behind paths before they were opened.
        moment: what now() is, if the statement asks.
    """

    find: Find
    names: dict[str, Table | View | None] = field(default_factory=dict)
    files: dict[tuple[str, ...], tuple[FileKey, ...]] = field(default_factory=dict)
    moment: datetime | None = None

    def lookup(self, name: str) -> Table | View | None:
        """The table or view of a name."""
        entry = self.find(name)
        self.names.setdefault(name, entry)
        return entry

    def open_path(
        self, paths: str | Sequence[str], format: str | None = None, options: Mapping[str, object] | None = None
    ) -> Source:
        """The table over files; see ``open_files``."""
        given = (paths,) if isinstance(paths, str) else tuple(paths)
        self.files.setdefault(given, snapshot(given))
        return open_files(paths, format, options)

    def now(self) -> datetime:
        """The one moment of the statement."""
        if self.moment is None:
            self.moment = datetime.now(UTC)
        return self.moment


@record
class _Kept:
    planned: PlannedQuery
    names: Mapping[str, Table | View | None]
    files: Mapping[tuple[str, ...], tuple[FileKey, ...]]
    directory: str  # that relative paths begin from


class PlanCache:
    """The plans of a session that were asked for last. May be used from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._swept = 0

    def get(self, key: Hashable | None, find: Find) -> PlannedQuery | None:
        """The plan that was kept under a key, if everything that it depends on is as it was."""
        with self._lock:
            kept = self._kept.get(key)  # nothing is kept under None
        if kept is None or not _fits(kept, find):
            return None
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
        return kept.planned

    def put(self, key: Hashable | None, planned: PlannedQuery, around: Surroundings, catalog: Catalog) -> None:
        """Keep a plan, unless it is one for this time only: of a moment, of a caller's variables or of files elsewhere,
        which may be others the next time; or one that itself holds much."""
        names, files = around.names, around.files
        if key is None or around.moment is not None or _rows(planned.bound, names) > _MOST_ROWS:
            return
        if any("://" in path for paths in files for path in paths):
            return
        kept = _Kept(planned, names, files, _directory() if files else "")
        with self._lock:
            if not _are_named(names, catalog):  # under the lock: whoever takes a name from now on sweeps after this
                return
            self._kept[key] = kept
            self._shrink(planned.options.plan_cache_size)

    def renew(self, key: Hashable, before: PlannedQuery, now: PlannedQuery) -> None:
        """Keep a plan in place of the one that it was made of."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.planned is before:
                self._kept[key] = replace(kept, planned=now)

    def shrink(self, size: int) -> None:
        """Let go of all plans but as many, which were asked for last."""
        with self._lock:
            self._shrink(size)

    def _shrink(self, size: int) -> None:
        while len(self._kept) > size:
            self._kept.popitem(last=False)

    def sweep(self, catalog: Catalog) -> None:
        """Let go of the plans, and with them of the tables, whose names have come to stand for something else."""
        with self._lock:
            if catalog.version == self._swept:
                return
            self._swept = catalog.version
            for key in [k for k, kept in self._kept.items() if not _are_named(kept.names, catalog)]:
                del self._kept[key]

    def clear(self) -> None:
        """Let go of all plans."""
        with self._lock:
            self._kept.clear()
            self._swept = 0


def plan_key(text: str, dialect: str, parameters: Parameters, options: Options) -> Hashable | None:
    """What tells one query of a session from all others; None for one whose plan is not worth keeping."""
    if not options.plan_cache_size or type(text) is not str:
        return None
    if parameters is not None and not isinstance(parameters, (list, tuple, Mapping)):  # an array, say
        return None
    named = tuple(parameters) if isinstance(parameters, Mapping) else None
    values = parameters.values() if isinstance(parameters, Mapping) else parameters or ()
    if not all(type(value) in _VALUES for value in values):
        return None
    if len(text) + sum(len(v) if isinstance(v, (str, bytes)) else 1 for v in values) > _LONGEST:
        return None
    return text, dialect, named, tuple(map(_told, values)), options


def _told(value: Any) -> Hashable:
    """What tells a parameter from all others. Not the value: 0.0 and -0.0 are equal, and so are 1.0 and 1.00."""
    if isinstance(value, (int, str, bytes)):
        return type(value), value
    offset = value.utcoffset() if isinstance(value, (datetime, time)) else None  # two zones may be called the same
    return type(value), repr(value), offset


def _fits(kept: _Kept, find: Find) -> bool:
    try:
        return (
            all(find(name) is entry for name, entry in kept.names.items())
            and (not kept.files or kept.directory == _directory())
            and all(snapshot(paths) == files for paths, files in kept.files.items())
        )
    except SqlrayError:  # files that are gone: planning tells where in the query
        return False


def _are_named(names: Mapping[str, Table | View | None], catalog: Catalog) -> bool:
    """Whether all names stand for these entries of the catalog, or for nothing."""
    return all(catalog.get(name) is entry for name, entry in names.items())


def _rows(plan: LogicalPlan, names: Mapping[str, Table | View | None]) -> int:
    """The rows that would stay in memory with a plan: constants, and files that are read whole when they are opened."""
    rows = 0
    for node in walk(plan):
        match node:
            case Values(rows=constants):
                rows += len(constants)
            case Scan(table=MemoryTable() as table) if not any(table is entry for entry in names.values()):
                rows += table.frame.height
            case _:
                pass
    return rows


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return ""
