"""The options of COPY … TO: which there are for each format, and what their values mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from planner.errors import BindError, SqlrayError, UnsupportedError, nearest
from planner.file_format import FileFormat, compression_of, extension, truth

ALIASES = {"delim": "delimiter", "sep": "delimiter", "nullstr": "null"}
_ALWAYS = ("format", "overwrite_or_ignore", "overwrite")  # a file that is there is replaced anyway
_KNOWN = {
    "csv": ("header", "delimiter", "quote", "escape", "null", "force_quote", "compression"),
    "json": ("array", "compression"),
    "parquet": ("compression", "compression_level", "row_group_size"),
    "arrow": ("compression", "row_group_size"),
}
_CODECS = {
    "csv": ("auto", "uncompressed", "gzip", "zstd"),
    "json": ("auto", "uncompressed", "gzip", "zstd"),
    "parquet": ("uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4", "lz4_raw"),
    "arrow": ("uncompressed", "lz4", "zstd"),
}
_LEVELS = {"gzip": (1, 9), "zstd": (1, 22), "brotli": (0, 11)}

FORMS = tuple(_KNOWN)


def default_format(form: str, path: str) -> FileFormat:
    """How a file of a format and name is written if nothing else is said."""
    if form in ("csv", "json"):
        delimiter = "\t" if extension(path) == ".tsv" else ","
        return FileFormat(form, delimiter=delimiter, compression=compression_of(path))
    return FileFormat(form)


def with_option(format: FileFormat, name: str, value: Any, columns: Sequence[str]) -> FileFormat:
    """The format with one option set.

    Args:
        format: how the file is written so far.
        name: the option, in lower case, without aliases.
        value: a constant, a list of columns' names, or True if the option stands alone.
        columns: the names of all columns.

    Raises:
        UnsupportedError: the format has no such option, or not this value yet.
        BindError: the value does not fit the option.
    """
    if name not in _KNOWN[format.form] and name not in _ALWAYS:
        raise _unknown(format.form, name)
    match name, value:
        case "header" | "array" | "overwrite_or_ignore" | "overwrite", _ if (flag := truth(value)) is not None:
            if name == "header":
                return replace(format, header=flag)
            return replace(format, array=flag) if name == "array" else format
        case "delimiter", "\\t":
            return replace(format, delimiter="\t")
        case "delimiter", str() if _is_character(value):
            return replace(format, delimiter=value)
        case "quote", str() if _is_character(value):
            return replace(format, quote=value, escape=value if format.escape == format.quote else format.escape)
        case "escape", str() if _is_character(value):
            return replace(format, escape=value)
        case "null", str() if not set(value) & set("\r\n"):
            return replace(format, null=value)
        case "force_quote", list():
            return replace(format, force_quote=_places(value, columns))
        case "compression", str():
            return replace(format, compression=_codec(format, value.lower()))
        case "compression_level", int() if not isinstance(value, bool):
            return replace(format, compression_level=value)
        case "row_group_size", int() if not isinstance(value, bool) and value > 0:
            return replace(format, row_group_size=value)
        case _:
            raise BindError(f"{name.upper()} takes {_TAKES[name]}")


def check(format: FileFormat) -> None:
    """Raise BindError if options contradict each other."""
    if format.form == "csv":
        for name, text in (("DELIMITER", format.delimiter), ("NULL", format.null)):
            if format.quote in text:
                raise BindError(f"the QUOTE {format.quote!r} must not occur in the {name} {text!r}")
        if format.delimiter in format.null:
            raise BindError(f"the DELIMITER {format.delimiter!r} must not occur in the NULL {format.null!r}")
        if format.escape in format.delimiter:
            raise BindError(f"the ESCAPE {format.escape!r} must not occur in the DELIMITER {format.delimiter!r}")
    if format.compression_level is not None:
        limits = _LEVELS.get(format.compression or "zstd")
        if limits is None:
            raise BindError(f"the compression {format.compression} has no level")
        if not limits[0] <= format.compression_level <= limits[1]:
            raise BindError(f"COMPRESSION_LEVEL is {limits[0]} to {limits[1]} for {format.compression or 'zstd'}")


_TAKES = {
    "header": "true or false", "array": "true or false", "overwrite": "true or false",
    "overwrite_or_ignore": "true or false", "delimiter": "one ASCII character", "quote": "one ASCII character",
    "escape": "one ASCII character", "null": "a text without line breaks", "force_quote": "(column, …) or *",
    "compression": "the name of a codec", "compression_level": "an integer", "row_group_size": "a number of rows",
    "format": "csv, json, parquet or arrow",
}  # fmt: skip


def _unknown(form: str, name: str) -> SqlrayError:
    known = [k.upper() for k in (*_ALWAYS, *_KNOWN[form])]
    close = nearest(name.upper(), [*known, *(a.upper() for a, k in ALIASES.items() if k in _KNOWN[form])])
    meant = f'did you mean "{close}"? ' if close else ""
    return UnsupportedError(
        f"COPY TO a file of format {form} has no option {name.upper()}", hint=f"{meant}There are {', '.join(known)}"
    )


def _is_character(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text not in "\r\n\0"


def _places(names: Sequence[str], columns: Sequence[str]) -> frozenset[int]:
    if names == ["*"]:
        return frozenset(range(len(columns)))
    lowered = [c.lower() for c in columns]
    for name in names:
        if name.lower() not in lowered:
            close = nearest(name, list(columns))
            hint = f'did you mean "{close}"?' if close else f"its columns: {', '.join(columns)}"
            raise BindError(f'FORCE_QUOTE names a column "{name}", which the query does not have', hint=hint)
    return frozenset(lowered.index(n.lower()) for n in names)


def _codec(format: FileFormat, name: str) -> str | None:
    known = _CODECS[format.form]
    if name not in (*known, "none"):
        raise BindError(f"{format.form} has no compression {name!r}", hint=f"there are {', '.join(known)}")
    match name:
        case "auto":
            return format.compression  # by the file's name
        case "none":
            return "uncompressed"
        case _:
            return name
