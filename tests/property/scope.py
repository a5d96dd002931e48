"""What a generated expression may refer to, and the state of one generated query."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tests.property.kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    """A column, group key or aggregate, written as an expression refers to it.

    Only a plain column can be used from the blocks inside this one.
    """

    text: str
    kind: Kind
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Scope:
    """The columns of one query block, and those of the blocks around it."""

    columns: tuple[Column, ...]
    outer: "Scope | None" = None

    def of(self, kind: Kind) -> list[Column]:
        """The block's own columns of a kind (a decimal of any scale, exact where the kind is)."""
        return [c for c in self.columns if c.kind.name == kind.name and c.kind.exact >= kind.exact]

    def outside(self, kind: Kind) -> list[Column]:
        """The columns of a kind that the blocks around this one offer."""
        if self.outer is None:
            return []
        return [c for c in self.outer.of(kind) if c.plain] + self.outer.outside(kind)

    def alone(self) -> "Scope":
        """The same columns with nothing around them."""
        return Scope(self.columns)


class SubqueryMaker(Protocol):
    """Writes subqueries for expressions; implemented by the query generator."""

    def scalar(self, scope: Scope, kind: Kind) -> str:
        """A subquery of one value or none, without parentheses."""

    def column(self, scope: Scope, kind: Kind) -> str:
        """A subquery of one column and any number of rows."""

    def pairs(self, scope: Scope, kinds: tuple[Kind, Kind]) -> str:
        """A subquery of two columns, to compare a row with."""

    def rows(self, scope: Scope) -> str:
        """A subquery for EXISTS."""


@dataclass(slots=True)
class Context:
    """The random numbers of one query and how much more may be written; `windows`: window functions, too."""

    rng: random.Random
    blocks_left: int
    subqueries: SubqueryMaker | None = None
    windows: bool = False
    _names: dict[str, int] = field(default_factory=dict)

    def name(self, prefix: str) -> str:
        """A name that no other part of this query has."""
        self._names[prefix] = self._names.get(prefix, 0) + 1
        return f"{prefix}{self._names[prefix]}"

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, items: Sequence[T]) -> T:
        return self.rng.choice(items)

    def weighted(self, items: Sequence[tuple[float, T]]) -> T:
        return self.rng.choices([item for _, item in items], [weight for weight, _ in items])[0]

    def take_block(self) -> bool:
        """Whether another query block may be written; if so it is counted."""
        if self.blocks_left <= 0:
            return False
        self.blocks_left -= 1
        return True
