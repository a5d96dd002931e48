"""Statistics of any logical plan, asked for on demand and remembered by node, never stored in nodes.

What is known exactly and what is estimated stay apart: bounds of columns (``min``, ``max``) are proved at
every node, ``unique_keys`` and ``max_rows`` are proved, while ``rows`` (unless ``exact``), ``ndv`` and
``width`` are estimates. An unknown number of rows is None; ``rows_or`` puts a default in its place where a
cost needs a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from planner import types
from planner.bounds import Interval, aggregate_bounds, bounds
from planner.cardinality import DEFAULT_ROWS, Cardinality, Origin, Statistics, at_least_one
from planner.catalog import ColumnStatistics
from planner.expr import Column, ColumnId, Expr, Literal, conjuncts
from planner.functions_window import COUNTING
from planner.join_conditions import equalities, plain_columns, split_condition
from planner.keys import Proofs
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
from planner.selectivity import (
    UNKNOWN,
    Columns,
    derived,
    narrowed,
    selectivity,
)
from planner.window import WindowCall

__all__ = ["DEFAULT_ROWS", "Estimator", "Statistics", "column_width", "equalities", "split_condition"]

_STRING_WIDTH = 24.0


class Estimator(Proofs):
    """Answers questions about plans. Remembers its answers, so use one for one query."""

    def __init__(self) -> None:
        super().__init__()
        # The node is kept beside its answer: its id stays taken as long as the entry lives.
        self._statistics: dict[int, tuple[LogicalPlan, Statistics]] = {}
        self._proved: dict[ColumnId, Interval] = {}  # bounds of columns whose statistics hold likely values
        self._widths: dict[int, tuple[LogicalPlan, float]] = {}
        self.cardinality = Cardinality()

    def statistics(self, plan: LogicalPlan) -> Statistics:
        """Rows and columns of ``plan``."""
        hit = self._statistics.get(id(plan))
        if hit is None:
            hit = (plan, self._derive(plan))
            self._statistics[id(plan)] = hit
        return hit[1]

    def rows(self, plan: LogicalPlan) -> float | None:
        return self.statistics(plan).rows

    def rows_or(self, plan: LogicalPlan, default: float = DEFAULT_ROWS) -> float:
        """The rows of ``plan``, or ``default`` where they are unknown. Only for costs, never for proofs."""
        rows = self.statistics(plan).rows
        return default if rows is None else rows

    def column(self, plan: LogicalPlan, id: ColumnId) -> ColumnStatistics:
        return self.statistics(plan).columns.get(id, UNKNOWN)

    def bytes(self, plan: LogicalPlan) -> float | None:
        """The size of ``plan``'s output in Arrow form."""
        rows = self.statistics(plan).rows
        return None if rows is None else rows * self.width(plan)

    def width(self, plan: LogicalPlan) -> float:
        """Average bytes of a row in Arrow form."""
        hit = self._widths.get(id(plan))
        if hit is None:
            columns = self.statistics(plan).columns
            width = sum([column_width(f.dtype, columns.get(f.id, UNKNOWN)) for f in plan.schema])
            hit = self._widths[id(plan)] = (plan, width)
        return hit[1]

    def bounds(self, plan: LogicalPlan) -> dict[ColumnId, Interval]:
        """Proved bounds of the columns of ``plan``: every non-NULL value lies within."""
        found = self.statistics(plan).columns
        out: dict[ColumnId, Interval] = {}
        for item in plan.schema:
            known = found.get(item.id)
            interval = None if known is None else self.interval(item.id, known)
            if interval is not None:
                out[item.id] = interval
        return out

    def interval(self, id: ColumnId, known: ColumnStatistics) -> Interval | None:
        """Proved bounds of a column of which ``known`` is known; of floats None, as they may be NaN."""
        if known.likely:
            return self._proved.get(id)
        if known.min is None or known.max is None or isinstance(known.min, float):
            return None
        return known.min, known.max

    def distinct(self, columns: Iterable[ColumnId], plan: LogicalPlan) -> float | None:
        """Estimated distinct combinations of ``columns`` among the rows of ``plan``."""
        return self.cardinality.distinct(columns, self.statistics(plan))

    # --------------------------------------------------------------------------------------------------- estimates

    def _scan_columns(self, scan: Scan) -> Mapping[ColumnId, ColumnStatistics]:
        return self.statistics(scan).columns

    def _derive(self, plan: LogicalPlan) -> Statistics:
        match plan:
            case Scan():
                return self._scan(plan)
            case Values():
                return _values(plan)
            case Filter(input, predicate):
                return _filter(self.statistics(input), conjuncts(predicate))
            case Project(input, items):
                return self._project(self.statistics(input), items)
            case Join() | DependentJoin():
                return self._join(plan)
            case Aggregate(input, keys, aggregates):
                return self._aggregate(input, keys, aggregates)
            case Sort(input, _, limit, offset) | Limit(input, limit, offset):
                return _limit(self.statistics(input), limit, offset)
            case Union(inputs):
                return self._union(plan, [self.statistics(i) for i in inputs])
            case Window(input, _, _, items):
                source = self.statistics(input)
                added = {i.field.id: self._windowed(i.call, input) for i in items}
                return replace(source, columns={**source.columns, **added})
            case CommonSubplan(input):
                return self.statistics(input)
            case _:
                raise TypeError(f"not a logical operator: {plan!r}")

    def _windowed(self, call: WindowCall, input: LogicalPlan) -> ColumnStatistics:
        if call.name not in COUNTING:
            return UNKNOWN
        most = self.max_rows(input)
        return ColumnStatistics(1, None if most is None else max(most, 1), 0, self.statistics(input).rows, 8.0)

    def _scan(self, plan: Scan) -> Statistics:
        found = plan.table.statistics([f.name for f in plan.fields])
        columns = {}
        for item in plan.fields:
            known = found.columns.get(item.name, UNKNOWN)
            if known.ndv is None:
                known = replace(known, ndv=_guess_ndv(known, found.rows))
            columns[item.id] = known
            if found.rows is not None:
                self.cardinality.comes_from(item.id, Origin(id(plan), found.rows, known.ndv))
        whole = Statistics(found.rows, found.exact, columns)
        passed = _filter(whole, plan.predicates) if plan.predicates else whole
        return _limit(passed, plan.limit, 0)

    def _join(self, plan: Join | DependentJoin) -> Statistics:
        left, right = self.statistics(plan.left), self.statistics(plan.right)
        keys, residual = split_condition(plan.condition, plan.left.schema.ids, plan.right.schema.ids)
        both = {**left.columns, **right.columns}
        kind = plan.kind
        rows = None
        if left.rows is not None and right.rows is not None:
            rows = self.cardinality.join_rows(kind, left, right, keys, residual)
        changed: dict[ColumnId, ColumnStatistics] = {}
        if kind in _MATCHED:
            changed = narrowed(plan.condition, both)
            self.cardinality.limit_keys(changed, keys, left, right)
            out = _MATCHED[kind](left.columns, right.columns)
            changed = {i: c for i, c in changed.items() if i in out}
        if kind in (JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK):
            columns = {i: _inexact(changed.get(i, c)) for i, c in left.columns.items()}
            if plan.mark is not None:
                columns[plan.mark.id] = ColumnStatistics(False, True, None, 2.0, 1.0)
            return Statistics(rows, False, columns)
        keeps_left = kind is JoinKind.SINGLE or self.is_unique(plan.right, plain_columns(k for _, k in keys))
        keeps_right = isinstance(plan, Join) and self.is_unique(plan.left, plain_columns(k for k, _ in keys))
        columns = {i: _inexact(changed.get(i, c), keeps_left) for i, c in left.columns.items()}
        columns |= {i: _inexact(changed.get(i, c), keeps_right) for i, c in right.columns.items()}
        # Rows without a match bring NULLs to the other side.
        padded: Columns = {}
        if kind in (JoinKind.LEFT, JoinKind.SINGLE, JoinKind.FULL):
            padded = {**padded, **right.columns}
        if kind in (JoinKind.RIGHT, JoinKind.FULL):
            padded = {**padded, **left.columns}
        for id in padded:
            columns[id] = replace(columns[id], null_count=None, unique=False)
        return Statistics(rows, False, columns)

    def _project(self, source: Statistics, items: tuple[Item, ...]) -> Statistics:
        limits: dict[ColumnId, Interval] | None = None
        columns = {}
        for item in items:
            if isinstance(item.expr, Column):
                known = source.columns.get(item.expr.id, UNKNOWN)
                columns[item.field.id] = known
                if known.likely and item.expr.id in self._proved:
                    self._proved[item.field.id] = self._proved[item.expr.id]
                self.cardinality.renamed(item.field.id, item.expr.id)
                continue
            if limits is None:
                limits = self._intervals(source)
            columns[item.field.id] = _computed(item.expr, source, limits)
        return Statistics(source.rows, source.exact, columns)

    def _intervals(self, source: Statistics) -> dict[ColumnId, Interval]:
        out = {}
        for id, known in source.columns.items():
            interval = self.interval(id, known)
            if interval is not None:
                out[id] = interval
        return out

    def _union(self, plan: Union, inputs: list[Statistics]) -> Statistics:
        rows: float | None = 0.0
        for source in inputs:
            rows = None if rows is None or source.rows is None else rows + source.rows
        columns = {}
        for position, item in enumerate(plan.fields):
            ids = [i.schema.fields[position].id for i in plan.inputs]
            parts = [s.columns.get(i, UNKNOWN) for s, i in zip(inputs, ids, strict=True)]
            known = all(p.min is not None and p.max is not None for p in parts)
            nulls = [p.null_count for p in parts]
            ndvs = [p.ndv for p in parts]
            columns[item.id] = ColumnStatistics(
                min(p.min for p in parts) if known else None,
                max(p.max for p in parts) if known else None,
                None if None in nulls else sum(n for n in nulls if n is not None),
                None if None in ndvs else sum(n for n in ndvs if n is not None),
                parts[0].width,
                all(p.exact for p in parts) and known,
                likely=any(p.likely for p in parts),
            )
            proved = [self.interval(i, p) for i, p in zip(ids, parts, strict=True)]
            intervals = [p for p in proved if p is not None]
            if columns[item.id].likely and len(intervals) == len(proved):
                self._proved[item.id] = (min(p[0] for p in intervals), max(p[1] for p in intervals))
        return Statistics(rows, all(s.exact for s in inputs), columns)

    def _aggregate(
        self, input: LogicalPlan, keys: tuple[Column, ...], aggregates: tuple[AggregateItem, ...]
    ) -> Statistics:
        source = self.statistics(input)
        rows: float | None = 1.0
        if keys:
            rows = self.distinct((k.id for k in keys), input)
            if rows is None and source.rows is not None:
                rows = max(1.0, source.rows**0.75)  # keys of unknown domain: fewer groups than rows
            elif source.rows == 0:
                rows = 0.0
        columns = {}
        for key in keys:
            known = _inexact(source.columns.get(key.id, UNKNOWN), len(keys) == 1)
            if len(keys) == 1:
                known = replace(known, unique=known.null_count == 0, ndv=rows)
            columns[key.id] = known
        limits = self._intervals(source)
        most = self.max_rows(input)
        size = 1.0 if not rows or source.rows is None else max(source.rows / rows, 1.0)
        for item in aggregates:
            found = aggregate_bounds(item.call, limits, most)
            if found is not None:
                self._proved[item.field.id] = found
            columns[item.field.id] = self._result(item, source, limits, found, size, rows)
        return Statistics(rows, not keys, columns)

    def _result(
        self,
        item: AggregateItem,
        source: Statistics,
        limits: Mapping[ColumnId, Interval],
        proved: Interval | None,
        size: float,
        groups: float | None,
    ) -> ColumnStatistics:
        """An aggregate's result: where its values are likely to be in groups of ``size`` rows."""
        call = item.call
        match call.name:
            case "count" | "count_star":
                return ColumnStatistics(0, round(2 * size), 0, groups, 8.0, likely=True)
            case "min" | "max" | "any_value" | "first" | "last" if proved is not None:
                argument = call.args[0]
                known = source.columns.get(argument.id, UNKNOWN) if isinstance(argument, Column) else UNKNOWN
                return ColumnStatistics(proved[0], proved[1], None, known.ndv or groups, known.width)
            case "sum" | "avg" if call.args:
                found = bounds(call.args[0], limits)
                if found is None or not types.is_numeric(call.dtype):
                    return ColumnStatistics(ndv=groups)
                times = size if call.name == "sum" else 1.0
                convert = float if types.is_float(call.dtype) else int
                low, high = (convert(float(v) * times) for v in found)
                return ColumnStatistics(low, high, None, groups, likely=True)
            case _:
                return ColumnStatistics(ndv=groups)


def column_width(dtype: pa.DataType, column: ColumnStatistics = UNKNOWN) -> float:
    """Average bytes of a value in Arrow form."""
    if column.width is not None:
        return column.width
    if types.is_string(dtype) or dtype == types.BLOB:
        return _STRING_WIDTH
    if dtype == types.NULL:
        return 0.0
    if types.normalize(dtype) is None:  # a list, a struct, …: nothing reads it
        return _STRING_WIDTH
    return max(1.0, float(dtype.bit_width) / 8)


_MATCHED: dict[JoinKind, Callable[[Columns, Columns], Columns]] = {
    JoinKind.INNER: lambda left, right: {**left, **right},
    JoinKind.SEMI: lambda left, right: left,
    JoinKind.LEFT: lambda left, right: right,
    JoinKind.SINGLE: lambda left, right: right,
    JoinKind.RIGHT: lambda left, right: left,
}
"""Which columns of a join's output hold values of matching rows only (beside NULLs): what its condition says holds."""


def _guess_ndv(column: ColumnStatistics, rows: float | None) -> float | None:
    """Distinct values of a column for which the table has none: as many as its range and rows allow."""
    if rows is None:
        return None
    if column.unique:
        return rows
    low, high = column.min, column.max
    if isinstance(low, bool):
        return 2.0
    if isinstance(low, int) and isinstance(high, int):
        return min(rows, float(high - low + 1))
    if hasattr(low, "toordinal") and hasattr(high, "toordinal") and not hasattr(low, "hour"):
        return min(rows, float(high.toordinal() - low.toordinal() + 1))
    return None


def _inexact(column: ColumnStatistics, keep_unique: bool = True) -> ColumnStatistics:
    """The column after rows were dropped (and repeated, unless ``keep_unique``)."""
    if not column.exact and (keep_unique or not column.unique):
        return column
    return replace(column, exact=False, unique=column.unique and keep_unique)


def _filter(source: Statistics, predicates: Sequence[Expr]) -> Statistics:
    share = selectivity(predicates, source.columns, source.rows)
    changed = narrowed(predicates, source.columns)
    columns = {}
    for id, known in source.columns.items():
        column = changed.get(id, known)
        nulls = column.null_count
        if id not in changed and nulls:
            nulls = max(1, round(nulls * share))
        if column.exact or nulls != column.null_count:
            column = replace(column, exact=False, null_count=nulls)
        columns[id] = column
    if share == 0.0:
        return Statistics(0.0, False, columns)
    rows = None if source.rows is None else at_least_one(source.rows, source.rows * share)
    return Statistics(rows, False, columns)


def _computed(expr: Expr, source: Statistics, limits: Mapping[ColumnId, Interval]) -> ColumnStatistics:
    if isinstance(expr, Literal):
        nulls = 0 if expr.value is not None else None
        return ColumnStatistics(expr.value, expr.value, nulls, 1.0)
    found = bounds(expr, limits)
    low, high = found if found is not None else (None, None)
    ndv = derived(expr, source.columns).ndv
    if ndv is not None and source.rows is not None:
        ndv = min(ndv, max(source.rows, 1.0))
    return ColumnStatistics(low, high, None, ndv)


def _limit(source: Statistics, limit: int | None, offset: int) -> Statistics:
    if limit is None and not offset:
        return source
    columns = {i: _inexact(c) for i, c in source.columns.items()}
    rows = source.rows
    if rows is not None:
        rows = max(0.0 if source.exact else at_least_one(rows, 0.0), rows - offset)
        rows = rows if limit is None else min(rows, float(limit))
        return Statistics(rows, source.exact, columns)
    return Statistics(None if limit is None else float(limit), False, columns)


def _values(plan: Values) -> Statistics:
    columns = {}
    for position, item in enumerate(plan.fields):
        cells = [row[position] for row in plan.rows]
        constants = [c.value for c in cells if isinstance(c, Literal)]
        if len(constants) < len(cells):
            continue
        present = [c for c in constants if c is not None]
        if types.is_float(item.dtype) or item.dtype == types.INTERVAL:
            columns[item.id] = ColumnStatistics(null_count=len(cells) - len(present), ndv=float(len(present)))
            continue
        distinct = len(set(present))
        low, high = min(present, default=None), max(present, default=None)
        nulls = len(cells) - len(present)
        unique = distinct == len(present)
        columns[item.id] = ColumnStatistics(low, high, nulls, float(distinct), None, True, unique)
    return Statistics(float(len(plan.rows)), True, columns)
