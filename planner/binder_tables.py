"""What a table expression reads: a CTE, a session's table or view, files, or a table function."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sqlglot import exp

from planner import parser, types
from planner.binder_clause import add_place, constant
from planner.binder_scope import BoundQuery, CommonTable, Environment, OuterScope
from planner.catalog import Table, View
from planner.errors import SqlrayError, nearest
from planner.expr import Literal, column, new_field
from planner.logical import CommonSubplan, Item, Project, Scan, Values

# Table functions that open files, and the format each names (None: by the extension).
_READERS = {
    "read_parquet": "parquet", "parquet_scan": "parquet", "read_csv": "csv", "read_csv_auto": "csv",
    "read_json": "json", "read_json_auto": "json", "read_ndjson": "json", "read_ndjson_auto": "json",
    "read_arrow": "arrow", "read_ipc": "arrow",
}  # fmt: skip

MAX_SERIES = 100_000  # rows that range() may have while it is a constant in the plan


def bind_table(node: exp.Table, env: Environment, outer: OuterScope) -> BoundQuery:
    """The rows of a table expression."""
    source = node.this
    if not isinstance(source, exp.Identifier):
        return _bind_function(source, env, outer)
    name = source.name
    schema = node.args.get("db")
    if schema is None:
        cte = env.ctes.get(name.lower())
        if cte is not None:
            return _bind_cte(cte, node, env)
    elif schema.name.lower() != "main" or node.args.get("catalog") is not None:
        raise env.error(f'there is no schema "{schema.name}"', schema, hint="tables are in the schema main")
    with add_place(env, node):
        entry = env.context.lookup(name)
    if isinstance(entry, View):
        return _bind_view(entry, node, env)
    if entry is None:
        if not _is_path(source):
            raise unknown_table(name, source, env)
        with add_place(env, node):
            entry = env.context.open_path(name)
    return scan(entry)


def scan(table: Table) -> BoundQuery:
    """All columns of a table."""
    fields = tuple(new_field(f.name, f.type, f.nullable) for f in table.schema)
    return BoundQuery(Scan(table, fields), tuple(f.name for f in fields))


def default_name(node: exp.Table) -> str:
    """What a table is called without an alias: its name, a file's stem, a function's name."""
    source = node.this
    if isinstance(source, exp.Identifier):
        name = source.name
        return os.path.basename(name).partition(".")[0] if _is_path(source) and os.sep in name else name
    if isinstance(source, exp.GenerateSeries):
        return _series_name(source)
    return str(source.name) if isinstance(source, exp.Anonymous) else source.key


def is_series(node: exp.Expression) -> bool:
    return isinstance(node, exp.Table) and isinstance(node.this, exp.GenerateSeries)


def _is_path(source: exp.Identifier) -> bool:
    name = source.name
    return bool(source.args.get("quoted")) and any(mark in name for mark in (".", "/", "\\", "*", "?"))


def unknown_table(name: str, node: exp.Expression, env: Environment) -> SqlrayError:
    """The error for a name that is no table, with the nearest one."""
    candidates = [cte.name for cte in env.ctes.values()] + list(env.context.table_names())
    close = nearest(name, candidates)
    hint = f'did you mean "{close}"?' if close else "register it, or quote a path: FROM 'file.parquet'"
    return env.error(f'there is no table "{name}"', node, hint=hint)


# -------------------------------------------------------------------------------------------- CTEs and views


def with_ctes(node: exp.Expression, env: Environment, outer: OuterScope | None) -> Environment:
    """The environment inside a query that begins with WITH: each CTE sees those before it."""
    clause = node.args.get("with_")
    if clause is None:
        return env
    ctes: dict[str, CommonTable] = dict(env.ctes)
    defined: set[str] = set()
    for item in clause.expressions:
        name = item.alias
        if name.lower() in defined:
            raise env.error(f'the CTE "{name}" is defined twice', item.args["alias"])
        defined.add(name.lower())
        columns = tuple(c.name for c in item.args["alias"].args.get("columns") or ())
        inner = env.with_ctes(dict(ctes))
        shared = env.uses.get(name.lower(), 0) > 1 and item.args.get("materialized") is not False
        recursive = bool(clause.args.get("recursive")) and _reads(item.this, name)
        ctes[name.lower()] = CommonTable(name, item.this, columns, inner, outer, shared, recursive)
    return env.with_ctes(ctes)


def _reads(query: exp.Expression, name: str) -> bool:
    return any(t.name.lower() == name.lower() for t in query.find_all(exp.Table))


def _bind_cte(cte: CommonTable, node: exp.Table, env: Environment) -> BoundQuery:
    """A reference to a CTE. One that several references share is bound once, and runs once."""
    if cte.recursive:
        raise env.unsupported("a recursive CTE is not supported yet", node)
    if cte.bound is None:
        around = OuterScope(cte.outer) if cte.outer is not None else None
        bound = cte.env.bind_query(cte.query, cte.env, around)
        names = _renamed(bound, cte.columns, f'CTE "{cte.name}"', node, env)
        # What reads columns from around is not the same for all references, and is bound for each.
        if not cte.shared or (around is not None and around.captured):
            return BoundQuery(bound.plan, names)
        cte.bound, cte.names = CommonSubplan(bound.plan, cte.name), names
    items = tuple(Item(new_field(f.name, f.dtype, f.nullable), column(f)) for f in cte.bound.schema)
    return BoundQuery(Project(cte.bound, items), cte.names)


def _renamed(
    bound: BoundQuery, columns: tuple[str, ...], what: str, node: exp.Expression, env: Environment
) -> tuple[str, ...]:
    if len(columns) > len(bound.names):
        raise env.error(f"{what} has {len(bound.names)} columns, {len(columns)} names are given", node)
    return (*columns, *bound.names[len(columns) :])


def _bind_view(view: View, node: exp.Table, env: Environment) -> BoundQuery:
    """A view is its query, bound anew for each reference, in the text and dialect it was written in."""
    if view.name.lower() in env.views:
        raise env.error(f'the view "{view.name}" reads itself', node)
    statements = parser.parse(view.sql, view.dialect)
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise env.error(f'the view "{view.name}" is not one query', node)
    inner = Environment(
        context=env.context,
        sql=view.sql,
        dialect=view.dialect,
        bind_query=env.bind_query,
        uses=table_uses(statements[0], view.sql),
        views=(*env.views, view.name.lower()),
    )
    bound = inner.bind_query(statements[0], inner, None)
    return BoundQuery(bound.plan, _renamed(bound, view.columns, f'view "{view.name}"', node, env))


def table_uses(statement: exp.Expression, sql: str) -> Mapping[str, int]:
    """How often each name stands as a table, if the statement, written in the text ``sql``, has CTEs at all."""
    uses: dict[str, int] = {}
    # Most texts have none, which shows faster than a search of the tree; sqlglot makes CTEs of pipes (|>) too.
    if "with" not in sql.lower() and "|>" not in sql:
        return uses
    if statement.find(exp.With) is not None:
        for table in statement.find_all(exp.Table):
            uses[table.name.lower()] = uses.get(table.name.lower(), 0) + 1
    return uses


# -------------------------------------------------------------------------------------------- table functions


def _bind_function(source: exp.Expression, env: Environment, outer: OuterScope) -> BoundQuery:
    match source:
        case exp.GenerateSeries():
            return _bind_series(source, env)
        case exp.ReadParquet():
            arguments = list(source.expressions)
            name = "read_parquet"
        case exp.ReadCSV():
            arguments = [source.this, *source.expressions]
            name = "read_csv"
        case exp.Anonymous():
            arguments = list(source.expressions)
            name = str(source.this).lower()
        case _:
            name, arguments = source.key, []
    if name not in _READERS:
        close = nearest(name, [*_READERS, "range", "generate_series"])
        hint = f'did you mean "{close}"?' if close else f"there are range, generate_series, {', '.join(_READERS)}"
        raise env.unsupported(f'the table function "{name}" is not supported', source, hint=hint)
    paths, options = _file_arguments(arguments, source, env)
    with add_place(env, source):
        return scan(env.context.open_path(paths, _READERS[name], options))


def _file_arguments(
    arguments: list[exp.Expression], source: exp.Expression, env: Environment
) -> tuple[str | list[str], dict[str, object]]:
    options: dict[str, object] = {}
    plain: list[exp.Expression] = []
    for argument in arguments:
        if isinstance(argument, exp.EQ | exp.PropertyEQ) and isinstance(argument.this, exp.Column | exp.Identifier):
            options[argument.this.name.lower()] = constant(argument.expression, env, "a table function's argument")
        else:
            plain.append(argument)
    if len(plain) != 1:
        raise env.error("a path, or a list of paths, is expected", source)
    if isinstance(plain[0], exp.Array):
        return [_path(item, env) for item in plain[0].expressions], options
    return _path(plain[0], env), options


def _path(node: exp.Expression, env: Environment) -> str:
    value = constant(node, env, "a path")
    if not isinstance(value, str):
        raise env.error("a path must be a string", node)
    return value


def _series_name(node: exp.GenerateSeries) -> str:
    return "range" if node.args.get("is_end_exclusive") else "generate_series"


def _bind_series(node: exp.GenerateSeries, env: Environment) -> BoundQuery:
    """``range(stop)``, ``range(start, stop, step)``, and generate_series, which includes its end."""
    name = _series_name(node)
    bounds: list[int] = []
    for key, default in (("start", 0), ("end", None), ("step", 1)):
        argument = node.args.get(key)
        value = default if argument is None else constant(argument, env, f"an argument of {name}")
        if value is None:
            return _series_of([], name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise env.unsupported(f"{name} is supported for integers alone", argument)
        bounds.append(value)
    start, stop, step = bounds
    if step == 0:
        raise env.error(f"{name} cannot step by 0", node)
    inclusive = 0 if node.args.get("is_end_exclusive") else (1 if step > 0 else -1)
    values = range(start, stop + inclusive, step)
    if len(values) > MAX_SERIES:
        raise env.unsupported(
            f"{name} of {len(values)} rows is not supported (at most {MAX_SERIES})",
            node,
            hint="cross join two smaller ones, or register a table",
        )
    return _series_of(values, name)


def _series_of(values: range | list[int], name: str) -> BoundQuery:
    field = new_field(name, types.BIGINT, nullable=False)
    rows = tuple((Literal(value, types.BIGINT),) for value in values)
    return BoundQuery(Values((field,), rows), (name,))
