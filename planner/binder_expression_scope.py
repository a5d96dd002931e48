"""What binding an expression asks of the query that the expression stands in."""

from __future__ import annotations

import datetime as dt
from typing import Literal as OneOf
from typing import Protocol

from sqlglot import exp

from planner.expr import Expr


class ExpressionScope(Protocol):
    """What an expression asks of the query it stands in."""

    @property
    def sql(self) -> str:
        """The text that positions refer to."""
        ...

    @property
    def dialect(self) -> str:
        """The dialect that the text was parsed in."""
        ...

    @property
    def now(self) -> dt.datetime:
        """The one moment that now() means in this query; aware, UTC."""
        ...

    def resolve_column(self, node: exp.Column) -> Expr:
        """What a column name means."""
        ...

    def bind_scalar_subquery(self, query: exp.Expression) -> Expr:
        """The value of a subquery of one row and one column."""
        ...

    def bind_exists(self, query: exp.Expression) -> Expr:
        """Whether a subquery has rows."""
        ...

    def bind_in(self, left: tuple[Expr, ...], query: exp.Expression) -> Expr:
        """Whether ``left`` is among a subquery's rows, three-valued."""
        ...

    def bind_quantified(
        self, op: str, quantifier: OneOf["any", "all"], left: tuple[Expr, ...], query: exp.Expression
    ) -> Expr:
        """``left op ANY (query)``, ``left op ALL (query)``, three-valued; ``op`` is one of COMPARISONS."""
        ...

    def bind_aggregate(self, node: exp.Expression) -> Expr:
        """The result of an aggregate call (with its FILTER, WITHIN GROUP, … around it)."""
        ...

    def bind_window(self, node: exp.Expression) -> Expr:
        """The result of a call with OVER."""
        ...

    def parameter(self, node: exp.Expression) -> Expr:
        """The value of a parameter."""
        ...
