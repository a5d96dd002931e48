"""Generated queries on sqlray against DuckDB, and on sqlray against itself with other options."""

import os
import random
from collections.abc import Iterator, Sequence

import pytest

from planner.functions_aggregate import aggregate_functions
from tests.property.data import COLUMNS
from tests.property.harness import (
    BASE,
    LITTLE_MEMORY,
    NO_BROADCAST,
    PARTITIONS,
    STAGED,
    Harness,
    Summary,
    Variant,
    rule_variants,
)
from tests.property.kinds import EXACT_KINDS, INTEGER, ROUGH
from tests.property.known_differences import KNOWN_DIFFERENCES, Finding, known_reason
from tests.property.queries import generate
from tests.property.run import SEEDS_PER_RUN, optimizer_rules
from tests.property.scope import Column, Context, Scope
from tests.property.windows import Windows

# The number of the run; another one makes other queries.
RUN = int(os.environ.get("SQLRAY_PROPERTY_SEED", "1"))
QUERIES = int(os.environ.get("SQLRAY_PROPERTY_QUERIES", "2000"))
CHUNKS = 8
_RANKING = {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"}
_NAVIGATION = {"lag", "lead", "first_value", "last_value", "nth_value"}


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.close()


def seeds(count: int, offset: int = 0) -> range:
    first = RUN * SEEDS_PER_RUN + offset
    return range(first, first + count)


def check(harness: Harness, chosen: range, variants: Sequence[Variant], windows: bool = False) -> None:
    summary = harness.run(chosen, variants, stop_after=5, windows=windows)
    assert not summary.failures, report(harness, summary)


def report(harness: Harness, summary: Summary) -> str:
    first = harness.minimize(summary.groups()[0][1][0])
    return (
        f"{summary.text()}\nseed {first.seed}, {first.variant.name}, {first.finding.status}:\n"
        f"{first.finding.sql}\n{first.finding.detail}"
    )


def test_generator_is_deterministic() -> None:
    assert [generate(seed).sql for seed in range(50)] == [generate(seed).sql for seed in range(50)]


@pytest.mark.parametrize("windows", [False, True], ids=["plain", "windows"])
def test_generated_queries_run_on_duckdb(harness: Harness, windows: bool) -> None:
    """Queries that fail test little: at least 97 of 100 run."""
    ran = [harness.oracle.run(generate(seed, windows).sql).table is not None for seed in seeds(400)]
    assert sum(ran) / len(ran) >= 0.97


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_against_duckdb(harness: Harness, chunk: int) -> None:
    size = -(-QUERIES // CHUNKS)
    check(harness, seeds(size, chunk * size), [BASE])


@pytest.mark.parametrize("variant", [PARTITIONS, NO_BROADCAST, STAGED, LITTLE_MEMORY], ids=lambda v: v.name)
def test_other_plans(harness: Harness, variant: Variant) -> None:
    check(harness, seeds(QUERIES // 8, 100_000), [variant])


@pytest.mark.parametrize("variant", rule_variants(optimizer_rules()), ids=lambda v: v.name)
def test_without_a_rule(harness: Harness, variant: Variant) -> None:
    check(harness, seeds(QUERIES // 40, 200_000), [variant])


def test_windows_do_not_depend_on_the_order_of_rows(harness: Harness) -> None:
    undetermined = [seed for seed in seeds(200, 300_000) if not harness.is_determined(generate(seed, windows=True))]
    assert not undetermined


def test_every_window_function_is_called() -> None:
    scope = Scope(tuple(Column(name, kind) for name, kind in COLUMNS.items()))
    windows = Windows(Context(random.Random(RUN), 0), scope, (Column("id", INTEGER),))
    kinds = (*EXACT_KINDS, ROUGH)
    called = {windows.column(kind).text.partition("(")[0] for kind in kinds for _ in range(400)}
    # The number of distinct values is exact here and an estimate in DuckDB.
    aggregates = [f for f in aggregate_functions() if f.name not in ("count_star", "approx_count_distinct")]
    assert [f.name for f in aggregates if not called & {f.name, *f.aliases}] == []
    assert not (_RANKING | _NAVIGATION) - called


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_windows_against_duckdb(harness: Harness, chunk: int) -> None:
    size = -(-QUERIES // 2 // CHUNKS)
    check(harness, seeds(size, 300_000 + chunk * size), [BASE], windows=True)


@pytest.mark.parametrize("variant", [PARTITIONS, NO_BROADCAST, STAGED, LITTLE_MEMORY], ids=lambda v: v.name)
def test_windows_in_other_plans(harness: Harness, variant: Variant) -> None:
    check(harness, seeds(QUERIES // 16, 400_000), [variant], windows=True)


@pytest.mark.parametrize("variant", rule_variants(optimizer_rules()), ids=lambda v: v.name)
def test_windows_without_a_rule(harness: Harness, variant: Variant) -> None:
    check(harness, seeds(QUERIES // 80, 500_000), [variant], windows=True)


def test_known_differences_have_reasons() -> None:
    assert all(len(known.reason) > 20 for known in KNOWN_DIFFERENCES)
    assert known_reason(Finding("wrong", "SELECT 1", "row (1,) expected, (2,) found")) is None
