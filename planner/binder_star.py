"""The items of a SELECT list: aliases, and ``*`` written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from planner.binder_functions import aggregate_calls, has_window
from planner.binder_names import output_name
from planner.binder_scope import Environment, FromScope, VisibleColumn
from planner.errors import nearest
from planner.expr import Expr, Field


@dataclass(slots=True)
class SelectItem:
    """One output column: an expression of the query, or a column that ``*`` stands for.

    Args:
        name: the column's name in the output.
        place: the syntax that errors point at.
        node: the expression, without its alias; None for a column of ``*``.
        field: the column, for one of ``*``.
        alias: the alias in small letters, "" if there is none.
        key: the group key that it is, once GROUP BY has said so.
    """

    name: str
    place: exp.Expression
    node: exp.Expression | None = None
    field: Field | None = None
    alias: str = ""
    key: Expr | None = None

    @property
    def has_aggregate(self) -> bool:
        return self.node is not None and bool(aggregate_calls(self.node))

    @property
    def has_window(self) -> bool:
        return self.node is not None and has_window(self.node)


def expand(node: exp.Select, source: FromScope, env: Environment) -> list[SelectItem]:
    """The SELECT list with every ``*`` written out."""
    items: list[SelectItem] = []
    for part in node.expressions:
        match part:
            case exp.Star():
                if not source.visible:
                    raise env.error("* needs a FROM", node)
                items += _star(part, source.visible, part, env)
            case exp.Column(this=exp.Star()) | exp.Column() if isinstance(part.this, exp.Star):
                items += _star(part.this, _columns_of(part, source, env), part, env)
            case exp.Alias():
                items.append(SelectItem(part.alias, part, part.this, alias=part.alias.lower()))
            case exp.Aliases():
                raise env.unsupported("several aliases for one expression are not supported", part)
            case _:
                items.append(SelectItem(output_name(part, env.sql), part, part))
    return items


def _columns_of(node: exp.Column, source: FromScope, env: Environment) -> Sequence[VisibleColumn]:
    """The columns of ``table.*``."""
    name = node.args["table"].name
    found = source.tables(name)
    if len(found) == 1:
        return found[0].columns
    if found:
        raise env.error(f'table name "{name}" is ambiguous', node, hint="give each its own name with AS")
    close = nearest(name, [r.name for r in source.relations if r.name])
    raise env.error(
        f'there is no table "{name}" in this query', node, hint=f'did you mean "{close}"?' if close else None
    )


def _star(
    star: exp.Expression, columns: Sequence[VisibleColumn], place: exp.Expression, env: Environment
) -> list[SelectItem]:
    """``*`` with EXCLUDE, REPLACE and RENAME."""
    for key in ("except_", "replace", "rename"):
        if not all(isinstance(part, exp.Expression) for part in star.args.get(key) or ()):
            raise env.error("the list after * cannot be read", place)
    if not all(isinstance(part.this, exp.Expression) for part in star.args.get("rename") or ()):
        raise env.error("RENAME needs names", place)
    known = {c.name.lower() for c in columns}
    excluded = {_name(e).lower(): e for e in star.args.get("except_") or ()}
    replaced = {e.alias.lower(): e for e in star.args.get("replace") or ()}
    renamed = {_name(e.this).lower(): e for e in star.args.get("rename") or ()}
    for what, named in (("EXCLUDE", excluded), ("REPLACE", replaced), ("RENAME", renamed)):
        for name, node in named.items():
            if name not in known:
                close = nearest(name, [c.name for c in columns])
                hint = f'did you mean "{close}"?' if close else None
                raise env.error(f'{what} names a column "{name}" that * does not have', node, hint=hint)
    items: list[SelectItem] = []
    for column in columns:
        name = column.name.lower()
        if name in excluded:
            continue
        if name in replaced:
            items.append(SelectItem(column.name, replaced[name], replaced[name].this))
        else:
            shown = renamed[name].alias if name in renamed else column.name
            items.append(SelectItem(shown, place, field=column.field))
    if not items:
        raise env.error("* has no columns left", place)
    return items


def _name(node: exp.Expression) -> str:
    return str(node.name)
