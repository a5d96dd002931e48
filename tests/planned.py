"""A query's plan and a run of it, which `Session.sql` keeps to itself; and what tests ask of plans."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

import polars as pl
import pyarrow as pa

import sqlray
from executor.device_frames import translate
from executor.dtypes import polars_dtype
from executor.kernels import KernelOptions, compile_fragment, optimizations
from executor.metrics import QueryMetrics
from executor.sources.memory import MemoryTable
from executor.value import NotOnDevice
from planner.catalog import Split
from planner.expr import column_name
from planner.physical import InputExec
from planner.stages import Stage
from planner.tree import walk
from sqlray.pipeline import PlannedQuery


def planned_query(session: sqlray.Session, sql: str) -> PlannedQuery:
    """The plan of one query."""
    plans: list[PlannedQuery] = []
    result = sqlray.Session._result

    def remember(session: sqlray.Session, planned: PlannedQuery) -> sqlray.Result:
        plans.append(planned)
        return result(session, planned)

    with mock.patch.object(sqlray.Session, "_result", remember):
        session.sql(sql)
    return plans[-1]


def run(planned: PlannedQuery) -> tuple[pa.Table, QueryMetrics]:
    """The rows of a planned query, and what its run took."""
    execution = planned.execution()
    return pa.Table.from_batches(list(planned.batches(execution)), planned.schema), execution.metrics


def small_splits(table: MemoryTable) -> tuple[Split, ...]:
    """Splits of a few rows each, in place of a table's own, of which small tables have one."""
    rows = table.frame.height
    edges = [rows * i // 5 for i in range(6)]
    return tuple(Split((a, b - a), b - a, 100) for a, b in pairwise(edges))


def refusal(stage: Stage) -> str | None:
    """Why cuDF does not take a stage: asked of cudf-polars' translator, which needs no GPU."""
    inputs = {
        node.stage: pl.LazyFrame(schema={column_name(f): polars_dtype(f.dtype) for f in node.schema})
        for node in walk(stage.plan)
        if isinstance(node, InputExec)
    }
    try:
        translate(compile_fragment(stage.plan, inputs, KernelOptions(device="gpu")), optimizations())
    except NotOnDevice as error:
        return str(error)
    return None
