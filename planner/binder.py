"""The binder: from a syntax tree to a ``Statement`` whose queries are typed logical plans.

Binding gives names their meaning: every column becomes a ``ColumnId``, every expression gets its type and
casts, every subquery becomes a ``DependentJoin``. The work is cut by topic into the ``binder_*`` modules;
this one is the entry, and says which module binds which kind of query.
"""

from __future__ import annotations

from sqlglot import exp

from planner.binder_scope import BindContext, BoundQuery, Environment, OuterScope
from planner.binder_select import bind_parenthesized, bind_select
from planner.binder_setop import bind_set_operation, bind_values
from planner.binder_statements import bind_statement
from planner.binder_subquery import query_of
from planner.binder_tables import table_uses
from planner.errors import PlanError, SqlrayError, UnsupportedError
from planner.statements import Statement

__all__ = ["BindContext", "bind", "bind_query"]


def bind(statement: exp.Expression, context: BindContext) -> Statement:
    """What a statement asks for, all names resolved and all types known.

    Raises:
        BindError: the statement does not fit the tables.
        UnsupportedError: sqlray cannot run it yet.
    """
    env = Environment(context, context.sql, context.dialect, bind_query, uses=table_uses(statement, context.sql))
    try:
        return bind_statement(statement, env)
    except SqlrayError:
        raise
    except RecursionError:
        raise UnsupportedError("the query is nested too deeply", sql=context.sql) from None
    except Exception as error:
        raise PlanError(
            f"binding failed ({type(error).__name__}: {error}) for: {context.sql}",
            hint="this is a defect of sqlray; please report it with the query",
        ) from error


def bind_query(node: exp.Expression, env: Environment, outer: OuterScope | None) -> BoundQuery:
    """A query of any kind; ``outer`` is the scope that it may read columns of."""
    match node:
        case exp.Select():
            return bind_select(node, env, outer)
        case exp.SetOperation():
            return bind_set_operation(node, env, outer)
        case exp.Values():
            return bind_values(node, env, outer)
        case exp.Subquery() | exp.Paren():
            inner = query_of(node)
            return bind_parenthesized(node, env, outer) if inner is node else bind_query(inner, env, outer)
        case _:
            raise env.unsupported(f"{node.key.upper()} is not supported as a query", node)
