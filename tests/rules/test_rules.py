"""Every case of every ``.test`` file: the plan after one rule, and the same rows before and after it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.planner import interpreter
from tests.rules.cases import RULES, Case, outcome, plans, read_cases, write_cases

FILES = sorted(Path(__file__).parent.glob("*.test"))
CASES = [c for path in FILES for c in read_cases(path)]
NAMES = [f"{c.rule}: {c.title}" for c in CASES]


@pytest.fixture(scope="session", autouse=True)
def _regenerate() -> None:
    if os.environ.get("SQLRAY_REGENERATE"):
        for path in FILES:
            write_cases(path, read_cases(path))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_plan(case: Case) -> None:
    if os.environ.get("SQLRAY_REGENERATE"):
        pytest.skip("the plans are being written")
    assert outcome(case) == case.expected


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_rows(case: Case) -> None:
    before, after = plans(case)
    try:
        expected = interpreter.run(before)
    except (NotImplementedError, TypeError, KeyError, ValueError, interpreter.TooManyRows):
        pytest.skip("the reference interpreter cannot evaluate the query")
    assert Counter(interpreter.run(after)) == Counter(expected)


def test_every_rule_has_cases() -> None:
    # tests/integration/test_reductions.py, tests/planner
    elsewhere = {"reduce_aggregates", "reduce_probes", "share_joins", "reorder_joins"}
    assert {p.stem for p in FILES} | elsewhere == set(RULES)
