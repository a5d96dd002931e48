"""Arrow IPC files (Feather V2), and streams, which are read into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from executor.sources.base import Source, engine_schema
from executor.sources.errors import opening
from executor.sources.memory import memory_table
from executor.sources.parquet import check_same_columns
from executor.sources.scanned import ScannedFile, ScannedTable, file_size, with_folder_columns
from planner import types
from planner.errors import UnsupportedError
from planner.record import record

_MAGIC = b"ARROW1"
_SAMPLE_ROWS = 8_192


@record
class IpcReader:
    """Scans an IPC file; the reader's own options are those of the storage."""

    storage: tuple[tuple[str, str], ...] = ()

    def open(self, path: str) -> pl.LazyFrame:
        return pl.scan_ipc(path, glob=False, storage_options=dict(self.storage) or None)

    def sample(self, path: str) -> pl.DataFrame:
        with opening(path, "Arrow IPC"):
            return self.open(path).head(_SAMPLE_ROWS).collect()


def ipc_table(
    name: str, paths: Sequence[str], hive: Sequence[Mapping[str, Any]], options: Mapping[str, object]
) -> Source:
    """Open Arrow IPC files.

    Raises:
        ExecutionError: a file is missing, unreadable or no Arrow file, or its columns differ from the first
        one's.
    """
    storage = tuple((k, str(v)) for k, v in options.items())
    if storage and not all("://" in p for p in paths):
        raise UnsupportedError(f"reading arrow has no option {storage[0][0]!r}")
    streams = [p for p in paths if "://" not in p and not _is_file_format(p)]
    if streams:
        return _streams(name, paths, hive)
    reader = IpcReader(storage)
    schemas, files = [], []
    for i, path in enumerate(paths):
        if "://" not in path:
            _check_types(path)
        with opening(path, "Arrow IPC"):
            frame = reader.open(path)
            schemas.append(frame.head(0).collect().to_arrow().schema)
            rows = int(frame.select(pl.len()).collect().item())
        check_same_columns(schemas[0], schemas[-1], paths[0], path)
        files.append(ScannedFile(path, file_size(path), rows, True, hive[i] if hive else {}))
    schema = with_folder_columns(engine_schema(schemas[0], name), hive)
    return ScannedTable(name, schema, reader, tuple(files))


def _check_types(path: str) -> None:
    """Check that Polars opens a file: it panics over types that it has not, wherever they stand.

    Raises:
        UnsupportedError: it does not.
    """
    with opening(path, "Arrow IPC"), pa.memory_map(path) as source:
        schema = pa.ipc.open_file(source).schema
    for column in schema:
        if not _is_known(column.type):
            raise UnsupportedError(
                f'column "{column.name}" of {path} has the type {column.type}, with which the file cannot be read yet'
            )


def _is_known(dtype: pa.DataType) -> bool:
    if pa.types.is_decimal(dtype):
        return bool(dtype.precision <= types.MAX_PRECISION)
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return _is_known(dtype.value_type)
    if pa.types.is_struct(dtype) or pa.types.is_map(dtype):
        return all(_is_known(dtype.field(i).type) for i in range(dtype.num_fields))
    return not (pa.types.is_nested(dtype) or pa.types.is_interval(dtype) or pa.types.is_run_end_encoded(dtype))


def _is_file_format(path: str) -> bool:
    with opening(path, "Arrow IPC"), open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _streams(name: str, paths: Sequence[str], hive: Sequence[Mapping[str, Any]]) -> Source:
    tables: list[pa.Table] = []
    for path in paths:
        with opening(path, "Arrow IPC"), pa.memory_map(path) as source:
            is_file = _is_file_format(path)
            tables.append((pa.ipc.open_file if is_file else pa.ipc.open_stream)(source).read_all())
        check_same_columns(tables[0].schema, tables[-1].schema, paths[0], path)
    if hive:
        raise UnsupportedError("folders with key=value names cannot be read as columns beside Arrow streams")
    return memory_table(name, pa.concat_tables(tables))
