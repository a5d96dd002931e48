"""CREATE TABLE, CREATE VIEW and CREATE INDEX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlglot import exp

from planner.binder_clause import add_place
from planner.binder_scope import Environment
from planner.binder_types import bind_type
from planner.catalog import View
from planner.statements import ColumnDefinition, CreateIndex, CreateTable, CreateView, Query, Statement

BindTop = Callable[[exp.Expression, Environment], Query]
TableName = Callable[[exp.Expression, Environment], str]


def bind_create(node: exp.Expression, env: Environment, bind_query: BindTop, table_name: TableName) -> Statement:
    """CREATE of any kind."""
    kind = str(node.args.get("kind") or "").upper()
    properties = node.args.get("properties")
    for item in properties.expressions if properties is not None else ():
        if not isinstance(item, exp.TemporaryProperty):
            raise env.unsupported(f"this form of CREATE {kind} is not supported", node)
    match kind:
        case "TABLE":
            return _table(node, env, bind_query, table_name)
        case "VIEW":
            return _view(node, env, bind_query, table_name)
        case "INDEX":
            return CreateIndex(node.this.name, table_name(node.this.args["table"], env))
        case _:
            raise env.unsupported(f"CREATE {kind} is not supported", node)


def _target(node: exp.Expression) -> tuple[exp.Expression, list[exp.Expression]]:
    """The table that is created, and what stands in its parentheses."""
    target = node.this
    return (target.this, list(target.expressions)) if isinstance(target, exp.Schema) else (target, [])


def _table(node: exp.Expression, env: Environment, bind_query: BindTop, table_name: TableName) -> Statement:
    target, parts = _target(node)
    name = table_name(target, env)
    replace, exists = bool(node.args.get("replace")), bool(node.args.get("exists"))
    source = node.args.get("expression")
    if source is not None:
        query = bind_query(source, env)
        names = _renamed([p.name for p in parts if isinstance(p, exp.Identifier)], query.names, target, env)
        if len(names) != len({n.lower() for n in names}):
            raise env.error(f'table "{name}" would have two columns of one name', target, hint="give each an alias")
        return CreateTable(name, (), Query(query.plan, names), replace, exists)
    definition = _Definition(env)
    for part in parts:
        definition.add(part)
    if not definition.columns:
        raise env.error(f'table "{name}" needs columns, or AS and a query', target)
    return CreateTable(name, definition.finished(), None, replace, exists, tuple(definition.keys))


def _renamed(given: list[str], names: tuple[str, ...], target: exp.Expression, env: Environment) -> tuple[str, ...]:
    if len(given) > len(names):
        raise env.error(f"the query has {len(names)} columns, {len(given)} names are given", target)
    return (*given, *names[len(given) :])


def _view(node: exp.Expression, env: Environment, bind_query: BindTop, table_name: TableName) -> Statement:
    target, parts = _target(node)
    name = table_name(target, env)
    source = node.args.get("expression")
    if source is None:
        raise env.error(f'view "{name}" needs AS and a query', target)
    given = source.find(exp.Placeholder, exp.Parameter)
    if given is not None:
        raise env.error("a view cannot have parameters", given)
    query = bind_query(source, env)  # so that mistakes show now
    columns = _renamed([p.name for p in parts], query.names, target, env)[: len(parts)]
    view = View(name, source.sql(dialect=env.dialect), env.dialect, columns)
    return CreateView(view, bool(node.args.get("replace")), bool(node.args.get("exists")))


@dataclass(slots=True)
class _Definition:
    """The columns and constraints of a CREATE TABLE."""

    env: Environment
    columns: list[ColumnDefinition] = field(default_factory=list)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    not_null: set[str] = field(default_factory=set)

    def add(self, node: exp.Expression) -> None:
        match node:
            case exp.ColumnDef():
                self._column(node)
            case exp.Constraint():
                for part in node.expressions:
                    self.add(part)
            case exp.PrimaryKey():
                self._key([e.name for e in node.expressions], node, primary=True)
            case exp.UniqueColumnConstraint() if isinstance(node.this, exp.Schema):
                self._key([e.name for e in node.this.expressions], node, primary=False)
            case exp.Identifier():
                raise self.env.error(f'column "{node.name}" needs a type', node)
            case _:
                raise self.env.unsupported(f"{_NAMES.get(type(node), node.key)} is not supported", node)

    def finished(self) -> tuple[ColumnDefinition, ...]:
        return tuple(
            ColumnDefinition(c.name, c.dtype, c.not_null or c.name.lower() in self.not_null) for c in self.columns
        )

    def _column(self, node: exp.ColumnDef) -> None:
        name = node.name
        if any(c.name.lower() == name.lower() for c in self.columns):
            raise self.env.error(f'column "{name}" is defined twice', node)
        kind = node.args.get("kind")
        if kind is None:
            raise self.env.error(f'column "{name}" needs a type', node)
        with add_place(self.env, node):
            dtype = bind_type(kind)
        not_null = False
        self.columns.append(ColumnDefinition(name, dtype))
        for constraint in node.args.get("constraints") or ():
            match constraint.args.get("kind"):
                case exp.PrimaryKeyColumnConstraint():
                    self._key([name], node, primary=True)
                case exp.UniqueColumnConstraint():
                    self._key([name], node, primary=False)
                case exp.NotNullColumnConstraint() as found:
                    not_null = not found.args.get("allow_null")
                case other:
                    what = _NAMES.get(type(other), getattr(other, "key", "this constraint"))
                    raise self.env.unsupported(f"{what} is not supported", node)
        if not_null:
            self.not_null.add(name.lower())

    def _key(self, names: list[str], node: exp.Expression, *, primary: bool) -> None:
        known = {c.name.lower(): c.name for c in self.columns}
        for name in names:
            if name.lower() not in known:
                raise self.env.error(f'there is no column "{name}" in this table', node)
        key = tuple(known[n.lower()] for n in names)
        if key not in self.keys:
            self.keys.append(key)
        if primary:
            self.not_null.update(n.lower() for n in names)


_NAMES: dict[type[object], str] = {
    exp.CheckColumnConstraint: "CHECK", exp.ForeignKey: "FOREIGN KEY", exp.Reference: "REFERENCES",
    exp.DefaultColumnConstraint: "DEFAULT", exp.CollateColumnConstraint: "COLLATE",
    exp.GeneratedAsIdentityColumnConstraint: "GENERATED", exp.ComputedColumnConstraint: "GENERATED",
}  # fmt: skip
