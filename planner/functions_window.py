"""Every function that needs a window (OVER): one line each, and how its call finds its types.

Signatures read as in ``functions``. Any aggregate is a window function too; first, last and any_value are the first
value, the last one and the first that is not NULL of their frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner import coercion, functions_aggregate
from planner.errors import BindError, UnsupportedError
from planner.expr import AggregateCall, Expr, SortKey
from planner.functions import find_scalar
from planner.record import record
from planner.signatures import match_signature, result_type
from planner.window import WHOLE_PARTITION, WindowCall, WindowFrame


@record
class WindowFunction:
    """A window function: a line of the table below. Those without ``framed`` read the partition, whatever its frame."""

    name: str
    signatures: tuple[str, ...]
    help: str
    aliases: tuple[str, ...] = ()
    framed: bool = False
    skips_nulls: bool = False  # takes IGNORE NULLS


def _w(
    name: str, signature: str, help: str, aliases: str = "", *, value: bool = False, framed: bool = False
) -> WindowFunction:
    return WindowFunction(name, (signature,), help, tuple(aliases.split()), framed, value)


# fmt: off
_TABLE = (
    _w("row_number", "-> BIGINT", "Number of the row in its partition, from 1"),
    _w("rank", "-> BIGINT", "Rank of the row, with gaps after ties"),
    _w("dense_rank", "-> BIGINT", "Rank of the row, without gaps", "rank_dense"),
    _w("percent_rank", "-> DOUBLE", "Rank from 0 to 1: (rank - 1) / (rows - 1)"),
    _w("cume_dist", "-> DOUBLE", "Part of the rows up to this one and its peers"),
    _w("ntile", "BIGINT -> BIGINT", "Number of the row's bucket, of so many of nearly the same size"),
    _w("lag", "ANY, [BIGINT], [ANY] -> 1", "Value of the row so many before; else the default", value=True),
    _w("lead", "ANY, [BIGINT], [ANY] -> 1", "Value of the row so many after; else the default", value=True),
    _w("first_value", "ANY -> 1", "Value of the frame's first row", value=True, framed=True),
    _w("last_value", "ANY -> 1", "Value of the frame's last row", value=True, framed=True),
    _w("nth_value", "ANY, BIGINT -> 1", "Value of the frame's n-th row, from 1", value=True, framed=True),
)
# fmt: on
_BY_NAME = {name: f for f in _TABLE for name in (f.name, *f.aliases)}
_NAVIGATING = {"first": "first_value", "last": "last_value", "any_value": "first_value", "arbitrary": "first_value"}
COUNTING = frozenset({"row_number", "rank", "dense_rank"})
"""Functions whose values are from 1 to the number of rows, and never NULL."""
PEERS = frozenset({"rank", "dense_rank", "percent_rank", "cume_dist"})
"""Functions of the rows that the order does not tell apart."""
NEVER_NULL = COUNTING | {"percent_rank", "cume_dist", "count", "count_star"}


def window_names() -> list[str]:
    """Every name that needs a window."""
    return sorted(_BY_NAME)


def is_window_function(name: str) -> bool:
    """Whether a name calls a function that needs a window."""
    return name.lower() in _BY_NAME


def resolve_window(
    name: str,
    args: Sequence[Expr],
    frame: WindowFrame,
    *,
    distinct: bool = False,
    filter: Expr | None = None,
    order_by: Sequence[SortKey] = (),
    ignore_nulls: bool = False,
) -> WindowCall:
    """The call of a function over a window, with the casts its signature asks for.

    Raises:
        BindError: there is no such function, or none for these arguments.
        UnsupportedError: a form that sqlray does not run yet.
    """
    function = _BY_NAME.get(name.lower())
    if function is None:
        return _aggregate(name, args, frame, distinct, filter, order_by, ignore_nulls)
    refused = "DISTINCT" if distinct else "FILTER" if filter is not None else ""
    if refused:
        raise BindError(f"{function.name} takes no {refused}", hint="only aggregates do")
    if order_by:
        raise UnsupportedError(
            f"ORDER BY in the arguments of {function.name} is not supported", hint="order the window instead"
        )
    if ignore_nulls and not function.skips_nulls:
        raise BindError(f"{function.name} takes no IGNORE NULLS")
    signature, converted = match_signature(function.name, function.signatures, tuple(args))
    if len(converted) == 3:  # the default has the type of the value
        converted = (*converted[:2], coercion.cast(converted[2], converted[0].dtype))
    if function.name == "ntile":
        _check_buckets(converted[0])
    call = AggregateCall(function.name, converted, result_type(signature, converted))
    return WindowCall(call, frame if function.framed else WHOLE_PARTITION, ignore_nulls)


def _aggregate(
    name: str,
    args: Sequence[Expr],
    frame: WindowFrame,
    distinct: bool,
    filter: Expr | None,
    order_by: Sequence[SortKey],
    ignore_nulls: bool,
) -> WindowCall:
    if find_scalar(name) is not None and not functions_aggregate.is_aggregate(name):
        raise BindError(f"{name} takes no OVER", hint="window functions and aggregates do")
    navigating = _NAVIGATING.get(name.lower())
    if ignore_nulls and navigating is None:
        raise BindError(f"{name} takes no IGNORE NULLS", hint="aggregates skip NULLs anyway")
    call = functions_aggregate.resolve_aggregate(name, args, distinct=distinct, filter=filter, order_by=order_by)
    if call.name in _NAVIGATING and call.filter is None and not call.order_by:
        skips = ignore_nulls or call.name == "any_value"
        return WindowCall(replace(call, name=_NAVIGATING[call.name], distinct=False), frame, skips)
    if ignore_nulls:
        call = replace(call, name="any_value")
    return WindowCall(call, frame)


def _check_buckets(count: Expr) -> None:
    value = coercion.constant(count)
    if value is not None and value.value is not None and value.value < 1:
        raise BindError(f"ntile needs at least one bucket, not {value.value}")
