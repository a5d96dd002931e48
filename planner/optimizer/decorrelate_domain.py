"""The domain: the distinct combinations of the outer columns' values that a subquery is evaluated for."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import field, replace

from planner.expr import Column, ColumnId, Comparison, Expr, Field, Schema, column, is_volatile, mint
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Filter,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Scan,
    Values,
    passthrough,
)
from planner.record import record
from planner.rename import copy_with_new_ids

_KEEPS_LEFT = (JoinKind.LEFT, JoinKind.SINGLE, JoinKind.MARK)


@record
class Tagged:
    """``plan`` evaluated for every combination of outer values; ``tags`` are its columns that say which one.

    Values of the tags that no outer row has may occur as well; those rows find no partner in the end.
    """

    plan: LogicalPlan
    tags: dict[ColumnId, Column] = field(default_factory=dict)


@record
class Domain:
    """``plan`` has one row a combination; ``fields`` are its columns by the outer columns that they hold."""

    plan: CommonSubplan
    fields: dict[ColumnId, Field]

    @property
    def columns(self) -> Set[ColumnId]:
        """The outer columns."""
        return self.fields.keys()

    def read(self, columns: Set[ColumnId]) -> Tagged:
        """The combinations of some of the outer columns."""
        source: LogicalPlan = self.plan
        new = {c: replace(self.fields[c], id=mint()) for c in sorted(columns)}
        source = Project(source, tuple(Item(f, column(self.fields[c])) for c, f in new.items()))
        tags = {c: column(f) for c, f in new.items()}
        if len(tags) < len(self.fields):
            source = Aggregate(source, tuple(tags.values()))
        return Tagged(source, tags)

    def extend(self, tagged: Tagged, columns: Set[ColumnId]) -> Tagged:
        """``tagged`` with tags for all of ``columns``."""
        missing = columns - tagged.tags.keys()
        if not missing:
            return tagged
        combinations = self.read(columns | tagged.tags.keys() if tagged.tags else missing)
        condition = equal_tags(combinations, tagged)
        plan = Join(JoinKind.INNER, combinations.plan, tagged.plan, condition)
        return Tagged(plan, {**combinations.tags, **tagged.tags})


def equal_tags(left: Tagged, right: Tagged) -> tuple[Expr, ...]:
    """The predicates that rows of both belong to the same combination."""
    shared = [c for c in left.tags if c in right.tags]
    return tuple(same_value(left.tags[c], left.plan.schema, right.tags[c], right.plan.schema) for c in shared)


def same_value(a: Column, of_a: Schema, b: Column, of_b: Schema) -> Expr:
    """``a IS NOT DISTINCT FROM b``, or ``a = b`` where one is never NULL."""
    both_null = of_a[a.id].nullable and of_b[b.id].nullable
    return Comparison("is not distinct from" if both_null else "=", a, b)


def domain_of(left: LogicalPlan, columns: Set[ColumnId]) -> tuple[LogicalPlan, Domain]:
    """The domain of ``columns`` of ``left``, and ``left`` with what it shares with the domain."""
    left, source, names = _shared(left, columns)
    fields = {c: source.schema[names[c]] for c in sorted(columns)}
    held = tuple(dict.fromkeys(fields.values()))
    distinct = Aggregate(Project(source, passthrough(held)), tuple(map(column, held)))
    return left, Domain(CommonSubplan(distinct, "domain"), fields)


def _shared(left: LogicalPlan, columns: Set[ColumnId]) -> tuple[LogicalPlan, LogicalPlan, dict[ColumnId, ColumnId]]:
    """``left``, a plan with the same values of ``columns``, and the ids these have there.

    What is costly or not deterministic is computed once, for both. Joins that keep every left row do not
    change which values there are, so that only their left input is looked at.
    """
    match left:
        case Join(kind, inner, _) if kind in _KEEPS_LEFT and columns <= inner.schema.ids:
            kept, source, names = _shared(inner, columns)
            return left.with_children((kept, left.right)), source, names
        case Project(inner, items) if all(isinstance(i.expr, Column) for i in items if i.field.id in columns):
            below = {i.field.id: i.expr.id for i in items if isinstance(i.expr, Column) and i.field.id in columns}
            kept, source, names = _shared(inner, frozenset(below.values()))
            return left.with_children((kept,)), source, {c: names[b] for c, b in below.items()}
        case _ if _is_cheap(left):
            source, names = copy_with_new_ids(left)
            return left, source, names
        case _:
            body, ids = copy_with_new_ids(left)
            common = CommonSubplan(body, "outer")
            kept = Project(common, tuple(Item(f, _renamed(f, ids[f.id])) for f in left.schema))
            new = {f.id: replace(f, id=mint()) for f in left.schema if f.id in columns}
            items = tuple(Item(f, _renamed(f, ids[c])) for c, f in new.items())
            return kept, Project(common, items), {c: f.id for c, f in new.items()}


def _renamed(item: Field, id: ColumnId) -> Column:
    return Column(id, item.name, item.dtype)


def _is_cheap(plan: LogicalPlan) -> bool:
    """Whether to compute ``plan`` twice costs no more than to keep its rows: one scan, filtered."""
    match plan:
        case Scan(limit=None) | Values() | CommonSubplan():
            return True
        case Filter(source) | Project(source):
            return _is_cheap(source) and not any(is_volatile(e) for e in plan.expressions())
        case _:
            return False
