"""FROM: tables, files, derived tables, CTEs, views, VALUES, table functions, and the joins between them."""

from __future__ import annotations

from sqlglot import exp

from planner import binder_tables, coercion
from planner.binder_clause import ClauseScope, add_place
from planner.binder_scope import (
    BoundQuery,
    Environment,
    FromScope,
    OuterScope,
    Relation,
    VisibleColumn,
    beside,
    relation,
    scope_of,
    with_fields,
)
from planner.binder_setop import union
from planner.binder_subquery import Attachment, attach_all, query_of
from planner.expr import (
    TRUE,
    Call,
    ColumnId,
    Expr,
    Field,
    column,
    columns_of,
    conjunction,
    conjuncts,
    new_field,
    null,
)
from planner.logical import (
    DependentJoin,
    Filter,
    Item,
    Join,
    JoinKind,
    LogicalPlan,
    Project,
    Values,
    passthrough,
    project_to,
)
from planner.rename import copy_with_new_ids

_SIDES = {"LEFT": JoinKind.LEFT, "RIGHT": JoinKind.RIGHT, "FULL": JoinKind.FULL}


def bind_from(
    node: exp.Expression | None, joins: list[exp.Join], env: Environment, outer: OuterScope | None
) -> tuple[LogicalPlan, FromScope]:
    """FROM with the joins after it; without FROM, one row without columns."""
    if node is None:
        return Values((), ((),)), FromScope()
    groups = _comma_groups(node, [*_joins_of(node), *joins])
    first, rest = groups[0], groups[1:]
    plan, scope, _ = _bind_group(*first, FromScope(), env, outer)
    for item, tail in rest:
        # A later item may read the columns of earlier ones: LATERAL, which DuckDB does not ask to be written.
        right, right_scope, captured = _bind_group(item, tail, scope, env, outer)
        dependent = not captured.isdisjoint(plan.schema.ids)
        plan = (DependentJoin if dependent else Join)(JoinKind.INNER, plan, right)
        scope = beside(scope, right_scope)
    return plan, scope


def _joins_of(node: exp.Expression) -> list[exp.Join]:
    """The joins that sqlglot hangs on a table rather than on the SELECT (FROM written first, parentheses)."""
    return list(node.args.get("joins") or ())


def _comma_groups(first: exp.Expression, joins: list[exp.Join]) -> list[tuple[exp.Expression, list[exp.Join]]]:
    """FROM cut at its commas, which bind weaker than JOIN: ``a, b FULL JOIN c`` is a × (b FULL JOIN c)."""
    groups: list[tuple[exp.Expression, list[exp.Join]]] = [(first, [])]
    for join in joins:
        args = join.args
        if any(args.get(key) for key in ("kind", "side", "method", "on", "using")):
            groups[-1][1].append(join)
        else:
            groups.append((join.this, _joins_of(join.this)))
    return groups


def _bind_group(
    item: exp.Expression, joins: list[exp.Join], left: FromScope, env: Environment, outer: OuterScope | None
) -> tuple[LogicalPlan, FromScope, frozenset[ColumnId]]:
    """One item of FROM with its joins, and which columns of ``left`` (the items before it) it reads."""
    around = OuterScope(ClauseScope(env, "FROM", left, outer))
    plan, scope = _bind_item(item, env, around)
    for join in joins:
        plan, scope = _bind_join(plan, scope, join, env, around)
    return plan, scope, frozenset(around.captured)


# ---------------------------------------------------------------------------------------------------- items


def _bind_item(node: exp.Expression, env: Environment, outer: OuterScope) -> tuple[LogicalPlan, FromScope]:
    """One table expression; ``joins`` on it are its parentheses' and bound here only for those."""
    for key, what in (("pivots", "PIVOT"), ("sample", "TABLESAMPLE"), ("ordinality", "WITH ORDINALITY")):
        if node.args.get(key):
            raise env.unsupported(f"{what} is not supported yet", node)
    match node:
        case exp.Table():
            bound = binder_tables.bind_table(node, env, outer)
            return bound.plan, scope_of(_named(bound, node, binder_tables.default_name(node), env))
        case exp.Subquery() if isinstance(node.this, exp.Table | exp.Subquery) and not node.args.get("with_"):
            return _bind_parenthesized(node, env, outer)
        case exp.Subquery():
            bound = env.bind_query(query_of(node), env, outer)
            return bound.plan, scope_of(_named(bound, node, "", env))
        case exp.Values():
            bound = env.bind_query(node, env, outer)
            return bound.plan, scope_of(_named(bound, node, "", env))
        case exp.Lateral():
            if not isinstance(node.this, exp.Subquery):
                raise env.unsupported("LATERAL is supported for subqueries alone", node)
            bound = env.bind_query(query_of(node.this), env, outer)
            return bound.plan, scope_of(_named(bound, node, "", env))
        case exp.Unnest():
            raise env.unsupported("UNNEST is not supported yet", node, hint="list types are not supported yet")
        case _:
            raise env.unsupported(f"{type(node).__name__} is not supported in FROM", node)


def _bind_parenthesized(node: exp.Subquery, env: Environment, outer: OuterScope) -> tuple[LogicalPlan, FromScope]:
    """``(a JOIN b …)``, or a query in more parentheses than it needs."""
    inner = node.this
    joins = _joins_of(inner)
    if isinstance(inner, exp.Subquery) and not joins and inner.args.get("alias") is None:
        core = query_of(node)
        if not isinstance(core, exp.Table):
            bound = env.bind_query(core, env, outer)
            return bound.plan, scope_of(_named(bound, node, "", env))
    plan, scope = bind_from(inner, [], env, outer)
    if node.args.get("alias") is None:
        return plan, scope
    names = tuple(c.name for c in scope.visible)
    bound = BoundQuery(plan, names)
    fields = tuple(c.field for c in scope.visible)
    return plan, scope_of(_named(bound, node, "", env, fields))


def _named(
    bound: BoundQuery,
    node: exp.Expression,
    default: str,
    env: Environment,
    fields: tuple[Field, ...] | None = None,
) -> Relation:
    """A query's output under its alias: ``t(a, b)`` renames the first columns; repeated names get numbers."""
    fields = bound.fields if fields is None else fields
    alias = node.args.get("alias")
    name = alias.name if alias is not None and alias.name else default
    renamed = [c.name for c in alias.args.get("columns") or ()] if alias is not None else []
    if len(renamed) > len(fields):
        raise env.error(f'table "{name}" has {len(fields)} columns, {len(renamed)} names are given', alias)
    if not renamed and alias is not None and binder_tables.is_series(node):
        renamed = [name]  # range(3) r has a column r
    names = [*renamed, *bound.names[len(renamed) :]]
    return relation(name, _distinct_names(names), fields)


def _distinct_names(names: list[str]) -> list[str]:
    lowered = [n.lower() for n in names]
    if len(set(lowered)) == len(names):
        return names
    taken = set(lowered)
    seen: set[str] = set()
    result = []
    for name in names:
        chosen, number = name, 0
        while chosen.lower() in seen or (number and chosen.lower() in taken):
            number += 1
            chosen = f"{name}_{number}"
        seen.add(chosen.lower())
        result.append(chosen)
    return result


# ---------------------------------------------------------------------------------------------------- joins


def _bind_join(
    left: LogicalPlan, scope: FromScope, node: exp.Join, env: Environment, outer: OuterScope
) -> tuple[LogicalPlan, FromScope]:
    kind = _join_kind(node, env)
    around = OuterScope(ClauseScope(env, "FROM", scope, outer))
    nested = _joins_of(node.this)
    right, right_scope = _bind_item(node.this, env, around)
    for join in nested:
        right, right_scope = _bind_join(right, right_scope, join, env, around)
    dependent = not left.schema.ids.isdisjoint(around.captured)
    if dependent and kind not in (JoinKind.INNER, JoinKind.LEFT):
        raise env.unsupported(f"the right side of a {kind.upper()} JOIN cannot read the left side", node.this)
    names = _using(node, scope, right_scope, env)
    if names:
        return _join_using(kind, left, scope, right, right_scope, names, node, env, dependent)
    both = beside(scope, right_scope)
    clause = ClauseScope(env, "JOIN condition", both, outer)
    on = node.args.get("on")
    predicate = clause.predicate(on) if on is not None else TRUE
    build = DependentJoin if dependent else Join
    if not clause.attachments:
        plan: LogicalPlan = build(kind, left, right, conjuncts(predicate))
    elif kind == JoinKind.INNER:
        produced = frozenset().union(*(a.produced for a in clause.attachments))
        parts = conjuncts(predicate)
        below = tuple(p for p in parts if produced.isdisjoint(columns_of(p)))
        above = conjunction(p for p in parts if p not in below)
        plan = Filter(attach_all(build(kind, left, right, below), clause.attachments), above)
    else:
        sides = _attach_to_sides(left, right, clause.attachments)
        if sides is not None:
            plan = build(kind, *sides, conjuncts(predicate))
        elif kind == JoinKind.FULL:
            plan, fields = _full_join_on_subqueries(left, right, predicate, clause.attachments)
            both = with_fields(both, fields)
        else:
            plan = _join_on_subqueries(kind, left, right, predicate, clause.attachments)
    return plan, scope if kind in (JoinKind.SEMI, JoinKind.ANTI) else both


def _join_kind(node: exp.Join, env: Environment) -> JoinKind:
    side, kind, method = (str(node.args.get(k) or "").upper() for k in ("side", "kind", "method"))
    if method not in ("", "NATURAL", "HASH", "MERGE") or node.args.get("match_condition"):
        raise env.unsupported(f"{method or 'ASOF'} JOIN is not supported yet", node.this)
    match kind:
        case "SEMI" | "ANTI":
            if side in ("RIGHT", "FULL"):
                raise env.unsupported(f"{side} {kind} JOIN is not supported", node.this)
            return JoinKind.SEMI if kind == "SEMI" else JoinKind.ANTI
        case "" | "INNER" | "CROSS" | "OUTER":
            return _SIDES.get(side, JoinKind.INNER)
        case _:
            raise env.unsupported(f"{kind} JOIN is not supported", node.this)


def _join_on_subqueries(
    kind: JoinKind,
    left: LogicalPlan,
    right: LogicalPlan,
    predicate: Expr,
    attachments: list[Attachment],
) -> LogicalPlan:
    """A join whose condition has a subquery that reads both sides: the inner side becomes a query that reads the
    preserved one, the rows for which the condition holds."""
    if kind == JoinKind.RIGHT:
        turned = _join_on_subqueries(JoinKind.LEFT, right, left, predicate, attachments)
        return project_to(turned, [f.id for f in (*left.schema, *right.schema)])
    return DependentJoin(kind, left, Filter(attach_all(right, attachments), predicate))


def _full_join_on_subqueries(
    left: LogicalPlan, right: LogicalPlan, predicate: Expr, attachments: list[Attachment]
) -> tuple[LogicalPlan, dict[ColumnId, Field]]:
    """A FULL JOIN as the LEFT JOIN and the right rows without a match; with the new field of each column."""
    names = [f.name for f in (*left.schema, *right.schema)]
    ids = [f.id for f in (*left.schema, *right.schema)]
    matched = _join_on_subqueries(JoinKind.LEFT, left, right, predicate, attachments)
    alone = _join_on_subqueries(JoinKind.ANTI, right, left, predicate, attachments)
    alone, renamed = copy_with_new_ids(alone)
    nulls = [Item(new_field(f.name, f.dtype), null(f.dtype)) for f in left.schema]
    kept = passthrough([alone.schema[renamed[f.id]] for f in right.schema])
    plan = union([project_to(matched, ids), Project(alone, (*nulls, *kept))], names)
    return plan, dict(zip(ids, plan.schema.fields, strict=True))


def _attach_to_sides(
    left: LogicalPlan, right: LogicalPlan, attachments: list[Attachment]
) -> tuple[LogicalPlan, LogicalPlan] | None:
    """Both sides with the subqueries that read them joined to them; None if a subquery reads both.

    A side's rows stay as they are and get a column, which the join's condition reads.
    """
    for attachment in attachments:
        needs_left = not left.schema.ids.isdisjoint(attachment.needed)
        needs_right = not right.schema.ids.isdisjoint(attachment.needed)
        if needs_left and needs_right:
            return None
        if needs_left:
            left = attachment.attach(left)
        else:
            right = attachment.attach(right)
    return left, right


def _using(node: exp.Join, left: FromScope, right: FromScope, env: Environment) -> list[exp.Expression]:
    """The columns of USING, or for NATURAL the names that both sides have."""
    using = node.args.get("using")
    if using:
        return list(using)
    if str(node.args.get("method") or "").upper() != "NATURAL":
        return []
    shared = [exp.to_identifier(c.name, quoted=True) for c in left.visible if c.name.lower() in right.by_name]
    if not shared:
        raise env.error("NATURAL JOIN of tables without a common column", node.this, hint="join ON a condition")
    return list(shared)


def _join_using(
    kind: JoinKind,
    left: LogicalPlan,
    left_scope: FromScope,
    right: LogicalPlan,
    right_scope: FromScope,
    names: list[exp.Expression],
    node: exp.Join,
    env: Environment,
    dependent: bool,
) -> tuple[LogicalPlan, FromScope]:
    """An equi-join on columns of the same name, which ``*`` and an unqualified name see once.

    The one column is the preserved side's; of a FULL JOIN it is whichever is not NULL.
    """
    pairs = [
        (_using_column(name, left_scope, "left", env), _using_column(name, right_scope, "right", env)) for name in names
    ]
    condition = []
    for (a, b), name in zip(pairs, names, strict=True):
        with add_place(env, node.this if not name.meta else name):
            condition.append(coercion.compare("=", column(a.field), column(b.field)))
    build = DependentJoin if dependent else Join
    plan: LogicalPlan = build(kind, left, right, tuple(condition))
    if kind in (JoinKind.SEMI, JoinKind.ANTI):
        return plan, left_scope
    merged: dict[str, VisibleColumn] = {}
    computed: list[Item] = []
    for a, b in pairs:
        if kind == JoinKind.FULL:
            item = _coalesced(a, b)
            computed.append(item)
            chosen = item.field
        else:
            chosen = b.field if kind == JoinKind.RIGHT else a.field
        merged[a.name.lower()] = VisibleColumn(a.name, chosen, "")
    if computed:
        plan = Project(plan, (*passthrough(plan.schema.fields), *computed))
    visible = [merged.get(c.name.lower(), c) for c in left_scope.visible]
    visible += [c for c in right_scope.visible if c.name.lower() not in merged]
    return plan, FromScope(left_scope.relations + right_scope.relations, tuple(visible))


def _coalesced(a: VisibleColumn, b: VisibleColumn) -> Item:
    args, dtype = coercion.unify((column(a.field), column(b.field)), "USING")
    return Item(new_field(a.name, dtype), Call("coalesce", args, dtype))


def _using_column(name: exp.Expression, scope: FromScope, side: str, env: Environment) -> VisibleColumn:
    found = scope.by_name.get(name.name.lower(), [])
    if len(found) == 1:
        return found[0]
    if found:
        raise env.error(f'USING column "{name.name}" is ambiguous on the {side} side of the join', name)
    names = ", ".join(dict.fromkeys(c.name for c in scope.visible))
    raise env.error(f'the {side} side of the join has no column "{name.name}"', name, hint=f"it has {names}")
