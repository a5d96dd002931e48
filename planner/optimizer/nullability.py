"""Which expressions can be NULL, and which predicates fail when columns are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from planner.expr import (
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    ColumnId,
    Comparison,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
    Schema,
)
from planner.functions import find_scalar

# Scalar functions that give a value whenever no argument is NULL.
_TOTAL_FUNCTIONS = frozenset({
    "length", "lower", "upper", "substring", "||", "starts_with", "ends_with", "contains", "like", "ilike",
    "strpos", "year", "quarter", "month", "day",
})  # fmt: skip

IsNullable = Callable[[ColumnId], bool]


def nullable_columns(schemas: Iterable[Schema]) -> IsNullable:
    """Whether a column of one of the schemas can be NULL; a column of none of them can."""
    known = tuple(schemas)

    def is_nullable(id: ColumnId) -> bool:
        return next((s[id].nullable for s in known if id in s), True)

    return is_nullable


def can_be_null(expr: Expr, nullable: IsNullable) -> bool:
    """Whether ``expr`` can be NULL, given which columns can."""
    match expr:
        case Column(id):
            return nullable(id)
        case Literal(value, _):
            return value is None
        case IsNull():
            return False
        case Cast(arg, _, safe):
            return safe or can_be_null(arg, nullable)
        case Comparison(op, left, right):
            if op.startswith("is "):
                return False
            return can_be_null(left, nullable) or can_be_null(right, nullable)
        case Arithmetic(op, left, right, _):
            return op in ("/", "//", "%") or can_be_null(left, nullable) or can_be_null(right, nullable)
        case And(args) | Or(args):
            return any(can_be_null(a, nullable) for a in args)
        case Not(arg):
            return can_be_null(arg, nullable)
        case InList(arg, values):
            return can_be_null(arg, nullable) or any(v.value is None for v in values)
        case Case(whens, otherwise):
            return can_be_null(otherwise, nullable) or any(can_be_null(v, nullable) for _, v in whens)
        case Call(name, args, _):
            if name == "coalesce":
                return all(can_be_null(a, nullable) for a in args)
            return name not in _TOTAL_FUNCTIONS or any(can_be_null(a, nullable) for a in args)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


_NULL: frozenset[bool | None] = frozenset({None})
_FALSE: frozenset[bool | None] = frozenset({False})
_ANY: frozenset[bool | None] = frozenset({None, False, True})


def rejects_nulls(predicate: Expr, columns: Collection[ColumnId]) -> bool:
    """Whether ``predicate`` cannot be TRUE for a row in which all of ``columns`` are NULL."""
    return True not in _truths(predicate, columns)


def is_null_with(expr: Expr, columns: Collection[ColumnId]) -> bool:
    """Whether ``expr`` is NULL for every row in which all of ``columns`` are."""
    return _truths(expr, columns) == _NULL


def _truths(expr: Expr, nulls: Collection[ColumnId]) -> frozenset[bool | None]:
    """The truth values that a boolean ``expr`` may take when the columns ``nulls`` are NULL.

    For a part of another type, ``{None}`` says that it is NULL and anything else that it may have a value.
    """
    match expr:
        case Column(id):
            return _NULL if id in nulls else _ANY
        case Literal(value, _):
            return frozenset({value}) if value is None or isinstance(value, bool) else _ANY
        case Not(arg):
            return frozenset(None if v is None else not v for v in _truths(arg, nulls))
        case IsNull(arg):
            inner = _truths(arg, nulls)
            return frozenset({True}) if inner == _NULL else _ANY - _NULL
        case And(args):
            parts = [_truths(a, nulls) for a in args]
            if any(p == _FALSE for p in parts):
                return _FALSE
            return _ANY - {True} if any(True not in p for p in parts) else _ANY
        case Or(args):
            parts = [_truths(a, nulls) for a in args]
            if all(True not in p for p in parts):
                return frozenset().union(*parts)
            return _ANY
        case Comparison(op, left, right) if not op.startswith("is "):
            return _NULL if _NULL in (_truths(left, nulls), _truths(right, nulls)) else _ANY
        case Comparison("is not distinct from", left, right):
            for one, other in ((left, right), (right, left)):
                if _truths(one, nulls) == _NULL and isinstance(other, Literal) and other.value is not None:
                    return _FALSE
            return _ANY
        case Arithmetic(_, left, right, _):
            return _NULL if _NULL in (_truths(left, nulls), _truths(right, nulls)) else _ANY
        case Cast(arg, _, _) | InList(arg, _):
            return _NULL if _truths(arg, nulls) == _NULL else _ANY
        case Case(whens, otherwise):
            return _case_truths(whens, otherwise, nulls)
        case Call("coalesce", args, _):
            return frozenset().union(*(p for a in args if (p := _truths(a, nulls)) != _NULL)) or _NULL
        case Call(name, args, _):
            known = find_scalar(name)
            strict = known is not None and known.null_on_null
            return _NULL if strict and any(_truths(a, nulls) == _NULL for a in args) else _ANY
        case _:
            return _ANY


def _case_truths(
    whens: tuple[tuple[Expr, Expr], ...], otherwise: Expr, nulls: Collection[ColumnId]
) -> frozenset[bool | None]:
    possible: frozenset[bool | None] = frozenset()
    for condition, value in whens:
        truths = _truths(condition, nulls)
        if True in truths:
            possible |= _truths(value, nulls)
        if truths == {True}:
            return possible
    return possible | _truths(otherwise, nulls)
