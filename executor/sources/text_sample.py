"""The first lines of a text file, wherever it is and however it is packed."""

from __future__ import annotations

import os
from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from planner.record import record

_ROW_BYTES = 256  # at most, on average: how much to read for a sample of so many rows


@record
class Text:
    """The beginning of a file, to the end of a line; ``whole`` if it is all of it."""

    data: bytes
    whole: bool


def is_packed(path: str) -> bool:
    """Whether a file is compressed, by its name."""
    return os.path.splitext(path)[1].lower() in (".gz", ".zst", ".zstd")


def read_sample(path: str, rows: int | None, storage: Sequence[tuple[str, str]]) -> Text:
    """The first lines of a file, unpacked; of all of it if ``rows`` is None."""
    if "://" in path:
        return _read_remote(path, rows, storage)
    with pa.input_stream(path, compression="detect") as file:
        if rows is None:
            return Text(file.read(), True)
        limit = rows * _ROW_BYTES
        data = file.read(limit)
    if len(data) < limit:
        return Text(data, True)
    return Text(data[: data.rfind(b"\n") + 1] or data, False)


def _read_remote(path: str, rows: int | None, storage: Sequence[tuple[str, str]]) -> Text:
    """The lines as they are: a delimiter that does not occur, and no quotes."""
    scan = pl.scan_csv(
        path,
        has_header=False,
        separator="\x01",
        quote_char=None,
        infer_schema=False,
        glob=False,
        storage_options=dict(storage) or None,
    )
    frame = (scan if rows is None else scan.head(rows)).collect()
    lines = frame.to_series().fill_null("").to_list()
    return Text(("\n".join(lines) + "\n").encode(), rows is None or len(lines) < rows)
