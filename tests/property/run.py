"""Random queries on sqlray and DuckDB from the command line.

    python -m tests.property.run --queries 2000 --seed 1
    python -m tests.property.run --queries 500 --partitions      # plans of several stages
    python -m tests.property.run --queries 300 --rules           # each optimizer rule off
    python -m tests.property.run --queries 2000 --windows        # window functions in most queries
    python -m tests.property.run --sql "select …"                # one query of your own

Prints how many agree, then the failures by kind, the first of each kind made as short as possible. Exits 1 if
there is one. `--only 1000042` runs again the query whose seed a report names.
"""

import argparse
import sys
import time

from planner.optimizer.batch import rule_name
from planner.optimizer.rules import BATCHES
from tests.property.harness import (
    BASE,
    LITTLE_MEMORY,
    NO_BROADCAST,
    ON_GPU,
    PARTITIONS,
    STAGED,
    Harness,
    Summary,
    Variant,
    rule_variants,
)
from tests.property.queries import Query, generate

SEEDS_PER_RUN = 1_000_000


def _variants(given: argparse.Namespace) -> list[Variant]:
    variants: list[Variant] = []
    if given.partitions:
        variants += [PARTITIONS, NO_BROADCAST]
    if given.staged:
        variants.append(STAGED)
    if given.memory:
        variants.append(LITTLE_MEMORY)
    if given.gpu:
        variants.append(ON_GPU)
    if given.rules:
        variants += rule_variants(optimizer_rules())
    if given.disable:
        variants += rule_variants(given.disable)
    return variants or [BASE]


def optimizer_rules() -> list[str]:
    """The names of the optimizer rules that a plan can do without, in their order."""
    names = (rule_name(rule) for batch in BATCHES if not batch.removes_dependent_joins for rule in batch.rules)
    return list(dict.fromkeys(names))


def _report(harness: Harness, summary: Summary, shown: int, seconds: float) -> None:
    print(summary.text())
    for shape, failures in summary.groups()[:shown]:
        first = harness.minimize(failures[0], seconds)
        print(f"\n{len(failures):5} × {shape}")
        print(f"      seeds {', '.join(str(f.seed) for f in failures[:8])}; {first.variant.name}")
        print(f"      {first.finding.sql}")
        print("      " + first.finding.detail.replace("\n", "\n      "))


def main(arguments: list[str] | None = None) -> int:
    """The command line; exits 1 if there are failures."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.run", description=__doc__.split("\n")[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="the run's number: another one, other queries")
    parser.add_argument("--only", type=int, action="append", help="just the query of this seed")
    parser.add_argument("--sql", help="just this query")
    parser.add_argument("--partitions", action="store_true", help="plans of several stages, 3 partitions")
    parser.add_argument("--staged", action="store_true", help="plans cut into stages")
    parser.add_argument("--memory", action="store_true", help="a memory limit of 64 MB")
    parser.add_argument("--gpu", action="store_true", help="on the GPU of this machine")
    parser.add_argument("--rules", action="store_true", help="each optimizer rule off")
    parser.add_argument("--disable", action="append", metavar="RULE", help="this optimizer rule off")
    parser.add_argument("--windows", action="store_true", help="window functions in most queries")
    parser.add_argument("--show", type=int, default=10, help="how many kinds of failure to show")
    parser.add_argument("--seconds", type=float, default=10.0, help="for making one failure shorter")
    parser.add_argument("--print", action="store_true", help="only print the queries")
    given = parser.parse_args(arguments)
    seeds = given.only or range(given.seed * SEEDS_PER_RUN, given.seed * SEEDS_PER_RUN + given.queries)
    if given.print:
        for seed in seeds:
            print(f"-- {seed}\n{generate(seed, given.windows).sql};")
        return 0
    harness = Harness()
    started = time.perf_counter()
    if given.sql:
        finding = harness.check_sql(Query(given.sql, (), 0), _variants(given)[0])
        print("same" if finding is None else f"{finding.status}: {finding.detail}")
        return finding is not None
    summary = harness.run(seeds, _variants(given), windows=given.windows)
    print(f"{time.perf_counter() - started:.1f} s")
    _report(harness, summary, given.show, given.seconds)
    harness.close()
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
