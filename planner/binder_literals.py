"""Literals in SQL: numbers, and intervals with their units."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from sqlglot import exp

from planner import coercion, literals, types
from planner.errors import BindError, UnsupportedError
from planner.expr import Literal


def bind_number(text: str) -> Literal:
    """A number as written: by its size INTEGER, BIGINT or DECIMAL(38,0), by its digits DECIMAL, or DOUBLE.

    Raises:
        BindError: it is not a number, or none that a DOUBLE holds.
    """
    plain = text.replace("_", "")
    if plain.isdigit():
        return coercion.integer_literal(int(plain))
    try:
        if "e" in plain.lower():
            return Literal(literals.read_float(plain, types.DOUBLE), types.DOUBLE)
        whole, _, fraction = plain.partition(".")
        digits = len(whole) + len(fraction)
        if digits > types.MAX_PRECISION:
            return Literal(float(plain), types.DOUBLE)
        dtype = types.decimal(max(digits, 1), len(fraction))
        return Literal(literals.to_decimal(Decimal(plain), dtype), dtype)
    except (ValueError, InvalidOperation):
        raise BindError(f"{text} is not a number") from None


def interval_literal(text: str, unit: str | None, *, unit_in_text: bool = False) -> Literal:
    """``INTERVAL '3' MONTH``, ``INTERVAL '1 year 2 months'``.

    A unit after the text counts whole ones, as DuckDB has it (``'1.5' DAY`` is a day); one in the text not.

    Raises:
        BindError: the text is no interval, or the unit is none.
    """
    try:
        if unit is None:
            return Literal(literals.read_interval(text), types.INTERVAL)
        name = unit_name(unit)
        quantity = Decimal(text.strip())
        if not unit_in_text and name not in ("second", "millisecond"):
            quantity = Decimal(int(quantity))
        return Literal(literals.interval_of(quantity, name), types.INTERVAL)
    except (ValueError, InvalidOperation):
        raise BindError(
            f"could not convert '{text}' to INTERVAL{' ' + unit if unit else ''}",
            hint="an interval is written '1 year 2 months 3 days 04:05:06'",
        ) from None


def unit_name(unit: str) -> str:
    """The plain name of an interval's unit.

    Raises:
        BindError: there is no such unit.
    """
    name = literals.interval_unit(unit)
    if name is None:
        raise BindError(
            f'there is no interval unit "{unit}"',
            hint="units are year, month, week, day, hour, minute, second",
        )
    return name


def interval_parts(node: exp.Interval) -> tuple[exp.Expression | None, str | None]:
    """The quantity and the unit of an INTERVAL as it is written.

    Raises:
        UnsupportedError: a range of units (YEAR TO MONTH).
    """
    unit = node.args.get("unit")
    if unit is not None and not isinstance(unit, exp.Var):
        raise UnsupportedError(f"INTERVAL … {unit.sql()} is not supported", hint="write the units into the text")
    return node.args.get("this"), unit.name if unit is not None else None
