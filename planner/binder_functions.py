"""Function calls in syntax trees: whatever form sqlglot gives a call, its name and arguments as in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, SqlglotError

from planner import functions_aggregate
from planner.parser import parser_of
from planner.record import record


@record
class CallSyntax:
    """A call: the function's name and its arguments in order."""

    name: str
    args: tuple[exp.Expression, ...]


# Classes that the parser builds by syntax rather than by name (DuckDB's own calls come as ``exp.Anonymous``),
# and the frequent ones of other dialects: the function, and where its arguments are. All other classes are
# written out in DuckDB's SQL and read again.
_TYPED: dict[type[exp.Expression], tuple[str, tuple[str, ...]]] = {
    exp.Substring: ("substring", ("this", "start", "length")),
    exp.StrPosition: ("strpos", ("this", "substr", "position", "occurrence")),
    exp.Coalesce: ("coalesce", ("this", "expressions")),
    exp.Concat: ("concat", ("expressions",)),
    exp.ConcatWs: ("concat_ws", ("expressions",)),
    exp.Greatest: ("greatest", ("this", "expressions")),
    exp.Least: ("least", ("this", "expressions")),
    exp.Nullif: ("nullif", ("this", "expression")),
    exp.Ceil: ("ceil", ("this", "decimals", "to")),
    exp.Floor: ("floor", ("this", "decimals", "to")),
    exp.Round: ("round", ("this", "decimals")),
    exp.Abs: ("abs", ("this",)),
    exp.Sqrt: ("sqrt", ("this",)),
    exp.Lower: ("lower", ("this",)),
    exp.Upper: ("upper", ("this",)),
    exp.Length: ("length", ("this",)),
    exp.Chr: ("chr", ("expressions",)),
    exp.CurrentDate: ("current_date", ("this",)),
    exp.CurrentTimestamp: ("now", ("this",)),
    exp.Localtime: ("localtime", ("this",)),
    exp.Localtimestamp: ("localtimestamp", ("this",)),
    exp.CurrentDatetime: ("localtimestamp", ("this",)),
    exp.Count: ("count", ("this", "expressions")),
    exp.Sum: ("sum", ("this",)),
    exp.Avg: ("avg", ("this",)),
    exp.Min: ("min", ("this", "count")),
    exp.Max: ("max", ("this", "count")),
    exp.Stddev: ("stddev", ("this",)),
    exp.StddevSamp: ("stddev_samp", ("this",)),
    exp.StddevPop: ("stddev_pop", ("this",)),
    exp.Variance: ("var_samp", ("this",)),
    exp.VariancePop: ("var_pop", ("this",)),
    exp.LogicalAnd: ("bool_and", ("this",)),
    exp.LogicalOr: ("bool_or", ("this",)),
    exp.AnyValue: ("any_value", ("this",)),
    exp.First: ("first", ("this", "expression")),
    exp.Last: ("last", ("this", "expression")),
    exp.GroupConcat: ("string_agg", ("this", "separator")),
    exp.Median: ("median", ("this",)),
    exp.Mode: ("mode", ("this",)),
    exp.PercentileCont: ("quantile_cont", ("this", "expression")),
    exp.PercentileDisc: ("quantile_disc", ("this", "expression")),
    exp.Quantile: ("quantile_disc", ("this", "quantile")),
    exp.ArgMax: ("arg_max", ("this", "expression", "count")),
    exp.ArgMin: ("arg_min", ("this", "expression", "count")),
    exp.ApproxDistinct: ("approx_count_distinct", ("this",)),
    exp.CountIf: ("count_if", ("this",)),
    exp.Corr: ("corr", ("this", "expression")),
    exp.CovarPop: ("covar_pop", ("this", "expression")),
    exp.CovarSamp: ("covar_samp", ("this", "expression")),
    exp.BitwiseAndAgg: ("bit_and", ("this",)),
    exp.BitwiseOrAgg: ("bit_or", ("this",)),
    exp.BitwiseXorAgg: ("bit_xor", ("this",)),
    exp.RowNumber: ("row_number", ("this",)),
    exp.Rank: ("rank", ("expressions",)),
    exp.DenseRank: ("dense_rank", ("expressions",)),
    exp.PercentRank: ("percent_rank", ("expressions",)),
    exp.CumeDist: ("cume_dist", ("expressions",)),
    exp.Ntile: ("ntile", ("this",)),
    exp.Lag: ("lag", ("this", "offset", "default")),
    exp.Lead: ("lead", ("this", "offset", "default")),
    exp.FirstValue: ("first_value", ("this",)),
    exp.LastValue: ("last_value", ("this",)),
    exp.NthValue: ("nth_value", ("this", "offset")),
}


def call_syntax(node: exp.Expression) -> CallSyntax | None:
    """The call that a node is, or None if it is none that is known by name."""
    if isinstance(node, exp.Anonymous):
        return CallSyntax(str(node.this).lower(), tuple(node.expressions))
    found = _TYPED.get(type(node))
    if found is None:
        return None
    name, keys = found
    if name == "strpos" and (node.args.get("position") or node.args.get("occurrence")):
        return None
    return CallSyntax(name, tuple(_arguments(node, keys)))


def _arguments(node: exp.Expression, keys: tuple[str, ...]) -> Iterator[exp.Expression]:
    for key in keys:
        value = node.args.get(key)
        if isinstance(value, list):
            yield from value
        elif isinstance(value, exp.Expression):
            yield value


def rewritten(node: exp.Expression) -> exp.Expression | None:
    """The node as DuckDB would write it, over the same arguments; None if DuckDB has no other form.

    This is how functions of other dialects arrive: sqlglot knows their meaning in DuckDB's SQL.
    """
    holes: dict[str, exp.Expression] = {}

    def hole(value: object) -> object:
        if isinstance(value, list):
            return [hole(v) for v in value]
        if not isinstance(value, exp.Expression) or isinstance(value, _WRITTEN_OUT):
            return value.copy() if isinstance(value, exp.Expression) else value
        name = f"__hole{len(holes)}"
        holes[name] = value
        return exp.column(name)

    template = type(node)(**{key: hole(value) for key, value in node.args.items()})
    duckdb = _duckdb()
    try:
        text = template.sql(dialect=duckdb, unsupported_level=ErrorLevel.RAISE)
        tree = parser_of(duckdb).parse(duckdb.tokenize(f"SELECT {text}"), text)[0]
    except (SqlglotError, ValueError):
        return None
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1:
        return None
    result = tree.expressions[0]
    if type(result) is type(node):
        return None
    filled = result.transform(
        lambda n: holes[n.name].copy() if isinstance(n, exp.Column) and n.name in holes else n, copy=False
    )
    return filled if isinstance(filled, exp.Expression) else None


# Arguments that decide how a function is written, and so must be seen as they are.
_WRITTEN_OUT = (exp.Literal, exp.Var, exp.Interval, exp.DataType, exp.Identifier, exp.Boolean, exp.Null)


@cache
def _duckdb() -> Dialect:
    return Dialect.get_or_raise("duckdb")


# What may stand around the call of an aggregate.
WRAPPERS = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)


def is_aggregate_call(node: exp.Expression) -> bool:
    """Whether a node is the call of an aggregate (with its FILTER, … around it), and no window."""
    while isinstance(node, WRAPPERS):
        node = node.this
    call = call_syntax(node)
    if call is not None:
        return functions_aggregate.is_aggregate(call.name)
    return isinstance(node, exp.AggFunc)


def has_window(node: exp.Expression) -> bool:
    """Whether an expression has a call with OVER, without those of subqueries."""
    if isinstance(node, exp.Query | exp.Subquery):
        return False
    return isinstance(node, exp.Window) or any(
        has_window(c) for c in node.iter_expressions() if isinstance(c, exp.Expression)
    )


def aggregate_calls(node: exp.Expression) -> list[exp.Expression]:
    """The outermost aggregate calls in an expression, without those of subqueries."""
    found: list[exp.Expression] = []
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, exp.Query | exp.Subquery | exp.Window):
            continue
        if is_aggregate_call(part):
            found.append(part)
            continue
        children = [c for c in part.iter_expressions() if isinstance(c, exp.Expression)]
        stack.extend(reversed(children))
    return found
