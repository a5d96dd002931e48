"""Text as numbers and moments on a GPU, where it has the plain form that most text has.

What has not fails, and the fragment runs again on the CPU, which knows every form; text without a digit is no number
and no moment anywhere. So nothing is read here that the CPU would read otherwise.
"""

from __future__ import annotations

import re

import polars as pl

from executor.calendar import MICROS_PER_DAY, days_from_civil, days_in_month
from executor.checks import Failure, checked
from executor.patterns import quote
from executor.value import NotOnDevice, Scope
from planner.record import record

# What both devices take for white space, beyond which they differ.
WHITESPACE = " \t\n\v\f\r"
_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6}
_LONG_FORMS = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M"}


@record
class Layout:
    """Where the parts of a moment stand in text of one length: part, first place, width; and what such text matches."""

    parts: tuple[tuple[str, int, int], ...]
    regex: str


def moment_layout(form: str) -> Layout:
    """The layout that a format such as '%Y-%m-%d' gives text.

    Raises:
        NotOnDevice: the parts have no fixed width, or are not those of a day and maybe a time.
    """
    for short, long in _LONG_FORMS.items():
        form = form.replace(short, long)
    parts: list[tuple[str, int, int]] = []
    regex, at = "", 0
    for letter, other in re.findall(r"%(.)|([^%])", form, re.DOTALL):
        width = _WIDTHS.get(letter, 0) if letter else 1
        if not width:
            raise NotOnDevice(f"text is not read by the format letter %{letter} on the GPU")
        if letter:
            parts.append((letter, at, width))
            regex += f"[0-9]{{{width}}}"
        else:
            regex += quote(other)
        at += width
    letters = [p for p, _, _ in parts]
    if len(set(letters)) < len(letters) or "".join(sorted(letters)) not in ("Ydm", "HMYdm", "HMSYdm", "HMSYdfm"):
        raise NotOnDevice("text is read as a day, or a day and a time, on the GPU")
    return Layout(tuple(parts), f"^{regex}$")


def parsed_moment(text: pl.Expr, layout: Layout, safe: bool, scope: Scope) -> pl.Expr:
    """Microseconds since 1970 of a moment in text, as Int64; NULL where it is none and the reading is ``safe``."""
    regular = text.str.contains(layout.regex)
    found = {
        letter: pl.when(regular).then(text.str.slice(at, width)).cast(pl.Int64) for letter, at, width in layout.parts
    }
    return _moment(text, regular, found, safe, scope)


_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)?$"


def parsed_iso(text: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    """Microseconds since 1970 of '2020-01-31', '2020-01-31 12:30:59' or '2020-01-31T12:30:59.123'."""
    regular = text.str.contains(_ISO)
    timed, fine = regular & (text.str.len_bytes() > 10), regular & (text.str.len_bytes() > 20)
    places = {"Y": (0, 4), "m": (5, 2), "d": (8, 2), "H": (11, 2), "M": (14, 2), "S": (17, 2)}
    found = {
        letter: pl.when(regular if at < 10 else timed).then(text.str.slice(at, width)).cast(pl.Int64)
        for letter, (at, width) in places.items()
    }
    found["f"] = pl.when(fine).then(text.str.slice(20, 6).str.pad_end(6, "0")).cast(pl.Int64)
    for letter in "HMSf":
        found[letter] = found[letter].fill_null(0)
    return _moment(text, regular, found, safe, scope)


def _moment(text: pl.Expr, regular: pl.Expr, found: dict[str, pl.Expr], safe: bool, scope: Scope) -> pl.Expr:
    zero = pl.lit(0, dtype=pl.Int64)
    year, month, day = (found[letter] for letter in "Ymd")
    hour, minute, second, fraction = (found.get(letter, zero) for letter in "HMSf")
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= days_in_month(year, month))
    valid = valid & (hour < 24) & (minute < 60) & (second < 60)
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction
    micros = days_from_civil(year, month, day) * MICROS_PER_DAY + clock
    good = regular & valid
    if not safe:
        return checked(micros, good.not_(), Failure.DATE_OUT_OF_RANGE, scope)
    odd = regular & (second >= 60)  # a day does not look at its seconds, and there are leap seconds
    return checked(pl.when(good).then(micros), odd | unclear(text, regular), Failure.DATE_OUT_OF_RANGE, scope)


def unclear(text: pl.Expr, regular: pl.Expr) -> pl.Expr:
    """Whether text that is not of the plain form may have a meaning nevertheless."""
    return regular.not_() & text.str.contains("[0-9]")


_WHOLE = r"^[-+]?[0-9]{1,18}$"


def parsed_integer(text: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    """A whole number of up to 18 digits, as Int64."""
    regular = text.str.contains(_WHOLE)
    number = pl.when(regular).then(text).cast(pl.Int64)
    lost = unclear(text, regular) if safe else regular.not_()
    return checked(number, lost, Failure.OUT_OF_RANGE, scope)


def parsed_decimal(text: pl.Expr, scale: int, safe: bool, scope: Scope) -> pl.Expr:
    """A number of up to 18 digits, ``scale`` of them after the point at most, times 10^scale, as Int64."""
    places = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    regular = text.str.contains(f"^-?[0-9]{{1,{18 - scale}}}{places}$")
    pointed = regular & text.str.contains(".", literal=True)
    split = pl.when(pointed).then(text).str.splitn(".", 2).struct
    whole = pl.when(pointed).then(split.field("field_0")).otherwise(text)
    digits = pl.when(pointed).then(split.field("field_1")).otherwise(pl.lit("")).str.pad_end(scale, "0")
    joined = pl.concat_str([whole, digits])
    number = pl.when(regular).then(joined).cast(pl.Int64)
    lost = unclear(text, regular) if safe else regular.not_()
    return checked(number, lost, Failure.OUT_OF_RANGE, scope)


def parsed_float(text: pl.Expr, safe: bool, scope: Scope) -> pl.Expr:
    """A number of up to 15 digits, as Float64: a whole number and a power of ten that doubles hold, divided."""
    regular = text.str.contains(r"^[-+]?[0-9]{1,15}(\.[0-9]{0,15})?$")
    bare = text.str.replace_all(".", "", literal=True)
    short = regular & (bare.str.len_bytes() <= 15)
    number = pl.when(short).then(bare).cast(pl.Int64).cast(pl.Float64)
    after = pl.when(short & text.str.contains(".", literal=True)).then(text)
    places = after.str.splitn(".", 2).struct.field("field_1").str.len_bytes().cast(pl.Int64).fill_null(0)
    powers = pl.Series([10.0**k for k in range(16)])
    divisor = places.replace_strict(pl.Series(range(16), dtype=pl.Int64), powers, default=None, return_dtype=pl.Float64)
    # Minus zero is a number of its own.
    sign = pl.when(text.str.starts_with("-") & (number == 0)).then(-1.0).otherwise(1.0)
    lost = _may_be_float(text, short) if safe else short.not_()
    return checked(number / divisor * sign, lost, Failure.OUT_OF_RANGE, scope)


def _may_be_float(text: pl.Expr, regular: pl.Expr) -> pl.Expr:
    """Also 'nan', 'inf' and 'infinity'."""
    return regular.not_() & text.str.contains("[0-9nN]")

