"""What a plan reads from outside of itself, and what can be said of predicates and plans over such
columns."""

from __future__ import annotations

from collections.abc import Sequence, Set

from planner import types
from planner.expr import (
    FLIPPED,
    Case,
    Column,
    ColumnId,
    Comparison,
    Expr,
    Literal,
    column,
    columns_of,
    conjunction,
    new_field,
)
from planner.logical import Filter, Item, LogicalPlan, Project, Scan, Values
from planner.optimizer.construct import extended
from planner.record import record


@record
class Bound:
    """A predicate ``inner = outer`` (or IS NOT DISTINCT FROM): under it ``inner`` has one value for each
    outer row."""

    op: str
    inner: Expr
    outer: Expr

    def on(self, inner: Expr) -> Expr:
        """The predicate with ``inner`` under another name."""
        return Comparison(self.op, inner, self.outer)


def as_bound(predicate: Expr, inner: Set[ColumnId], outer: Set[ColumnId]) -> Bound | None:
    """``predicate`` as a Bound, where ``inner`` are the subquery's columns and ``outer`` those around it."""
    if not isinstance(predicate, Comparison) or predicate.op not in ("=", "is not distinct from"):
        return None
    for op, a, b in (
        (predicate.op, predicate.left, predicate.right),
        (FLIPPED[predicate.op], predicate.right, predicate.left),
    ):
        in_a, in_b = columns_of(a), columns_of(b)
        if in_a & inner and not in_a & outer and in_b & outer and not in_b & inner:
            return Bound(op, a, b)
    return None


def with_columns(plan: LogicalPlan, exprs: Sequence[Expr]) -> tuple[LogicalPlan, tuple[Column, ...]]:
    """``plan`` with the values of ``exprs`` as columns: projected unless they are columns already."""
    items: dict[Expr, Item] = {}
    columns = []
    for expr in exprs:
        if isinstance(expr, Column) and expr.id in plan.schema:
            columns.append(expr)
        else:
            item = items.setdefault(expr, Item(new_field("key", expr.dtype), expr))
            columns.append(column(item.field))
    return extended(plan, items.values()), tuple(columns)


def distinct_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """``columns`` without repetitions."""
    return tuple(dict.fromkeys(columns))


def without_outer_leaf(plan: LogicalPlan) -> LogicalPlan:
    """A Scan or Values whose expressions read outer columns, as a Filter or Project that does so over a
    plain leaf."""
    match plan:
        case Scan(table, fields, predicates):
            return Filter(Scan(table, fields), conjunction(predicates))
        case Values(fields, rows):
            # SELECT CASE row WHEN 0 THEN … END FROM (VALUES (0), (1), …)
            number = new_field("row", types.INTEGER, nullable=False)
            literals = [Literal(i, types.INTEGER) for i in range(len(rows))]
            source = Values((number,), tuple((literal,) for literal in literals))
            items = []
            for i, item in enumerate(fields):
                cells = [row[i] for row in rows]
                whens = tuple(
                    (Comparison("=", column(number), literal), cell)
                    for literal, cell in zip(literals[:-1], cells[:-1], strict=True)
                )
                items.append(Item(item, Case(whens, cells[-1]) if whens else cells[-1]))
            return Project(source, tuple(items))
        case _:
            raise TypeError(f"not a leaf: {plan!r}")
