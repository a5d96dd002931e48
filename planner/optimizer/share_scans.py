"""A scan that is joined with some keys, and read again for the same keys, is filtered by them once for both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace

from planner.expr import Column, ColumnId, Comparison, Expr, Field, column, is_volatile, mint, show, substitute
from planner.logical import CommonSubplan, Item, Join, JoinKind, LogicalPlan, Project, Scan, operators
from planner.optimizer.context import OptimizerContext
from planner.tree import transform_up, walk


def share_scans(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Let an inner join read the rows that a semi join with the same keys leaves of the same table.

    A correlated subquery over the table that the query itself reads (rows above the average of their kind) comes to
    this after ``reduce_aggregates``. Safe because the inner join keeps only rows whose key is among the keys, so that
    filtering them first changes nothing; both scans have the same predicates, and so have the scans of the keys.

        Join inner on a#1 = b#2                          Join inner on a#1 = b#2
          Scan part [a#1] where brand#5 = 'x'              Scan part [a#1] where brand#5 = 'x'
          Scan lineitem [b#2, p#3]                         Project [b#9 as b#2, p#10 as p#3]
        …                                            →       *1 CommonSubplan rows of lineitem
        Join semi on b#6 = a#8                                 Join semi on b#9 = a#8
          Scan lineitem [b#6, q#7]                               Scan lineitem [b#9, p#10, q#11]
          Scan part [a#8] where brand#12 = 'x'                   Scan part [a#8] where brand#12 = 'x'
                                                         …
                                                         Project [b#9 as b#6, q#11 as q#7]
                                                           (see *1)
    """
    if JoinKind.SEMI not in operators(plan):
        return plan
    semis = {_match(n, n.left, n.right): n for n in walk(plan) if isinstance(n, Join) and n.kind is JoinKind.SEMI}
    semis.pop(None, None)
    if not semis:
        return plan
    readers = Counter(id(child) for node in walk(plan) for child in node.children())
    replaced: dict[int, LogicalPlan] = {}
    for node in walk(plan):
        if not isinstance(node, Join) or node.kind is not JoinKind.INNER:
            continue
        for large, small in ((node.left, node.right), (node.right, node.left)):
            semi = semis.get(_match(node, large, small))
            if semi is not None and id(semi) not in replaced and readers[id(large)] == 1 and isinstance(large, Scan):
                replaced[id(large)], replaced[id(semi)] = _shared(large, semi)
    return transform_up(plan, lambda node: replaced.get(id(node), node)) if replaced else plan


def _match(join: Join, large: LogicalPlan, small: LogicalPlan) -> Hashable:
    """What tells joins of two scans on one key alike: tables, predicates and key names. None for any other join."""
    if not (isinstance(large, Scan) and isinstance(small, Scan)) or large.limit is not None or small.limit is not None:
        return None
    if any(map(is_volatile, (*large.predicates, *small.predicates))):
        return None
    match join.condition:
        case (Comparison("=", Column() as a, Column() as b),):
            key, value = (a, b) if a.id in large.schema else (b, a)
            if key.id in large.schema and value.id in small.schema:
                return _shape(large), large.schema[key.id].name, _shape(small), small.schema[value.id].name
    return None


def _shape(scan: Scan) -> Hashable:
    names: dict[ColumnId, Expr] = {f.id: Column(ColumnId(0), f.name, f.dtype) for f in scan.fields}
    return id(scan.table), frozenset(show(substitute(p, names)) for p in scan.predicates)


def _shared(scan: Scan, semi: Join) -> tuple[LogicalPlan, LogicalPlan]:
    """What replaces ``scan`` and ``semi``: projections of one subplan that has the columns of both."""
    reduced = semi.left
    assert isinstance(reduced, Scan)
    fields: dict[str, Field] = {f.name: replace(f, id=mint()) for f in (*scan.fields, *reduced.fields)}
    renamed: dict[ColumnId, Expr] = {f.id: column(fields[f.name]) for f in reduced.fields}
    body = Scan(reduced.table, tuple(fields.values()), tuple(substitute(p, renamed) for p in reduced.predicates))
    condition = tuple(substitute(c, renamed) for c in semi.condition)
    common = CommonSubplan(Join(JoinKind.SEMI, body, semi.right, condition), f"rows of {scan.table.name}")

    def read(original: Scan) -> LogicalPlan:
        return Project(common, tuple(Item(f, column(fields[f.name])) for f in original.fields))

    return read(scan), read(reduced)
