"""CSV: delimiter, header and types are told from a sample, as far as the options leave them open.

An empty field is NULL, quoted or not, unless ``nullstr`` says what is; then it is an empty text. A line with fewer
values than columns within the sample is an error; further down the file its last columns are empty.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from executor.dtypes import polars_dtype
from executor.sources.base import Source
from executor.sources.csv_records import Dialect, empty_lines, records
from executor.sources.csv_sniff import Sample, sniff
from executor.sources.errors import opening
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
from planner.file_format import truth
from planner.record import record

# The types that Polars' parser reads by itself; every other one is read as text and converted.
_NATIVE = (types.BIGINT, types.DOUBLE)


@record
class CsvReader:
    """Scans CSV files of known columns. ``native`` are those that the parser reads as their type."""

    dialect: Dialect
    columns: tuple[tuple[str, pa.DataType], ...]
    native: frozenset[str]
    storage: tuple[tuple[str, str], ...] = ()

    def open(self, path: str) -> pl.LazyFrame:
        found = empty_lines(path, self.dialect)
        if found.first or (found.later and not self.dialect.reads_empty_lines(len(self.columns))):
            schema = {c: self._parsed(c) for c, _ in self.columns}
            frame = register_io_source(lambda *asked: self._records(path, *asked), schema=schema)
        else:
            frame = self._parse(path, self.dialect.skip + self.dialect.header)
        converted = [(c, t) for c, t in self.columns if c not in self.native and t != types.VARCHAR]
        return frame.with_columns(convert(c, t) for c, t in converted)

    def _parsed(self, column: str) -> pl.DataType:
        """What the parser makes of a column."""
        return polars_dtype(dict(self.columns)[column]) if column in self.native else pl.String()

    def _parse(self, source: str | io.BytesIO, skip: int) -> pl.LazyFrame:
        dialect = self.dialect
        return pl.scan_csv(
            source,
            has_header=False,
            skip_rows=skip,
            schema={c: polars_dtype(t) if c in self.native else pl.String() for c, t in self.columns},
            separator=dialect.delimiter,
            quote_char=dialect.quote or None,
            comment_prefix=dialect.comment or None,
            null_values=list(dialect.nulls),
            empty_string_is_null="" in dialect.nulls,
            decimal_comma=dialect.decimal_comma,
            ignore_errors=dialect.ignore_errors,
            raise_if_empty=False,
            glob=False,
            storage_options=dict(self.storage) or None,
        )

    def _records(
        self, path: str, columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        """The rows of a file with empty lines, as Polars asks a source for them."""
        skip = self.dialect.header
        for text in records(path, self.dialect, len(self.columns)):
            frame = self._parse(io.BytesIO(text), skip)
            skip = 0
            if rows is not None:
                frame = frame.head(rows)
            found = (frame if columns is None else frame.select(columns)).collect()
            if rows is not None:
                rows -= found.height
            yield found if predicate is None else found.filter(predicate)
            if rows == 0:
                return

    def sample(self, path: str) -> pl.DataFrame:
        with opening(path, "CSV"):
            return self.open(path).head(8_192).collect()


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
    native = frozenset(
        c for c, t in columns if t in _NATIVE and all(_is_plain(s.rows.get_column(c), s.dialect) for s in found)
    )
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


def _is_plain(values: pl.Series, dialect: Dialect) -> bool:
    """Whether the parser takes the numbers as they are: it takes no spaces around them, and empty fields for NULL."""
    return "" in dialect.nulls and not values.str.contains(r"\s").any()


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
            case "delim" | "sep" | "delimiter", str(text) if len(text) == 1 or text == "\\t":
                found = replace(found, dialect=replace(dialect, delimiter="\t" if text == "\\t" else text))
            case "quote", str(text) if len(text) <= 1:
                found = replace(found, dialect=replace(dialect, quote=text))
            case "escape", str(text) if text in ("", dialect.quote):
                continue  # a doubled quote, which is how quotes are written anyway
            case "comment", str(text):
                found = replace(found, dialect=replace(dialect, comment=text))
            case "skip", int(count) if count >= 0:
                found = replace(found, dialect=replace(dialect, skip=count))
            case "nullstr" | "null", str(text):
                found = replace(found, dialect=replace(dialect, nulls=(text,)))
            case "nullstr" | "null", [*texts] if texts and all(isinstance(t, str) for t in texts):
                found = replace(found, dialect=replace(dialect, nulls=tuple(map(str, texts))))
            case "decimal_separator", "," | ".":
                found = replace(found, dialect=replace(dialect, decimal_comma=value == ","))
            case "ignore_errors", _ if (flag := truth(value)) is not None:
                found = replace(found, dialect=replace(dialect, ignore_errors=flag))
            case "header", _ if (flag := truth(value)) is not None:
                found = replace(found, header=flag)
            case "names" | "column_names", [*names] if all(isinstance(n, str) for n in names):
                found = replace(found, names=tuple(map(str, names)))
            case "all_varchar", _ if (flag := truth(value)) is not None:
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
