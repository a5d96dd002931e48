"""A table that takes its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from executor.sources.memory import memory_table
from planner.catalog import Split, TableStatistics

ROWS = 400_000


class SlowSource:
    """The numbers below ``ROWS`` as ``k``, ``k % 100`` as ``g`` and a name ``s``; ``wait`` is called whenever a task
    begins to read them, with the rows that others have begun to read before."""

    def __init__(self, wait: Callable[[int], None]) -> None:
        frame = pl.select(k=pl.int_range(ROWS)).with_columns(
            g=pl.col("k") % 100, s="name " + pl.col("k").cast(pl.String)
        )
        self.name = "slow"
        self._table = memory_table("slow", frame)
        self.schema = self._table.schema
        self._begun = 0
        self._wait = wait

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        return self._table.statistics(columns)

    def splits(self) -> tuple[Split, ...]:
        return self._table.splits()

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        self._wait(self._begun)
        self._begun += ROWS if splits is None else sum(s.rows or 0 for s in splits)
        return self._table.scan(columns, splits)
