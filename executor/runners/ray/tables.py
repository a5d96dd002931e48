"""Tables whose rows are on the cluster: Ray Datasets, and tables in memory that were put there."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import ray
from ray import ObjectRef

from executor.blocks import to_block
from executor.runners.ray.blocks import RemoteBlock
from executor.runners.worker import BlocksTable
from executor.sources.memory import MemoryTable
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.physical import PhysicalPlan, ScanExec
from planner.record import record
from planner.tree import transform_up


@record(eq=False)
class ClusterTable:
    """A table whose rows are on the cluster: its blocks by the parts of its splits."""

    name: str
    schema: pa.Schema
    blocks: Mapping[Any, RemoteBlock]

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        known = {c: ColumnStatistics() for c in columns}
        return TableStatistics(sum(b.rows for b in self.blocks.values()), True, known)

    def splits(self) -> tuple[Split, ...]:
        return tuple(Split(part, b.rows, b.bytes) for part, b in self.blocks.items())

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        """In this process: the blocks are fetched."""
        part = self.of(splits) if splits is not None else self
        return BlocksTable(self.name, ray.get([b.ref for b in part.blocks.values()]), self.schema).scan(columns, None)

    def of(self, splits: Sequence[Split]) -> ClusterTable:
        """The table with some of its blocks."""
        return replace(self, blocks={s.part: self.blocks[s.part] for s in splits})


def detached(table: object) -> list[ObjectRef[Any]] | None:
    """The blocks of a table that are not sent with the plan (see ``worker.dump_task``)."""
    return [b.ref for b in table.blocks.values()] if isinstance(table, ClusterTable) else None


class ClusterTables:
    """A session's tables in memory, put on the cluster once for all of its queries; they go with the tables."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[MemoryTable, ClusterTable] = weakref.WeakKeyDictionary()

    def of_task(self, plan: PhysicalPlan) -> PhysicalPlan:
        """A task's plan in which the tables whose rows are on the cluster, or in memory here, have the task's alone."""

        def localize(node: PhysicalPlan) -> PhysicalPlan:
            if not isinstance(node, ScanExec) or not isinstance(node.table, (ClusterTable, MemoryTable)):
                return node
            table = self._on_cluster(node.table)
            return replace(node, table=table if node.splits is None else table.of(node.splits), splits=None)

        return transform_up(plan, localize)

    def clear(self) -> None:
        """Give up what was put there."""
        self._known.clear()

    def _on_cluster(self, table: ClusterTable | MemoryTable) -> ClusterTable:
        if isinstance(table, ClusterTable):
            return table
        known = self._known.get(table)
        if known is None:
            parts = [(s, table.part(s)) for s in table.splits()]
            blocks = {s.part: RemoteBlock(ray.put(to_block(f)), f.height, s.bytes or 0) for s, f in parts}
            known = self._known[table] = ClusterTable(table.name, table.schema, blocks)
        return known
