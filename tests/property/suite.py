"""How the tests of generated queries run: how many, from which seeds, and what a failure says."""

import os
from collections.abc import Sequence

from tests.property.harness import Harness, Summary, Variant
from tests.property.run import SEEDS_PER_RUN

# The number of the run; another one makes other queries.
RUN = int(os.environ.get("SQLRAY_PROPERTY_SEED", "1"))
QUERIES = int(os.environ.get("SQLRAY_PROPERTY_QUERIES", "2000"))
CHUNKS = 8


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
