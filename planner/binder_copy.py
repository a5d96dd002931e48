"""COPY: the rows of a query or table to a file, and those of a file to a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlglot import exp

from planner import copy_options
from planner.binder_clause import add_place, constant
from planner.binder_expressions import located
from planner.binder_insert import TableName, insert, named_table, target_table
from planner.binder_scope import BoundQuery, Environment
from planner.binder_tables import scan
from planner.errors import SqlrayError
from planner.expr import column
from planner.file_format import EXTENSIONS, extension
from planner.logical import Item, Project
from planner.record import record
from planner.statements import CopyFrom, CopyTo, Query, Statement

# What stands before the file: sqlglot takes COPY without TO for COPY … FROM.
_FROM = re.compile(r"\bfrom(?:\s|--[^\n]*\n|/\*.*?\*/)*\Z", re.IGNORECASE | re.DOTALL)

BindTop = Callable[[exp.Expression, Environment], Query]


@record
class _Option:
    """An option as it is written: ``node`` is its place."""

    name: str
    value: Any
    node: exp.Expression


def bind_copy(node: exp.Expression, env: Environment, bind_query: BindTop, table_name: TableName) -> Statement:
    """COPY (query) TO 'file' (options), COPY table TO 'file', COPY table FROM 'file'."""
    files = node.args.get("files") or []
    if len(files) != 1:
        raise env.error("COPY takes one file", files[1] if files else node)
    path = _path(files[0], env)
    options = list(_options(node, env))
    if not node.args.get("kind"):
        return _copy_to(node, path, options, env, bind_query)
    start = files[0].meta.get("start")
    if start is not None and not _FROM.search(env.sql[:start]):
        raise env.error("TO or FROM is missing before this", files[0])
    if isinstance(node.this, exp.Subquery):
        raise env.error("a query's rows can be copied TO a file; COPY … FROM needs a table", node.this)
    return _copy_from(node, path, options, env, table_name)


def _path(node: exp.Expression, env: Environment) -> str:
    path = constant(node, env, "a file's path")
    if not isinstance(path, str) or not path:
        raise env.error("a file's path must be a text that is not empty", node)
    return path


def _options(node: exp.Expression, env: Environment) -> Iterator[_Option]:
    seen: set[str] = set()
    for item in node.args.get("params") or ():
        written = item.name.lower()
        if written == "with":
            continue
        name = copy_options.ALIASES.get(written, written)
        if name in seen:
            raise env.error(f"the option {item.name.upper()} is given twice", item.this)
        seen.add(name)
        yield _Option(name, _value(item.args.get("expression"), env), item.this)


def _value(node: exp.Expression | None, env: Environment) -> Any:
    """A constant; a list of names in parentheses, or ``*``; True where there is none."""
    match node:
        case None:
            return True
        case exp.Var() | exp.Column() | exp.Identifier():
            return node.name
        case exp.Star():
            return ["*"]
        case exp.Tuple() | exp.Array():
            return [item.name for item in node.expressions]
        case exp.Paren():
            return [node.this.name]
        case _:
            return constant(node, env, "an option's value")


# ------------------------------------------------------------------------------------------------------ to a file


def _copy_to(
    node: exp.Expression, path: str, options: list[_Option], env: Environment, bind_query: BindTop
) -> Statement:
    local = path.removeprefix("file://")
    if "://" in local:
        raise env.unsupported(
            "writing to a URL is not supported", node.args["files"][0], hint="write a local file and upload it"
        )
    query = bind_query(_source(node.this, env), env)
    form = _form(local, options, env)
    format = copy_options.default_format(form or "csv", local)
    for option in options:
        if option.name == "partition_by":
            raise env.unsupported("PARTITION_BY is not supported: COPY writes one file", option.node)
        if option.name != "format":
            with add_place(env, option.node):
                format = copy_options.with_option(format, option.name, option.value, query.names)
    with add_place(env, node.args["files"][0]):
        copy_options.check(format)
    return CopyTo(query, local, format)


def _source(node: exp.Expression, env: Environment) -> exp.Expression:
    match node:
        case exp.Subquery():
            inner: exp.Expression = node.this
            return inner
        case exp.Schema():
            return exp.Select(expressions=[exp.column(c) for c in node.expressions], from_=exp.From(this=node.this))
        case exp.Table():
            return exp.Select(expressions=[exp.Star()], from_=exp.From(this=node))
        case _:
            raise env.unsupported("COPY takes a table, or a query in parentheses", node)


def _form(path: str, options: list[_Option], env: Environment) -> str | None:
    """The format that is named, or that the file's name stands for."""
    for option in options:
        if option.name == "format":
            if not isinstance(option.value, str):
                raise env.error("FORMAT takes csv, json, parquet or arrow", option.node)
            form = option.value.lower()
            form = {"arrows": "arrow", "ipc": "arrow", "feather": "arrow", "ndjson": "json"}.get(form, form)
            if form not in copy_options.FORMS:
                known = ", ".join(copy_options.FORMS)
                raise env.unsupported(f"there is no format {option.value!r}", option.node, hint=f"formats: {known}")
            return form
    return EXTENSIONS.get(extension(path))


# ------------------------------------------------------------------------------------------------------ from a file


def _copy_from(
    node: exp.Expression, path: str, options: list[_Option], env: Environment, table_name: TableName
) -> Statement:
    """The file's columns in order, or by name for JSON, whose values have no order; CSV is text that is cast."""
    table = target_table(named_table(node.this), env, table_name)
    form = _form(path, options, env) or "csv"
    given: dict[str, object] = {o.name: o.value for o in options if o.name != "format"}
    if form == "csv":
        given["all_varchar"] = True
    try:
        bound = scan(env.context.open_path(path, form, given))
    except SqlrayError as error:
        odd = [o.node for o in options if repr(o.name) in error.message]
        raise located(error, odd[0] if odd else node.args["files"][0], env.sql) from None
    columns = [f.name for f in table.schema]
    if isinstance(node.this, exp.Schema):
        columns = [c.name for c in node.this.expressions]
    if form == "json":
        bound = _named(bound, columns)
        columns = list(bound.names)
    return CopyFrom(insert(table, node.this, bound, columns, env), path)


def _named(bound: BoundQuery, wanted: list[str]) -> BoundQuery:
    """The columns of the wanted names."""
    lowered = {c.lower() for c in wanted}
    kept = [(f, n) for f, n in zip(bound.fields, bound.names, strict=True) if n.lower() in lowered]
    items = tuple(Item(f, column(f)) for f, _ in kept)
    return BoundQuery(Project(bound.plan, items), tuple(n for _, n in kept))
