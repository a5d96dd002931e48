"""The query graph: relations and operators as vertices, predicates as edges, and estimates of vertex sets.

Sets of vertices are bit masks. The estimate of a set depends on the set alone, never on the order in which
it was put together: all plans for a set are compared on the same number of rows.

Equalities between columns form *classes*: in ``a.x = b.x AND b.x = c.x`` all three are equal, and any one
connection per class between two sets joins them (so a ⋈ c is possible first). Within a set, a class of
columns with domains d1 ≤ d2 ≤ d3 keeps 1 / (d2·d3) of the Cartesian product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from planner.catalog import ColumnStatistics
from planner.expr import Column, ColumnId, Comparison, Expr, columns_of
from planner.logical import Filter, JoinKind, LogicalPlan
from planner.optimizer.join_order.region import Operator, Region
from planner.record import record
from planner.selectivity import UNKNOWN, combined_ndv, selectivity
from planner.statistics import DEFAULT_ROWS, Estimator, Statistics, split_condition


@record
class Member:
    """A column in an equality class: where it comes from, and its domain."""

    vertex: int
    column: Column
    ndv: float


@record
class Predicate:
    """A conjunct that is no equality of a class: the vertices it reads, and the share of rows that pass it.

    ``sides`` are the vertices of the two sides of an equality that a hash table can answer.
    """

    mask: int
    expr: Expr
    selectivity: float
    sides: tuple[int, int] | None = None


@record
class OperatorVertex:
    """An operator as a vertex: the vertices it needs, its right input, and whether it has an equality."""

    operator: Operator
    needs: int
    right_rows: float
    right_width: float
    hashed: bool


@dataclass(slots=True)
class QueryGraph:
    """Vertices 0 … n-1: first the relations, then the operators."""

    relations: list[LogicalPlan]
    rows: list[float]
    widths: list[float]
    neighbours: list[int]
    classes: list[list[Member]]
    predicates: list[Predicate]
    operators: dict[int, OperatorVertex]
    corrections: list[tuple[int, float]]  # a set that contains the mask has so many times more rows
    _cardinality: dict[int, float] = field(default_factory=dict)
    _width: dict[int, float] = field(default_factory=dict)
    _class_ndvs: list[list[tuple[int, float]]] = field(default_factory=list)
    _class_masks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for members in self.classes:
            # One domain for each vertex, the smallest where it has several columns in the class.
            best: dict[int, float] = {}
            for m in members:
                best[m.vertex] = min(m.ndv, best.get(m.vertex, m.ndv))
            self._class_ndvs.append(sorted(((1 << v, d) for v, d in best.items()), key=lambda p: p[1]))
            self._class_masks.append(sum(1 << v for v in best))

    def cardinality(self, mask: int) -> float:
        """Estimated rows of the join of a set of vertices."""
        known = self._cardinality.get(mask)
        if known is not None:
            return known
        result = 1.0
        for vertex in bits(mask):
            result *= self.rows[vertex]
        for domains in self._class_ndvs:
            first = True
            for bit, ndv in domains:
                if bit & mask:
                    if first:
                        first = False  # the smallest domain is what the others are cut down to
                    else:
                        result /= ndv
        for needed, factor in self.corrections:
            if needed & mask == needed:
                result *= factor
        for predicate in self.predicates:
            if predicate.mask & mask == predicate.mask:
                result *= predicate.selectivity
        result = max(result, 1.0)
        self._cardinality[mask] = result
        return result

    def width(self, mask: int) -> float:
        """Average bytes of a row of the join of a set of vertices."""
        known = self._width.get(mask)
        if known is None:
            known = sum(self.widths[v] for v in bits(mask))
            self._width[mask] = known
        return known

    def operator(self, mask: int) -> OperatorVertex | None:
        """The operator that ``mask`` consists of, if it is one alone."""
        if not self.operators or mask & (mask - 1):
            return None
        return self.operators.get(mask.bit_length() - 1)

    def can_join(self, a: int, b: int) -> bool:
        """Whether two disjoint sets that have plans may be joined: an operator needs its inputs there."""
        left, right = self.operator(a), self.operator(b)
        if left is not None:
            return right is None and left.needs & b == left.needs
        return right is None or right.needs & a == right.needs

    def is_hashed(self, a: int, b: int) -> bool:
        """Whether an equality joins two sets, so that they need not be compared pair by pair."""
        alone = self.operator(a) or self.operator(b)
        if alone is not None:
            return alone.hashed
        for mask in self._class_masks:
            if mask & a and mask & b:
                return True
        for p in self.predicates:
            if p.sides is not None:
                left, right = p.sides
                if (left & ~a == 0 and right & ~b == 0) or (left & ~b == 0 and right & ~a == 0):
                    return True
        return False

    def condition(self, a: int, b: int) -> list[Expr]:
        """What joins two sets of relations: an equality for each class they share, and newly covered predicates."""
        shared = [
            ([m for m in members if 1 << m.vertex & a], [m for m in members if 1 << m.vertex & b])
            for members in self.classes
        ]
        shared = [(left, right) for left, right in shared if left and right]
        # Of the equal columns take those of the vertex that has most of the keys: a composite key of one
        # table.
        often = Counter(v for sides in shared for side in sides for v in {m.vertex for m in side})
        out: list[Expr] = []
        for left, right in shared:
            x, y = (max(side, key=lambda m: (often[m.vertex], -m.ndv)) for side in (left, right))
            out.append(Comparison("=", x.column, y.column))
        return out + self.covered(a, b)

    def covered(self, a: int, b: int) -> list[Expr]:
        """Predicates that the union of two sets covers and that neither of them could apply by itself."""
        both = a | b
        own = 0 if self.operator(b) is not None else b  # an operator has no columns before it is applied
        return [p.expr for p in self.predicates if p.mask & ~both == 0 and p.mask & ~a and p.mask & ~own]


def components(neighbours: Sequence[int]) -> list[int]:
    """The connected parts of a graph, as masks."""
    out = []
    rest = (1 << len(neighbours)) - 1
    while rest:
        part, frontier = 0, rest & -rest
        while frontier:
            part |= frontier
            reached = 0
            for vertex in bits(frontier):
                reached |= neighbours[vertex]
            frontier = reached & ~part
        out.append(part)
        rest &= ~part
    return out


def bits(mask: int) -> Iterator[int]:
    """The positions of the set bits, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def build_graph(region: Region, relations: Sequence[LogicalPlan], estimator: Estimator) -> QueryGraph:
    """The graph of a region. ``relations`` and the operators' right sides are planned already."""
    return _Builder(region, relations, estimator).build()


class _Builder:
    def __init__(self, region: Region, relations: Sequence[LogicalPlan], estimator: Estimator) -> None:
        self.estimator = estimator
        self.relations = list(relations)
        self.operators = region.operators
        self.region = region
        self.statistics = [estimator.statistics(r) for r in relations]
        self.rows = [max(_rows(s), 1.0) for s in self.statistics]
        self.widths = [estimator.width(r) for r in relations]
        self.owner: dict[ColumnId, int] = {}
        for vertex, relation in enumerate(relations):
            for item in relation.schema:
                self.owner[item.id] = vertex
        for vertex, operator in enumerate(self.operators, len(relations)):
            join = operator.join
            if join.mark is not None:
                self.owner[join.mark.id] = vertex
            elif join.kind in (JoinKind.LEFT, JoinKind.SINGLE):
                for item in operator.right.schema:
                    self.owner[item.id] = vertex
        self.count = len(relations) + len(self.operators)
        self.neighbours = [0] * self.count

    def build(self) -> QueryGraph:
        classes, others = self.classes()
        for members in classes:
            self.connect(m.vertex for m in members)
        predicates = [self.predicate(e) for e in others]
        self.predicate_edges(predicates)
        operators = self.operator_vertices()
        return QueryGraph(
            self.relations,
            self.rows,
            self.widths,
            self.neighbours,
            classes,
            predicates,
            operators,
            self.corrections(classes),
        )

    def connect(self, vertices: Iterable[int]) -> None:
        mask = 0
        for vertex in vertices:
            mask |= 1 << vertex
        for vertex in bits(mask):
            self.neighbours[vertex] |= mask & ~(1 << vertex)

    def mask(self, columns: frozenset[ColumnId]) -> int:
        out = 0
        for id in columns:
            out |= 1 << self.owner[id]
        return out

    def classes(self) -> tuple[list[list[Member]], list[Expr]]:
        """Equality classes over the relations' columns, and the predicates that are none."""
        parent: dict[ColumnId, ColumnId] = {}
        columns: dict[ColumnId, Column] = {}
        others: list[Expr] = []

        def find(id: ColumnId) -> ColumnId:
            while parent[id] != id:
                parent[id] = parent[parent[id]]
                id = parent[id]
            return id

        plain = len(self.relations)
        for predicate in dict.fromkeys(self.region.predicates):
            match predicate:
                case Comparison("=", Column() as a, Column() as b) if (
                    a.dtype == b.dtype and self.owner[a.id] < plain and self.owner[b.id] < plain
                ):
                    for item in (a, b):
                        columns[item.id] = item
                        parent.setdefault(item.id, item.id)
                    parent[find(a.id)] = find(b.id)
                case _:
                    others.append(predicate)
        grouped: dict[ColumnId, list[Member]] = {}
        for id, item in columns.items():
            vertex = self.owner[id]
            ndv = self.statistics[vertex].columns.get(id, UNKNOWN).ndv
            known = self.rows[vertex] if ndv is None else max(ndv, 1.0)
            grouped.setdefault(find(id), []).append(Member(vertex, item, known))
        for members in grouped.values():
            self.equal_within(members)
        return [self.limited(members) for members in grouped.values()], others

    def limited(self, members: list[Member]) -> list[Member]:
        """The members of a class, with the values they have left if something chose among those of one of
        them (see ``Cardinality.pair_domain``).
        """
        known = [self.statistics[m.vertex].columns.get(m.column.id, UNKNOWN) for m in members]
        cardinality = self.estimator.cardinality
        if not any(cardinality.is_restricted(m.column.id, k) for m, k in zip(members, known, strict=True)):
            return members
        return [replace(m, ndv=min(m.ndv, self.rows[m.vertex])) for m in members]

    def equal_within(self, members: list[Member]) -> None:
        """Two columns of one relation in a class: their equality is that relation's own, wherever the class joins."""
        first: dict[int, Column] = {}
        for member in members:
            vertex = member.vertex
            other = first.setdefault(vertex, member.column)
            if other != member.column:
                filtered = Filter(self.relations[vertex], Comparison("=", other, member.column))
                self.relations[vertex] = filtered
                self.statistics[vertex] = self.estimator.statistics(filtered)
                self.rows[vertex] = max(_rows(self.statistics[vertex]), 1.0)

    def predicate(self, expr: Expr) -> Predicate:
        mask = self.mask(columns_of(expr))
        columns: dict[ColumnId, ColumnStatistics] = {}
        rows: float | None = None
        for vertex in bits(mask):
            if vertex < len(self.relations):
                columns.update(self.statistics[vertex].columns)
                rows = self.rows[vertex]
            else:
                right = self.operators[vertex - len(self.relations)].right
                columns.update(self.estimator.statistics(right).columns)
        share = max(selectivity((expr,), columns, rows), 1e-9)
        sides = None
        if isinstance(expr, Comparison) and expr.op in ("=", "is not distinct from"):
            a, b = self.mask(columns_of(expr.left)), self.mask(columns_of(expr.right))
            sides = (a, b) if a and b and not a & b else None
        return Predicate(mask, expr, share, sides)

    def predicate_edges(self, predicates: list[Predicate]) -> None:
        """Edges for predicates that are worth joining on: equalities of expressions, and anything with one row."""
        for predicate in predicates:
            if predicate.sides is not None:
                for vertex in bits(predicate.sides[0]):
                    self.hang(vertex, predicate.sides[1])
                continue
            for vertex in bits(predicate.mask):
                if vertex < len(self.relations) and self.rows[vertex] <= 1.0:
                    self.hang(vertex, predicate.mask & ~(1 << vertex))

    def hang(self, vertex: int, others: int) -> None:
        """Edges between one vertex and several, and none among those."""
        self.neighbours[vertex] |= others
        for other in bits(others):
            self.neighbours[other] |= 1 << vertex

    def operator_vertices(self) -> dict[int, OperatorVertex]:
        out = {}
        for vertex, operator in enumerate(self.operators, len(self.relations)):
            needs = self.mask(operator.needs | operator.after)
            right = self.estimator.statistics(operator.right)
            if right.rows is None:
                right = Statistics(DEFAULT_ROWS, False, right.columns)
            assert right.rows is not None
            join = operator.join
            conditions = join.expressions()
            keys, residual = split_condition(conditions, frozenset(self.owner), operator.right.schema.ids)
            self.rows.append(self.factor(join.kind, needs, right, keys, residual))
            width = self.estimator.width(operator.right)
            self.widths.append(width if join.kind in (JoinKind.LEFT, JoinKind.SINGLE) else 1.0)
            out[vertex] = OperatorVertex(operator, needs, max(right.rows, 1.0), width, bool(keys))
            # Where its inputs come together only by a Cartesian product, the operator waits for that.
            if any(needs & ~part == 0 for part in components(self.neighbours)):
                self.hang(vertex, needs)
        return out

    def factor(
        self,
        kind: JoinKind,
        needs: int,
        right: Statistics,
        keys: Sequence[tuple[Expr, Expr]],
        residual: Sequence[Expr],
    ) -> float:
        """Output rows of an operator for each input row."""
        columns: dict[ColumnId, ColumnStatistics] = {}
        rows = 1.0
        for vertex in bits(needs):
            if vertex < len(self.relations):
                columns.update(self.statistics[vertex].columns)
                rows = max(rows, self.rows[vertex])
        left = Statistics(rows, False, columns)
        return max(self.estimator.cardinality.join_rows(kind, left, right, keys, residual) / rows, 1e-6)

    def corrections(self, classes: list[list[Member]]) -> list[tuple[int, float]]:
        """Relations joined on several columns at once: their combinations are fewer than the product of domains."""
        shared: dict[tuple[int, int], list[tuple[Member, Member]]] = {}
        for members in classes:
            for i, a in enumerate(members):
                for b in members[i + 1 :]:
                    if a.vertex != b.vertex:
                        low, high = (a, b) if a.vertex < b.vertex else (b, a)
                        shared.setdefault((low.vertex, high.vertex), []).append((low, high))
        out = []
        for (left, right), pairs in shared.items():
            if len(pairs) < 2:
                continue
            product = 1.0
            for a, b in pairs:
                product *= max(a.ndv, b.ndv)
            limit = self.estimator.cardinality.composite_limit(
                [a.column for a, _ in pairs],
                self.statistics[left].columns,
                [b.column for _, b in pairs],
                self.statistics[right].columns,
            )
            combined = combined_ndv([max(a.ndv, b.ndv) for a, b in pairs], limit)
            if combined < product:
                out.append((1 << left | 1 << right, product / combined))
        return out


def _rows(statistics: Statistics) -> float:
    return DEFAULT_ROWS if statistics.rows is None else statistics.rows
