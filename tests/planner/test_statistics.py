"""Estimates against TPC-H's true numbers, and proofs against what plans really give."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from planner import types
from planner.bounds import aggregate_bounds, bounds, fits
from planner.catalog import ColumnStatistics, TableStatistics
from planner.expr import (
    AggregateCall,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    Comparison,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
    column,
    conjunction,
    new_field,
    null,
)
from planner.logical import (
    Aggregate,
    AggregateItem,
    DependentJoin,
    Filter,
    Item,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Union,
    Values,
    numbered,
    passthrough,
    pretty,
)
from planner.selectivity import like_selectivity, selectivity
from planner.statistics import Estimator
from planner.tree import walk
from tests.planner.interpreter import TooManyRows, evaluate
from tests.planner.known_tables import MONEY, RowsTable, scan
from tests.planner.random_plans import Generator


def field(plan: LogicalPlan, name: str) -> Column:
    return column(next(f for f in plan.schema if f.name == name))


def literal(value: object, dtype: pa.DataType = types.BIGINT) -> Literal:
    return Literal(value, dtype)


def money(text: str) -> Literal:
    return Literal(Decimal(text), MONEY)


def equal(a: Expr, b: Expr) -> Expr:
    return Comparison("=", a, b)


def joined(kind: JoinKind, left: LogicalPlan, right: LogicalPlan, *names: tuple[str, str]) -> Join:
    return Join(kind, left, right, tuple(equal(field(left, a), field(right, b)) for a, b in names))


# ---------------------------------------------------------------------------------------------- selectivity


def test_leaf_statistics_are_the_tables() -> None:
    lineitem = scan("lineitem", "l_orderkey", "l_quantity")
    found = Estimator().statistics(lineitem)
    assert found.rows == 6_001_215
    assert found.exact
    assert found.columns[lineitem.fields[0].id].ndv == 1_500_000


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda p: equal(field(p, "l_returnflag"), literal("R", types.VARCHAR)), 1_478_870),
        (lambda p: Comparison("<", field(p, "l_quantity"), money("24.00")), 2_759_000),
        (
            lambda p: conjunction(
                [
                    Comparison(">=", field(p, "l_discount"), money("0.05")),
                    Comparison("<=", field(p, "l_discount"), money("0.07")),
                ]
            ),
            1_637_000,
        ),
        (
            lambda p: conjunction(
                [
                    Comparison(">=", field(p, "l_shipdate"), literal(date(1994, 1, 1), types.DATE)),
                    Comparison("<", field(p, "l_shipdate"), literal(date(1995, 1, 1), types.DATE)),
                ]
            ),
            909_455,
        ),
        (lambda p: Comparison(">", field(p, "l_receiptdate"), field(p, "l_commitdate")), 3_793_296),
        (
            lambda p: InList(field(p, "l_shipmode"), (literal("MAIL", types.VARCHAR), literal("SHIP", types.VARCHAR))),
            1_716_000,
        ),
        (lambda p: Not(equal(field(p, "l_returnflag"), literal("R", types.VARCHAR))), 4_522_345),
    ],
)
def test_filters_on_lineitem_are_within_a_half(build, expected) -> None:
    plan = scan("lineitem")
    rows = Estimator().rows(Filter(plan, build(plan)))
    assert rows is not None
    assert expected / 1.5 <= rows <= expected * 1.5


def test_a_constant_beyond_the_bounds_proves_that_nothing_passes() -> None:
    plan = scan("orders", "o_orderkey", "o_orderdate")
    key, day = field(plan, "o_orderkey"), field(plan, "o_orderdate")
    for predicate in (
        equal(key, literal(-5)),
        Comparison(">", day, literal(date(2020, 1, 1), types.DATE)),
        InList(key, (literal(-1), literal(7_000_000))),
        IsNull(key),
    ):
        assert Estimator().rows(Filter(plan, predicate)) == 0.0
    assert Estimator().rows(Filter(plan, equal(key, literal(5)))) == 1.0


def test_unknown_rows_stay_unknown() -> None:
    table = RowsTable("t", pa.schema([("a", types.BIGINT)]), ())
    unknown = Scan(_Nothing(table.schema), (new_field("a", types.BIGINT),))
    estimator = Estimator()
    assert estimator.rows(Filter(unknown, equal(column(unknown.fields[0]), literal(1)))) is None
    assert estimator.rows_or(unknown, 7.0) == 7.0
    assert estimator.bytes(unknown) is None
    assert estimator.rows(Limit(unknown, 10)) == 10


class _Nothing:
    """A table that knows only its schema."""

    name = "nothing"

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def statistics(self, columns):
        return TableStatistics()

    def splits(self):
        return ()


def test_alternatives_on_one_column_add_up_and_conjuncts_back_off() -> None:
    a, b = new_field("a", types.BIGINT), new_field("b", types.BIGINT)
    known = {f.id: ColumnStatistics(0, 99, 0, 100.0) for f in (a, b)}
    one = equal(column(a), literal(1))
    assert selectivity([one], known, 1000) == pytest.approx(0.01)
    assert selectivity([Or((one, equal(column(a), literal(2))))], known, 1000) == pytest.approx(0.02)
    both = [one, equal(column(b), literal(1)), Comparison("<>", column(a), column(b))]
    assert selectivity(both, known, 1000) > 0.01 * 0.01 * 0.9
    assert selectivity([Comparison("<", column(a), column(b))], known, 1000) == pytest.approx(0.5, abs=0.05)


def test_the_more_a_pattern_asks_the_fewer_rows_match() -> None:
    patterns = ["%", "%a%", "%green%", "%special%requests%"]
    shares = [like_selectivity(p) for p in patterns]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0


# ------------------------------------------------------------------------------------------- joins and groups


def test_foreign_key_joins_keep_the_referring_rows() -> None:
    lineitem, orders = scan("lineitem", "l_orderkey"), scan("orders", "o_orderkey")
    assert Estimator().rows(joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey"))) == (
        pytest.approx(6_001_215)
    )


def test_a_composite_key_is_not_two_independent_keys() -> None:
    lineitem = scan("lineitem", "l_partkey", "l_suppkey")
    partsupp = scan("partsupp", "ps_partkey", "ps_suppkey")
    both = joined(JoinKind.INNER, lineitem, partsupp, ("l_partkey", "ps_partkey"), ("l_suppkey", "ps_suppkey"))
    assert Estimator().rows(both) == pytest.approx(6_001_215, rel=0.1)


def test_the_order_of_joins_does_not_change_the_estimate() -> None:
    estimator = Estimator()

    def tables() -> tuple[Scan, Scan, LogicalPlan]:
        part = scan("part", "p_partkey", "p_size")
        small = Filter(part, equal(field(part, "p_size"), literal(15, types.INTEGER)))
        return scan("lineitem", "l_orderkey", "l_partkey"), scan("orders", "o_orderkey"), small

    lineitem, orders, part = tables()
    first = joined(
        JoinKind.INNER,
        joined(JoinKind.INNER, lineitem, orders, ("l_orderkey", "o_orderkey")),
        part,
        ("l_partkey", "p_partkey"),
    )
    lineitem, orders, part = tables()
    second = joined(
        JoinKind.INNER,
        joined(JoinKind.INNER, lineitem, part, ("l_partkey", "p_partkey")),
        orders,
        ("l_orderkey", "o_orderkey"),
    )
    assert estimator.rows(first) == pytest.approx(estimator.rows(second), rel=0.01)


def test_semi_and_anti_joins_share_the_left_side_out() -> None:
    estimator = Estimator()
    customer, orders = scan("customer", "c_custkey"), scan("orders", "o_custkey")
    semi = joined(JoinKind.SEMI, customer, orders, ("c_custkey", "o_custkey"))
    anti = joined(JoinKind.ANTI, customer, orders, ("c_custkey", "o_custkey"))
    assert estimator.rows(semi) == pytest.approx(99_996, rel=0.01)
    assert estimator.rows(anti) == pytest.approx(50_004, rel=0.01)


def test_outer_joins_keep_their_side() -> None:
    customer = scan("customer", "c_custkey")
    region = scan("region", "r_regionkey")
    for kind, least in ((JoinKind.LEFT, 150_000), (JoinKind.FULL, 150_000), (JoinKind.RIGHT, 5)):
        plan = Join(kind, customer, region, (equal(field(customer, "c_custkey"), _as_key(region)),))
        assert (Estimator().rows(plan) or 0) >= least


def _as_key(region: Scan) -> Expr:
    return Cast(field(region, "r_regionkey"), types.BIGINT)


def test_groups_are_counted_by_their_keys() -> None:
    lineitem = scan("lineitem", "l_returnflag", "l_linestatus", "l_orderkey")
    keys = (field(lineitem, "l_returnflag"), field(lineitem, "l_linestatus"))
    assert Estimator().rows(Aggregate(lineitem, keys)) == pytest.approx(6)
    assert Estimator().rows(Aggregate(lineitem, (field(lineitem, "l_orderkey"),))) == pytest.approx(1_500_000)
    assert Estimator().rows(Aggregate(lineitem, ())) == 1.0


def test_a_having_beyond_likely_sums_is_rare_but_not_impossible() -> None:
    lineitem = scan("lineitem", "l_orderkey", "l_quantity")
    total = AggregateItem(
        new_field("total", types.decimal(38, 2)),
        AggregateCall("sum", (field(lineitem, "l_quantity"),), types.decimal(38, 2)),
    )
    groups = Aggregate(lineitem, (field(lineitem, "l_orderkey"),), (total,))
    many = Filter(groups, Comparison(">", column(total.field), literal(Decimal("300.00"), types.decimal(38, 2))))
    rows = Estimator().rows(many)
    assert rows is not None
    assert 1 <= rows <= 15_000
    assert Estimator().bounds(groups)[total.field.id] == (0, Decimal("300060750.00"))


def test_widths_are_arrows() -> None:
    estimator = Estimator()
    lineitem = scan("lineitem", "l_orderkey", "l_quantity", "l_shipdate")
    assert estimator.width(lineitem) == 8 + 16 + 4
    assert estimator.bytes(lineitem) == 6_001_215 * 28


# --------------------------------------------------------------------------------------------------- proofs


def test_keys_of_aggregates_joins_and_limits() -> None:
    estimator = Estimator()
    customer, orders = scan("customer", "c_custkey"), scan("orders", "o_orderkey", "o_custkey")
    grouped = Aggregate(orders, (field(orders, "o_custkey"),))
    key = field(grouped, "o_custkey").id
    assert estimator.unique_keys(grouped) == {frozenset({key})}
    kept = joined(JoinKind.LEFT, customer, grouped, ("c_custkey", "o_custkey"))
    assert estimator.max_rows(kept) == 150_000
    assert estimator.unique_keys(Aggregate(orders, ())) == {frozenset()}
    assert estimator.unique_keys(Limit(orders, 1)) == {frozenset()}
    rows, number = numbered(orders, (field(orders, "o_custkey"),), (), "rn")
    assert frozenset({field(orders, "o_custkey").id, number.id}) in estimator.unique_keys(rows)
    assert estimator.unique_keys(Union((orders, orders), orders.fields)) == frozenset()


def test_projections_rename_keys_and_drop_them() -> None:
    estimator = Estimator()
    orders = scan("orders", "o_custkey", "o_orderdate")
    grouped = Aggregate(orders, (field(orders, "o_custkey"),))
    renamed = new_field("k", types.BIGINT)
    assert estimator.unique_keys(Project(grouped, (Item(renamed, column(grouped.schema.fields[0])),))) == {
        frozenset({renamed.id})
    }
    constant = Project(grouped, (Item(new_field("one", types.BIGINT), literal(1)),))
    assert estimator.unique_keys(constant) == frozenset()


def test_filters_narrow_bounds() -> None:
    orders = scan("orders", "o_orderkey")
    key = field(orders, "o_orderkey")
    plan = Filter(orders, conjunction([Comparison(">", key, literal(10)), Comparison("<=", key, literal(20))]))
    assert Estimator().bounds(plan)[key.id] == (10, 20)
    assert Estimator().bounds(Filter(orders, equal(key, literal(7))))[key.id] == (7, 7)


def _price_times_discount(lineitem: Scan) -> Expr:
    one = Literal(Decimal(1), types.decimal(1, 0))
    less = Arithmetic("-", one, field(lineitem, "l_discount"), types.decimal(16, 2))
    return Arithmetic("*", field(lineitem, "l_extendedprice"), less, types.decimal(31, 4))


def test_bounds_of_tpch_q1_prove_that_64_bits_suffice() -> None:
    lineitem = scan("lineitem", "l_extendedprice", "l_discount")
    known = Estimator().bounds(lineitem)
    value = _price_times_discount(lineitem)
    assert bounds(value, known) == (Decimal("810.9000"), Decimal("104949.5000"))
    assert fits(bounds(value, known), scale=4)
    total = AggregateCall("sum", (value,), types.decimal(38, 4))
    assert fits(aggregate_bounds(total, known, 6_001_215), scale=4)
    assert not fits(aggregate_bounds(total, known, 10**12), scale=4)
    assert not fits(bounds(value, {}), scale=4)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (Arithmetic("+", Literal(2**62, types.BIGINT), Literal(2**62, types.BIGINT), types.BIGINT), 2**63),
        (Arithmetic("*", Literal(-3, types.BIGINT), Literal(5, types.BIGINT), types.BIGINT), -15),
        (Arithmetic("-", Literal(-3, types.BIGINT), Literal(5, types.BIGINT), types.BIGINT), -8),
        (Cast(Literal(Decimal("1.5"), types.decimal(2, 1)), types.INTEGER), (1, 2)),
        (Case(((Literal(True, types.BOOLEAN), literal(1)),), null(types.BIGINT)), 1),
        (Call("coalesce", (literal(4), literal(9)), types.BIGINT), (4, 9)),
        (Call("month", (Literal(date(2020, 5, 1), types.DATE),), types.BIGINT), (1, 12)),
        (Call("year", (Literal(date(2020, 5, 1), types.DATE),), types.BIGINT), 2020),
        (Cast(Literal("x", types.VARCHAR), types.TINYINT), (-128, 127)),
    ],
)
def test_bounds_of_expressions(expr: Expr, expected: object) -> None:
    assert bounds(expr, {}) == (expected if isinstance(expected, tuple) else (expected, expected))


def test_bounds_of_long_decimals_do_not_round() -> None:
    big = Decimal("9" * 38)
    value = Literal(big, types.decimal(38, 0))
    product = Arithmetic("*", value, value, types.decimal(38, 0))
    assert bounds(product, {}) == (int(big) ** 2, int(big) ** 2)
    assert bounds(Call("negate", (value,), types.decimal(38, 0)), {}) == (-int(big), -int(big))


def test_floats_have_no_bounds() -> None:
    assert bounds(Literal(1.0, types.DOUBLE), {}) is None
    division = Arithmetic("/", literal(1), literal(2), types.DOUBLE)
    assert bounds(division, {}) is None


def test_values_are_exact() -> None:
    fields = (new_field("a", types.BIGINT), new_field("b", types.VARCHAR))
    plan = Values(fields, tuple((literal(i), literal("x", types.VARCHAR)) for i in (3, 1, 2)))
    found = Estimator().statistics(plan)
    assert (found.rows, found.exact) == (3.0, True)
    assert found.columns[fields[0].id] == ColumnStatistics(1, 3, 0, 3.0, None, True, True)
    assert found.columns[fields[1].id].ndv == 1.0


def random_plan(seed: int) -> LogicalPlan:
    """A plan without correlation over small tables that tell their true statistics."""
    rng = random.Random(seed)
    generator = Generator(rng)
    generator.tables = [RowsTable(t.name, t.schema, t.rows) for t in generator.tables]
    plan = generator.plan(rng.choice((2, 3, 4)), ())
    for _ in range(rng.choice((0, 1, 2, 3))):
        other = generator.plan(rng.choice((0, 0, 1)), ())
        plan = generator.join(plan, other, ()) if rng.random() < 0.7 else generator.join(other, plan, ())
        if rng.random() < 0.3:
            plan = Filter(plan, generator.predicate(generator.ints(plan), ()))
    return generator.wrap(plan, ())


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_what_is_proved_holds(first: int) -> None:
    for seed in range(first, first + 100):
        plan = random_plan(seed)
        if any(isinstance(n, DependentJoin) for n in walk(plan)):
            continue
        estimator = Estimator()
        for node in walk(plan):
            try:
                rows = evaluate(node, {})
            except TooManyRows:
                continue
            _check(node, rows, estimator)


def _check(node: LogicalPlan, rows: list[dict], estimator: Estimator) -> None:
    shown = pretty(node)
    most, found = estimator.max_rows(node), estimator.statistics(node)
    assert most is None or len(rows) <= most, shown
    assert not found.exact or found.rows == len(rows), shown
    assert found.rows != 0.0 or not rows, shown
    for id, (low, high) in estimator.bounds(node).items():
        assert all(r[id] is None or low <= r[id] <= high for r in rows), shown
    for item in node.schema:
        known = found.columns.get(item.id, ColumnStatistics())
        values = [r[item.id] for r in rows if r[item.id] is not None]
        assert not known.unique or len(values) == len(set(values)), shown
        assert known.null_count != 0 or len(values) == len(rows), shown
        if known.exact and values:
            assert (min(values), max(values)) == (known.min, known.max), shown
    for key in estimator.unique_keys(node):
        values = [tuple(r[c] for c in sorted(key)) for r in rows]
        assert len(values) == len(set(values)), shown


def test_passthrough_keeps_statistics() -> None:
    orders = scan("orders", "o_orderkey")
    estimator = Estimator()
    plan = Project(orders, passthrough(orders.fields))
    assert estimator.statistics(plan).columns == estimator.statistics(orders).columns
