"""The name of a column without an alias: the text of its expression, as DuckDB prints it."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import ErrorLevel

from planner.parser import source_text

_BINARY: dict[type[exp.Expression], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "//", exp.Mod: "%",
    exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
    exp.And: "AND", exp.Or: "OR", exp.DPipe: "||", exp.Like: "~~", exp.ILike: "~~*",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM", exp.NullSafeNEQ: "IS DISTINCT FROM",
    exp.BitwiseAnd: "&", exp.BitwiseOr: "|",
}  # fmt: skip
# Functions with a syntax of their own, whose names sqlglot keeps no place of.
_CALLED: dict[type[exp.Expression], str] = {
    exp.GroupConcat: "string_agg", exp.StrPosition: "position", exp.ArgMax: "arg_max", exp.ArgMin: "arg_min",
    exp.PercentileCont: "quantile_cont", exp.PercentileDisc: "quantile_disc",
}  # fmt: skip
_KEYWORD_FUNCTIONS = frozenset({"coalesce"})
# DuckDB quotes a function's name where it is a keyword too.
_QUOTED_FUNCTIONS = frozenset({"substring", "nullif", "if", "left", "right", "replace", "trim", "position", "overlay"})


def output_name(node: exp.Expression, sql: str) -> str:
    """The name a SELECT item has in the output."""
    match node:
        case exp.Alias():
            return node.alias
        case exp.Column():
            return node.name
        case exp.Paren():
            return output_name(node.this, sql)
        case _:
            return _text(node, sql)


def _written(node: exp.Expression) -> str:
    """As sqlglot writes it, who warns of what it takes for no DuckDB."""
    return str(node.sql("duckdb", unsupported_level=ErrorLevel.IGNORE))


def _text(node: exp.Expression | None, sql: str) -> str:
    if node is None:  # an argument is missing; binding refuses the call
        return ""
    operator = _BINARY.get(type(node))
    if operator is not None and isinstance(node.expression, exp.All):
        return _all(node, operator, sql)
    if operator is not None:
        return f"({_text(node.this, sql)} {operator} {_text(node.expression, sql)})"
    match node:
        case exp.Literal() | exp.Boolean() | exp.Null():
            return _literal(node, sql)
        case exp.Column():
            return ".".join(part.name for part in node.parts)
        case exp.Paren():
            return _text(node.this, sql)
        case exp.Neg():
            inner = _text(node.this, sql)
            return f"-{inner}" if isinstance(node.this, exp.Literal) else f"(-({inner}))"
        case exp.Not():
            return _negation(node, sql)
        case exp.Is():
            return f"({_text(node.this, sql)} IS {_text(node.expression, sql)})"
        case exp.Between():
            low, high = node.args["low"], node.args["high"]
            return f"({_text(node.this, sql)} BETWEEN {_text(low, sql)} AND {_text(high, sql)})"
        case exp.In() if node.expressions:
            return f"({_text(node.this, sql)} IN ({_list(node.expressions, sql)}))"
        case exp.In() if node.args.get("query") is not None:
            return f"({_text(node.this, sql)} = ANY{_text(node.args['query'], sql)})"
        case exp.Any():
            return f"ANY({_query(node.this, sql)})"
        case exp.Exists():
            return f"EXISTS({_query(node.this, sql)})"
        case exp.Subquery() | exp.Select():
            return f"({_query(node, sql)})"
        case exp.Case():
            return _case(node, sql)
        case exp.Cast():
            word = "TRY_CAST" if isinstance(node, exp.TryCast) else "CAST"
            return f"{word}({_text(node.this, sql)} AS {_written(node.to)})"
        case exp.Distinct():
            return f"DISTINCT {_list(node.expressions, sql)}"
        case exp.Star():
            return "*"
        case exp.Filter():
            return f"{_text(node.this, sql)} FILTER (WHERE {_text(node.expression.this, sql)})"
        case exp.Ordered():
            first = " NULLS FIRST" if node.args.get("nulls_first") else ""
            return f"{_text(node.this, sql)}{' DESC' if node.args.get('desc') else ''}{first}"
        case exp.IgnoreNulls():
            return f"{_text(node.this, sql)} IGNORE NULLS"
        case exp.RespectNulls():
            return f"{_text(node.this, sql)} RESPECT NULLS"
        case exp.Window():
            return _window(node, sql)
        case exp.Extract():
            return _written(node)
        case exp.Grouping() | exp.GroupingId():
            return f"GROUPING({_list(node.expressions, sql)})"
        case exp.Func():
            return _function(node, sql)
        case _:
            return _written(node)


def _window(node: exp.Window, sql: str) -> str:
    """A call with its window; one that has a name under that name."""
    order, alias, spec = node.args.get("order"), node.args.get("alias"), node.args.get("spec")
    parts = [] if alias is None else [str(alias.name)]
    if node.args.get("partition_by"):
        parts.append(f"PARTITION BY {_list(node.args['partition_by'], sql)}")
    if order is not None:
        parts.append(f"ORDER BY {', '.join(_text(k, sql) for k in order.expressions)}")
    if spec is not None:
        bounds = [_frame_bound(spec, which, sql) for which in ("start", "end") if spec.args.get(which) is not None]
        frame = f"BETWEEN {bounds[0]} AND {bounds[1]}" if len(bounds) == 2 else bounds[0]
        exclude = spec.args.get("exclude")
        parts.append(f"{str(spec.args['kind']).upper()} {frame}{f' EXCLUDE {exclude.name}' if exclude else ''}")
    return f"{_text(node.this, sql)} OVER ({' '.join(parts)})"


def _frame_bound(spec: exp.Expression, which: str, sql: str) -> str:
    value, side = spec.args[which], spec.args.get(f"{which}_side")
    shown = _text(value, sql) if isinstance(value, exp.Expression) else str(value)
    return shown if side is None else f"{shown} {str(side).upper()}"


_NEGATED = {"=": "!=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _all(node: exp.Expression, operator: str, sql: str) -> str:
    """``x op ALL (q)``, which DuckDB holds as NOT ``x negop ANY (q)``."""
    left, query = _text(node.this, sql), _query(node.expression.this, sql)
    return f"(NOT ({left} {_NEGATED.get(operator, operator)} ANY({query})))"


def _query(node: exp.Expression, sql: str) -> str:
    """A subquery: the parts that are frequent as DuckDB prints them, others as sqlglot does."""
    while isinstance(node, exp.Subquery) and {k for k, v in node.args.items() if v} <= {"this"}:
        node = node.this
    present = {key for key, value in node.args.items() if value}
    if not isinstance(node, exp.Select) or not present <= {"expressions", "from_", "where", "limit"}:
        return _written(node)
    text = f"SELECT {', '.join(_item(e, sql) for e in node.expressions)}"
    if "from_" in present:
        text += f" FROM {_written(node.args['from_'].this)}"
    if "where" in present:
        text += f" WHERE {_text(node.args['where'].this, sql)}"
    return text + (f" {_written(node.args['limit']).strip()}" if "limit" in present else "")


def _item(node: exp.Expression, sql: str) -> str:
    return f"{_text(node.this, sql)} AS {node.alias}" if isinstance(node, exp.Alias) else _text(node, sql)


def _literal(node: exp.Expression, sql: str) -> str:
    if isinstance(node, exp.Boolean):
        return "true" if node.this else "false"
    if isinstance(node, exp.Null):
        return "NULL"
    return "'" + node.name.replace("'", "''") + "'" if node.args.get("is_string") else str(node.name)


def _negation(node: exp.Not, sql: str) -> str:
    match node.this:
        case exp.Is() as inner:
            return f"({_text(inner.this, sql)} IS NOT {_text(inner.expression, sql)})"
        case exp.Like() as inner:
            return f"({_text(inner.this, sql)} !~~ {_text(inner.expression, sql)})"
        case inner:
            return f"(NOT {_text(inner, sql)})"


def _case(node: exp.Case, sql: str) -> str:
    subject = node.this
    parts = []
    for when in node.args["ifs"]:
        condition = _text(when.this, sql)
        if subject is not None:
            condition = f"({_text(subject, sql)} = {condition})"
        parts.append(f" WHEN ({condition}) THEN ({_text(when.args['true'], sql)})")
    default = node.args.get("default")
    return f"CASE {''.join(parts)} ELSE {'NULL' if default is None else _text(default, sql)} END"


def _list(nodes: list[exp.Expression], sql: str) -> str:
    return ", ".join(_text(n, sql) for n in nodes)


def _function(node: exp.Expression, sql: str) -> str:
    """A call under the name that the query wrote: the tree has the name of sqlglot's class."""
    if _is_count_star(node):
        return "count_star()"
    if isinstance(node, exp.Anonymous):
        written = str(node.this)
    else:
        written = source_text(node, sql) or _CALLED.get(type(node), node.key)
    name = written.lower()
    if not name.isidentifier():
        return _written(node)
    if name in _KEYWORD_FUNCTIONS:
        name = name.upper()
    elif name in _QUOTED_FUNCTIONS:
        name = f'"{name}"'
    if isinstance(node.this, exp.Order):  # string_agg(x, ',' ORDER BY y)
        rest = [value for key, value in node.args.items() if key != "this" and isinstance(value, exp.Expression)]
        order = ", ".join(_text(k, sql) for k in node.this.expressions)
        return f"{name}({_list([node.this.this, *rest], sql)} ORDER BY {order})"
    return f"{name}({_list(_arguments(node), sql)})"


def _is_count_star(node: exp.Expression) -> bool:
    if isinstance(node, exp.Anonymous):
        arguments = node.expressions
        return str(node.this).lower() == "count" and len(arguments) == 1 and isinstance(arguments[0], exp.Star)
    return isinstance(node, exp.Count) and isinstance(node.this, exp.Star)


def _arguments(node: exp.Expression) -> list[exp.Expression]:
    if isinstance(node, exp.Anonymous):
        return list(node.expressions)
    arguments: list[exp.Expression] = []
    for value in node.args.values():
        items = value if isinstance(value, list) else [value]
        arguments += [item for item in items if isinstance(item, exp.Expression)]
    return arguments
