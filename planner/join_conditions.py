"""Join conditions, told apart: the equalities that a hash table answers, and the rest."""

from __future__ import annotations

from collections.abc import Iterable

from planner.expr import Column, ColumnId, Comparison, Expr, columns_of


def equalities(
    condition: Iterable[Expr], left: frozenset[ColumnId], right: frozenset[ColumnId]
) -> tuple[list[tuple[str, Expr, Expr]], list[Expr]]:
    """The conjuncts ``f(left columns) = g(right columns)``, turned that way around, and the other conjuncts.

    The first of each triple is the operator: ``=`` or ``is not distinct from``.
    """
    found: list[tuple[str, Expr, Expr]] = []
    rest: list[Expr] = []
    for conjunct in condition:
        if isinstance(conjunct, Comparison) and conjunct.op in ("=", "is not distinct from"):
            a, b = columns_of(conjunct.left), columns_of(conjunct.right)
            if a and b and a <= left and b <= right:
                found.append((conjunct.op, conjunct.left, conjunct.right))
                continue
            if a and b and a <= right and b <= left:
                found.append((conjunct.op, conjunct.right, conjunct.left))
                continue
        rest.append(conjunct)
    return found, rest


def split_condition(
    condition: Iterable[Expr], left: frozenset[ColumnId], right: frozenset[ColumnId]
) -> tuple[list[tuple[Expr, Expr]], list[Expr]]:
    """As ``equalities``, where it does not matter how NULLs compare."""
    found, rest = equalities(condition, left, right)
    return [(a, b) for _, a, b in found], rest


def plain_columns(expressions: Iterable[Expr]) -> list[ColumnId]:
    """The ids of those expressions that are columns as they are."""
    return [e.id for e in expressions if isinstance(e, Column)]
