"""What every plan must satisfy. Checked after each rule, only where the rule made new nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from planner.expr import Column, ColumnId, Schema, column_types
from planner.logical import DependentJoin, Join, LogicalPlan, Scan, Union, describe

Reads = dict[ColumnId, pa.DataType]


class Malformed(Exception):
    """A plan that no rule may produce, with the reason."""


@dataclass(slots=True)
class Verifier:
    """Remembers by identity the nodes that it has checked, with the columns they need from outside."""

    _nodes: dict[int, tuple[LogicalPlan, Reads]] = field(default_factory=dict)

    def check(self, plan: LogicalPlan) -> None:
        """Raise Malformed unless ``plan`` is closed and every node of it well formed.

        Raises:
            Malformed: a column that no input produces, two types for one column, or an id produced twice.
        """
        outer = self._visit(plan)
        if outer:
            raise Malformed(f"no operator produces the columns {sorted(outer)}")

    def _visit(self, node: LogicalPlan) -> Reads:
        """Check ``node``; the columns that it reads and that only a DependentJoin above can produce."""
        hit = self._nodes.get(id(node))
        if hit is not None:
            return hit[1]
        outer: Reads = {}
        inputs = node.children()
        for i, child in enumerate(inputs):
            known = self._nodes.get(id(child))
            free = self._visit(child) if known is None else known[1]
            if free and i == 1 and isinstance(node, DependentJoin):
                free = _unbound(free, inputs[0].schema, node)
            if free:
                outer.update(free)
        reads: Reads = {}
        for expression in node.expressions():
            if isinstance(expression, Column):
                reads[expression.id] = expression.dtype
            else:
                reads.update(column_types(expression))
        for source in (node,) if isinstance(node, Scan) else inputs:
            if not reads:
                break
            reads = _unbound(reads, source.schema, node)
        if reads:
            outer.update(reads)
        if node.schema.repeats:
            raise Malformed(f"a column id occurs twice in the output of: {describe(node)}")
        match node:
            case Union():
                _check_union(node)
            case Join(_, left, right) | DependentJoin(_, left, right):
                if not left.schema.ids.isdisjoint(right.schema.ids):
                    raise Malformed(f"both inputs have a column of one id: {describe(node)}")
            case _:
                pass
        self._nodes[id(node)] = (node, outer)
        return outer


def _unbound(reads: Reads, schema: Schema, node: LogicalPlan) -> Reads:
    """What of ``reads`` an input with ``schema`` does not produce."""
    left: Reads = {}
    get = schema.get
    for id, dtype in reads.items():
        produced = get(id)
        if produced is None:
            left[id] = dtype
        elif produced.dtype is not dtype and produced.dtype != dtype:  # comparing Arrow types is slow
            raise Malformed(f"column #{id} is read as {dtype} and produced as {produced.dtype} in: {describe(node)}")
    return left


def _check_union(node: Union) -> None:
    wanted = [f.dtype for f in node.fields]
    for child in node.inputs:
        if [f.dtype for f in child.schema] != wanted:
            raise Malformed(f"an input's columns do not match the output of: {describe(node)}")
