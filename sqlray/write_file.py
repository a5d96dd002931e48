"""Rows written to a file in a format: the one way, for COPY and for the command's ``-o``."""

from __future__ import annotations

import contextlib
import gzip
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl
import pyarrow as pa

from planner.errors import ExecutionError, OutOfMemoryError, PlanError, UnsupportedError
from planner.file_format import FileFormat
from sqlray.result import unique_names
from sqlray.write_csv import write_csv
from sqlray.write_json import write_json

# A row group ends at either: rows, as in DuckDB; bytes, so that wide rows do not pile up.
_GROUP_ROWS = 122_880
_GROUP_BYTES = 128 << 20
_GZIP_LEVEL = 6


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file that appears under its name once it is complete, or not at all.

    A name that exists and is no plain file (a pipe, /dev/stdout) is written to directly.

    Raises:
        ExecutionError: it cannot be written.
    """
    target = Path(path).expanduser()
    try:
        if target.exists() and not target.is_file():
            if stat.S_ISDIR(target.stat().st_mode):
                raise ExecutionError(f"cannot write to '{path}': it is a directory")
            with target.open("wb") as out:
                yield out
            return
        # A link keeps pointing where it did: the file behind it is replaced.
        target = target.resolve()
        temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        with temporary.open("xb") as out:
            try:
                yield out
                out.close()  # what is left in the buffer may not fit on the disk
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise ExecutionError(f"cannot write to '{path}': {error.strerror or error}") from error


def write_rows(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    """Write rows in a format, batch by batch; returns their number.

    Raises:
        UnsupportedError: the format has no such type.
        ExecutionError: they cannot be written.
    """
    for field in schema:
        if format.form == "parquet" and (pa.types.is_interval(field.type) or pa.types.is_duration(field.type)):
            raise UnsupportedError(
                f'column "{field.name}" is an INTERVAL, which is not supported in Parquet', hint="cast it to VARCHAR"
            )
    names = unique_names(schema.names)  # formats find columns by their names
    schema = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    renamed = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches)
    try:
        return _write(schema, renamed, format, out)
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        if isinstance(error, MemoryError):
            raise OutOfMemoryError("there is no memory to write the rows") from error
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExecutionError(f"the rows cannot be written as {format.form}: {reason}") from error


def _write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    match format.form:
        case "csv":
            with _compressed(out, format) as stream:
                return write_csv(schema, batches, format, stream)
        case "json":
            with _compressed(out, format) as stream:
                return write_json(schema, batches, format, stream)
        case "arrow":
            return _write_arrow(schema, batches, format, out)
        case "parquet":
            return _write_parquet(schema, batches, format, out)
        case _:
            raise PlanError(f"no way to write a file of format {format.form}")


@contextlib.contextmanager
def _compressed(out: BinaryIO, format: FileFormat) -> Iterator[BinaryIO]:
    match format.compression:
        case None | "uncompressed":
            yield out
        case "gzip":  # Arrow's takes four times as long, for a file that is a thirtieth smaller
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, out, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        case codec:
            with pa.CompressedOutputStream(pa.PythonFile(out, "w"), codec) as stream:
                yield stream


def _write_arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    # A file can be mapped into memory and read from any place; a pipe takes the streaming form.
    new = pa.ipc.new_file if out.seekable() else pa.ipc.new_stream
    codec = None if format.compression == "uncompressed" else format.compression
    rows = 0
    with new(out, schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        for table in _groups(schema, batches, format.row_group_size):
            writer.write_table(table, max_chunksize=format.row_group_size)
            rows += table.num_rows
    return rows


def _write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    import pyarrow.parquet as pq

    codec = {"uncompressed": "none", "lz4_raw": "lz4"}.get(format.compression or "zstd", format.compression or "zstd")
    rows = 0
    with pq.ParquetWriter(out, schema, compression=codec, compression_level=format.compression_level) as writer:
        for table in _groups(schema, batches, format.row_group_size):
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return rows


def _groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch], size: int | None) -> Iterator[pa.Table]:
    """The rows in groups of ``size``, or of what is usual."""
    waiting: list[pa.RecordBatch] = []
    rows = held = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, (size or _GROUP_ROWS) - rows)
            waiting.append(piece)
            start, rows, held = start + piece.num_rows, rows + piece.num_rows, held + piece.nbytes
            if rows == (size or _GROUP_ROWS) or (size is None and held >= _GROUP_BYTES):
                yield pa.Table.from_batches(waiting, schema).combine_chunks()
                waiting, rows, held = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()
