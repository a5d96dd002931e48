"""Fragments in their compiled form, which is kept for as long as their plan: a query that runs again is neither
compiled nor translated for a GPU again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

import polars as pl

from executor.device_frames import Fragment
from executor.frame import KernelOptions
from executor.kernels import compile_fragment
from executor.sources.held_files import with_held_files, worth_holding
from executor.sources.memory import MemoryTable
from executor.sources.parquet import ParquetTable
from planner.catalog import Table
from planner.physical import PhysicalPlan, ScanExec
from planner.tree import walk

_Form = tuple[KernelOptions, frozenset[ParquetTable]]  # and the files that the GPU keeps columns of
_kept: WeakKeyDictionary[PhysicalPlan, dict[_Form, Fragment]] = WeakKeyDictionary()


def compiled(plan: PhysicalPlan, inputs: Mapping[int, pl.LazyFrame], options: KernelOptions) -> Fragment:
    """A fragment that is ready to run. It is kept if it reads nothing but tables in memory and Parquet files that are
    as they were: the rows of other stages are others with every run.

    Raises:
        NotOnDevice: the options ask for the GPU, and it has no exact form of some operation.
        ExecutionError: a file has changed since, or cannot be read.
    """
    form: _Form = options, worth_holding(plan) if options.device == "gpu" else frozenset()
    kept = _kept.get(plan, {})
    if form in kept:
        for table in _tables(plan):
            if isinstance(table, ParquetTable):
                table.check()
        return kept[form]
    fragment = Fragment(compile_fragment(with_held_files(plan, form[1]), inputs, options))
    if not inputs and all(isinstance(table, (MemoryTable, ParquetTable)) for table in _tables(plan)):
        _kept.setdefault(plan, {})[form] = fragment
    return fragment


def _tables(plan: PhysicalPlan) -> Iterator[Table]:
    return (node.table for node in walk(plan) if isinstance(node, ScanExec))
