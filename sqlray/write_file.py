"""Rows written to a file in a format: the one way, for COPY and for the command's ``-o``."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

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
# What is made text at a time: several times as large there.
_TEXT_ROWS = 50_000
_TEXT_BYTES = 16 << 20

_Writer = TypeVar("_Writer", bound="_Closable")


class _Closable(Protocol):
    def close(self) -> object: ...


# What this process was handed open.
_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file that appears under its name once it is complete, or not at all.

    A name that exists and is no plain file (a pipe, /dev/stdout) is written to directly.

    Raises:
        ExecutionError: it cannot be written.
    """
    target = _target(path)
    try:
        if isinstance(target, int):
            with os.fdopen(os.dup(target), "wb") as out:
                yield out
        elif target.is_dir():
            raise ExecutionError(f"cannot write to '{path}': it is a directory")
        elif target.exists() and not target.is_file():
            with target.open("wb") as out:
                yield out
        else:
            with _replacing(target) as out:
                yield out
    except OSError as error:
        if isinstance(error, BrokenPipeError) and isinstance(target, int):
            raise  # who reads what this process writes went away, as `head` does: the command ends quietly
        raise ExecutionError(f"cannot write to '{path}': {error.strerror or error}") from error


def _target(path: str) -> Path | int:
    """The file behind a name, and behind links, which keep pointing where they did; or the descriptor that it stands
    for: what is behind one has been written to before, and will be after."""
    try:
        named = Path(path).expanduser()
        whole = os.path.abspath(named)
        if whole in _STREAMS:
            return _STREAMS[whole]
        descriptor = _DESCRIPTOR.fullmatch(whole)
        return int(descriptor[1]) if descriptor else named.resolve()
    except (ValueError, RuntimeError) as error:  # a zero character, nobody's home, a link to itself
        raise ExecutionError(f"cannot write to '{path}': {error}") from error


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the target's place when it is complete; a file that is there keeps its permissions."""
    replaced = target.exists()
    if replaced and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    temporary = target.with_name(f".sqlray-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with temporary.open("xb") as out:
        try:
            if replaced:
                shutil.copymode(target, temporary)
            yield out
            out.close()  # what is left in the buffer may not fit on the disk
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


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
                return write_csv(schema, _pieces(batches), format, stream)
        case "json":
            with _compressed(out, format) as stream:
                return write_json(schema, _pieces(batches), format, stream)
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
            with _closing(gzip.GzipFile("", "wb", _GZIP_LEVEL, out, mtime=0)) as packed:
                yield cast(BinaryIO, packed)
        case codec:
            with _closing(pa.CompressedOutputStream(pa.PythonFile(out, "w"), codec)) as stream:
                yield stream


@contextlib.contextmanager
def _closing(writer: _Writer) -> Iterator[_Writer]:
    """Closes a writer. Where its rows ended early, that is told, and not that it cannot write its end then."""
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(Exception):
            writer.close()
        raise
    writer.close()


def _write_arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    # A file can be mapped into memory and read from any place; a pipe takes the streaming form.
    new = pa.ipc.new_file if out.seekable() else pa.ipc.new_stream
    codec = None if format.compression == "uncompressed" else format.compression
    rows = 0
    with _closing(new(out, schema, options=pa.ipc.IpcWriteOptions(compression=codec))) as writer:
        for table in _groups(schema, batches, format.row_group_size):
            writer.write_table(table, max_chunksize=format.row_group_size)
            rows += table.num_rows
    return rows


def _write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: FileFormat, out: BinaryIO) -> int:
    import pyarrow.parquet as pq

    codec = {"uncompressed": "none", "lz4_raw": "lz4"}.get(format.compression or "zstd", format.compression or "zstd")
    rows = 0
    level = format.compression_level
    with _closing(pq.ParquetWriter(out, schema, compression=codec, compression_level=level)) as writer:
        for table in _groups(schema, batches, format.row_group_size):
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return rows


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows in pieces that are small as text, too: a batch may be a whole table."""
    for batch in batches:
        rows = max(min(_TEXT_ROWS, batch.num_rows * _TEXT_BYTES // max(batch.nbytes, 1)), 1)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


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
