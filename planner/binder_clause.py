"""The scope that one clause's expressions are bound in: its columns, aliases, aggregates and subqueries.

``ClauseScope`` is the ``ExpressionScope`` of WHERE, SELECT, JOIN ON and the rest. It collects, and its owner
applies: subqueries wait in ``attachments`` for the plan beneath the clause, aggregates in ``aggregates`` for
the Aggregate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from typing import Literal as OneOf

from sqlglot import exp

from planner import coercion, evaluate
from planner.binder_aggregates import bind_aggregate_call
from planner.binder_expressions import bind_condition, bind_expression, located
from planner.binder_scope import Environment, FromScope, OuterScope, find_in, unknown_column
from planner.binder_subquery import Attachment, bind_exists, bind_quantified, bind_scalar
from planner.binder_windows import Windows
from planner.errors import SqlrayError
from planner.expr import AggregateCall, ColumnId, Expr, Literal, column, columns_of, new_field
from planner.functions_aggregate import value_of_no_rows
from planner.logical import AggregateItem
from planner.record import record

# How a clause finds the alias of a SELECT item: the item's expression bound there, or None.
FindAlias = Callable[[str, "ClauseScope"], Expr | None]


@dataclass(slots=True)
class Aggregates:
    """The aggregates of one SELECT, equal ones computed once; and the subqueries in their arguments."""

    items: dict[AggregateCall, AggregateItem] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)

    def add(self, call: AggregateCall, name: str) -> Expr:
        item = self.items.get(call)
        if item is None:
            nullable = value_of_no_rows(call).value is None
            item = AggregateItem(new_field(name, call.dtype, nullable), call)
            self.items[call] = item
        return column(item.field)


@record
class BoundSubquery:
    """A subquery as it was written, and the column that it has become."""

    form: str
    left: tuple[Expr, ...]
    query: exp.Expression
    value: Expr


@dataclass(slots=True)
class ClauseScope:
    """Where an expression stands.

    Args:
        env: the context, CTEs and text.
        clause: its name in errors ("WHERE").
        source: the columns of FROM.
        outer: the scope around the query, if it is a subquery.
        find_alias: SELECT aliases, which a name means where FROM has no such column. Nothing that holds the scope, as a
            method or a closure would: the cycle would keep all tables of the query until the garbage collector runs.
        aliases_of: the scope around an aggregate, in which aliases are bound.
        aggregates: where aggregates go; None where they are not allowed.
        windows: the window functions of the query, once there can be any; they are allowed where ``has_windows``.
        known: the subqueries of GROUP BY, which mean the same where they stand again.
        prefers_alias: whether an alias goes before a column of its name (HAVING: before one that is no key).
    """

    env: Environment
    clause: str
    source: FromScope
    outer: OuterScope | None = None
    find_alias: FindAlias | None = None
    aggregates: Aggregates | None = None
    windows: Windows | None = None
    has_windows: bool = False
    prefers_alias: Callable[[ColumnId], bool] | None = None
    aliases_of: ClauseScope | None = None
    known: list[BoundSubquery] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    bound: list[BoundSubquery] = field(default_factory=list)
    places: dict[ColumnId, exp.Expression] = field(default_factory=dict)  # where a column was read first

    # -- binding, for the owner of the clause

    def expression(self, node: exp.Expression) -> Expr:
        """The expression bound here."""
        return bind_expression(node, self)

    def predicate(self, node: exp.Expression) -> Expr:
        """The expression as a condition."""
        return bind_condition(node, self)

    # -- ExpressionScope, for bind_expression

    @property
    def sql(self) -> str:
        return self.env.sql

    @property
    def dialect(self) -> str:
        return self.env.dialect

    @property
    def now(self) -> datetime:
        return self.env.context.now()

    def resolve_column(self, node: exp.Column) -> Expr:
        found = self.find_column(node)
        if found is None:
            unknown_column(node, self.names(), self.tables(), self.env)
        return found

    def bind_scalar_subquery(self, query: exp.Expression) -> Expr:
        return self._subquery("scalar", (), query, lambda: bind_scalar(query, self, self.env))

    def bind_exists(self, query: exp.Expression) -> Expr:
        return self._subquery("exists", (), query, lambda: bind_exists(query, self, self.env))

    def bind_in(self, left: tuple[Expr, ...], query: exp.Expression) -> Expr:
        return self.bind_quantified("=", "any", left, query)

    def bind_quantified(
        self, op: str, quantifier: OneOf["any", "all"], left: tuple[Expr, ...], query: exp.Expression
    ) -> Expr:
        return self._subquery(
            f"{op} {quantifier}",
            left,
            query,
            lambda: bind_quantified(op, quantifier, left, query, self, self.env),
        )

    def bind_aggregate(self, node: exp.Expression) -> Expr:
        """The column of an aggregate.

        One that reads columns from around the query alone belongs to the query around (ISO 9075-2, 10.9).
        """
        inner = ClauseScope(
            self.env, "an aggregate", self.source, self.outer, self.find_alias, windows=self.windows, aliases_of=self
        )
        call = bind_aggregate_call(node, inner)
        read = columns_of(*call.expressions())
        local = self.source.field_ids()
        if read and self.outer is not None and not inner.attachments and read.isdisjoint(local):
            return self.outer.bind_aggregate(node)
        if self.aggregates is None:
            hint = _AGGREGATE_HINTS.get(self.clause)
            raise self.env.error(f"{self.clause} cannot contain aggregates", node, hint=hint)
        if not read.isdisjoint(item.field.id for item in self.aggregates.items.values()):
            raise self.env.error(
                "an aggregate cannot stand in an aggregate", node, hint=_AGGREGATE_HINTS["an aggregate"]
            )
        if any(not read.isdisjoint(a.produced) for a in self.attachments):
            raise self.env.unsupported("an aggregate of an alias that is a subquery is not supported", node)
        self.aggregates.attachments += inner.attachments
        return self.aggregates.add(call, call.name)

    def bind_window(self, node: exp.Expression) -> Expr:
        if self.windows is None or not self.has_windows:
            raise self._no_windows(node)
        inner = replace(self, clause="a window function", has_windows=False)  # what it collects is this scope's
        return self.windows.bind(node, inner, self.env)

    def _no_windows(self, node: exp.Expression) -> SqlrayError:
        hint = _WINDOW_HINTS.get(self.clause, "compute it in a subquery first")
        return self.env.error(f"{self.clause} cannot contain window functions", node, hint=hint)

    def parameter(self, node: exp.Expression) -> Literal:
        return parameter(node, self.env)

    # -- NameScope, for subqueries

    def find_column(self, node: exp.Column) -> Expr | None:
        item = find_in(self.source, node, self.env)
        plain = node.args.get("table") is None
        if item is not None:
            if plain and self.prefers_alias is not None and self.prefers_alias(item.id):
                named = self._alias(node.name)
                if named is not None:
                    return named
            self.places.setdefault(item.id, node)
            return column(item)
        named = self._alias(node.name) if plain else None
        if named is not None and self.windows is not None and not self.has_windows:
            if not self.windows.ids.isdisjoint(columns_of(named)):
                raise self._no_windows(node)
        if named is None and self.outer is not None:
            return self.outer.find_column(node)
        return named

    def _alias(self, name: str) -> Expr | None:
        return None if self.find_alias is None else self.find_alias(name, self.aliases_of or self)

    def names(self) -> list[str]:
        around = self.outer.names() if self.outer is not None else []
        return [c.name for c in self.source.visible] + around

    def tables(self) -> list[str]:
        around = self.outer.tables() if self.outer is not None else []
        return [r.name for r in self.source.relations if r.name] + around

    def _subquery(
        self,
        form: str,
        left: tuple[Expr, ...],
        query: exp.Expression,
        bind: Callable[[], tuple[Expr, Attachment]],
    ) -> Expr:
        """The column of a subquery: of one that GROUP BY has bound already, or of a new one."""
        for known in self.known:
            if known.form == form and known.left == left and known.query == query:
                return known.value
        value, attachment = bind()
        self.attachments.append(attachment)
        self.bound.append(BoundSubquery(form, left, query, value))
        return value


_WINDOW_HINTS = {
    "WHERE": "filter with QUALIFY, which comes after the window functions",
    "HAVING": "filter with QUALIFY, which comes after the window functions",
}
_AGGREGATE_HINTS = {
    "WHERE": "filter groups with HAVING",
    "GROUP BY": "group by the columns, and aggregate in SELECT",
    "an aggregate": "aggregate in a subquery first",
}


@contextmanager
def add_place(env: Environment, node: exp.Expression) -> Iterator[None]:
    """Gives errors that have no place the place of ``node``."""
    try:
        yield
    except SqlrayError as error:
        raise located(error, node, env.sql) from None


def constant(node: exp.Expression, env: Environment, what: str) -> Any:
    """The Python value of an expression that must be a constant."""
    name = node.find(exp.Column)
    if name is not None and node.find(exp.Query) is None:
        raise env.error(f"{what} must be a constant", name)
    scope = ClauseScope(env, what, FromScope())
    expr = scope.expression(node)
    if scope.attachments:
        raise env.unsupported(f"{what} cannot be a subquery", node, hint="pass the value as a parameter")
    value = evaluate.evaluate(expr)
    if value is None:
        raise env.error(f"{what} must be a constant", node)
    return value.value


def parameter(node: exp.Expression, env: Environment) -> Literal:
    """The value given for ``$1`` (``?`` is numbered by the parser) or ``$name``."""
    given = env.context.parameters
    key = node.name
    shown = f"parameter {key}" if key.isdigit() else f"parameter ${key}"
    if isinstance(given, Mapping):
        if key in given:
            return coercion.literal_of(given[key])
    elif given is not None and key.isdigit() and 1 <= int(key) <= len(given):
        return coercion.literal_of(given[int(key) - 1])
    if not given:
        hint = "pass params=[…] for ? and $1, params={…} for $name"
    elif isinstance(given, Mapping):
        hint = f"values are given for {', '.join(map(str, given))}"
    else:
        hint = f"{len(given)} value{'s are' if len(given) > 1 else ' is'} given"
    raise env.error(f"there is no value for {shown}", node, hint=hint)
