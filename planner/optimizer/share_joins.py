"""A query and an aggregation beneath it that join the same tables join them once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from planner.expr import Column, ColumnId, Comparison, Expr, column, columns_of, is_volatile, substitute
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
    operators,
    passthrough,
)
from planner.optimizer.column_needs import DUPLICATE_INSENSITIVE
from planner.optimizer.construct import filtered
from planner.optimizer.context import OptimizerContext
from planner.optimizer.equivalences import Equivalences
from planner.optimizer.join_order.region import Region, is_region, take_apart
from planner.record import record
from planner.rename import copy_with_new_ids
from planner.statistics import Estimator
from planner.tree import replace_children, walk

# The joined rows must be at most this share of the rows that the aggregation's tables have: they are kept in memory,
# and reading the tables once more is what keeping them saves.
_SHARE = 0.25

_MOST_TRIES = 64  # ways to match tables that occur several times

Columns = Mapping[ColumnId, Expr]


def share_joins(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Let an aggregation read the rows that the query around it joins as well.

    A correlated subquery compares a row with an aggregate of its group, and often joins the tables that its query joins
    already (TPC-H Q2 and Q17). This is the subquery elimination of Zuzarte et al., "WinMagic" (SIGMOD 2003), with a
    join in the place of the window.

    Safe because the shared rows are those that the aggregation read, as far as its groups are asked for: every table
    and predicate of it occurs in the query, and the tables that the query has beyond these are left out of the shared
    rows, but for those that look up something by the group's key. Such a table drops whole groups, of which the query
    reads no row either; and it repeats no row, being unique on what it is joined by, or repeating does not matter to
    the aggregates; a scan of which neither is known only filters, by a semi join, and is joined once more above.
    Predicates that only the query has stay above the shared rows.

        Join inner on k#1 = p#5 AND cost#3 = min#8       Join inner on k#1 = p#5 AND cost#3 = min#8
          Join inner on p#9 = k#1                          Project [k#1, s#2, cost#3, p#9]
            Join inner on s#2 = id#4                         *1 CommonSubplan joined rows of partsupp
              Scan partsupp [k#1, s#2, cost#3]                 Join inner on p#9 = k#1
              Scan supplier [id#4]                               Join inner on s#2 = id#4
            Scan part [p#9] where size#10 = 15      →              Scan partsupp [k#1, s#2, cost#3]
          Aggregate by [p#5] [min(cost#7) as min#8]                Scan supplier [id#4]
            Join inner on s#6 = id#11                            Scan part [p#9] where size#10 = 15
              Scan partsupp [p#5, s#6, cost#7]             Aggregate by [p#5] [min(cost#7) as min#8]
              Scan supplier [id#11]                          Project [k#1 as p#5, cost#3 as cost#7]
                                                               (see *1)
    """
    if Aggregate not in operators(plan):
        return plan
    tables = Counter(id(n.table) for n in walk(plan) if isinstance(n, Scan))
    if all(n == 1 for n in tables.values()):
        return plan
    return _visited(plan, False, context.estimator, {})


def _visited(
    node: LogicalPlan, inside: bool, estimator: Estimator, memo: dict[int, tuple[LogicalPlan, LogicalPlan]]
) -> LogicalPlan:
    """The plan with rows shared in each of its regions; ``inside`` of one its parts are not looked at again."""
    hit = memo.get(id(node))
    if hit is None:
        region = is_region(node)
        changed = _shared(node, estimator) if region and not inside else node
        within = _inside(changed) if region else ()
        children = [_visited(c, any(c is w for w in within), estimator, memo) for c in changed.children()]
        hit = memo[id(node)] = (node, replace_children(changed, children))
    return hit[1]


def _inside(plan: LogicalPlan) -> tuple[LogicalPlan, ...]:
    """The inputs of a part of a region that belong to the same region."""
    match plan:
        case Join(JoinKind.INNER):
            return plan.children()
        case Join(JoinKind.RIGHT):
            return (plan.right,)
        case Join():
            return (plan.left,)
        case _:
            return plan.children()


def _shared(root: LogicalPlan, estimator: Estimator) -> LogicalPlan:
    """The region at ``root`` with one of its aggregations over shared rows, or ``root`` itself."""
    region = take_apart(root)
    if len(region.relations) < 2 or not region.has_own_columns():
        return root
    for relation in region.relations:
        group = _grouped(relation)
        if group is None:
            continue
        inner = take_apart(group.input) if is_region(group.input) else Region(group.input, [group.input])
        scans = [r for r in inner.relations if isinstance(r, Scan) and r.limit is None]
        if inner.operators or len(scans) < len(inner.relations) or any(map(is_volatile, _scanned(scans))):
            continue
        for twins in _matches(scans, [r for r in region.relations if isinstance(r, Scan) and r.limit is None]):
            plan = _sharing(region, relation, group, inner, twins).plan(estimator)
            if plan is not None:
                return plan
    return root


def _grouped(plan: LogicalPlan) -> Aggregate | None:
    """The aggregation at the top of a relation, beneath filters and projections."""
    match plan:
        case Aggregate(_, keys, aggregates) if keys and aggregates:
            return plan
        case Filter(input) | Project(input):
            return _grouped(input)
        case _:
            return None


def _scanned(scans: Iterable[Scan]) -> list[Expr]:
    """The predicates of scans."""
    return [p for s in scans for p in s.predicates]


def _matches(inner: Sequence[Scan], outer: Sequence[Scan]) -> Iterator[Columns]:
    """The ways to find each scan of ``inner`` among ``outer``: the outer column of each inner one."""
    return _extended(inner, outer, frozenset(), {}, itertools.count())


def _extended(
    inner: Sequence[Scan], outer: Sequence[Scan], taken: frozenset[int], found: Columns, tries: itertools.count[int]
) -> Iterator[Columns]:
    """The ways to go on from one that has ``found`` the first scans of ``inner`` in as many ``taken`` ones."""
    if len(taken) == len(inner):
        yield found
        return
    wanted = inner[len(taken)]
    for j, other in enumerate(outer):
        if j in taken or other.table is not wanted.table or next(tries) >= _MOST_TRIES:
            continue
        names = {f.name: f for f in other.fields}
        if all(f.name in names for f in wanted.fields):
            twins = {f.id: column(names[f.name]) for f in wanted.fields}
            yield from _extended(inner, outer, taken | {j}, {**found, **twins}, tries)


def _sharing(
    region: Region, relation: LogicalPlan, group: Aggregate, inner: Region, twins: Columns
) -> _Sharing:
    ids = columns_of(*twins.values())
    scans = tuple(r for r in region.relations if isinstance(r, Scan) and r.schema.ids & ids)
    predicates = (*region.predicates, *_scanned(scans))
    return _Sharing(region, relation, group, inner, twins, scans, predicates, Equivalences.of(predicates))


@record
class _Sharing:
    """An attempt to let ``group`` (in ``relation`` of ``region``, over the region ``inner``) read the query's rows.

    ``twins`` gives for each column of ``inner`` the query's column of the same table, ``scans`` are the query's scans
    of those tables, ``predicates`` the query's predicates, and ``classes`` what these make equal.
    """

    region: Region
    relation: LogicalPlan
    group: Aggregate
    inner: Region
    twins: Columns
    scans: tuple[Scan, ...]
    predicates: tuple[Expr, ...]
    classes: Equivalences

    def plan(self, estimator: Estimator) -> LogicalPlan | None:
        """The region over shared rows; None where that would be wrong or does not pay."""
        required, keys = self._required(), self._keys()
        if required is None or keys is None:
            return None
        lookups, links = self._lookups(keys, estimator)
        bare = [replace(s, predicates=()) for s in self.scans]
        joined, _ = _joined([*bare, *lookups], [*required, *links])
        for relation in self._unshared(lookups):
            joined = self._filtered_by(relation, keys, joined)
        if isinstance(joined, Scan):
            return None  # the rows of one table as they are: reading it twice is as good
        rows = estimator.rows(joined)
        read = sum(estimator.rows(s) or 0.0 for s in bare)
        if rows is None or rows > _SHARE * read:
            return None
        return self._over(joined, lookups, Equivalences.of([*required, *links]), {*required, *links})

    def _required(self) -> list[Expr] | None:
        """The aggregation's predicates over the query's columns, if the query has them all."""
        own = (*self.inner.predicates, *_scanned(r for r in self.inner.relations if isinstance(r, Scan)))
        mapped = [substitute(p, self.twins) for p in own]
        known = set(self.predicates)
        return mapped if all(p in known or self.classes.imply(p) for p in mapped) else None

    def _keys(self) -> dict[ColumnId, Column] | None:
        """The query's columns that the aggregation groups by, if the query equates each with its group's key."""
        keys = {}
        for key in self.group.keys:
            twin = substitute(self.inner.computed.get(key.id, key), self.twins)
            name = _name_above(self.relation, key.id)
            if not isinstance(twin, Column) or name is None or self.classes.root(twin.id) != self.classes.root(name):
                return None
            keys[twin.id] = twin
        return keys

    def _lookups(self, keys: dict[ColumnId, Column], estimator: Estimator) -> tuple[list[LogicalPlan], list[Expr]]:
        """The query's relations that look something up by the group's key, and the predicates that join them."""
        repeatable = all(a.call.name in DUPLICATE_INSENSITIVE or a.call.distinct for a in self.group.aggregates)
        found: list[LogicalPlan] = []
        links: list[Expr] = []
        reached = dict(keys)
        grown = True
        while grown:
            grown = False
            for relation in self._unshared(found):
                equal = self._links(relation, reached)
                if equal and (repeatable or estimator.is_unique(relation, equal)):
                    found.append(relation)
                    links += equal.values()
                    reached |= {f.id: column(f) for f in relation.schema}
                    grown = True
        looked_up = reached.keys() - keys.keys()
        for predicate in self.region.predicates:
            read = columns_of(predicate)
            if read & looked_up and read <= reached.keys() and not self.classes.imply(predicate):
                links.append(predicate)
        return found, links

    def _unshared(self, lookups: Sequence[LogicalPlan]) -> list[LogicalPlan]:
        """The query's relations without the aggregation, the shared scans, and ``lookups``."""
        own = (self.relation, *self.scans, *lookups)
        return [r for r in self.region.relations if r not in own]

    def _filtered_by(self, relation: LogicalPlan, keys: dict[ColumnId, Column], joined: LogicalPlan) -> LogicalPlan:
        """``joined`` without the groups whose key a scan does not have."""
        links = self._links(relation, keys)
        if not links or not isinstance(relation, Scan) or relation.limit is not None:
            return joined
        if not relation.predicates or any(map(is_volatile, relation.predicates)):
            return joined
        copy, renamed = copy_with_new_ids(relation)
        columns: Columns = {f.id: column(replace(f, id=renamed[f.id])) for f in relation.fields}
        return Join(JoinKind.SEMI, joined, copy, tuple(substitute(link, columns) for link in links.values()))

    def _links(self, relation: LogicalPlan, reached: dict[ColumnId, Column]) -> dict[ColumnId, Expr]:
        """For the columns of ``relation`` that equal a reached one, the equality."""
        by_class = {self.classes.root(id): c for id, c in reached.items()}
        links: dict[ColumnId, Expr] = {}
        for item in relation.schema:
            twin = by_class.get(self.classes.root(item.id))
            if twin is not None:
                links[item.id] = Comparison("=", column(item), twin)
        return links

    def _over(
        self, joined: LogicalPlan, lookups: list[LogicalPlan], implied: Equivalences, done: set[Expr]
    ) -> LogicalPlan:
        """The region with its rows, and those of the aggregation, from ``joined``, whose rows pass ``done``."""
        largest = max(self.scans, key=lambda s: s.table.statistics(()).rows or 0.0)
        common = CommonSubplan(joined, f"joined rows of {largest.table.name}")
        source = self.group.input.schema
        columns = {f.id: self.inner.computed.get(f.id, column(f)) for f in source}
        items = tuple(Item(f, substitute(columns[f.id], self.twins)) for f in source)
        rows: dict[int, LogicalPlan] = {id(r): r for r in self.region.relations}
        group = replace(self.group, input=Project(common, items))
        rows[id(self.relation)] = _replaced(self.relation, self.group, group)
        for relation in (*self.scans, *lookups):
            del rows[id(relation)]
        left = [p for p in self.predicates if p not in done and not implied.imply(p)]
        plan, late = _joined([Project(common, passthrough(common.schema.fields)), *rows.values()], left)
        for operator in self.region.operators:
            plan = replace(operator.join, left=plan, right=operator.right)
        return self.region.output(filtered(plan, late), True)


def _name_above(relation: LogicalPlan, id: ColumnId) -> ColumnId | None:
    """What ``relation`` calls a column of the aggregation that it holds."""
    match relation:
        case Project(input, items):
            below = _name_above(input, id)
            return next((i.field.id for i in items if isinstance(i.expr, Column) and i.expr.id == below), None)
        case Filter(input):
            return _name_above(input, id)
        case _:
            return id


def _replaced(relation: LogicalPlan, group: Aggregate, by: Aggregate) -> LogicalPlan:
    """``relation`` with another aggregation in the place of ``group``."""
    if relation is group:
        return by
    return replace_children(relation, [_replaced(c, group, by) for c in relation.children()])


def _joined(relations: Sequence[LogicalPlan], predicates: Iterable[Expr]) -> tuple[LogicalPlan, list[Expr]]:
    """The inner join of the relations on the predicates, and the predicates that read columns of none of them."""
    left = list(dict.fromkeys(predicates))
    waiting: list[LogicalPlan] = []
    for relation in relations:
        waiting.append(_restricted(relation, [p for p in left if columns_of(p) <= relation.schema.ids]))
        left = [p for p in left if not columns_of(p) <= relation.schema.ids]
    plan = waiting.pop(0)
    while waiting:
        read = [columns_of(p) for p in left]
        near = (r for r in waiting if any(ids & r.schema.ids and ids & plan.schema.ids for ids in read))
        relation = next(near, waiting[0])
        waiting.remove(relation)
        here = plan.schema.ids | relation.schema.ids
        plan = Join(JoinKind.INNER, plan, relation, tuple(p for p in left if columns_of(p) <= here))
        left = [p for p in left if not columns_of(p) <= here]
    return plan, left


def _restricted(relation: LogicalPlan, predicates: Sequence[Expr]) -> LogicalPlan:
    if isinstance(relation, Scan) and predicates:
        return replace(relation, predicates=tuple(dict.fromkeys((*relation.predicates, *predicates))))
    return filtered(relation, predicates)
