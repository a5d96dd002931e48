"""ORDER BY, LIMIT and OFFSET over a query's output: of set operations, VALUES and queries in parentheses."""

from __future__ import annotations

from decimal import Decimal

from sqlglot import exp

from planner.binder_clause import ClauseScope, constant
from planner.binder_scope import BoundQuery, Environment, FromScope, OuterScope, relation
from planner.binder_subquery import attach_all
from planner.expr import Expr, SortKey, column, columns_of, is_volatile
from planner.logical import Limit, LogicalPlan, Sort, project_to

_MOST_ROWS = 2**60  # no table has more, and a limit plus an offset still fits 64 bits


def sort_direction(node: exp.Ordered) -> tuple[bool, bool]:
    """Whether a key descends, and whether its NULLs come first (the dialect's default is the parser's)."""
    return bool(node.args.get("desc")), bool(node.args.get("nulls_first"))


def order_items(node: exp.Expression, env: Environment) -> list[exp.Ordered]:
    """The keys of a query's ORDER BY."""
    order = node.args.get("order")
    if order is None:
        return []
    if order.args.get("siblings"):
        raise env.unsupported("ORDER SIBLINGS BY is not supported", order)
    for item in order.expressions:
        if item.args.get("with_fill"):
            raise env.unsupported("WITH FILL is not supported", item)
    return list(order.expressions)


def is_all(node: exp.Expression) -> bool:
    """ORDER BY ALL."""
    return isinstance(node, exp.Var) and node.name.upper() == "ALL"


def position_in(node: exp.Expression, count: int, clause: str, env: Environment) -> int | None:
    """The index that an integer in ORDER BY or GROUP BY means, None if ``node`` is no integer."""
    negative = isinstance(node, exp.Neg)
    literal = node.this if negative else node
    if not isinstance(literal, exp.Literal) or literal.args.get("is_string") or not str(literal.this).isdigit():
        return None
    position = -int(literal.this) if negative else int(literal.this)
    if not 1 <= position <= count:
        raise env.error(f"{clause} position {position} is out of range: columns are counted from 1 to {count}", node)
    return position - 1


def is_constant(expr: Expr) -> bool:
    """Whether it is the same for every row, so that ordering by it means nothing."""
    return not columns_of(expr) and not is_volatile(expr)


def apply_modifiers(bound: BoundQuery, node: exp.Expression, env: Environment, outer: OuterScope | None) -> BoundQuery:
    """``bound`` under the ORDER BY, LIMIT and OFFSET of ``node``, whose names are the output's."""
    plan = _ordered(bound, order_items(node, env), env, outer)
    return BoundQuery(limited(plan, node, env), bound.names)


def _ordered(bound: BoundQuery, items: list[exp.Ordered], env: Environment, outer: OuterScope | None) -> LogicalPlan:
    if not items:
        return bound.plan
    names, seen = [], set()
    for name in bound.names:  # of several columns of one name the first counts
        names.append("" if name.lower() in seen else name)
        seen.add(name.lower())
    output = relation("", names, bound.fields)
    scope = ClauseScope(env, "ORDER BY", FromScope((output,), output.columns), outer)
    keys: list[SortKey] = []
    for item in items:
        direction = sort_direction(item)
        if is_all(item.this):
            keys += [SortKey(column(f), *direction) for f in bound.fields]
            continue
        position = position_in(item.this, len(bound.fields), "ORDER BY", env)
        expr = column(bound.fields[position]) if position is not None else scope.expression(item.this)
        if not is_constant(expr):
            keys.append(SortKey(expr, *direction))
    if not keys:
        return bound.plan
    plan = attach_all(bound.plan, scope.attachments)
    return project_to(Sort(plan, tuple(keys)), [f.id for f in bound.fields])


def limited(plan: LogicalPlan, node: exp.Expression, env: Environment) -> LogicalPlan:
    """``plan`` under the LIMIT and OFFSET (or FETCH) of ``node``."""
    limit, offset = node.args.get("limit"), node.args.get("offset")
    if limit is None and offset is None:
        return plan
    count: int | None = None
    if isinstance(limit, exp.Fetch):
        options = limit.args.get("limit_options")
        argument = limit.args.get("count")
        count = 1 if argument is None else _row_count(argument, "FETCH", env)
    else:
        options = limit.args.get("limit_options") if limit is not None else None
        if limit is not None:
            if limit.args.get("expressions"):
                raise env.unsupported("LIMIT BY is not supported", limit)
            count = _row_count(limit.expression, "LIMIT", env)
    if options is not None and (options.args.get("percent") or options.args.get("with_ties")):
        raise env.unsupported("LIMIT with a percentage or WITH TIES is not supported yet", limit)
    skip = _row_count(offset.expression, "OFFSET", env) if offset is not None else None
    return Limit(plan, count, skip or 0) if count is not None or skip else plan


def _row_count(node: exp.Expression, clause: str, env: Environment) -> int | None:
    """A number of rows; NULL is none."""
    value = constant(node, env, clause)
    if isinstance(value, str):
        value = int(value) if value.strip().lstrip("+-").isdigit() else value
    if isinstance(value, float | Decimal) and value == value:  # as DuckDB: rounded half to even
        value = round(value)
    if value is not None and not isinstance(value, int):
        raise env.error(f"{clause} must be a number of rows", node)
    if value is not None and value < 0:
        raise env.error(f"{clause} cannot be negative", node)
    return None if value is None else min(int(value), _MOST_ROWS)
