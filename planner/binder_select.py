"""SELECT: FROM, WHERE, GROUP BY, HAVING, SELECT, DISTINCT, ORDER BY, LIMIT, bound in this order.

Expressions after grouping are bound over FROM's columns like all others, aggregates standing in them as
columns of the Aggregate. When everything is bound (``Grouping.rewrite``), subexpressions equal to a group
key become the key's column, and a column of FROM that is then left is an error: it is neither grouped nor
aggregated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from sqlglot import exp

from planner import types
from planner.binder_clause import Aggregates, ClauseScope, FindAlias
from planner.binder_from import bind_from
from planner.binder_names import output_name
from planner.binder_order import (
    apply_modifiers,
    is_all,
    is_constant,
    limited,
    order_items,
    position_in,
    sort_direction,
)
from planner.binder_regroup import Grouping
from planner.binder_scope import BoundQuery, Environment, FromScope, OuterScope, written_name
from planner.binder_star import SelectItem, expand
from planner.binder_subquery import Attachment, attach_all
from planner.binder_tables import with_ctes
from planner.binder_windows import Windows
from planner.errors import ParseError, UnsupportedError
from planner.expr import (
    Column,
    ColumnId,
    Comparison,
    Expr,
    Field,
    Literal,
    SortKey,
    column,
    columns_of,
    is_volatile,
    new_field,
)
from planner.logical import Aggregate, Filter, Item, LogicalPlan, Project, Sort, numbered, project_to
from planner.optimizer.nullability import can_be_null, nullable_columns
from planner.parser import position_at

# Parts of a SELECT that this module binds; any other that is present is not supported.
_HANDLED = frozenset(
    {
        "with_",
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "distinct",
        "windows",
        "qualify",
    }
)
_WHAT = {
    "sample": "USING SAMPLE", "laterals": "LATERAL VIEW",
    "pivots": "PIVOT", "connect": "CONNECT BY", "match": "MATCH_RECOGNIZE", "into": "SELECT INTO",
    "kind": "SELECT AS", "locks": "FOR UPDATE", "hint": "a hint", "prewhere": "PREWHERE", "sort": "SORT BY",
    "cluster": "CLUSTER BY", "distribute": "DISTRIBUTE BY", "settings": "SETTINGS", "format": "FORMAT",
}  # fmt: skip


def bind_select(node: exp.Select, env: Environment, outer: OuterScope | None) -> BoundQuery:
    """A SELECT with everything that belongs to it."""
    for key, value in node.args.items():
        if value and key not in _HANDLED:
            place = value[0] if isinstance(value, list) else value
            what = _WHAT.get(key, key.strip("_").upper())
            error = env.unsupported(f"{what} is not supported yet", place)
            word = re.search(rf"\b{key}\b", env.sql, re.IGNORECASE) if error.position is None else None
            if word is not None:
                error.position = position_at(env.sql, word.start(), word.end() - 1)
            raise error
    return _Select(node, with_ctes(node, env, outer), outer).bind()


@dataclass(slots=True)
class _Select:
    """The state of one SELECT while it is bound."""

    node: exp.Select
    env: Environment
    outer: OuterScope | None
    plan: LogicalPlan = field(init=False)
    source: FromScope = field(init=False)
    items: list[SelectItem] = field(default_factory=list)
    bound: list[Expr] = field(default_factory=list)  # the items bound so far
    grouping: Grouping = field(init=False)
    aggregates: Aggregates = field(default_factory=Aggregates)
    windows: Windows = field(default_factory=Windows)
    resolving: set[str] = field(default_factory=set)  # aliases being bound, against cycles
    scope: ClauseScope = field(init=False)  # of SELECT and ORDER BY

    def bind(self) -> BoundQuery:
        args = self.node.args
        from_ = args.get("from_")
        self.plan, self.source = bind_from(
            from_.this if from_ is not None else None, list(args.get("joins") or ()), self.env, self.outer
        )
        self.items = expand(self.node, self.source, self.env)
        if args.get("where") is not None:
            self._where(args["where"].this)
        self.grouping = Grouping(self.env, self.source)
        earlier = partial(_earlier_alias, self.items, self.bound)
        self.windows.name(args.get("windows") or (), self.env)
        self.scope = ClauseScope(
            self.env, "SELECT", self.source, self.outer, earlier, self.aggregates, self.windows, has_windows=True
        )
        if args.get("group") is not None:
            self._group(args["group"])
        for item in self.items:
            self.bound.append(self._item(item))
        having, having_scope = self._having(args.get("having"))
        self.scope.clause = "QUALIFY"
        qualify = None if args.get("qualify") is None else self.scope.predicate(args["qualify"].this)
        self.scope.clause = "ORDER BY"
        order = self._order_keys()
        distinct_on = self._distinct_on()
        if qualify is not None and not self.windows.items:
            hint = "filter rows with WHERE, and groups with HAVING"
            raise self.env.error("QUALIFY needs a window function in it or in SELECT", args["qualify"], hint=hint)
        self._aggregate(having, having_scope)
        self._window(qualify)
        return self._output(order, distinct_on)

    # -- clauses

    def _where(self, node: exp.Expression) -> None:
        scope = ClauseScope(self.env, "WHERE", self.source, self.outer, self._aliases())
        predicate = scope.predicate(node)
        self.plan = Filter(attach_all(self.plan, scope.attachments), predicate)

    def _group(self, node: exp.Group) -> None:
        for key, what in (
            ("grouping_sets", "GROUPING SETS"),
            ("rollup", "ROLLUP"),
            ("cube", "CUBE"),
            ("totals", "TOTALS"),
        ):
            if node.args.get(key):
                raise self.env.unsupported(f"{what} is not supported yet", node)
        scope = ClauseScope(self.env, "GROUP BY", self.source, self.outer, self._aliases())
        if not node.expressions and not node.args.get("all"):
            raise ParseError("GROUP BY needs a key", sql=self.env.sql)
        self.grouping.active = True
        if node.args.get("all"):
            self._group_by_all(scope)
        for key in node.expressions:
            self._group_key(key, scope)
        self.plan = self.grouping.project(attach_all(self.plan, scope.attachments))
        self.grouping.subqueries = frozenset().union(*(a.produced for a in scope.attachments))
        self.scope.known = scope.bound

    def _group_by_all(self, scope: ClauseScope) -> None:
        """GROUP BY ALL: every item without an aggregate or window function that reads a column of FROM.

        A constant is no key: over no rows an aggregate beside it has one row, not none.
        """
        ids = self.source.field_ids()
        for index, item in enumerate(self.items):
            if item.node is None:
                self._group_item(index, scope)
            elif not item.has_aggregate and not item.has_window:
                alone = replace(scope, attachments=[], bound=[], aliases_of=scope)
                expr = alone.expression(item.node)
                read = columns_of(expr).union(*(a.needed for a in alone.attachments))
                if not read.isdisjoint(ids):
                    scope.attachments += alone.attachments
                    scope.bound += alone.bound
                    item.key = self.grouping.add(expr, item.name)
        self.grouping.active = bool(self.grouping.keys)

    def _group_key(self, node: exp.Expression, scope: ClauseScope) -> None:
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Tuple):
            for part in node.expressions:
                self._group_key(part, scope)
            return
        if isinstance(node, exp.Rollup | exp.Cube | exp.GroupingSets):
            what = {"groupingsets": "GROUPING SETS"}.get(node.key, node.key.upper())
            raise self.env.unsupported(f"{what} is not supported yet", node)
        position = position_in(node, len(self.items), "GROUP BY", self.env)
        if position is not None:
            self._group_item(position, scope)
            return
        index = self._alias_index(node)
        if index is not None:
            self._group_item(index, scope)
            return
        self.grouping.add(scope.expression(node), output_name(node, self.env.sql))

    def _alias_index(self, node: exp.Expression) -> int | None:
        """The item that a GROUP BY key names by its alias: where FROM has no column of that name."""
        if not isinstance(node, exp.Column) or node.args.get("table") is not None:
            return None
        name = node.name.lower()
        if name in self.source.by_name:
            return None
        return next((i for i, item in enumerate(self.items) if item.alias == name), None)

    def _group_item(self, index: int, scope: ClauseScope) -> None:
        item = self.items[index]
        if item.field is not None:
            self.grouping.add(column(item.field), item.name)
            return
        assert item.node is not None
        if item.has_aggregate:
            raise self.env.error("GROUP BY cannot contain aggregates", item.node, hint=f"column {index + 1} is one")
        item.key = self.grouping.add(scope.expression(item.node), item.name)

    def _item(self, item: SelectItem) -> Expr:
        if item.field is not None:
            self.scope.places.setdefault(item.field.id, item.place)
            return column(item.field)
        if item.key is not None:
            return item.key
        node = item.node
        assert node is not None
        if isinstance(node, exp.Column) and not item.alias:
            item.name = written_name(self.source, node)
        return self.scope.expression(node)

    def _having(self, node: exp.Having | None) -> tuple[Expr | None, ClauseScope | None]:
        if node is None:
            return None, None
        self.grouping.active = True
        scope = ClauseScope(
            self.env, "HAVING", self.source, self.outer, self.scope.find_alias, self.aggregates, self.windows,
            prefers_alias=lambda id: not self.grouping.has_column(id), known=self.scope.known,
        )  # fmt: skip
        return scope.predicate(node.this), scope

    def _aliases(self) -> FindAlias:
        """Aliases as WHERE and GROUP BY see them."""
        return partial(_alias_in, self.items, self.resolving)

    # -- ordering

    def _order_keys(self) -> list[tuple[Expr | int, bool, bool]]:
        """The ORDER BY keys: an output column's index or another expression; descending; NULLs first."""
        keys: list[tuple[Expr | int, bool, bool]] = []
        for item in order_items(self.node, self.env):
            direction = sort_direction(item)
            if is_all(item.this):
                keys += [(index, *direction) for index in range(len(self.items))]
                continue
            target = self._order_target(item.this)
            if isinstance(target, int) or not is_constant(target):
                keys.append((target, *direction))
        return keys

    def _order_target(self, node: exp.Expression) -> Expr | int:
        while isinstance(node, exp.Paren):
            node = node.this
        position = position_in(node, len(self.items), "ORDER BY", self.env)
        if position is not None:
            return position
        if isinstance(node, exp.Column) and node.args.get("table") is None:
            name = node.name.lower()
            for index, item in enumerate(self.items):
                if item.name.lower() == name:
                    return index
        expr = self.scope.expression(node)
        for index, bound in enumerate(self.bound):
            if bound == expr and not is_volatile(expr):
                return index
        return expr

    def _distinct_on(self) -> list[Expr | int] | None:
        distinct = self.node.args.get("distinct")
        if distinct is None or distinct.args.get("on") is None:
            return None
        on = distinct.args["on"]
        nodes = on.expressions if isinstance(on, exp.Tuple) else [on]
        self.scope.clause = "DISTINCT ON"
        return [self._order_target(n) for n in nodes]

    # -- assembly

    def _aggregate(self, having: Expr | None, having_scope: ClauseScope | None) -> None:
        """Puts the Aggregate and HAVING on the plan, if the query groups at all."""
        grouped = self.grouping.active or bool(self.aggregates.items)
        if grouped:
            plan = attach_all(self.plan, self.aggregates.attachments)
            items = tuple(self.aggregates.items.values())
            self.plan = Aggregate(plan, self.grouping.columns, items)
            self.grouping.visible = self.plan.schema.ids
        if having is not None and having_scope is not None:
            places = having_scope.places
            # An alias that HAVING names may be a subquery of the SELECT list.
            produced = frozenset().union(*(a.produced for a in self.scope.attachments))
            if not produced.isdisjoint(columns_of(having).union(*(a.needed for a in having_scope.attachments))):
                self.plan = attach_all(self.plan, self._regrouped(self.scope.attachments, self.scope))
                self.scope.attachments = []
            self.plan = attach_all(self.plan, self._regrouped(having_scope.attachments, having_scope))
            self.plan = Filter(self.plan, self.grouping.rewrite(having, places))

    def _window(self, qualify: Expr | None) -> None:
        """Puts subqueries, window functions and QUALIFY on the plan. Subqueries that read a window function's column
        come after it, all others before, since it may read theirs."""
        places, scope = self.scope.places, self.scope
        later: list[Attachment] = []
        read = set(self.windows.ids)
        for attachment in scope.attachments:
            if not read.isdisjoint(attachment.needed):
                later.append(attachment)
                read |= attachment.produced
        first = [a for a in scope.attachments if a not in later]
        plan = attach_all(self.plan, self._regrouped(first, scope))
        plan = self.windows.apply(plan, lambda expr: self.grouping.rewrite(expr, places))
        plan = attach_all(plan, self._regrouped(later, scope))
        self.plan = plan if qualify is None else Filter(plan, self.grouping.rewrite(qualify, places))

    def _regrouped(self, attachments: Sequence[Attachment], scope: ClauseScope) -> list[Attachment]:
        return [self.grouping.rewrite_attachment(a, scope.places) for a in attachments]

    def _output(self, order: list[tuple[Expr | int, bool, bool]], distinct_on: list[Expr | int] | None) -> BoundQuery:
        places = self.scope.places
        projection = _Projection(self.plan, self.env)
        for item, expr in zip(self.items, self.bound, strict=True):
            projection.add(self.grouping.rewrite(expr, places), item.name)
        outputs = len(self.items)
        distinct = self.node.args.get("distinct") is not None
        beside: dict[Expr, Item] = {}  # columns that only ORDER BY and DISTINCT ON read

        def place_of(target: Expr | int) -> Column:
            if isinstance(target, int):
                return column(projection.items[target].field)
            if distinct and distinct_on is None:
                raise self.env.error(
                    "ORDER BY of SELECT DISTINCT must name columns of its output",
                    self.node.args["order"],
                    hint="add the expression to the SELECT list",
                )
            expr = self.grouping.rewrite(target, places)
            if expr not in beside:
                beside[expr] = projection.add(expr, "order")
            return column(beside[expr].field)

        keys = tuple(SortKey(place_of(target), *direction) for target, *direction in order)
        on = None if distinct_on is None else tuple(place_of(target) for target in distinct_on)
        plan = projection.plan()
        ids = [item.field.id for item in projection.items[:outputs]]
        if on is not None:
            plan = _first_of_each(plan, on, keys)
        elif distinct:
            plan = Aggregate(plan, tuple(column(f) for f in plan.schema))
        if keys:
            plan = Sort(plan, keys)
        plan = limited(project_to(plan, ids), self.node, self.env)
        return BoundQuery(plan, tuple(item.name for item in self.items))


@dataclass(slots=True)
class _Projection:
    """The columns of the SELECT list, and those beside it that ORDER BY needs."""

    input: LogicalPlan
    env: Environment
    items: list[Item] = field(default_factory=list)
    taken: set[ColumnId] = field(default_factory=set)

    def add(self, expr: Expr, name: str) -> Item:
        """A column for ``expr``: one of the input keeps its id, unless the output has it already."""
        item = Item(self._field(expr, name), expr)
        self.items.append(item)
        return item

    def _field(self, expr: Expr, name: str) -> Field:
        schema = self.input.schema
        if isinstance(expr, Column) and expr.id in schema and expr.id not in self.taken:
            self.taken.add(expr.id)
            return schema[expr.id]
        return new_field(name, expr.dtype, can_be_null(expr, nullable_columns((schema,))))

    def plan(self) -> LogicalPlan:
        fields = [i.field.id for i in self.items]
        if all(isinstance(i.expr, Column) and i.expr.id == i.field.id for i in self.items):
            return project_to(self.input, fields)
        return Project(self.input, tuple(self.items))


def _first_of_each(plan: LogicalPlan, on: tuple[Column, ...], keys: tuple[SortKey, ...]) -> LogicalPlan:
    """DISTINCT ON: the first row, by ORDER BY, of each value of ``on``."""
    rows, number = numbered(plan, on, keys, "row_number")
    return Filter(rows, Comparison("=", number, Literal(1, types.BIGINT)))


def bind_parenthesized(node: exp.Expression, env: Environment, outer: OuterScope | None) -> BoundQuery:
    """``(query) ORDER BY … LIMIT …``."""
    env = with_ctes(node, env, outer)
    return apply_modifiers(env.bind_query(node.this, env, outer), node, env, outer)


def _earlier_alias(items: Sequence[SelectItem], bound: Sequence[Expr], name: str, scope: ClauseScope) -> Expr | None:
    """A SELECT alias as SELECT (of items further left), HAVING and ORDER BY see it: the bound item."""
    name = name.lower()
    for item, expr in zip(items, bound, strict=False):
        if item.alias == name:
            if is_volatile(expr):
                raise UnsupportedError(f'the alias "{name}" of a random value cannot be used again')
            return expr
    return None


def _alias_in(items: Sequence[SelectItem], resolving: set[str], name: str, scope: ClauseScope) -> Expr | None:
    """A SELECT alias as WHERE and GROUP BY see it: the item's expression bound in that clause.

    Args:
        resolving: the aliases that are being bound, against cycles.
    """
    name = name.lower()
    if name in resolving:
        return None
    for item in items:
        if item.alias != name or item.node is None:
            continue
        resolving.add(name)
        try:
            return scope.expression(item.node)
        finally:
            resolving.discard(name)
    return None
