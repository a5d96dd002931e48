"""Generated queries on what looks like several small nodes, where everything that can be planned again is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from executor import driver
from executor.runners import task
from executor.runners.local import LocalBackend
from executor.sources.memory import MemoryTable
from planner import exchange, started, working_set
from planner.cost import ClusterInfo
from planner.physical_planner import PhysicalContext, PhysicalQuery
from planner.statistics import Estimator
from sqlray import pipeline
from tests.planned import small_splits
from tests.property.harness import BASE, Harness

QUERIES = 120


def context_of_small_nodes(estimator: Estimator, **options: Any) -> PhysicalContext:
    return PhysicalContext(estimator, **{**options, "skew_limit": 1})


@pytest.fixture
def changes() -> Iterator[list[str]]:
    """What was planned again, of all queries."""
    found: list[str] = []
    plan_rest: Callable[..., PhysicalQuery] = driver.plan_rest

    def remember(query: PhysicalQuery, *args: Any) -> PhysicalQuery:
        planned = plan_rest(query, *args)
        found.extend(planned.changes[len(query.changes) :])
        return planned

    patches = [
        mock.patch.object(LocalBackend, "cluster", return_value=ClusterInfo(3, 1, 20_000)),
        mock.patch.object(MemoryTable, "splits", small_splits),
        mock.patch.object(pipeline, "PhysicalContext", context_of_small_nodes),
        mock.patch.object(started, "_SKEWED", 1.1),
        mock.patch.object(exchange, "_SMALL_SCAN", 1),
        mock.patch.object(exchange, "_SMALL_SORT", 1),
        mock.patch.object(exchange, "_FEW_GROUPS", 1),
        mock.patch.object(working_set, "_NODE_BYTES", 1),
        mock.patch.object(task, "_PIECE", 1),
        mock.patch.object(task, "_STEP", 1),
        mock.patch.object(task, "_SHARE", 1),
        mock.patch.object(driver, "plan_rest", remember),
    ]
    for patch in patches:
        patch.start()
    yield found
    mock.patch.stopall()


@pytest.mark.parametrize("windows", [False, True], ids=["plain", "windows"])
def test_answers_do_not_change(changes: list[str], windows: bool) -> None:
    harness = Harness()
    count = QUERIES // 2 if windows else QUERIES
    summary = harness.run(range(77_000_000, 77_000_000 + count), [BASE], windows=windows)
    harness.close()
    assert not summary.failures, "\n".join(f"{f.seed}: {f.finding.sql}\n{f.finding.detail}" for f in summary.failures)
    for kind in ("the rest in", "broadcast instead of", "tasks share partition"):
        assert any(kind in change for change in changes), kind
