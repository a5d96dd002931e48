"""The search for the cheapest join tree: what a step costs, and which search a graph can afford."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from planner.cost import CostModel
from planner.optimizer.join_order.dpccp import TooManyPairs, csg_cmp_pairs
from planner.optimizer.join_order.query_graph import QueryGraph, bits, components
from planner.record import record

PAIR_LIMIT = 4_000
"""Pairs of sets that dynamic programming may look at; beyond it the search is greedy. Any graph of eight
relations stays below it, a star of eleven, and a chain of twenty-eight.
"""

_SMALLEST = 8  # of unconnected parts, the smallest ones are tried for a Cartesian product


@record
class Tree:
    """A join tree over the vertices in ``mask``; a leaf has no sides.

    ``left`` is the side with more bytes; but an operator is always ``right``.
    """

    mask: int
    cost: float
    left: Tree | None = None
    right: Tree | None = None


@dataclass(slots=True)
class Search:
    """Cheapest trees for the sets of one graph."""

    graph: QueryGraph
    model: CostModel = field(default_factory=CostModel)
    _sides: dict[int, tuple[float, float]] = field(default_factory=dict)

    def best(self) -> Tree:
        """The cheapest tree found for the whole graph."""
        parts = [t for c in components(self.graph.neighbours) for t in self.component(c)]
        whole = self.greedy(parts, products=True)
        assert len(whole) == 1, "operators that wait for each other"
        return whole[0]

    def component(self, mask: int) -> list[Tree]:
        """A connected part: by dynamic programming where that can be afforded.

        It may come back in several pieces, if operators in it wait for other parts.
        """
        if mask & (mask - 1) == 0:
            return [Tree(mask, 0.0)]
        size = mask.bit_count()
        if (size**3 - size) // 6 > PAIR_LIMIT:  # the pairs of a chain, and no connected graph has fewer
            return self.greedy([Tree(1 << v, 0.0) for v in bits(mask)])
        try:
            found = self.dynamic(mask, csg_cmp_pairs(self.graph.neighbours, mask, PAIR_LIMIT))
        except TooManyPairs:
            found = None
        return [found] if found is not None else self.greedy([Tree(1 << v, 0.0) for v in bits(mask)])

    def dynamic(self, mask: int, pairs: Iterable[tuple[int, int]]) -> Tree | None:
        """The cheapest tree by dynamic programming; None if operators leave no way to join the set."""
        can_join, step = self.graph.can_join, self.step
        costs: dict[int, float] = {1 << v: 0.0 for v in bits(mask)}
        splits: dict[int, tuple[int, int]] = {}
        for a, b in pairs:
            if a not in costs or b not in costs or not can_join(a, b):
                continue
            both = a | b
            cost = costs[a] + costs[b] + step(a, b)
            if both not in costs or cost < costs[both]:
                costs[both] = cost
                splits[both] = (a, b)

        return self.tree(mask, costs, splits) if mask in costs else None

    def tree(self, mask: int, costs: dict[int, float], splits: dict[int, tuple[int, int]]) -> Tree:
        """The tree that ``dynamic`` chose for a set."""
        if mask not in splits:
            return Tree(mask, 0.0)
        a, b = splits[mask]
        return self.join(self.tree(a, costs, splits), self.tree(b, costs, splits), costs[mask])

    def greedy(self, trees: list[Tree], products: bool = False) -> list[Tree]:
        """Join the pair with the smallest result, again and again (greedy operator ordering, Fegaras 1998).

        Pairs that an edge connects come first; with ``products``, what nothing connects is joined after them.
        """
        alive = dict(enumerate(trees))
        following = len(trees)
        scores: dict[tuple[int, int], tuple[float, float]] = {}
        for i in alive:
            self.rate(scores, alive, i, (j for j in alive if j < i))
        while len(alive) > 1:
            candidates = scores or (self.products(alive) if products else {})
            if not candidates:
                break
            i, j = min(candidates, key=candidates.__getitem__)
            a, b = alive.pop(i), alive.pop(j)
            alive[following] = self.join(a, b, a.cost + b.cost + self.step(a.mask, b.mask))
            scores = {p: s for p, s in scores.items() if i not in p and j not in p}
            self.rate(scores, alive, following, (k for k in alive if k != following))
            following += 1
        return list(alive.values())

    def rate(
        self,
        scores: dict[tuple[int, int], tuple[float, float]],
        alive: dict[int, Tree],
        one: int,
        others: Iterable[int],
    ) -> None:
        """Enter the pairs of ``one`` with those of ``others`` that are connected to it."""
        mask = alive[one].mask
        reached = 0
        for vertex in bits(mask):
            reached |= self.graph.neighbours[vertex]
        for other in others:
            b = alive[other].mask
            if (b & reached or self.waits_for(mask, b)) and self.graph.can_join(mask, b):
                scores[one, other] = (self.graph.cardinality(mask | b), self.step(mask, b))

    def waits_for(self, a: int, b: int) -> bool:
        """Whether one of the sets is an operator (that waited for the other set to come together)."""
        return self.graph.operator(a) is not None or self.graph.operator(b) is not None

    def products(self, alive: dict[int, Tree]) -> dict[tuple[int, int], tuple[float, float]]:
        """Cartesian products, of the smallest parts that there are."""
        parts = [i for i in alive if self.graph.operator(alive[i].mask) is None]
        parts.sort(key=lambda i: self.graph.cardinality(alive[i].mask))
        out = {}
        for at, i in enumerate(parts[:_SMALLEST]):
            for j in parts[at + 1 : _SMALLEST]:
                a, b = alive[i].mask, alive[j].mask
                out[i, j] = (self.graph.cardinality(a | b), self.step(a, b))
        return out

    def join(self, a: Tree, b: Tree, cost: float) -> Tree:
        if self.graph.operator(b.mask) is None:
            swap = self.graph.operator(a.mask) is not None or self.bytes(a.mask) < self.bytes(b.mask)
            a, b = (b, a) if swap else (a, b)
        return Tree(a.mask | b.mask, cost, a, b)

    def bytes(self, mask: int) -> float:
        return self.graph.cardinality(mask) * self.graph.width(mask)

    def step(self, a: int, b: int) -> float:
        """The cost of joining two sets, the smaller one built into a hash table."""
        graph, model = self.graph, self.model
        rows_a, width_a = self.side(a)
        rows_b, width_b = self.side(b)
        if rows_a * width_a < rows_b * width_b:
            rows_a, rows_b, width_b = rows_b, rows_a, width_a
        rows = graph.cardinality(a | b)
        if graph.is_hashed(a, b):
            return model.hash_join_cpu(rows_b, rows_a, rows, graph.width(a | b))
        return model.total(model.nested_loop(rows_a, rows_b, width_b, rows))

    def side(self, mask: int) -> tuple[float, float]:
        """Rows that a side of a join brings in, and their width."""
        known = self._sides.get(mask)
        if known is None:
            operator = self.graph.operator(mask)
            if operator is not None:
                known = operator.right_rows, operator.right_width
            else:
                known = self.graph.cardinality(mask), self.graph.width(mask)
            self._sides[mask] = known
        return known
