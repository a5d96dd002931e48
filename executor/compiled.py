"""Fragments in their compiled form, which is kept for as long as their plan: a query that runs again is neither
compiled nor translated for a GPU again."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import polars as pl

from executor.device_frames import Fragment
from executor.frame import KernelOptions
from executor.kernels import compile_fragment
from executor.sources.memory import MemoryTable
from planner.physical import PhysicalPlan, ScanExec
from planner.tree import walk

_kept: WeakKeyDictionary[PhysicalPlan, dict[KernelOptions, Fragment]] = WeakKeyDictionary()


def compiled(plan: PhysicalPlan, inputs: Mapping[int, pl.LazyFrame], options: KernelOptions) -> Fragment:
    """A fragment that is ready to run. It is kept if it reads nothing but tables in memory: the rows of other stages
    are others with every run, and scans look each time whether their files are those that were planned.

    Raises:
        NotOnDevice: the options ask for the GPU, and it has no exact form of some operation.
        ExecutionError: a file has changed since, or cannot be read.
    """
    kept = _kept.get(plan, {})
    if options in kept:
        return kept[options]
    fragment = Fragment(compile_fragment(plan, inputs, options))
    if not inputs and all(isinstance(n.table, MemoryTable) for n in walk(plan) if isinstance(n, ScanExec)):
        _kept.setdefault(plan, {})[options] = fragment
    return fragment
