"""Runs generated queries on DuckDB and on sqlray sessions with other options, and says where they differ."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

import sqlray
from tests.property.data import make_tables
from tests.property.known_differences import Finding, known_reason
from tests.property.oracle import Answer, Oracle, difference
from tests.property.queries import Query, generate
from tests.property.reduce import reduce_query

# A random chain of joins now and then makes millions of rows, which test nothing more.
_MOST_ROWS = 20_000
# The tables are tiny: a query that takes longer has gone astray.
_MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A name and the session options that make it."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


BASE = Variant("default")
STAGED = Variant("staged", {"staged": "true"})
PARTITIONS = Variant("3 partitions", {"partitions": "3"})
NO_BROADCAST = Variant("3 partitions, no broadcast", {"partitions": "3", "broadcast_limit": "1"})
LITTLE_MEMORY = Variant("little memory", {"partitions": "3", "memory_limit": "64MB"})
ON_GPU = Variant("on a GPU", {"device": "gpu"})


def rule_variants(names: Iterable[str]) -> list[Variant]:
    """One variant for each optimizer rule, with this rule off."""
    return [Variant(f"without {name}", {"disabled_rules": name}) for name in names]


@dataclass(frozen=True, slots=True)
class Failure:
    """A finding with what reproduces it."""

    seed: int
    variant: Variant
    finding: Finding

    @property
    def shape(self) -> str:
        """The finding without its numbers and names, to gather those of one cause."""
        text = re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"|\[.*", "*", self.finding.detail.split("\n", 1)[0])
        return f"{self.finding.status}: {text[:90]}"


@dataclass(slots=True)
class Summary:
    """What a run found."""

    queries: int = 0
    same: int = 0
    same_error: int = 0
    too_large: int = 0
    known: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def text(self) -> str:
        lines = [
            f"{self.queries} runs: {self.same} same rows, {self.same_error} errors in both, "
            f"{self.too_large} too large, {sum(self.known.values())} known differences, "
            f"{len(self.failures)} failures"
        ]
        lines += [f"  known {count}: {reason}" for reason, count in self.known.most_common()]
        return "\n".join(lines)

    def groups(self) -> list[tuple[str, list[Failure]]]:
        """The failures by shape, the largest group first, the shortest query of each first."""
        groups: dict[str, list[Failure]] = {}
        for failure in self.failures:
            groups.setdefault(failure.shape, []).append(failure)
        for failures in groups.values():
            failures.sort(key=lambda failure: len(failure.finding.sql))
        return sorted(groups.items(), key=lambda item: -len(item[1]))


class Harness:
    """DuckDB and one sqlray session for each variant, over the same tables."""

    def __init__(self, tables: Mapping[str, pa.Table] | None = None) -> None:
        self.tables = tables or make_tables()
        self.oracle = Oracle(self.tables)
        self._sessions: dict[str, sqlray.Session] = {}
        self._turned: Oracle | None = None

    def session(self, variant: Variant) -> sqlray.Session:
        """The session of this variant, made once."""
        if variant.name not in self._sessions:
            session = sqlray.connect()
            for name, table in self.tables.items():
                session.register(name, table)
            for name, value in variant.options.items():
                session.sql(f"SET {name} = '{value}'")
            self._sessions[variant.name] = session
        return self._sessions[variant.name]

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def check_sql(self, query: Query, variant: Variant, expected: Answer | None = None) -> Finding | None:
        """Runs one query on both engines; nothing if they agree."""
        expected = expected or self.oracle.run(query.sql)
        started = time.perf_counter()
        try:
            found = self.session(variant).sql(query.sql).to_arrow()
        except sqlray.UnsupportedError as error:
            return None if expected.table is None else Finding("unsupported", query.sql, str(error))
        except sqlray.SqlrayError as error:
            return None if expected.table is None else Finding("error", query.sql, _one(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever is not a SqlrayError is a bug of its own, a kernel's panic too
            return Finding("crash", query.sql, _one(error))
        if expected.table is None:
            return Finding("no error", query.sql, expected.error)
        text = difference(expected.table, found, query.ordered_by)
        seconds = time.perf_counter() - started
        if text is None and seconds > _MOST_SECONDS:
            return Finding("slow", query.sql, f"{seconds:.1f} seconds for tables of a few rows")
        if text is None:
            return None
        return Finding("type" if text.startswith(("type", "name")) else "wrong", query.sql, text)

    def is_determined(self, query: Query) -> bool:
        """Whether DuckDB gives the same rows when its tables' rows stand in another order."""
        if self._turned is None:
            self._turned = Oracle({name: table.take(_turned(table.num_rows)) for name, table in self.tables.items()})
        first, second = self.oracle.run(query.sql), self._turned.run(query.sql)
        if first.table is None or second.table is None:
            return first.table is second.table
        return difference(first.table, second.table, query.ordered_by) is None

    def run(
        self,
        seeds: Iterable[int],
        variants: Sequence[Variant],
        stop_after: int | None = None,
        windows: bool = False,
    ) -> Summary:
        """Runs the queries of these seeds on every variant; with ``windows`` those that call window functions."""
        summary = Summary()
        for seed in seeds:
            query = generate(seed, windows)
            expected = self.oracle.run(query.sql)
            if expected.is_late or (expected.table is not None and expected.table.num_rows > _MOST_ROWS):
                summary.too_large += 1
                continue
            for variant in variants:
                summary.queries += 1
                finding = self.check_sql(query, variant, expected)
                if finding is None:
                    summary.same += expected.table is not None
                    summary.same_error += expected.table is None
                elif (reason := known_reason(finding)) is not None:
                    summary.known[reason] += 1
                else:
                    summary.failures.append(Failure(seed, variant, finding))
            if stop_after is not None and len(summary.failures) >= stop_after:
                break
        return summary

    def minimize(self, failure: Failure, seconds: float = 20.0) -> Failure:
        """The failure with the shortest query that still fails in the same way."""

        def found(sql: str) -> Finding | None:
            return self.check_sql(Query(sql, (), 0), failure.variant)

        def fails(sql: str) -> bool:
            finding = found(sql)
            if finding is None or known_reason(finding) is not None or not self.is_determined(Query(sql, (), 0)):
                return False
            return Failure(0, failure.variant, finding).shape == failure.shape or (
                finding.status == failure.finding.status == "wrong"
            )

        shortest = reduce_query(failure.finding.sql, fails, seconds)
        finding = found(shortest) if shortest != failure.finding.sql else None
        return Failure(failure.seed, failure.variant, finding or failure.finding)


def _turned(rows: int) -> pa.Array:
    return pa.array([*reversed(range(rows // 2, rows)), *range(rows // 2)], pa.int64())


def _one(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
