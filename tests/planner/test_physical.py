"""The physical planner: algorithms, build sides, placement, partitions, dynamic filters, EXPLAIN."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest

from planner import types
from planner.algorithms import plan_physical
from planner.dynamic_filters import plan_filters, trace
from planner.exchange import ensure_distribution
from planner.explain import explain_logical, explain_query
from planner.expr import AggregateCall, Comparison, Literal, SortKey, column, new_field
from planner.logical import (
    Aggregate,
    AggregateItem,
    CommonSubplan,
    Filter,
    Item,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    Sort,
    Union,
    numbered,
)
from planner.physical import (
    AggregateExec,
    AggregateMode,
    Broadcast,
    ExchangeExec,
    HashJoinExec,
    HashPartitioned,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    RangePartitioned,
    ScanExec,
    Single,
    SortExec,
)
from planner.physical_planner import PhysicalContext, plan_query
from planner.placement import LEGAL
from planner.statistics import Estimator
from planner.tree import walk
from planner.working_set import choose_partitions, working_set
from tests.planner.known_tables import scan, tpch
from tests.planner.test_statistics import equal, field, joined


def context(**options: object) -> PhysicalContext:
    return replace(PhysicalContext(Estimator()), **options)


def physical(plan: LogicalPlan) -> PhysicalPlan:
    return plan_physical(plan, context())


def spread(plan: LogicalPlan, partitions: int = 4, forced: bool = False, **options: object) -> PhysicalPlan:
    ctx = context(**options)
    return ensure_distribution(plan_physical(plan, ctx), partitions, ctx, forced).plan


def nodes(plan: PhysicalPlan, kind: type) -> list:
    return [n for n in walk(plan) if isinstance(n, kind)]


def targets(plan: PhysicalPlan) -> list[object]:
    return [n.target for n in nodes(plan, ExchangeExec)]


def total(plan: LogicalPlan, name: str, function: str = "sum", distinct: bool = False) -> AggregateItem:
    call = AggregateCall(function, (field(plan, name),), types.decimal(38, 2), distinct)
    return AggregateItem(new_field("total", call.dtype), call)


# ------------------------------------------------------------------------------------------------- algorithms


def test_equalities_become_keys_and_the_rest_is_residual() -> None:
    orders, lineitem = scan("orders", "o_orderkey", "o_orderdate"), scan("lineitem", "l_orderkey", "l_shipdate")
    late = Comparison("<", field(orders, "o_orderdate"), field(lineitem, "l_shipdate"))
    safe = Comparison("is not distinct from", field(lineitem, "l_shipdate"), field(orders, "o_orderdate"))
    plan = physical(
        Join(
            JoinKind.INNER,
            orders,
            lineitem,
            (equal(field(lineitem, "l_orderkey"), field(orders, "o_orderkey")), safe, late),
        )
    )
    assert isinstance(plan, HashJoinExec)
    assert [(k.left, k.right, k.null_safe) for k in plan.keys] == [
        (field(orders, "o_orderkey"), field(lineitem, "l_orderkey"), False),
        (field(orders, "o_orderdate"), field(lineitem, "l_shipdate"), True),
    ]
    assert plan.residual == (late,)
    assert plan.build == "left"  # the smaller one
    assert plan.bounds[field(orders, "o_orderkey").id] == (1, 6_000_000)


def test_without_an_equality_every_pair_is_tested() -> None:
    a, b = scan("nation", "n_nationkey"), scan("region", "r_regionkey")
    less = Comparison("<", field(a, "n_nationkey"), field(b, "r_regionkey"))
    plan = physical(Join(JoinKind.LEFT, a, b, (less,)))
    assert isinstance(plan, NestedLoopJoinExec)
    assert plan.condition == (less,)


def test_in_with_nulls_is_a_hash_join_with_a_comparison() -> None:
    a, b = scan("nation", "n_nationkey"), scan("region", "r_regionkey")
    same = equal(field(a, "n_nationkey"), field(b, "r_regionkey"))
    mark = new_field("mark", types.BOOLEAN)
    plan = physical(Join(JoinKind.MARK, a, b, (), same, mark))
    assert isinstance(plan, HashJoinExec)
    assert (plan.keys, plan.comparison, plan.mark, plan.build) == ((), same, mark, "right")
    less = Comparison("<", field(a, "n_nationkey"), field(b, "r_regionkey"))
    assert isinstance(physical(Join(JoinKind.MARK, a, b, (), less, mark)), NestedLoopJoinExec)


def test_aggregates_carry_what_proves_their_sums() -> None:
    lineitem = scan("lineitem", "l_quantity", "l_returnflag")
    item = total(lineitem, "l_quantity")
    plan = physical(Aggregate(lineitem, (field(lineitem, "l_returnflag"),), (item,)))
    assert isinstance(plan, AggregateExec)
    assert plan.max_rows == 6_001_215
    assert plan.bounds[field(lineitem, "l_quantity").id] == (Decimal("1.00"), Decimal("50.00"))
    assert plan.output_bounds[item.field.id] == (0, Decimal("300060750.00"))


def test_shared_subplans_stay_one_node() -> None:
    nation = scan("nation", "n_nationkey")
    common = CommonSubplan(nation, "cte")

    def read() -> Project:
        return Project(common, tuple(Item(new_field(f.name, f.dtype), column(f)) for f in common.schema))

    plan = physical(Join(JoinKind.INNER, read(), read()))
    assert len(nodes(plan, MaterializeExec)) == 1


# -------------------------------------------------------------------------------------------------- placement


def test_small_build_sides_are_broadcast() -> None:
    lineitem, supplier = scan("lineitem"), scan("supplier", "s_suppkey")
    plan = spread(joined(JoinKind.INNER, lineitem, supplier, ("l_suppkey", "s_suppkey")))
    assert targets(plan) == [Broadcast()]
    join = nodes(plan, HashJoinExec)[0]
    assert isinstance(join.right, ExchangeExec)
    assert join.build == "right"


def test_large_sides_are_shuffled_by_their_keys() -> None:
    lineitem, orders = scan("lineitem"), scan("orders")
    plan = spread(joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey")), broadcast_limit=1)
    assert targets(plan) == [
        HashPartitioned((field(lineitem, "l_orderkey"),), 4),
        HashPartitioned((field(orders, "o_orderkey"),), 4),
    ]


def test_a_shuffle_is_used_again() -> None:
    """orders ⋈ lineitem by order key, grouped by it, joined by it once more: two exchanges and one for the third."""
    lineitem, orders = scan("lineitem"), scan("orders", "o_orderkey")
    first = joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey"))
    grouped = Aggregate(first, (field(orders, "o_orderkey"),), (total(lineitem, "l_quantity"),))
    again = scan("orders", "o_orderkey", "o_totalprice")
    plan = joined(JoinKind.INNER, grouped, again, ("o_orderkey", "o_orderkey"))
    assert len(targets(spread(plan, broadcast_limit=1))) == 3


def test_a_grouping_by_more_than_the_partitioning_stays_in_place() -> None:
    lineitem, orders = scan("lineitem"), scan("orders")
    first = joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey"))
    keys = (field(orders, "o_orderdate"), field(lineitem, "l_orderkey"))
    plan = spread(Aggregate(first, keys), broadcast_limit=1)
    assert len(targets(plan)) == 2


@pytest.mark.parametrize("kind", [k for k in JoinKind if k is not JoinKind.MARK])
def test_only_legal_sides_are_broadcast(kind: JoinKind) -> None:
    big, small = scan("lineitem", "l_suppkey"), scan("supplier", "s_suppkey")
    for left, right, names in (
        (big, small, ("l_suppkey", "s_suppkey")),
        (small, big, ("s_suppkey", "l_suppkey")),
    ):
        plan = spread(joined(kind, left, right, names), forced=True)
        join = nodes(plan, HashJoinExec)[0]
        for side, legal in ((join.left, LEGAL[kind].broadcast_left), (join.right, LEGAL[kind].broadcast_right)):
            copied = isinstance(side, ExchangeExec) and isinstance(side.target, Broadcast)
            assert legal or not copied


def test_full_joins_without_a_key_are_gathered() -> None:
    a, b = scan("lineitem", "l_suppkey"), scan("orders", "o_custkey")
    less = Comparison("<", field(a, "l_suppkey"), field(b, "o_custkey"))
    assert targets(spread(Join(JoinKind.FULL, a, b, (less,)))) == [Single(), Single()]


def test_in_with_nulls_needs_all_of_the_right_side() -> None:
    big, other = scan("lineitem", "l_suppkey"), scan("orders", "o_custkey")
    same = equal(field(big, "l_suppkey"), field(other, "o_custkey"))
    plan = Join(JoinKind.MARK, big, other, (), same, new_field("mark", types.BOOLEAN))
    assert targets(spread(plan, broadcast_limit=1)) == [Broadcast()]


def test_few_groups_are_merged_in_one_place_and_many_by_key() -> None:
    lineitem = scan("lineitem")
    flags = Aggregate(lineitem, (field(lineitem, "l_returnflag"),), (total(lineitem, "l_quantity"),))
    plan = spread(flags)
    assert targets(plan) == [Single()]
    assert [n.mode for n in nodes(plan, AggregateExec)] == [AggregateMode.FINAL, AggregateMode.PARTIAL]
    parts = Aggregate(lineitem, (field(lineitem, "l_orderkey"),), (total(lineitem, "l_quantity"),))
    assert targets(spread(parts)) == [HashPartitioned((field(lineitem, "l_orderkey"),), 4)]


def test_states_have_the_bounds_of_their_results() -> None:
    lineitem = scan("lineitem")
    item = total(lineitem, "l_quantity")
    final, partial = nodes(spread(Aggregate(lineitem, (), (item,))), AggregateExec)
    assert list(final.output_bounds.values()) == list(partial.output_bounds.values())
    assert list(final.output_bounds.values()) == [(0, Decimal("300060750.00"))]


def test_what_does_not_split_moves_its_rows() -> None:
    lineitem = scan("lineitem")
    counted = AggregateItem(
        new_field("n", types.BIGINT), AggregateCall("count", (field(lineitem, "l_partkey"),), types.BIGINT, True)
    )
    plan = spread(Aggregate(lineitem, (field(lineitem, "l_returnflag"),), (counted,)))
    assert targets(plan) == [HashPartitioned((field(lineitem, "l_returnflag"),), 4)]
    assert targets(spread(Aggregate(lineitem, (), (counted,)))) == [Single()]


def test_top_n_and_limit_cut_each_part_first() -> None:
    lineitem = scan("lineitem")
    ordered = spread(Sort(lineitem, (SortKey(field(lineitem, "l_orderkey")),), 10, 5))
    assert [(n.limit, n.offset) for n in nodes(ordered, SortExec)] == [(10, 5), (15, 0)]
    assert targets(ordered) == [Single()]
    assert targets(spread(Limit(lineitem, 3, 1))) == [Single()]


def test_much_is_sorted_in_ranges_and_little_in_one_place() -> None:
    lineitem = scan("lineitem", "l_orderkey", "l_returnflag")
    by = SortKey(field(lineitem, "l_returnflag"), descending=True)
    plan = spread(Sort(lineitem, (by,)))
    assert targets(plan) == [RangePartitioned((by,), 4)]
    (moved,) = nodes(plan, ExchangeExec)
    assert isinstance(moved.input, MaterializeExec), "a sample of the rows is taken first"
    groups = Aggregate(lineitem, (field(lineitem, "l_returnflag"),))
    assert targets(spread(Sort(groups, (by,)))) == [Single()]
    assert targets(spread(Sort(lineitem, (by,), offset=5))) == [Single()]


def test_windows_need_their_partitions_together() -> None:
    lineitem = scan("lineitem")
    by_part, _ = numbered(lineitem, (field(lineitem, "l_partkey"),), (), "rn")
    assert targets(spread(by_part)) == [HashPartitioned((field(lineitem, "l_partkey"),), 4)]
    assert targets(spread(numbered(lineitem, (), (), "rn")[0])) == [Single()]


def test_a_union_of_small_and_large_is_spread() -> None:
    a, b = scan("lineitem", "l_orderkey"), scan("supplier", "s_suppkey")
    plan = spread(Union((a, b), (new_field("k", types.BIGINT),)))
    assert len(targets(plan)) == 1
    assert targets(spread(Union((b, b), (new_field("k", types.BIGINT),)))) == []


def test_one_partition_needs_no_exchange() -> None:
    lineitem, orders = scan("lineitem"), scan("orders")
    ctx = context()
    plan = plan_physical(joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey")), ctx)
    assert ensure_distribution(plan, 1, ctx).plan is plan


# --------------------------------------------------------------------------------------------------- partitions


def test_partitions_follow_the_memory_limit() -> None:
    lineitem, orders = scan("lineitem"), scan("orders")
    ctx = context()
    plan = plan_physical(joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey")), ctx)
    held = working_set(plan, ctx.estimates)
    assert choose_partitions(plan, ctx.estimates, int(held * 4)) == 1
    assert choose_partitions(plan, ctx.estimates, int(held / 2)) > 2
    assert held > 1_500_000 * 100


def test_a_scan_holds_nothing() -> None:
    ctx = context()
    assert working_set(plan_physical(scan("lineitem"), ctx), ctx.estimates) == 0.0


# ---------------------------------------------------------------------------------------------- dynamic filters


def rare_parts() -> tuple[LogicalPlan, LogicalPlan]:
    part = scan("part", "p_partkey", "p_type", "p_brand")
    few = Filter(
        part,
        Comparison("=", field(part, "p_type"), Literal("PROMO BRUSHED TIN", types.VARCHAR)),
    )
    return scan("lineitem", "l_partkey", "l_quantity"), few


def filters(plan: LogicalPlan) -> list[tuple[str, str]]:
    ctx = context()
    found = plan_filters(plan_physical(plan, ctx), {}, ctx).filters
    return [(f.source_column.name, f.column.name) for f in found]


def test_few_keys_filter_a_large_scan() -> None:
    lineitem, few = rare_parts()
    plan = joined(JoinKind.INNER, lineitem, few, ("l_partkey", "p_partkey"))
    assert filters(plan) == [("p_partkey", "l_partkey")]
    query = plan_query(plan, context(partitions=2))
    assert [s.tasks for s in query.graph.stages] == [2, 2]
    found = query.graph.filters[0]
    assert (found.source, found.target) == (0, 1)
    assert any(n is found.scan for n in walk(query.graph.stages[1].plan))


def test_many_keys_do_not() -> None:
    lineitem, orders = scan("lineitem", "l_orderkey"), scan("orders", "o_orderkey")
    assert filters(joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey"))) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (JoinKind.INNER, True),
        (JoinKind.SEMI, True),
        (JoinKind.RIGHT, True),
        (JoinKind.LEFT, False),
        (JoinKind.ANTI, False),
        (JoinKind.FULL, False),
    ],
)
def test_only_rows_that_must_match_are_filtered(kind: JoinKind, expected: bool) -> None:
    lineitem, few = rare_parts()
    assert bool(filters(joined(kind, lineitem, few, ("l_partkey", "p_partkey")))) is expected


def test_the_right_side_of_an_outer_join_is_filtered_by_the_left() -> None:
    lineitem, few = rare_parts()
    assert filters(joined(JoinKind.LEFT, few, lineitem, ("p_partkey", "l_partkey")))


def test_filters_pass_group_keys_and_no_limits() -> None:
    lineitem, few = rare_parts()
    grouped = Aggregate(lineitem, (field(lineitem, "l_partkey"),), (total(lineitem, "l_quantity"),))
    assert filters(joined(JoinKind.INNER, grouped, few, ("l_partkey", "p_partkey")))
    lineitem, few = rare_parts()
    assert not filters(joined(JoinKind.INNER, Limit(lineitem, 10**9), few, ("l_partkey", "p_partkey")))


def test_a_scan_with_two_readers_is_not_filtered() -> None:
    lineitem, few = rare_parts()
    one = joined(JoinKind.SEMI, lineitem, few, ("l_partkey", "p_partkey"))
    keys = [new_field("k", types.BIGINT) for _ in range(2)]
    narrow = [Project(p, (Item(k, field(p, "l_partkey")),)) for p, k in zip((one, lineitem), keys, strict=True)]
    assert filters(Union(tuple(narrow), (new_field("u", types.BIGINT),))) == []


def test_columns_are_traced_to_their_scan() -> None:
    lineitem = scan("lineitem", "l_partkey", "l_quantity")
    renamed = new_field("k", types.BIGINT)
    plan = physical(Project(lineitem, (Item(renamed, field(lineitem, "l_partkey")),)))
    found = trace(plan, renamed.id)
    assert found is not None
    assert isinstance(found[0], ScanExec)
    assert found[1].name == "l_partkey"


# ----------------------------------------------------------------------------------------------------- EXPLAIN


class _Actual:
    def __init__(self, rows: int) -> None:
        self.rows, self.bytes, self.seconds = rows, rows * 8, 0.0125


def test_explain_shows_estimates_and_measurements() -> None:
    lineitem, few = rare_parts()
    query = plan_query(joined(JoinKind.INNER, lineitem, few, ("l_partkey", "p_partkey")), context(partitions=2))
    text = explain_query(query)
    assert "6,001,215 rows, cost" in text
    assert "Stage 0: scan part, 2 tasks, broadcast" in text
    assert "l_partkey filtered by p_partkey of stage 0" in text
    assert text.splitlines()[-1].startswith("Total cost")
    measured = {id(n): _Actual(3_000_000) for s in query.graph.stages for n in _scans(s.plan)}
    assert "actual 3,000,000 (×0.5), 12.5 ms, 24.0MB" in explain_query(query, measured)


def _scans(plan: PhysicalPlan) -> Iterable[PhysicalPlan]:
    return (n for n in walk(plan) if isinstance(n, ScanExec) and n.table.name == "lineitem")


def test_explain_of_logical_plans() -> None:
    plan = scan("nation", "n_name")
    assert explain_logical(plan, Estimator()).endswith("(25 rows)")


def test_tables_split_by_their_parts() -> None:
    assert len(tpch("lineitem").splits()) == 49
