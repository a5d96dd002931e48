"""How the rows of a physical operator stand over tasks, and what that is worth to the operators above.

Glossary. A *placement* is a guarantee about the output of an operator: in how many tasks it is computed,
and by which expressions it is hash-partitioned. A *requirement* is what an operator asks of its inputs;
``exchange`` meets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.expr import Column, ColumnId, Expr, SortKey, columns_of, substitute
from planner.logical import Item, JoinKind
from planner.record import record

Keys = tuple[Expr, ...]


@record
class Placement:
    """Rows in ``tasks`` tasks. For each tuple of ``keys``: equal values of it are in one task, which the
    hash of that tuple tells. (A join that keeps both sides is partitioned by the keys of both.) ``skewed``: one
    partition is so much larger than the others that several tasks should share it. ``order``: the rows stand in the
    order of these keys from task to task (see ``RangePartitioned``).
    """

    tasks: int = 1
    keys: tuple[Keys, ...] = ()
    skewed: bool = False
    order: tuple[SortKey, ...] = ()

    @property
    def single(self) -> bool:
        return self.tasks == 1


SINGLE = Placement()


def groups_together(placement: Placement, keys: Sequence[Expr]) -> bool:
    """Whether rows with equal ``keys`` are in one task."""
    wanted = set(keys)
    return placement.single or any(wanted.issuperset(k) for k in placement.keys)


def through_project(placement: Placement, items: Sequence[Item]) -> Placement:
    """The placement after a projection: keys whose columns are dropped are lost."""
    renamed: dict[ColumnId, Expr] = {}
    for item in items:
        if isinstance(item.expr, Column):
            renamed.setdefault(item.expr.id, Column(item.field.id, item.field.name, item.field.dtype))
    kept = [k for k in placement.keys if columns_of(*k) <= renamed.keys()]
    keys = tuple(tuple(substitute(e, renamed) for e in keys) for keys in kept)
    return Placement(placement.tasks, keys, placement.skewed)


def only_columns(placement: Placement, columns: frozenset[ColumnId]) -> Placement:
    """The placement after an operator that outputs only some of its input's columns."""
    keys = tuple(k for k in placement.keys if columns_of(*k) <= columns)
    return Placement(placement.tasks, keys, placement.skewed)


@record
class Legal:
    """What may be done with the inputs of a join of one kind.

    A side may be broadcast if each of its rows contributes to the result independently of where it matches:
    not if rows of it come out for *not* matching, or once however often they match.
    """

    broadcast_left: bool
    broadcast_right: bool
    keeps_left: bool  # after a shuffle by the keys, the output is partitioned by the left keys
    keeps_right: bool


LEGAL: Mapping[JoinKind, Legal] = {
    #                      broadcast: left, right; keeps: left, right
    JoinKind.INNER: Legal(True, True, True, True),
    JoinKind.LEFT: Legal(False, True, True, False),
    JoinKind.RIGHT: Legal(True, False, False, True),
    JoinKind.FULL: Legal(False, False, False, False),
    JoinKind.SEMI: Legal(False, True, True, False),
    JoinKind.ANTI: Legal(False, True, True, False),
    JoinKind.MARK: Legal(False, True, True, False),
    JoinKind.SINGLE: Legal(False, True, True, False),
}
