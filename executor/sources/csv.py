"""CSV: delimiter, header and types are told from a sample, as far as the options leave them open.

An empty field is NULL, quoted or not. A line with fewer values than columns within the sample is an error;
further down the file its last columns are NULL.
"""

from __future__ import annotations

import io
import mmap
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import polars as pl
import pyarrow as pa

from executor.dtypes import polars_dtype
from executor.sources.base import Source
from executor.sources.csv_sniff import Dialect, Sample, sniff
from executor.sources.errors import opening
from executor.sources.parquet import FileKey, file_key
from executor.sources.scanned import (
    ScannedFile,
    ScannedTable,
    check_same_names,
    file_size,
    with_folder_columns,
)
from executor.sources.text_sample import is_packed, read_sample
from executor.sources.text_types import convert, text_type
from planner import types
from planner.errors import ExecutionError, UnsupportedError
from planner.record import record

# The types that Polars' parser reads by itself; every other one is read as text and converted.
_NATIVE = (types.BIGINT, types.DOUBLE)
_BLANK_LINES = (b"\n\n", b"\n\r\n")
_SEARCHED = 64 << 20  # bytes at either end of a file that are searched for blank lines


@record
class CsvReader:
    """Scans CSV files of known columns. ``native`` are those that the parser reads as their type."""

    dialect: Dialect
    columns: tuple[tuple[str, pa.DataType], ...]
    native: frozenset[str]
    storage: tuple[tuple[str, str], ...] = ()

    def open(self, path: str) -> pl.LazyFrame:
        dialect = self.dialect
        schema = {c: polars_dtype(t) if c in self.native else pl.String() for c, t in self.columns}
        blank = len(self.columns) > 1 and has_blank_lines(path)
        empty = blank and _has_empty_records(path, dialect)
        frame = pl.scan_csv(
            _without_blank_lines(path, dialect) if empty else path,
            has_header=False,
            skip_rows=dialect.skip + dialect.header,
            schema=schema,
            separator=dialect.delimiter,
            quote_char=dialect.quote or None,
            comment_prefix=dialect.comment or None,
            null_values=list(dialect.nulls),
            decimal_comma=dialect.decimal_comma,
            ignore_errors=dialect.ignore_errors,
            raise_if_empty=False,
            glob=False,
            storage_options=dict(self.storage) or None,
        )
        if blank and not empty:
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
        converted = [(c, t) for c, t in self.columns if c not in self.native and t != types.VARCHAR]
        return frame.with_columns(convert(c, t) for c, t in converted)

    def sample(self, path: str) -> pl.DataFrame:
        with opening(path, "CSV"):
            return self.open(path).head(8_192).collect()


_blank_lines: dict[FileKey, bool] = {}
_empty_records: dict[tuple[FileKey, Dialect], bool] = {}


def has_blank_lines(path: str) -> bool:
    """Whether a local file has empty lines: the parser makes rows of NULLs of them."""
    if "://" in path:
        return False
    with opening(path, "CSV"):
        key = file_key(path)
        if key not in _blank_lines:
            if is_packed(path):
                text = read_sample(path, None, ()).data
            else:
                with open(path, "rb") as file:
                    text = file.read(_SEARCHED)
                    if key[2] > 2 * _SEARCHED:
                        file.seek(-_SEARCHED, os.SEEK_END)
                    text += file.read()
            _blank_lines[key] = text.startswith((b"\n", b"\r\n")) or any(b in text for b in _BLANK_LINES)
    return _blank_lines[key]


def _has_empty_records(path: str, dialect: Dialect) -> bool:
    """Whether a record has no value that is not NULL: the parser makes the same rows of it as of an empty line."""
    with opening(path, "CSV"):
        key = file_key(path), dialect
        if key not in _empty_records:
            _empty_records[key] = _search_empty_record(path, dialect)
    return _empty_records[key]


def _search_empty_record(path: str, dialect: Dialect) -> bool:
    quote = re.escape(dialect.quote.encode())
    value = b"|".join(re.escape(null.encode()) for null in dialect.nulls)
    value = b"(?:%b(?:%b)%b|%b)" % (quote, value, quote, value)
    record = re.compile(b"^%b(?:%b%b)+\r?$" % (value, re.escape(dialect.delimiter.encode()), value), re.MULTILINE)
    if is_packed(path):
        return record.search(read_sample(path, None, ()).data) is not None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return record.search(text) is not None


def _without_blank_lines(path: str, dialect: Dialect) -> io.BytesIO:
    """The file, in memory, without its empty lines; those inside quotes are part of a value."""
    with opening(path, "CSV"):
        text = read_sample(path, None, ()).data.removeprefix(b"\xef\xbb\xbf")
    lines = text.split(b"\n", dialect.skip)
    skipped, rest = lines[: dialect.skip], lines[-1]
    pieces = rest.split(dialect.quote.encode()) if dialect.quote else [rest]
    for i in range(0, len(pieces), 2):  # what is between these is quoted
        pieces[i] = re.sub(rb"\n(?:\r?\n)+", b"\n", pieces[i])
    pieces[0] = re.sub(rb"^(?:\r?\n)+", b"", pieces[0])
    return io.BytesIO(b"\n".join([*skipped, dialect.quote.encode().join(pieces)]))


def csv_table(
    name: str, paths: Sequence[str], hive: Sequence[Mapping[str, Any]], options: Mapping[str, object]
) -> Source:
    """Open CSV files.

    Raises:
        ExecutionError: a file is missing or unreadable, its lines do not agree on the number of values, or
        its columns
            differ from the first file's.
    """
    wanted = _options(options, remote=any("://" in p for p in paths))
    found = []
    for path in paths:
        with opening(path, "CSV"):
            text = read_sample(path, wanted.sample_rows, wanted.storage)
            found.append(sniff(path, text, wanted.dialect, wanted.header, wanted.names))
    first = found[0]
    for path, other in zip(paths, found, strict=True):
        check_same_names(other.names, path, first.names, paths[0])
        if other.names != first.names or other.dialect != first.dialect:
            raise ExecutionError(
                f"{path} has its columns in another order, or other delimiters, than {paths[0]}",
                hint="read the files as separate tables",
            )
    columns = tuple((c, _type_of(c, [s.rows for s in found], wanted)) for c in first.names)
    native = frozenset(c for c, t in columns if t in _NATIVE and all(_is_plain(s.rows.get_column(c)) for s in found))
    reader = CsvReader(first.dialect, columns, native, wanted.storage)
    files = tuple(_file(p, s, hive[i] if hive else {}) for i, (p, s) in enumerate(zip(paths, found, strict=True)))
    schema = with_folder_columns(pa.schema(list(columns)), hive)
    return ScannedTable(name, schema, reader, files)


def _type_of(column: str, samples: Sequence[pl.DataFrame], wanted: _Options) -> pa.DataType:
    """The type that a column's text has in all samples."""
    if column in wanted.types:
        return wanted.types[column]
    if wanted.all_varchar:
        return types.VARCHAR
    values = pl.concat([s.get_column(column) for s in samples])
    if wanted.dialect.decimal_comma:
        values = values.str.replace(",", ".", literal=True)
    dtype = text_type(values)
    return types.VARCHAR if dtype == types.NULL else dtype


def _is_plain(values: pl.Series) -> bool:
    """Whether the parser takes the numbers as they are: it takes no spaces around them."""
    return not values.str.contains(r"\s").any()


def _file(path: str, sample: Sample, hive: Mapping[str, Any]) -> ScannedFile:
    """A file with as many rows as its size holds of the sample's rows."""
    size = file_size(path)
    if size is None:
        return ScannedFile(path, hive=hive)
    if sample.whole:
        return ScannedFile(path, size, sample.rows.height, False, hive)
    bytes_a_row = max(sample.bytes / max(sample.rows.height, 1), 1)
    return ScannedFile(path, size, int((4 * size if is_packed(path) else size) / bytes_a_row), False, hive)


# ------------------------------------------------------------------------------------------------------
# options


@record
class _Options:
    """What the user said; None and empty where it is to be found out."""

    dialect: Dialect = field(default_factory=Dialect)
    header: bool | None = None
    names: tuple[str, ...] = ()
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    all_varchar: bool = False
    sample_rows: int | None = 20_480
    storage: tuple[tuple[str, str], ...] = ()


def _options(options: Mapping[str, object], remote: bool) -> _Options:
    """The options of ``read_csv`` that are known, under DuckDB's names.

    Raises:
        UnsupportedError: there is no such option, or not with this value.
    """
    found = _Options()
    for key, value in options.items():
        dialect = found.dialect
        match key, value:
            case "delim" | "sep" | "delimiter", str(text) if len(text) == 1:
                found = replace(found, dialect=replace(dialect, delimiter=text))
            case "quote", str(text) if len(text) <= 1:
                found = replace(found, dialect=replace(dialect, quote=text))
            case "escape", str(text) if text in ("", dialect.quote):
                continue  # a doubled quote, which is how quotes are written anyway
            case "comment", str(text):
                found = replace(found, dialect=replace(dialect, comment=text))
            case "skip", int(count) if count >= 0:
                found = replace(found, dialect=replace(dialect, skip=count))
            case "nullstr" | "null", str(text):
                found = replace(found, dialect=replace(dialect, nulls=("", text)))
            case "decimal_separator", "," | ".":
                found = replace(found, dialect=replace(dialect, decimal_comma=value == ","))
            case "ignore_errors", bool(flag):
                found = replace(found, dialect=replace(dialect, ignore_errors=flag))
            case "header", bool(flag):
                found = replace(found, header=flag)
            case "names" | "column_names", [*names] if all(isinstance(n, str) for n in names):
                found = replace(found, names=tuple(map(str, names)))
            case "all_varchar", bool(flag):
                found = replace(found, all_varchar=flag)
            case "sample_size", int(count):
                found = replace(found, sample_rows=None if count < 0 else max(count, 1))
            case ("auto_detect", True) | ("compression", "auto" | "auto_detect") | ("encoding", "utf-8" | "utf8"):
                continue
            case _ if remote:
                found = replace(found, storage=(*found.storage, (key, str(value))))
            case _:
                raise UnsupportedError(
                    f"reading CSV has no option {key!r} with the value {value!r}",
                    hint="there are delim, quote, header, skip, comment, nullstr, names, all_varchar, "
                    "decimal_separator, ignore_errors and sample_size",
                )
    return found
