"""DPccp: dynamic programming over connected subgraphs and their connected complements.

G. Moerkotte, T. Neumann: Analysis of Two Existing and One New Dynamic Programming Algorithm for the
Generation of Optimal Bushy Join Trees without Cross Products, VLDB 2006. Each pair of connected, disjoint,
adjacent sets is looked at once, and every set after all its parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.optimizer.join_order.query_graph import bits


class TooManyPairs(Exception):
    """The graph has more pairs than the search may look at."""


def csg_cmp_pairs(neighbours: Sequence[int], component: int, limit: int) -> list[tuple[int, int]]:
    """All pairs (connected subgraph, connected complement) within ``component``, parts before wholes.

    Raises:
        TooManyPairs: there are more than ``limit``.
    """
    pairs: list[tuple[int, int]] = []

    def neighbourhood(mask: int) -> int:
        out = 0
        while mask:
            low = mask & -mask
            out |= neighbours[low.bit_length() - 1]
            mask ^= low
        return out

    def grow(mask: int, excluded: int, first: int) -> None:
        """Extend the connected set ``mask`` by its neighbours; ``first`` is the other side, or 0 while
        there is none.
        """
        fringe = neighbourhood(mask) & component & ~excluded & ~mask
        if not fringe:
            return
        subset = fringe & -fringe
        subsets = []
        while subset:
            subsets.append(subset)
            subset = (subset - fringe) & fringe  # the next larger subset of fringe
        for subset in subsets:
            emit(mask | subset, first)
        for subset in subsets:
            grow(mask | subset, excluded | fringe, first)

    def emit(mask: int, first: int) -> None:
        if first:
            if len(pairs) >= limit:
                raise TooManyPairs
            pairs.append((first, mask))
        else:
            complements(mask)

    def complements(mask: int) -> None:
        lowest = mask & -mask
        excluded = mask | (lowest - 1)
        fringe = neighbourhood(mask) & component & ~excluded
        for vertex in reversed(list(bits(fringe))):
            bit = 1 << vertex
            emit(bit, mask)
            grow(bit, excluded | (fringe & (bit | (bit - 1))), mask)

    for vertex in reversed(list(bits(component))):
        bit = 1 << vertex
        emit(bit, 0)
        grow(bit, bit | (bit - 1), 0)
    return pairs
