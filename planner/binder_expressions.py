"""Scalar expressions: syntax trees to typed, bound expressions.

``bind_expression`` knows every scalar syntax; what a name, a parameter, a subquery or an aggregate means is
asked of the ``ExpressionScope``, which the binder of queries implements. Everything sqlray does not know
raises ``UnsupportedError`` with its place; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal as OneOf

from sqlglot import exp

from planner import coercion, functions, types
from planner.binder_expression_scope import ExpressionScope
from planner.binder_functions import (
    call_syntax,
    is_aggregate_call,
    rewritten,
)
from planner.binder_literals import bind_number, interval_literal, interval_parts, unit_name
from planner.binder_types import bind_type
from planner.errors import BindError, Position, SqlrayError, UnsupportedError
from planner.expr import (
    FALSE,
    TRUE,
    Call,
    Case,
    Cast,
    Comparison,
    Expr,
    IsNull,
    Literal,
    Not,
    SortKey,
    conjunction,
    disjunction,
    is_volatile,
    null,
)
from planner.functions_window import is_window_function
from planner.parser import position_of


def bind_expression(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """The bound expression of a syntax node.

    Raises:
        BindError: names or types do not fit; with the place.
        UnsupportedError: sqlray does not know this syntax; with the place.
    """
    try:
        binder = _BINDERS.get(type(node))
        if binder is not None:
            return binder(node, scope)
        return _function(node, scope)
    except SqlrayError as error:
        raise located(error, node, scope.sql) from None


def bind_condition(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """The bound expression where a truth value is asked for: WHERE, HAVING, ON, WHEN, FILTER, AND."""
    expr = bind_expression(node, scope)
    try:
        return coercion.boolean(expr)
    except SqlrayError as error:
        raise located(error, node, scope.sql) from None


def bind_sort_key(node: exp.Expression, scope: ExpressionScope) -> SortKey:
    """One ORDER BY key; where NULLs go is said by the parser, by the dialect's default."""
    if not isinstance(node, exp.Ordered):
        return SortKey(bind_expression(node, scope))
    if node.args.get("with_fill"):
        raise located(UnsupportedError("WITH FILL is not supported"), node, scope.sql)
    return SortKey(bind_expression(node.this, scope), bool(node.args.get("desc")), bool(node.args.get("nulls_first")))


def located(error: SqlrayError, node: exp.Expression, sql: str) -> SqlrayError:
    """``error`` with the place of ``node``, unless it has one already."""
    if error.position is None:
        position = _own_position(node) or position_of(node, sql)
        if position is not None:
            error.position, error.sql = position, sql
    return error


def _own_position(node: exp.Expression) -> Position | None:
    """The place of a function's own name."""
    if not isinstance(node, exp.Func):
        return None
    line, column = node.meta.get("line"), node.meta.get("col")
    start, end = node.meta.get("start"), node.meta.get("end")
    if line is None or column is None or start is None or end is None:
        return None
    return Position(line, column - (end - start), end - start + 1)


# ------------------------------------------------------------------------------ leaves


def _literal(node: exp.Expression, scope: ExpressionScope) -> Expr:
    if node.args.get("is_string"):
        return Literal(node.name, types.VARCHAR)
    return bind_number(node.name)


def _interval(node: exp.Expression, scope: ExpressionScope) -> Expr:
    assert isinstance(node, exp.Interval)
    quantity, unit = interval_parts(node)
    if quantity is None:
        raise UnsupportedError("an INTERVAL without a quantity is not supported")
    if isinstance(quantity, exp.Literal):
        return interval_literal(quantity.name, unit, unit_in_text=bool(node.args.get("fraction_in_string")))
    if unit is None:
        return coercion.cast(bind_expression(quantity, scope), types.INTERVAL)
    return functions.resolve_scalar(_INTERVAL_OF[unit_name(unit)], [bind_expression(quantity, scope)])


_INTERVAL_OF = {
    "millennium": "to_millennia", "century": "to_centuries", "decade": "to_decades", "year": "to_years",
    "quarter": "to_quarters", "month": "to_months", "week": "to_weeks", "day": "to_days", "hour": "to_hours",
    "minute": "to_minutes", "second": "to_seconds", "millisecond": "to_milliseconds",
    "microsecond": "to_microseconds",
}  # fmt: skip


def _byte_string(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """E'…' in DuckDB and PostgreSQL is a string; b'…' elsewhere bytes."""
    if scope.dialect.partition(",")[0] in ("duckdb", "postgres", "redshift"):
        return Literal(node.name, types.VARCHAR)
    return Literal(node.name.encode(), types.BLOB)


# ------------------------------------------------------------------------------ operators


def _arithmetic(op: str) -> Callable[[exp.Expression, ExpressionScope], Expr]:
    def bind(node: exp.Expression, scope: ExpressionScope) -> Expr:
        if isinstance(node.this, exp.BitwiseNot) and scope.dialect in ("duckdb", "postgres"):
            # There ~1 + 1 is ~(1 + 1), which the parser does not know.
            raise UnsupportedError(f"~ before {op} needs parentheses", hint=f"write (~x) {op} y, or ~(x {op} y)")
        return coercion.arithmetic(op, *_operands(node, scope))

    return bind


def _operands(node: exp.Expression, scope: ExpressionScope) -> tuple[Expr, Expr]:
    return bind_expression(node.this, scope), bind_expression(node.args["expression"], scope)


def _divide(node: exp.Expression, scope: ExpressionScope) -> Expr:
    left, right = _operands(node, scope)
    if node.args.get("safe") and not (isinstance(right, Literal) and right.value):
        right = functions.resolve_scalar("nullif", [right, Literal(0, types.INTEGER)])  # as SQLite and MySQL divide
    if node.args.get("typed") and types.is_integer(left.dtype) and types.is_integer(right.dtype):
        return coercion.arithmetic("//", left, right)
    return coercion.arithmetic("/", left, right)


def _negative(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return coercion.negate(bind_expression(node.this, scope))


def _call(name: str, *keys: str) -> Callable[[exp.Expression, ExpressionScope], Expr]:
    """A node that is a function of the table, with its arguments under ``keys``."""

    def bind(node: exp.Expression, scope: ExpressionScope) -> Expr:
        args = [bind_expression(node.args[k], scope) for k in keys if node.args.get(k) is not None]
        return functions.resolve_scalar(name, args)

    return bind


def _comparison(op: str) -> Callable[[exp.Expression, ExpressionScope], Expr]:
    def bind(node: exp.Expression, scope: ExpressionScope) -> Expr:
        left, right = node.this, _all_of_query(node.args["expression"])
        if isinstance(right, exp.Any | exp.All):
            return _quantified(op, left, right, scope)
        if isinstance(left, exp.Any | exp.All):
            raise UnsupportedError("ANY and ALL stand on the right of a comparison", hint="turn the comparison around")
        a, b = _row(left, scope), _row(right, scope)
        if len(a) != len(b):
            raise BindError(f"a row of {len(a)} values does not compare with one of {len(b)}")
        return _compare_rows(op, a, b)

    return bind


def _all_of_query(node: exp.Expression) -> exp.Expression:
    """``ALL ((SELECT …) UNION …)``, which sqlglot takes for a function's call, as the quantifier that it is."""
    if isinstance(node, exp.Anonymous) and str(node.this).upper() == "ALL" and len(node.expressions) == 1:
        query = node.expressions[0]
        return exp.All(this=query) if isinstance(query, exp.Query) else node
    return node


def _row(node: exp.Expression, scope: ExpressionScope) -> tuple[Expr, ...]:
    """The values of a row ``(a, b)``, or the one value of anything else."""
    inner = node.unnest() if isinstance(node, exp.Paren) else node
    if isinstance(inner, exp.Tuple):
        return tuple(bind_expression(e, scope) for e in inner.expressions)
    if isinstance(inner, exp.Anonymous) and str(inner.this).lower() == "row":
        return tuple(bind_expression(e, scope) for e in inner.expressions)
    return (bind_expression(node, scope),)


def _compare_rows(op: str, a: Sequence[Expr], b: Sequence[Expr]) -> Expr:
    """Rows compare value by value, the first that differs deciding (ISO 9075-2, 8.2)."""
    if len(a) == 1:
        return coercion.compare(op, a[0], b[0])
    match op:
        case "=" | "is not distinct from":
            return conjunction(coercion.compare(op, x, y) for x, y in zip(a, b, strict=True))
        case "<>" | "is distinct from":
            return disjunction(coercion.compare(op, x, y) for x, y in zip(a, b, strict=True))
        case _:
            strict = coercion.compare(op[0], a[0], b[0])
            rest = conjunction([coercion.compare("=", a[0], b[0]), _compare_rows(op, a[1:], b[1:])])
            return disjunction([strict, rest])


def _quantified(op: str, left: exp.Expression, right: exp.Expression, scope: ExpressionScope) -> Expr:
    quantifier: OneOf["any", "all"] = "any" if isinstance(right, exp.Any) else "all"
    query = right.this
    inner = query.unnest() if isinstance(query, exp.Paren) else query
    if isinstance(inner, exp.Subquery | exp.Select | exp.SetOperation | exp.Values):
        return scope.bind_quantified(op, quantifier, _row(left, scope), inner)
    if isinstance(inner, exp.Tuple | exp.Array):
        value = bind_expression(left, scope)
        tests = [coercion.compare(op, value, bind_expression(e, scope)) for e in inner.expressions]
        return disjunction(tests) if quantifier == "any" else conjunction(tests)
    raise UnsupportedError(f"{quantifier.upper()} of a list is not supported", hint="use a subquery or IN")


def _flattened(node: exp.Expression) -> Iterator[exp.Expression]:
    """The operands of a chain of the same operator, however long: without recursion."""
    for part in node.flatten(unnest=False):
        assert isinstance(part, exp.Expression)
        yield part


def _and(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return conjunction([bind_condition(part, scope) for part in _flattened(node)])


def _or(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return disjunction([bind_condition(part, scope) for part in _flattened(node)])


def _xor(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return Comparison("<>", bind_condition(node.this, scope), bind_condition(node.args["expression"], scope))


def _not(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return Not(bind_condition(node.this, scope))


def _between(node: exp.Expression, scope: ExpressionScope) -> Expr:
    value = _single(bind_expression(node.this, scope), "BETWEEN")
    low, high = bind_expression(node.args["low"], scope), bind_expression(node.args["high"], scope)
    dtype = coercion.comparison_type((value, low, high), equality=False)
    if dtype is None:
        names = ", ".join(dict.fromkeys(types.type_name(e.dtype) for e in (value, low, high)))
        raise BindError(f"BETWEEN cannot mix {names}", hint="cast the values to one type")
    value, low, high = (coercion.cast(e, dtype) for e in (value, low, high))
    inside = conjunction([Comparison(">=", value, low), Comparison("<=", value, high)])
    if not node.args.get("symmetric"):
        return inside
    return disjunction([inside, conjunction([Comparison(">=", value, high), Comparison("<=", value, low)])])


def _single(expr: Expr, what: str) -> Expr:
    """An expression that the construct evaluates more than once."""
    if is_volatile(expr):
        raise UnsupportedError(f"{what} of a random value is not supported", hint="compute it in a subquery first")
    return expr


def _in(node: exp.Expression, scope: ExpressionScope) -> Expr:
    query = node.args.get("query")
    if query is None and len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Values):
        query = node.expressions[0]  # IN (VALUES …)
    if query is not None:
        return scope.bind_in(_row(node.this, scope), query)
    if node.args.get("unnest") is not None or node.args.get("field") is not None:
        raise UnsupportedError("IN over a list value is not supported", hint="use IN (…) or a subquery")
    left = _row(node.this, scope)
    if len(left) == 1:
        value = left[0] if len(node.expressions) == 1 else _single(left[0], "IN")
        return coercion.in_list(value, [bind_expression(e, scope) for e in node.expressions])
    tests = []
    for element in node.expressions:
        right = _row(element, scope)
        if len(right) != len(left):
            raise BindError(f"a row of {len(left)} values does not compare with one of {len(right)}")
        tests.append(_compare_rows("=", left, right))
    return disjunction(tests)


# ------------------------------------------------------------------------------ predicates


def _pattern(name: str) -> Callable[[exp.Expression, ExpressionScope], Expr]:
    def bind(node: exp.Expression, scope: ExpressionScope) -> Expr:
        return _match(name, node, scope, ())

    return bind


def _match(name: str, node: exp.Expression, scope: ExpressionScope, options: tuple[Expr, ...]) -> Expr:
    pattern = node.args["expression"]
    if isinstance(pattern, exp.Any | exp.All):
        inner = pattern.this.unnest() if isinstance(pattern.this, exp.Paren) else pattern.this
        if not isinstance(inner, exp.Tuple | exp.Array):
            raise UnsupportedError(f"{name.upper()} ANY of a subquery is not supported")
        value = bind_expression(node.this, scope)
        tests = [
            functions.resolve_scalar(name, [value, bind_expression(e, scope), *options]) for e in inner.expressions
        ]
        result = disjunction(tests) if isinstance(pattern, exp.Any) else conjunction(tests)
    else:
        result = functions.resolve_scalar(name, [*_operands(node, scope), *options])
    return Not(result) if node.args.get("negate") else result


def _escape(node: exp.Expression, scope: ExpressionScope) -> Expr:
    escape = bind_expression(node.args["expression"], scope)
    if not isinstance(escape, Literal) or not isinstance(escape.value, str) or len(escape.value) > 1:
        raise BindError("ESCAPE takes a string of one character")
    match node.this:
        case exp.Like():
            return _match("like", node.this, scope, (escape,))
        case exp.ILike():
            return _match("ilike", node.this, scope, (escape,))
        case _:
            raise UnsupportedError("ESCAPE is supported for LIKE and ILIKE only")


def _regexp(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """``~`` and regexp_matches(): whether a part of the string matches (DuckDB's operator too, since 2.0)."""
    args = list(_operands(node, scope))
    flag = node.args.get("flag")
    if flag is not None:
        args.append(bind_expression(flag, scope))
    return functions.resolve_scalar("regexp_matches", args)


def _regexp_ignoring_case(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return functions.resolve_scalar("regexp_matches", [*_operands(node, scope), Literal("i", types.VARCHAR)])


def _is(node: exp.Expression, scope: ExpressionScope) -> Expr:
    right = node.args["expression"]
    match right:
        case exp.Null():
            return IsNull(bind_expression(node.this, scope))
        case exp.Boolean():
            truth = TRUE if right.this else FALSE
            return Comparison("is not distinct from", bind_condition(node.this, scope), truth)
        case _:
            raise UnsupportedError(f"IS {right.sql()} is not supported")


# ------------------------------------------------------------------------------ CASE, CAST


def _case(node: exp.Expression, scope: ExpressionScope) -> Expr:
    subject = None if node.this is None else bind_expression(node.this, scope)
    branches = node.args["ifs"]
    if subject is not None and len(branches) > 1:
        _single(subject, "CASE")
    conditions, results = [], []
    for branch in branches:
        if subject is None:
            conditions.append(bind_condition(branch.this, scope))
        else:
            value = bind_expression(branch.this, scope)
            try:
                conditions.append(coercion.compare("=", subject, value))
            except SqlrayError as error:
                raise located(error, branch.this, scope.sql) from None
        results.append(bind_expression(branch.args["true"], scope))
    default = node.args.get("default")
    results.append(null(types.NULL) if default is None else bind_expression(default, scope))
    values, _ = coercion.unify(results, "CASE")
    return Case(tuple(zip(conditions, values[:-1], strict=True)), values[-1])


def _if(node: exp.Expression, scope: ExpressionScope) -> Expr:
    parts = (node.this, node.args["true"], node.args.get("false"))
    return functions.resolve_scalar("if", [bind_expression(p, scope) for p in parts if p is not None])


def _cast(node: exp.Expression, scope: ExpressionScope) -> Expr:
    if node.args.get("format") is not None:
        raise UnsupportedError("CAST … FORMAT is not supported", hint="use strptime or strftime")
    dtype = bind_type(node.args["to"])
    arg = bind_expression(node.this, scope)
    safe = isinstance(node, exp.TryCast)
    if safe and not isinstance(arg, Literal):
        return (
            Cast(arg, dtype, True)
            if coercion.can_cast(arg.dtype, dtype) and arg.dtype != dtype
            else coercion.cast(arg, dtype)
        )
    try:
        result = coercion.cast(arg, dtype)
    except BindError:
        if safe and coercion.can_cast(arg.dtype, dtype):
            return null(dtype)
        raise
    if isinstance(result, Literal) and (coercion.is_integer_literal(result) or coercion.is_string_literal(result)):
        return Cast(result, dtype)  # no longer a literal that takes the type beside it
    return result


def _extract(node: exp.Expression, scope: ExpressionScope) -> Expr:
    part = Literal(node.this.name, types.VARCHAR)
    return functions.resolve_scalar("date_part", [part, bind_expression(node.args["expression"], scope)])


def _at_time_zone(node: exp.Expression, scope: ExpressionScope) -> Expr:
    zone = bind_expression(node.args["zone"], scope)
    return functions.resolve_scalar("timezone", [zone, bind_expression(node.this, scope)])


def _trim(node: exp.Expression, scope: ExpressionScope) -> Expr:
    if node.args.get("collation") is not None:
        raise UnsupportedError("TRIM … COLLATE is not supported")
    side = str(node.args.get("position") or "BOTH").upper()
    name = {"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}[side]
    parts = [node.this, node.args.get("expression")]
    return functions.resolve_scalar(name, [bind_expression(p, scope) for p in parts if p is not None])


# ------------------------------------------------------------------------------ calls


def _function(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """Everything without a binder of its own: a call by name, or syntax that DuckDB writes in another way."""
    call = call_syntax(node)
    if call is not None:
        if is_aggregate_call(node):
            return scope.bind_aggregate(node)
        if is_window_function(call.name):
            raise BindError(f"{call.name} needs a window", hint=f"write {call.name}(…) OVER (ORDER BY …)")
        return _moment(functions.resolve_scalar(call.name, [_argument(a, scope) for a in call.args]), scope)
    if isinstance(node, exp.AggFunc):
        return scope.bind_aggregate(node)
    if isinstance(node, exp.Func):
        other = rewritten(node)
        if other is not None:
            return bind_expression(other, scope)
    raise UnsupportedError(f"{_describe(node)} is not supported")


def _argument(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """An argument of a scalar function."""
    match node:
        case exp.PropertyEQ() | exp.Kwarg():
            raise UnsupportedError("named arguments of scalar functions are not supported")
        case exp.Star():
            raise UnsupportedError("* as an argument is supported in count(*) only")
        case exp.Distinct() | exp.Order():
            raise BindError("DISTINCT and ORDER BY stand in the calls of aggregates only")
        case _:
            return bind_expression(node, scope)


def _moment(expr: Expr, scope: ExpressionScope) -> Expr:
    """now() and its like are constants of the query."""
    if not isinstance(expr, Call) or expr.args:
        return expr
    now = scope.now
    match expr.name:
        case "now":
            return Literal(now, types.TIMESTAMPTZ)
        case "localtimestamp":
            return Literal(now.replace(tzinfo=None), types.TIMESTAMP)
        case "current_date":
            return Literal(now.date(), types.DATE)
        case "localtime":
            return Literal(now.time(), types.TIME)
        case _:
            return expr


def _refused(what: str) -> Callable[[exp.Expression, ExpressionScope], Expr]:
    def bind(node: exp.Expression, scope: ExpressionScope) -> Expr:
        raise UnsupportedError(f"{what} is not supported")

    return bind


def _describe(node: exp.Expression) -> str:
    """How an error calls a piece of syntax."""
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name().lower()}"
    text = node.sql(dialect="duckdb")
    return text if len(text) <= 60 else f"{text[:57]}…"


def _dot(node: exp.Expression, scope: ExpressionScope) -> Expr:
    """``main.f(x)``; anything else is a field of a struct."""
    function = node.args["expression"]
    if isinstance(node.this, exp.Identifier) and isinstance(function, exp.Anonymous):
        if node.this.name.lower() in ("main", "pg_catalog", "system"):
            return bind_expression(function, scope)
    raise UnsupportedError("a field of a value is not supported")


def _inner(node: exp.Expression, scope: ExpressionScope) -> Expr:
    return bind_expression(node.this, scope)


_Binder = Callable[[exp.Expression, ExpressionScope], Expr]

_BINDERS: dict[type[exp.Expression], _Binder] = {
    # leaves
    exp.Column: lambda node, scope: scope.resolve_column(node),  # type: ignore[arg-type]
    exp.Literal: _literal,
    exp.National: lambda node, scope: Literal(node.name, types.VARCHAR),
    exp.RawString: lambda node, scope: Literal(node.name, types.VARCHAR),
    exp.ByteString: _byte_string,
    exp.Boolean: lambda node, scope: TRUE if node.this else FALSE,
    exp.Null: lambda node, scope: null(types.NULL),
    exp.Interval: _interval,
    exp.Placeholder: lambda node, scope: scope.parameter(node),
    exp.Parameter: lambda node, scope: scope.parameter(node),
    exp.Paren: _inner,
    exp.Dot: _dot,
    # arithmetic and bits
    exp.Neg: _negative,
    exp.Add: _arithmetic("+"),
    exp.Sub: _arithmetic("-"),
    exp.Mul: _arithmetic("*"),
    exp.Div: _divide,
    exp.IntDiv: _arithmetic("//"),
    exp.Mod: _arithmetic("%"),
    exp.Pow: _call("pow", "this", "expression"),
    exp.BitwiseAnd: _call("bitwise_and", "this", "expression"),
    exp.BitwiseOr: _call("bitwise_or", "this", "expression"),
    exp.BitwiseXor: _call("xor", "this", "expression"),
    exp.BitwiseNot: _call("bitwise_not", "this"),
    exp.BitwiseLeftShift: _call("shift_left", "this", "expression"),
    exp.BitwiseRightShift: _call("shift_right", "this", "expression"),
    exp.DPipe: _call("||", "this", "expression"),
    # comparisons
    exp.EQ: _comparison("="),
    exp.NEQ: _comparison("<>"),
    exp.LT: _comparison("<"),
    exp.LTE: _comparison("<="),
    exp.GT: _comparison(">"),
    exp.GTE: _comparison(">="),
    exp.NullSafeEQ: _comparison("is not distinct from"),
    exp.NullSafeNEQ: _comparison("is distinct from"),
    exp.Between: _between,
    exp.In: _in,
    # logic
    exp.And: _and,
    exp.Or: _or,
    exp.Xor: _xor,
    exp.Not: _not,
    exp.Is: _is,
    # patterns
    exp.Like: _pattern("like"),
    exp.ILike: _pattern("ilike"),
    exp.Glob: _pattern("glob"),
    exp.SimilarTo: _pattern("regexp_full_match"),
    exp.Escape: _escape,
    exp.RegexpLike: _regexp,
    exp.RegexpILike: _regexp_ignoring_case,
    # conditionals and casts
    exp.Case: _case,
    exp.If: _if,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    # functions with a syntax of their own
    exp.Extract: _extract,
    exp.AtTimeZone: _at_time_zone,
    exp.Trim: _trim,
    # queries and aggregates
    exp.Subquery: lambda node, scope: scope.bind_scalar_subquery(node),
    exp.Select: lambda node, scope: scope.bind_scalar_subquery(node),
    exp.Exists: lambda node, scope: scope.bind_exists(node.this),
    exp.Filter: lambda node, scope: scope.bind_aggregate(node),
    exp.WithinGroup: lambda node, scope: scope.bind_aggregate(node),
    exp.IgnoreNulls: lambda node, scope: scope.bind_aggregate(node),
    exp.RespectNulls: lambda node, scope: scope.bind_aggregate(node),
    exp.Window: lambda node, scope: scope.bind_window(node),
    # known, and not supported yet
    exp.Array: _refused("a list"),
    exp.Struct: _refused("a struct"),
    exp.Bracket: _refused("[…]"),
    exp.Tuple: _refused("a row (…) as a value"),
    exp.Lambda: _refused("a lambda"),
    exp.JSONExtract: _refused("the operator ->"),
    exp.JSONExtractScalar: _refused("the operator ->>"),
    exp.Star: _refused("* in an expression"),
    exp.Columns: _refused("COLUMNS in an expression"),
    exp.Collate: _refused("COLLATE"),
    exp.Alias: _refused("an alias inside an expression"),
    exp.Unnest: _refused("unnest in an expression"),
    exp.Explode: _refused("unnest in an expression"),
    exp.GenerateSeries: _refused("a list of numbers as a value"),
}
