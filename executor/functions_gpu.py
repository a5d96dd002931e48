"""Functions in forms that cuDF has too, where it lacks what the CPU's forms are made of.

A form may know a part of all values alone: then it fails for the others, and the fragment runs again on the CPU. BLOBs
are text here, two hexadecimal digits a byte (see ``device_types``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import polars as pl
import pyarrow as pa

from executor.arithmetic import to_float
from executor.checks import Failure, checked
from executor.dtypes import polars_dtype
from executor.functions_string import MOST_PARTS, is_plain_replacement
from executor.parsing_gpu import WHITESPACE, moment_layout, parsed_moment
from executor.patterns import glob_regex, group_count, regex_options, replacement_parts, rust_regex
from executor.value import NotOnDevice, Scope, Value, bounds_of
from planner import types

Form = Callable[[Sequence[Value], pa.DataType, Scope], Value | None]

# ------------------------------------------------------------------------------------------------------ numbers


@cache
def _powers(base: int) -> tuple[pl.Series, pl.Series]:
    """The powers of a base that are normal doubles, and their exponents."""
    log = {2: np.log2, 10: np.log10}[base]
    low, high = {2: (-1022, 1023), 10: (-307, 308)}[base]
    pairs = [(float(f"1e{k}") if base == 10 else 2.0**k, float(k)) for k in range(low, high + 1)]
    exact = [(power, k) for power, k in pairs if log(power) == k]
    return pl.Series([p for p, _ in exact]), pl.Series([k for _, k in exact])


def _logarithm(x: pl.Expr, base: int) -> pl.Expr:
    """Exact for powers of the base, as the CPU's is."""
    powers, exponents = _powers(base)
    exact = x.replace_strict(powers, exponents, default=None, return_dtype=pl.Float64)
    return pl.coalesce(exact, x.log() / float(np.log(base)))


def _log(base: int) -> Form:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        numbers = [_logarithm(to_float(a, types.DOUBLE, scope), base) for a in args]
        return Value(numbers[0] if len(numbers) == 1 else numbers[1] / numbers[0], dtype)

    return compute


def _atan2(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    y, x = (to_float(a, types.DOUBLE, scope) for a in args)
    # Of two infinities the signs count, as those of zeros do.
    both = y.is_infinite() & x.is_infinite()
    up = pl.when(both).then(_sign(y)).otherwise(y)
    right = pl.when(both).then(_sign(x)).otherwise(x)
    angle = (up / right).arctan()
    half_turn = pl.when(_is_negative(y)).then(-np.pi).otherwise(np.pi)
    on_axis = pl.when(_is_negative(x)).then(half_turn).otherwise(y)  # y is a zero there
    straight = pl.when(y == 0).then(on_axis).when(y > 0).then(np.pi / 2).otherwise(-np.pi / 2)
    turned = pl.when(x < 0).then(angle + half_turn).otherwise(angle)
    result = pl.when(y.is_nan() | x.is_nan()).then(float("nan")).when(x == 0).then(straight).otherwise(turned)
    return Value(pl.when(y.is_not_null() & x.is_not_null()).then(result), dtype)


def _sign(x: pl.Expr) -> pl.Expr:
    return pl.when(x < 0).then(-1.0).otherwise(1.0)


def _is_negative(x: pl.Expr) -> pl.Expr:
    """Also of zeros."""
    return pl.when(x == 0).then(1 / x < 0).otherwise(x < 0)


def _bit_count(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    """Ones are counted in pairs, in fours, in bytes, and the bytes are summed by a product, 32 bits at a time."""
    value = args[0]
    width = value.dtype.bit_width
    if width <= 32:
        halves = [value.expr.cast(pl.Int64) & (2**width - 1)]
    else:
        lower, upper = (pl.lit(n, dtype=polars_dtype(value.dtype)) for n in (2**32 - 1, 2**32))
        halves = [(value.expr & lower).cast(pl.Int64), (value.expr // upper & lower).cast(pl.Int64)]
    counts = []
    for half in halves:
        pairs = half - (half // 2 & 0x5555_5555)
        fours = (pairs & 0x3333_3333) + (pairs // 4 & 0x3333_3333)
        octets = (fours + fours // 16) & 0x0F0F_0F0F
        counts.append((octets * 0x0101_0101 & 0xFFFF_FFFF) // 2**24)
    count = counts[0] if len(counts) == 1 else counts[0] + counts[1]
    return Value(count.cast(pl.Int8), dtype, bounds=(0, 64), nullable=value.nullable)


# ------------------------------------------------------------------------------------------------------ strings


def _strpos(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, part = args[0].expr, _constant(args[1], "a text is found in another only where it is constant")
    if part == "":
        return Value(pl.when(text.is_not_null()).then(pl.lit(1, dtype=pl.Int64)), dtype)
    before = text.str.splitn(part, 2).struct.field("field_0").str.len_chars().cast(pl.Int64)
    found = text.str.contains(part, literal=True)
    return Value(pl.when(found).then(before + 1).when(found.not_()).then(pl.lit(0, dtype=pl.Int64)), dtype)


def _constant(value: Value, reason: str) -> str:
    """The text of a constant that is not NULL.

    Raises:
        NotOnDevice: it is another value, for this reason.
    """
    if not value.is_literal or value.literal is None:
        raise NotOnDevice(f"{reason} on the GPU")
    return str(value.literal)


def _split_part(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value | None:
    """Parts counted from the end are those of the text turned round, unless separators may overlap."""
    text, separator, index = args
    if not all(a.is_literal and a.literal is not None for a in (separator, index)):
        return None
    word, at = str(separator.literal), -int(index.literal)
    overlaps = any(word.startswith(word[i:]) for i in range(1, len(word)))
    if word == "" or overlaps or not 0 < at <= MOST_PARTS:
        return None
    part = text.expr.str.reverse().str.split_exact(word[::-1], at).struct.field(f"field_{at - 1}").str.reverse()
    return Value(pl.when(text.expr.is_not_null()).then(part.fill_null("")), dtype, nullable=text.nullable)


_MOST_COPIES = 255


def _repeat(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    """As many copies as each bit of the number stands for."""
    text, count = args[0].expr, args[1]
    most = bounds_of(count)[1]
    if most > _MOST_COPIES:
        raise NotOnDevice(f"cuDF repeats no strings: up to {_MOST_COPIES} times they are put together")
    times = count.expr.cast(pl.Int64)
    pieces = []
    for k in range(max(most, 0).bit_length()):
        copies = pl.concat_str([text] * 2**k)
        pieces.append(pl.when((times > 0) & (times // 2**k % 2 == 1)).then(copies).otherwise(pl.lit("")))
    known = text.is_not_null() & times.is_not_null()
    return Value(pl.when(known).then(pl.concat_str([pl.lit(""), *pieces])), dtype)


def _regexp_replace(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value | None:
    if is_plain_replacement(args):
        return None
    text, pattern, by = args[0].expr, args[1], args[2]
    reason = "a pattern is replaced only where it and its replacement are constant"
    regex, replacement = rust_regex(_constant(pattern, reason), scope.device), _constant(by, reason)
    flags, every = regex_options(args[3].literal or "" if len(args) > 3 else "")
    if flags:
        raise NotOnDevice("the pattern needs a flag that cuDF does not have")
    if every or _matches_nothing(regex):
        raise NotOnDevice("cuDF replaces patterns nowhere")
    match = text.str.extract(regex, 0)
    before = text.str.extract(rf"^([\s\S]*?)(?:{regex})", 1)
    after = text.str.tail(_length(text) - _length(before) - _length(match))
    pieces = [before, *_replacement(replacement, text, regex), after]
    return Value(pl.when(match.is_not_null()).then(pl.concat_str(pieces)).otherwise(text), dtype)


def _length(text: pl.Expr) -> pl.Expr:
    return text.str.len_chars().cast(pl.Int64)


def _matches_nothing(regex: str) -> bool:
    """Whether a pattern matches the empty string, or may."""
    try:
        return re.compile(regex).search("") is not None
    except re.error:
        return True


def _replacement(replacement: str, text: pl.Expr, regex: str) -> list[pl.Expr]:
    """The pieces of a replacement: itself, and the groups that it names."""
    return [
        text.str.extract(regex, part).fill_null("") if isinstance(part, int) else pl.lit(part)
        for part in replacement_parts(replacement, group_count(regex))
    ]


def _glob(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value | None:
    pattern = args[1]
    if not pattern.is_literal or pattern.literal is None:
        return None
    return Value(args[0].expr.str.contains(glob_regex(pattern.literal, scope.device)), dtype)


# What the tables of characters hold: all of the first two planes but NUL, and so every script in use, and emoji.
_CODES = [*range(1, 0xD800), *range(0xE000, 0x20000)]


@cache
def _characters() -> tuple[pl.Series, pl.Series]:
    return pl.Series(_CODES, dtype=pl.Int32), pl.Series(map(chr, _CODES), dtype=pl.String)


def _code(of_empty: int) -> Form:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        codes, characters = _characters()
        first = args[0].expr.str.slice(0, 1)
        known = first.replace_strict(characters, codes, default=None, return_dtype=pl.Int32)
        code = pl.when(first == "").then(pl.lit(of_empty, dtype=pl.Int32)).otherwise(known)
        lost = first.is_not_null() & code.is_null()
        return Value(checked(code, lost, Failure.OUT_OF_RANGE, scope), dtype, nullable=args[0].nullable)

    return compute


def _chr(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    codes, characters = _characters()
    code = args[0].expr.cast(pl.Int32)
    character = code.replace_strict(codes, characters, default=None, return_dtype=pl.String)
    lost = code.is_not_null() & character.is_null()
    return Value(checked(character, lost, Failure.OUT_OF_RANGE, scope), dtype, nullable=args[0].nullable)


# --------------------------------------------------------------------------------------- bytes and their digits

_DIGITS = "0123456789ABCDEF"
_BITS = [f"{i:04b}" for i in range(16)]
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SIXES = [f"{i:06b}" for i in range(64)]
_ASCII = [chr(i) for i in range(1, 128)]
_PAIRS = [f"{i:02X}" for i in range(1, 128)]


def _hex(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    value = args[0]
    if value.dtype == types.BLOB:
        return Value(value.expr, dtype, nullable=value.nullable)
    if value.dtype == types.VARCHAR:
        return Value(_bytes_of(value.expr, scope), dtype, nullable=value.nullable)
    return Value(_number_in_hex(value), dtype, nullable=value.nullable)


def _bytes_of(text: pl.Expr, scope: Scope) -> pl.Expr:
    """The UTF-8 bytes of ASCII text."""
    digits = text.str.replace_many(_ASCII, _PAIRS)
    # Characters of several bytes, and NUL, are no pair of digits.
    lost = digits.str.len_bytes() != text.str.len_bytes() * 2
    return checked(digits, lost | (text.str.len_bytes() != text.str.len_chars()), Failure.OUT_OF_RANGE, scope)


def _number_in_hex(value: Value) -> pl.Expr:
    """Without leading zeros; a negative one in two's complement."""
    dtype = polars_dtype(value.dtype)
    low, high = bounds_of(value)
    count = 8 if low < 0 else max(-(-high.bit_length() // 8), 1)
    codes = pl.Series(range(256), dtype=dtype)
    pairs = pl.Series([f"{i:02X}" for i in range(256)])
    octets = [value.expr // pl.lit(256**k, dtype=dtype) % pl.lit(256, dtype=dtype) for k in reversed(range(count))]
    digits = [o.replace_strict(codes, pairs, default=None, return_dtype=pl.String) for o in octets]
    return _without_zeros(pl.concat_str(digits))


def _without_zeros(digits: pl.Expr) -> pl.Expr:
    shorter = digits.str.strip_chars_start("0")
    return pl.when(shorter == "").then(pl.lit("0")).otherwise(shorter)


def _bin(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    digits = _number_in_hex(args[0])
    return Value(_without_zeros(digits.str.replace_many(list(_DIGITS), _BITS)), dtype, nullable=args[0].nullable)


def _unhex(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    digits = args[0].expr.str.to_uppercase()
    even = pl.when(digits.str.len_bytes() % 2 == 0).then(digits).otherwise(pl.concat_str([pl.lit("0"), digits]))
    wrong = args[0].expr.str.contains("[^0-9A-Fa-f]")
    return Value(checked(even, wrong, Failure.OUT_OF_RANGE, scope), dtype, nullable=args[0].nullable)


def _to_base64(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    """Six bits a digit; three bytes are four digits."""
    data = args[0].expr
    rest = data.str.len_bytes() % 6  # hexadecimal digits: of no byte, one or two
    bits = data.str.replace_many(list(_DIGITS), _BITS)
    filling, tail = (
        pl.when(rest == 0).then(pl.lit("")).when(rest == 2).then(pl.lit(a)).otherwise(pl.lit(b))
        for a, b in (("0000", "00"), ("==", "="))
    )
    whole = pl.concat_str([bits, filling])
    coded = whole.str.replace_many(_SIXES, list(_BASE64))
    astray = coded.str.len_bytes() * 6 != whole.str.len_bytes()  # pieces are found one after the other, or it shows
    coded = checked(coded, astray, Failure.OUT_OF_RANGE, scope)
    return Value(pl.concat_str([coded, tail]), dtype, nullable=args[0].nullable)


def _from_base64(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text = args[0].expr
    wrong = text.str.contains("[^A-Za-z0-9+/=]|=[^=]|===") | (text.str.len_bytes() % 4 != 0)
    bits = text.str.strip_chars_end("=").str.replace_many(list(_BASE64), _SIXES)
    # What is left over of the bits, of which there are none, two or four, is dropped: they come in eights.
    rest = bits.str.len_bytes() % 8
    whole = bits
    for count in (2, 4):
        whole = pl.when(rest == count).then(bits.str.head(-count)).otherwise(whole)
    data = whole.str.replace_many(_BITS, list(_DIGITS))
    wrong = wrong | (rest == 6) | (data.str.len_bytes() * 4 != whole.str.len_bytes())
    return Value(checked(data, wrong, Failure.OUT_OF_RANGE, scope), dtype, nullable=args[0].nullable)


def _encode(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    return Value(_bytes_of(args[0].expr, scope), dtype, nullable=args[0].nullable)


def _decode(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    data = args[0].expr
    text = data.str.replace_many(_PAIRS, _ASCII)
    # Pairs that stand for no character stay two, and others may be misread after them: it shows in the length.
    lost = text.str.len_bytes() * 2 != data.str.len_bytes()
    return Value(checked(text, lost, Failure.OUT_OF_RANGE, scope), dtype, nullable=args[0].nullable)


def _octet_length(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    return Value(args[0].expr.str.len_bytes().cast(pl.Int64) // 2, dtype, nullable=args[0].nullable)


def _concat_bytes(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value | None:
    return Value(pl.concat_str([a.expr for a in args]), dtype) if dtype == types.BLOB else None


# -------------------------------------------------------------------------------------------------------- dates


def _strptime(safe: bool) -> Form:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value | None:
        if args[1].literal is None:
            return None
        text = args[0].expr.str.strip_chars(WHITESPACE)
        micros = parsed_moment(text, moment_layout(args[1].literal), safe, scope)
        return Value(micros.cast(pl.Datetime("us")), dtype)

    return compute


GPU_FORMS: Mapping[str, Form] = {
    "log10": _log(10),
    "log2": _log(2),
    "log": _log(10),
    "atan2": _atan2,
    "bit_count": _bit_count,
    "strpos": _strpos,
    "repeat": _repeat,
    "split_part": _split_part,
    "regexp_replace": _regexp_replace,
    "glob": _glob,
    "ascii": _code(0),
    "unicode": _code(-1),
    "chr": _chr,
    "hex": _hex,
    "bin": _bin,
    "unhex": _unhex,
    "to_base64": _to_base64,
    "from_base64": _from_base64,
    "encode": _encode,
    "decode": _decode,
    "octet_length": _octet_length,
    "||": _concat_bytes,
    "strptime": _strptime(False),
    "try_strptime": _strptime(True),
}
