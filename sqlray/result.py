"""Result: what a statement returned, as Arrow, pandas, Polars, Python rows, or a table on the screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from planner.errors import UnsupportedError
from sqlray.format_table import Preview, escape_html, render_html, render_table, take_preview
from sqlray.format_values import python_values
from sqlray.options import Options

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from executor.runners.ray.datasets import Dataset

# The width of a displayed result where there is no terminal to ask.
_NO_TERMINAL = (120, 40)


class Result:
    """The result of one statement.

    A query runs when its rows are first asked for, once: its rows are then kept. Only `batches()` and
    `__arrow_c_stream__` stream rows through without keeping them, as long as nothing else has asked before.

    Args:
        schema: names and types of the columns; a statement that returns no rows has none.
        run: runs the query and yields its batches; may be called again.
        watched: the same for somebody who waits for all of them, and wants to know how far it is.
        explain: the text of the plan; with True it runs the query and adds what was measured.
        message: what a statement without rows did, such as ``CREATE TABLE``; text that is displayed instead of
            a table, such as a plan.
        options: how the result is displayed.
        dataset: runs the query and leaves its rows on the cluster; None where there is none.
        told: whether the rows only say what the statement did, as its message does.
    """

    def __init__(
        self,
        schema: pa.Schema,
        run: Callable[[], Iterator[pa.RecordBatch]],
        explain: Callable[[bool], str],
        message: str | None = None,
        *,
        options: Options | None = None,
        watched: Callable[[], Iterator[pa.RecordBatch]] | None = None,
        dataset: Callable[[], object | None] = lambda: None,
        told: bool = False,
    ) -> None:
        self.schema = schema
        self.message = message
        self.told = told
        self._run = run
        self._watched = watched or run
        self._explain = explain
        self._options = options or Options()
        self._dataset = dataset
        self._table: pa.Table | None = None
        self._cursor: Iterator[tuple[Any, ...]] | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns. A name may occur twice, as SQL allows."""
        return list(self.schema.names)

    @property
    def num_rows(self) -> int:
        """The number of rows; runs the query."""
        return int(self.to_arrow().num_rows)

    def to_arrow(self) -> pa.Table:
        """All rows as an Arrow table."""
        if self._table is None:
            self._table = pa.Table.from_batches(list(self._watched()), self.schema)
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """All rows as a Polars frame; of columns with the same name the later ones become `name_1`, …"""
        import polars as pl

        for field in self.schema:
            if pa.types.is_interval(field.type):
                raise UnsupportedError(
                    f"column '{field.name}' is an INTERVAL, a type that Polars does not have",
                    hint="cast it to VARCHAR, or use to_arrow()",
                )
        frame = pl.from_arrow(self.to_arrow().rename_columns(unique_names(self.columns)))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_ray_dataset(self) -> Dataset:
        """All rows as a Ray Dataset. On a cluster they stay in its object store, and do not pass through here."""
        from executor.runners.ray.datasets import to_dataset

        found: Any = self._dataset() if self._table is None else None
        return to_dataset(self.to_arrow()) if found is None else found

    def batches(self) -> Generator[pa.RecordBatch]:
        """The rows as a stream of record batches."""
        if self._table is not None:
            yield from self._table.to_batches()
        else:
            yield from self._run()

    def watched(self) -> Generator[pa.RecordBatch]:
        """The rows as a stream for somebody who waits for all of them, and sees how far the query is."""
        if self._table is not None:
            yield from self._table.to_batches()
        else:
            yield from self._watched()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows as tuples of Python values."""
        return _rows(self.to_arrow())

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row as a tuple of Python values, or None after the last one."""
        if self._cursor is None:
            self._cursor = iter(self)
        return next(self._cursor, None)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.to_arrow().to_batches():
            yield from _rows(pa.Table.from_batches([batch]))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream

    def explain(self, analyze: bool = False) -> str:
        """The plan as text; with `analyze` the query runs and each step shows its rows, time and bytes."""
        return self._explain(analyze)

    def show(self, rows: int | None = None) -> None:
        """Print the result as a table of at most `rows` rows, by default option `max_rows` (0 for all)."""
        print(self._text(self._options.max_rows if rows is None else rows))

    def __repr__(self) -> str:
        return self._text(self._options.max_rows)

    def _repr_html_(self) -> str:
        if not self.columns:
            return f"<p>{self.message or ''}</p>"
        if self.message is not None:
            return f"<pre>{escape_html(self.message)}</pre>"
        return render_html(self._preview(self._options.max_rows), null=self._options.null_text)

    def _text(self, rows: int) -> str:
        if not self.columns or self.message is not None:
            return self.message or ""
        width = self._options.max_width or shutil.get_terminal_size(_NO_TERMINAL).columns
        return render_table(self._preview(rows), max_width=width, null=self._options.null_text)

    def _preview(self, rows: int) -> Preview:
        return take_preview(self.schema, self.to_arrow().to_batches(), rows)


def unique_names(names: list[str]) -> list[str]:
    """The names, with a number added to those that occurred before, for formats in which names are unique."""
    taken = set(names)
    seen: set[str] = set()
    result = []
    for name in names:
        unique = name
        number = 0
        while unique in seen or (number and unique in taken):
            number += 1
            unique = f"{name}_{number}"
        seen.add(unique)
        result.append(unique)
    return result


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    if not table.num_columns:
        return [()] * table.num_rows
    return list(zip(*(python_values(column) for column in table.columns), strict=True))
