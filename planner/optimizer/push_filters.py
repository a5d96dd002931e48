"""Move predicates down, as near to the scans as they may go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner import types
from planner.expr import (
    Cast,
    Column,
    ColumnId,
    Comparison,
    Expr,
    InList,
    IsNull,
    columns_of,
    conjunction,
    conjuncts,
    is_volatile,
    node_types,
    substitute,
)
from planner.logical import (
    Aggregate,
    CommonSubplan,
    DependentJoin,
    Filter,
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
from planner.optimizer.construct import item_expressions
from planner.optimizer.context import OptimizerContext
from planner.tree import replace_children, walk

# Which side's rows all come out of a join. A predicate from above goes into a preserved side: the rows that
# it drops there would come out and be dropped.
PRESERVES_LEFT = frozenset(set(JoinKind) - {JoinKind.RIGHT, JoinKind.FULL})
PRESERVES_RIGHT = frozenset({JoinKind.INNER, JoinKind.RIGHT})

# Into which side a conjunct of the join's own condition goes: one whose rows without a match do not come out.
CONDITION_TO_LEFT = frozenset({JoinKind.INNER, JoinKind.RIGHT, JoinKind.SEMI})
CONDITION_TO_RIGHT = frozenset(set(JoinKind) - {JoinKind.RIGHT, JoinKind.FULL})

Memo = dict[int, tuple[LogicalPlan, LogicalPlan]]


def push_filters(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Move every conjunct through the operators that it commutes with, into scans and join conditions.

    Safe because a conjunct passes an operator only where the rows that it drops below are those that it would
    drop above: through a Project by replacing columns with what they are computed from; through an Aggregate,
    a DISTINCT or a Window if it reads only its keys; into every input of a Union; through a Sort without
    a limit; into the sides of a join that the tables above allow, so that an outer join keeps its unmatched
    rows. It never passes a Limit, never enters a CommonSubplan (other parents want all rows), and does not
    move at all if it is volatile; one that may raise (a cast from VARCHAR) does not move below what could
    have kept it from raising.

        Filter a#1 = b#3 AND c#2 > 5 AND d#4 = 1
          Join inner
            Scan t [a#1, c#2]
            Scan u [b#3, d#4]
    →   Join inner on a#1 = b#3
          Scan t [a#1, c#2] where c#2 > 5
          Scan u [b#3, d#4] where d#4 = 1
    """
    return _push(plan, (), {})


def _push(node: LogicalPlan, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    """``node`` with the conjuncts ``pending`` applied to its rows. Every node without pending is visited
    once.
    """
    if not pending:
        hit = memo.get(id(node))
        if hit is not None:
            return hit[1]
        result = _push_through(node, pending, memo)
        memo[id(node)] = (node, result)
        return result
    return _push_through(node, pending, memo)


def _push_through(node: LogicalPlan, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    match node:
        case Filter():
            return _through_filter(node, pending, memo)
        case Project():
            return _through_project(node, pending, memo)
        case Join():
            return _through_join(node, pending, memo)
        case DependentJoin():
            return _through_dependent_join(node, pending, memo)
        case Aggregate(_, keys, _):
            return _through_keys(node, keys, pending, memo)
        case Window(_, partition, _, _):
            return _through_keys(node, partition, pending, memo)
        case Sort(_, _, None, 0):
            return _over(node, [_push(node.input, pending, memo)])
        case Union():
            return _through_union(node, pending, memo)
        case Scan():
            return _into_scan(node, pending)
        case Sort() | Limit() | CommonSubplan() | Values():
            return above(_over(node, [_push(c, (), memo) for c in node.children()]), pending)
        case _:
            raise TypeError(f"not a logical operator: {node!r}")


def _over(node: LogicalPlan, children: list[LogicalPlan]) -> LogicalPlan:
    return replace_children(node, children)


def above(plan: LogicalPlan, predicates: Sequence[Expr]) -> LogicalPlan:
    """The predicates that go no further."""
    return Filter(plan, conjunction(predicates)) if predicates else plan


def _through_filter(node: Filter, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    own = conjuncts(node.predicate)
    stays = tuple(p for p in own if not _may_move(p, node.input))
    if not stays:
        result = _push(node.input, tuple(dict.fromkeys((*own, *pending))), memo)
        # Nothing moved: the same filter stands over the same input.
        if isinstance(result, Filter) and result.input is node.input and conjuncts(result.predicate) == own:
            return node
        return result
    moved = tuple(p for p in own if p not in stays)
    below = _push(node.input, (*moved, *(p for p in pending if not is_fallible(p))), memo)
    stays = (*stays, *(p for p in pending if is_fallible(p)))
    return node if below is node.input and stays == own else above(below, stays)


def _may_move(predicate: Expr, input: LogicalPlan) -> bool:
    if is_volatile(predicate):
        return False
    return not is_fallible(predicate) or (isinstance(input, Scan) and not input.predicates)


def is_fallible(predicate: Expr) -> bool:
    """Whether evaluating it for rows that another operator would have dropped can raise an error."""
    return Cast in node_types(predicate) and any(
        isinstance(n, Cast) and not n.safe and n.arg.dtype == types.VARCHAR and n.dtype != types.VARCHAR
        for n in walk(predicate)
    )


def _through_project(node: Project, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    if not pending or isinstance(node.input, CommonSubplan):
        # A common subplan is always read through a Project, which gives its columns ids of their own.
        return above(_over(node, [_push(node.input, (), memo)]), pending)
    computed = item_expressions(node.items)
    volatile = {id for id, e in computed.items() if not isinstance(e, Column) and is_volatile(e)}
    moved: list[Expr] = []
    stays: list[Expr] = []
    for predicate in pending:
        (stays if volatile and columns_of(predicate) & volatile else moved).append(predicate)
    below = _push(node.input, tuple(substitute(p, computed) for p in moved), memo)
    return above(_over(node, [below]), stays)


def _through_keys(
    node: LogicalPlan, keys: Iterable[Column], pending: tuple[Expr, ...], memo: Memo
) -> LogicalPlan:
    """Predicates over the keys alone accept or drop whole groups, if equal keys are alike to them. Without keys there
    is a group even of no rows.
    """
    ids = frozenset(k.id for k in keys)
    moved = tuple(p for p in pending if ids and columns_of(p) <= ids and not _tells_equal_apart(p))
    stays = tuple(p for p in pending if p not in moved)
    below = _push(node.children()[0], moved, memo)
    return above(_over(node, [below]), stays)


def _tells_equal_apart(predicate: Expr) -> bool:
    """Whether values that are equal may be unlike to it, as they are wherever they are not compared."""
    return any(
        isinstance(part, Column) and types.has_equal_variants(part.dtype)
        for node in walk(predicate)
        if not isinstance(node, (Comparison, InList, IsNull))
        for part in node.children()
    )


def _through_union(node: Union, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    inputs = []
    for child in node.inputs:
        names: dict[ColumnId, Expr] = {
            f.id: Column(c.id, c.name, c.dtype) for f, c in zip(node.fields, child.schema, strict=True)
        }
        inputs.append(_push(child, tuple(substitute(p, names) for p in pending), memo))
    return _over(node, inputs)


def _into_scan(node: Scan, pending: tuple[Expr, ...]) -> LogicalPlan:
    if node.limit is not None:
        return above(node, pending)
    if not pending:
        return node
    new = tuple(dict.fromkeys((*node.predicates, *pending)))
    return node if len(new) == len(node.predicates) else node.with_expressions(new)


def _through_join(node: Join, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    kind = node.kind
    left_ids, right_ids = node.left.schema.ids, node.right.schema.ids
    to_left: list[Expr] = []
    to_right: list[Expr] = []
    condition: list[Expr] = []
    stays: list[Expr] = []
    for predicate in node.condition:
        reads = columns_of(predicate)
        if reads and reads <= left_ids and kind in CONDITION_TO_LEFT:
            side = to_left
        elif reads and reads <= right_ids and kind in CONDITION_TO_RIGHT:
            side = to_right
        else:
            side = condition
        movable = side is condition or not (is_fallible(predicate) or is_volatile(predicate))
        (side if movable else condition).append(predicate)
    for predicate in pending:
        reads = columns_of(predicate)
        if is_fallible(predicate):
            stays.append(predicate)
        elif reads <= left_ids and kind in PRESERVES_LEFT:
            to_left.append(predicate)
        elif reads <= right_ids and kind in PRESERVES_RIGHT:
            to_right.append(predicate)
        elif kind is JoinKind.INNER:
            condition.append(predicate)
        else:
            stays.append(predicate)
    left, right = _push(node.left, tuple(to_left), memo), _push(node.right, tuple(to_right), memo)
    if (
        len(condition) != len(node.condition)
        or left is not node.left
        or right is not node.right
        or tuple(condition) != node.condition
    ):
        node = Join(kind, left, right, tuple(dict.fromkeys(condition)), node.comparison, node.mark)
    return above(node, stays)


def _through_dependent_join(node: DependentJoin, pending: tuple[Expr, ...], memo: Memo) -> LogicalPlan:
    """Every kind of it preserves the left side; the right side is left to decorrelation."""
    left_ids = node.left.schema.ids
    moved = tuple(p for p in pending if columns_of(p) <= left_ids and not is_fallible(p))
    stays = tuple(p for p in pending if p not in moved)
    return above(_over(node, [_push(node.left, moved, memo), _push(node.right, (), memo)]), stays)
