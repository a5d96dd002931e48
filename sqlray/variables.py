"""A caller's variables as tables: the name in the query is looked for where ``sql()`` was called."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl
import pyarrow as pa

from executor.sources.base import Source
from executor.sources.memory import memory_table

_OWN = ("sqlray", "planner", "executor")


def caller_frame() -> FrameType | None:
    """The innermost frame that is not sqlray's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OWN:
        frame = frame.f_back
    return frame


def find_variable(name: str, frame: FrameType | None) -> Source | None:
    """The table over the variable ``name`` of ``frame`` (its locals, then its globals), if it holds rows."""
    if frame is None:
        return None
    scopes: tuple[Mapping[str, Any], ...] = (frame.f_locals, frame.f_globals)
    for scope in scopes:
        if name in scope and (dataset := as_dataset(name, scope[name])) is not None:
            return dataset
        if name in scope and is_rows(scope[name]):
            return memory_table(name, _rows(scope[name]))
    return None


def as_dataset(name: str, value: object) -> Source | None:
    """The table over a Ray Dataset; None for any other value. Ray is imported only where somebody has a Dataset."""
    if type(value).__module__.split(".")[:2] != ["ray", "data"]:
        return None
    from executor.runners.ray.datasets import dataset_table, is_dataset

    return dataset_table(name, value) if is_dataset(value) else None


_read: WeakKeyDictionary[pa.RecordBatchReader, pa.Table] = WeakKeyDictionary()


def _rows(value: object) -> object:
    """The value, or what was read of it: a reader gives its rows once, and a second query wants them too."""
    if not isinstance(value, pa.RecordBatchReader):
        return value
    if value not in _read:
        _read[value] = value.read_all()
    return _read[value]


def is_rows(value: object) -> bool:
    """Whether a Python value can be a table: Arrow, Polars, pandas, or a list of dicts."""
    if isinstance(value, (pl.DataFrame, pl.LazyFrame, pa.Table, pa.RecordBatch, pa.RecordBatchReader)):
        return True
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, dict) for row in value)
    return type(value).__module__.split(".")[0] == "pandas" and type(value).__name__ == "DataFrame"
