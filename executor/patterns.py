"""LIKE, GLOB and regular expressions in the form that Polars' (Rust's) regular expressions take."""

from __future__ import annotations

import re
from collections.abc import Callable

import polars as pl

from executor.value import NotOnDevice, Scope, Value
from planner.devices import Device
from planner.errors import ExecutionError

_SPECIAL = set("\\.+*?()|[]{}^$#&-~ ")


def quote(text: str) -> str:
    """Text that a regular expression takes literally, in Rust's syntax and in cuDF's."""
    return "".join("\\" + c if c in _SPECIAL and c not in "#&-~ " else c for c in text)


def like_parts(pattern: str, escape: str | None) -> list[str]:
    """The pattern cut into literal pieces and the wildcards ``%`` and ``_`` (as themselves, marked by a NUL)."""
    parts: list[str] = []
    literal: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if escape and character == escape:
            at += 1
            if at == len(pattern):
                raise ExecutionError(f"the LIKE pattern '{pattern}' ends with its escape character")
            literal.append(pattern[at])
        elif character in "%_":
            if literal:
                parts.append("".join(literal))
                literal = []
            if not (character == "%" and parts and parts[-1] == "\0%"):
                parts.append("\0" + character)
        else:
            literal.append(character)
        at += 1
    if literal:
        parts.append("".join(literal))
    return parts


def like(text: pl.Expr, pattern: Value, escape: str | None, ignore_case: bool, scope: Scope) -> pl.Expr:
    """``text LIKE pattern``; ILIKE compares both in small letters."""
    if escape is not None and len(escape) > 1:
        raise ExecutionError(f"the escape '{escape}' is longer than one character")
    if ignore_case:
        text = text.str.to_lowercase()
    if not pattern.is_literal:
        return text.str.contains(_regex_of(pattern.expr, escape, ignore_case))
    if pattern.literal is None:
        return pl.lit(None, dtype=pl.Boolean)
    wanted = pattern.literal.lower() if ignore_case else pattern.literal
    return _like_constant(text, like_parts(wanted, escape), scope)


def _like_constant(text: pl.Expr, parts: list[str], scope: Scope) -> pl.Expr:
    match parts:
        case []:
            return text == ""
        case ["\0%"]:
            return text.is_not_null() | pl.lit(None, dtype=pl.Boolean)
        case [word] if word[0] != "\0":
            return text == word
        case [word, "\0%"] if word[0] != "\0":
            return text.str.starts_with(word)
        case ["\0%", word] if word[0] != "\0":
            return text.str.ends_with(word)
        case ["\0%", word, "\0%"] if word[0] != "\0":
            return text.str.contains(word, literal=True)
    anything, one = (r"[\s\S]*", r"[\s\S]") if scope.device == "gpu" else (".*", ".")
    begin, end = parts[0] != "\0%", parts[-1] != "\0%"
    inner = parts[0 if begin else 1 : len(parts) if end else -1]
    body = "".join(anything if p == "\0%" else one if p == "\0_" else quote(p) for p in inner)
    flags = "" if scope.device == "gpu" else "(?s)"
    return text.str.contains(f"{flags}{'^' if begin else ''}{body}{'$' if end else ''}")


def _like_regex(pattern: str, escape: str | None) -> str:
    parts = like_parts(pattern, escape)
    return "(?s)^" + "".join(".*" if p == "\0%" else "." if p == "\0_" else quote(p) for p in parts) + "$"


def _regex_of(pattern: pl.Expr, escape: str | None, ignore_case: bool) -> pl.Expr:
    """A column of LIKE patterns as a column of regular expressions."""
    if ignore_case:
        pattern = pattern.str.to_lowercase()

    return converted(pattern, lambda p: _like_regex(p, escape))


def converted(texts: pl.Expr, convert: Callable[[str], str]) -> pl.Expr:
    """A column of texts, each distinct one converted once."""

    def each(series: pl.Series) -> pl.Series:
        distinct = {s: None if s is None else convert(s) for s in series.unique().to_list()}
        return pl.Series(series.name, [distinct[s] for s in series.to_list()], dtype=pl.String)

    return texts.map_batches(each, return_dtype=pl.String(), is_elementwise=True)


def is_plain(regex: str) -> bool:
    """Whether a regular expression matches itself and nothing else."""
    return quote(regex) == regex


def glob_regex(pattern: str, device: Device = "cpu") -> str:
    """``*`` any characters, ``?`` one, ``[a-z]`` one of, ``[!a-z]`` none of, ``\\`` takes the next literally."""
    out, one = (["^"], r"[\s\S]") if device == "gpu" else (["(?s)^"], ".")
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            out.append(one + "*")
        elif character == "?":
            out.append(one)
        elif character == "[" and "]" in pattern[at + 2 :]:
            end = pattern.index("]", at + 2)
            inside = pattern[at + 1 : end]
            negated = inside[0] == "!"
            members = inside[1:] if negated else inside
            quoted = "".join("\\" + c if c in "\\[&~^" else c for c in members)
            out.append(f"[{'^' if negated else ''}{quoted}]")
            at = end
        elif character == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(quote(pattern[at]))
        else:
            out.append(quote(character))
        at += 1
    return "".join(out) + "$"


_ASCII_CLASSES = {"w": "0-9A-Za-z_", "d": "0-9", "s": r"\t\n\f\r "}


def rust_regex(regex: str, device: Device) -> str:
    r"""A regular expression as RE2 has it, in Rust's form (and cuDF's): ``\w``, ``\d``, ``\s`` and ``\b`` know ASCII
    alone, and the members of a class neither classes nor operators.

    Raises:
        NotOnDevice: the GPU has no form of it.
    """
    out: list[str] = []
    at = first = 0  # the place of a class's first member; 0 outside of classes
    while at < len(regex):
        piece = regex[at : at + 2] if regex[at] == "\\" else regex[at]
        members = _ASCII_CLASSES.get(piece[1:].lower())
        if members is not None:
            negated = piece[1].isupper()
            out.append(members if first and not negated else f"[{'^' if negated else ''}{members}]")
        elif piece in (r"\b", r"\B") and not first:
            if device == "gpu":
                raise NotOnDevice("the ends of words are found on the CPU")
            out.append(f"(?-u:{piece})")
        elif not first:
            out.append(piece)
            if piece == "[":
                first = at + 1
                if regex.startswith("^", first):
                    out.append("^")
                    at = first
                    first += 1
        elif piece == "]" and at > first:
            out.append(piece)
            first = 0
        elif regex.startswith("[:", at) and ":]" in regex[at:]:
            piece = regex[at : regex.index(":]", at) + 2]
            out.append(piece)
        else:
            out.append("\\" + piece if piece in ("[", "&", "~") else piece)
        at += len(piece)
    return "".join(out)


def regex_options(options: str) -> tuple[str, bool]:
    """DuckDB's regular expression options as inline flags, and whether ``g`` (every match) is among them.

    Raises:
        ExecutionError: an option that there is not.
    """
    flags, literal = "", False
    for option in options:
        match option:
            case "i":
                flags += "i"
            case "s":
                flags += "s"
            case "m" | "n" | "p":
                flags += "m"
            case "c" | "g" | " ":
                pass
            case "l":
                literal = True
            case _:
                raise ExecutionError(f"'{option}' is not a regular expression option", hint="c, i, l, m, s, g")
    if literal:
        raise ExecutionError("the regular expression option l is not supported", hint="use contains or replace")
    return (f"(?{flags})" if flags else ""), "g" in options


def group_count(regex: str) -> int | None:
    """How many groups a regular expression has, unless it is none."""
    try:
        return len(pl.Series([""]).str.extract_groups(rust_regex(regex, "cpu")).struct.fields)
    except pl.exceptions.ComputeError:
        return None


def replacement_parts(text: str, groups: int | None) -> list[str | int]:
    """The pieces of a replacement: text, and the groups that it names (``\\1``; ``\\0`` is the whole match).

    Raises:
        ExecutionError: a backslash before anything but a digit or a backslash, or a group beyond the pattern's.
    """
    parts: list[str | int] = []
    for piece in re.findall(r"\\.?|[^\\]+", text, re.DOTALL):
        if piece[0] != "\\":
            parts.append(piece)
        elif piece == r"\\":
            parts.append("\\")
        elif piece[1:] in [*"0123456789"]:
            parts.append(int(piece[1]))
        else:
            raise ExecutionError(f"the replacement '{text}' has a stray backslash", hint=r"write \\ for a backslash")
    most = max((p for p in parts if isinstance(p, int)), default=0)
    if groups is not None and most > groups:
        raise ExecutionError(f"the replacement '{text}' names group {most}, but the pattern has {groups}")
    return parts


def rust_replacement(text: str, groups: int | None) -> str:
    """A replacement in Rust's form."""
    parts = replacement_parts(text, groups)
    return "".join(f"${{{p}}}" if isinstance(p, int) else p.replace("$", "$$") for p in parts)


def rust_replacements(texts: pl.Expr, groups: int | None) -> pl.Expr:
    """A column of replacements in Rust's form."""
    return converted(texts, lambda text: rust_replacement(text, groups))
