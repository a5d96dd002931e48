"""A table that tells where it is read."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import ray

from executor.sources.memory import memory_table
from planner.catalog import ColumnStatistics, Split, TableStatistics

SPLITS = 6


class PlacedSource:
    """For every split its number ``i``, the node of the Ray cluster on which a task reads it, and the GPUs that the
    task has."""

    name = "placed"
    schema = memory_table("placed", pl.DataFrame(schema={"i": pl.Int64, "node": pl.String, "gpus": pl.Int64})).schema

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        return TableStatistics(SPLITS, True, {c: ColumnStatistics() for c in columns})

    def splits(self) -> tuple[Split, ...]:
        return tuple(Split(i, 1, 1) for i in range(SPLITS))

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        here = ray.get_runtime_context()
        gpus = len(here.get_accelerator_ids().get("GPU", ()))
        read = [s.part for s in splits or self.splits()]
        frame = pl.DataFrame({"i": read}, schema={"i": pl.Int64})
        frame = frame.with_columns(node=pl.lit(here.get_node_id()), gpus=pl.lit(gpus, pl.Int64))
        return memory_table(self.name, frame).scan(columns, None)
