"""How many rows joins and groups have: estimates from the domains of columns.

The *domain* of a column is the set that its values come from, not what happens to be left after filters on
other columns. Two join keys meet in the larger of their domains, whatever else was filtered: |R ⋈ S| =
|R||S| / max domain. Where the values that are left are asked for (GROUP BY, the right side of a semi join),
``remaining`` derives them from the rows that are left of the column's table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from planner.catalog import ColumnStatistics
from planner.expr import Column, ColumnId, Expr, columns_of
from planner.logical import JoinKind
from planner.record import record
from planner.selectivity import (
    UNKNOWN,
    combined_ndv,
    derived,
    distinct_after,
    null_share,
    selectivity,
)

DEFAULT_ROWS = 100_000.0
"""Stands for an unknown number of rows where a cost needs one: large enough to be worth hashing."""

_LEAST_ANTI = 0.1  # share of rows that an anti join keeps at least: an estimate of none is too daring
_RESTRICTED = 0.5  # of its table's distinct values a column has at most, if something chose among them


@record
class Statistics:
    """Rows (None: unknown), whether the count is exact, and what is known of the columns."""

    rows: float | None = None
    exact: bool = False
    columns: Mapping[ColumnId, ColumnStatistics] = field(default_factory=dict)


@record
class Origin:
    """The scan that a column comes from, by identity; its rows, and the column's distinct values there."""

    scan: int
    rows: float
    ndv: float | None


class Cardinality:
    """Estimates that need to know which table columns come from."""

    def __init__(self) -> None:
        self._origins: dict[ColumnId, Origin] = {}

    def comes_from(self, id: ColumnId, origin: Origin) -> None:
        self._origins[id] = origin

    def renamed(self, new: ColumnId, old: ColumnId) -> None:
        """``new`` is another name for ``old``."""
        if old in self._origins:
            self._origins[new] = self._origins[old]

    def remaining(self, id: ColumnId, known: ColumnStatistics, rows: float) -> float | None:
        """Distinct values of a column among ``rows`` rows."""
        if known.ndv is None:
            return None
        origin = self._origins.get(id)
        return distinct_after(known.ndv, rows, None if origin is None else origin.rows * self._kept(id, known))

    def _kept(self, id: ColumnId, known: ColumnStatistics) -> float:
        """The share of its table's distinct values that a column may still have."""
        origin = self._origins.get(id)
        if origin is None or not origin.ndv or known.ndv is None:
            return 1.0
        return min(1.0, known.ndv / origin.ndv)

    def is_restricted(self, id: ColumnId, known: ColumnStatistics) -> bool:
        """Whether something chose among a column's values: a filter on it, or a join."""
        return self._kept(id, known) <= _RESTRICTED

    def distinct(self, columns: Iterable[ColumnId], statistics: Statistics) -> float | None:
        """Distinct combinations of columns: damped, and per table at most its rows; among the rows that are left."""
        if statistics.rows is None:
            return None
        tables: dict[int, list[float]] = {}
        limits: dict[int, float] = {}
        for id in columns:
            known = statistics.columns.get(id, UNKNOWN)
            if known.ndv is None:
                return None
            origin = self._origins.get(id)
            table, rows = (-id, known.ndv) if origin is None else (origin.scan, origin.rows * self._kept(id, known))
            tables.setdefault(table, []).append(known.ndv)
            limits[table] = max(min(rows, limits.get(table, rows)), known.ndv)
        domain = combined_ndv((combined_ndv(n, limits[t]) for t, n in tables.items()), float("inf"))
        total = next(iter(limits.values())) if len(limits) == 1 and min(limits) > 0 else None
        return max(1.0, distinct_after(domain, statistics.rows, total))

    def join_rows(
        self,
        kind: JoinKind,
        left: Statistics,
        right: Statistics,
        keys: Sequence[tuple[Expr, Expr]],
        residual: Sequence[Expr],
    ) -> float:
        """Rows of a join of two inputs whose numbers of rows are known."""
        assert left.rows is not None and right.rows is not None
        both = {**left.columns, **right.columns}
        rest = selectivity(residual, both, None) if residual else 1.0
        match kind:
            case JoinKind.MARK | JoinKind.SINGLE:
                return left.rows
            case JoinKind.SEMI | JoinKind.ANTI:
                share = self._match_share(left, right, keys, rest)
                if kind is JoinKind.SEMI:
                    return at_least_one(left.rows, left.rows * share)
                return at_least_one(left.rows, left.rows * max(1 - share, _LEAST_ANTI))
        domain = self._key_domain(left, right, keys)
        inner = left.rows * right.rows / domain * rest
        inner = at_least_one(min(left.rows, right.rows), inner)
        match kind:
            case JoinKind.INNER:
                return inner
            case JoinKind.LEFT:
                return max(inner, left.rows)
            case JoinKind.RIGHT:
                return max(inner, right.rows)
            case JoinKind.FULL:
                return max(inner, left.rows, right.rows)
            case _:
                raise TypeError(f"not a join kind: {kind!r}")

    def _key_domain(self, left: Statistics, right: Statistics, keys: Sequence[tuple[Expr, Expr]]) -> float:
        """What |left| × |right| is divided by: the larger domain of the join keys."""
        if not keys:
            return 1.0
        domains = [self.pair_domain(a, left, b, right) for a, b in keys]
        if len(domains) == 1:
            return domains[0]
        limit = self.composite_limit([a for a, _ in keys], left.columns, [b for _, b in keys], right.columns)
        return max(1.0, combined_ndv(domains, limit))

    def pair_domain(self, a: Expr, left: Statistics, b: Expr, right: Statistics) -> float:
        """The domain that two join keys meet in.

        If something chose among the values of one side, the same may have chosen the rows of the other (a
        subquery over the same filter): then the other side counts with the values it has left.
        """
        found = []
        chosen = any(self._chosen(e, s) for e, s in ((a, left), (b, right)))
        for expr, side in ((a, left), (b, right)):
            ndv = expression_ndv(expr, side)
            if ndv is not None:
                found.append(min(ndv, max(side.rows or ndv, 1.0)) if chosen else ndv)
        if not found:  # nothing known: as if the smaller side were the domain
            found = [min(left.rows or 1.0, right.rows or 1.0)]
        return max(1.0, *found)

    def _chosen(self, expr: Expr, side: Statistics) -> bool:
        return isinstance(expr, Column) and self.is_restricted(expr.id, side.columns.get(expr.id, UNKNOWN))

    def composite_limit(
        self,
        left_keys: Sequence[Expr],
        left: Mapping[ColumnId, ColumnStatistics],
        right_keys: Sequence[Expr],
        right: Mapping[ColumnId, ColumnStatistics],
    ) -> float:
        """How many combinations of several join keys there can be.

        If the keys of each side come from one table, they are, as a rule, a key of the smaller table that
        the larger one refers to: then there are as many as the smaller table has rows for the values that
        the keys may have.
        """
        limits = []
        for expressions, columns in ((left_keys, left), (right_keys, right)):
            ids = columns_of(*expressions)
            origins = {o.scan: o.rows for i in ids if (o := self._origins.get(i)) is not None}
            if len(origins) != 1 or any(i not in self._origins for i in ids):
                return float("inf")  # columns of several tables combine freely
            kept = min(self._kept(i, columns.get(i, UNKNOWN)) for i in ids)
            limits.append(next(iter(origins.values())) * kept)
        return max(min(limits), 1.0)

    def _match_share(
        self, left: Statistics, right: Statistics, keys: Sequence[tuple[Expr, Expr]], rest: float
    ) -> float:
        """The share of left rows that have a match."""
        assert left.rows is not None and right.rows is not None
        if not keys:
            return 1 - (1 - rest) ** min(right.rows, 1e6) if right.rows else 0.0
        shares, present, matches = [], 1.0, right.rows
        for a, b in keys:
            if isinstance(a, Column):
                present *= 1 - null_share(left.columns.get(a.id, UNKNOWN), left.rows)
            domain, other = expression_ndv(a, left), self._left_over(b, right)
            if other is None or domain is None:
                shares.append(0.5)
                matches = 1.0
                continue
            shares.append(min(1.0, other / max(domain, 1.0)))
            matches = min(matches, right.rows / max(other, 1.0))
        share = min(shares)
        if rest < 1:
            share *= 1 - (1 - rest) ** max(matches, 1.0)
        return share * present

    def _left_over(self, expr: Expr, side: Statistics) -> float | None:
        """Distinct values of an expression among the rows of a side."""
        assert side.rows is not None
        if isinstance(expr, Column):
            return self.remaining(expr.id, side.columns.get(expr.id, UNKNOWN), side.rows)
        ndv = expression_ndv(expr, side)
        return None if ndv is None else distinct_after(ndv, side.rows)

    def limit_keys(
        self,
        changed: dict[ColumnId, ColumnStatistics],
        keys: Sequence[tuple[Expr, Expr]],
        left: Statistics,
        right: Statistics,
    ) -> None:
        """Enter in ``changed`` that join keys have no more distinct values than either side has left of them."""
        for a, b in keys:
            most = [n for e, s in ((a, left), (b, right)) if s.rows is not None and (n := self._left_over(e, s))]
            if not most:
                continue
            for expr, side in ((a, left), (b, right)):
                if isinstance(expr, Column):
                    known = changed.get(expr.id) or side.columns.get(expr.id, UNKNOWN)
                    if known.ndv is not None and known.ndv > min(most):
                        changed[expr.id] = replace(known, ndv=max(min(most), 1.0))


def expression_ndv(expr: Expr, side: Statistics) -> float | None:
    """The domain of an expression over the columns of a side."""
    if isinstance(expr, Column):
        return side.columns.get(expr.id, UNKNOWN).ndv
    ndv = derived(expr, side.columns).ndv
    return ndv if ndv is None or side.rows is None else min(ndv, max(side.rows, 1.0))


def at_least_one(rows: float, estimate: float) -> float:
    """An estimate that is not zero unless ``rows`` is: nothing at all would make everything above it free."""
    return max(estimate, 1.0) if rows else 0.0
