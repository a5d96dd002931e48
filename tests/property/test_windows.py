"""Generated queries with window functions on sqlray against DuckDB, and on sqlray against itself with other options."""

import random
from collections.abc import Iterator

import pytest

from planner.functions_aggregate import aggregate_functions
from tests.property.data import COLUMNS
from tests.property.harness import BASE, LITTLE_MEMORY, PARTITIONS, STAGED, Harness, Variant, rule_variants
from tests.property.kinds import EXACT_KINDS, INTEGER, ROUGH
from tests.property.queries import generate
from tests.property.run import optimizer_rules
from tests.property.scope import Column, Context, Scope
from tests.property.suite import CHUNKS, QUERIES, RUN, check, seeds
from tests.property.windows import Windows

_RANKING = {"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"}
_NAVIGATION = {"lag", "lead", "first_value", "last_value", "nth_value"}


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.close()


def test_generated_queries_run_on_duckdb(harness: Harness) -> None:
    """Queries that fail test little: at least 97 of 100 run."""
    ran = [harness.oracle.run(generate(seed, windows=True).sql).table is not None for seed in seeds(200)]
    assert sum(ran) / len(ran) >= 0.97


def test_do_not_depend_on_the_order_of_rows(harness: Harness) -> None:
    undetermined = [seed for seed in seeds(100, 300_000) if not harness.is_determined(generate(seed, windows=True))]
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
def test_against_duckdb(harness: Harness, chunk: int) -> None:
    size = -(-QUERIES // 4 // CHUNKS)
    check(harness, seeds(size, 300_000 + chunk * size), [BASE], windows=True)


@pytest.mark.parametrize("variant", [PARTITIONS, STAGED, LITTLE_MEMORY], ids=lambda v: v.name)
def test_in_other_plans(harness: Harness, variant: Variant) -> None:
    check(harness, seeds(QUERIES // 20, 400_000), [variant], windows=True)


@pytest.mark.parametrize("variant", rule_variants(optimizer_rules()), ids=lambda v: v.name)
def test_without_a_rule(harness: Harness, variant: Variant) -> None:
    check(harness, seeds(QUERIES // 200, 500_000), [variant], windows=True)
