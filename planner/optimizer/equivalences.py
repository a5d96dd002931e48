"""Classes of columns that join conditions make equal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from planner.expr import Column, ColumnId, Comparison, Expr


@dataclass(slots=True)
class Equivalences:
    """Union-find over columns. Of a = b and b = c it knows a = c."""

    _parent: dict[ColumnId, ColumnId] = field(default_factory=dict)

    @classmethod
    def of(cls, predicates: Iterable[Expr]) -> Equivalences:
        """The classes of the equalities between two columns among the conjuncts."""
        found = cls()
        for predicate in predicates:
            match predicate:
                case Comparison("=", Column(a), Column(b)):
                    found.add(a, b)
        return found

    def add(self, a: ColumnId, b: ColumnId) -> None:
        one, other = self.root(a), self.root(b)
        self._parent.setdefault(one, one)
        self._parent[other] = one

    def root(self, id: ColumnId) -> ColumnId:
        """The column that stands for the class of ``id``; ``id`` itself if it is in none."""
        parent = self._parent
        while (up := parent.get(id, id)) != id:
            parent[id] = parent.get(up, up)
            id = up
        return id

    def imply(self, predicate: Expr) -> bool:
        """Whether a predicate is an equality of two columns of a class."""
        match predicate:
            case Comparison("=", Column(a), Column(b)):
                return self.root(a) == self.root(b)
            case _:
                return False

    def classes(self) -> list[list[ColumnId]]:
        """The classes of two or more columns."""
        groups: dict[ColumnId, list[ColumnId]] = {}
        for id in self._parent:
            groups.setdefault(self.root(id), []).append(id)
        return [g for g in groups.values() if len(g) > 1]
