"""Fold constants and simplify expressions."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from operator import is_

from planner import types
from planner.evaluate import evaluate
from planner.expr import (
    FALSE,
    FLIPPED,
    NEGATED,
    TRUE,
    VOLATILE,
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    Comparison,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
    conjunction,
    conjuncts,
    disjuncts,
    is_volatile,
    null,
)
from planner.logical import Aggregate, Filter, Join, LogicalPlan, Scan
from planner.optimizer.context import OptimizerContext
from planner.optimizer.nullability import IsNullable, can_be_null, nullable_columns
from planner.optimizer.ranges import combine_ranges
from planner.optimizer.unwrap_casts import unwrap_comparison, unwrap_in_list
from planner.tree import transform_up

_NULL_BOOLEAN = null(types.BOOLEAN)
_CONSTANT = {Literal}


def simplify(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Evaluate what is constant, and write predicates in their simplest form.

    Safe because every step keeps the three-valued result for every row. Only where a predicate decides about
    rows (WHERE, ON, FILTER) does NULL count as FALSE. A constant that would raise an error stays as it is, so
    that it raises when, and only when, a row reaches it. Whether a column can be NULL is read from the
    input's schema, which knows of outer joins.

        Filter NOT (a#1 <= 2 + 3) AND (b#2 = 'x' OR b#2 = 'y') AND CAST(c#3 AS BIGINT) < 7
    →   Filter a#1 > 5 AND b#2 IN ('x', 'y') AND c#3 < 7
    """
    return transform_up(plan, _simplify_node, context.simplified)


def _simplify_node(node: LogicalPlan) -> LogicalPlan:
    if not node.expressions():
        return node
    nullable = nullable_columns([node.schema] if isinstance(node, Scan) else [c.schema for c in node.children()])
    match node:
        case Filter(input, predicate):
            simple = simplify_predicate(predicate, nullable)
            if simple == TRUE:
                return input
            return node if simple is predicate else Filter(input, simple)
        case Scan(_, _, predicates):
            kept = simplify_conjuncts(predicates, nullable)
            return node if kept is predicates else replace(node, predicates=kept)
        case Join(_, _, _, condition, comparison):
            kept = simplify_conjuncts(condition, nullable)
            simple_comparison = None if comparison is None else simplify_expression(comparison, nullable)
            if kept is condition and simple_comparison is comparison:
                return node
            return replace(node, condition=kept, comparison=simple_comparison)
        case Aggregate():
            return _simplify_aggregate(node, nullable)
        case _:
            old = node.expressions()
            new = [simplify_expression(e, nullable) for e in old]
            return node if all(a is b for a, b in zip(old, new, strict=True)) else node.with_expressions(new)


def _simplify_aggregate(node: Aggregate, nullable: IsNullable) -> Aggregate:
    items = []
    for item in node.aggregates:
        call = item.call
        old = call.expressions()
        new = [simplify_expression(e, nullable) for e in old]
        if any(a is not b for a, b in zip(old, new, strict=True)):
            call = call.with_expressions(new)
        if call.filter is not None and (kept := simplify_predicate(call.filter, nullable)) is not call.filter:
            call = replace(call, filter=None if kept == TRUE else kept)
        items.append(item if call is item.call else replace(item, call=call))
    if all(a is b for a, b in zip(items, node.aggregates, strict=True)):
        return node
    return replace(node, aggregates=tuple(items))


def simplify_conjuncts(predicates: tuple[Expr, ...], nullable: IsNullable) -> tuple[Expr, ...]:
    """Conjuncts that decide about rows, simplified; the same tuple if there was nothing to do."""
    if not predicates:
        return predicates
    kept = conjuncts(simplify_predicate(conjunction(predicates), nullable))
    same = len(kept) == len(predicates) and all(a is b for a, b in zip(kept, predicates, strict=True))
    return predicates if same else kept


def simplify_predicate(predicate: Expr, nullable: IsNullable) -> Expr:
    """A condition that decides about rows: NULL counts as FALSE."""
    simple = _null_is_false(simplify_expression(predicate, nullable))
    parts = conjuncts(simple)
    merged = combine_ranges([_not_null_of_itself(p, nullable) for p in parts])
    if len(merged) == len(parts) and all(a is b for a, b in zip(merged, parts, strict=True)):
        return simple
    return FALSE if FALSE in merged else conjunction(merged)


def _not_null_of_itself(predicate: Expr, nullable: IsNullable) -> Expr:
    """``x = x`` holds where x is not NULL."""
    match predicate:
        case Comparison("=" | "<=" | ">=", left, right) if left == right and not is_volatile(left):
            return TRUE if not can_be_null(left, nullable) else Not(IsNull(left))
        case _:
            return predicate


def _null_is_false(expr: Expr) -> Expr:
    """NULL as FALSE under AND and OR, where nothing negates it."""
    match expr:
        case Literal(None, _):
            return FALSE
        case And(args) | Or(args):
            new = [_null_is_false(a) for a in args]
            if all(a is b for a, b in zip(new, args, strict=True)):
                return expr
            return _connective(expr.with_children(new))
        case _:
            return expr


def simplify_expression(expr: Expr, nullable: IsNullable) -> Expr:
    """An expression with the same three-valued result; ``expr`` itself if there is nothing simpler."""
    if isinstance(expr, (Column, Literal)):
        return expr
    old = expr.children()
    new = [simplify_expression(c, nullable) for c in old]
    if not all(map(is_, old, new)):
        expr = expr.with_children(new)
    if set(map(type, new)) <= _CONSTANT and not (isinstance(expr, Call) and expr.name in VOLATILE):
        constant = evaluate(expr)
        if constant is not None:
            return constant
    match expr:
        case Comparison():
            return _comparison(expr, nullable)
        case And() | Or():
            return _connective(expr)
        case Not(arg):
            return _negation(arg, expr)
        case IsNull(arg):
            return expr if can_be_null(arg, nullable) else FALSE
        case Cast(arg, dtype, _):
            return arg if arg.dtype == dtype else expr
        case InList():
            return _in_list(expr)
        case Case():
            return _case(expr)
        case Arithmetic():
            return _arithmetic(expr)
        case Call("coalesce", _, _):
            return _coalesce(expr, nullable)
        case Call("like", (arg, Literal(str(pattern), _)), _) if "%" not in pattern and "_" not in pattern:
            return Comparison("=", arg, expr.args[1])
        case _:
            return expr


def _comparison(expr: Comparison, nullable: IsNullable) -> Expr:
    op, left, right = expr.op, expr.left, expr.right
    if isinstance(left, Literal) and not isinstance(right, Literal):
        expr = Comparison(FLIPPED[op], right, left)
        op, left, right = expr.op, expr.left, expr.right
    if isinstance(right, Literal):
        if right.value is None:
            match op:
                case "is not distinct from":
                    return _is_null(left, nullable)
                case "is distinct from":
                    return _negation(_is_null(left, nullable))
                case _:
                    return _NULL_BOOLEAN
        if right.dtype == types.BOOLEAN and op in ("=", "<>"):
            return left if right.value == (op == "=") else _negation(left)
    if op.startswith("is ") and not can_be_null(left, nullable) and not can_be_null(right, nullable):
        expr = Comparison("=" if op == "is not distinct from" else "<>", left, right)
    return unwrap_comparison(expr) or expr


def _is_null(arg: Expr, nullable: IsNullable) -> Expr:
    return IsNull(arg) if can_be_null(arg, nullable) else FALSE


def _negation(arg: Expr, whole: Expr | None = None) -> Expr:
    """NOT arg, moved inward; ``whole`` is the node to keep if it cannot be."""
    match arg:
        case Literal(value, _):
            return _NULL_BOOLEAN if value is None else FALSE if value else TRUE
        case Not(inner):
            return inner
        case Comparison(op, left, right):
            return Comparison(NEGATED[op], left, right)
        case And(args):
            return _connective(Or(tuple(_negation(a) for a in args)))
        case Or(args):
            return _connective(And(tuple(_negation(a) for a in args)))
        case _:
            return whole if whole is not None else Not(arg)


def _connective(expr: Expr) -> Expr:
    """AND and OR: flat, without duplicates, without the constants that decide nothing."""
    if isinstance(expr, And):
        args, neutral, decisive = conjuncts(expr), True, False
    else:
        args, neutral, decisive = disjuncts(expr), False, True
    kept: dict[Hashable, Expr] = {}
    for arg in args:
        if isinstance(arg, Literal) and arg.value is not None:
            if arg.value == decisive:
                return arg
            continue
        kept.setdefault(_same_either_way(arg), arg)
    new = tuple(kept.values())
    if isinstance(expr, (And, Or)):
        new = _drawn_into_lists(new, expr)
    if not new:
        return TRUE if neutral else FALSE
    if len(new) == 1:
        return new[0]
    old = expr.children()
    if len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True)):
        return expr
    return And(new) if isinstance(expr, And) else Or(new)


def _same_either_way(arg: Expr) -> Hashable:
    """What is the same for ``a = b`` and ``b = a``."""
    match arg:
        case Comparison(op, left, right) if FLIPPED[op] == op:
            return op, frozenset((left, right))
        case _:
            return arg


def _drawn_into_lists(args: tuple[Expr, ...], whole: And | Or) -> tuple[Expr, ...]:
    """``x = 1 OR x = 2 OR x IN (3, 4)`` as ``x IN (1, 2, 3, 4)``, in the place of the first.

    Likewise ``x <> 1 AND x <> 2 AND x <> 3`` as ``NOT x IN (1, 2, 3)``; two inequalities read better as they are.
    """
    listed = _listed if isinstance(whole, Or) else _excluded
    least = 2 if isinstance(whole, Or) else 3
    groups: dict[Expr, list[Expr]] = {}
    for arg in args:
        if (found := listed(arg)) is not None:
            groups.setdefault(found[0], []).append(arg)
    if all(len(g) < least for g in groups.values()):
        return args
    out: list[Expr] = []
    for arg in args:
        found = listed(arg)
        members = [arg] if found is None else groups[found[0]]
        if found is None or len(members) < least or is_volatile(arg):
            out.append(arg)
        elif members[0] is arg:
            values = tuple(dict.fromkeys(v for m in members for v in (listed(m) or found)[1]))
            drawn = InList(found[0], values)
            out.append(drawn if isinstance(whole, Or) else Not(drawn))
    return tuple(out)


def _listed(arg: Expr) -> tuple[Expr, tuple[Literal, ...]] | None:
    """What an equality or an IN list tests, and for which values."""
    match arg:
        case Comparison("=", tested, Literal() as value):
            return tested, (value,)
        case InList(tested, values):
            return tested, values
        case _:
            return None


def _excluded(arg: Expr) -> tuple[Expr, tuple[Literal, ...]] | None:
    """What an inequality or a NOT IN list tests, and which values it excludes."""
    match arg:
        case Comparison("<>", tested, Literal() as value):
            return tested, (value,)
        case Not(InList(tested, values)):
            return tested, values
        case _:
            return None


def _in_list(expr: InList) -> Expr:
    expr = unwrap_in_list(expr) or expr
    kept: tuple[Literal, ...] = tuple(dict.fromkeys(expr.values))
    if len(kept) == 1:
        return _NULL_BOOLEAN if kept[0].value is None else Comparison("=", expr.arg, kept[0])
    return expr if len(kept) == len(expr.values) else InList(expr.arg, kept)


def _case(expr: Case) -> Expr:
    """Without the branches that are never taken, and those behind one that always is."""
    whens: list[tuple[Expr, Expr]] = []
    otherwise = expr.otherwise
    for condition, value in expr.whens:
        kept = _null_is_false(condition)
        if kept == FALSE:
            continue
        if kept == TRUE:
            otherwise = value
            break
        whens.append((kept, value))
    if not whens:
        return otherwise
    if len(whens) == len(expr.whens) and all(a[0] is b[0] for a, b in zip(whens, expr.whens, strict=True)):
        return expr
    return Case(tuple(whens), otherwise)


def _arithmetic(expr: Arithmetic) -> Expr:
    """Integers plus nothing or times one."""
    match expr:
        case Arithmetic("+" | "-", left, Literal(0, _), dtype) if types.is_integer(dtype) and left.dtype == dtype:
            return left
        case Arithmetic("+", Literal(0, _), right, dtype) if types.is_integer(dtype) and right.dtype == dtype:
            return right
        case Arithmetic("*", left, Literal(1, _), dtype) if types.is_integer(dtype) and left.dtype == dtype:
            return left
        case Arithmetic("*", Literal(1, _), right, dtype) if types.is_integer(dtype) and right.dtype == dtype:
            return right
        case _:
            return expr


def _coalesce(expr: Call, nullable: IsNullable) -> Expr:
    """Without NULLs, and without what stands behind an argument that is never NULL."""
    kept: list[Expr] = []
    for arg in expr.args:
        if isinstance(arg, Literal) and arg.value is None:
            continue
        kept.append(arg)
        if not can_be_null(arg, nullable):
            break
    if len(kept) == len(expr.args):
        return expr
    return kept[0] if len(kept) == 1 else Call("coalesce", tuple(kept), expr.dtype) if kept else null(expr.dtype)
