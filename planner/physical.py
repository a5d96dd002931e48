"""The physical plan: how a query runs. Algorithms are chosen, distribution is explicit, nothing is left open.

A physical node outputs ``schema``; blocks carry it with columns named ``name#id`` (``expr.column_name``).
Exchanges stand only where ``exchange.ensure_distribution`` put them; ``stages`` cuts there and replaces
them by ``InputExec``.

Nodes that evaluate expressions carry ``bounds``: what is proved about their input columns (see ``Bounds``).
Kernels ask ``bounds.bounds(expr, node.bounds)`` whether arithmetic fits 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from typing import Any

from planner import tree
from planner.catalog import Split, Table
from planner.expr import Column, ColumnId, Expr, Field, Schema, SortKey, show, show_aggregate, show_sort_key
from planner.logical import AggregateItem, Item, JoinKind, WindowItem, show_item, show_limit, show_window
from planner.record import record

Bounds = Mapping[ColumnId, tuple[Any, Any]]
"""Proved bounds of columns: every non-NULL value lies in ``[min, max]``, Python values of the column's type
(int, Decimal, float, date, …). A column that is missing is unknown. Estimates never go in here."""


class PhysicalPlan:
    """A physical operator. The subclasses below are all there are."""

    __slots__ = ("__weakref__",)

    schema: Schema

    def children(self) -> tuple[PhysicalPlan, ...]:
        return ()

    def with_children(self, children: Sequence[PhysicalPlan]) -> PhysicalPlan:
        return self


class _Unary(PhysicalPlan):
    __slots__ = ()

    input: PhysicalPlan

    def children(self) -> tuple[PhysicalPlan, ...]:
        return (self.input,)

    def with_children(self, children: Sequence[PhysicalPlan]) -> PhysicalPlan:
        return replace(self, input=children[0])  # type: ignore[type-var]


@record
class KeyPair:
    """One equality of a hash join: ``left = right``, or IS NOT DISTINCT FROM if ``null_safe``. Types are equal."""

    left: Expr
    right: Expr
    null_safe: bool = False


@record(eq=False)
class ScanExec(PhysicalPlan):
    """Reads ``fields`` (``fields[i].name`` is the name in the table) of the rows that pass ``predicates``.

    ``splits`` None reads the whole table; a task of a multi-stage plan gets its share. ``tasks`` is the
    number of tasks that share the scan, as ``exchange.ensure_distribution`` decided. ``bounds`` are those
    of ``fields``; ``not_null`` are the ids of those that are proved to hold no NULL.
    """

    table: Table
    fields: tuple[Field, ...]
    schema: Schema
    predicates: tuple[Expr, ...] = ()
    limit: int | None = None
    splits: tuple[Split, ...] | None = None
    tasks: int = 1
    bounds: Bounds = field(default_factory=dict)
    not_null: frozenset[ColumnId] = frozenset()


@record(eq=False)
class ValuesExec(PhysicalPlan):
    """Constant rows; each cell is an expression without columns."""

    rows: tuple[tuple[Expr, ...], ...]
    schema: Schema


@record(eq=False)
class InputExec(PhysicalPlan):
    """Reads the blocks that stage ``stage`` produced: all of them, or with several ``tasks`` its share: task i reads
    the partitions whose number is i modulo ``tasks``."""

    stage: int
    schema: Schema
    tasks: int = 1

    @property
    def partitioned(self) -> bool:
        """Whether tasks read different blocks."""
        return self.tasks > 1


@record(eq=False)
class FilterExec(_Unary):
    input: PhysicalPlan
    predicate: Expr
    schema: Schema
    bounds: Bounds = field(default_factory=dict)


@record(eq=False)
class ProjectExec(_Unary):
    input: PhysicalPlan
    items: tuple[Item, ...]
    schema: Schema
    bounds: Bounds = field(default_factory=dict)


@record(eq=False)
class HashJoinExec(PhysicalPlan):
    """Equi-join on ``keys``. ``residual`` are further conjuncts over both sides that a match must satisfy.

    For MARK joins ``keys`` and ``residual`` are the two-valued condition and ``comparison`` the
    three-valued one (see logical.Join); ``keys`` may then be empty. ``build`` names the side that the hash
    table is built of: "left" or "right".
    """

    kind: JoinKind
    left: PhysicalPlan
    right: PhysicalPlan
    keys: tuple[KeyPair, ...]
    schema: Schema
    residual: tuple[Expr, ...] = ()
    comparison: Expr | None = None
    mark: Field | None = None
    build: str = "right"
    bounds: Bounds = field(default_factory=dict)

    def children(self) -> tuple[PhysicalPlan, ...]:
        return (self.left, self.right)

    def with_children(self, children: Sequence[PhysicalPlan]) -> PhysicalPlan:
        return replace(self, left=children[0], right=children[1])


@record(eq=False)
class NestedLoopJoinExec(PhysicalPlan):
    """A join without an equality: every pair is tested against ``condition`` (none: Cartesian product)."""

    kind: JoinKind
    left: PhysicalPlan
    right: PhysicalPlan
    condition: tuple[Expr, ...]
    schema: Schema
    comparison: Expr | None = None
    mark: Field | None = None
    bounds: Bounds = field(default_factory=dict)

    def children(self) -> tuple[PhysicalPlan, ...]:
        return (self.left, self.right)

    def with_children(self, children: Sequence[PhysicalPlan]) -> PhysicalPlan:
        return replace(self, left=children[0], right=children[1])


class AggregateMode(StrEnum):
    SINGLE = "single"  # the whole group at once
    PARTIAL = "partial"  # states of a part of the rows
    FINAL = "final"  # states of the same group merged into results


@record(eq=False)
class AggregateExec(_Unary):
    """Hash aggregation. PARTIAL and FINAL hold only the aggregates of the split that ``functions`` tells: a
    PARTIAL's output columns are states, a FINAL aggregates them (e.g. sum of counts); both are ordinary
    AggregateItems, and what is left (avg = sum / count) is a ProjectExec above. So kernels treat the three
    modes alike.

    ``max_rows`` is a proved upper bound of the rows that reach the aggregation, over all tasks together
    (None: unknown). ``output_bounds`` are proved bounds of the aggregates' results, in any mode; for a sum
    they bound the sum of every subset of the rows too, so that a sum whose bounds fit 64 bits cannot
    overflow on the way.
    """

    input: PhysicalPlan
    keys: tuple[Column, ...]
    aggregates: tuple[AggregateItem, ...]
    schema: Schema
    mode: AggregateMode = AggregateMode.SINGLE
    bounds: Bounds = field(default_factory=dict)
    max_rows: int | None = None
    output_bounds: Bounds = field(default_factory=dict)


@record(eq=False)
class SortExec(_Unary):
    """Full sort; with ``limit`` a top-N."""

    input: PhysicalPlan
    keys: tuple[SortKey, ...]
    schema: Schema
    limit: int | None = None
    offset: int = 0
    bounds: Bounds = field(default_factory=dict)


@record(eq=False)
class LimitExec(_Unary):
    input: PhysicalPlan
    limit: int | None
    schema: Schema
    offset: int = 0


@record(eq=False)
class UnionExec(PhysicalPlan):
    """All rows of all inputs, column i of the output from column i of each input."""

    inputs: tuple[PhysicalPlan, ...]
    schema: Schema

    def children(self) -> tuple[PhysicalPlan, ...]:
        return self.inputs

    def with_children(self, children: Sequence[PhysicalPlan]) -> PhysicalPlan:
        return replace(self, inputs=tuple(children))


@record(eq=False)
class WindowExec(_Unary):
    """Adds columns computed from the rows around each row (see logical.Window). ``max_rows`` is a proved upper bound
    of the rows of ``input``, where there is one."""

    input: PhysicalPlan
    partition: tuple[Column, ...]
    order: tuple[SortKey, ...]
    items: tuple[WindowItem, ...]
    schema: Schema
    bounds: Bounds = field(default_factory=dict)
    max_rows: int | None = None


@record
class Single:
    """All rows in one place."""


@record
class HashPartitioned:
    """Rows with equal ``keys`` (as SQL's GROUP BY tells equal) are in one of ``count`` partitions."""

    keys: tuple[Expr, ...]
    count: int


@record
class RangePartitioned:
    """Rows in the order of ``keys`` from partition to partition: none of one sorts after a row of the next, and rows
    that are equal are in one of the ``count`` partitions.

    ``limits`` are where each partition but the last ends, as the executor keeps them: found while the query runs, in
    a sample of the rows (None before).
    """

    keys: tuple[SortKey, ...]
    count: int
    limits: object = field(default=None, compare=False)


@record
class Broadcast:
    """Every task has all rows."""


@record
class Arbitrary:
    """Rows are spread over ``count`` tasks in no particular way."""

    count: int


Partitioning = Single | HashPartitioned | RangePartitioned | Broadcast | Arbitrary


@record(eq=False)
class ExchangeExec(_Unary):
    """Moves rows between tasks so that they stand as ``target`` says."""

    input: PhysicalPlan
    target: Partitioning
    schema: Schema


@record(eq=False)
class MaterializeExec(_Unary):
    """Computes its input once for several parents (which hold this very object). Always its own stage."""

    input: PhysicalPlan
    name: str
    schema: Schema


def describe(node: PhysicalPlan) -> str:
    """One line for EXPLAIN and for plan tests."""
    match node:
        case ScanExec():
            text = f"Scan {node.table.name} [{', '.join(f'{f.name}#{f.id}' for f in node.fields)}]"
            text += f" where {' AND '.join(map(show, node.predicates))}" if node.predicates else ""
            text += f" limit {node.limit}" if node.limit is not None else ""
            return text + (f" ({len(node.splits)} splits)" if node.splits is not None else "")
        case ValuesExec():
            return f"Values {len(node.rows)} rows"
        case InputExec():
            return f"Input stage {node.stage}{' partition' if node.partitioned else ''}"
        case FilterExec():
            return f"Filter {show(node.predicate)}"
        case ProjectExec():
            return f"Project [{', '.join(show_item(i) for i in node.items)}]"
        case HashJoinExec():
            pairs = [f"{show(k.left)} {'<=>' if k.null_safe else '='} {show(k.right)}" for k in node.keys]
            text = f"HashJoin {node.kind} on {' AND '.join(pairs) or 'nothing'}, build {node.build}"
            text += f" if {' AND '.join(map(show, node.residual))}" if node.residual else ""
            return text + (f" comparing {show(node.comparison)}" if node.comparison is not None else "")
        case NestedLoopJoinExec():
            text = f"NestedLoopJoin {node.kind}"
            text += f" if {' AND '.join(map(show, node.condition))}" if node.condition else ""
            return text + (f" comparing {show(node.comparison)}" if node.comparison is not None else "")
        case AggregateExec():
            items = node.aggregates
            shown = ", ".join(f"{show_aggregate(a.call)} as {a.field.name}#{a.field.id}" for a in items)
            mode = "" if node.mode is AggregateMode.SINGLE else f" {node.mode}"
            keys = f" by [{', '.join(map(show, node.keys))}]" if node.keys else ""
            return f"Aggregate{mode}{keys} [{shown}]"
        case SortExec():
            text = f"{'Sort' if node.limit is None else 'TopN'} [{', '.join(map(show_sort_key, node.keys))}]"
            return text + show_limit(node.limit, node.offset)
        case LimitExec():
            return "Limit" + show_limit(node.limit, node.offset)
        case UnionExec():
            return "Union"
        case WindowExec():
            return show_window(node.partition, node.order, node.items)
        case ExchangeExec():
            return f"Exchange {show_partitioning(node.target)}"
        case MaterializeExec():
            return f"Materialize {node.name}"
        case _:
            raise TypeError(f"not a physical operator: {node!r}")


def show_partitioning(partitioning: Partitioning) -> str:
    match partitioning:
        case Single():
            return "gather"
        case HashPartitioned(keys, count):
            return f"hash [{', '.join(map(show, keys))}] into {count}"
        case RangePartitioned(keys, count):
            return f"range [{', '.join(map(show_sort_key, keys))}] into {count}"
        case Broadcast():
            return "broadcast"
        case Arbitrary(count):
            return f"spread over {count}"


def pretty(plan: PhysicalPlan) -> str:
    """The plan as indented text."""
    return tree.pretty(plan, describe)
