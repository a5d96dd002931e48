"""Probe sides of joins on several keys are filtered by one of them first."""

from __future__ import annotations

from planner.expr import Column, Comparison
from planner.logical import Filter, Join, JoinKind, LogicalPlan, Project, Scan, operators
from planner.optimizer.context import OptimizerContext
from planner.optimizer.key_sources import semi_join_with_source
from planner.tree import replace_children, transform_up

# The probe side must be this many times the build side, or the join itself is as good a filter.
_RATIO = 4.0


def reduce_probes(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Filter the scan on the large side of an inner join on several keys by the values that one key can have.

    Kernels push a join's single key down into the probe side's scan, and cannot do so with several keys at once. Safe
    because a row whose key is no key of the other side has no match in an inner join.

        Join inner on l_partkey#2 = ps_partkey#5 AND l_suppkey#3 = ps_suppkey#6
          Scan lineitem [l_partkey#2, l_suppkey#3]
          Join semi on ps_partkey#5 = p_partkey#7
            Scan partsupp [ps_partkey#5, ps_suppkey#6]
            Scan part [p_partkey#7] where like(p_name#8, '%green%')
    →   …
          Join semi on l_partkey#2 = p_partkey#9
            Scan lineitem [l_partkey#2, l_suppkey#3]
            Scan part [p_partkey#9] where like(p_name#10, '%green%')
          …
    """
    if JoinKind.INNER not in operators(plan):
        return plan

    def visit(node: LogicalPlan) -> LogicalPlan:
        if not isinstance(node, Join) or node.kind is not JoinKind.INNER:
            return node
        pairs = [
            (c.left, c.right)
            for c in node.condition
            if isinstance(c, Comparison)
            and c.op == "="
            and isinstance(c.left, Column)
            and isinstance(c.right, Column)
        ]
        if len(pairs) < 2:
            return node
        for large, small in ((node.left, node.right), (node.right, node.left)):
            if not _is_much_larger(large, small, context) or not _is_scan(large):
                continue
            for a, b in pairs:
                key, column = (a, b) if a.id in large.schema else (b, a)
                reduced = semi_join_with_source(large, key, small, column, context)
                if reduced is not None:
                    sides = [reduced if s is large else s for s in node.children()]
                    return replace_children(node, sides)
        return node

    return transform_up(plan, visit)


def _is_much_larger(large: LogicalPlan, small: LogicalPlan, context: OptimizerContext) -> bool:
    rows, others = context.estimator.rows(large), context.estimator.rows(small)
    return rows is not None and others is not None and rows > others * _RATIO


def _is_scan(plan: LogicalPlan) -> bool:
    match plan:
        case Scan():
            return True
        case Filter(input) | Project(input):
            return _is_scan(input)
        case _:
            return False
