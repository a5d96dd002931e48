"""What expressions mean after GROUP BY: group keys, aggregates, and nothing else of the rows before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from planner import types
from planner.binder_grouping_sets import aggregate, aggregate_by_sets
from planner.binder_scope import Environment, FromScope
from planner.binder_subquery import Attachment
from planner.expr import Cast, Column, ColumnId, Expr, Field, Literal, column, columns_of, new_field, substitute
from planner.logical import AggregateItem, Item, LogicalPlan, Project, passthrough
from planner.optimizer.nullability import can_be_null, nullable_columns
from planner.tree import transform_down, transform_up, walk


@dataclass(slots=True)
class Grouping:
    """The group keys of a SELECT, and how later expressions read them.

    Args:
        active: whether the query groups at all (an aggregate alone makes it group too).
        keys: each key's column, by the expression that the query wrote for it.
        computed: the keys that are no columns of FROM, projected beneath the Aggregate.
        sets: the grouping sets, if there are several.
        outputs: the columns that keys then have above the Aggregate, since they are NULL in the sets that lack them.
        above: these by what the text of a key means after GROUP BY: where it stands, it is the key, and nowhere else.
            (``x * 1.5`` may contain a cast of x, and yet is not NULL where a key CAST(x AS …) is.)
        named: the keys that GROUP BY names by the alias of an item.
        calls: the column of each different GROUPING(…), by its arguments.
        visible: the Aggregate's columns, once it is built.
        subqueries: the columns of subqueries in the keys, beneath the Aggregate.
    """

    env: Environment
    source: FromScope
    active: bool = False
    keys: dict[Expr, Column] = field(default_factory=dict)
    computed: list[Item] = field(default_factory=list)
    sets: tuple[tuple[Column, ...], ...] = ()
    outputs: dict[Column, Field] = field(default_factory=dict)
    above: dict[Expr, Column] = field(default_factory=dict)
    named: dict[str, Column] = field(default_factory=dict)
    calls: dict[tuple[Column, ...], Field] = field(default_factory=dict)
    visible: frozenset[ColumnId] | None = None
    subqueries: frozenset[ColumnId] = frozenset()
    _source_ids: frozenset[ColumnId] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(dict.fromkeys(self.keys.values()))

    def add(self, expr: Expr, name: str) -> Column:
        """The column of a key, new if the expression is not a key yet."""
        found = self.keys.get(expr)
        if found is not None:
            return found
        if isinstance(expr, Column) and expr.id in self.source_ids:
            key = expr
        else:
            item = Item(new_field(name, expr.dtype), expr)
            self.computed.append(item)
            key = column(item.field)
        self.keys[expr] = key
        return key

    def project(self, plan: LogicalPlan) -> LogicalPlan:
        """``plan`` with the computed keys beside its columns."""
        if not self.computed:
            return plan
        nullable = nullable_columns((plan.schema,))
        items = [Item(replace(i.field, nullable=can_be_null(i.expr, nullable)), i.expr) for i in self.computed]
        return Project(plan, (*passthrough(plan.schema.fields), *items))

    def by_sets(self, sets: Sequence[tuple[Column, ...]]) -> None:
        """Says which sets the keys make."""
        if len(sets) > 1:
            self.sets = tuple(sets)
            self.outputs = {key: new_field(key.name, key.dtype) for key in self.columns}

    def beneath(self, expr: Expr) -> Expr:
        """``expr`` over the rows that are grouped, as an aggregate sees a SELECT alias."""
        return substitute(expr, {f.id: key for key, f in self.outputs.items()})

    def key_of(self, expr: Expr) -> Column | None:
        """The key that an expression after GROUP BY is."""
        if self.sets:
            expr = self.beneath(expr)
        return self.keys.get(expr) or next((key for key in self.keys.values() if key == expr), None)

    def bits(self, keys: tuple[Column, ...]) -> Expr:
        """GROUPING of keys: a column of the Aggregate, or 0 where every row is grouped by all of them."""
        if not self.sets:
            return Cast(Literal(0, types.BIGINT), types.BIGINT)  # a literal would take the type beside it
        if keys not in self.calls:
            self.calls[keys] = new_field("grouping", types.BIGINT, nullable=False)
        return column(self.calls[keys])

    def aggregate(self, plan: LogicalPlan, items: tuple[AggregateItem, ...]) -> LogicalPlan:
        """The groups of ``plan``; from here on expressions are to be rewritten."""
        if self.sets:
            plan = aggregate_by_sets(plan, self.sets, self.outputs, items, self.calls)
            self.keys = {expr: column(self.outputs[key]) for expr, key in self.keys.items()}
        else:
            plan = aggregate(plan, self.columns, items)
        self.visible = plan.schema.ids
        return plan

    @property
    def source_ids(self) -> frozenset[ColumnId]:
        if self._source_ids is None:
            self._source_ids = self.source.field_ids()
        return self._source_ids

    def has_column(self, id: ColumnId) -> bool:
        """Whether a column of FROM is a group key."""
        return any(key.id == id for key in self.keys.values())

    def rewrite(self, expr: Expr, places: Mapping[ColumnId, exp.Expression]) -> Expr:
        """``expr`` over the Aggregate's columns.

        Raises:
            BindError: it reads a column that is neither grouped nor aggregated.
        """
        if self.visible is None:
            return expr
        if not self.sets:  # else it was bound to the keys' columns
            expr = self._substituted(expr)
        for id in self._hidden(columns_of(expr)):
            self._refuse(id, expr, places)
        return expr

    def rewrite_attachment(self, attachment: Attachment, places: Mapping[ColumnId, exp.Expression]) -> Attachment:
        """A subquery that stands after GROUP BY: what it reads of this query are keys and aggregates too."""
        if self.visible is None:
            return attachment
        if attachment.comparison is not None:
            comparison = self.rewrite(attachment.comparison, places)
            if comparison is not attachment.comparison:
                attachment = replace(attachment, comparison=comparison)
        hidden = self._hidden(frozenset(attachment.captured))
        if not hidden:
            return attachment
        plan = transform_up(attachment.plan, self._rewritten_node) if self._replaces else attachment.plan
        read = columns_of(*(e for node in walk(plan) for e in node.expressions()))
        for id in hidden:
            if id in read:
                self._refuse(id, None, {id: attachment.captured[id]})
        captured = {id: place for id, place in attachment.captured.items() if id not in hidden}
        place = next(iter(attachment.captured.values()))
        captured |= {key.id: place for key in self.keys.values() if key.id in read}
        return replace(attachment, plan=plan, captured=captured)

    @property
    def _replaces(self) -> bool:
        """Whether some key has another column above the Aggregate than its expression."""
        return bool(self.computed or self.sets)

    def _substituted(self, expr: Expr) -> Expr:
        """Subexpressions that are keys replaced by the keys' columns, the largest first."""
        if not self._replaces:
            return expr
        return transform_down(expr, lambda part: self.keys.get(part, part))

    def _rewritten_node(self, node: LogicalPlan) -> LogicalPlan:
        old = node.expressions()
        new = [self._substituted(e) for e in old]
        return node if all(a is b for a, b in zip(old, new, strict=True)) else node.with_expressions(new)

    def _hidden(self, ids: frozenset[ColumnId]) -> frozenset[ColumnId]:
        """Those of ``ids`` that are FROM's and do not come out of the Aggregate."""
        assert self.visible is not None
        return (ids & (self.source_ids | self.subqueries)) - self.visible

    def _refuse(self, id: ColumnId, expr: Expr | None, places: Mapping[ColumnId, exp.Expression]) -> None:
        if id in self.subqueries:
            raise self.env.unsupported(
                "a subquery of GROUP BY is used outside of its key",
                hint="give the subquery an alias in a derived table, and group by that",
            )
        place = places.get(id)
        names = [c.name for c in self.source.visible if c.field.id == id]
        names += [c.name for r in self.source.relations for c in r.columns if c.field.id == id]
        name = names[0] if names else "?"
        raise self.env.error(
            f'column "{name}" must appear in GROUP BY or stand in an aggregate',
            place,
            hint=f"add it to GROUP BY, or take any_value({name}) if any of its values will do",
        )
