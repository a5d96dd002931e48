"""Statements: what they ask a session to do, their queries bound and their names checked."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from planner import types
from planner.binder_copy import bind_copy
from planner.binder_ddl import bind_create
from planner.binder_insert import bind_insert
from planner.binder_scope import BoundQuery, Environment
from planner.expr import column, new_field, null
from planner.logical import Item, Project
from planner.statements import (
    Describe,
    Drop,
    Explain,
    Query,
    ResetOption,
    SetOption,
    ShowTables,
    Statement,
)


def bind_statement(node: exp.Expression, env: Environment) -> Statement:
    """What one statement asks for."""
    if isinstance(node, exp.Query | exp.Values):
        return bind_top_query(node, env)
    binder = _BINDERS.get(type(node))
    if binder is None:
        name = node.key.upper() if not isinstance(node, exp.Pragma) else "PRAGMA"
        raise env.unsupported(f"{_NAMES.get(type(node), name)} is not supported", node)
    return binder(node, env)


def bind_top_query(node: exp.Expression, env: Environment) -> Query:
    """A query whose rows leave the engine: a column of nothing but NULL is INTEGER there, as in DuckDB."""
    bound = env.bind_query(node, env, None)
    if any(f.dtype == types.NULL for f in bound.fields):
        items = []
        for f in bound.fields:
            if f.dtype == types.NULL:
                items.append(Item(new_field(f.name, types.INTEGER), null(types.INTEGER)))
            else:
                items.append(Item(f, column(f)))
        bound = BoundQuery(Project(bound.plan, tuple(items)), bound.names)
    return Query(bound.plan, bound.names)


def table_name(node: exp.Expression, env: Environment) -> str:
    """The name of the table that a statement is about."""
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise env.unsupported("this is not supported as a table's name", node)
    schema = node.args.get("db")
    if schema is not None and schema.name.lower() != "main":
        raise env.unsupported(
            f'the schema "{schema.name}" is not supported', schema, hint="tables are in the schema main"
        )
    return node.name


def _drop(node: exp.Expression, env: Environment) -> Statement:
    kind = str(node.args.get("kind") or "").upper()
    if kind not in ("TABLE", "VIEW", "INDEX"):
        raise env.unsupported(f"DROP {kind} is not supported", node)
    tables = node.args.get("tables") or [node.this]
    return Drop(kind, tuple(table_name(t, env) for t in tables), bool(node.args.get("exists")))


def _describe(node: exp.Expression, env: Environment) -> Statement:
    target = node.this
    if isinstance(target, exp.Table):
        return Describe(_table_query(target, env))
    return Describe(bind_top_query(target, env))


def _table_query(table: exp.Table, env: Environment) -> Query:
    select = exp.Select(expressions=[exp.Star()], from_=exp.From(this=table))
    return bind_top_query(select, env)


def _show(node: exp.Expression, env: Environment) -> Statement:
    name = str(node.this).upper()
    if name in ("TABLES", "ALL TABLES"):
        return ShowTables()
    raise env.unsupported(f"SHOW {name} is not supported", node, hint="there is SHOW TABLES, and DESCRIBE t")


def _set(node: exp.Expression, env: Environment) -> Statement:
    items = node.expressions
    item = items[0] if len(items) == 1 else None
    assignment = item.this if item is not None else None
    kind = str(item.args.get("kind") or "").upper() if item is not None else ""
    if not isinstance(assignment, exp.EQ) or kind not in ("", "GLOBAL", "SESSION", "LOCAL"):
        raise env.unsupported("this SET is not supported", node, hint="SET name = value sets one option")
    name = assignment.this.name
    value = assignment.expression
    if isinstance(value, exp.Var | exp.Column) and value.name.lower() == "default":
        return ResetOption(name)
    return SetOption(name, _option_value(value, env))


def _option_value(node: exp.Expression, env: Environment) -> bool | int | float | str | None:
    match node:
        case exp.Null():
            return None
        case exp.Boolean():
            return bool(node.this)
        case exp.Literal(this=text) if node.args.get("is_string"):
            return str(text)
        case exp.Literal() | exp.Neg():
            text = node.sql()
            try:
                return float(text) if any(c in text.lower() for c in ".e") else int(text)
            except ValueError:
                raise env.error(f"{text} is not a number", node) from None
        case exp.Var() | exp.Column() | exp.Identifier():
            return str(node.name)
        case _:
            raise env.error("an option's value must be a constant", node)


def _command(node: exp.Expression, env: Environment) -> Statement:
    """Statements that sqlglot keeps no tree of: EXPLAIN (see the parser), RESET, SHOW of something."""
    word = str(node.this).upper()
    rest = node.args.get("expression")
    if word == "EXPLAIN" and isinstance(rest, exp.Expression):
        return Explain(bind_statement(rest, env), bool(node.args.get("analyze")))
    text = str(rest.name if isinstance(rest, exp.Expression) else rest or "").strip().strip('"')
    match word:
        case "RESET" if text:
            return ResetOption(text)
        case "SHOW" if text.upper() in ("TABLES", "ALL TABLES"):
            return ShowTables()
        case "SHOW" if text.replace("_", "").isalnum():
            table = exp.Table(this=exp.to_identifier(text))
            return Describe(_table_query(table, env))
        case "COPY":
            raise env.error(
                "this COPY cannot be read",
                hint="COPY (query) TO 'file' (FORMAT csv, …), COPY table TO 'file', COPY table FROM 'file'",
            )
        case "SET":
            raise env.error("SET needs a value", hint="SET name = value")
        case _:
            raise env.unsupported(f"{word} is not supported")


def _create(node: exp.Expression, env: Environment) -> Statement:
    return bind_create(node, env, bind_top_query, table_name)


def _insert(node: exp.Expression, env: Environment) -> Statement:
    return bind_insert(node, env, table_name)


def _copy(node: exp.Expression, env: Environment) -> Statement:
    return bind_copy(node, env, bind_top_query, table_name)


_BINDERS: dict[type[exp.Expression], Callable[[exp.Expression, Environment], Statement]] = {
    exp.Create: _create,
    exp.Drop: _drop,
    exp.Insert: _insert,
    exp.Copy: _copy,
    exp.Describe: _describe,
    exp.Show: _show,
    exp.Set: _set,
    exp.Command: _command,
}
_NAMES: dict[type[exp.Expression], str] = {
    exp.Transaction: "BEGIN (there are no transactions)",
    exp.Commit: "COMMIT (there are no transactions)",
    exp.Rollback: "ROLLBACK (there are no transactions)",
    exp.TruncateTable: "TRUNCATE",
}
