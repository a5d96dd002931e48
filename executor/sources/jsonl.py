"""JSON: one object a line, or one array of objects. Types are told from a sample; text that is a date
becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from executor.sources.base import Source, engine_schema
from executor.sources.errors import opening
from executor.sources.memory import memory_table
from executor.sources.scanned import ScannedFile, ScannedTable, file_size, with_folder_columns
from executor.sources.text_sample import read_sample
from executor.sources.text_types import convert, text_type
from planner import types
from planner.errors import UnsupportedError
from planner.file_format import truth
from planner.record import record

_SAMPLE_ROWS = 20_480
_NO_KEYS: dict[str, pl.DataType] = {"json": pl.String()}  # the columns where no object has a key, as in DuckDB
_DATES = (types.DATE, types.TIMESTAMP, types.TIME)


@record
class JsonReader:
    """Scans lines of JSON with known columns; ``dates`` are the text columns that hold dates and times."""

    columns: tuple[tuple[str, pl.DataType], ...]
    dates: tuple[tuple[str, pa.DataType], ...] = ()
    storage: tuple[tuple[str, str], ...] = ()

    def open(self, path: str) -> pl.LazyFrame:
        frame = pl.scan_ndjson(path, schema=dict(self.columns), storage_options=dict(self.storage) or None)
        return frame.with_columns(convert(c, t) for c, t in self.dates)

    def sample(self, path: str) -> pl.DataFrame:
        with opening(path, "JSON"):
            return self.open(path).head(8_192).collect()


def json_table(
    name: str, paths: Sequence[str], hive: Sequence[Mapping[str, Any]], options: Mapping[str, object]
) -> Source:
    """Open JSON files. A key that some objects or files lack is NULL there.

    Raises:
        ExecutionError: a file is missing, unreadable or not JSON.
    """
    remote = any("://" in p for p in paths)
    sample_rows, storage = _options(options, remote)
    if not remote and any(_is_array(p) for p in paths):
        return _arrays(name, paths, hive)
    found: list[tuple[pl.Schema, pl.DataFrame]] = []
    for path in paths:
        with opening(path, "JSON"):
            text = read_sample(path, sample_rows, storage)
            sample = pl.read_ndjson(text.data, infer_schema_length=None) if text.data.strip() else pl.DataFrame()
            found.append((sample.schema, sample))
    columns = _union_of([schema for schema, _ in found]) or _NO_KEYS
    texts = [c for c, t in columns.items() if t == pl.String]
    dates = tuple((c, t) for c in texts if (t := _date_type([s for _, s in found], c)) is not None)
    reader = JsonReader(tuple(columns.items()), dates, storage)
    with opening(paths[0], "JSON"):
        frame = pl.DataFrame(schema=columns).lazy().with_columns(convert(c, t) for c, t in dates)
        schema = engine_schema(frame.collect().to_arrow().schema, name)
    files = tuple(_file(p, s, hive[i] if hive else {}) for i, (p, (_, s)) in enumerate(zip(paths, found, strict=True)))
    return ScannedTable(name, with_folder_columns(schema, hive), reader, files)


def _options(options: Mapping[str, object], remote: bool) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """Rows to tell the types from (None: all), and options for the storage of a URL."""
    rows: int | None = _SAMPLE_ROWS
    storage: list[tuple[str, str]] = []
    for key, value in options.items():
        match key, value:
            case "sample_size", int(count):
                rows = None if count < 0 else max(count, 1)
            case ("format", "auto" | "newline_delimited" | "array") | ("auto_detect", True):
                continue
            case "array", _ if truth(value) is not None:
                continue  # of COPY; which it is can be seen
            case _ if remote:
                storage.append((key, str(value)))
            case _:
                raise UnsupportedError(f"reading JSON has no option {key!r} with the value {value!r}")
    return rows, tuple(storage)


def _is_array(path: str) -> bool:
    with opening(path, "JSON"), pa.input_stream(path, compression="detect") as file:
        return bool(file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["))


def _arrays(name: str, paths: Sequence[str], hive: Sequence[Mapping[str, Any]]) -> Source:
    """Files that are arrays have no rows to scan: they are read into memory."""
    frames = []
    for i, path in enumerate(paths):
        with opening(path, "JSON"), pa.input_stream(path, compression="detect") as file:
            data = file.read()
            frame = pl.read_json(data, infer_schema_length=None) if _is_array(path) else pl.read_ndjson(data)
        constants = [pl.lit(v).alias(c) for c, v in (hive[i] if hive else {}).items()]
        frames.append(frame.with_columns(constants))
    whole = pl.concat(frames, how="diagonal_relaxed")
    if not whole.width:
        whole = pl.DataFrame({"json": [None] * whole.height}, schema=_NO_KEYS)
    dates = [(c, t) for c, t in whole.schema.items() if t == pl.String]
    found = [(c, t) for c, _ in dates if (t := _date_type([whole], c)) is not None]
    return memory_table(name, whole.with_columns(convert(c, t) for c, t in found))


def _union_of(schemas: Sequence[pl.Schema]) -> dict[str, pl.DataType]:
    """All keys, each with a type that holds its values in every file; text where there is no other."""
    columns: dict[str, pl.DataType] = {}
    for schema in schemas:
        for column, dtype in schema.items():
            known = columns.get(column, pl.Null())
            if known == pl.Null():
                columns[column] = dtype
            elif dtype not in (known, pl.Null()):
                both_numbers = known.is_numeric() and dtype.is_numeric()
                columns[column] = pl.Float64() if both_numbers else pl.String()
    wide = {pl.Null(): pl.String(), pl.Int128(): pl.Float64()}
    return {c: wide.get(t, t) for c, t in columns.items()}


def _date_type(samples: Sequence[pl.DataFrame], column: str) -> pa.DataType | None:
    """The type of dates or times that every text of ``column`` is, in all samples."""
    kinds = {text_type(s.get_column(column)) for s in samples if s.schema.get(column) == pl.String}
    kinds.discard(types.NULL)
    return kinds.pop() if len(kinds) == 1 and kinds <= set(_DATES) else None


def _file(path: str, sample: pl.DataFrame, hive: Mapping[str, Any]) -> ScannedFile:
    """A file whose rows are guessed from the size of the sample's rows."""
    size = file_size(path)
    if size is None or not sample.height:
        return ScannedFile(path, size, None if size is None else 0, False, hive)
    lines = sample.head(100).write_ndjson()
    rows = int(size / max(len(lines) / min(sample.height, 100), 1))
    return ScannedFile(path, size, max(rows, sample.height), False, hive)
