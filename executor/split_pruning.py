"""Splits of which no row can pass a scan's predicates: files in folders whose ``key=value`` says so."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from executor.dtypes import polars_dtype
from executor.expressions import conjunction
from executor.value import Scope
from planner.catalog import Split
from planner.expr import Expr, columns_of
from planner.physical import ScanExec


def remaining_splits(plan: ScanExec, scope: Scope) -> Sequence[Split] | None:
    """The splits of ``plan`` that are worth reading; None for the whole table.

    Predicates over columns that have one value in every split are evaluated on those values.
    """
    if not plan.predicates:
        return plan.splits
    splits = plan.table.splits() if plan.splits is None else plan.splits
    fields = [f for f in plan.fields if splits and all(_is_constant(s, f.name) for s in splits)]
    ids = {f.id for f in fields}
    decisive: list[Expr] = [p for p in plan.predicates if columns_of(p) and columns_of(p) <= ids]
    test = conjunction(decisive, scope)
    if test is None:
        return plan.splits
    values = {f.name: [s.statistics[f.name].min for s in splits] for f in fields}
    schema = {f.name: polars_dtype(f.dtype) for f in fields}
    kept = pl.LazyFrame(values, schema=schema).with_row_index("#split").filter(test).select("#split").collect()
    return [splits[i] for i in kept.to_series().to_list()]


def _is_constant(split: Split, column: str) -> bool:
    known = split.statistics.get(column)
    return known is not None and known.min is not None and known.min == known.max and known.null_count == 0
