"""Subqueries in expressions: each becomes a DependentJoin beneath the operator that evaluates the expression,
and its value or truth a column of that join.

A scalar one → SINGLE, ``EXISTS`` → MARK, ``IN`` and ``ANY`` → MARK with a comparison, ``ALL`` → NOT ANY of
the negated operator (x op ALL q fails for some row of q exactly when x negop ANY q; both are NULL together).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from sqlglot import exp

from planner import coercion, types
from planner.binder_scope import BoundQuery, Environment, NameScope, OuterScope
from planner.errors import BindError
from planner.expr import (
    NEGATED,
    ColumnId,
    Expr,
    Field,
    Not,
    column,
    columns_of,
    conjunction,
    new_field,
)
from planner.logical import DependentJoin, JoinKind, LogicalPlan
from planner.record import record


@record
class Attachment:
    """A subquery waiting for the plan that it is joined to.

    Args:
        kind: SINGLE or MARK.
        plan: the subquery.
        captured: the columns of outer queries that it reads, with the first place that does.
        comparison: of IN and ANY.
        mark: the truth value's column, of MARK.
    """

    kind: JoinKind
    plan: LogicalPlan
    captured: dict[ColumnId, exp.Expression] = field(default_factory=dict)
    comparison: Expr | None = None
    mark: Field | None = None

    def attach(self, plan: LogicalPlan) -> LogicalPlan:
        return DependentJoin(self.kind, plan, self.plan, (), self.comparison, self.mark)

    @property
    def produced(self) -> frozenset[ColumnId]:
        """The columns that the join adds."""
        return self.plan.schema.ids if self.mark is None else frozenset({self.mark.id})

    @property
    def needed(self) -> frozenset[ColumnId]:
        """The columns of the plan it is joined to, or of queries further out, that it reads."""
        compared = frozenset() if self.comparison is None else columns_of(self.comparison) - self.plan.schema.ids
        return compared | self.captured.keys()


def attach_all(plan: LogicalPlan, attachments: Sequence[Attachment]) -> LogicalPlan:
    """``plan`` with every subquery joined to it, in order: a later one may read an earlier one's value."""
    for attachment in attachments:
        plan = attachment.attach(plan)
    return plan


def query_of(node: exp.Expression) -> exp.Expression:
    """The query inside the parentheses of a subquery (which keep their own WITH, ORDER BY and LIMIT)."""
    while isinstance(node, exp.Subquery | exp.Paren) and not _has_modifiers(node):
        node = node.this
    return node


def _has_modifiers(node: exp.Expression) -> bool:
    return any(value for key, value in node.args.items() if key not in ("this", "alias"))


def bind_scalar(node: exp.Expression, scope: NameScope, env: Environment) -> tuple[Expr, Attachment]:
    bound, outer = _bind(node, scope, env)
    _check_width(bound, 1, node, env)
    return column(bound.fields[0]), Attachment(JoinKind.SINGLE, bound.plan, outer.captured)


def bind_exists(node: exp.Expression, scope: NameScope, env: Environment) -> tuple[Expr, Attachment]:
    bound, outer = _bind(node, scope, env)
    mark = new_field("exists", types.BOOLEAN, nullable=False)
    return column(mark), Attachment(JoinKind.MARK, bound.plan, outer.captured, None, mark)


def bind_quantified(
    op: str,
    quantifier: str,
    values: Sequence[Expr],
    node: exp.Expression,
    scope: NameScope,
    env: Environment,
) -> tuple[Expr, Attachment]:
    """``values op ANY (node)``, or ALL; IN is ``= ANY``."""
    if quantifier == "all":
        if len(values) > 1:
            raise env.unsupported("ALL of several columns is not supported", node)
        mark, attachment = bind_quantified(NEGATED[op], "any", values, node, scope, env)
        return Not(mark), attachment
    bound, outer = _bind(node, scope, env)
    _check_width(bound, len(values), node, env)
    if len(values) > 1 and op != "=":
        raise env.unsupported(f"several columns cannot be compared with a subquery by {op}", node)
    try:
        comparison = conjunction(
            coercion.compare(op, value, column(f)) for value, f in zip(values, bound.fields, strict=True)
        )
    except BindError as error:
        raise env.error(error.message, node, hint=error.hint) from None
    mark_field = new_field("in" if op == "=" else "any", types.BOOLEAN)
    return column(mark_field), Attachment(JoinKind.MARK, bound.plan, outer.captured, comparison, mark_field)


def _bind(node: exp.Expression, scope: NameScope, env: Environment) -> tuple[BoundQuery, OuterScope]:
    outer = OuterScope(scope)
    return env.bind_query(query_of(node), env, outer), outer


def _check_width(bound: BoundQuery, width: int, node: exp.Expression, env: Environment) -> None:
    if len(bound.fields) == width:
        return
    expected = "one column" if width == 1 else f"{width} columns"
    raise env.error(f"the subquery has {len(bound.fields)} columns; {expected} expected here", node)
