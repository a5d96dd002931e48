"""UNION, INTERSECT, EXCEPT, and VALUES: rows of several places brought to the same types."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlglot import exp

from planner import coercion, types
from planner.binder_clause import ClauseScope, add_place
from planner.binder_order import apply_modifiers
from planner.binder_scope import BoundQuery, Environment, FromScope, OuterScope
from planner.binder_subquery import attach_all
from planner.binder_tables import with_ctes
from planner.expr import Column, Comparison, Expr, column, columns_of, new_field, null
from planner.logical import (
    Aggregate,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Union,
    Values,
    numbered,
    project_to,
)
from planner.optimizer.nullability import can_be_null, nullable_columns


def bind_set_operation(node: exp.SetOperation, env: Environment, outer: OuterScope | None) -> BoundQuery:
    """A set operation with its ORDER BY and LIMIT; a chain of UNION ALL becomes one Union."""
    env = with_ctes(node, env, outer)
    for key in ("side", "kind", "on"):
        if node.args.get(key):
            raise env.unsupported(f"{str(node.args[key]).upper()} {node.key.upper()} is not supported", node)
    inputs = [env.bind_query(part, env, outer) for part in _operands(node)]
    names = inputs[0].names
    if node.args.get("by_name"):
        inputs, names = _by_name(inputs)
    for other in inputs[1:]:
        if len(other.fields) != len(inputs[0].fields):
            raise env.error(
                f"{node.key.upper()} of queries with {len(inputs[0].fields)} and {len(other.fields)} columns",
                node.expression,
                hint="both must have the same number of columns",
            )
    plans = _unified(inputs, names, node, env)
    distinct = node.args.get("distinct") is not False
    match node:
        case exp.Union():
            plan = union(plans, names)
            plan = _distinct(plan) if distinct else plan
        case exp.Intersect() | exp.Except():
            kind = JoinKind.SEMI if isinstance(node, exp.Intersect) else JoinKind.ANTI
            plan = _compared(kind, plans[0], plans[1], distinct)
        case _:
            raise env.unsupported(f"{node.key.upper()} is not supported", node)
    return apply_modifiers(BoundQuery(plan, names), node, env, outer)


def _operands(node: exp.SetOperation) -> list[exp.Expression]:
    """Both sides, or all of a chain of one kind of UNION, which becomes one node without deep recursion."""
    if not isinstance(node, exp.Union) or node.args.get("by_name"):
        return [node.this, node.expression]
    parts: list[exp.Expression] = []
    current: exp.Expression = node
    distinct = node.args.get("distinct")
    while (
        isinstance(current, exp.Union)
        and (current is node or not _has_own_parts(current))
        and current.args.get("distinct") == distinct
        and not current.args.get("by_name")
    ):
        parts.append(current.expression)
        current = current.this
    return [current, *reversed(parts)]


def _has_own_parts(node: exp.Expression) -> bool:
    return any(node.args.get(key) for key in ("with_", "order", "limit", "offset", "side", "kind", "on"))


def _by_name(inputs: list[BoundQuery]) -> tuple[list[BoundQuery], tuple[str, ...]]:
    """UNION BY NAME: columns meet by name, and one that a side lacks is NULL there."""
    names: dict[str, str] = {}
    for bound in inputs:
        for name in bound.names:
            names.setdefault(name.lower(), name)
    result = []
    for bound in inputs:
        have = {name.lower(): f for name, f in zip(bound.names, bound.fields, strict=True)}
        items = []
        for key, name in names.items():
            found = have.get(key)
            if found is not None:
                items.append(Item(found, column(found)))
            else:
                items.append(Item(new_field(name, types.NULL), null(types.NULL)))
        result.append(BoundQuery(Project(bound.plan, tuple(items)), tuple(names.values())))
    return result, tuple(names.values())


def _unified(
    inputs: Sequence[BoundQuery], names: Sequence[str], node: exp.Expression, env: Environment
) -> list[LogicalPlan]:
    """The inputs with every column cast to the type that all of them share."""
    targets: list[pa.DataType] = []
    for index, name in enumerate(names):
        dtypes = [bound.fields[index].dtype for bound in inputs]
        target = _set_type(dtypes)
        if target is None:
            shown = ", ".join(dict.fromkeys(map(types.type_name, dtypes)))
            raise env.error(f'column "{name}" of the {node.key.upper()} cannot mix {shown}', node.expression)
        targets.append(target)
    return [_cast_to(bound.plan, targets, node, env) for bound in inputs]


def _set_type(dtypes: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type for values of several types in one column: as anywhere, and text where one of them is text."""
    result = types.NULL
    for dtype in dtypes:
        merged = types.common_supertype(result, dtype)
        if merged is None and types.VARCHAR in (result, dtype):
            merged = types.VARCHAR
        if merged is None and types.BOOLEAN in (result, dtype):
            other = dtype if result == types.BOOLEAN else result
            merged = other if types.is_numeric(other) else None
        if merged is None:
            return None
        result = merged
    return result


def _cast_to(plan: LogicalPlan, targets: Sequence[pa.DataType], node: exp.Expression, env: Environment) -> LogicalPlan:
    fields = plan.schema.fields
    if all(f.dtype == t for f, t in zip(fields, targets, strict=True)):
        return plan
    items = []
    with add_place(env, node):
        for f, target in zip(fields, targets, strict=True):
            if f.dtype == target:
                items.append(Item(f, column(f)))
            else:
                items.append(Item(new_field(f.name, target, f.nullable), coercion.cast(column(f), target)))
    return Project(plan, tuple(items))


def union(plans: Sequence[LogicalPlan], names: Sequence[str]) -> LogicalPlan:
    """All rows of plans whose columns have the same types."""
    fields = tuple(
        new_field(name, plans[0].schema.fields[i].dtype, any(p.schema.fields[i].nullable for p in plans))
        for i, name in enumerate(names)
    )
    return Union(tuple(plans), fields)


def _distinct(plan: LogicalPlan) -> LogicalPlan:
    return Aggregate(plan, tuple(column(f) for f in plan.schema))


def _compared(kind: JoinKind, left: LogicalPlan, right: LogicalPlan, distinct: bool) -> LogicalPlan:
    """INTERSECT (SEMI) or EXCEPT (ANTI), for which NULLs are equal.

    ALL numbers the copies of a row on both sides: the nth copy on the left meets the nth on the right.
    """
    fields = left.schema.fields
    pairs = list(zip(fields, right.schema.fields, strict=True))
    condition: list[Expr] = [Comparison("is not distinct from", column(a), column(b)) for a, b in pairs]
    if distinct:
        return Join(kind, _distinct(left), right, tuple(condition))
    left, first = _copies(left)
    right, second = _copies(right)
    condition.append(Comparison("=", first, second))
    return project_to(Join(kind, left, right, tuple(condition)), [f.id for f in fields])


def _copies(plan: LogicalPlan) -> tuple[LogicalPlan, Column]:
    """``plan`` with equal rows numbered."""
    return numbered(plan, [column(f) for f in plan.schema], (), "copy")


# ---------------------------------------------------------------------------------------------------- VALUES


def bind_values(node: exp.Values, env: Environment, outer: OuterScope | None) -> BoundQuery:
    """``VALUES (…), (…)``: constant rows; a row that is not constant is a query of its own."""
    env = with_ctes(node, env, outer)
    scope = ClauseScope(env, "VALUES", FromScope(), outer)
    rows: list[list[Expr]] = []
    plain: list[bool] = []
    width: int | None = None
    starts: list[int] = []
    for row in node.expressions:
        cells = row.expressions if isinstance(row, exp.Tuple) else [row]
        if width is not None and len(cells) != width:
            raise env.error(
                f"VALUES rows have {width} and {len(cells)} columns",
                row,
                hint="all rows have the same number",
            )
        width = len(cells)
        starts.append(len(scope.attachments))
        bound = [scope.expression(cell) for cell in cells]
        rows.append(bound)
        plain.append(len(scope.attachments) == starts[-1] and not any(columns_of(e) for e in bound))
    if width is None:
        raise env.error("VALUES needs a row", node)
    names = tuple(f"col{i}" for i in range(width))
    columns = []
    with add_place(env, node):
        columns = [coercion.unify([row[i] for row in rows], "VALUES") for i in range(width)]
    cells_by_row = list(zip(*(cells for cells, _ in columns), strict=True))
    fields = tuple(
        new_field(name, dtype, any(can_be_null(c, nullable_columns(())) for c in cells))
        for name, (cells, dtype) in zip(names, columns, strict=True)
    )
    if all(plain):
        plan: LogicalPlan = Values(fields, tuple(cells_by_row))
    else:
        starts.append(len(scope.attachments))
        plans = []
        for index, row_cells in enumerate(cells_by_row):
            one = attach_all(Values((), ((),)), scope.attachments[starts[index] : starts[index + 1]])
            items = [Item(new_field(n, e.dtype), e) for n, e in zip(names, row_cells, strict=True)]
            plans.append(Project(one, tuple(items)))
        plan = union(plans, names) if len(plans) > 1 else plans[0]
    return apply_modifiers(BoundQuery(plan, names), node, env, outer)
