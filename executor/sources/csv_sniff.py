"""What the first lines of a CSV file say about it: delimiter, header, names."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from executor.sources.csv_records import Dialect, end_of_records, from_first_record, without_empty_lines
from executor.sources.text_sample import Text
from executor.sources.text_types import converts, text_type
from planner import types
from planner.errors import ExecutionError
from planner.record import record

_DELIMITERS = (",", "|", ";", "\t")
_LINES = 100  # that the delimiter is told from


@record
class Sample:
    """A file's dialect, column names, and first rows as text."""

    dialect: Dialect
    names: tuple[str, ...]
    rows: pl.DataFrame
    bytes: int
    whole: bool


def sniff(path: str, text: Text, dialect: Dialect, header: bool | None, names: Sequence[str]) -> Sample:
    """Find out what ``dialect`` and ``header`` leave open, and read the sample's rows as text.

    Raises:
        ExecutionError: the lines do not agree on the number of values, or there are none.
    """
    data = text.data.removeprefix(b"\xef\xbb\xbf")
    lines_and_rest = data.split(b"\n", dialect.skip)
    data = from_first_record(lines_and_rest[-1], dialect) if len(lines_and_rest) > dialect.skip else b""
    if not text.whole:  # it may end in quotes
        data = data[: end_of_records(data, dialect.quote.encode())] or data
    lines, size = _lines(data, dialect), len(data)
    if not dialect.delimiter:
        dialect = replace(dialect, delimiter=_find_delimiter(path, lines, dialect.quote))
    if not dialect.reads_empty_lines(_width(path, lines, dialect)):
        data = without_empty_lines(data, dialect)
    table = _read_rows(data, dialect)
    if not table.width:
        raise ExecutionError(f"{path} is empty: it does not even name its columns")
    if header is None:
        header = _has_header(table)
    found = _names(table, header, names)
    rows = table.slice(1) if header else table
    rows.columns = list(found)
    return Sample(replace(dialect, header=int(header)), found, rows, size, text.whole)


def _lines(data: bytes, dialect: Dialect) -> list[str]:
    """The first lines that hold values."""
    text = io.StringIO(data[: 1 << 20].decode("utf-8", errors="replace"), newline="")
    found = []
    for line in text:
        if line.strip("\r\n") and not (dialect.comment and line.startswith(dialect.comment)):
            found.append(line)
        if len(found) == _LINES:
            break
    return found


def _widths(lines: Sequence[str], delimiter: str, quote: str) -> list[int]:
    if quote:
        reader = csv.reader(lines, delimiter=delimiter, quotechar=quote)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    widths = [len(row) for row in reader]
    # The last record may be cut in the middle of a quoted text.
    return widths[:-1] if len(lines) == _LINES and len(widths) > 1 else widths


def _find_delimiter(path: str, lines: Sequence[str], quote: str) -> str:
    """The delimiter that cuts most lines into the same number of values, and that number is largest."""
    if path.lower().removesuffix(".gz").removesuffix(".zst").endswith(".tsv"):
        return "\t"
    best, score = ",", (0.0, 0)
    for delimiter in _DELIMITERS:
        widths = _widths(lines, delimiter, quote)
        if not widths:
            continue
        width, count = Counter(widths).most_common(1)[0]
        if width > 1 and (count / len(widths), width) > score:
            best, score = delimiter, (count / len(widths), width)
    return best


def _width(path: str, lines: Sequence[str], dialect: Dialect) -> int:
    """The number of values in each line."""
    widths = _widths(lines, dialect.delimiter, dialect.quote)
    odd = next((i for i, w in enumerate(widths) if w != widths[0]), None)
    if odd is not None and not dialect.ignore_errors:
        raise ExecutionError(
            f"{path}: record {odd + 1} has {widths[odd]} values, the first has {widths[0]} "
            f"(delimiter {dialect.delimiter!r})",
            hint="name the delimiter, or skip lines: read_csv('…', delim = ';', skip = 1)",
        )
    return widths[0] if widths else 0


def _read_rows(data: bytes, dialect: Dialect) -> pl.DataFrame:
    """All rows of the sample, a header among them, as text."""
    return pl.read_csv(
        data,
        has_header=False,
        infer_schema=False,
        separator=dialect.delimiter,
        quote_char=dialect.quote or None,
        comment_prefix=dialect.comment or None,
        null_values=list(dialect.nulls),
        empty_string_is_null="" in dialect.nulls,
        truncate_ragged_lines=dialect.ignore_errors,
        raise_if_empty=False,
    )


def _has_header(table: pl.DataFrame) -> bool:
    """Whether the first row is names: its texts are not of their columns' types, or nothing has a type but
    text. Rows of NULLs say nothing."""
    table = table.filter(~pl.all_horizontal(pl.all().is_null())) if table.width > 1 else table
    if table.height == 0:
        return False
    below = table.slice(1) if table.height > 1 else table
    kinds = [text_type(values) for values in below.get_columns()]
    typed = [converts(v.head(1), t) for v, t in zip(table.get_columns(), kinds, strict=True) if _is_typed(t)]
    texts = [v for v, t in zip(table.get_columns(), kinds, strict=True) if not _is_typed(t)]
    typed += [v.head(1).drop_nulls().str.contains(form).all() for v in texts if (form := _form(v.slice(1)))]
    if not typed:
        return True
    return table.height > 1 and not all(typed)


# Moments that are read as text, but are no names of columns.
_FORMS = (
    r"^[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4}( [0-9]{1,2}:[0-9]{2}(:[0-9]{2})?)?$",
    r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[ T][0-9]{1,2}:[0-9]{2}.*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$",
)


def _form(values: pl.Series) -> str | None:
    """The form that all texts have, if it is one of ``_FORMS``."""
    texts = values.drop_nulls()
    return next((form for form in _FORMS if len(texts) and texts.str.contains(form).all()), None)


def _is_typed(dtype: pa.DataType) -> bool:
    return dtype not in (types.VARCHAR, types.NULL)


def _names(table: pl.DataFrame, header: bool, given: Sequence[str]) -> tuple[str, ...]:
    """Names from the user, the header or the columns' places; one that occurs again gets a number."""
    row = table.row(0) if header else (None,) * table.width
    names: list[str] = []
    for i, text in enumerate(row):
        base = given[i] if i < len(given) else text or f"column{i}"
        name, n = base, 1
        while name.lower() in {x.lower() for x in names}:
            name, n = f"{base}_{n}", n + 1
        names.append(name)
    return tuple(names)
