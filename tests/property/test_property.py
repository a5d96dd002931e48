"""Generated queries on sqlray against DuckDB, and on sqlray against itself with other options."""

from collections.abc import Iterator

import pytest

from tests.property.harness import (
    BASE,
    LITTLE_MEMORY,
    NO_BROADCAST,
    PARTITIONS,
    STAGED,
    Harness,
    Variant,
    rule_variants,
)
from tests.property.known_differences import KNOWN_DIFFERENCES, Finding, known_reason
from tests.property.queries import generate
from tests.property.run import optimizer_rules
from tests.property.suite import CHUNKS, QUERIES, check, seeds


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.close()


def test_generator_is_deterministic() -> None:
    assert [generate(seed).sql for seed in range(50)] == [generate(seed).sql for seed in range(50)]


def test_generated_queries_run_on_duckdb(harness: Harness) -> None:
    """Queries that fail test little: at least 97 of 100 run."""
    ran = [harness.oracle.run(generate(seed).sql).table is not None for seed in seeds(400)]
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


def test_known_differences_have_reasons() -> None:
    assert all(len(known.reason) > 20 for known in KNOWN_DIFFERENCES)
    assert known_reason(Finding("wrong", "SELECT 1", "row (1,) expected, (2,) found")) is None
