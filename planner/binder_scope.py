"""What names mean while a query is bound: the tables of FROM, the scopes around a subquery, the CTEs.

Everything that binding needs from outside is a ``BindContext``; an ``Environment`` adds what the place in the
query adds: the CTEs in sight, and the text that positions refer to (a view has its own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from sqlglot import exp

from planner.catalog import Table, View
from planner.errors import BindError, UnsupportedError, nearest
from planner.expr import Column, ColumnId, Expr, Field
from planner.logical import CommonSubplan, LogicalPlan
from planner.parser import DEFAULT_DIALECT, position_of
from planner.record import record


class OpenPath(Protocol):
    """Opens files as a table.

    ``paths`` is what the query names: one path, glob or directory, or a list of them. ``format`` is
    "parquet", "csv", "json" or "arrow" where a function such as ``read_csv`` says it, and ``options`` are
    that function's named arguments.
    """

    def __call__(
        self,
        paths: str | Sequence[str],
        format: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Table: ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _no_names() -> Sequence[str]:
    return ()


@record
class BindContext:
    """What binding a statement asks of its session.

    Args:
        lookup: the table or view of a name: the session's, or a variable of the caller.
        open_path: a table from files.
        sql: the statement's text, which error positions refer to.
        dialect: the dialect it was parsed in.
        parameters: values for ``?`` and ``$1`` (a sequence) or ``$name`` (a mapping).
        now: tells the one moment that now() means in this query; aware, UTC.
        table_names: all names that ``lookup`` knows, for suggestions.
    """

    lookup: Callable[[str], Table | View | None]
    open_path: OpenPath
    sql: str = ""
    dialect: str = DEFAULT_DIALECT
    parameters: Sequence[object] | Mapping[str, object] | None = None
    now: Callable[[], datetime] = _utc_now
    table_names: Callable[[], Sequence[str]] = _no_names


@record
class BoundQuery:
    """A bound query: its plan, whose fields are the output columns in order, and the names users see."""

    plan: LogicalPlan
    names: tuple[str, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return self.plan.schema.fields


class BindQuery(Protocol):
    """``binder.bind_query``, handed around lest the modules by topic import each other in a circle."""

    def __call__(self, node: exp.Expression, env: Environment, outer: OuterScope | None) -> BoundQuery: ...


@dataclass(slots=True)
class CommonTable:
    """A CTE: its query, where it was written, and, once bound for several references, its shared plan."""

    name: str
    query: exp.Expression
    columns: tuple[str, ...]
    env: Environment
    outer: OuterScope | None
    shared: bool
    recursive: bool = False
    bound: CommonSubplan | None = None
    names: tuple[str, ...] = ()


@record
class Environment:
    """The context, and what the place in the query adds to it."""

    context: BindContext
    sql: str
    dialect: str
    bind_query: BindQuery
    ctes: Mapping[str, CommonTable] = field(default_factory=dict)
    uses: Mapping[str, int] = field(default_factory=dict)  # how often a name stands as a table in this statement
    views: tuple[str, ...] = ()  # the views being expanded, against cycles

    def with_ctes(self, ctes: Mapping[str, CommonTable]) -> Environment:
        return replace(self, ctes=ctes)

    def error(self, message: str, node: exp.Expression | None = None, *, hint: str | None = None) -> BindError:
        return BindError(message, position=position_of(node, self.sql), sql=self.sql, hint=hint)

    def unsupported(
        self, message: str, node: exp.Expression | None = None, *, hint: str | None = None
    ) -> UnsupportedError:
        return UnsupportedError(message, position=position_of(node, self.sql), sql=self.sql, hint=hint)


@record
class VisibleColumn:
    """A column that ``*`` and an unqualified name see: its name, the field, and its table ("" if merged)."""

    name: str
    field: Field
    table: str


@record
class Relation:
    """A table of FROM under the name the query knows it by ("" if it has none)."""

    name: str
    columns: tuple[VisibleColumn, ...]


def relation(name: str, names: Sequence[str], fields: Sequence[Field]) -> Relation:
    """A relation of a query's output or a table's columns."""
    return Relation(name, tuple(VisibleColumn(n, f, name) for n, f in zip(names, fields, strict=True)))


@dataclass(slots=True)
class FromScope:
    """The columns that FROM offers: by table, and as ``*`` shows them (USING shows its columns once)."""

    relations: tuple[Relation, ...] = ()
    visible: tuple[VisibleColumn, ...] = ()
    _by_name: dict[str, list[VisibleColumn]] | None = None

    @property
    def by_name(self) -> dict[str, list[VisibleColumn]]:
        if self._by_name is None:
            self._by_name = {}
            for item in self.visible:
                self._by_name.setdefault(item.name.lower(), []).append(item)
        return self._by_name

    def tables(self, name: str) -> list[Relation]:
        """The relations of a name, without case."""
        name = name.lower()
        return [r for r in self.relations if r.name.lower() == name]

    def field_ids(self) -> frozenset[ColumnId]:
        ids = {c.field.id for c in self.visible}
        return frozenset(ids.union(c.field.id for r in self.relations for c in r.columns))


def scope_of(item: Relation) -> FromScope:
    return FromScope((item,), item.columns)


def beside(left: FromScope, right: FromScope) -> FromScope:
    """Both scopes, as a join without USING shows them."""
    return FromScope(left.relations + right.relations, left.visible + right.visible)


def with_fields(scope: FromScope, fields: Mapping[ColumnId, Field]) -> FromScope:
    """The scope with other fields behind the same names."""

    def renewed(columns: tuple[VisibleColumn, ...]) -> tuple[VisibleColumn, ...]:
        return tuple(replace(c, field=fields.get(c.field.id, c.field)) for c in columns)

    relations = tuple(Relation(r.name, renewed(r.columns)) for r in scope.relations)
    return FromScope(relations, renewed(scope.visible))


@dataclass(slots=True)
class OuterScope:
    """The scope around a subquery, and which of its columns the subquery reads, each with its first place."""

    parent: NameScope
    captured: dict[ColumnId, exp.Expression] = field(default_factory=dict)

    def find_column(self, node: exp.Column) -> Expr | None:
        found = self.parent.find_column(node)
        if found is not None:
            self.capture(found, node)
        return found

    def bind_aggregate(self, node: exp.Expression) -> Expr:
        result = self.parent.bind_aggregate(node)
        self.capture(result, node)
        return result

    def bind_grouping(self, node: exp.Expression) -> Expr:
        result = self.parent.bind_grouping(node)
        self.capture(result, node)
        return result

    def capture(self, expr: Expr, node: exp.Expression) -> None:
        stack = [expr]
        while stack:
            part = stack.pop()
            if isinstance(part, Column):
                self.captured.setdefault(part.id, node)
            stack.extend(part.children())

    def names(self) -> list[str]:
        return self.parent.names()

    def tables(self) -> list[str]:
        return self.parent.tables()


class NameScope(Protocol):
    """What a subquery asks of the scope around it."""

    def find_column(self, node: exp.Column) -> Expr | None:
        """The column a name means here or further out, None if it means none."""
        ...

    def bind_aggregate(self, node: exp.Expression) -> Expr:
        """The result of an aggregate that is this scope's."""
        ...

    def bind_grouping(self, node: exp.Expression) -> Expr:
        """The bits of GROUPING over keys of this scope's query."""
        ...

    def names(self) -> list[str]:
        """All column names in sight, for suggestions."""
        ...

    def tables(self) -> list[str]:
        """All table names in sight, for suggestions."""
        ...


def find_in(source: FromScope, node: exp.Column, env: Environment) -> Field | None:
    """The column of FROM that a name means; None if there is none.

    Raises:
        BindError: several columns, or several tables, go by that name.
    """
    table = node.args.get("table")
    name = node.name
    if table is None:
        found = source.by_name.get(name.lower())
        if found is None:
            return None
        if len(found) > 1:
            raise ambiguous_column(name, found, node, env)
        return found[0].field
    relations = source.tables(table.name)
    if not relations:
        return None
    _check_schema(node, env)
    if len(relations) > 1:
        raise env.error(
            f'table name "{table.name}" is ambiguous: it stands {len(relations)} times in FROM',
            node,
            hint="give each its own name with AS",
        )
    name = name.lower()
    return next((c.field for c in relations[0].columns if c.name.lower() == name), None)


def written_name(source: FromScope, node: exp.Column) -> str:
    """The name of the column that ``node`` means, in the case that its table writes it in."""
    name = node.name.lower()
    table = node.args.get("table")
    if table is None:
        columns: Iterable[VisibleColumn] = source.by_name.get(name, ())
    else:
        columns = (c for r in source.tables(table.name) for c in r.columns if c.name.lower() == name)
    return next((c.name for c in columns), node.name)


def _check_schema(node: exp.Column, env: Environment) -> None:
    schema = node.args.get("db")
    if schema is not None and schema.name.lower() != "main":
        raise env.error(f'there is no schema "{schema.name}"', node, hint="tables are in the schema main")


def ambiguous_column(name: str, found: Iterable[VisibleColumn], node: exp.Expression, env: Environment) -> BindError:
    choices = list(dict.fromkeys(f'"{c.table}.{c.name}"' for c in found if c.table))
    hint = f"write {' or '.join(choices)}" if len(choices) > 1 else "give the columns different names"
    return env.error(f'column "{name}" is ambiguous', node, hint=hint)


def unknown_column(node: exp.Column, names: list[str], tables: list[str], env: Environment) -> NoReturn:
    """The error for a name that means nothing here, with the nearest one."""
    table = node.args.get("table")
    if table is not None and table.name.lower() not in {t.lower() for t in tables}:
        if table.name.lower() in {n.lower() for n in names}:
            raise env.unsupported(f'"{table.name}" is a column; fields of a column are not supported', node)
        close = nearest(table.name, tables)
        known = ", ".join(dict.fromkeys(tables)) or "none"
        advice = f'did you mean "{close}"?' if close else f"tables in this query: {known}"
        raise env.error(f'there is no table "{table.name}" in this query', table, hint=advice)
    if table is None and node.name.lower() in {t.lower() for t in tables}:
        raise env.unsupported(f'"{node.name}" is a table; a table as a value is not supported', node)
    close = nearest(node.name, names)
    shown = list(dict.fromkeys(names))
    hint: str | None = None
    if close:
        hint = f'did you mean "{close}"?'
    elif shown:
        rest = f", … ({len(shown)} columns)" if len(shown) > 12 else ""
        hint = f"columns here: {', '.join(shown[:12])}{rest}"
    where = f' in table "{table.name}"' if table is not None else ""
    raise env.error(f'there is no column "{node.name}"{where}', node, hint=hint)
