"""Rule tests as text: a file for each rule, of cases with a title, a query, and the plan after that one rule.

    setup: decorrelate, push_filters        (rules that run before; the first line, may be left out)

    # A title
    select …
    ---
    the plan, column ids numbered as they appear; "unchanged" in front if the rule had nothing to do

``SQLRAY_REGENERATE=1 pytest tests/rules`` writes the plans anew; the diff is what one reads.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from planner import types
from planner.binder import BindContext, bind
from planner.catalog import ColumnStatistics, TableStatistics
from planner.logical import LogicalPlan, pretty
from planner.optimizer.batch import Rule, rule_name
from planner.optimizer.context import OptimizerContext
from planner.optimizer.driver import apply_rule
from planner.optimizer.rules import BATCHES
from planner.optimizer.verify import Verifier
from planner.parser import parse
from planner.statements import Query
from planner.statistics import Estimator
from tests.planner.interpreter import ListTable

RULES: dict[str, Rule] = {rule_name(rule): rule for batch in BATCHES for rule in batch.rules}


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


def _table(name: str, columns: Sequence[tuple[str, pa.DataType]], *rows: tuple[Any, ...]) -> KnownTable:
    return KnownTable(name, pa.schema(list(columns)), rows)


_DAY = dt.date(2020, 1, 1)

# t.a is unique and never NULL, t.b has NULLs and duplicates; u.k has no NULLs but duplicates, u.c has NULLs;
# v.k is unique; w has statistics of nothing.
TABLES = {
    "t": _table(
        "t",
        [("a", types.INTEGER), ("b", types.INTEGER), ("s", types.VARCHAR), ("x", types.decimal(15, 2)),
         ("d", types.DATE), ("f", types.DOUBLE)],
        (1, 10, "x", Decimal("1.50"), _DAY, 0.5),
        (2, 10, "y", Decimal("2.25"), _DAY, None),
        (3, None, None, None, None, -0.0),
    ),
    "u": _table(
        "u",
        [("k", types.INTEGER), ("c", types.BIGINT), ("e", types.INTEGER)],
        (1, 5, 1), (1, None, 2), (2, 7, None),
    ),
    "v": _table("v", [("k", types.INTEGER), ("g", types.INTEGER)], (1, 1), (2, 1), (3, None)),
    "f": _table("f", [("k", types.INTEGER), ("c", types.BIGINT)], *((i % 3 + 1, i) for i in range(30))),
    "g": _table("g", [("k", types.INTEGER), ("r", types.INTEGER), ("c", types.BIGINT)],
                *((i % 3 or None, i % 2, i) for i in range(30))),
    "w": ListTable("w", pa.schema([("k", types.INTEGER), ("h", types.INTEGER)]), ((1, 1), (None, 2))),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a file, and the rules that run before it."""

    rule: str
    setup: tuple[str, ...]
    title: str
    sql: str
    expected: str


def bound(sql: str) -> LogicalPlan:
    """The plan of a query over TABLES, as the binder gives it."""
    context = BindContext(lambda name: TABLES.get(name.lower()), _no_files, sql)
    statement = bind(parse(sql)[0], context)
    assert isinstance(statement, Query)
    return statement.plan


def _no_files(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("rule tests read no files")


def read_cases(path: Path) -> list[Case]:
    head, *blocks = re.split(r"^# ", path.read_text(), flags=re.MULTILINE)
    setup = tuple(re.findall(r"\w+", head.partition("setup:")[2]))
    cases = []
    for block in blocks:
        title, _, body = block.partition("\n")
        sql, _, expected = body.partition("\n---\n")
        cases.append(Case(path.stem, setup, title.strip(), sql.strip(), expected.strip("\n")))
    return cases


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    setup = f"setup: {', '.join(cases[0].setup)}\n\n" if cases[0].setup else ""
    blocks = (f"# {c.title}\n{c.sql}\n---\n{outcome(c)}\n" for c in cases)
    path.write_text(setup + "\n".join(blocks))


def plans(case: Case) -> tuple[LogicalPlan, LogicalPlan]:
    """The plan before and after the rule of a case, both verified."""
    context = OptimizerContext(Estimator())
    plan = bound(case.sql)
    for name in case.setup:
        plan = apply_rule(plan, RULES[name], context, Verifier())
    return plan, apply_rule(plan, RULES[case.rule], context, Verifier())


def outcome(case: Case) -> str:
    """What a case's file should say."""
    before, after = plans(case)
    return ("unchanged\n" if after is before else "") + normalized(pretty(after))


def normalized(text: str) -> str:
    """The text of a plan with column ids numbered from 1 as they appear."""
    seen: dict[str, int] = {}
    return re.sub(r"#(\d+)\b(?!')", lambda m: f"#{seen.setdefault(m[1], len(seen) + 1)}", text)
