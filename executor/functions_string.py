"""Functions of strings."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence

import polars as pl
import pyarrow as pa

from executor.casts import to_text
from executor.function_forms import Function, by_row, plain
from executor.patterns import (
    converted,
    glob_regex,
    group_count,
    is_plain,
    like,
    regex_options,
    replacement_parts,
    rust_regex,
    rust_replacement,
    rust_replacements,
)
from executor.value import NotOnDevice, Scope, Value, literal_expr
from planner import types
from planner.errors import ExecutionError


def _text(value: Value, scope: Scope) -> pl.Expr:
    return value.expr if value.dtype == types.VARCHAR else to_text(value, scope)


def _searched(search: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Function:
    """A search for a text, NULL where that is, which cuDF finds nowhere."""

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        text, part = (a.expr for a in args)
        found = search(text, part)
        if scope.device == "gpu" and args[1].nullable:
            found = pl.when(part.is_not_null()).then(found)
        return Value(found, dtype)

    return compute


def _concat_operator(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    if dtype == types.BLOB:
        return by_row(lambda a, b: a + b)(args, dtype, scope)
    return Value(pl.concat_str([_text(a, scope) for a in args]), dtype)


def _concat(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    return Value(pl.concat_str([_text(a, scope).fill_null("") for a in args]), dtype, nullable=False)


def _concat_ws(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    separator, *rest = (_text(a, scope) for a in args)
    if args[0].is_literal and args[0].literal is not None:
        joined = pl.concat_str(rest, separator=args[0].literal, ignore_nulls=True)
        return Value(joined, dtype, nullable=False)
    # A separator stands before each value that has another one before it.
    pieces: list[pl.Expr] = []
    begun: pl.Expr = pl.lit(False)
    for piece in rest:
        full = pl.when(begun).then(pl.concat_str([separator, piece])).otherwise(piece)
        pieces.append(full.fill_null(""))
        begun = begun | piece.is_not_null()
    return Value(pl.when(separator.is_not_null()).then(pl.concat_str(pieces)), dtype)


# Characters of a text in cuDF, which takes no larger number; on the CPU no text is near as long.
_LONGEST = 2**31 - 1


def _substring(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, start = args[0].expr, args[1]
    length = args[2] if len(args) > 2 else None
    simple_start = start.is_literal and start.literal is not None and start.literal > 0
    simple_length = length is None or (length.is_literal and length.literal is not None and length.literal >= 0)
    if simple_start and simple_length:
        count = None if length is None else min(length.literal, _LONGEST)
        return Value(text.str.slice(min(start.literal - 1, _LONGEST), count), dtype)
    size = text.str.len_chars().cast(pl.Int64)
    at = start.expr.cast(pl.Int64)
    wanted = pl.lit(2**62, dtype=pl.Int64) if length is None else length.expr.cast(pl.Int64)
    zero = pl.lit(0, dtype=pl.Int64)
    first = pl.when(at > 0).then(at - 1).when(at < 0).then(size + at).otherwise(zero)
    count = pl.when(at == 0).then(pl.max_horizontal(wanted - 1, zero)).otherwise(wanted)
    # A negative length reaches backwards from the start.
    begin = pl.max_horizontal(pl.when(count < 0).then(first + count).otherwise(first), zero)
    end = pl.max_horizontal(pl.when(count < 0).then(first).otherwise(first + count), begin)
    if scope.device == "gpu":  # cuDF slices at constant places, but cuts heads and tails of any length
        result = text.str.tail(pl.max_horizontal(size - begin, zero)).str.head(pl.min_horizontal(end - begin, size))
    else:
        result = text.str.slice(begin, (end - begin).cast(pl.UInt64))
    known = at.is_not_null() & wanted.is_not_null()
    return Value(pl.when(known).then(result), dtype)


def _replace(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, what, by = args
    if what.is_literal and what.literal == "" and by.is_literal and by.literal is not None:
        return Value(text.expr, dtype)
    if what.is_literal and what.literal is not None and by.is_literal and by.literal is not None:
        return Value(text.expr.str.replace_all(what.literal, by.literal, literal=True), dtype)
    return by_row(lambda s, a, b: s.replace(a, b) if a else s)(args, dtype, scope)


def _strpos(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, part = args[0].expr, args[1].expr
    found = text.str.find(part, literal=True)  # in bytes
    before = text.cast(pl.Binary).bin.slice(0, found.cast(pl.Int64)).cast(pl.String).str.len_chars().cast(pl.Int64)
    position = pl.when(found.is_not_null()).then(before + 1).otherwise(pl.lit(0, dtype=pl.Int64))
    return Value(pl.when(text.is_not_null() & part.is_not_null()).then(position), dtype)


def _pad(left: bool) -> Function:
    def pad(text: str, length: int, fill: str) -> str:
        missing = length - len(text)
        if missing <= 0:
            return text[: max(length, 0)]
        if not fill:
            raise ExecutionError(f"cannot pad '{text}' with an empty string")
        filling = (fill * (missing // len(fill) + 1))[:missing]
        return filling + text if left else text + filling

    general = by_row(pad)

    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        text, length, fill = args
        simple = length.is_literal and fill.is_literal and fill.literal is not None and length.literal is not None
        if simple and len(fill.literal) == 1 and length.literal >= 0:
            cut = text.expr.str.slice(0, length.literal)
            padded = cut.str.pad_start if left else cut.str.pad_end
            return Value(padded(length.literal, fill.literal), dtype)
        return general(args, dtype, scope)

    return compute


MOST_PARTS = 64  # of a text, as columns


def _split_part(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, separator, index = args
    constant = all(a.is_literal and a.literal is not None for a in (separator, index))
    if not constant or separator.literal == "" or not 0 < index.literal <= MOST_PARTS:
        return by_row(_part)(args, dtype, scope)
    parts = text.expr.str.split_exact(separator.literal, index.literal).struct.field(f"field_{index.literal - 1}")
    return Value(pl.when(text.expr.is_not_null()).then(parts.fill_null("")), dtype, nullable=text.nullable)


def _part(text: str, separator: str, index: int) -> str:
    parts = text.split(separator) if separator else list(text)
    at = index - 1 if index > 0 else len(parts) + index if index < 0 else -1
    return parts[at] if 0 <= at < len(parts) else ""


def _pattern(
    value: Value, options: Value | None, scope: Scope, group: str = "", closing: str = ")"
) -> tuple[pl.Expr, bool]:
    """The regular expression with its options, and whether option g (every match) is among them.

    ``group`` opens a group of all that matches, ``closing`` closes it.
    """
    flags, every = regex_options(options.literal or "" if options is not None else "")
    opening, closing = group + flags, closing if group else ""
    if value.is_literal and value.literal is not None:
        return pl.lit(f"{opening}{rust_regex(value.literal, scope.device)}{closing}", dtype=pl.String), every
    return converted(value.expr, lambda regex: f"{opening}{rust_regex(regex, 'cpu')}{closing}"), every


def _regexp_matches(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    pattern, _ = _pattern(args[1], args[2] if len(args) > 2 else None, scope)
    return Value(args[0].expr.str.contains(pattern), dtype)


def _regexp_full_match(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    whole, _ = _pattern(args[1], args[2] if len(args) > 2 else None, scope, group="^(?:", closing=")$")
    return Value(args[0].expr.str.contains(whole), dtype)


def is_plain_replacement(args: Sequence[Value]) -> bool:
    """Whether a pattern without options matches only itself, and its replacement is constant too."""
    if not all(a.is_literal and a.literal is not None for a in args[1:]):
        return False
    pattern, _, *options = (a.literal for a in args[1:])
    flags, _ = regex_options(options[0] if options else "")
    return not flags and pattern != "" and is_plain(pattern)


def _regexp_replace(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    # In a group: what $ stands for is literal in polars 1.44 where the pattern is plain.
    pattern, every = _pattern(args[1], args[3] if len(args) > 3 else None, scope, group="(?:")
    word, by = args[1].literal, args[2]
    replace = args[0].expr.str.replace_all if every else args[0].expr.str.replace
    if is_plain_replacement(args):
        text = "".join(word if part == 0 else str(part) for part in replacement_parts(by.literal, groups=0))
        return Value(replace(word, text, literal=True), dtype)
    groups = group_count(word) if word is not None else None
    if by.is_literal and by.literal is not None:
        return Value(replace(pattern, pl.lit(rust_replacement(by.literal, groups), dtype=pl.String)), dtype)
    replaced = replace(pattern, rust_replacements(by.expr, groups))
    return Value(pl.when(by.expr.is_not_null()).then(replaced), dtype)


def _regexp_extract(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    on_gpu = scope.device == "gpu"  # which extracts groups alone, and so not the whole match
    pattern, _ = _pattern(args[1], args[3] if len(args) > 3 else None, scope, group="(" if on_gpu else "")
    group = int(args[2].literal) if len(args) > 2 and args[2].literal is not None else 0
    if on_gpu and group > (group_count(args[1].literal or "") or 0):
        raise NotOnDevice("a group that the pattern may not have")
    text = args[0].expr
    found = text.str.extract(pattern, group + on_gpu)
    return Value(pl.when(text.is_not_null() & args[1].expr.is_not_null()).then(found.fill_null("")), dtype)


def _like(ignore_case: bool) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        escape = args[2].literal if len(args) > 2 else None
        return Value(like(args[0].expr, args[1], escape, ignore_case, scope), dtype)

    return compute


def _glob(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    pattern = args[1]
    if pattern.is_literal:
        if pattern.literal is None:
            return Value(literal_expr(None, types.BOOLEAN), dtype)
        return Value(args[0].expr.str.contains(glob_regex(pattern.literal)), dtype)
    regex = pattern.expr.map_batches(
        lambda s: pl.Series([None if p is None else glob_regex(p) for p in s.to_list()], dtype=pl.String),
        return_dtype=pl.String(),
        is_elementwise=True,
    )
    return Value(args[0].expr.str.contains(regex), dtype)


def _code(of_empty: int) -> Function:
    return by_row(lambda s: ord(s[0]) if s else of_empty)


def _hash(name: str) -> Function:
    def digest(data: str | bytes) -> str:
        return hashlib.new(name, data.encode() if isinstance(data, str) else data, usedforsecurity=False).hexdigest()

    return by_row(digest)


def _hex(value: str | bytes | int) -> str:
    if isinstance(value, int):
        return f"{value & (2**64 - 1):X}"
    return (value.encode() if isinstance(value, str) else value).hex().upper()


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text if len(text) % 2 == 0 else "0" + text)
    except ValueError:
        raise ExecutionError(f"'{text}' is not hexadecimal") from None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ExecutionError(f"'{text}' is not base 64") from None


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ExecutionError("a BLOB is not UTF-8 text") from None


def _chr(code: int) -> str:
    try:
        return chr(code)
    except (ValueError, OverflowError):
        raise ExecutionError(f"{code} is not the code of a character") from None


def _translate(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, source, target = args
    if not all(a.is_literal and a.literal is not None for a in (source, target)):
        return by_row(lambda s, a, b: s.translate(str.maketrans(_translation(a, b))))(args, dtype, scope)
    table = _translation(source.literal, target.literal)
    replaced = text.expr.str.replace_many(list(table), list(table.values())) if table else text.expr
    return Value(replaced, dtype, nullable=text.nullable)


def _translation(source: str, target: str) -> dict[str, str]:
    """What each character becomes: of several in the source the first counts."""
    return {c: target[i : i + 1] for i, c in reversed(list(enumerate(source)))}


def _levenshtein(a: str, b: str) -> int:
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
        before = row
    return before[-1]


def _uuid(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    if scope.device == "gpu":
        raise NotOnDevice("UUIDs are made on the CPU")

    def draw(series: pl.Series) -> pl.Series:
        return pl.Series([str(uuid.uuid4()) for _ in range(len(series))], dtype=pl.String)

    return Value(pl.int_range(pl.len()).map_batches(draw, return_dtype=pl.String()), dtype, nullable=False)


_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


def _strip(side: str) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        method: Callable[..., pl.Expr] = getattr(args[0].expr.str, side)
        if len(args) == 1:
            return Value(method(_SPACES), dtype)
        characters = args[1]
        if characters.is_literal and characters.literal is not None:
            return Value(args[0].expr if characters.literal == "" else method(characters.literal), dtype)
        return Value(pl.when(characters.expr.is_not_null()).then(method(characters.expr)), dtype)

    return compute


def _edge(name: str) -> Function:
    def compute(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
        method: Callable[..., pl.Expr] = getattr(args[0].expr.str, name)
        if args[1].is_literal and args[1].literal is not None:
            return Value(method(max(-_LONGEST, min(int(args[1].literal), _LONGEST))), dtype)
        count = args[1].expr.cast(pl.Int64).clip(-_LONGEST, _LONGEST)
        return Value(pl.when(count.is_not_null()).then(method(count.fill_null(0))), dtype)

    return compute


def _repeat(args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    text, count = args[0].expr, args[1].expr
    known = text.is_not_null() & count.is_not_null()
    repeated = text.fill_null("").repeat_by(count.fill_null(0).clip(0, 2**31).cast(pl.UInt32)).list.join("")
    return Value(pl.when(known).then(repeated), dtype)


STRINGS: dict[str, Function] = {
    "length": plain(lambda s: s.str.len_chars().cast(pl.Int64)),
    "strlen": plain(lambda s: s.str.len_bytes().cast(pl.Int64)),
    "octet_length": plain(lambda s: s.bin.size().cast(pl.Int64)),
    "bit_length": plain(lambda s: s.str.len_bytes().cast(pl.Int64) * 8),
    "lower": plain(lambda s: s.str.to_lowercase()),
    "upper": plain(lambda s: s.str.to_uppercase()),
    "trim": _strip("strip_chars"),
    "ltrim": _strip("strip_chars_start"),
    "rtrim": _strip("strip_chars_end"),
    "substring": _substring,
    "left": _edge("head"),
    "right": _edge("tail"),
    "replace": _replace,
    "||": _concat_operator,
    "concat": _concat,
    "concat_ws": _concat_ws,
    "strpos": _strpos,
    "starts_with": _searched(lambda s, part: s.str.starts_with(part)),
    "ends_with": _searched(lambda s, part: s.str.ends_with(part)),
    "contains": _searched(lambda s, part: s.str.contains(part, literal=True)),
    "lpad": _pad(True),
    "rpad": _pad(False),
    "repeat": _repeat,
    "reverse": plain(lambda s: s.str.reverse()),
    "split_part": _split_part,
    "regexp_matches": _regexp_matches,
    "regexp_full_match": _regexp_full_match,
    "regexp_replace": _regexp_replace,
    "regexp_extract": _regexp_extract,
    "like": _like(False),
    "ilike": _like(True),
    "glob": _glob,
    "ascii": _code(0),
    "unicode": _code(-1),
    "chr": by_row(_chr),
    "md5": _hash("md5"),
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
    "translate": _translate,
    "hex": by_row(_hex),
    "bin": by_row(lambda n: f"{n & (2**64 - 1):b}"),
    "unhex": by_row(_unhex),
    "to_base64": by_row(lambda data: base64.b64encode(data).decode()),
    "from_base64": by_row(_from_base64),
    "encode": plain(lambda s: s.cast(pl.Binary)),
    "decode": by_row(_decode),
    "levenshtein": by_row(_levenshtein),
    "gen_random_uuid": _uuid,
}
