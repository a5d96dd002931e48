"""Join ordering: the same rows in every order, the orders that TPC-H wants, and the search itself."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from datetime import date

import pyarrow as pa
import pytest

from planner import types
from planner.catalog import ColumnStatistics, TableStatistics
from planner.expr import (
    AggregateCall,
    Arithmetic,
    Call,
    Comparison,
    Expr,
    IsNull,
    Literal,
    column,
    columns_of,
    conjunction,
    new_field,
)
from planner.logical import (
    Aggregate,
    AggregateItem,
    CommonSubplan,
    DependentJoin,
    Filter,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Scan,
    Union,
    Values,
    pretty,
)
from planner.optimizer.context import OptimizerContext
from planner.optimizer.join_order import reorder_joins
from planner.optimizer.join_order.dpccp import TooManyPairs, csg_cmp_pairs
from planner.optimizer.join_order.query_graph import bits, build_graph, components
from planner.optimizer.join_order.region import take_apart
from planner.optimizer.join_order.search import Search
from planner.optimizer.verify import Verifier
from planner.statistics import Estimator
from planner.tree import walk
from tests.planner.interpreter import TooManyRows, run
from tests.planner.known_tables import StatisticsTable, scan
from tests.planner.test_statistics import equal, field, joined, random_plan


def reordered(plan: LogicalPlan) -> LogicalPlan:
    result = reorder_joins(plan, OptimizerContext(Estimator()))
    Verifier().check(result)
    return result


def shape(plan: LogicalPlan) -> object:
    """Names of tables, nested as they are joined."""
    match plan:
        case Scan(table):
            return table.name
        case Join(kind, left, right):
            name = () if kind is JoinKind.INNER else (str(kind),)
            return (shape(left), shape(right), *name)
        case _:
            return shape(plan.children()[0])


def inner(*relations: LogicalPlan, on: list[Expr]) -> LogicalPlan:
    """A Cartesian product with a filter above, as FROM a, b, c WHERE … is bound."""
    plan = relations[0]
    for relation in relations[1:]:
        plan = Join(JoinKind.INNER, plan, relation)
    return Filter(plan, conjunction(on))


def text(value: str) -> Literal:
    return Literal(value, types.VARCHAR)


# ------------------------------------------------------------------------------------------------- correctness


@pytest.mark.parametrize("first", range(0, 750, 150))
def test_reordering_changes_no_result(first: int) -> None:
    for seed in range(first, first + 150):
        plan = random_plan(seed)
        if any(isinstance(n, DependentJoin) for n in walk(plan)):
            continue
        try:
            expected = run(plan)
        except TooManyRows:
            continue
        result = reordered(plan)
        assert [f.id for f in result.schema] == [f.id for f in plan.schema]
        assert Counter(run(result)) == Counter(expected), f"{pretty(plan)}\n->\n{pretty(result)}"


# ----------------------------------------------------------------------------------------------------- TPC-H


def test_q3_joins_the_filtered_tables_before_lineitem() -> None:
    customer, orders, lineitem = (
        scan("customer", "c_custkey", "c_mktsegment"),
        scan("orders", "o_orderkey", "o_custkey", "o_orderdate"),
        scan("lineitem", "l_orderkey", "l_shipdate"),
    )
    plan = inner(
        customer,
        orders,
        lineitem,
        on=[
            equal(field(customer, "c_mktsegment"), text("BUILDING")),
            equal(field(customer, "c_custkey"), field(orders, "o_custkey")),
            equal(field(lineitem, "l_orderkey"), field(orders, "o_orderkey")),
            Comparison("<", field(orders, "o_orderdate"), Literal(date(1995, 3, 15), types.DATE)),
        ],
    )
    assert shape(reordered(plan)) == ("lineitem", ("orders", "customer"))


def test_q5_starts_at_the_region_and_joins_two_keys_at_once() -> None:
    names = ("customer", "orders", "lineitem", "supplier", "nation", "region")
    c, o, li, s, n, r = (scan(name) for name in names)
    plan = inner(
        c, o, li, s, n, r,
        on=[
            equal(field(c, "c_custkey"), field(o, "o_custkey")),
            equal(field(li, "l_orderkey"), field(o, "o_orderkey")),
            equal(field(li, "l_suppkey"), field(s, "s_suppkey")),
            equal(field(c, "c_nationkey"), field(s, "s_nationkey")),
            equal(field(s, "s_nationkey"), field(n, "n_nationkey")),
            equal(field(n, "n_regionkey"), field(r, "r_regionkey")),
            equal(field(r, "r_name"), text("ASIA")),
            Comparison(">=", field(o, "o_orderdate"), Literal(date(1994, 1, 1), types.DATE)),
            Comparison("<", field(o, "o_orderdate"), Literal(date(1995, 1, 1), types.DATE)),
        ],
    )  # fmt: skip
    result = reordered(plan)
    assert shape(result) == (
        ("lineitem", ("orders", ("customer", ("nation", "region")))),
        "supplier",
    )
    widest = max((n for n in walk(result) if isinstance(n, Join)), key=lambda j: len(j.condition))
    assert len(widest.condition) == 2


def test_q8_starts_at_the_rare_parts() -> None:
    p, li, o = scan("part"), scan("lineitem"), scan("orders")
    plan = inner(
        o, li, p,
        on=[
            equal(field(p, "p_partkey"), field(li, "l_partkey")),
            equal(field(li, "l_orderkey"), field(o, "o_orderkey")),
            equal(field(p, "p_type"), text("ECONOMY ANODIZED STEEL")),
        ],
    )  # fmt: skip
    assert shape(reordered(plan)) == ("orders", ("lineitem", "part"))


def test_a_selective_semi_join_goes_down_and_a_useless_one_waits() -> None:
    orders, lineitem = scan("orders", "o_orderkey"), scan("lineitem", "l_orderkey", "l_partkey")
    below = joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey"))
    part = scan("part", "p_partkey", "p_size", "p_type")
    rare = Filter(part, equal(field(part, "p_type"), text("PROMO BRUSHED TIN")))
    selective = Join(JoinKind.SEMI, below, rare, (equal(field(lineitem, "l_partkey"), field(part, "p_partkey")),))
    assert shape(reordered(selective)) == ("orders", ("lineitem", "part", "semi"))

    supplier = scan("supplier", "s_suppkey")
    few = Filter(supplier, equal(field(supplier, "s_suppkey"), Literal(7, types.BIGINT)))
    lineitem = scan("lineitem", "l_orderkey", "l_suppkey")
    matching = joined(JoinKind.SEMI, lineitem, scan("orders", "o_orderkey"), ("l_orderkey", "o_orderkey"))
    joins = Join(JoinKind.INNER, matching, few, (equal(field(lineitem, "l_suppkey"), field(supplier, "s_suppkey")),))
    found = reordered(joins)
    assert shape(found) == (("lineitem", "supplier"), "orders", "semi")


def test_an_outer_join_moves_above_a_join_that_filters_its_left_side() -> None:
    customer, orders = scan("customer", "c_custkey", "c_nationkey"), scan("orders", "o_custkey")
    nation = scan("nation", "n_nationkey", "n_name")
    outer = joined(JoinKind.LEFT, customer, orders, ("c_custkey", "o_custkey"))
    one = Filter(nation, equal(field(nation, "n_name"), text("FRANCE")))
    plan = Join(JoinKind.INNER, outer, one, (equal(field(customer, "c_nationkey"), field(nation, "n_nationkey")),))
    assert shape(reordered(plan)) == (("customer", "nation"), "orders", "left")


def test_a_right_join_is_a_left_join_from_the_other_side() -> None:
    customer, orders = scan("customer", "c_custkey", "c_nationkey"), scan("orders", "o_custkey")
    nation = scan("nation", "n_nationkey")
    outer = joined(JoinKind.RIGHT, orders, customer, ("o_custkey", "c_custkey"))
    plan = joined(JoinKind.INNER, outer, nation, ("c_nationkey", "n_nationkey"))
    assert shape(reordered(plan)) == (("customer", "nation"), "orders", "left")


def _parts(nested: object) -> list[object]:
    if not isinstance(nested, tuple):
        return [nested]
    return [nested, *itertools.chain.from_iterable(map(_parts, nested))]


def test_a_condition_on_an_outer_joins_columns_waits_for_it() -> None:
    customer, orders = scan("customer", "c_custkey"), scan("orders", "o_custkey", "o_orderkey")
    nation = scan("nation", "n_nationkey")
    outer = joined(JoinKind.LEFT, customer, orders, ("c_custkey", "o_custkey"))
    plan = Filter(Join(JoinKind.INNER, outer, nation), IsNull(field(orders, "o_orderkey")))
    result = reordered(plan)
    below = next(n for n in walk(result) if isinstance(n, Filter))
    assert isinstance(below.input, Join)
    assert below.input.kind is JoinKind.LEFT


def test_equality_is_transitive() -> None:
    """nation may meet supplier although only customer's key is compared with each of them."""
    c, s, n = scan("customer", "c_nationkey"), scan("supplier", "s_nationkey"), scan("nation", "n_nationkey", "n_name")
    plan = inner(
        c, s, n,
        on=[
            equal(field(c, "c_nationkey"), field(s, "s_nationkey")),
            equal(field(c, "c_nationkey"), field(n, "n_nationkey")),
            equal(field(n, "n_name"), text("PERU")),
        ],
    )  # fmt: skip
    found = _parts(shape(reordered(plan)))
    assert ("supplier", "nation") in found or ("nation", "supplier") in found


def test_products_stay_where_the_query_has_them() -> None:
    c, o, r = scan("customer", "c_custkey"), scan("orders", "o_custkey"), scan("region", "r_regionkey")
    plan = inner(r, c, o, on=[equal(field(c, "c_custkey"), field(o, "o_custkey"))])
    assert shape(reordered(plan)) == (("orders", "customer"), "region")


def test_a_single_row_is_joined_where_it_filters() -> None:
    """A scalar subquery's row meets the relation it is compared with first, as a filter of it."""
    o, li = scan("orders", "o_orderkey", "o_totalprice"), scan("lineitem", "l_orderkey")
    dtype = types.decimal(15, 2)
    source = scan("orders", "o_totalprice")
    least = AggregateItem(new_field("least", dtype), AggregateCall("max", (field(source, "o_totalprice"),), dtype))
    one = Aggregate(source, (), (least,))
    plan = inner(
        li, o, one,
        on=[
            equal(field(li, "l_orderkey"), field(o, "o_orderkey")),
            equal(field(o, "o_totalprice"), column(least.field)),
        ],
    )  # fmt: skip
    assert ("orders", "orders") in _parts(shape(reordered(plan)))


def test_volatile_conditions_are_walls() -> None:
    c, o, n = scan("customer"), scan("orders"), scan("nation")
    chance = Comparison("<", Call("random", (), types.DOUBLE), Literal(0.5, types.DOUBLE))
    plan = Join(JoinKind.INNER, Join(JoinKind.INNER, c, o, (chance,)), n)
    assert reordered(plan) is plan


def test_a_plan_without_joins_is_the_same_object() -> None:
    orders = scan("orders")
    plan = Filter(orders, equal(field(orders, "o_orderkey"), Literal(1, types.BIGINT)))
    assert reordered(plan) is plan


def test_shared_subplans_stay_shared() -> None:
    orders = scan("orders", "o_orderkey", "o_custkey")
    common = CommonSubplan(Aggregate(orders, (field(orders, "o_custkey"),)), "cte")

    def read() -> Project:
        return Project(common, tuple(Item(new_field(f.name, f.dtype), column(f)) for f in common.schema))

    a, b, c = read(), read(), read()
    on = [equal(column(x.schema.fields[0]), column(y.schema.fields[0])) for x, y in ((a, b), (b, c))]
    result = reordered(inner(a, b, c, on=on))
    assert len({id(n) for n in walk(result) if isinstance(n, CommonSubplan)}) == 1


def test_column_order_holds_where_it_is_read_by_position() -> None:
    n, s, c = scan("nation", "n_nationkey"), scan("supplier", "s_nationkey"), scan("customer", "c_nationkey")
    joins = inner(
        c, s, n,
        on=[
            equal(field(c, "c_nationkey"), field(n, "n_nationkey")),
            equal(field(s, "s_nationkey"), field(n, "n_nationkey")),
        ],
    )  # fmt: skip
    other = scan("nation", "n_nationkey", "n_regionkey")
    again = Project(other, tuple(Item(new_field("x", types.INTEGER), column(other.fields[0])) for _ in range(3)))
    plan = Union((joins, again), tuple(new_field("u", types.INTEGER) for _ in range(3)))
    result = reordered(plan)
    assert [f.id for f in result.children()[0].schema] == [f.id for f in joins.schema]


def test_two_columns_of_one_table_in_a_class_are_compared() -> None:
    c, o, n = scan("customer", "c_custkey"), scan("orders", "o_custkey", "o_orderkey"), scan("nation")
    plan = inner(
        c, o, n,
        on=[
            equal(field(c, "c_custkey"), field(o, "o_custkey")),
            equal(field(c, "c_custkey"), field(o, "o_orderkey")),
        ],
    )  # fmt: skip
    wanted = {field(o, "o_custkey").id, field(o, "o_orderkey").id}
    found = [columns_of(e) for x in walk(reordered(plan)) if isinstance(x, Filter) for e in x.expressions()]
    assert wanted in found


# ---------------------------------------------------------------------------------------------------- search


def table(name: str, rows: int) -> Scan:
    known = {
        c: ColumnStatistics(0, rows - 1, 0, float(max(1, rows // d)), 8.0, True)
        for c, d in (("a", 1), ("b", 3), ("c", 10))
    }
    schema = pa.schema([(c, types.BIGINT) for c in known])
    source = StatisticsTable(name, schema, TableStatistics(float(rows), True, known))
    return Scan(source, tuple(new_field(f.name, f.type, False) for f in schema))


def query(size: int, form: str, rng: random.Random) -> LogicalPlan:
    """A query over ``size`` tables whose graph is a chain, a star, a tree, or one equality class."""
    tables = [table(f"t{i}", rng.choice([10, 100, 1_000, 10_000, 1_000_000])) for i in range(size)]
    on: list[Expr] = []
    for i in range(1, size):
        other = {"chain": i - 1, "star": 0, "tree": rng.randrange(i), "class": i - 1}[form]
        name = "a" if form == "class" else "abc"[i % 3]
        on.append(equal(field(tables[other], name), field(tables[i], "a")))
    return inner(*tables, on=on)


def brute_force(search: Search, mask: int) -> float:
    """The least cost over all bushy trees without Cartesian products."""
    memo: dict[int, float] = {}

    def best(part: int) -> float:
        if part & (part - 1) == 0:
            return 0.0
        if part not in memo:
            memo[part] = float("inf")
            left = (part - 1) & part
            while left:
                right = part ^ left
                reached = 0
                for v in bits(left):
                    reached |= search.graph.neighbours[v]
                if left < right and reached & right:
                    cost = best(left) + best(right) + search.step(left, right)
                    memo[part] = min(memo[part], cost)
                left = (left - 1) & part
        return memo[part]

    return best(mask)


@pytest.mark.parametrize("form", ["chain", "star", "tree", "class"])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_dynamic_programming_finds_the_cheapest_tree(form: str, size: int) -> None:
    for seed in range(5):
        region = take_apart(query(size, form, random.Random(seed)))
        search = Search(build_graph(region, region.relations, Estimator()))
        assert search.best().cost == pytest.approx(brute_force(search, (1 << size) - 1))


def test_pairs_are_as_many_as_theory_says() -> None:
    """Moerkotte & Neumann 2006: chains (n³-n)/6, stars (n-1)·2^(n-2), cliques (3^n - 2^(n+1) + 1)/2."""
    n = 7
    chain = [(1 << i - 1 if i else 0) | (1 << i + 1 if i < n - 1 else 0) for i in range(n)]
    star = [((1 << n) - 1) & ~1] + [1] * (n - 1)
    clique = [((1 << n) - 1) & ~(1 << i) for i in range(n)]
    for graph, expected in (
        (chain, (n**3 - n) // 6),
        (star, (n - 1) * 2 ** (n - 2)),
        (clique, (3**n - 2 ** (n + 1) + 1) // 2),
    ):
        pairs = csg_cmp_pairs(graph, (1 << n) - 1, 10_000)
        assert len(pairs) == expected
        assert len({frozenset(p) for p in pairs}) == expected
        assert all(not a & b for a, b in pairs)
    with pytest.raises(TooManyPairs):
        csg_cmp_pairs(clique, (1 << n) - 1, 100)


def test_components_are_what_edges_connect() -> None:
    assert components([0b10, 0b01, 0b1000, 0b0100, 0]) == [0b11, 0b1100, 0b10000]


@pytest.mark.parametrize("form", ["chain", "star", "tree", "class"])
def test_sixty_four_tables_take_well_under_a_second(form: str) -> None:
    plan = query(64, form, random.Random(1))
    started = time.perf_counter()
    result = reordered(plan)
    assert time.perf_counter() - started < 2.0  # a loaded machine; alone it is a fifth of that
    assert sum(isinstance(n, Scan) for n in walk(result)) == 64


def test_products_of_many_tables() -> None:
    rows = [Values((f := new_field("v", types.BIGINT),), ((Literal(i, types.BIGINT),),)) for i in range(40)]
    plan: LogicalPlan = rows[0]
    for other in rows[1:]:
        plan = Join(JoinKind.INNER, plan, other)
    assert run(reordered(plan)) == [tuple(range(40))]
    assert f.name == "v"


def test_expressions_join_too() -> None:
    a, b, c = table("a", 1000), table("b", 1000), table("c", 10)
    plus = Arithmetic("+", field(a, "a"), Literal(1, types.BIGINT), types.BIGINT)
    plan = inner(a, b, c, on=[equal(plus, field(b, "b")), equal(field(b, "c"), field(c, "a"))])
    result = reordered(plan)
    assert all(n.condition for n in walk(result) if isinstance(n, Join))
