"""Take out of an OR what all its branches share, and what they say of one table."""

from __future__ import annotations

from dataclasses import replace

from planner.expr import (
    TRUE,
    ColumnId,
    Expr,
    Or,
    columns_of,
    conjunction,
    conjuncts,
    disjunction,
    disjuncts,
    is_volatile,
)
from planner.logical import Filter, Join, JoinKind, LogicalPlan
from planner.optimizer.context import OptimizerContext
from planner.tree import transform_up

Sources = dict[ColumnId, int]


def factor_disjunctions(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Make conjuncts of what an OR implies, so that they can be pushed down and used as join keys.

    Factoring is the distributive law, which holds in three-valued logic. In addition, where every branch
    restricts the same table, the OR of these restrictions is implied; it stands beside the OR, which stays.
    It is done for filters, and for conditions of inner joins, where a conjunct more that all passing rows
    fulfil changes nothing.

        Filter (p#1 = q#2 AND a#3 = 1 AND b#4 = 2) OR (p#1 = q#2 AND a#3 = 5 AND b#4 = 6)
    →   Filter p#1 = q#2 AND (a#3 = 1 OR a#3 = 5) AND (b#4 = 2 OR b#4 = 6)
               AND ((a#3 = 1 AND b#4 = 2) OR (a#3 = 5 AND b#4 = 6))
    """

    def visit(node: LogicalPlan) -> LogicalPlan:
        match node:
            case Filter(input, predicate):
                factored = _factor(conjuncts(predicate), input)
                return node if factored is None else Filter(input, conjunction(factored))
            case Join(JoinKind.INNER, left, right, condition):
                factored = _factor(condition, left, right)
                return node if factored is None else replace(node, condition=conjuncts(conjunction(factored)))
            case _:
                return node

    return transform_up(plan, visit)


def _factor(predicates: tuple[Expr, ...], *inputs: LogicalPlan) -> list[Expr] | None:
    """All conjuncts that follow; None if there is nothing to gain."""
    if not any(isinstance(p, Or) for p in predicates):
        return None
    out: list[Expr] = []
    sources: Sources = {}
    for predicate in predicates:
        if not isinstance(predicate, Or) or is_volatile(predicate):
            out.append(predicate)
            continue
        for part in conjuncts(factored(predicate)):
            if isinstance(part, Or):
                if not sources:
                    for plan in inputs:
                        _find_sources(plan, sources)
                out.extend(implied_by_source(part, sources))
            out.append(part)
    if len(out) == len(predicates) and all(a is b for a, b in zip(out, predicates, strict=True)):
        return None
    return out


def factored(expr: Or) -> Expr:
    """``(a AND b) OR (a AND c)`` as ``a AND (b OR c)``; ``a OR (a AND b)`` as ``a``."""
    branches = [conjuncts(b) for b in disjuncts(expr)]
    rest = set(branches[0]).intersection(*branches[1:])
    common = [c for c in branches[0] if c in rest]
    if not common:
        return expr
    remaining = [conjunction(c for c in branch if c not in rest) for branch in branches]
    return conjunction(common) if TRUE in remaining else conjunction([*common, disjunction(remaining)])


def implied_by_source(expr: Or, sources: Sources) -> list[Expr]:
    """For each source that every branch restricts, while the whole reads several: the OR of these
    restrictions.
    """
    branches = [conjuncts(b) for b in disjuncts(expr)]
    restricted: list[dict[int, list[Expr]]] = []
    for branch in branches:
        of_branch: dict[int, list[Expr]] = {}
        for predicate in branch:
            read = {sources.get(id, -1) for id in columns_of(predicate)}
            if len(read) == 1:
                of_branch.setdefault(read.pop(), []).append(predicate)
        restricted.append(of_branch)
    common = [s for s in restricted[0] if s != -1 and all(s in r for r in restricted[1:])]
    if len({sources.get(id, -1) for id in columns_of(expr)}) == 1:
        return []
    return [disjunction(conjunction(r[s]) for r in restricted) for s in common]


def _find_sources(plan: LogicalPlan, sources: Sources) -> None:
    """Number the columns by the operator below all joins that they come from."""
    match plan:
        case Filter(input, _):
            _find_sources(input, sources)
        case Join(kind, left, right):
            _find_sources(left, sources)
            if kind not in (JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK):
                _find_sources(right, sources)
        case _:
            sources.update(dict.fromkeys(plan.schema.ids, id(plan)))
