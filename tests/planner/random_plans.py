"""Random correlated plans over small tables full of NULLs and duplicates."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from planner import types
from planner.expr import (
    AggregateCall,
    Arithmetic,
    Case,
    Comparison,
    Expr,
    Field,
    IsNull,
    Literal,
    Not,
    Or,
    SortKey,
    column,
    conjunction,
    new_field,
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
    WindowItem,
    passthrough,
)
from planner.window import (
    CURRENT_ROW,
    UP_TO_PEERS,
    WHOLE_PARTITION,
    FrameBound,
    FrameUnit,
    Side,
    WindowCall,
    WindowFrame,
)
from tests.planner.interpreter import ListTable

INT = types.BIGINT
_SCHEMA = pa.schema([("a", INT), ("b", INT), ("c", INT)])
_JOINS = (
    JoinKind.INNER,
    JoinKind.LEFT,
    JoinKind.RIGHT,
    JoinKind.FULL,
    JoinKind.SEMI,
    JoinKind.ANTI,
    JoinKind.MARK,
)
_DEPENDENT = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK, JoinKind.SINGLE)


@dataclass(slots=True)
class Generator:
    """Plans of a given depth; ``scope`` are the columns of the outer queries that a plan may read."""

    rng: random.Random
    tables: list[ListTable] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = [self._table(i) for i in range(3)]

    def _table(self, i: int) -> ListTable:
        rows = [tuple(self.cell() for _ in _SCHEMA) for _ in range(self.rng.choice((0, 2, 4, 5)))]
        return ListTable(f"t{i}", _SCHEMA, tuple(rows))

    def cell(self) -> int | None:
        return self.rng.choice((None, None, 0, 1, 2, 3))

    def query(self) -> LogicalPlan:
        """A closed plan with at least one dependent join."""
        left = self.plan(self.rng.choice((0, 0, 1)), ())
        return self.wrap(self.dependent(left, (), self.rng.choice((1, 2, 2, 3, 3))), ())

    def wrap(self, plan: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        for _ in range(self.rng.choice((0, 0, 1, 1, 2))):
            plan = self.unary(plan, scope)
        return plan

    def plan(self, depth: int, scope: Sequence[Field]) -> LogicalPlan:
        if depth <= 0:
            return self.leaf(scope)
        kind = self.rng.randrange(12)
        if kind < 6:
            return self.unary(self.plan(depth - 1, scope), scope)
        if kind < 9:
            return self.join(self.plan(depth - 1, scope), self.plan(self.rng.randrange(depth), scope), scope)
        if kind < 10:
            return self.union([self.plan(depth - 1, scope), self.plan(self.rng.randrange(depth), scope)], scope)
        if kind < 11:
            return self.shared(self.plan(depth - 1, scope), scope)
        return self.dependent(self.plan(depth - 1, scope), scope, depth)

    def leaf(self, scope: Sequence[Field]) -> LogicalPlan:
        if self.rng.random() < 0.15:
            fields = tuple(new_field("v", INT) for _ in range(2))
            rows = self.rng.choice((0, 1, 1, 2))
            cells = tuple(tuple(self.constant(scope) for _ in fields) for _ in range(rows))
            return Values(fields, cells)
        table = self.rng.choice(self.tables)
        fields = tuple(new_field(f.name, f.type) for f in table.schema)
        scan: LogicalPlan = Scan(table, fields)
        return Filter(scan, self.predicate(fields, scope)) if self.rng.random() < 0.6 else scan

    def constant(self, scope: Sequence[Field]) -> Expr:
        if scope and self.rng.random() < 0.3:
            return column(self.rng.choice(list(scope)))
        return Literal(self.cell(), INT)

    def scalar(self, fields: Sequence[Field], scope: Sequence[Field]) -> Expr:
        pick = self.rng.random()
        if scope and pick < 0.3:
            return column(self.rng.choice(list(scope)))
        if fields and pick < 0.8:
            return column(self.rng.choice(list(fields)))
        if pick < 0.9:
            return Literal(self.rng.randrange(4), INT)
        return Arithmetic("+", self.scalar(fields, scope), self.scalar(fields, scope), INT)

    def predicate(self, fields: Sequence[Field], scope: Sequence[Field]) -> Expr:
        args: list[Expr] = []
        for _ in range(self.rng.choice((1, 1, 2))):
            if scope and fields and self.rng.random() < 0.5:
                inner, outer = column(self.rng.choice(list(fields))), column(self.rng.choice(list(scope)))
                op = self.rng.choice(("=", "=", "=", "is not distinct from", "<", "<>"))
                args.append(Comparison(op, inner, outer) if self.rng.random() < 0.5 else Comparison(op, outer, inner))
                continue
            a, b = self.scalar(fields, scope), self.scalar(fields, scope)
            simple = Comparison(self.rng.choice(("=", "<", "<=", "<>", "is distinct from")), a, b)
            args.append(self.rng.choice((simple, simple, Not(IsNull(a)), Or((simple, IsNull(b))))))
        return conjunction(args)

    def ints(self, plan: LogicalPlan) -> list[Field]:
        return [f for f in plan.schema if f.dtype == INT]

    def unary(self, plan: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        fields = self.ints(plan)
        match self.rng.randrange(9):
            case 0 | 1:
                return Filter(plan, self.predicate(fields, scope))
            case 2:
                items = [Item(new_field("p", INT), self.scalar(fields, scope)) for _ in range(2)]
                return Project(plan, (*passthrough(fields[:1]), *items))
            case 3:
                return self.aggregate(plan, scope, self.rng.sample(fields, min(len(fields), self.rng.choice((1, 2)))))
            case 4:
                return self.aggregate(plan, scope, [])
            case 5:
                return Aggregate(plan, tuple(map(column, fields))) if fields else plan
            case 6 | 7:
                return self.limited(plan, scope)
            case _:
                if self.rng.random() < 0.5 or not fields:
                    return Sort(plan, self.order(plan, scope))
                partition = tuple(column(f) for f in fields[:1])
                return Window(plan, partition, self.order(plan, scope), self.calls(fields, scope))

    def calls(self, fields: Sequence[Field], scope: Sequence[Field]) -> tuple[WindowItem, ...]:
        number = WindowCall(AggregateCall("row_number", (), INT), WHOLE_PARTITION)
        two_rows = WindowFrame(FrameUnit.ROWS, FrameBound(Side.PRECEDING, Literal(1, INT)), CURRENT_ROW)
        frame = self.rng.choice((WHOLE_PARTITION, UP_TO_PEERS, two_rows))
        total = WindowCall(AggregateCall("sum", (self.scalar(fields, scope),), INT), frame)
        items = (WindowItem(new_field("rn", INT, False), number), WindowItem(new_field("total", INT), total))
        return self.rng.choice((items[:1], items[1:], items))

    def order(self, plan: LogicalPlan, scope: Sequence[Field]) -> tuple[SortKey, ...]:
        """A total order, so that LIMIT has one answer."""
        columns = [column(f) for f in plan.schema]
        keys = [self.scalar(self.ints(plan), scope), *self.rng.sample(columns, len(columns))]
        return tuple(SortKey(k, self.rng.random() < 0.5, self.rng.random() < 0.5) for k in keys)

    def limited(self, plan: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        limit, offset = self.rng.choice((0, 1, 1, 2, None)), self.rng.choice((0, 0, 1))
        keys = self.order(plan, scope)
        if self.rng.random() < 0.4:
            return Sort(plan, keys, limit, offset)
        below: LogicalPlan = Sort(plan, keys)
        if self.rng.random() < 0.5:
            below = Filter(below, self.predicate(self.ints(below), scope))
        if self.rng.random() < 0.5:
            below = Project(below, passthrough(plan.schema.fields[:2]))
        return Limit(below, limit, offset)

    def aggregate(self, plan: LogicalPlan, scope: Sequence[Field], keys: Sequence[Field]) -> LogicalPlan:
        fields = self.ints(plan)
        items = []
        for _ in range(self.rng.choice((1, 2))):
            name = self.rng.choice(("count_star", "count", "sum", "min", "max"))
            args = () if name == "count_star" else (self.scalar(fields, scope if self.rng.random() < 0.3 else ()),)
            distinct = bool(args) and self.rng.random() < 0.2
            condition = self.predicate(fields, scope) if self.rng.random() < 0.15 else None
            items.append(AggregateItem(new_field(name, INT), AggregateCall(name, args, INT, distinct, condition)))
        plan = Aggregate(plan, tuple(map(column, keys)), tuple(items))
        if self.rng.random() < 0.4:
            above = self.scalar(self.ints(plan), scope)
            value = Case(((IsNull(above), Literal(7, INT)),), above)
            plan = Project(plan, (Item(new_field("w", INT), value),))
        return plan

    def join(self, left: LogicalPlan, right: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        kind = self.rng.choice(_JOINS)
        both = [*self.ints(left), *self.ints(right)]
        condition = (self.predicate(both, scope),) if self.rng.random() < 0.8 else ()
        return Join(kind, left, right, condition, *self.mark(kind, both, scope))

    def mark(self, kind: JoinKind, both: Sequence[Field], scope: Sequence[Field]) -> tuple[Expr | None, Field | None]:
        if kind is not JoinKind.MARK:
            return None, None
        comparison = None
        if self.rng.random() < 0.6:
            comparison = Comparison(self.rng.choice(("=", "<")), self.scalar(both, scope), self.scalar(both, scope))
        return comparison, new_field("mark", types.BOOLEAN)

    def union(self, inputs: Sequence[LogicalPlan], scope: Sequence[Field]) -> LogicalPlan:
        narrow = []
        for plan in inputs:
            items = (Item(new_field("u", INT), self.scalar(self.ints(plan), scope)) for _ in range(2))
            narrow.append(Project(plan, tuple(items)))
        return Union(tuple(narrow), tuple(new_field("u", INT) for _ in range(2)))

    def shared(self, plan: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        common = CommonSubplan(plan, "cte")

        def reader() -> LogicalPlan:
            items = tuple(Item(new_field(f.name, f.dtype), column(f)) for f in plan.schema)
            return self.wrap(Project(common, items), scope) if self.rng.random() < 0.5 else Project(common, items)

        return self.join(reader(), reader(), scope)

    def dependent(self, left: LogicalPlan, scope: Sequence[Field], depth: int) -> LogicalPlan:
        kind = self.rng.choice(_DEPENDENT)
        inner_scope = [*self.ints(left), *scope]
        right = self.plan(depth - 1, inner_scope)
        if kind is JoinKind.SINGLE:
            right = self.single_row(right, inner_scope)
        both = [*self.ints(left), *self.ints(right)]
        condition = (self.predicate(both, scope),) if kind is not JoinKind.SINGLE and self.rng.random() < 0.3 else ()
        joined: LogicalPlan = DependentJoin(kind, left, right, condition, *self.mark(kind, both, scope))
        if self.rng.random() < 0.3:
            joined = Filter(joined, self.predicate(self.ints(left), scope))
        return joined

    def single_row(self, plan: LogicalPlan, scope: Sequence[Field]) -> LogicalPlan:
        if self.rng.random() < 0.3:
            return Sort(plan, self.order(plan, scope), 1)
        return self.aggregate(plan, scope, [])
