"""Decorrelation: random plans against the reference interpreter, and the shapes that matter by hand."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pyarrow as pa
import pytest

from planner import types
from planner.expr import (
    TRUE,
    AggregateCall,
    Arithmetic,
    Comparison,
    Expr,
    Field,
    Literal,
    SortKey,
    column,
    new_field,
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
    Sort,
    Values,
)
from planner.optimizer import decorrelate as module
from planner.optimizer.context import OptimizerContext
from planner.optimizer.decorrelate import decorrelate
from planner.optimizer.verify import Verifier
from planner.rename import copy_with_new_ids
from planner.statistics import Estimator
from planner.tree import walk
from tests.planner.interpreter import ListTable, TooManyRows, run
from tests.planner.random_plans import Generator

SEEDS = 20_000 if os.environ.get("SQLRAY_SLOW") else 400
CONTEXT = OptimizerContext(Estimator())
INT = types.BIGINT


def _check(plan: LogicalPlan) -> LogicalPlan:
    """``plan`` decorrelated, after the checks that every result must pass."""
    new = decorrelate(plan, CONTEXT)
    Verifier().check(new)
    assert not any(isinstance(n, DependentJoin) for n in walk(new))
    assert [(f.id, f.name, f.dtype) for f in new.schema] == [(f.id, f.name, f.dtype) for f in plan.schema]
    assert Counter(run(new)) == Counter(run(plan))
    return new


def _check_seeds(seeds: range) -> None:
    for seed in seeds:
        plan = Generator(random.Random(seed)).query()
        try:
            _check(plan)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def test_random_plans() -> None:
    _check_seeds(range(SEEDS))


def test_random_plans_by_pushing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "join_one_row", lambda node, pull: None)
    monkeypatch.setattr(module, "Pull", lambda outer, reads: lambda plan, need: None)
    _check_seeds(range(SEEDS, 2 * SEEDS))


def test_copies_have_ids_of_their_own() -> None:
    for seed in range(200):
        plan = Generator(random.Random(seed)).query()
        copy, ids = copy_with_new_ids(plan)
        Verifier().check(copy)
        assert not copy.schema.ids & plan.schema.ids
        assert [f.id for f in copy.schema] == [ids[f.id] for f in plan.schema]
        assert Counter(run(copy)) == Counter(run(plan))


# ------------------------------------------------------------------------------------------------- by hand

_ROWS = ((1, 10), (1, 20), (2, 30), (None, 40), (3, None), (3, 5))


def _scan(name: str, rows: tuple[tuple[int | None, ...], ...] = _ROWS) -> tuple[Scan, SimpleNamespace]:
    fields = (new_field("k", INT), new_field("v", INT))
    scan = Scan(ListTable(name, pa.schema([("k", INT), ("v", INT)]), rows), fields)
    return scan, SimpleNamespace(k=column(fields[0]), v=column(fields[1]))


def _int(value: int) -> Literal:
    return Literal(value, INT)


def _kinds(plan: LogicalPlan) -> list[str]:
    """The operators, from the top; joins by their kind."""
    return [n.kind.value if isinstance(n, Join) else type(n).__name__ for n in walk(plan)]


_DOMAIN = ("Project", "Aggregate", "Project", "Scan")


def _correlated(
    op: str = "=",
) -> tuple[Scan, SimpleNamespace, LogicalPlan, SimpleNamespace]:
    left, o = _scan("outer", ((1, 15), (2, 0), (None, 7), (4, 4)))
    right, i = _scan("inner")
    return left, o, Filter(right, Comparison(op, i.k, o.k)), i


def _aggregate(source: LogicalPlan, name: str, *args: Expr) -> tuple[Aggregate, Field]:
    item = AggregateItem(new_field(name, INT), AggregateCall(name, args, INT))
    return Aggregate(source, (), (item,)), item.field


def test_exists_is_one_mark_join() -> None:
    left, _, right, _ = _correlated()
    mark = new_field("exists", types.BOOLEAN, nullable=False)
    plan = _check(DependentJoin(JoinKind.MARK, left, right, mark=mark))
    assert _kinds(plan) == ["mark", "Scan", "Scan"]


def test_exists_ignores_what_is_selected_and_how_often() -> None:
    left, o, right, i = _correlated()
    right = Project(right, (Item(new_field("x", INT), Arithmetic("+", i.k, o.v, INT)),))
    right = Limit(Aggregate(right, (column(right.schema.fields[0]),)), 1)
    mark = new_field("exists", types.BOOLEAN, nullable=False)
    plan = _check(DependentJoin(JoinKind.MARK, left, right, mark=mark))
    assert _kinds(plan) == ["mark", "Scan", "Project", "Scan"]


def test_correlated_in_keeps_comparison_apart() -> None:
    left, o, right, i = _correlated("<")
    mark = new_field("in", types.BOOLEAN)
    plan = _check(DependentJoin(JoinKind.MARK, left, right, (), Comparison("=", o.v, i.v), mark))
    assert isinstance(plan, Join)
    assert plan.condition == (Comparison("<", i.k, o.k),)
    assert plan.comparison == Comparison("=", o.v, i.v)


@pytest.mark.parametrize("op", ["=", "is not distinct from"])
def test_scalar_aggregate_is_grouped_and_outer_joined(op: str) -> None:
    left, _, right, i = _correlated(op)
    right, _ = _aggregate(right, "sum", i.v)
    plan = _check(DependentJoin(JoinKind.SINGLE, left, right))
    assert _kinds(plan) == ["Project", "left", "Scan", "Aggregate", "Scan"]


def test_count_of_nothing_is_zero() -> None:
    left, _, right, _ = _correlated()
    right, count = _aggregate(right, "count_star")
    above = Project(right, (Item(new_field("n", INT), Arithmetic("+", column(count), _int(1), INT)),))
    plan = _check(DependentJoin(JoinKind.SINGLE, left, above))
    assert sorted(run(plan), key=str) == [(1, 15, 3), (2, 0, 2), (4, 4, 1), (None, 7, 1)]


def test_having_without_group_by() -> None:
    left, o, right, i = _correlated()
    right, total = _aggregate(right, "sum", i.v)
    plan = _check(DependentJoin(JoinKind.SINGLE, left, Filter(right, Comparison(">", column(total), o.v))))
    assert _kinds(plan) == ["Project", "left", "Scan", "Aggregate", "Scan"]


def test_inequality_goes_through_the_domain() -> None:
    left, _, right, _ = _correlated("<")
    right, _ = _aggregate(right, "count_star")
    plan = _check(DependentJoin(JoinKind.SINGLE, left, right))
    assert _kinds(plan) == ["Project", "left", "Scan", "Aggregate", "Filter", "inner", *_DOMAIN, "Scan"]


def test_first_row_of_each_is_a_row_number() -> None:
    left, _, right, i = _correlated()
    plan = _check(DependentJoin(JoinKind.INNER, left, Sort(right, (SortKey(i.v),), 1)))
    assert _kinds(plan).count("Window") == 1
    assert "CommonSubplan" not in _kinds(plan)


def test_select_without_from_needs_no_join() -> None:
    left, o, _, _ = _correlated()
    right = Project(Values((), ((),)), (Item(new_field("x", INT), Arithmetic("+", o.k, o.v, INT)),))
    plan = _check(DependentJoin(JoinKind.SINGLE, left, right))
    assert _kinds(plan) == ["Project", "Scan"]


def test_several_rows_for_a_scalar_are_an_error() -> None:
    left, _, right, _ = _correlated()
    plan = decorrelate(DependentJoin(JoinKind.SINGLE, left, right), CONTEXT)
    assert _kinds(plan) == ["single", "Scan", "Scan"]
    with pytest.raises(TooManyRows):
        run(plan)


def test_uncorrelated_keeps_its_kind() -> None:
    left, _ = _scan("outer")
    right, _ = _scan("inner")
    join = decorrelate(DependentJoin(JoinKind.SINGLE, left, right), CONTEXT)
    assert _kinds(join) == ["single", "Scan", "Scan"]


def test_a_plan_without_dependent_joins_is_the_same_object() -> None:
    left, o = _scan("outer")
    plan = Filter(left, Comparison("=", o.k, o.v))
    assert decorrelate(plan, CONTEXT) is plan


def _two_levels(
    condition: Callable[[SimpleNamespace, SimpleNamespace, SimpleNamespace], Expr],
) -> LogicalPlan:
    """SELECT … FROM a WHERE EXISTS (FROM b WHERE EXISTS (FROM c WHERE condition))"""
    (a, of_a), (b, of_b), (c, of_c) = _scan("a"), _scan("b"), _scan("c")
    inner = new_field("exists", types.BOOLEAN, nullable=False)
    outer = new_field("exists", types.BOOLEAN, nullable=False)
    below = DependentJoin(JoinKind.MARK, b, Filter(c, condition(of_a, of_b, of_c)), mark=inner)
    return DependentJoin(JoinKind.MARK, a, Filter(below, column(inner)), mark=outer)


def test_a_subquery_of_a_subquery_reads_the_outermost() -> None:
    plan = _check(_two_levels(lambda a, b, c: Comparison("=", c.k, a.k)))
    assert _kinds(plan) == ["mark", "Scan", "Project", "inner", "Scan", "Scan"]
    _check(_two_levels(lambda a, b, c: Comparison("<", Arithmetic("+", c.k, a.k, INT), b.v)))


def test_computed_columns_of_a_left_lateral_are_null_without_a_match() -> None:
    left, o, right, _ = _correlated()
    right = Project(right, (Item(new_field("x", INT), o.v),))
    plan = _check(DependentJoin(JoinKind.LEFT, left, right, (TRUE,)))
    assert (4, 4, None) in run(plan)
