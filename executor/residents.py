"""Columns of tables that a GPU holds a copy of: of tables in memory from the first query that reads them there.

A copy is kept while its owner lives, a frame that nobody changes or a table of files that are as they were, and the
device has room; the one read last stays longest. Decimals are copied as the scaled integers that kernels compute with,
where 64 bits hold them; text as it is, or as codes of its values (``dictionary_codes``); TIME and BLOB as
``device_types`` says.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl

from executor import device_frames
from executor.device_frames import DeviceFrame
from executor.device_types import device_form
from planner.device_cost import KEPT

_PIECE = 1 << 16  # rows at least that a thread looks up
SHARE = KEPT  # of the device's memory; what queries compute needs the rest


_Key = tuple[str, bool]  # a column's name, and whether the copy holds codes


@dataclass(slots=True)
class _Copy:
    """A column on the device."""

    frame: DeviceFrame
    used: int = 0


@dataclass(slots=True)
class _Entry:
    owner: weakref.ref[object]
    reads: int = 0
    columns: dict[_Key, _Copy] = field(default_factory=dict)


_entries: dict[int, _Entry] = {}  # by the owner's identity
_lock = threading.RLock()
_clock = itertools.count()


def columns(
    frame: pl.DataFrame, names: Sequence[str], dictionaries: Mapping[str, pl.Series] | None = None
) -> DeviceFrame:
    """Columns of a frame on the device; those that are not there yet are copied.

    Args:
        dictionaries: all values of columns of text that are wanted as codes: where each value stands in the dictionary.

    Raises:
        MemoryError: the device has too little memory.
    """
    known = dictionaries or {}

    def size(key: _Key) -> float:
        name, coded = key
        return frame.height * 4 if coded else frame.get_column(name).estimated_size()

    def copy(keys: Sequence[_Key]) -> Iterator[DeviceFrame]:
        for name, coded in keys:
            column = frame.get_column(name).rechunk()  # of several pieces cuDF copies each, and puts them together
            held = codes(column, known[name]) if coded else _as_held(column)
            yield device_frames.upload(held.to_frame())

    return _columns(frame, frame.height, [(name, name in known) for name in names], size, copy)


def loaded_columns(
    owner: object,
    rows: int,
    names: Sequence[str],
    size: Callable[[str], float],
    load: Callable[[Sequence[str]], DeviceFrame],
) -> DeviceFrame:
    """Columns of a table on the device; those that are not there yet are loaded, together.

    Args:
        owner: what the copies are kept with.
        size: about how many bytes a column takes.
        load: gives columns of all rows.

    Raises:
        MemoryError: the device has too little memory.
    """

    def copy(keys: Sequence[_Key]) -> Iterator[DeviceFrame]:
        frame = load([name for name, _ in keys])
        return (device_frames.select(frame, [name]) for name, _ in keys)

    return _columns(owner, rows, [(name, False) for name in names], lambda key: size(key[0]), copy)


def _columns(
    owner: object,
    rows: int,
    wanted: Sequence[_Key],
    size: Callable[[_Key], float],
    copy: Callable[[Sequence[_Key]], Iterator[DeviceFrame]],
) -> DeviceFrame:
    with _lock:
        entry = _entry(owner)
        copies = {key: entry.columns[key] for key in wanted if key in entry.columns}
        missing = [key for key in wanted if key not in copies]
        _make_room(sum(map(size, missing)), copies)
    # Not under the lock: Polars' threads convert columns, and some of them may wait here. Two queries that copy one
    # column at the same time cost memory, until the first copy goes.
    if missing:
        copies |= {key: _Copy(frame) for key, frame in zip(missing, copy(missing), strict=True)}
    with _lock:
        for found in copies.values():
            found.used = next(_clock)
        entry.columns.update(copies)
    return device_frames.side_by_side([copies[key].frame for key in wanted], rows)


def is_scaled(dtype: pl.DataType) -> bool:
    """Whether a column of this type is copied as scaled integers."""
    return isinstance(dtype, pl.Decimal) and dtype.precision is not None and dtype.precision <= 18


def held_dtype(dtype: pl.DataType) -> pl.DataType:
    """The type of the copy of a column."""
    match dtype:
        case pl.Time():
            return pl.Int64()
        case pl.Binary():
            return pl.String()
        case _:
            return pl.Int64() if is_scaled(dtype) else dtype


def code_dtype(dictionary: pl.Series) -> pl.DataType:
    """The type of codes in place of the values of a dictionary."""
    return pl.Int8() if len(dictionary) < 2**7 else pl.Int16() if len(dictionary) < 2**15 else pl.Int32()


def codes(column: pl.Series, dictionary: pl.Series) -> pl.Series:
    """Where each value of a column stands in the dictionary: looked up on as many threads as the kernels have."""
    places, dtype = pl.Enum(dictionary), code_dtype(dictionary)
    step = max(-(-len(column) // pl.thread_pool_size()), _PIECE)
    pieces = [column.slice(at, step) for at in range(0, max(len(column), 1), step)]

    def look_up(piece: pl.Series) -> pl.Series:
        return piece.cast(places).to_physical().cast(dtype)

    with ThreadPoolExecutor(len(pieces)) as pool:
        return pl.concat(list(pool.map(look_up, pieces)), rechunk=True)


def _as_held(column: pl.Series) -> pl.Series:
    if is_scaled(column.dtype):
        return column.to_physical().cast(pl.Int64)
    if held_dtype(column.dtype) == column.dtype:
        return column
    return column.to_frame().select(device_form(column.name, column.dtype)).to_series()


def resident(owner: object, names: Sequence[str]) -> frozenset[str]:
    """Those of the columns that the device holds, in whatever form."""
    with _lock:
        entry = _known(owner)
        held = set() if entry is None else {name for name, _ in entry.columns}
        return frozenset(held.intersection(names))


def resident_bytes(owner: object, names: Sequence[str]) -> int:
    """Bytes of those of the columns that the device holds."""
    with _lock:
        entry = _known(owner)
        if entry is None:
            return 0
        return sum(copy.frame.bytes for (name, _), copy in entry.columns.items() if name in names)


def note_read(owner: object) -> None:
    """Count a query that reads the columns of an owner, on whatever device."""
    with _lock:
        _entry(owner).reads += 1


def reads(owner: object) -> int:
    """How many queries have read them."""
    with _lock:
        entry = _known(owner)
        return 0 if entry is None else entry.reads


def clear() -> bool:
    """Give all copies up; whether there were any."""
    with _lock:
        held = [e for e in _entries.values() if e.columns]
        for entry in held:
            entry.columns.clear()
        return bool(held)


def _known(owner: object) -> _Entry | None:
    entry = _entries.get(id(owner))
    return entry if entry is not None and entry.owner() is owner else None


def _entry(owner: object) -> _Entry:
    entry = _known(owner)
    if entry is None:
        at = id(owner)

        def forget(dead: weakref.ref[object]) -> None:
            kept = _entries.get(at)
            if kept is not None and kept.owner is dead:  # by now another one may be at its address
                del _entries[at]

        entry = _entries[at] = _Entry(weakref.ref(owner, forget))
    return entry


def _make_room(size: float, kept: Mapping[_Key, _Copy]) -> None:
    """Give up copies until there is room for ``size`` bytes more, but none of those that are ``kept``."""
    if not size:
        return
    room = SHARE * device_frames.device_memory() - size
    spared = {id(copy) for copy in kept.values()}
    held = sum(copy.frame.bytes for _, _, copy in _copies())
    for owner, key, copy in sorted(_copies(), key=lambda c: c[2].used):
        if held <= room:
            break
        if id(copy) not in spared:
            held -= copy.frame.bytes
            del owner.columns[key]


def _copies() -> Iterator[tuple[_Entry, _Key, _Copy]]:
    return ((e, key, copy) for e in list(_entries.values()) for key, copy in list(e.columns.items()))
