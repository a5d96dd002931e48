"""Stages: the cut, the shares of scans, and staged runs against unsplit ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from planner.catalog import Split
from planner.errors import PlanError
from planner.expr import column, new_field
from planner.logical import (
    Aggregate,
    CommonSubplan,
    DependentJoin,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Sort,
)
from planner.physical import (
    Arbitrary,
    Broadcast,
    ExchangeExec,
    InputExec,
    MaterializeExec,
    PhysicalPlan,
    ScanExec,
    Single,
    UnionExec,
    pretty,
)
from planner.physical_planner import PhysicalContext, PhysicalQuery, plan_query
from planner.stages import Stage, StageGraph, cut, shares, task_plan
from planner.statistics import Estimator
from planner.tree import walk
from tests.planner.interpreter import TooManyRows, run
from tests.planner.known_tables import scan
from tests.planner.staged import Rows, run_plan, run_query
from tests.planner.test_statistics import field, joined, random_plan


def planned(plan: LogicalPlan, **options: object) -> PhysicalQuery:
    return plan_query(plan, replace(PhysicalContext(Estimator()), **options))


def check(graph: StageGraph) -> None:
    """What every graph must satisfy."""
    before: dict[int, Stage] = {}
    for stage in graph.stages:
        assert all(stage.id > i for i in before)
        assert not any(isinstance(n, (ExchangeExec, MaterializeExec)) for n in walk(stage.plan))
        reads = {n.stage for n in walk(stage.plan) if isinstance(n, InputExec)}
        assert reads == set(stage.inputs)
        assert reads <= before.keys()
        for node in walk(stage.plan):
            if isinstance(node, InputExec) and node.partitioned:
                output = before[node.stage].output
                assert output is None or not isinstance(output, (Single, Broadcast))
                assert {stage.share(i).index for i in range(stage.tasks)} == set(range(node.tasks))
            if isinstance(node, ScanExec):
                assert node.tasks in (1, stage.tasks)
        before[stage.id] = stage
    for item in graph.filters:
        assert item.source < item.target


def test_a_plan_in_one_place_is_one_stage() -> None:
    query = planned(scan("nation", "n_name"))
    assert len(query.graph.stages) == 1
    assert query.graph.result.tasks == 1
    assert query.graph.result.plan is query.plan
    assert task_plan(query.graph.result, 0) is query.graph.result.plan


def test_the_shuffle_of_a_join_is_three_stages() -> None:
    lineitem, orders = scan("lineitem", "l_orderkey"), scan("orders", "o_orderkey")
    query = planned(
        joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey")), partitions=4, broadcast_limit=1
    )
    check(query.graph)
    names = [(s.name, s.tasks, s.inputs) for s in query.graph.stages]
    assert names == [("scan orders", 4, ()), ("scan lineitem", 4, ()), ("result", 4, (0, 1))]
    assert query.graph.readers(0) == (2,)


def test_a_shared_subplan_is_one_stage_that_many_read() -> None:
    nation = scan("nation", "n_nationkey")
    common = CommonSubplan(Aggregate(nation, (field(nation, "n_nationkey"),)), "cte")

    def read() -> Project:
        return Project(common, tuple(Item(new_field(f.name, f.dtype), column(f)) for f in common.schema))

    query = planned(Join(JoinKind.INNER, read(), read()))
    check(query.graph)
    assert [s.name for s in query.graph.stages] == ["cte", "result"]
    assert query.graph.stages[1].inputs == (0,)


def test_all_of_a_materialized_subplan_is_read_without_a_copy() -> None:
    source = planned(scan("nation", "n_nationkey")).plan
    shared = MaterializeExec(source, "cte", source.schema)
    big = planned(scan("lineitem", "l_orderkey"), partitions=3).plan
    everything = ExchangeExec(shared, Broadcast(), source.schema)
    graph = cut(UnionExec((big, everything), big.schema))
    assert [s.name for s in graph.stages] == ["cte", "result"]
    assert graph.result.tasks == 3


def test_partition_counts_must_agree() -> None:
    source = planned(scan("nation", "n_nationkey")).plan
    parts = [ExchangeExec(source, Arbitrary(n), source.schema) for n in (2, 3)]
    with pytest.raises(PlanError, match="must agree"):
        cut(UnionExec(tuple(parts), source.schema))


def test_tasks_share_the_splits_of_a_scan() -> None:
    query = planned(scan("lineitem", "l_orderkey"), partitions=4)
    stage = query.graph.result
    assert stage.tasks == 4
    taken = [s for task in range(4) for n in walk(task_plan(stage, task)) for s in _splits(n)]
    assert taken == list(scan("lineitem").table.splits())


def _splits(node: PhysicalPlan) -> tuple[Split, ...]:
    return (node.splits or ()) if isinstance(node, ScanExec) else ()


@pytest.mark.parametrize(
    ("splits", "tasks", "expected"),
    [
        ([Split(i, bytes=10) for i in range(4)], 2, [2, 2]),
        ([Split(0, bytes=100), Split(1, bytes=10), Split(2, bytes=10)], 2, [1, 2]),
        ([Split(0)], 3, [0, 1, 0]),
        ([], 2, [0, 0]),
        ([Split(i, rows=5) for i in range(6)], 3, [2, 2, 2]),
        ([Split(0, bytes=1000), Split(1), Split(2), Split(3)], 2, [2, 2]),
    ],
)
def test_shares_are_contiguous_and_about_equal(splits: list[Split], tasks: int, expected: list[int]) -> None:
    found = shares(splits, tasks)
    assert [len(s) for s in found] == expected
    assert [s for part in found for s in part] == splits


def test_staged_cuts_what_would_be_one_task() -> None:
    lineitem = scan("lineitem", "l_orderkey", "l_returnflag")
    plan = Aggregate(lineitem, (field(lineitem, "l_returnflag"),))
    assert len(planned(plan).graph.stages) == 1
    assert len(planned(plan, staged=True).graph.stages) > 1


def test_memory_decides_without_being_asked() -> None:
    lineitem, orders = scan("lineitem"), scan("orders")
    plan = joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey"))
    assert planned(plan, memory_limit=16 * 10**9).partitions == 1
    assert planned(plan, memory_limit=200 * 10**6).partitions > 1


def _result(rows: Rows, plan: LogicalPlan) -> Counter[tuple[object, ...]]:
    return Counter(tuple(r[f.id] for f in plan.schema) for r in rows)


SETTINGS: list[dict[str, int]] = [
    {"partitions": 1},
    {"partitions": 3, "broadcast_limit": 1},
    {"partitions": 2, "broadcast_limit": 10**9},
    {"partitions": 4, "broadcast_limit": 100, "nodes": 2, "skew_limit": 8},
    {"memory_limit": 300, "broadcast_limit": 200},
    {"memory_limit": 1_000, "broadcast_limit": 50, "nodes": 3, "skew_limit": 8},
]


@pytest.mark.parametrize("first", range(0, 240, 60))
def test_staged_runs_equal_unsplit_ones(first: int) -> None:
    """Random plans: whatever is shuffled, broadcast, split in two steps or planned again gives what the plan means."""
    for seed in range(first, first + 60):
        plan = random_plan(seed)
        if any(isinstance(n, DependentJoin) for n in walk(plan)):
            continue
        try:
            whole = run(plan)
        except TooManyRows:
            continue
        expected = Counter(whole)
        for options in SETTINGS:
            query = planned(plan, **options)
            assert _result(run_plan(query.plan), plan) == expected, pretty(query.plan)
            for again in (False, True):
                rows, ran = run_query(query, check, seed, again)
                assert _result(rows, plan) == expected, pretty(query.plan) + "\n".join(ran.changes)
                if isinstance(plan, Sort):
                    order = [i for i, f in enumerate(plan.schema) if any(k.expr == column(f) for k in plan.keys)]
                    ids = [plan.schema.fields[i].id for i in order]
                    assert [[r[i] for i in ids] for r in rows] == [[r[i] for i in order] for r in whole]
