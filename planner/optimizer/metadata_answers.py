"""Answer count, min and max from what a table knows of itself."""

from __future__ import annotations

from planner import types
from planner.catalog import TableStatistics
from planner.expr import AggregateCall, Column, ColumnId, Literal
from planner.logical import Aggregate, CommonSubplan, LogicalPlan, Project, Scan, Values, operators
from planner.optimizer.context import OptimizerContext
from planner.tree import transform_up


def metadata_answers(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Replace an aggregate without groups over a whole table by its values, where exact statistics hold them
    all.

    Safe because only exact numbers are used (row counts, counts of NULLs, attained extremes: Parquet
    footers), and only over a Scan without predicates and limit, where every row counts. Floats are left out:
    their extremes in footers know nothing of NaN.

        Aggregate [count(*) as n#2, max(a#1) as m#3]    →    Values 1 rows [n#2, m#3]
          Scan t [a#1]
    """
    if Aggregate not in operators(plan):
        return plan

    def visit(node: LogicalPlan) -> LogicalPlan:
        match node:
            case Aggregate(input, (), aggregates) if aggregates:
                source = _scanned(input)
                if source is None:
                    return node
                scan, names = source
                read = [
                    names[c.id]
                    for a in aggregates
                    for c in a.call.args
                    if isinstance(c, Column) and c.id in names
                ]
                known = scan.table.statistics(list(dict.fromkeys(read)))
                row = [_answer(a.call, known, names) for a in aggregates]
                if any(cell is None for cell in row):
                    return node
                return Values(tuple(a.field for a in aggregates), (tuple(c for c in row if c is not None),))
            case _:
                return node

    return transform_up(plan, visit)


def _scanned(plan: LogicalPlan) -> tuple[Scan, dict[ColumnId, str]] | None:
    """The whole table that ``plan`` gives, and the table's name of each column that is passed through."""
    match plan:
        case Scan(_, fields, (), None):
            return plan, {f.id: f.name for f in fields}
        case Project(input, items):
            below = _scanned(input)
            if below is None:
                return None
            scan, names = below
            passed = {i.field.id: i.expr.id for i in items if isinstance(i.expr, Column)}
            return scan, {new: names[old] for new, old in passed.items() if old in names}
        case CommonSubplan(input):
            return _scanned(input)
        case _:
            return None


def _answer(call: AggregateCall, known: TableStatistics, names: dict[ColumnId, str]) -> Literal | None:
    if known.rows is None or not known.exact or call.filter is not None:
        return None
    rows = int(known.rows)
    if call.name == "count_star":
        return Literal(rows, call.dtype)
    match call.args:
        case (Literal(value),) if call.name == "count" and not call.distinct:
            return Literal(0 if value is None else rows, call.dtype)
        case (Column(id, _, dtype),) if id in names and names[id] in known.columns:
            column = known.columns[names[id]]
        case _:
            return None
    if column.null_count is None:
        return None
    if call.name == "count" and not call.distinct:
        return Literal(rows - int(column.null_count), call.dtype)
    if call.name not in ("min", "max") or types.is_float(dtype) or dtype != call.dtype:
        return None
    if column.null_count == rows:
        return Literal(None, dtype)
    extreme = column.min if call.name == "min" else column.max
    return Literal(extreme, dtype) if column.exact and extreme is not None else None
