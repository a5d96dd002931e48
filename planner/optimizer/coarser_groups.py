"""Groups by some of the keys are made of the groups by more of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from planner.expr import AggregateCall, Column, ColumnId, Expr, Field, column, columns_of, is_volatile, substitute
from planner.functions_aggregate import AggregateSplit, split_aggregate
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Item,
    LogicalPlan,
    Project,
    operators,
    passthrough,
)
from planner.optimizer.construct import is_renaming
from planner.optimizer.context import OptimizerContext
from planner.record import record
from planner.tree import replace_children, walk

_FEWER = 0.7  # share of the rows that groups may be at most, to be read in their place


def coarser_groups(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Where several Aggregates read one CommonSubplan, have those by few keys read the groups by more keys.

    Safe because each group by few keys is the union of some by more, and its aggregates (a sum, a count, …) are
    those of the groups' aggregates. Of ROLLUP and CUBE only the finest groups read rows so.

        Aggregate by [a#1, b#2] [sum(c#3) as s#4]        Project [a#1, b#2, sum#8 as s#4]
          Project [a#11 as a#1, …]                         *2 CommonSubplan groups
            *1 CommonSubplan rows                            Aggregate by [a#1, b#2] [sum(c#3) as sum#8]
              Scan t [a#11, b#12, c#13]             →          Project [a#11 as a#1, …]
        Aggregate by [a#5] [sum(c#6) as s#7]                     CommonSubplan rows …
          Project [a#11 as a#5, …]                       Project [a#5, sum#10 as s#7]
            (see *1)                                       Aggregate by [a#5] [sum(sum#9) as sum#10]
                                                             Project [a#1 as a#5, sum#8 as sum#9]
                                                               (see *2)
    """
    kinds = operators(plan)
    if CommonSubplan not in kinds or Aggregate not in kinds:
        return plan
    of_rows: dict[int, list[_Groups]] = {}
    for node in walk(plan):
        groups = _groups_of(node) if isinstance(node, Aggregate) else None
        if groups is not None:
            of_rows.setdefault(id(groups.rows), []).append(groups)
    finer: dict[int, _Groups] = {}
    for alike in of_rows.values():
        for groups in alike:
            found = _finest_source(groups, alike, context)
            if found is not None:
                finer[id(groups.node)] = found
    return _Rewriting(finer, {id(g.node): g for alike in of_rows.values() for g in alike}).of(plan) if finer else plan


@record(eq=False)
class _Groups:
    """An Aggregate that reads a CommonSubplan, with its keys (by the subplan's columns) and calls over that's columns.

    ``splits`` are those of its own calls.
    """

    node: Aggregate
    rows: CommonSubplan
    keys: Mapping[ColumnId, Column]
    calls: tuple[AggregateCall, ...]
    splits: tuple[AggregateSplit, ...]


def _groups_of(node: Aggregate) -> _Groups | None:
    """What ``node`` groups, if its aggregates can be made of those of finer groups."""
    match node.input:
        case Project(CommonSubplan() as rows, items) if is_renaming(items):
            pass
        case _:
            return None
    read: dict[ColumnId, Expr] = {i.field.id: i.expr for i in items}
    keys = {column.id: k for k in node.keys if isinstance(column := read[k.id], Column)}
    expressions = [e for a in node.aggregates for e in a.call.expressions()]
    if len(keys) < len(node.keys) or not columns_of(*expressions) <= read.keys() or any(map(is_volatile, expressions)):
        return None
    splits = [split_aggregate(a.call) for a in node.aggregates]
    calls = [a.call.with_expressions([substitute(e, read) for e in a.call.expressions()]) for a in node.aggregates]
    found = tuple(s for s in splits if s is not None)
    return _Groups(node, rows, keys, tuple(calls), found) if len(found) == len(splits) else None


def _finest_source(groups: _Groups, others: Iterable[_Groups], context: OptimizerContext) -> _Groups | None:
    """The fewest groups by more keys that have the aggregates too."""
    rows = context.estimator.rows(groups.rows)
    best: tuple[float, int] | None = None
    found = None
    for other in others:
        if not groups.keys.keys() < other.keys.keys() or not set(groups.calls) <= set(other.calls):
            continue
        number = context.estimator.rows(other.node)
        if rows is not None and number is not None and number > rows * _FEWER:
            continue
        rank = (float("inf") if number is None else number, len(other.keys))
        if best is None or rank < best:
            best, found = rank, other
    return found


@record
class _States:
    """Groups with the states of their aggregates: the plan, and the columns of each state by the call it is of."""

    plan: LogicalPlan
    of_call: Mapping[AggregateCall, tuple[Field, ...]]
    results: tuple[Expr, ...]


@dataclass(slots=True)
class _Rewriting:
    """``finer``: the groups that an Aggregate is made of, by its identity; ``known``: all groups."""

    finer: Mapping[int, _Groups]
    known: Mapping[int, _Groups]
    _states: dict[int, _States] = field(default_factory=dict)
    _done: dict[int, tuple[LogicalPlan, LogicalPlan]] = field(default_factory=dict)
    _read: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._read = {id(g.node) for g in self.finer.values()}

    def of(self, node: LogicalPlan) -> LogicalPlan:
        hit = self._done.get(id(node))
        if hit is None:
            if id(node) in self.finer or id(node) in self._read:
                result = self._result(self.known[id(node)])
            else:
                result = replace_children(node, [self.of(c) for c in node.children()])
            hit = self._done[id(node)] = (node, result)
        return hit[1]

    def _result(self, groups: _Groups) -> LogicalPlan:
        states = self.states(groups)
        schema = groups.node.schema.fields
        n = len(groups.node.keys)
        results = (Item(f, expr) for f, expr in zip(schema[n:], states.results, strict=True))
        return Project(states.plan, (*passthrough(schema[:n]), *results))

    def states(self, groups: _Groups) -> _States:
        if id(groups.node) not in self._states:
            source = self.finer.get(id(groups.node))
            made = self._of_rows(groups) if source is None else self._of_groups(groups, source)
            if id(groups.node) in self._read:
                made = _States(CommonSubplan(made.plan, "groups"), made.of_call, made.results)
            self._states[id(groups.node)] = made
        return self._states[id(groups.node)]

    def _of_rows(self, groups: _Groups) -> _States:
        partials = tuple(p for s in groups.splits for p in s.partials)
        plan = Aggregate(self.of(groups.node.input), groups.node.keys, partials)
        results = []
        for split in groups.splits:
            pairs = zip(split.finals, split.partials, strict=True)
            results.append(substitute(split.result, {f.field.id: column(p.field) for f, p in pairs}))
        fields = [tuple(p.field for p in s.partials) for s in groups.splits]
        return _States(plan, dict(zip(groups.calls, fields, strict=True)), tuple(results))

    def _of_groups(self, groups: _Groups, source: _Groups) -> _States:
        states = self.states(source)
        schema = groups.node.schema
        items = [Item(schema[key.id], source.keys[at]) for at, key in groups.keys.items()]
        for call, split in zip(groups.calls, groups.splits, strict=True):
            pairs = zip(split.partials, states.of_call[call], strict=True)
            items += [Item(p.field, column(held)) for p, held in pairs]
        finals = tuple(f for s in groups.splits for f in s.finals)
        plan = Aggregate(Project(states.plan, tuple(items)), groups.node.keys, finals)
        fields = [tuple(f.field for f in s.finals) for s in groups.splits]
        results = tuple(s.result for s in groups.splits)
        return _States(plan, dict(zip(groups.calls, fields, strict=True)), results)
