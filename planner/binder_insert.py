"""INSERT, and what else puts rows into a table: which columns they go into, and the casts that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from planner import coercion
from planner.binder_clause import add_place
from planner.binder_scope import BoundQuery, Environment
from planner.binder_tables import unknown_table
from planner.catalog import Table, View
from planner.errors import nearest
from planner.expr import Column, Expr, column, new_field, null
from planner.logical import Item, LogicalPlan, Project
from planner.optimizer.nullability import can_be_null, nullable_columns
from planner.statements import Insert, Query, Statement

TableName = Callable[[exp.Expression, Environment], str]


def bind_insert(node: exp.Expression, env: Environment, table_name: TableName) -> Statement:
    """INSERT INTO a table VALUES, or the rows of a query."""
    for key, what in (
        ("conflict", "ON CONFLICT"), ("returning", "RETURNING"), ("overwrite", "INSERT OVERWRITE"),
        ("alternative", "INSERT OR …"), ("ignore", "INSERT IGNORE"), ("where", "REPLACE WHERE"),
        ("partition", "PARTITION"), ("default", "DEFAULT VALUES"),
    ):  # fmt: skip
        if node.args.get(key):
            raise env.unsupported(f"{what} is not supported", node)
    target = named_table(node.this)
    table = target_table(target, env, table_name)
    source = node.args.get("expression")
    if source is None:
        raise env.error("INSERT needs VALUES or a query", target)
    if node.args.get("with_") is not None and source.args.get("with_") is None:
        source.set("with_", node.args["with_"])
    bound = env.bind_query(source, env, None)
    if node.args.get("by_name"):
        columns = list(bound.names)
    elif isinstance(node.this, exp.Schema):
        columns = [c.name for c in node.this.expressions]
    else:
        columns = [f.name for f in table.schema]
    return insert(table, node.this, bound, columns, env)


def named_table(into: exp.Expression) -> exp.Expression:
    """The table of ``t`` or ``t (a, b)``."""
    table: exp.Expression = into.this if isinstance(into, exp.Schema) else into
    return table


def target_table(target: exp.Expression, env: Environment, table_name: TableName) -> Table:
    """The table that rows are to be put into."""
    name = table_name(target, env)
    with add_place(env, target):
        table = env.context.lookup(name)
    if table is None:
        raise unknown_table(name, target, env)
    if isinstance(table, View):
        raise env.error(f'"{name}" is a view; rows cannot be inserted into it', target)
    return table


def insert(
    table: Table, into: exp.Expression, bound: BoundQuery, columns: Sequence[str], env: Environment
) -> Insert:
    """The rows of a query, put into the named columns of a table; those that are not named are NULL."""
    target = named_table(into)
    name = target.name
    known = [f.name for f in table.schema]
    chosen = _targets(columns, known, name, into, env)
    if len(chosen) != len(bound.fields):
        raise env.error(
            f'{len(chosen)} values a row are expected for "{name}", {len(bound.fields)} are given',
            target,
            hint=f"its columns: {', '.join(known)}",
        )
    items = []
    nullable = nullable_columns((bound.plan.schema,))
    for index, item in enumerate(table.schema):
        value: Expr = null(item.type)
        if index in chosen:
            given = bound.fields[chosen.index(index)]
            with add_place(env, target):
                value = coercion.cast(column(given), item.type)
        if isinstance(value, Column):
            items.append(Item(bound.plan.schema[value.id], value))
        else:
            items.append(Item(new_field(item.name, item.type, can_be_null(value, nullable)), value))
    plan: LogicalPlan = Project(bound.plan, tuple(items))
    return Insert(table, name, Query(plan, tuple(known)))


def _targets(
    columns: Sequence[str], known: list[str], table: str, into: exp.Expression, env: Environment
) -> list[int]:
    """The positions in the table of the columns that are named."""
    lowered = [k.lower() for k in known]
    found: list[int] = []
    for name in columns:
        if name.lower() not in lowered:
            close = nearest(name, known)
            hint = f'did you mean "{close}"?' if close else f"its columns: {', '.join(known)}"
            raise env.error(f'table "{table}" has no column "{name}"', into, hint=hint)
        index = lowered.index(name.lower())
        if index in found:
            raise env.error(f'column "{name}" is named twice', into)
        found.append(index)
    return found
