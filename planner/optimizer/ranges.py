"""Conjuncts that bound one expression by constants, drawn together: ranges, equalities and IN lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.evaluate import NotConstant, compare, order
from planner.expr import FALSE, Comparison, Expr, InList, Literal, is_volatile


@dataclass(slots=True)
class _Bounds:
    """What the conjuncts say of one expression: a set of values, or a lower and an upper bound."""

    values: tuple[Literal, ...] | None = None
    lower: Comparison | None = None
    upper: Comparison | None = None


def combine_ranges(predicates: Sequence[Expr]) -> list[Expr]:
    """The same conjuncts without those that others imply; ``[FALSE]`` if no value passes all of them.

    They decide about rows: a NULL passes none of them, so that ``x = 1 AND x = 2`` is FALSE. The conjuncts
    that are left are the very objects that came in, where they need not change.
    """
    groups: dict[Expr, list[Expr]] = {}
    for predicate in predicates:
        tested = _tested(predicate)
        if tested is not None:
            groups.setdefault(tested, []).append(predicate)
    if all(len(g) == 1 for g in groups.values()):
        return list(predicates)
    out: list[Expr] = []
    done: set[Expr] = set()
    for predicate in predicates:
        tested = _tested(predicate)
        if tested is None or len(groups[tested]) == 1 or is_volatile(tested):
            out.append(predicate)
        elif tested not in done:
            done.add(tested)
            merged = _merge(tested, groups[tested])
            if merged is None:
                return [FALSE]
            out.extend(merged)
    return out


def _tested(predicate: Expr) -> Expr | None:
    """The expression that a predicate bounds by constants."""
    match predicate:
        case Comparison("=" | "<" | "<=" | ">" | ">=", tested, Literal(value)) if value is not None:
            return tested
        case InList(tested, _):
            return tested
        case _:
            return None


def _merge(tested: Expr, predicates: list[Expr]) -> list[Expr] | None:
    """The fewest conjuncts that say the same; None if they exclude each other."""
    try:
        bounds = _Bounds()
        for predicate in predicates:
            _narrow(bounds, predicate)
    except NotConstant:
        return predicates
    if bounds.values is not None:
        limits = [b for b in (bounds.lower, bounds.upper) if b is not None]
        values = tuple(v for v in bounds.values if all(_passes(v, b) for b in limits))
        if not values:
            return None
        same = [p for p in predicates if _values(p) == values]
        return same[:1] or [_in(tested, values)]
    if bounds.lower is not None and bounds.upper is not None:
        sign = order(_constant(bounds.lower).value, _constant(bounds.upper).value)
        if sign > 0 or (sign == 0 and (bounds.lower.op, bounds.upper.op) != (">=", "<=")):
            return None
        if sign == 0:
            return [Comparison("=", tested, bounds.lower.right)]
    return [b for b in (bounds.lower, bounds.upper) if b is not None]


def _narrow(bounds: _Bounds, predicate: Expr) -> None:
    values = _values(predicate)
    if values is not None:
        known = bounds.values
        bounds.values = values if known is None else tuple(v for v in known if any(_equal(v, w) for w in values))
        return
    assert isinstance(predicate, Comparison)
    if predicate.op in (">", ">="):
        if bounds.lower is None or _is_tighter(predicate, bounds.lower, 1):
            bounds.lower = predicate
    elif bounds.upper is None or _is_tighter(predicate, bounds.upper, -1):
        bounds.upper = predicate


def _is_tighter(new: Comparison, old: Comparison, direction: int) -> bool:
    sign = order(_constant(new).value, _constant(old).value) * direction
    return sign > 0 or (sign == 0 and len(new.op) < len(old.op))  # < is tighter than <=


def _values(predicate: Expr) -> tuple[Literal, ...] | None:
    """The values that an equality or an IN list lets pass."""
    match predicate:
        case Comparison("=", _, Literal() as value):
            return (value,)
        case InList(_, values):
            return tuple(v for v in values if v.value is not None)
        case _:
            return None


def _constant(bound: Comparison) -> Literal:
    assert isinstance(bound.right, Literal)
    return bound.right


def _equal(a: Literal, b: Literal) -> bool:
    return order(a.value, b.value) == 0


def _passes(value: Literal, bound: Comparison) -> bool:
    return compare(bound.op, value.value, _constant(bound).value) is True


def _in(tested: Expr, values: tuple[Literal, ...]) -> Expr:
    return Comparison("=", tested, values[0]) if len(values) == 1 else InList(tested, values)
