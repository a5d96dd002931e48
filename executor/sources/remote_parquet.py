"""Parquet at URLs — s3, gs, az, http(s), hf — through the readers that Polars has of its own.

Globs and directories with ``key=value`` folders are expanded there too. Credentials come from the
environment, or from options named as the object store names them (``aws_region``, ``aws_endpoint_url``, …).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from executor.sources.base import Source, engine_schema
from executor.sources.errors import opening
from executor.sources.parquet import check_same_columns
from executor.sources.scanned import ScannedFile, ScannedTable
from planner.record import record

_SAMPLE_ROWS = 8_192


@record
class RemoteParquetReader:
    """Scans a Parquet file, a glob or a directory at a URL."""

    storage: tuple[tuple[str, str], ...] = ()

    def open(self, path: str) -> pl.LazyFrame:
        return pl.scan_parquet(path, storage_options=dict(self.storage) or None)

    def sample(self, path: str) -> pl.DataFrame:
        with opening(path, "Parquet"):
            return self.open(path).head(_SAMPLE_ROWS).collect()


def remote_parquet_table(name: str, paths: Sequence[str], options: Mapping[str, object]) -> Source:
    """Open Parquet at URLs: reads the footers.

    Raises:
        ExecutionError: an address cannot be read, or its columns differ from the first one's.
    """
    reader = RemoteParquetReader(tuple((k, str(v)) for k, v in options.items()))
    schemas, files = [], []
    for path in paths:
        with opening(path, "Parquet"):
            frame = reader.open(path)
            schemas.append(frame.head(0).collect().to_arrow().schema)
            rows = int(frame.select(pl.len()).collect().item())
        check_same_columns(schemas[0], schemas[-1], paths[0], path)
        files.append(ScannedFile(path, None, rows, True))
    return ScannedTable(name, engine_schema(schemas[0], name), reader, tuple(files))
