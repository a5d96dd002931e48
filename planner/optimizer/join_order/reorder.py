"""Rule: the order of joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.expr import Expr, columns_of, conjunction
from planner.logical import (
    Aggregate,
    CommonSubplan,
    Filter,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Union,
)
from planner.optimizer.context import OptimizerContext
from planner.optimizer.join_order.query_graph import QueryGraph, build_graph
from planner.optimizer.join_order.region import Region, is_region, take_apart
from planner.optimizer.join_order.search import Search, Tree
from planner.tree import replace_children


def reorder_joins(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Puts the joins of every region (inner joins, and what may move among them) in the cheapest order.

    Safe since inner joins are associative and commutative, conditions are applied where the columns they
    read first meet, and joins of other kinds keep their right side and wait for the columns they read (see
    ``region``). The output has the same columns in the same order.

        Join inner on l.k = o.k            Join inner on l.k = o.k
          Scan lineitem                      Scan lineitem
          Join inner on o.c = c.k     →      Join inner on o.c = c.k
            Scan customer                      Scan orders
            Scan orders                        Scan customer
    """
    return _Reorder(context).visit(plan, True)


class _Reorder:
    def __init__(self, context: OptimizerContext) -> None:
        self.estimator = context.estimator
        self._done: dict[tuple[int, bool], tuple[LogicalPlan, LogicalPlan]] = {}

    def visit(self, plan: LogicalPlan, ordered: bool) -> LogicalPlan:
        """``plan`` with its regions in their best order. ``ordered``: somebody above reads columns by position."""
        if isinstance(plan, CommonSubplan):
            ordered = True  # one form for all its readers
        hit = self._done.get((id(plan), ordered))
        if hit is not None:
            return hit[1]
        result = self.region(plan, ordered) if is_region(plan) else None
        if result is None:
            below = _reads_by_position(plan, ordered)
            result = replace_children(plan, [self.visit(c, below) for c in plan.children()])
        self._done[id(plan), ordered] = (plan, result)
        return result

    def region(self, plan: LogicalPlan, ordered: bool) -> LogicalPlan | None:
        """The region at ``plan`` in its best order; None if there is nothing to order."""
        region = take_apart(plan)
        if len(region.relations) + len(region.operators) < 3 or not region.has_own_columns():
            return None
        region.operators = [replace(o, right=self.visit(o.right, False)) for o in region.operators]
        top, relations = _own_predicates(region, [self.visit(r, False) for r in region.relations])
        graph = build_graph(region, relations, self.estimator)
        tree = _build(graph, Search(graph).best())
        return region.output(Filter(tree, conjunction(top)) if top else tree, ordered)


def _reads_by_position(plan: LogicalPlan, ordered: bool) -> bool:
    """Whether the inputs of ``plan`` must keep the order of their columns."""
    match plan:
        case Union():
            return True
        case Project() | Aggregate():
            return False
        case _:
            return ordered


def _own_predicates(region: Region, relations: Sequence[LogicalPlan]) -> tuple[list[Expr], list[LogicalPlan]]:
    """Move predicates on one relation down to it. Those without columns come back as the first result."""
    owner = {f.id: i for i, r in enumerate(relations) for f in r.schema}
    own: dict[int, list[Expr]] = {}
    rest: list[Expr] = []
    top: list[Expr] = []
    for predicate in region.predicates:
        columns = columns_of(predicate)
        vertices = {owner.get(c) for c in columns}
        vertex = vertices.pop() if len(vertices) == 1 else None
        if not columns:
            top.append(predicate)
        elif vertex is not None:
            own.setdefault(vertex, []).append(predicate)
        else:
            rest.append(predicate)
    region.predicates = rest
    out = [Filter(r, conjunction(own[i])) if i in own else r for i, r in enumerate(relations)]
    return top, out


def _build(graph: QueryGraph, tree: Tree) -> LogicalPlan:
    """The plan of a join tree."""
    if tree.left is None or tree.right is None:
        return graph.relations[tree.mask.bit_length() - 1]
    left = _build(graph, tree.left)
    vertex = graph.operator(tree.right.mask)
    if vertex is None:
        condition = graph.condition(tree.left.mask, tree.right.mask)
        return Join(JoinKind.INNER, left, _build(graph, tree.right), tuple(condition))
    operator = vertex.operator
    joined = replace(operator.join, left=left, right=operator.right)
    covered = graph.covered(tree.left.mask, tree.right.mask)
    return Filter(joined, conjunction(covered)) if covered else joined
