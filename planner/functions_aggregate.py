"""Every aggregate function: one line each, how a call finds its types, and how it splits in two steps.

Signatures read as in ``functions``. Aggregates that are another one in disguise (``count_if``, ``median``,
``approx_count_distinct``, …) become that one when they are resolved: the executor does not know them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from planner import coercion, types
from planner.errors import BindError, UnsupportedError
from planner.expr import (
    AggregateCall,
    Arithmetic,
    Call,
    Expr,
    Literal,
    SortKey,
    column,
    new_field,
    null,
)
from planner.logical import AggregateItem
from planner.record import record
from planner.signatures import match_signature, no_overload, result_type, unknown_function


@record
class AggregateFunction:
    """An aggregate: a line of the table below.

    ``merge`` names the aggregate that makes the final of partials of this one; None where there is none.
    ``distinct_matters`` is False where duplicates change nothing. ``ordered``: the order of rows counts.
    """

    name: str
    signatures: tuple[str, ...]
    help: str
    aliases: tuple[str, ...] = ()
    merge: str | None = None
    distinct_matters: bool = True
    ordered: bool = False


def _a(
    name: str,
    signatures: str,
    help: str,
    aliases: str = "",
    *,
    merge: str | None = None,
    once: bool = False,
    ordered: bool = False,
) -> AggregateFunction:
    """One line; ``once`` says that DISTINCT changes nothing."""
    overloads = tuple(s.strip() for s in signatures.split("|"))
    return AggregateFunction(name, overloads, help, tuple(aliases.split()), merge, not once, ordered)


# fmt: off
_TABLE = (
    _a("count_star", "-> BIGINT", "Number of rows: count(*)", merge="sum"),
    _a("count", "ANY -> BIGINT", "Number of rows where the argument is not NULL", merge="sum"),
    _a("sum", "BOOLEAN -> BIGINT | INT -> sum | DEC -> sum | FLOAT -> DOUBLE | DOUBLE -> DOUBLE",
       "Sum; of no rows NULL", merge="sum"),
    _a("avg", "NUM -> DOUBLE | TIMESTAMP -> TIMESTAMP", "Arithmetic mean", "mean", merge="avg"),
    _a("min", "ANY -> 1", "Smallest value", merge="min", once=True),
    _a("max", "ANY -> 1", "Largest value", merge="max", once=True),
    _a("stddev_samp", "DOUBLE -> DOUBLE", "Standard deviation of a sample", "stddev"),
    _a("stddev_pop", "DOUBLE -> DOUBLE", "Standard deviation of a population"),
    _a("var_samp", "DOUBLE -> DOUBLE", "Variance of a sample", "variance"),
    _a("var_pop", "DOUBLE -> DOUBLE", "Variance of a population"),
    _a("covar_samp", "DOUBLE, DOUBLE -> DOUBLE", "Covariance of a sample"),
    _a("covar_pop", "DOUBLE, DOUBLE -> DOUBLE", "Covariance of a population"),
    _a("corr", "DOUBLE, DOUBLE -> DOUBLE", "Correlation"),
    _a("bool_and", "BOOLEAN -> BOOLEAN", "Whether all are TRUE", "every logical_and", merge="bool_and",
       once=True),
    _a("bool_or", "BOOLEAN -> BOOLEAN", "Whether one is TRUE", "logical_or", merge="bool_or", once=True),
    _a("bit_and", "INT -> 1", "Bits set in all", merge="bit_and", once=True),
    _a("bit_or", "INT -> 1", "Bits set in one", merge="bit_or", once=True),
    _a("bit_xor", "INT -> 1", "Bits set in an odd number", merge="bit_xor"),
    _a("product", "DOUBLE -> DOUBLE", "Product", merge="product"),
    _a("string_agg", "TEXT, [VARCHAR!] -> VARCHAR", "The strings with a separator (',') between",
       "group_concat listagg", ordered=True),
    _a("any_value", "ANY -> 1", "One of the values that are not NULL", merge="any_value", once=True,
       ordered=True),
    _a("first", "ANY -> 1", "The first row's value, NULL or not", "arbitrary", ordered=True),
    _a("last", "ANY -> 1", "The last row's value, NULL or not", ordered=True),
    _a("quantile_cont", "INT, DOUBLE! -> DOUBLE | DEC, DOUBLE! -> 1 | FLOAT, DOUBLE! -> FLOAT"
       " | DOUBLE, DOUBLE! -> DOUBLE | TIMESTAMP, DOUBLE! -> TIMESTAMP",
       "The value so far along the sorted values, interpolated", "percentile_cont"),
    _a("quantile_disc", "ANY, DOUBLE! -> 1", "The value so far along the sorted values",
       "percentile_disc quantile"),
    _a("median", "", "The middle value, interpolated: quantile_cont(x, 0.5)"),
    _a("mode", "ANY -> 1", "The most frequent value"),
    _a("arg_min", "ANY, ANY -> 1", "The first argument where the second is smallest", "min_by argmin",
       ordered=True),
    _a("arg_max", "ANY, ANY -> 1", "The first argument where the second is largest", "max_by argmax",
       ordered=True),
    _a("count_if", "", "Number of rows where the condition is TRUE", "countif"),
    _a("approx_count_distinct", "", "Number of distinct values (exact here)"),
)
# fmt: on
_BY_NAME = {name: f for f in _TABLE for name in (f.name, *f.aliases)}


def aggregate_names() -> list[str]:
    """Every name an aggregate can be called by."""
    return sorted(name for name in _BY_NAME if name != "count_star")


def aggregate_functions() -> list[AggregateFunction]:
    """The table."""
    return list(_TABLE)


def find_aggregate(name: str) -> AggregateFunction | None:
    """The aggregate of that name or alias, whatever its case."""
    return _BY_NAME.get(name.lower())


def is_aggregate(name: str) -> bool:
    """Whether a name calls an aggregate."""
    return name.lower() in _BY_NAME


_PAIRED = ("corr", "covar_pop", "covar_samp")  # DISTINCT would be of pairs


def resolve_aggregate(
    name: str,
    args: Sequence[Expr],
    *,
    distinct: bool = False,
    filter: Expr | None = None,
    order_by: Sequence[SortKey] = (),
) -> AggregateCall:
    """The call of an aggregate, with the casts its signature asks for; ``count`` of nothing is count(*).

    Raises:
        BindError: there is no such aggregate, or none for these arguments.
        UnsupportedError: a form that sqlray does not run yet.
    """
    function = find_aggregate(name)
    if function is None:
        raise unknown_function(name, aggregate_names())
    values = tuple(args)
    if filter is not None:
        filter = coercion.boolean(filter)
    disguise = _DISGUISES.get(function.name)
    if disguise is not None:
        return disguise(values, distinct, filter)
    if function.name == "count" and not values:
        function = _BY_NAME["count_star"]
    if function.name == "count_star" and distinct:
        raise BindError("count(DISTINCT *) has no meaning", hint="name the columns: count(DISTINCT a)")
    if len(values) > 1 and function.name == "count":
        raise UnsupportedError(
            "count of several columns is not supported yet", hint="count the rows of a SELECT DISTINCT"
        )
    if distinct and function.name in _PAIRED:
        raise UnsupportedError(
            f"{function.name}(DISTINCT …) is not supported yet", hint="aggregate the rows of a SELECT DISTINCT"
        )
    values, order = _ordered(function, values, tuple(order_by))
    signature, converted = match_signature(function.name, function.signatures, values)
    dtype = _sum_type(converted[0].dtype) if signature.result == "sum" else result_type(signature, converted)
    if function.name == "sum" and converted[0].dtype == types.BOOLEAN:
        converted = (coercion.cast(converted[0], types.INTEGER),)
    if function.name == "string_agg" and len(converted) == 1:
        converted = (*converted, Literal(",", types.VARCHAR))
    if function.name.startswith("quantile"):
        _check_fraction(function.name, converted[1])
    return AggregateCall(function.name, converted, dtype, distinct and function.distinct_matters, filter, order)


def _ordered(
    function: AggregateFunction, args: tuple[Expr, ...], order: tuple[SortKey, ...]
) -> tuple[tuple[Expr, ...], tuple[SortKey, ...]]:
    """Arguments and ORDER BY: dropped where the order does not count."""
    return args, order if function.ordered else ()


def _sum_type(dtype: pa.DataType) -> pa.DataType:
    """SUM of integers up to 32 bits is BIGINT, of wider ones and of decimals DECIMAL(38, s)."""
    if types.is_decimal(dtype):
        return types.decimal(types.MAX_PRECISION, dtype.scale)
    return types.BIGINT if dtype.bit_width <= 32 else types.decimal(types.MAX_PRECISION, 0)


def _check_fraction(name: str, fraction: Expr) -> None:
    assert isinstance(fraction, Literal)
    if fraction.value is None or not 0 <= fraction.value <= 1:
        raise BindError(f"{name} needs a fraction between 0 and 1, not {fraction.value}")


def _median(args: tuple[Expr, ...], distinct: bool, filter: Expr | None) -> AggregateCall:
    if len(args) != 1:
        raise no_overload("median", ("ANY -> 1",), args)
    half = Literal(0.5, types.DOUBLE)
    dtype = args[0].dtype
    name = (
        "quantile_cont"
        if types.is_numeric(dtype) or (types.is_temporal(dtype) and dtype != types.TIME)
        else "quantile_disc"
    )
    return resolve_aggregate(name, (args[0], half), distinct=distinct, filter=filter)


def _count_if(args: tuple[Expr, ...], distinct: bool, filter: Expr | None) -> AggregateCall:
    """As in DuckDB a sum of truth values: NULL where no row has one."""
    if len(args) != 1:
        raise no_overload("count_if", ("BOOLEAN -> BIGINT",), args)
    return resolve_aggregate("sum", (coercion.boolean(args[0]),), distinct=distinct, filter=filter)


def _approx_count_distinct(args: tuple[Expr, ...], distinct: bool, filter: Expr | None) -> AggregateCall:
    if len(args) != 1:
        raise no_overload("approx_count_distinct", ("ANY -> BIGINT",), args)
    return resolve_aggregate("count", args, distinct=True, filter=filter)


_DISGUISES: dict[str, Callable[[tuple[Expr, ...], bool, Expr | None], AggregateCall]] = {
    "median": _median,
    "count_if": _count_if,
    "approx_count_distinct": _approx_count_distinct,
}


def value_of_no_rows(call: AggregateCall) -> Literal:
    """What the aggregate gives for an empty group: 0 for counts, else NULL."""
    return Literal(0, types.BIGINT) if call.name in ("count", "count_star") else null(call.dtype)


# ------------------------------------------------------------------------------ splitting


@record
class AggregateSplit:
    """An aggregate in two steps.

    ``partials`` run over the rows of a part, ``finals`` over the partials' columns; ``result`` is the
    expression over the finals' columns that has the aggregate's value and type.
    """

    partials: tuple[AggregateItem, ...]
    finals: tuple[AggregateItem, ...]
    result: Expr


def split_aggregate(call: AggregateCall) -> AggregateSplit | None:
    """``call`` in two steps, with new columns for them; None if it cannot be computed so.

    Variances do not split: from sums of squares they lose their digits.
    """
    merge = _BY_NAME[call.name].merge
    if merge is None or call.distinct or call.order_by:
        return None
    if merge == "avg":
        return None if call.dtype != types.DOUBLE else _split_avg(call)
    partial = AggregateItem(new_field(call.name, call.dtype), call)
    final = _merge(merge, partial)
    return AggregateSplit((partial,), (final,), _merged(final, call))


def _merge(name: str, partial: AggregateItem) -> AggregateItem:
    """The aggregate ``name`` over a partial's column, in its type: a sum of BIGINTs stays BIGINT here."""
    source = column(partial.field)
    return AggregateItem(new_field(partial.field.name, source.dtype), AggregateCall(name, (source,), source.dtype))


def _merged(final: AggregateItem, call: AggregateCall) -> Expr:
    """The final's column; a count of no parts is 0."""
    value = column(final.field)
    if call.name in ("count", "count_star"):
        return Call("coalesce", (value, Literal(0, types.BIGINT)), types.BIGINT)
    return value


def _split_avg(call: AggregateCall) -> AggregateSplit:
    """A mean is a sum by a count; both are exact for integers and decimals."""
    total = resolve_aggregate("sum", call.args, filter=call.filter)
    count = resolve_aggregate("count", call.args, filter=call.filter)
    partials = (
        AggregateItem(new_field("sum", total.dtype), total),
        AggregateItem(new_field("count", count.dtype), count),
    )
    finals = (_merge("sum", partials[0]), _merge("sum", partials[1]))
    dividend, divisor = (coercion.cast(column(f.field), types.DOUBLE) for f in finals)
    return AggregateSplit(partials, finals, Arithmetic("/", dividend, divisor, types.DOUBLE))
