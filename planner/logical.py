"""The logical plan: what a query means, operator by operator, before it is said how it runs.

Nodes are immutable, compare by identity (so that a shared subtree is one object) and know their output schema. Plans
that leave the binder hold no subqueries inside expressions: a subquery has become a ``DependentJoin``, and its value or
truth a column of that join. After decorrelation no DependentJoin is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from enum import StrEnum

from planner import tree, types
from planner.catalog import Table
from planner.expr import (
    AggregateCall,
    Column,
    ColumnId,
    Expr,
    Field,
    Schema,
    SortKey,
    column,
    new_field,
    show,
    show_aggregate,
    show_sort_key,
)
from planner.record import record
from planner.window import WHOLE_PARTITION, WindowCall, show_call


class JoinKind(StrEnum):
    """How rows of two inputs combine, and what comes out."""

    INNER = "inner"  # left ++ right; without a condition the Cartesian product
    LEFT = "left"  # left ++ right, every left row at least once
    RIGHT = "right"  # left ++ right, every right row at least once
    FULL = "full"  # left ++ right, every row of both at least once
    SEMI = "semi"  # left rows that match
    ANTI = "anti"  # left rows that do not match (NOT EXISTS; not NOT IN)
    MARK = "mark"  # left ++ mark: whether the row matches, three-valued if there is a ``comparison``
    SINGLE = "single"  # left ++ right as LEFT, but a second match is an error (scalar subqueries)


@record
class Item:
    """A computed column: what it is called, and how it is computed."""

    field: Field
    expr: Expr


@record
class AggregateItem:
    """A column computed from each group."""

    field: Field
    call: AggregateCall


class LogicalPlan:
    """A relational operator. The subclasses below are all there are."""

    __slots__ = ("_operators",)

    schema: Schema
    _operators: frozenset[type[LogicalPlan] | JoinKind]  # see ``operators``

    def children(self) -> tuple[LogicalPlan, ...]:
        return ()

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return self

    def expressions(self) -> tuple[Expr, ...]:
        """Every scalar expression of this node itself, in the order that ``with_expressions`` takes."""
        return ()

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        return self


def _set_schema(node: LogicalPlan, fields: Sequence[Field]) -> None:
    object.__setattr__(node, "schema", Schema(tuple(fields)))


@record(eq=False)
class Scan(LogicalPlan):
    """Reads columns of a table: ``fields[i].name`` is the name in the table.

    ``predicates`` are conjuncts over ``fields`` that rows must pass; ``limit`` is a number of rows that suffices.
    """

    table: Table
    fields: tuple[Field, ...]
    predicates: tuple[Expr, ...] = ()
    limit: int | None = None
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, self.fields)

    def expressions(self) -> tuple[Expr, ...]:
        return self.predicates

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        return Scan(self.table, self.fields, tuple(expressions), self.limit)


@record(eq=False)
class Values(LogicalPlan):
    """Constant rows; every cell is an expression without columns. One row and no fields is SELECT without FROM."""

    fields: tuple[Field, ...]
    rows: tuple[tuple[Expr, ...], ...]
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, self.fields)

    def expressions(self) -> tuple[Expr, ...]:
        return tuple(cell for row in self.rows for cell in row)

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        n = len(self.fields)
        rows = tuple(tuple(expressions[i * n : (i + 1) * n]) for i in range(len(self.rows)))
        return replace(self, rows=rows)


class _Unary(LogicalPlan):
    __slots__ = ()

    input: LogicalPlan

    def children(self) -> tuple[LogicalPlan, ...]:
        return (self.input,)


@record(eq=False)
class Filter(_Unary):
    """Rows for which ``predicate`` is TRUE."""

    input: LogicalPlan
    predicate: Expr
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.input.schema)

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Filter(children[0], self.predicate)

    def expressions(self) -> tuple[Expr, ...]:
        return (self.predicate,)

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        return Filter(self.input, expressions[0])


@record(eq=False)
class Project(_Unary):
    """Computes columns. A passed-through column keeps its id: ``Item(field, Column(field.id))``."""

    input: LogicalPlan
    items: tuple[Item, ...]
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, [i.field for i in self.items])

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Project(children[0], self.items)

    def expressions(self) -> tuple[Expr, ...]:
        return tuple([i.expr for i in self.items])

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        items = [Item(i.field, e) for i, e in zip(self.items, expressions, strict=True)]
        return Project(self.input, tuple(items))


class _JoinLike(LogicalPlan):
    """What Join and DependentJoin share."""

    __slots__ = ()

    kind: JoinKind
    left: LogicalPlan
    right: LogicalPlan
    condition: tuple[Expr, ...]
    comparison: Expr | None
    mark: Field | None

    def children(self) -> tuple[LogicalPlan, ...]:
        return (self.left, self.right)

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        left, right = children
        return type(self)(self.kind, left, right, self.condition, self.comparison, self.mark)  # type: ignore[call-arg]

    def expressions(self) -> tuple[Expr, ...]:
        return self.condition if self.comparison is None else (*self.condition, self.comparison)

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        n = len(self.condition)
        comparison = expressions[n] if self.comparison is not None else None
        condition = tuple(expressions[:n])
        return type(self)(self.kind, self.left, self.right, condition, comparison, self.mark)  # type: ignore[call-arg]


@record(eq=False)
class Join(_JoinLike):
    """Combines two inputs; a pair matches when every conjunct of ``condition`` is TRUE.

    A MARK join outputs ``mark``. Without ``comparison`` it is EXISTS: TRUE or FALSE. With one it is IN / ANY, over the
    right rows whose ``condition`` is TRUE: TRUE if the comparison is TRUE for one, else NULL if it is NULL for one,
    else FALSE.
    """

    kind: JoinKind
    left: LogicalPlan
    right: LogicalPlan
    condition: tuple[Expr, ...] = ()
    comparison: Expr | None = None
    mark: Field | None = None
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, join_fields(self.kind, self.left.schema, self.right.schema, self.mark))


@record(eq=False)
class DependentJoin(_JoinLike):
    """A join whose right side is evaluated anew for each left row: it may read ``left``'s columns anywhere.

    Kinds are INNER and LEFT (LATERAL), SEMI, ANTI, MARK and SINGLE (subqueries).
    """

    kind: JoinKind
    left: LogicalPlan
    right: LogicalPlan
    condition: tuple[Expr, ...] = ()
    comparison: Expr | None = None
    mark: Field | None = None
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, join_fields(self.kind, self.left.schema, self.right.schema, self.mark))


@record(eq=False)
class Aggregate(_Unary):
    """One row a group. Group keys are input columns and keep their ids; computed keys are projected beneath.

    No keys: exactly one row, also of an empty input. No aggregates: DISTINCT.
    """

    input: LogicalPlan
    keys: tuple[Column, ...]
    aggregates: tuple[AggregateItem, ...] = ()
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source = self.input.schema
        _set_schema(self, [*(source[k.id] for k in self.keys), *(a.field for a in self.aggregates)])

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Aggregate(children[0], self.keys, self.aggregates)

    def expressions(self) -> tuple[Expr, ...]:
        return (*self.keys, *(e for a in self.aggregates for e in a.call.expressions()))

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        keys = tuple(expressions[: len(self.keys)])
        items, at = [], len(self.keys)
        for item in self.aggregates:
            n = len(item.call.expressions())
            items.append(AggregateItem(item.field, item.call.with_expressions(expressions[at : at + n])))
            at += n
        return Aggregate(self.input, keys, tuple(items))  # type: ignore[arg-type]


@record(eq=False)
class Sort(_Unary):
    """Orders rows; with ``limit`` it is a top-N: the ``limit`` rows after the first ``offset``."""

    input: LogicalPlan
    keys: tuple[SortKey, ...]
    limit: int | None = None
    offset: int = 0
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.input.schema)

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Sort(children[0], self.keys, self.limit, self.offset)

    def expressions(self) -> tuple[Expr, ...]:
        return tuple(k.expr for k in self.keys)

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        keys = tuple(replace(k, expr=e) for k, e in zip(self.keys, expressions, strict=True))
        return Sort(self.input, keys, self.limit, self.offset)


@record(eq=False)
class Limit(_Unary):
    """At most ``limit`` rows (None: all) after skipping ``offset``, in the input's order."""

    input: LogicalPlan
    limit: int | None
    offset: int = 0
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.input.schema)

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Limit(children[0], self.limit, self.offset)


@record(eq=False)
class Union(LogicalPlan):
    """All rows of all inputs. Output field i takes column i of every input, by position; types are equal."""

    inputs: tuple[LogicalPlan, ...]
    fields: tuple[Field, ...]
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, self.fields)

    def children(self) -> tuple[LogicalPlan, ...]:
        return self.inputs

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Union(tuple(children), self.fields)


@record
class WindowItem:
    """A column computed from the rows around each row."""

    field: Field
    call: WindowCall


@record(eq=False)
class Window(_Unary):
    """Adds a column for each of ``items``: functions over the rows of each partition, in ``order`` (any, if empty).

    Partition keys are input columns; NULLs are equal. Beside window functions of a query, INTERSECT ALL, EXCEPT ALL,
    DISTINCT ON and LIMIT in a correlated subquery number rows so.
    """

    input: LogicalPlan
    partition: tuple[Column, ...]
    order: tuple[SortKey, ...]
    items: tuple[WindowItem, ...]
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set_schema(self, [*self.input.schema, *(i.field for i in self.items)])

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return Window(children[0], self.partition, self.order, self.items)

    def expressions(self) -> tuple[Expr, ...]:
        calls = (e for i in self.items for e in i.call.expressions())
        return (*self.partition, *(k.expr for k in self.order), *calls)

    def with_expressions(self, expressions: Sequence[Expr]) -> LogicalPlan:
        n, m = len(self.partition), len(self.partition) + len(self.order)
        order = tuple(replace(k, expr=e) for k, e in zip(self.order, expressions[n:m], strict=True))
        items, at = [], m
        for item in self.items:
            width = len(item.call.expressions())
            items.append(WindowItem(item.field, item.call.with_expressions(expressions[at : at + width])))
            at += width
        return Window(self.input, tuple(expressions[:n]), order, tuple(items))  # type: ignore[arg-type]


_ROW_NUMBER = WindowCall(AggregateCall("row_number", (), types.BIGINT), WHOLE_PARTITION)


def numbered(
    plan: LogicalPlan, partition: Sequence[Column], order: Sequence[SortKey], name: str
) -> tuple[LogicalPlan, Column]:
    """``plan`` with the number of each row within its partition, and that column: 1, 2, … in ``order``."""
    number = new_field(name, types.BIGINT, nullable=False)
    item = WindowItem(number, _ROW_NUMBER)
    return Window(plan, tuple(dict.fromkeys(partition)), tuple(order), (item,)), column(number)


@record(eq=False)
class CommonSubplan(_Unary):
    """A subplan with several parents (all hold this very object) that runs once: a CTE, or found by the optimizer.

    A barrier: what one parent wants (filters, limits) is not pushed into it. A parent reads it through a Project that
    gives it ids of its own.
    """

    input: LogicalPlan
    name: str
    schema: Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.input.schema)

    def with_children(self, children: Sequence[LogicalPlan]) -> LogicalPlan:
        return CommonSubplan(children[0], self.name)


def join_fields(kind: JoinKind, left: Schema, right: Schema, mark: Field | None) -> tuple[Field, ...]:
    """The output of a join: which sides come out, and which of them can become NULL."""
    match kind:
        case JoinKind.INNER:
            return left.fields + right.fields
        case JoinKind.LEFT | JoinKind.SINGLE:
            return left.fields + _padded(right)
        case JoinKind.RIGHT:
            return _padded(left) + right.fields
        case JoinKind.FULL:
            return _padded(left) + _padded(right)
        case JoinKind.SEMI | JoinKind.ANTI:
            return left.fields
        case JoinKind.MARK:
            assert mark is not None
            return (*left.fields, mark)


def _padded(schema: Schema) -> tuple[Field, ...]:
    """The columns of a side that gets NULLs where a row has no match."""
    return tuple(f if f.nullable else replace(f, nullable=True) for f in schema)


def operators(plan: LogicalPlan) -> frozenset[type[LogicalPlan] | JoinKind]:
    """The classes of the operators in a plan and the kinds of its joins, by which rules see that they have nothing to
    do. Remembered in each node: most of a plan is as it was when the last rule asked.
    """
    try:
        return plan._operators
    except AttributeError:
        own: set[type[LogicalPlan] | JoinKind] = {type(plan)}
        if isinstance(plan, Join):
            own.add(plan.kind)
        found = frozenset(own.union(*map(operators, plan.children())))
        object.__setattr__(plan, "_operators", found)
        return found


def passthrough(fields: Sequence[Field]) -> tuple[Item, ...]:
    """Items that project columns as they are."""
    return tuple(Item(f, column(f)) for f in fields)


def project_to(plan: LogicalPlan, ids: Sequence[ColumnId]) -> LogicalPlan:
    """``plan`` with exactly the columns ``ids`` in that order; ``plan`` itself if it has them."""
    if [f.id for f in plan.schema] == list(ids):
        return plan
    return Project(plan, passthrough([plan.schema[i] for i in ids]))


def describe(node: LogicalPlan) -> str:
    """One line for EXPLAIN and for plan tests."""
    match node:
        case Scan(table, fields, predicates, limit):
            text = f"Scan {table.name} [{', '.join(f'{f.name}#{f.id}' for f in fields)}]"
            text += f" where {' AND '.join(map(show, predicates))}" if predicates else ""
            return text + (f" limit {limit}" if limit is not None else "")
        case Values(fields, rows):
            return f"Values {len(rows)} rows [{', '.join(f'{f.name}#{f.id}' for f in fields)}]"
        case Filter(_, predicate):
            return f"Filter {show(predicate)}"
        case Project(_, items):
            return f"Project [{', '.join(show_item(i) for i in items)}]"
        case Join() | DependentJoin():
            name = "Join" if isinstance(node, Join) else "DependentJoin"
            text = f"{name} {node.kind}"
            text += f" on {' AND '.join(map(show, node.condition))}" if node.condition else ""
            text += f" comparing {show(node.comparison)}" if node.comparison is not None else ""
            return text + (f" as {node.mark.name}#{node.mark.id}" if node.mark is not None else "")
        case Aggregate(_, keys, aggregates):
            shown = ", ".join(f"{show_aggregate(a.call)} as {a.field.name}#{a.field.id}" for a in aggregates)
            by = f" by [{', '.join(map(show, keys))}]" if keys else ""
            return f"Aggregate{by} [{shown}]" if aggregates else f"Distinct{by}"
        case Sort(_, keys, limit, offset):
            text = f"Sort [{', '.join(map(show_sort_key, keys))}]"
            return text + show_limit(limit, offset)
        case Limit(_, limit, offset):
            return "Limit" + show_limit(limit, offset)
        case Union(_, fields):
            return f"Union [{', '.join(f'{f.name}#{f.id}' for f in fields)}]"
        case Window(_, partition, order, calls):
            return show_window(partition, order, calls)
        case CommonSubplan(_, name):
            return f"CommonSubplan {name}"
        case _:
            raise TypeError(f"not a logical operator: {node!r}")


def show_window(partition: Sequence[Column], order: Sequence[SortKey], items: Sequence[WindowItem]) -> str:
    by = f" by [{', '.join(map(show, partition))}]" if partition else ""
    ordered = f" order [{', '.join(map(show_sort_key, order))}]" if order else ""
    return f"Window{by}{ordered} [{', '.join(f'{show_call(i.call)} as {i.field.name}#{i.field.id}' for i in items)}]"


def show_item(item: Item) -> str:
    if isinstance(item.expr, Column) and item.expr.id == item.field.id:
        return f"{item.field.name}#{item.field.id}"
    return f"{show(item.expr)} as {item.field.name}#{item.field.id}"


def show_limit(limit: int | None, offset: int) -> str:
    return (f" limit {limit}" if limit is not None else "") + (f" offset {offset}" if offset else "")


def pretty(plan: LogicalPlan) -> str:
    """The plan as indented text."""
    return tree.pretty(plan, describe)
