"""How rows are written to a file, and which format a file's name stands for."""

from __future__ import annotations

import os

from planner.record import record

EXTENSIONS = {
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet",
    ".csv": "csv", ".tsv": "csv",
    ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".arrow": "arrow", ".ipc": "arrow", ".feather": "arrow",
}  # fmt: skip
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}

_TRUTHS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


@record
class FileFormat:
    """How rows are written to a file.

    Args:
        form: "csv", "json", "parquet" or "arrow".
        header: whether CSV begins with the columns' names.
        delimiter: what stands between the values of CSV.
        quote: the character around a value of CSV that is quoted.
        escape: what stands before a quote within such a value.
        null: how CSV writes NULL; a value that is this text is quoted.
        force_quote: the places of the columns of CSV that are quoted, whatever their values.
        array: whether JSON is one array, rather than an object a line.
        compression: a codec's name, "uncompressed", or None for what the format usually has.
        compression_level: how much the codec tries, if it can be told.
        row_group_size: the rows of a group in Parquet, or a batch in Arrow.
    """

    form: str
    header: bool = True
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    null: str = ""
    force_quote: frozenset[int] = frozenset()
    array: bool = False
    compression: str | None = None
    compression_level: int | None = None
    row_group_size: int | None = None


def extension(path: str) -> str:
    """The extension that tells the format; that of a compression after it does not count, nor the query of
    a URL."""
    if "://" in path:
        path = path.split("?")[0]
    base, last = os.path.splitext(path.lower())
    return os.path.splitext(base)[1] if last in COMPRESSED else last


def compression_of(path: str) -> str | None:
    """The compression that a file's name stands for, if it stands for one."""
    return COMPRESSED.get(os.path.splitext(path.lower())[1])


def truth(value: object) -> bool | None:
    """What the value of an option says that is true or false; None if it is neither."""
    return _TRUTHS.get(str(value).lower()) if isinstance(value, bool | int | str) else None
