"""What is proved of a plan's output beyond what the Estimator proves (unique keys, most rows)."""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.expr import Column, ColumnId, Expr, columns_of, conjuncts
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
    Values,
    Window,
)
from planner.optimizer.nullability import rejects_nulls
from planner.statistics import Estimator, split_condition


def matches_once(join: Join, estimator: Estimator, *, side: str) -> bool:
    """Whether every row of the other input has at most one match in ``side`` ("left" or "right")."""
    pairs, _ = split_condition(join.condition, join.left.schema.ids, join.right.schema.ids)
    keys = [right if side == "right" else left for left, right in pairs]
    plan = join.right if side == "right" else join.left
    return estimator.is_unique(plan, [k.id for k in keys if isinstance(k, Column)])


def has_one_row(plan: LogicalPlan) -> bool:
    """Whether the plan has exactly one row, always."""
    match plan:
        case Aggregate(_, keys, _):
            return not keys
        case Values(_, rows):
            return len(rows) == 1
        case Project(input, _) | Sort(input, _, None, 0) | CommonSubplan(input, _):
            return has_one_row(input)
        case Join(JoinKind.MARK | JoinKind.SINGLE, left, _):
            return has_one_row(left)
        case Join(JoinKind.INNER, left, right, ()):
            return has_one_row(left) and has_one_row(right)
        case _:
            return False


@dataclass(slots=True)
class NeverNull:
    """Columns of a plan that are NULL in no row: by type, by the source's count of NULLs, or by a
    predicate.
    """

    _memo: dict[int, tuple[LogicalPlan, frozenset[ColumnId]]] = field(default_factory=dict)

    def __call__(self, plan: LogicalPlan) -> frozenset[ColumnId]:
        hit = self._memo.get(id(plan))
        if hit is None:
            hit = self._memo[id(plan)] = (plan, self._find(plan))
        return hit[1]

    def _find(self, plan: LogicalPlan) -> frozenset[ColumnId]:
        found = {f.id for f in plan.schema if not f.nullable}
        match plan:
            case Scan(_, _, predicates):
                found |= _without_nulls(plan)
                found |= self._rejected(plan, found, predicates)
            case Filter(input, predicate):
                found |= self(input)
                found |= self._rejected(plan, found, conjuncts(predicate))
            case Project(input, items):
                inner = self(input)
                found |= {i.field.id for i in items if isinstance(i.expr, Column) and i.expr.id in inner}
            case Aggregate(input, keys, _):
                found |= self(input) & {k.id for k in keys}
            case Sort(input) | Limit(input) | CommonSubplan(input) | Window(input):
                found |= self(input)
            case Join(kind, left, right, condition):
                if kind not in (JoinKind.RIGHT, JoinKind.FULL):
                    found |= self(left)
                if kind in (JoinKind.INNER, JoinKind.RIGHT):
                    found |= self(right)
                if kind in (JoinKind.INNER, JoinKind.SEMI):
                    found |= self._rejected(plan, found, condition)
            case _:
                pass
        return frozenset(found)

    def _rejected(
        self, plan: LogicalPlan, known: set[ColumnId], predicates: tuple[Expr, ...]
    ) -> set[ColumnId]:
        read = columns_of(*predicates)
        return {
            f.id
            for f in plan.schema
            if f.id in read and f.id not in known and any(rejects_nulls(p, (f.id,)) for p in predicates)
        }


def _without_nulls(scan: Scan) -> set[ColumnId]:
    nullable = [f for f in scan.fields if f.nullable]
    if not nullable:
        return set()
    columns = scan.table.statistics([f.name for f in nullable]).columns
    return {f.id for f in nullable if f.name in columns and columns[f.name].null_count == 0}
