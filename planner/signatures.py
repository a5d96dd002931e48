"""Signatures of functions: what they say, and which overload takes given arguments.

In a signature such as ``"VARCHAR, BIGINT, [BIGINT] -> VARCHAR"``

- a type name (``VARCHAR``, ``BIGINT``, …) takes what converts to it without asking (``coercion.cost``);
- ``ANY`` takes everything, ``NUM`` a number, ``INT`` an integer, ``DEC`` a decimal, each as it is, and
  ``TEXT`` everything as VARCHAR;
- every ``T`` gets the common type of the arguments written ``T``;
- ``!`` after a type asks for a constant; ``[…]`` may be left out; ``T...`` repeats (once at least).

The result is a type name, ``T``, ``1`` (the first argument's type), or the name of a rule in
``_RESULT_RULES``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import pyarrow as pa

from planner import coercion, types
from planner.errors import BindError, UnsupportedError, nearest
from planner.expr import Expr, Literal
from planner.record import record

_CONCRETE = {
    "BOOLEAN": types.BOOLEAN, "TINYINT": types.TINYINT, "SMALLINT": types.SMALLINT, "INTEGER": types.INTEGER,
    "BIGINT": types.BIGINT, "UBIGINT": types.UBIGINT, "FLOAT": types.FLOAT, "DOUBLE": types.DOUBLE,
    "HUGEINT": types.decimal(38, 0), "VARCHAR": types.VARCHAR, "BLOB": types.BLOB, "DATE": types.DATE,
    "TIME": types.TIME, "TIMESTAMP": types.TIMESTAMP, "TIMESTAMPTZ": types.TIMESTAMPTZ,
    "INTERVAL": types.INTERVAL,
}  # fmt: skip

_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "ANY": lambda dtype: True,
    "NUM": types.is_numeric,
    "INT": types.is_integer,
    "DEC": types.is_decimal,
}

# How kinds are called in messages.
_READABLE = {"ANY": "any", "NUM": "number", "INT": "integer", "DEC": "decimal", "TEXT": "any"}


@record
class Parameter:
    """One parameter: a type name or a kind, and whether it must be a constant, may be absent, or repeats."""

    kind: str
    constant: bool = False
    optional: bool = False
    variadic: bool = False


@record
class Signature:
    """What one overload takes and gives, and the text it was read from."""

    parameters: tuple[Parameter, ...]
    result: str
    text: str


@cache
def parse_signature(text: str) -> Signature:
    """Read ``"VARCHAR, BIGINT, [BIGINT] -> VARCHAR"``."""
    left, _, result = (part.strip() for part in text.partition("->"))
    parameters = []
    for word in filter(None, (w.strip() for w in left.split(","))):
        kind = word.strip("[].!")
        parameters.append(Parameter(kind, "!" in word, word.startswith("["), "..." in word))
    return Signature(tuple(parameters), result, text)


def unknown_function(name: str, candidates: list[str]) -> BindError:
    """The error for a name that is no function, with the nearest one as a hint."""
    close = nearest(name, candidates)
    return BindError(f'there is no function "{name}"', hint=f'did you mean "{close}"?' if close else None)


def match_signature(name: str, signatures: Sequence[str], args: tuple[Expr, ...]) -> tuple[Signature, tuple[Expr, ...]]:
    """The overload nearest to the arguments, and the arguments cast to it.

    Raises:
        BindError: none takes them.
        UnsupportedError: the overload asks for a constant.
    """
    best: tuple[int, Signature, tuple[pa.DataType, ...]] | None = None
    for text in signatures:
        signature = parse_signature(text)
        fit = _fit(signature, args)
        if fit is not None and (best is None or fit[0] < best[0]):
            best = (fit[0], signature, fit[1])
    if best is None:
        raise no_overload(name, signatures, args)
    _, signature, targets = best
    converted = [coercion.cast(a, t) for a, t in zip(args, targets, strict=True)]
    for i, parameter in enumerate(_expand(signature, len(args)) or ()):
        if parameter.constant:
            value = coercion.constant(converted[i])
            if value is None:
                raise UnsupportedError(f"argument {i + 1} of {name} must be a constant")
            converted[i] = value
    return signature, tuple(converted)


def no_overload(name: str, signatures: Sequence[str], args: Sequence[Expr]) -> BindError:
    """The error for arguments that no overload takes."""
    given = ", ".join(types.type_name(a.dtype) for a in args)
    forms = "; ".join(_describe(name, s) for s in signatures)
    return BindError(f"{name} does not take ({given})", hint=f"it is {forms}" if forms else None)


def _describe(name: str, text: str) -> str:
    left, _, result = (part.strip() for part in text.partition("->"))
    shown = result if result in _CONCRETE else ""
    taken = re.sub(r"\w+", lambda word: _READABLE.get(word[0], word[0]), left.replace("!", ""))
    return f"{name}({taken})" + (f" -> {shown}" if shown else "")


def _expand(signature: Signature, count: int) -> tuple[Parameter, ...] | None:
    """The parameters for ``count`` arguments, or None if the signature does not take so many."""
    parameters = signature.parameters
    if parameters and parameters[-1].variadic:
        if count < len(parameters):
            return None
        return (*parameters, *(parameters[-1],) * (count - len(parameters)))
    required = sum(not p.optional for p in parameters)
    return parameters[:count] if required <= count <= len(parameters) else None


def _fit(signature: Signature, args: tuple[Expr, ...]) -> tuple[int, tuple[pa.DataType, ...]] | None:
    """How far the arguments are from a signature, and the types they are cast to; None if they do not fit."""
    parameters = _expand(signature, len(args))
    if parameters is None:
        return None
    common: pa.DataType | None = None
    if any(p.kind == "T" for p in parameters):
        common = coercion.common_type([a for a, p in zip(args, parameters, strict=True) if p.kind == "T"])
        if common is None:
            return None
    total, targets = 0, []
    for arg, parameter in zip(args, parameters, strict=True):
        target, distance = _target(arg, parameter.kind, common)
        if target is None or distance is None:
            return None
        total += distance
        targets.append(target)
    return total, tuple(targets)


def _target(arg: Expr, kind: str, common: pa.DataType | None) -> tuple[pa.DataType | None, int | None]:
    """The type that an argument takes for a parameter, and the distance to it."""
    concrete = _CONCRETE.get(kind)
    if concrete is not None:
        return concrete, coercion.cost(arg, concrete)
    if kind == "TEXT":
        return types.VARCHAR, 0 if arg.dtype == types.VARCHAR else 2
    if kind == "T":
        assert common is not None
        return common, 0
    if kind == "ANY":
        return arg.dtype, 0
    if arg.dtype == types.NULL:
        return (types.BIGINT, 0) if kind in ("NUM", "INT") else (None, None)
    return (arg.dtype, 0) if _KINDS[kind](arg.dtype) else (None, None)


def result_type(signature: Signature, args: tuple[Expr, ...]) -> pa.DataType:
    """The type of a call whose arguments are already cast.

    Raises:
        BindError: the rule has no type for these arguments.
    """
    rule = signature.result
    concrete = _CONCRETE.get(rule)
    if concrete is not None:
        return concrete
    if rule == "1":
        return args[0].dtype
    if rule == "T":
        parameters = _expand(signature, len(args)) or ()
        return next(a.dtype for a, p in zip(args, parameters, strict=True) if p.kind == "T")
    return _RESULT_RULES[rule](args)


def _integral(args: tuple[Expr, ...]) -> pa.DataType:
    dtype = args[0].dtype
    return types.decimal(dtype.precision, 0)


def _rounded(args: tuple[Expr, ...]) -> pa.DataType:
    """A decimal rounded to d places has the scale d, between 0 and its own."""
    dtype, digits = args[0].dtype, 0
    if len(args) > 1:
        assert isinstance(args[1], Literal)
        digits = args[1].value or 0
    return types.decimal(dtype.precision, max(0, min(digits, dtype.scale)))


def _integers(args: tuple[Expr, ...]) -> pa.DataType:
    dtype = args[0].dtype
    if types.is_integer(dtype):
        return dtype
    raise BindError(f"bit operators take integers, not {types.type_name(dtype)}", hint="cast to BIGINT")


_RESULT_RULES: dict[str, Callable[[tuple[Expr, ...]], pa.DataType]] = {
    "integral": _integral,
    "rounded": _rounded,
    "integers": _integers,
}
