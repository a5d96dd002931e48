"""Subplans that occur twice run once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

from planner.expr import Column, ColumnId, Expr, column, is_volatile, substitute
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Filter,
    Item,
    Join,
    LogicalPlan,
    Project,
    Scan,
    Union,
)
from planner.optimizer.context import OptimizerContext
from planner.tree import replace_children, walk


def common_subplans(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Find subplans that are equal but for their column ids, and compute them once where that saves a join or
    a group.

    Safe because equal structure over the same tables gives the same rows, if nothing in it is volatile and no
    limit picks rows at will. The first occurrence becomes the body of a CommonSubplan; every occurrence reads
    it through a Project that gives the columns the ids it had. The largest equal subplans are taken.

        Join inner on k#1 = k#5                     Join inner on k#1 = k#5
          Aggregate by [k#1] [sum(v#2) as s#3]        Project [k#1, s#3]
            Scan t [k#1, v#2]                  →        *1 CommonSubplan shared1
          Aggregate by [k#5] [sum(v#6) as s#7]            Aggregate by [k#1] [sum(v#2) as s#3]
            Scan t [k#5, v#6]                               Scan t [k#1, v#2]
                                                      Project [k#1 as k#5, s#3 as s#7]
                                                        (see *1)
    """
    scans = Counter(id(n.table) for n in walk(plan) if isinstance(n, Scan))
    if all(n == 1 for n in scans.values()):
        return plan
    # Most queries end here: the shapes of their subplans differ already without a look at expressions.
    if not _groups(plan, _Classes(exact=False)):
        return plan
    classes = _Classes(exact=True)
    shared = _read_twice(plan, _groups(plan, classes), classes)
    return _Shared(shared, classes).of(plan) if shared else plan


def _groups(plan: LogicalPlan, classes: _Classes) -> set[int]:
    """The classes with several members that are worth sharing."""
    members = Counter(classes.of(n) for n in walk(plan))
    return {c for c, n in members.items() if n > 1 and classes.is_worth_sharing(c)}


def _read_twice(plan: LogicalPlan, candidates: Collection[int], classes: _Classes) -> set[int]:
    """The candidates that are read more than once when the larger ones around them run once."""
    readers: Counter[int] = Counter()
    seen: set[int] = set()
    waiting = [plan]
    while waiting:
        node = waiting.pop()
        number = classes.of(node)
        if number in candidates:
            readers[number] += 1
            if readers[number] > 1:
                continue
        elif id(node) in seen:
            continue
        seen.add(id(node))
        waiting += reversed(node.children())
    return {number for number, n in readers.items() if n > 1}


@dataclass(slots=True)
class _Shared:
    """Plans in which those of the classes ``numbers`` read one common body."""

    numbers: set[int]
    classes: _Classes
    _bodies: dict[int, CommonSubplan] = field(default_factory=dict)
    _known: dict[int, tuple[LogicalPlan, LogicalPlan]] = field(default_factory=dict)

    def of(self, node: LogicalPlan) -> LogicalPlan:
        hit = self._known.get(id(node))
        if hit is None:
            number = self.classes.of(node)
            result = self._reader(node, number) if number in self.numbers else self._inside(node)
            hit = self._known[id(node)] = (node, result)
        return hit[1]

    def _inside(self, node: LogicalPlan) -> LogicalPlan:
        return replace_children(node, [self.of(c) for c in node.children()])

    def _reader(self, node: LogicalPlan, number: int) -> LogicalPlan:
        if number not in self._bodies:
            self._bodies[number] = CommonSubplan(self._inside(node), f"shared{len(self._bodies) + 1}")
        body = self._bodies[number]
        pairs = zip(node.schema, body.schema, strict=True)
        return Project(body, tuple(Item(own, column(held)) for own, held in pairs))


@dataclass(slots=True)
class _Classes:
    """Numbers plans so that two get the same number exactly if they are equal but for column ids.

    Inside a node a column is named by the input that gives it and its position there, so that only structure
    and tables decide. Without ``exact`` expressions are only counted: equal plans still get equal numbers,
    others may.
    """

    exact: bool
    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _of: dict[int, tuple[LogicalPlan, int]] = field(default_factory=dict)
    _worth: dict[int, bool] = field(default_factory=dict)

    def of(self, plan: LogicalPlan) -> int:
        hit = self._of.get(id(plan))
        if hit is None:
            inputs = tuple(self.of(c) for c in plan.children())
            expressions = plan.expressions()
            read: Hashable = tuple(_positional(plan, expressions)) if self.exact else len(expressions)
            number = self._numbers.setdefault((type(plan), inputs, _shape(plan), read), len(self._numbers))
            # What a CommonSubplan holds is shared already.
            self._worth[number] = not isinstance(plan, CommonSubplan) and (
                isinstance(plan, (Aggregate, Join)) or any(self._worth[i] for i in inputs)
            )
            hit = self._of[id(plan)] = (plan, number)
        return hit[1]

    def is_worth_sharing(self, number: int) -> bool:
        return self._worth[number]


def _shape(plan: LogicalPlan) -> Hashable:
    """What makes two nodes of one type differ beside their inputs and expressions."""
    match plan:
        case Scan(table, fields, _, limit):
            return (id(table), tuple(f.name for f in fields)) if limit is None else id(plan)
        case Aggregate(_, keys, aggregates):
            calls = (
                (a.call.name, a.call.dtype, a.call.distinct, a.call.filter is None, len(a.call.args),
                 tuple((k.descending, k.nulls_first) for k in a.call.order_by))
                for a in aggregates
            )  # fmt: skip
            return (len(keys), *calls)
        case Join(kind, _, _, condition, comparison):
            return (kind, len(condition), comparison is None)
        case Filter() | Union():
            return None
        case Project(_, items):
            return tuple(i.field.dtype for i in items)
        case _:
            # Limits pick rows, row numbers depend on the order of arrival, and the rest is not worth the
            # comparison.
            return id(plan)


def _positional(plan: LogicalPlan, expressions: tuple[Expr, ...]) -> list[Hashable]:
    """The expressions over columns named by position; a volatile one equals nothing."""
    names: dict[ColumnId, Expr] = {}
    sources = (plan,) if isinstance(plan, Scan) else plan.children()
    for i, source in enumerate(sources):
        for j, item in enumerate(source.schema):
            names[item.id] = Column(ColumnId(-1 - i - 2 * j), item.name, item.dtype)
    return [id(plan) if is_volatile(e) else substitute(e, names) for e in expressions]
