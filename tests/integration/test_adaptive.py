"""Planning again while a query runs: what changes, what EXPLAIN ANALYZE says of it, and that the answer does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from unittest import mock

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import sqlray
from executor.driver import Execution
from executor.runners import task
from executor.runners.local import LocalBackend
from planner import exchange, working_set
from planner.cost import ClusterInfo
from planner.physical import RangePartitioned
from sqlray.pipeline import PlannedQuery
from tests.planned import planned_query

ROWS = 300_000
HERE = ClusterInfo(1, 1, 10**9)
NODES = ClusterInfo(3, 1, 1_000_000)


@pytest.fixture
def session() -> Iterator[sqlray.Session]:
    """Tables of which the planner thinks too much or too little, on what looks like three small nodes."""
    with ExitStack() as patches:
        made = patches.enter_context(sqlray.connect(broadcast_limit="100KB", skew_limit="500KB"))
        made.register("orders", pl.DataFrame({"o": range(ROWS), "code": [f"c{i}" for i in range(ROWS)]}))
        made.register("items", pl.DataFrame({"i": [n // 2 for n in range(ROWS)], "price": range(ROWS)}))
        made.register("clicks", pl.DataFrame({"c": [7 if n % 10 else n for n in range(ROWS)], "at": range(ROWS)}))
        small = {(exchange, "_SMALL_SCAN"): 1, (exchange, "_SMALL_SORT"): 1, (working_set, "_NODE_BYTES"): 10**6}
        pieces = {(task, "_PIECE"): 10**5, (task, "_STEP"): 5 * 10**5, (task, "_SHARE"): 10**3}
        for (module, name), size in {**small, **pieces}.items():
            patches.enter_context(mock.patch.object(module, name, size))
        yield made


def on(cluster: ClusterInfo) -> AbstractContextManager[object]:
    return mock.patch.object(LocalBackend, "cluster", return_value=cluster)


def run(session: sqlray.Session, sql: str) -> Execution:
    """A run of the query on the nodes, whose answer is the one in one place."""
    with on(HERE):
        planned = planned_query(session, sql)
        assert len(planned.physical.graph.stages) == 1
        expected = rows(planned, planned.execution())
    with on(NODES):
        planned = planned_query(session, sql)
        execution = planned.execution()
        assert_frame_equal(rows(planned, execution), expected)
        told = [(s.id, s.state, s.tasks_done) for s in execution.progress.look().stages]
        assert sorted(told) == [(s.id, "done", s.tasks) for s in execution.graph.stages]
        text = without_ids(session.sql(sql).explain(analyze=True))
    assert all(f"Planned again {without_ids(change)}" in text for change in execution.query.changes)
    return execution


def without_ids(text: str) -> str:
    return re.sub(r"#\d+", "", text)


def rows(planned: PlannedQuery, execution: Execution) -> pl.DataFrame:
    frame = pl.DataFrame(pa.Table.from_batches(list(planned.batches(execution)), planned.schema))
    return frame.sort(frame.columns)


def changes(session: sqlray.Session, sql: str) -> tuple[str, ...]:
    """What was planned again in a run of the query, whose answer is right."""
    return run(session, sql).query.changes


def test_a_side_that_turns_out_small_is_broadcast(session: sqlray.Session) -> None:
    found = changes(session, "select sum(price), count(code) from items join orders on i = o where code like '%9999'")
    assert any("the right side broadcast instead of both sides shuffled" in c for c in found), found


def test_a_side_that_turns_out_large_is_not_broadcast(session: sqlray.Session) -> None:
    """Each of these is thought to keep few rows, and keeps all."""
    keeps_all = " and ".join(f"(o + {n}) % 1 = 0" for n in range(4))
    sql = f"select sum(price), count(code) from items join (select * from orders where {keeps_all}) on i = o"
    found = changes(session, sql)
    assert any("both sides shuffled by the keys instead of the right side broadcast" in c for c in found), found


def test_little_that_is_left_is_one_task(session: sqlray.Session) -> None:
    sql = "select code, count(*), sum(price) from items join orders on i = o where code like '%77%7' group by code"
    found = changes(session, sql)
    assert any("the rest in 1 instead of" in c for c in found), found


@pytest.mark.parametrize("kind", ["join", "left join"])
def test_tasks_share_a_skewed_partition(session: sqlray.Session, kind: str) -> None:
    """Nine of ten clicks have the same key: without sharing, one task would join them all."""
    found = changes(session, f"select at, code from clicks {kind} orders on c = o")
    assert any("tasks share partition" in c for c in found), found


def test_groups_above_a_shared_partition_are_merged(session: sqlray.Session) -> None:
    found = changes(session, "select c, count(*), sum(at), max(code) from clicks join orders on c = o group by c")
    assert any("tasks share partition" in c for c in found), found


@pytest.mark.parametrize("kind", ["right join", "full join"])
def test_rows_that_must_come_once_are_not_shared(session: sqlray.Session, kind: str) -> None:
    """An order without a click comes out once, which several tasks that have all orders could not tell."""
    found = changes(session, f"select at, code from clicks {kind} orders on c = o")
    assert not any("tasks share partition" in c for c in found), found


def test_a_filter_is_found_while_the_query_runs(session: sqlray.Session) -> None:
    """That few codes match is known when they have been read; then the scan of the items skips what cannot match."""
    sql = "select count(*), sum(price) from items join orders on i = o where code like '%9999'"
    with on(NODES):
        assert not planned_query(session, sql).physical.graph.filters
    execution = run(session, sql)
    assert [(f.column.name, f.source_column.name) for f in execution.graph.filters] == [("i", "o")]
    assert execution.metrics.stages[execution.graph.filters[0].target].rows < 1_000


@pytest.mark.parametrize(
    "order", ["at % 1000 desc, at", "code nulls first, at", "-at", "c desc nulls last, code, at", "at // 7.0, 0 - at"]
)
def test_rows_are_sorted_in_ranges(session: sqlray.Session, order: str) -> None:
    sql = f"select c, at, nullif(code, 'c7') as code from clicks left join orders on at = o order by {order}"
    with on(HERE):
        expected = session.sql(sql).to_polars()
    with on(NODES):
        planned = planned_query(session, sql)
        execution = planned.execution()
        found = pl.DataFrame(pa.Table.from_batches(list(planned.batches(execution)), planned.schema))
        skipped = session.sql(f"{sql} limit 1000 offset 200000").to_polars()
        no_rows = session.sql(f"select * from ({sql}) where c < at - {ROWS} order by {order}").to_polars()
    assert execution.graph.result.tasks > 1
    assert sum(isinstance(s.output, RangePartitioned) for s in execution.graph.stages) == 1
    assert_frame_equal(found, expected)
    assert_frame_equal(skipped, expected[200_000:201_000])
    assert_frame_equal(no_rows, expected[:0])
