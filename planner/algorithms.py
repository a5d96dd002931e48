"""From the optimized logical plan to physical operators for one place: algorithms, join keys and build sides.

How rows are spread over tasks is not decided here: ``exchange.ensure_distribution`` comes after. Every node's
estimate goes to ``context.estimates``, every node that computes carries the proved bounds of what it reads.
"""

from __future__ import annotations

from collections.abc import Iterable

from planner.bounds import Interval
from planner.cost import Cost
from planner.estimates import NodeEstimate
from planner.expr import Column, ColumnId, Expr, columns_of
from planner.logical import (
    Aggregate,
    CommonSubplan,
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
from planner.physical import (
    AggregateExec,
    FilterExec,
    HashJoinExec,
    KeyPair,
    LimitExec,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ProjectExec,
    ScanExec,
    SortExec,
    UnionExec,
    ValuesExec,
    WindowExec,
)
from planner.physical_context import PhysicalContext
from planner.statistics import DEFAULT_ROWS, equalities


def plan_physical(plan: LogicalPlan, context: PhysicalContext) -> PhysicalPlan:
    """The physical plan of ``plan`` in one place; a subplan with several parents is planned once and stays shared."""
    return _Planner(context).visit(plan)


class _Planner:
    def __init__(self, context: PhysicalContext) -> None:
        self.context = context
        self.estimator = context.estimator
        self.model = context.model
        self._done: dict[int, tuple[LogicalPlan, PhysicalPlan]] = {}

    def visit(self, plan: LogicalPlan) -> PhysicalPlan:
        hit = self._done.get(id(plan))
        if hit is not None:
            return hit[1]
        node, cost = self.plan(plan)
        known = self.estimator.statistics(plan)
        estimate = NodeEstimate(known.rows, self.estimator.width(plan), cost, known.columns)
        self.context.estimates.put(node, estimate)
        self._done[id(plan)] = (plan, node)
        return node

    def rows(self, plan: LogicalPlan) -> float:
        return self.estimator.rows_or(plan, DEFAULT_ROWS)

    def plan(self, plan: LogicalPlan) -> tuple[PhysicalPlan, Cost]:
        match plan:
            case Scan():
                return self.scan(plan)
            case Values(_, rows):
                return ValuesExec(rows, plan.schema), Cost()
            case Filter(input, predicate):
                limits = self.limits((predicate,), input)
                return FilterExec(self.visit(input), predicate, plan.schema, limits), self.model.filter(
                    self.rows(input)
                )
            case Project(input, items):
                computed = [i.expr for i in items if not isinstance(i.expr, Column)]
                node = ProjectExec(self.visit(input), items, plan.schema, self.limits(computed, input))
                return node, self.model.project(self.rows(input), len(computed))
            case Join():
                return self.join(plan)
            case Aggregate():
                return self.aggregate(plan)
            case Sort(input, keys, limit, offset):
                limits = self.limits((k.expr for k in keys if not isinstance(k.expr, Column)), input)
                top = None if limit is None else limit + offset
                cost = self.model.sort(self.rows(input), self.estimator.width(input), top)
                return SortExec(self.visit(input), keys, plan.schema, limit, offset, limits), cost
            case Limit(input, limit, offset):
                return LimitExec(self.visit(input), limit, plan.schema, offset), Cost()
            case Union(inputs):
                return UnionExec(tuple(map(self.visit, inputs)), plan.schema), Cost(self.rows(plan) * 0.1)
            case Window(input, partition, order, items):
                limits = self.limits(plan.expressions(), input)
                most = self.estimator.max_rows(input)
                window = WindowExec(self.visit(input), partition, order, items, plan.schema, limits, most)
                return window, self.model.sort(self.rows(input), self.estimator.width(input))
            case CommonSubplan(input, name):
                size = self.rows(input) * self.estimator.width(input)
                return MaterializeExec(self.visit(input), name, plan.schema), Cost(self.rows(input) * 0.1, size)
            case _:
                raise TypeError(f"no physical operator for {type(plan).__name__}")

    def scan(self, plan: Scan) -> tuple[PhysicalPlan, Cost]:
        limits = self.estimator.bounds(plan)
        known = plan.table.statistics([f.name for f in plan.fields])
        columns = [(f.id, known.columns[f.name]) for f in plan.fields]
        not_null = frozenset(id for id, column in columns if column.exact and column.null_count == 0)
        node = ScanExec(
            plan.table, plan.fields, plan.schema, plan.predicates, plan.limit, bounds=limits, not_null=not_null
        )
        rows = DEFAULT_ROWS if known.rows is None else known.rows
        return node, self.model.scan(rows, rows * self.estimator.width(plan))

    def aggregate(self, plan: Aggregate) -> tuple[PhysicalPlan, Cost]:
        proved = self.estimator.bounds(plan)
        outputs = {a.field.id: proved[a.field.id] for a in plan.aggregates if a.field.id in proved}
        node = AggregateExec(
            self.visit(plan.input),
            plan.keys,
            plan.aggregates,
            plan.schema,
            bounds=self.limits(plan.expressions(), plan.input),
            max_rows=self.estimator.max_rows(plan.input),
            output_bounds=outputs,
        )
        return node, self.model.aggregate(self.rows(plan.input), self.rows(plan), self.estimator.width(plan))

    def join(self, plan: Join) -> tuple[PhysicalPlan, Cost]:
        left, right = self.visit(plan.left), self.visit(plan.right)
        keys, residual = join_keys(plan.condition, plan.left.schema.ids, plan.right.schema.ids)
        estimator = self.estimator
        left_rows, right_rows, rows = self.rows(plan.left), self.rows(plan.right), self.rows(plan)
        left_width, right_width = estimator.width(plan.left), estimator.width(plan.right)
        computed = [e for k in keys for e in (k.left, k.right)]
        computed += residual
        if plan.comparison is not None:
            computed.append(plan.comparison)
        limits = self.limits(computed, plan.left, plan.right)
        if not keys and not _compares_equal(plan):
            node = NestedLoopJoinExec(
                plan.kind, left, right, plan.condition, plan.schema, plan.comparison, plan.mark, limits
            )
            return node, self.model.nested_loop(left_rows, right_rows, right_width, rows)
        build = build_side(plan.kind, left_rows * left_width, right_rows * right_width)
        joined = HashJoinExec(
            plan.kind,
            left,
            right,
            keys,
            plan.schema,
            tuple(residual),
            plan.comparison,
            plan.mark,
            build,
            limits,
        )
        width = estimator.width(plan)
        if build == "left":
            return joined, self.model.hash_join(left_rows, left_width, right_rows, rows, width)
        return joined, self.model.hash_join(right_rows, right_width, left_rows, rows, width)

    def limits(self, expressions: Iterable[Expr], *inputs: LogicalPlan) -> dict[ColumnId, Interval]:
        """Proved bounds of the columns that the expressions read."""
        out: dict[ColumnId, Interval] = {}
        read = columns_of(*expressions)
        for input in inputs if read else ():
            found = self.estimator.statistics(input).columns
            for id in read:
                known = found.get(id)
                interval = None if known is None else self.estimator.interval(id, known)
                if interval is not None:
                    out[id] = interval
        return out


def build_side(kind: JoinKind, left_bytes: float, right_bytes: float) -> str:
    """The side of a join that its hash table is built of: the smaller one, where the kernels leave the choice."""
    return "left" if kind not in (JoinKind.MARK, JoinKind.SINGLE) and left_bytes < right_bytes else "right"


def join_keys(
    condition: Iterable[Expr], left: frozenset[ColumnId], right: frozenset[ColumnId]
) -> tuple[tuple[KeyPair, ...], list[Expr]]:
    """The conjuncts that a hash table answers, as pairs of a left and a right expression, and the others."""
    pairs, rest = equalities(condition, left, right)
    return tuple(KeyPair(a, b, op != "=") for op, a, b in pairs), rest


def _compares_equal(plan: Join) -> bool:
    """Whether a MARK join's comparison is an equality of its two sides, so that a hash table answers it."""
    if plan.comparison is None:
        return False
    return bool(join_keys((plan.comparison,), plan.left.schema.ids, plan.right.schema.ids)[0])
