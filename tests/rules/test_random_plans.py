"""Random plans keep their answer through every rule, each on its own and all together."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from planner import types
from planner.catalog import ColumnStatistics, TableStatistics
from planner.expr import Comparison, Expr, Field, InList, Literal, Not, Or, column, conjunction
from planner.logical import DependentJoin, Filter, LogicalPlan, Sort
from planner.optimizer import aggregate_pushdown
from planner.optimizer.batch import Rule, rule_name
from planner.optimizer.context import OptimizerContext
from planner.optimizer.decorrelate import decorrelate
from planner.optimizer.driver import apply_rule, run
from planner.optimizer.rules import BATCHES
from planner.optimizer.verify import Verifier
from planner.statistics import Estimator
from planner.tree import walk
from tests.planner import interpreter
from tests.planner.interpreter import ListTable, TooManyRows
from tests.planner.random_plans import INT, Generator

SEEDS = 20_000 if os.environ.get("SQLRAY_SLOW") else 300
RULES = {rule_name(rule): rule for batch in BATCHES for rule in batch.rules}


class KnownTable(ListTable):
    """A table that tells the truth about itself, all of it."""

    __slots__ = ()

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        found = {}
        for name in columns:
            at = self.schema.get_field_index(name)
            values = [r[at] for r in self.rows if r[at] is not None]
            nulls, ndv = len(self.rows) - len(values), len(set(values))
            extremes = (min(values, default=None), max(values, default=None))
            found[name] = ColumnStatistics(*extremes, nulls, float(ndv), 8.0, True, ndv == len(values))
        return TableStatistics(float(len(self.rows)), True, found)


@dataclass(slots=True)
class RichGenerator(Generator):
    """More of what rules look for: joins by equality, constants, IN lists, ORs of ANDs, unique columns."""

    def _table(self, i: int) -> ListTable:
        table = Generator._table(self, i)
        rows = table.rows
        if self.rng.random() < 0.5:
            rows = tuple((at, *row[1:]) for at, row in enumerate(rows))
        return KnownTable(table.name, table.schema, rows)

    def join(self, left: LogicalPlan, right: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        return self.marked(Generator.join(self, left, right, scope), scope)

    def dependent(self, left: LogicalPlan, scope: Sequence[Field], depth: int) -> LogicalPlan:
        return self.marked(Generator.dependent(self, left, scope, depth), scope)

    def marked(self, plan: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        """Perhaps filtered by a mark: IN, NOT IN, and under OR."""
        marks = [column(f) for f in plan.schema if f.dtype == types.BOOLEAN]
        if not marks or self.rng.random() < 0.3:
            return plan
        mark = self.rng.choice(marks)
        other = self.predicate(self.ints(plan), scope)
        choice = self.rng.choice((mark, Not(mark), conjunction([Not(mark), other]), Or((mark, other))))
        return Filter(plan, choice)

    def predicate(self, fields: Sequence[Field], scope: Sequence[Field]) -> Expr:
        if not fields or self.rng.random() < 0.3:
            return Generator.predicate(self, fields, scope)
        return conjunction(self.condition(fields, scope, 2) for _ in range(self.rng.choice((1, 1, 2, 3))))

    def condition(self, fields: Sequence[Field], scope: Sequence[Field], depth: int) -> Expr:
        pick = self.rng.randrange(10 if depth else 7)
        some = column(self.rng.choice(list(fields)))
        match pick:
            case 0 | 1 | 2:
                return Comparison("=", some, column(self.rng.choice(list(fields))))
            case 3 | 4:
                op = self.rng.choice(("=", "=", "<", "<=", ">", ">=", "<>"))
                return Comparison(op, some, Literal(self.rng.randrange(4), INT))
            case 5:
                return InList(some, tuple(Literal(self.cell(), INT) for _ in range(self.rng.choice((1, 2, 3)))))
            case 6:
                return Generator.predicate(self, fields, scope)
            case 7:
                return Not(self.condition(fields, scope, depth - 1))
            case _:
                shared = [self.condition(fields, scope, 0)] if self.rng.random() < 0.5 else []
                branches = (
                    conjunction([*shared, *(self.condition(fields, scope, depth - 1) for _ in range(2))])
                    for _ in range(2)
                )
                return Or(tuple(branches))


def _plan(seed: int) -> LogicalPlan:
    generator = RichGenerator(random.Random(seed))
    return generator.query() if seed % 2 else generator.wrap(generator.plan(4, ()), ())


def _context() -> OptimizerContext:
    return OptimizerContext(Estimator())


def _check(before: LogicalPlan, after: LogicalPlan, seed: int) -> None:
    try:
        expected = interpreter.run(before)
    except TooManyRows:
        return
    found = interpreter.run(after)
    same = found == expected if isinstance(before, Sort) else Counter(found) == Counter(expected)
    assert same, f"seed {seed}\n{expected}\n{found}"


@pytest.mark.parametrize("name", RULES)
def test_one_rule(name: str) -> None:
    rule: Rule = RULES[name]
    for seed in range(SEEDS):
        plan = _plan(seed)
        if rule is not decorrelate and name not in ("simplify", "push_filters"):
            plan = decorrelate(plan, _context())
        _check(plan, apply_rule(plan, rule, _context(), Verifier()), seed)


def test_all_rules() -> None:
    for seed in range(10 * SEEDS):
        plan = _plan(seed)
        after = run(plan, BATCHES, _context())
        assert not any(isinstance(n, DependentJoin) for n in walk(after))
        _check(plan, after, seed)


@pytest.mark.parametrize("name", [n for n in RULES if n != "decorrelate"])
def test_without_a_rule(name: str) -> None:
    for seed in range(SEEDS):
        plan = _plan(seed)
        _check(plan, run(plan, BATCHES, OptimizerContext(Estimator(), frozenset({name}))), seed)


def test_plans_settle() -> None:
    """A second run of all rules finds the plan as it is, or at least as good: it changes no answer."""
    for seed in range(SEEDS):
        plan = run(_plan(seed), BATCHES, _context())
        _check(plan, run(plan, BATCHES, _context()), seed)


def test_aggregates_pushed_wherever_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate_pushdown, "_REDUCTION", 0.0)
    monkeypatch.setattr(aggregate_pushdown, "_KEPT", 0.0)
    for seed in range(3 * SEEDS):
        plan = _plan(seed)
        _check(plan, run(plan, BATCHES, _context()), seed)
