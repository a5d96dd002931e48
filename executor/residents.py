"""Columns of tables in memory that a GPU holds a copy of, from the first query that reads them there.

A copy is kept while the table's frame lives, which nobody changes, and the device has room; the one read last stays
longest. Decimals are copied as the scaled integers that kernels compute with, where 64 bits hold them; TIME and BLOB as
``device_types`` says.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from executor import device_frames
from executor.device_frames import DeviceFrame
from executor.device_types import device_form

SHARE = 0.5
"""Of the device's memory, for copies; what queries compute needs the rest."""


@dataclass(slots=True)
class _Copy:
    """A column on the device."""

    frame: DeviceFrame
    used: int = 0


@dataclass(slots=True)
class _Entry:
    frame: weakref.ref[pl.DataFrame]
    reads: int = 0
    columns: dict[str, _Copy] = field(default_factory=dict)


_entries: dict[int, _Entry] = {}  # by the frame's identity
_lock = threading.RLock()
_clock = itertools.count()


def columns(frame: pl.DataFrame, names: Sequence[str]) -> DeviceFrame:
    """Columns of a frame on the device; those that are not there yet are copied.

    Raises:
        MemoryError: the device has too little memory.
    """
    with _lock:
        entry = _entry(frame)
        copies = {name: entry.columns[name] for name in names if name in entry.columns}
        missing = [name for name in names if name not in copies]
        _make_room(sum(int(frame.get_column(name).estimated_size()) for name in missing), copies)
    # Not under the lock: Polars' threads convert columns, and some of them may wait here. Two queries that copy one
    # column at the same time cost memory, until the first copy goes.
    for name in missing:
        column = _as_held(frame.get_column(name))
        copies[name] = _Copy(device_frames.upload(column.to_frame()))
    with _lock:
        for copy in copies.values():
            copy.used = next(_clock)
        entry.columns.update(copies)
    return device_frames.side_by_side([copies[name].frame for name in names], frame.height)


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


def _as_held(column: pl.Series) -> pl.Series:
    """In one piece: of several, cuDF copies each by itself, and then puts them together."""
    column = column.rechunk()
    if is_scaled(column.dtype):
        return column.to_physical().cast(pl.Int64)
    if held_dtype(column.dtype) == column.dtype:
        return column
    return column.to_frame().select(device_form(column.name, column.dtype)).to_series()


def resident_bytes(frame: pl.DataFrame, names: Sequence[str]) -> int:
    """Bytes of those of the columns that the device holds."""
    with _lock:
        entry = _known(frame)
        if entry is None:
            return 0
        return sum(entry.columns[name].frame.bytes for name in names if name in entry.columns)


def note_read(frame: pl.DataFrame) -> None:
    """Count a query that reads the frame, on whatever device."""
    with _lock:
        _entry(frame).reads += 1


def reads(frame: pl.DataFrame) -> int:
    """How many queries have read the frame."""
    with _lock:
        entry = _known(frame)
        return 0 if entry is None else entry.reads


def clear() -> bool:
    """Give all copies up; whether there were any."""
    with _lock:
        held = [e for e in _entries.values() if e.columns]
        for entry in held:
            entry.columns.clear()
        return bool(held)


def _known(frame: pl.DataFrame) -> _Entry | None:
    entry = _entries.get(id(frame))
    return entry if entry is not None and entry.frame() is frame else None


def _entry(frame: pl.DataFrame) -> _Entry:
    entry = _known(frame)
    if entry is None:
        at = id(frame)

        def forget(dead: weakref.ref[pl.DataFrame]) -> None:
            kept = _entries.get(at)
            if kept is not None and kept.frame is dead:  # by now another frame may be at its address
                del _entries[at]

        entry = _entries[at] = _Entry(weakref.ref(frame, forget))
    return entry


def _make_room(size: int, kept: Mapping[str, _Copy]) -> None:
    """Give up copies until there is room for ``size`` bytes more, but none of those that are ``kept``."""
    if not size:
        return
    room = SHARE * device_frames.device_memory() - size
    spared = {id(copy) for copy in kept.values()}
    held = sum(copy.frame.bytes for _, _, copy in _copies())
    for owner, name, copy in sorted(_copies(), key=lambda c: c[2].used):
        if held <= room:
            break
        if id(copy) not in spared:
            held -= copy.frame.bytes
            del owner.columns[name]


def _copies() -> Iterator[tuple[_Entry, str, _Copy]]:
    return ((e, name, copy) for e in list(_entries.values()) for name, copy in list(e.columns.items()))
