"""The records of a CSV file without its empty lines, piece by piece.

Polars' parser makes rows of NULLs of empty lines, as of records that hold no values: it cannot be told to leave them
out, and what it returns does not tell one from the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from executor.sources.errors import opening
from executor.sources.parquet import FileKey, file_key
from planner.errors import ExecutionError
from planner.record import record

_PIECE = 16 << 20  # bytes that are read and parsed at a time …
_FIRST_PIECE = 1 << 20  # … and at first: a sample, or a LIMIT, needs no more
_SEARCHED = 1 << 20  # bytes that are searched at a time: they stay in the processor's cache
_LONGEST = 256 << 20  # of a record: what has no end before that has a quote too many
_EMPTY_LINES = re.compile(rb"\n(?:\r?\n)+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@record
class Dialect:
    """How a file is written. ``header`` is the number of lines that names take; "" delimiter: to be found
    out."""

    delimiter: str = ""
    quote: str = '"'
    comment: str = ""
    skip: int = 0
    header: int = 0
    nulls: tuple[str, ...] = ("",)
    decimal_comma: bool = False
    ignore_errors: bool = False

    def reads_empty_lines(self, columns: int) -> bool:
        """Whether an empty line after the first record is one: the NULL of a single column."""
        return columns == 1 and "" in self.nulls


@record
class EmptyLines:
    """Where a file has empty lines: before its first record, and (perhaps in quotes) after it."""

    first: bool
    later: bool


_found: dict[tuple[FileKey, int, str], EmptyLines] = {}


def empty_lines(path: str, dialect: Dialect) -> EmptyLines:
    """Where the empty lines of a local file are, apart from its first lines (``skip``)."""
    if "://" in path:
        return EmptyLines(False, False)
    with opening(path, "CSV"):
        key = file_key(path), dialect.skip, dialect.comment
        if key not in _found:
            with pa.input_stream(path, compression="detect") as file:
                text = _after_skipped(file, dialect.skip)
                first = re.match(rb"(?:%b)*\r?\n" % _comment(dialect), text) is not None
                _found[key] = EmptyLines(first, _search(text, file))
    return _found[key]


def _search(text: bytes, file: pa.NativeFile) -> bool:
    while text:
        breaks = np.frombuffer(text, np.uint8) == ord("\n")
        if (breaks[1:] & breaks[:-1]).any() or b"\n\r\n" in text:
            return True
        piece = file.read(_SEARCHED)
        text = text[-2:] + piece if piece else b""
    return False


def records(path: str, dialect: Dialect, columns: int) -> Iterator[bytes]:
    """Whole records of a file, without its first lines (``skip``), comments and the empty lines that are no records.

    Raises:
        ExecutionError: the file cannot be read, or a record does not end.
    """
    quote = dialect.quote.encode()
    size, empty_too = _FIRST_PIECE, dialect.reads_empty_lines(columns)
    with opening(path, "CSV"), pa.input_stream(path, compression="detect") as file:
        rest, begun = _after_skipped(file, dialect.skip), False
        while True:
            piece = file.read(max(size, len(rest)))  # twice as much, so that long records are not searched often
            size = min(2 * size, _PIECE)
            text = rest + piece
            if not (empty_too and begun):
                text = from_first_record(text, dialect)
                begun = bool(text)
            if not empty_too:
                text = without_empty_lines(text, dialect)
            end = end_of_records(text, quote) if piece else len(text)
            if text[:end].strip(b"\r\n") or (end and empty_too):
                yield text[:end]
            if not piece:
                return
            rest = text[end:]
            if len(rest) > _LONGEST:
                raise ExecutionError(
                    f"{path} has a record of more than {_LONGEST >> 20} MB",
                    hint="a quote may be missing: read_csv('…', quote = '') reads quotes as text",
                )


def _after_skipped(file: pa.NativeFile, lines: int) -> bytes:
    """What has been read of a file and comes after its first lines."""
    text: bytes = file.read(_SEARCHED).removeprefix(_BYTE_ORDER_MARK)
    while lines and text:
        _, found, text = text.partition(b"\n")
        lines -= bool(found)
        text = text or file.read(_SEARCHED)
    return text


def from_first_record(text: bytes, dialect: Dialect) -> bytes:
    """Text without the empty lines, and the comments, that it begins with."""
    start = re.match(rb"(?:\r?\n|%b)*" % _comment(dialect), text)
    return text[start.end() :] if start is not None else text


def _comment(dialect: Dialect) -> bytes:
    """The pattern of a line that is a comment."""
    return rb"%b[^\n]*\n" % re.escape(dialect.comment.encode()) if dialect.comment else b"(?!)"


def without_empty_lines(text: bytes, dialect: Dialect) -> bytes:
    """Records without the empty lines, and the comments, between them; what is in quotes is part of a value.

    Args:
        text: it begins with a record; it may end within one.
        dialect: how it is written.
    """
    quote = dialect.quote.encode()
    if dialect.comment:
        return _without_comments(text, quote, _comment(dialect))
    kept: list[bytes] = []
    position = counted = 0
    inside = False
    for empty in _EMPTY_LINES.finditer(text):
        if quote:
            inside ^= text.count(quote, counted, empty.start()) % 2 == 1
            counted = empty.start()
        if not inside:
            kept.append(text[position : empty.start() + 1])
            position = empty.end()
    return b"".join([*kept, text[position:]]) if kept else text


def _without_comments(text: bytes, quote: bytes, comment: bytes) -> bytes:
    """Records without the comments, which may hold quotes, and the empty lines between them."""
    end = text.rfind(b"\n") + 1  # a comment at the end may be cut
    mark = re.escape(quote)
    quoted = rb"(%b[^%b]*(?:%b|\Z))" % (mark, mark, mark) if quote else b"((?!))"
    lines = re.compile(rb"%b|^(?:%b|\r?\n)" % (quoted, comment), re.MULTILINE)
    return lines.sub(rb"\1", text[:end]) + text[end:]


def end_of_records(text: bytes, quote: bytes) -> int:
    """Where the last whole record ends; 0 if there is none."""
    odd = text.count(quote) % 2 if quote else 0
    end = len(text)
    while (found := text.rfind(b"\n", 0, end)) >= 0:
        if not quote or text.count(quote, found) % 2 == odd:
            return found + 1
        end = text.rfind(quote, 0, found)  # the line break is in quotes: on before them
    return 0
