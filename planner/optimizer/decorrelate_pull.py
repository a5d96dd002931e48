"""Pulling correlation out of a subquery: the cheap way, where it is possible.

A plan that reads outer columns only in filters and in computed columns is the same as an uncorrelated plan
whose rows are filtered and whose columns are computed afterwards, by the join with the outer side. TPC-H
Q4:

    DependentJoin mark                         Join mark on l_orderkey = o_orderkey
      Scan orders                       =>       Scan orders
      Filter l_orderkey = o_orderkey             Scan lineitem
        Scan lineitem

Through an aggregate, a predicate ``inner = outer`` is pulled by grouping by ``inner`` too: the groups of
one outer row are those where it equals ``outer``. The same holds for the partitions of a row number, and so
for LIMIT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import field, replace
from enum import Enum

from planner.expr import (
    TRUE,
    Column,
    ColumnId,
    Expr,
    SortKey,
    column,
    columns_of,
    conjuncts,
    is_volatile,
    new_field,
    substitute,
)
from planner.logical import (
    Aggregate,
    AggregateItem,
    CommonSubplan,
    DependentJoin,
    Filter,
    Item,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
    passthrough,
)
from planner.optimizer.construct import filtered
from planner.optimizer.decorrelate_columns import (
    Bound,
    as_bound,
    distinct_columns,
    with_columns,
    without_outer_leaf,
)
from planner.optimizer.decorrelate_limit import first_rows, limited
from planner.optimizer.push_filters import is_fallible
from planner.outer_columns import OuterColumns
from planner.record import record
from planner.rename import copy_with_new_ids

LEFT_PRESERVING = (JoinKind.LEFT, JoinKind.SINGLE, JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK)


class Need(Enum):
    """What the parent wants to know of a subquery's rows."""

    ROWS = "rows"  # each of them
    SET = "set"  # which there are, not how often
    EXISTENCE = "existence"  # whether there is one


@record
class Pulled:
    """``plan`` reads no outer column. Its rows that pass ``predicates``, with ``computed``, are the
    subquery's.

    A column of the subquery is one of ``plan`` or one of ``computed``; ``plan`` may have more.
    """

    plan: LogicalPlan
    predicates: tuple[Expr, ...] = ()
    computed: Mapping[ColumnId, Expr] = field(default_factory=dict)


@record
class Pull:
    """One attempt: the columns of the outer side, and which outer columns each plan reads."""

    outer: frozenset[ColumnId]
    reads: OuterColumns

    def __call__(self, plan: LogicalPlan, need: Need) -> Pulled | None:
        """``plan`` without its correlation, or None where this cannot be done."""
        if not self.reads.of(plan) & self.outer:
            return Pulled(plan)
        if any(is_volatile(e) for e in plan.expressions()):
            return None
        match plan:
            case Scan() | Values():
                return self(without_outer_leaf(plan), need)
            case Filter():
                return self._filter(plan, need)
            case Project():
                return self._project(plan, need)
            case Join(JoinKind.INNER):
                return self._inner_join(plan, need)
            case Join() | DependentJoin():
                return self._outer_join(plan, need)
            case Aggregate():
                return self._aggregate(plan, need)
            case Sort(source, _, None, 0):
                return self(source, need)
            case Sort() | Limit():
                return self._limit(plan, need)
            case Union():
                return self._union(plan)
            case Window():
                return self._window(plan)
            case CommonSubplan(source):
                copy, ids = copy_with_new_ids(source)
                items = tuple(Item(f, replace(column(f), id=ids[f.id])) for f in plan.schema)
                return self(Project(copy, items), need)
            case _:
                return None

    def _is_outer(self, expr: Expr) -> bool:
        return bool(columns_of(expr) & self.outer)

    def _filter(self, plan: Filter, need: Need) -> Pulled | None:
        if need is not Need.ROWS:
            pairs = _matching_pairs(plan)
            if pairs is not None:
                return self(pairs, need)
        below = self(plan.input, Need.SET if need is Need.EXISTENCE else need)
        if below is None:
            return None
        here: list[Expr] = []
        above = list(below.predicates)
        for predicate in conjuncts(substitute(plan.predicate, below.computed)):
            waits = self._is_outer(predicate) or (below.predicates and is_fallible(predicate))
            (above if waits else here).append(predicate)
        return replace(below, plan=filtered(below.plan, here), predicates=tuple(above))

    def _project(self, plan: Project, need: Need) -> Pulled | None:
        below = self(plan.input, need)
        if below is None:
            return None
        items, computed = [], {}
        for item in plan.items:
            expr = substitute(item.expr, below.computed)
            if self._is_outer(expr) or (below.predicates and is_fallible(expr)):
                computed[item.field.id] = expr
            else:
                items.append(Item(item.field, expr))
        kept = {i.field.id for i in items}
        wanted = columns_of(*below.predicates, *computed.values())
        extra = [f for f in below.plan.schema if f.id in wanted and f.id not in kept]
        return Pulled(Project(below.plan, (*items, *passthrough(extra))), below.predicates, computed)

    def _inner_join(self, plan: Join, need: Need) -> Pulled | None:
        need = Need.SET if need is Need.EXISTENCE else need
        left, right = self(plan.left, need), self(plan.right, need)
        if left is None or right is None:
            return None
        computed = {**left.computed, **right.computed}
        condition = [substitute(c, computed) for c in plan.condition]
        inner = tuple(c for c in condition if not self._is_outer(c))
        outer = tuple(c for c in condition if self._is_outer(c))
        joined = Join(JoinKind.INNER, left.plan, right.plan, inner)
        return Pulled(joined, (*left.predicates, *right.predicates, *outer), computed)

    def _outer_join(self, plan: Join | DependentJoin, need: Need) -> Pulled | None:
        """A filter passes to the side whose rows the join keeps as they are; the other side has no
        correlation."""
        need = Need.SET if need is Need.EXISTENCE else need
        if plan.kind in LEFT_PRESERVING or isinstance(plan, DependentJoin):
            if self.reads.of(plan.right) & self.outer:
                return None
            kept = self(plan.left, need)
            inputs = None if kept is None else (kept.plan, plan.right)
        elif plan.kind is JoinKind.RIGHT:
            if self.reads.of(plan.left) & self.outer:
                return None
            kept = self(plan.right, need)
            inputs = None if kept is None else (plan.left, kept.plan)
        else:
            return None
        if kept is None or inputs is None:
            return None
        inside = columns_of(*plan.expressions())
        if isinstance(plan, DependentJoin):
            inside |= self.reads.of(plan.right)
        if inside & (self.outer | kept.computed.keys()):
            return None
        return replace(kept, plan=plan.with_children(inputs))

    def _aggregate(self, plan: Aggregate, need: Need) -> Pulled | None:
        if not plan.keys:
            return None
        if not plan.aggregates and need is not Need.ROWS:
            return self(plan.input, need)  # duplicates do not matter
        below = self(plan.input, Need.ROWS if plan.aggregates else Need.SET)
        if below is None:
            return None
        calls = [_substitute_call(a, below.computed) for a in plan.aggregates]
        constant = {k.id: below.computed[k.id] for k in plan.keys if k.id in below.computed}
        if any(self._is_outer(e) or is_fallible(e) for a in calls for e in a.call.expressions()):
            return None
        if any(columns_of(e) & below.plan.schema.ids for e in constant.values()):
            return None
        keys = [k for k in plan.keys if k.id not in constant]
        bounds = self._bounds(below, {k.id for k in keys})
        if bounds is None:
            return None
        source, columns = with_columns(below.plan, [b.inner for b in bounds.values()])
        grouped = distinct_columns([*keys, *columns])
        if not grouped:
            return None  # it would have a row of no input
        return Pulled(Aggregate(source, grouped, tuple(calls)), _rebound(below.predicates, bounds, columns), constant)

    def _limit(self, plan: Limit | Sort, need: Need) -> Pulled | None:
        source, keys, limit, offset = limited(plan)
        if need is Need.EXISTENCE and offset == 0 and limit != 0:
            return self(source, need)
        below = self(source, Need.ROWS)
        bounds = None if below is None else self._bounds(below, set())
        if below is None or bounds is None:
            return None
        order = self._order(keys, below)
        if order is None:
            return None
        inner, columns = with_columns(below.plan, [b.inner for b in bounds.values()])
        first = first_rows(inner, columns, order, limit, offset)
        return Pulled(first, _rebound(below.predicates, bounds, columns), below.computed)

    def _window(self, plan: Window) -> Pulled | None:
        below = self(plan.input, Need.ROWS)
        bounds = None if below is None else self._bounds(below, {c.id for c in plan.partition})
        if below is None or bounds is None:
            return None
        order = self._order(plan.order, below)
        if order is None or any(c.id in below.computed for c in plan.partition):
            return None
        items = []
        for item in plan.items:
            read = [substitute(e, below.computed) for e in item.call.expressions()]
            if any(map(self._is_outer, read)):
                return None
            items.append(replace(item, call=item.call.with_expressions(read)))
        inner, columns = with_columns(below.plan, [b.inner for b in bounds.values()])
        window = Window(inner, distinct_columns([*plan.partition, *columns]), order, tuple(items))
        return Pulled(window, _rebound(below.predicates, bounds, columns), below.computed)

    def _order(self, keys: Sequence[SortKey], below: Pulled) -> tuple[SortKey, ...] | None:
        """Sort keys over ``below``; one that is the same for all rows of an outer row is left out."""
        order = []
        for key in keys:
            expr = substitute(key.expr, below.computed)
            if not self._is_outer(expr):
                order.append(replace(key, expr=expr))
            elif columns_of(expr) & below.plan.schema.ids:
                return None
        return tuple(order)

    def _union(self, plan: Union) -> Pulled | None:
        """Every input has the same predicates, up to the names of its own columns; these become columns of
        the union.

        Union [x]                               Union [x, key]
          Project [a]                             Project [a, b]
            Filter b = outer          =>            …
              …                                   Project [c, d]
          Project [c]                               …
            Filter d = outer                    with key = outer
              …
        """
        inputs: list[LogicalPlan] = []
        common: list[Bound] | None = None
        for source in plan.inputs:
            below = self(source, Need.ROWS)
            bounds = None if below is None or below.computed else self._bounds(below, set())
            if below is None or bounds is None or len(bounds) < len(below.predicates):
                return None
            ordered = sorted(bounds.values(), key=lambda b: (b.op, repr(b.outer)))
            if common is None:
                common = ordered
            if [(b.op, b.outer) for b in ordered] != [(b.op, b.outer) for b in common]:
                return None
            inner, columns = with_columns(below.plan, [b.inner for b in ordered])
            own = [column(f) for f in source.schema]
            items = tuple(Item(new_field(c.name, c.dtype), c) for c in (*own, *columns))
            inputs.append(Project(inner, items))
        assert common is not None
        keys = [new_field("key", b.inner.dtype) for b in common]
        predicates = tuple(b.on(column(k)) for b, k in zip(common, keys, strict=True))
        return Pulled(Union(tuple(inputs), (*plan.fields, *keys)), predicates)

    def _bounds(self, below: Pulled, keys: Set[ColumnId]) -> dict[int, Bound] | None:
        """The predicates (by position) that bind something of ``below`` to the outer row.

        None if there is one that neither binds nor has one truth for all rows that agree on ``keys``.
        """
        inner, bounds = below.plan.schema.ids, {}
        for i, predicate in enumerate(below.predicates):
            bound = as_bound(predicate, inner, self.outer)
            if bound is not None:
                bounds[i] = bound
            elif not columns_of(predicate) & inner <= keys:
                return None
        return bounds


def _matching_pairs(plan: Filter) -> LogicalPlan | None:
    """The rows that a MARK join finds a match for, each as often as it does: an inner join pulls more than
    a MARK join.

    Filter b > 1 AND mark                     Project [b, TRUE as mark]
      Join mark on c = outer         =>         Join inner on c = outer
        Scan t                                    Filter b > 1
        Scan s                                      Scan t
                                                  Scan s
    """
    join = plan.input
    if not isinstance(join, Join) or join.mark is None:
        return None
    mark = column(join.mark)
    predicates = conjuncts(plan.predicate)
    if mark not in predicates:
        return None
    after = [p for p in predicates if mark.id in columns_of(p) and p != mark]
    before = [p for p in predicates if mark.id not in columns_of(p)]
    condition = (*join.condition, *conjuncts(join.comparison))
    pairs = Join(JoinKind.INNER, filtered(join.left, before), join.right, condition)
    marked = Project(pairs, (*passthrough(join.left.schema.fields), Item(join.mark, TRUE)))
    return filtered(marked, after)


def _substitute_call(item: AggregateItem, mapping: Mapping[ColumnId, Expr]) -> AggregateItem:
    expressions = [substitute(e, mapping) for e in item.call.expressions()]
    return replace(item, call=item.call.with_expressions(expressions))


def _rebound(predicates: Sequence[Expr], bounds: Mapping[int, Bound], columns: Sequence[Column]) -> tuple[Expr, ...]:
    """``predicates``, those of ``bounds`` over ``columns`` in place of their inner side."""
    names = dict(zip(bounds, columns, strict=True))
    return tuple(bounds[i].on(names[i]) if i in names else p for i, p in enumerate(predicates))
