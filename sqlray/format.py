"""Results written as a table, Markdown, or in a file's format, to a stream or whole into a file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from planner.errors import ExecutionError, SqlrayError
from planner.file_format import EXTENSIONS, FileFormat
from planner.types import is_numeric
from sqlray.format_table import render_table, take_preview
from sqlray.format_values import pad, text_values
from sqlray.options import Options
from sqlray.result import Result
from sqlray.write_file import whole_file, write_rows

__all__ = ["BINARY_FORMATS", "FORMATS", "check_one_result", "format_of", "whole_file", "write_result"]

FORMATS = ("table", "csv", "json", "markdown", "arrow", "parquet")
BINARY_FORMATS = ("arrow", "parquet")

# COPY writes these: their names promise what `-o` does not do, tabs and an object a line.
_OTHERS = (".tsv", ".jsonl", ".ndjson")


def format_of(path: str) -> str | None:
    """The format that a file's name stands for, if it stands for one."""
    suffix = Path(path).suffix.lower()
    return None if suffix in _OTHERS else {**EXTENSIONS, ".md": "markdown"}.get(suffix)


def write_result(result: Result, form: str, out: BinaryIO, options: Options, *, width: int = 0) -> int:
    """Write a result's rows in a format; a table is cut to `width`. Returns the number of rows."""
    match form:
        case "table":
            return _write_table(result, out, options, width)
        case "markdown":
            return _write_markdown(result, out, options)
        case "csv" | "json" | "arrow" | "parquet":
            with closing(result.batches()) as batches:  # the query ends when its rows cannot be written
                return write_rows(result.schema, batches, FileFormat(form, array=True), out)
        case _:
            raise ExecutionError(f"there is no format '{form}'", hint="formats: " + ", ".join(FORMATS))


def _write_table(result: Result, out: BinaryIO, options: Options, width: int) -> int:
    if not result.columns:
        out.write(f"{result.message or ''}\n".encode())
        return 0
    preview = take_preview(result.schema, result.batches(), options.max_rows)
    text = render_table(preview, max_width=width, null=options.null_text)
    out.write(text.encode(errors="replace") + b"\n")
    return preview.num_rows


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


def check_one_result(form: str, results: int) -> None:
    """Raise if more results are to be written than a file of this format holds."""
    if results > 1 and form in BINARY_FORMATS:
        raise SqlrayError(
            f"the format '{form}' holds one result, but {results} statements return rows",
            hint="run them one by one",
        )
