"""Writes random aggregate calls of a wanted kind."""

from tests.property.expressions import condition, value
from tests.property.kinds import BIG, BOOLEAN, DOUBLE, INTEGER, STRING, Kind, decimal
from tests.property.scope import Column, Context, Scope

_ANY_DECIMAL = decimal(10, 2)


def aggregate(ctx: Context, scope: Scope, kind: Kind) -> Column:
    """A call whose result is of this kind.

    Its argument sees only this block: a call over columns from outside would belong to the block outside.
    """
    scope = scope.alone()
    if not kind.exact:
        return Column(_filtered(ctx, scope, _rough(ctx, scope)), kind, plain=False)
    match kind.name:
        case "integer":
            text = _count(ctx, scope)
        case "big":
            text = ctx.weighted([(3, _of(ctx, scope, "sum", INTEGER)), (1, _of(ctx, scope, "sum", BIG))])
        case "decimal":
            text = _of(ctx, scope, ctx.pick(["sum", "min", "max"]), _ANY_DECIMAL)
        case "double":
            text = _of(ctx, scope, ctx.pick(["sum", "min", "max"]), DOUBLE)
        case "boolean":
            text = _of(ctx, scope, ctx.pick(["bool_and", "bool_or", "min", "max"]), BOOLEAN)
        case "string" if ctx.chance(0.25):
            text = _string_agg(ctx, scope)
        case _:
            text = _of(ctx, scope, ctx.pick(["min", "max"]), kind)
    result = decimal(38, kind.scale) if kind.name == "decimal" else kind
    return Column(_filtered(ctx, scope, text), result, plain=False)


def _of(ctx: Context, scope: Scope, function: str, kind: Kind) -> str:
    distinct = "DISTINCT " if ctx.chance(0.15) else ""
    return f"{function}({distinct}{_argument(ctx, scope, kind)})"


def _argument(ctx: Context, scope: Scope, kind: Kind) -> str:
    return value(ctx, scope, kind, ctx.pick([0, 0, 1, 2]))


def _count(ctx: Context, scope: Scope) -> str:
    kind = ctx.pick([INTEGER, STRING, _ANY_DECIMAL, BOOLEAN])
    match ctx.rng.randrange(5):
        case 0 | 1:
            return "count(*)"
        case 2:
            return f"count(DISTINCT {_argument(ctx, scope, kind)})"
        case 3:
            return f"{ctx.pick(['min', 'max'])}({_argument(ctx, scope, INTEGER)})"
        case _:
            return f"count({_argument(ctx, scope, kind)})"


def _string_agg(ctx: Context, scope: Scope) -> str:
    argument = _argument(ctx, scope, STRING)
    if not any(column.text in argument for column in scope.columns):
        return f"max({argument})"
    return f"string_agg({argument}, ',' ORDER BY {argument}{ctx.pick(['', ' DESC'])})"


def _rough(ctx: Context, scope: Scope) -> str:
    function = ctx.pick(["avg", "avg", "avg", "stddev", "stddev_pop", "var_samp", "var_pop", "median", "quantile_cont"])
    kind = ctx.pick([INTEGER, DOUBLE, _ANY_DECIMAL])
    argument = _argument(ctx, scope, DOUBLE if function in ("median", "quantile_cont") else kind)
    return f"quantile_cont({argument}, 0.25)" if function == "quantile_cont" else f"{function}({argument})"


def _filtered(ctx: Context, scope: Scope, call: str) -> str:
    return f"{call} FILTER (WHERE {condition(ctx, scope, 1)})" if ctx.chance(0.12) else call
