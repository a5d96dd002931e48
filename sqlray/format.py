"""Results written as a table, CSV, JSON, Markdown, Arrow or Parquet, to a stream or whole into a file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from planner.errors import ExecutionError, SqlrayError
from planner.types import is_numeric
from sqlray.format_table import render_table, take_preview
from sqlray.format_values import pad, python_values, text_values, value_text
from sqlray.options import Options
from sqlray.result import Result, unique_names

FORMATS = ("table", "csv", "json", "markdown", "arrow", "parquet")
BINARY_FORMATS = ("arrow", "parquet")

_SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".md": "markdown",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".parquet": "parquet",
}


def format_of(path: str) -> str | None:
    """The format that a file's name stands for, if it stands for one."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def write_result(result: Result, form: str, out: BinaryIO, options: Options, *, width: int = 0) -> int:
    """Write a result's rows in a format; a table is cut to `width`. Returns the number of rows."""
    match form:
        case "table":
            return _write_table(result, out, options, width)
        case "csv":
            return _write_csv(result, out)
        case "json":
            return _write_json(result, out)
        case "markdown":
            return _write_markdown(result, out, options)
        case "arrow":
            return _write_arrow(result, out)
        case "parquet":
            return _write_parquet(result, out)
        case _:
            raise ExecutionError(f"there is no format '{form}'", hint="formats: " + ", ".join(FORMATS))


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file that appears under its name once it is complete, or not at all.

    A name that exists and is no plain file (a pipe, /dev/stdout) is written to directly.
    """
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            if stat.S_ISDIR(target.stat().st_mode):
                raise ExecutionError(f"cannot write to '{path}': it is a directory")
            with target.open("wb") as out:
                yield out
            return
        # A link keeps pointing where it did: the file behind it is replaced.
        target = target.resolve()
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("xb") as out:
                yield out
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise ExecutionError(f"cannot write to '{path}': {error.strerror or error}") from error


def _write_table(result: Result, out: BinaryIO, options: Options, width: int) -> int:
    if not result.columns:
        out.write(f"{result.message or ''}\n".encode())
        return 0
    preview = take_preview(result.schema, result.batches(), options.max_rows)
    text = render_table(preview, max_width=width, null=options.null_text)
    out.write(text.encode(errors="replace") + b"\n")
    return preview.num_rows


def _write_csv(result: Result, out: BinaryIO) -> int:
    import polars as pl

    header = ",".join(_csv_name(name) for name in result.columns)
    out.write(header.encode() + b"\n")
    names = [str(index) for index in range(len(result.columns))]
    rows = 0
    for batch in result.batches():
        rows += batch.num_rows
        if not batch.num_rows:
            continue
        table = pa.Table.from_batches([batch]).rename_columns(names)
        for index, field in enumerate(table.schema):
            if not _polars_writes(field.type):
                text = pa.array(
                    [None if v is None else value_text(v) for v in python_values(table.column(index))],
                    pa.string(),
                )
                table = table.set_column(index, field.name, text)
        frame = cast(pl.DataFrame, pl.from_arrow(table))
        # "%.f" writes a fraction of a second only where there is one.
        text = frame.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.f", time_format="%H:%M:%S%.f")
        out.write(text.encode())
    return rows


def _csv_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\r\n') or not name else name


def _polars_writes(dtype: pa.DataType) -> bool:
    """Whether Polars writes the type into CSV in SQL's notation."""
    if pa.types.is_timestamp(dtype):
        return dtype.tz is None
    return not (
        pa.types.is_interval(dtype)
        or pa.types.is_duration(dtype)
        or pa.types.is_nested(dtype)
        or pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_binary_view(dtype)
        or pa.types.is_fixed_size_binary(dtype)
    )


def _write_json(result: Result, out: BinaryIO) -> int:
    keys = [json.dumps(name, ensure_ascii=False) + ":" for name in unique_names(result.columns)]
    rows = 0
    start = "["
    for batch in result.batches():
        cells = [
            [key + text for text in map(_json_of(column.type), python_values(pa.chunked_array([column])))]
            for key, column in zip(keys, batch.columns, strict=True)
        ]
        for row in zip(*cells, strict=True):
            out.write(f"{start}{{{','.join(row)}}}".encode())
            start = ",\n"
        rows += batch.num_rows
    out.write(b"]\n" if rows else b"[]\n")
    return rows


def _json_of(dtype: pa.DataType) -> Callable[[Any], str]:
    if pa.types.is_integer(dtype):
        return lambda value: "null" if value is None else str(value)
    if dtype == pa.float32():
        return lambda value: "null" if value is None or not math.isfinite(value) else str(np.float32(value))
    return json_text


def json_text(value: object) -> str:
    """A value as JSON: decimals with every digit; null for NaN and infinities, which JSON does not have."""
    match value:
        case None:
            return "null"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else "null"
        case Decimal():
            return format(value, "f")
        case list():
            return "[" + ",".join(map(json_text, value)) + "]"
        case dict():
            return "{" + ",".join(f"{json.dumps(str(k))}:{json_text(v)}" for k, v in value.items()) + "}"
        case _:
            return json.dumps(value_text(value), ensure_ascii=False)


def _write_markdown(result: Result, out: BinaryIO, options: Options) -> int:
    table = result.to_arrow()
    columns = [
        [_markdown_cell(text) for text in [name, *text_values(column, options.null_text)]]
        for name, column in zip(result.columns, table.columns, strict=True)
    ]
    right = [is_numeric(field.type) for field in table.schema]
    widths = [max(3, *map(len, cells)) for cells in columns]
    rules = ["-" * (width - 1) + (":" if numeric else "-") for width, numeric in zip(widths, right, strict=True)]
    for index in range(table.num_rows + 1):
        cells = [pad(c[index], w, right=r) for c, w, r in zip(columns, widths, right, strict=True)]
        out.write(_markdown_row(cells))
        if index == 0:
            out.write(_markdown_row(rules))
    return int(table.num_rows)


def _markdown_row(cells: Iterable[str]) -> bytes:
    return f"| {' | '.join(cells)} |\n".encode()


def _markdown_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\r\n", "<br>").replace("\n", "<br>")


def _write_arrow(result: Result, out: BinaryIO) -> int:
    # A file can be mapped into memory and read from any place; a pipe takes the streaming form.
    new = pa.ipc.new_file if out.seekable() else pa.ipc.new_stream
    with new(out, result.schema) as writer:
        return _write_batches(writer, result)


def _write_parquet(result: Result, out: BinaryIO) -> int:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetWriter(out, result.schema, compression="zstd") as writer:
            return _write_batches(writer, result)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise ExecutionError(
            f"cannot write the result as Parquet: {error}", hint="cast the column to VARCHAR"
        ) from error


def _write_batches(writer: Any, result: Result) -> int:
    rows = 0
    for batch in result.batches():
        if batch.num_rows:
            writer.write_batch(batch)
        rows += batch.num_rows
    return rows


def check_one_result(form: str, results: int) -> None:
    """Raise if more results are to be written than a file of this format holds."""
    if results > 1 and form in BINARY_FORMATS:
        raise SqlrayError(
            f"the format '{form}' holds one result, but {results} statements return rows",
            hint="run them one by one",
        )
