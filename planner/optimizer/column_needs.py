"""Which output columns of each operator its parents read, and whether they mind duplicates."""

from __future__ import annotations

from collections.abc import Iterable

from planner.expr import ColumnId, Expr, columns_of
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
)
from planner.record import record

# Aggregates whose result does not change when a row occurs more often.
DUPLICATE_INSENSITIVE = frozenset({"min", "max", "bool_and", "bool_or", "any_value"})


@record
class Needs:
    """What the parents of each node (by identity) need of it.

    ``duplicates_matter`` is False where the answer stays the same if rows are repeated or repeated rows
    dropped.
    """

    columns: dict[int, set[ColumnId]]
    duplicates_matter: dict[int, bool]

    def of(self, plan: LogicalPlan) -> set[ColumnId]:
        return self.columns[id(plan)]


def column_needs(plan: LogicalPlan, *, as_it_stands: bool = False) -> Needs:
    """The needs of every node below ``plan``, of which all columns are needed.

    A node with several parents (a common subplan) needs what any of them does. ``as_it_stands`` also counts
    what is read for columns that no one needs, for a caller that does not drop these.
    """
    columns: dict[int, set[ColumnId]] = {id(plan): set(plan.schema.ids)}
    duplicates: dict[int, bool] = {id(plan): True}
    for node in _parents_first(plan):
        out = columns[id(node)]
        if as_it_stands:
            out |= _own_columns(node)
        for child, needed in zip(node.children(), child_needs(node, out), strict=True):
            columns.setdefault(id(child), set()).update(needed)
            matter = _duplicates_matter(node, child, duplicates[id(node)])
            duplicates[id(child)] = duplicates.get(id(child), False) or matter
    return Needs(columns, duplicates)


def _parents_first(plan: LogicalPlan) -> list[LogicalPlan]:
    """Every node after all of its parents."""
    order: list[LogicalPlan] = []
    _append_below(plan, order, set())
    order.reverse()
    return order


def _append_below(node: LogicalPlan, order: list[LogicalPlan], seen: set[int]) -> None:
    seen.add(id(node))
    for child in reversed(node.children()):
        if id(child) not in seen:
            _append_below(child, order, seen)
    order.append(node)


def child_needs(node: LogicalPlan, out: set[ColumnId]) -> tuple[Iterable[ColumnId], ...]:
    """For each input of ``node`` the columns that it must have for the node's columns ``out``."""
    match node:
        case Scan() | Values():
            return ()
        case Filter(_, predicate):
            return (out | columns_of(predicate),)
        case Project(_, items):
            return (columns_of(*(i.expr for i in kept_items(items, out))),)
        case Aggregate(_, keys, aggregates):
            kept = kept_aggregates(keys, aggregates, out)
            return (columns_of(*keys, *(e for a in kept for e in a.call.expressions())),)
        case Sort(_, keys):
            return (out | columns_of(*(k.expr for k in keys)),)
        case Limit() | CommonSubplan():
            return (out,)
        case Window(_, partition, order, items):
            calls = [i.call for i in items if i.field.id in out]
            if not calls:
                return (out,)
            evaluated = (*partition, *(k.expr for k in order), *(e for c in calls for e in c.expressions()))
            return ((out - {i.field.id for i in items}) | columns_of(*evaluated),)
        case Union(inputs):
            positions = kept_positions(node, out)
            return tuple([c.schema.fields[i].id for i in positions] for c in inputs)
        case Join(JoinKind.MARK, left, right, _, _, mark) if mark is not None and mark.id not in out:
            return (out, ())
        case Join(_, left, right):
            read = out | columns_of(*node.expressions())
            return (read & left.schema.ids, read & right.schema.ids)
        case DependentJoin(_, left, right):
            return (left.schema.ids, right.schema.ids)
        case _:
            raise TypeError(f"not a logical operator: {node!r}")


def _own_columns(node: LogicalPlan) -> frozenset[ColumnId]:
    """The columns that ``node`` computes itself."""
    match node:
        case Project() | Aggregate() | Union():
            return node.schema.ids
        case Window(_, _, _, items):
            return frozenset(i.field.id for i in items)
        case Join(JoinKind.MARK, _, _, _, _, mark) if mark is not None:
            return frozenset({mark.id})
        case _:
            return frozenset()


def kept_items(items: tuple[Item, ...], out: set[ColumnId]) -> tuple[Item, ...]:
    """The columns of a Project that are needed; one at least, so that rows can be counted."""
    kept = tuple(i for i in items if i.field.id in out)
    return kept or items[:1]


def kept_aggregates(
    keys: tuple[Expr, ...], aggregates: tuple[AggregateItem, ...], out: set[ColumnId]
) -> tuple[AggregateItem, ...]:
    """The aggregates that are needed; one at least if there are no keys, so that it stays one row."""
    kept = tuple(a for a in aggregates if a.field.id in out)
    return kept if kept or keys else aggregates[:1]


def kept_positions(node: Union, out: set[ColumnId]) -> list[int]:
    """The columns of a Union that are needed, by position; one at least."""
    return [i for i, f in enumerate(node.fields) if f.id in out] or [0]


def _duplicates_matter(node: LogicalPlan, child: LogicalPlan, matter: bool) -> bool:
    """Whether ``child`` repeating a row could change the answer, given whether ``node`` repeating one
    does.
    """
    match node:
        case Aggregate(_, _, aggregates):
            return not all(a.call.name in DUPLICATE_INSENSITIVE or a.call.distinct for a in aggregates)
        case Join(JoinKind.SEMI | JoinKind.ANTI | JoinKind.MARK, left, _):
            return matter if child is left else False
        case Join(JoinKind.SINGLE, left, _):
            return matter if child is left else True
        case Filter() | Project() | Union() | Join() | Sort(_, _, None, 0):
            return matter
        case _:
            return True
