"""What is proved of a plan's rows: sets of columns that identify a row, and how many rows there are at most."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from planner.catalog import ColumnStatistics
from planner.expr import Column, ColumnId, Comparison, Expr, Literal, conjuncts
from planner.join_conditions import plain_columns, split_condition
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

Keys = frozenset[frozenset[ColumnId]]

_MAX_KEYS = 8  # unique keys remembered a node: more do not help, and products of them grow


class Proofs(ABC):
    """Unique keys and greatest row counts, remembered by node."""

    def __init__(self) -> None:
        self._keys: dict[int, tuple[LogicalPlan, Keys]] = {}
        self._rows: dict[int, tuple[LogicalPlan, int | None]] = {}

    def unique_keys(self, plan: LogicalPlan) -> Keys:
        """Sets of columns of which no two rows have equal values (NULL counted as a value). Proved.

        The empty set means that there is at most one row.
        """
        hit = self._keys.get(id(plan))
        if hit is None:
            hit = (plan, _minimal(self._derive_keys(plan)))
            self._keys[id(plan)] = hit
        return hit[1]

    def is_unique(self, plan: LogicalPlan, columns: Iterable[ColumnId]) -> bool:
        """Whether some unique key of ``plan`` is among ``columns``."""
        given = frozenset(columns)
        return any(key <= given for key in self.unique_keys(plan))

    def max_rows(self, plan: LogicalPlan) -> int | None:
        """A proved upper bound of the rows of ``plan``."""
        hit = self._rows.get(id(plan))
        if hit is None:
            hit = (plan, self._derive_rows(plan))
            self._rows[id(plan)] = hit
        return hit[1]

    @abstractmethod
    def _scan_columns(self, scan: Scan) -> Mapping[ColumnId, ColumnStatistics]:
        """What is known of the columns of a scan."""

    def _derive_keys(self, plan: LogicalPlan) -> Iterable[frozenset[ColumnId]]:
        match plan:
            case Scan():
                columns = self._scan_columns(plan)
                fixed = _constants(plan.predicates)
                return [
                    frozenset((f.id,)) - fixed
                    for f in plan.fields
                    if columns[f.id].unique and (columns[f.id].null_count == 0 or not f.nullable)
                ]
            case Values(_, rows):
                return [frozenset()] if len(rows) <= 1 else []
            case Filter(input, predicate):
                fixed = _constants(conjuncts(predicate))
                return [key - fixed for key in self.unique_keys(input)]
            case Project(input, items):
                kept: dict[ColumnId, ColumnId] = {}
                for item in items:
                    if isinstance(item.expr, Column):
                        kept.setdefault(item.expr.id, item.field.id)
                return [
                    frozenset(kept[c] for c in key) for key in self.unique_keys(input) if all(c in kept for c in key)
                ]
            case Join() | DependentJoin():
                return self._join_unique(plan)
            case Aggregate(input, keys):
                ids = frozenset(k.id for k in keys)
                return [ids, *(key for key in self.unique_keys(input) if key <= ids)]
            case Sort(input, _, limit) | Limit(input, limit):
                return [frozenset()] if limit is not None and limit <= 1 else self.unique_keys(input)
            case Window(input, partition, _, items):
                numbers = [i.field.id for i in items if i.call.name == "row_number"]
                return [*self.unique_keys(input), *(frozenset((*(p.id for p in partition), n)) for n in numbers)]
            case CommonSubplan(input):
                return self.unique_keys(input)
            case Union():
                return []
            case _:
                raise TypeError(f"not a logical operator: {plan!r}")

    def _join_unique(self, plan: Join | DependentJoin) -> list[frozenset[ColumnId]]:
        left = self.unique_keys(plan.left)
        if plan.kind in (JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK, JoinKind.SINGLE):
            return list(left)
        right = self.unique_keys(plan.right)
        keys, _ = split_condition(plan.condition, plan.left.schema.ids, plan.right.schema.ids)
        one_right = self.is_unique(plan.right, plain_columns(k for _, k in keys))
        # The right side of a dependent join is another relation for each left row.
        one_left = isinstance(plan, Join) and self.is_unique(plan.left, plain_columns(k for k, _ in keys))
        out: list[frozenset[ColumnId]] = []
        if one_right and plan.kind in (JoinKind.INNER, JoinKind.LEFT):
            out += left
        if one_left and plan.kind in (JoinKind.INNER, JoinKind.RIGHT):
            out += right
        if plan.kind is not JoinKind.FULL:  # there a padded row could equal one that holds NULLs
            out += [a | b for a in left for b in right]
        return out

    def _derive_rows(self, plan: LogicalPlan) -> int | None:
        match plan:
            case Scan():
                known = plan.table.statistics([f.name for f in plan.fields])
                rows = int(known.rows) if known.rows is not None and known.exact else None
                return _least(rows, plan.limit)
            case Values(_, rows):
                return len(rows)
            case Filter(input) | Project(input) | Window(input) | CommonSubplan(input):
                return self.max_rows(input)
            case Join() | DependentJoin():
                return self._join_most(plan)
            case Aggregate(input, keys):
                return self.max_rows(input) if keys else 1
            case Sort(input, _, limit) | Limit(input, limit):
                return _least(self.max_rows(input), limit)
            case Union(inputs):
                found = [self.max_rows(i) for i in inputs]
                return None if None in found else sum(f for f in found if f is not None)
            case _:
                raise TypeError(f"not a logical operator: {plan!r}")

    def _join_most(self, plan: Join | DependentJoin) -> int | None:
        left = self.max_rows(plan.left)
        if plan.kind in (JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK, JoinKind.SINGLE):
            return left
        right = self.max_rows(plan.right)
        if left is None or right is None:
            return None
        keys, _ = split_condition(plan.condition, plan.left.schema.ids, plan.right.schema.ids)
        one_right = self.is_unique(plan.right, plain_columns(k for _, k in keys))
        one_left = isinstance(plan, Join) and self.is_unique(plan.left, plain_columns(k for k, _ in keys))
        inner = left if one_right else right if one_left else left * right
        if one_right and one_left:
            inner = min(left, right)
        match plan.kind:
            case JoinKind.INNER:
                return inner
            case JoinKind.LEFT:
                return max(inner, left) if one_right else inner + left
            case JoinKind.RIGHT:
                return max(inner, right) if one_left else inner + right
            case _:
                return inner + left + right


def _least(*values: int | None) -> int | None:
    return min((v for v in values if v is not None), default=None)


def _minimal(keys: Iterable[frozenset[ColumnId]]) -> Keys:
    """The keys that contain no other, shortest first, and not too many."""
    out: list[frozenset[ColumnId]] = []
    for key in sorted(set(keys), key=lambda k: (len(k), sorted(k))):
        if not any(k <= key for k in out):
            out.append(key)
    return frozenset(out[:_MAX_KEYS])


def _constants(predicates: Iterable[Expr]) -> frozenset[ColumnId]:
    """Columns that predicates hold to one constant: a key needs them no longer."""
    out = set()
    for conjunct in predicates:
        match conjunct:
            case Comparison("=" | "is not distinct from", Column(id), Literal()) | Comparison(
                "=" | "is not distinct from", Literal(), Column(id)
            ):
                out.add(id)
    return frozenset(out)
