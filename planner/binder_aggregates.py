"""Calls of aggregates: taken apart with all that stands around them, and bound."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from planner import coercion, functions_aggregate, types
from planner.binder_expression_scope import ExpressionScope
from planner.binder_expressions import (
    bind_condition,
    bind_expression,
    bind_sort_key,
    located,
)
from planner.binder_functions import WRAPPERS, aggregate_calls, call_syntax
from planner.errors import BindError, SqlrayError, UnsupportedError
from planner.expr import AggregateCall, Expr, Literal, SortKey
from planner.record import record


@record
class AggregateSyntax:
    """The call of an aggregate with all that stands around it."""

    name: str
    args: tuple[exp.Expression, ...]
    distinct: bool = False
    filter: exp.Expression | None = None
    order: tuple[exp.Expression, ...] = ()
    within: tuple[exp.Expression, ...] = ()
    ignore_nulls: bool = False


def aggregate_syntax(node: exp.Expression) -> AggregateSyntax:
    """Take the call of an aggregate apart.

    Raises:
        UnsupportedError: a clause that sqlray does not know.
        BindError: clauses that do not go together.
    """
    result = AggregateSyntax("", ())
    while isinstance(node, WRAPPERS):
        match node:
            case exp.Filter():
                result = replace(result, filter=node.expression.this)
            case exp.WithinGroup():
                result = replace(result, within=tuple(node.expression.expressions))
            case exp.IgnoreNulls():
                result = replace(result, ignore_nulls=True)
        node = node.this
    call = call_syntax(node)
    if call is None:
        raise UnsupportedError(
            f"the aggregate {node.sql_name() if isinstance(node, exp.Func) else node.key} is not supported"
        )
    result = _unwrap_arguments(replace(result, name=call.name, args=call.args))
    return _within_group(result)


def _unwrap_arguments(call: AggregateSyntax) -> AggregateSyntax:
    """DISTINCT, ORDER BY and IGNORE NULLS, which sqlglot hangs on the arguments."""
    args: list[exp.Expression] = []
    for arg in call.args:
        while True:
            if isinstance(arg, exp.Order):
                if arg.this is None:
                    raise BindError(f"{call.name}(ORDER BY …) needs an argument")
                call = replace(call, order=tuple(arg.expressions))
                arg = arg.this
            elif isinstance(arg, exp.IgnoreNulls):
                call = replace(call, ignore_nulls=True)
                arg = arg.this
            elif isinstance(arg, exp.RespectNulls):
                arg = arg.this
            elif isinstance(arg, exp.Distinct):
                if arg.args.get("on") is not None:
                    raise UnsupportedError("DISTINCT ON in an aggregate is not supported")
                if not arg.expressions:
                    raise BindError(f"{call.name}(DISTINCT) needs an argument")
                call = replace(call, distinct=True)
                args.extend(arg.expressions[:-1])
                arg = arg.expressions[-1]
            else:
                break
        if isinstance(arg, exp.Limit | exp.HavingMax | exp.OverflowTruncateBehavior):
            raise UnsupportedError(f"this clause of {call.name} is not supported")
        args.append(arg)
    return replace(call, args=tuple(args))


def _within_group(call: AggregateSyntax) -> AggregateSyntax:
    """WITHIN GROUP (ORDER BY x): x is the value of an ordered-set aggregate, the order of any other."""
    if not call.within:
        return call
    if call.name in (
        "percentile_cont",
        "percentile_disc",
        "quantile_cont",
        "quantile_disc",
        "mode",
        "median",
    ):
        if len(call.within) != 1:
            raise BindError(f"{call.name} WITHIN GROUP orders by one expression")
        return call
    return replace(call, order=call.within, within=())


@record
class BoundParts:
    """A call of an aggregate or window function, its name not looked up yet."""

    name: str
    args: tuple[Expr, ...]
    filter: Expr | None
    order: tuple[SortKey, ...]
    distinct: bool
    ignore_nulls: bool


def bind_aggregate_call(node: exp.Expression, scope: ExpressionScope) -> AggregateCall:
    """The aggregate call of a node, its arguments bound in ``scope`` (that of the rows it aggregates)."""
    try:
        syntax = aggregate_syntax(node)
        for argument in syntax.args:
            for inner in aggregate_calls(argument):
                raise located(BindError("an aggregate cannot stand in an aggregate"), inner, scope.sql)
        parts = _bind_parts(syntax, scope)
        name = parts.name
        if parts.ignore_nulls and name != "any_value":
            if name not in ("first", "arbitrary"):
                raise UnsupportedError(f"IGNORE NULLS of {name} is not supported")
            name = "any_value"
        return functions_aggregate.resolve_aggregate(
            name, parts.args, distinct=parts.distinct, filter=parts.filter, order_by=parts.order
        )
    except SqlrayError as error:
        raise located(error, node, scope.sql) from None


def bind_call_parts(node: exp.Expression, scope: ExpressionScope) -> BoundParts:
    """The call of a window function, or of an aggregate as one, its arguments bound in ``scope``."""
    try:
        return _bind_parts(aggregate_syntax(node), scope)
    except SqlrayError as error:
        raise located(error, node, scope.sql) from None


def _bind_parts(syntax: AggregateSyntax, scope: ExpressionScope) -> BoundParts:
    name, arguments = syntax.name, syntax.args
    if len(arguments) == 1 and isinstance(arguments[0], exp.Star):
        if name != "count":
            raise BindError(f"{name}(*) has no meaning", hint="only count takes *")
        arguments = ()
    args = [bind_expression(a, scope) for a in arguments]
    filter = None if syntax.filter is None else bind_condition(syntax.filter, scope)
    if syntax.within:
        args = _ordered_set(name, args, bind_sort_key(syntax.within[0], scope))
    order = tuple(bind_sort_key(k, scope) for k in syntax.order)
    return BoundParts(name, tuple(args), filter, order, syntax.distinct, syntax.ignore_nulls)


def _ordered_set(name: str, args: list[Expr], key: SortKey) -> list[Expr]:
    """PERCENTILE_CONT(f) WITHIN GROUP (ORDER BY x) as quantile_cont(x, f); descending, from the other end."""
    if not key.descending or name in ("mode", "median"):
        return [key.expr, *args]
    fraction = coercion.constant(args[0]) if args else None
    if name in ("percentile_disc", "quantile_disc") or fraction is None or fraction.value is None:
        raise UnsupportedError(f"{name} WITHIN GROUP in descending order is not supported")
    return [key.expr, Literal(1.0 - float(fraction.value), types.DOUBLE)]
