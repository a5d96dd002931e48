"""Small builders that rules share. Each returns its input where there is nothing to add."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from planner.expr import Column, ColumnId, Expr, Field, Schema, conjunction, conjuncts, null
from planner.logical import Filter, Item, LogicalPlan, Project, Values, passthrough


def filtered(plan: LogicalPlan, predicates: Sequence[Expr]) -> LogicalPlan:
    """The rows of ``plan`` that pass all ``predicates``; a Filter that is there already takes them in."""
    if not predicates:
        return plan
    if isinstance(plan, Filter):
        return Filter(plan.input, conjunction([*conjuncts(plan.predicate), *predicates]))
    return Filter(plan, conjunction(predicates))


def empty(schema: Schema) -> Values:
    """No rows of ``schema``."""
    return Values(schema.fields, ())


def extended(plan: LogicalPlan, items: Iterable[Item]) -> LogicalPlan:
    """``plan`` with further columns."""
    added = tuple(items)
    return Project(plan, (*passthrough(plan.schema.fields), *added)) if added else plan


def null_items(fields: Iterable[Field]) -> tuple[Item, ...]:
    """The columns as NULLs: what an outer join gives for a side without a match."""
    return tuple(Item(replace(f, nullable=True), null(f.dtype)) for f in fields)


def is_renaming(items: Sequence[Item]) -> bool:
    """Whether the items only select, reorder or rename columns."""
    return all(isinstance(i.expr, Column) for i in items)


def is_passthrough(items: Sequence[Item]) -> bool:
    """Whether the items only select or reorder columns, each under its own id."""
    return all(isinstance(i.expr, Column) and i.expr.id == i.field.id for i in items)


def is_identity(plan: Project) -> bool:
    """Whether a Project gives the columns of its input as they are."""
    return is_passthrough(plan.items) and [f.id for f in plan.schema] == [f.id for f in plan.input.schema]


def item_expressions(items: Iterable[Item]) -> dict[ColumnId, Expr]:
    """How each output column of a Project is computed, as ``substitute`` takes it."""
    return {i.field.id: i.expr for i in items}
