"""Result: every form in which rows are taken, and how they are displayed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

import sqlray
from planner.errors import UnsupportedError
from sqlray.format_table import render_table, take_preview
from sqlray.format_values import cut, display_width, interval_text, value_text
from sqlray.options import Options
from sqlray.result import Result, unique_names


class Source:
    """A query that counts how often it ran."""

    def __init__(self, table: pa.Table, batch_rows: int = 3) -> None:
        self.table = table
        self.batch_rows = batch_rows
        self.runs = 0

    def run(self) -> Iterator[pa.RecordBatch]:
        self.runs += 1
        yield from self.table.to_batches(max_chunksize=self.batch_rows)

    def result(self, **options: object) -> Result:
        settings = Options()
        for name, value in options.items():
            settings = settings.set(name, value)
        return Result(self.table.schema, self.run, lambda analyze: f"plan analyze={analyze}", options=settings)


@pytest.fixture
def numbers() -> Source:
    return Source(pa.table({"n": range(10), "word": [f"w{n}" for n in range(10)]}))


def test_runs_once_and_keeps_the_rows(numbers: Source) -> None:
    result = numbers.result()
    assert numbers.runs == 0
    assert result.columns == ["n", "word"]
    assert numbers.runs == 0
    assert result.num_rows == 10
    assert result.to_arrow().equals(numbers.table)
    assert result.fetchall()[:2] == [(0, "w0"), (1, "w1")]
    assert list(result) == result.fetchall()
    assert [batch.num_rows for batch in result.batches()] == [3, 3, 3, 1]
    assert numbers.runs == 1


def test_batches_stream_without_keeping(numbers: Source) -> None:
    result = numbers.result()
    assert next(result.batches()).num_rows == 3
    assert pa.table(result).equals(numbers.table)  # through __arrow_c_stream__
    assert numbers.runs == 2


def test_fetchone_goes_through_the_rows() -> None:
    result = Source(pa.table({"a": [1, 2]})).result()
    assert [result.fetchone(), result.fetchone(), result.fetchone()] == [(1,), (2,), None]


def test_polars_and_pandas(numbers: Source) -> None:
    result = numbers.result()
    assert result.to_polars()["n"].sum() == 45
    assert list(result.to_pandas()["word"])[:2] == ["w0", "w1"]


def test_duplicate_names() -> None:
    table = pa.table([[1], [2], [3]], names=["a", "a", "b"])
    result = Source(table).result()
    assert result.columns == ["a", "a", "b"]
    assert result.fetchall() == [(1, 2, 3)]
    assert result.to_polars().columns == ["a", "a_1", "b"]
    assert unique_names(["a", "a", "a_1", "a"]) == ["a", "a_2", "a_1", "a_3"]
    assert " a " in repr(result)


def test_statement_without_rows() -> None:
    result = Result(pa.schema([]), lambda: iter(()), lambda analyze: "", "CREATE TABLE")
    assert repr(result) == "CREATE TABLE"
    assert result.fetchall() == []
    assert result.num_rows == 0
    assert "CREATE TABLE" in result._repr_html_()


def test_explain_statement_shows_the_plan_as_it_is() -> None:
    result = sqlray.sql("explain select 1 < 2 as " + "wide" * 50)
    assert result.columns == ["plan"]
    assert "\n".join(line for (line,) in result.fetchall()) == repr(result)
    assert "wide" * 50 in repr(result)
    assert result._repr_html_().startswith("<pre>Project")


def test_explain(numbers: Source) -> None:
    assert numbers.result().explain() == "plan analyze=False"
    assert numbers.result().explain(analyze=True) == "plan analyze=True"


def test_python_values_of_nanoseconds() -> None:
    stamps = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    [(value,)] = Source(pa.table({"t": stamps})).result().fetchall()
    assert value == datetime.datetime(2023, 11, 14, 22, 13, 20, 123456)


def test_repr_shows_names_types_and_count() -> None:
    table = pa.table({"id": [1, 22], "price": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2))})
    assert repr(Source(table).result()) == (
        "┌────────┬──────────────┐\n"
        "│   id   │    price     │\n"
        "│ bigint │ decimal(9,2) │\n"
        "├────────┼──────────────┤\n"
        "│      1 │         1.50 │\n"
        "│     22 │         NULL │\n"
        "└────────┴──────────────┘\n"
        "2 rows"
    )


def test_long_results_are_cut_in_the_middle(numbers: Source) -> None:
    lines = repr(numbers.result(max_rows=4)).splitlines()
    assert [line.split()[1] for line in lines[4:-2]] == ["0", "1", "·", "8", "9"]
    assert lines[-1] == "10 rows (4 shown)"


def test_show_takes_the_number_of_rows(numbers: Source, capsys: pytest.CaptureFixture[str]) -> None:
    numbers.result().show(rows=2)
    assert "10 rows (2 shown)" in capsys.readouterr().out
    numbers.result(max_rows=2).show(rows=0)
    assert capsys.readouterr().out.endswith("10 rows\n")


@pytest.mark.parametrize("rows", range(8))
@pytest.mark.parametrize("max_rows", range(6))
@pytest.mark.parametrize("batch_rows", [1, 2, 5])
def test_preview_has_the_first_and_last_rows(rows: int, max_rows: int, batch_rows: int) -> None:
    table = pa.table({"n": pa.array(range(rows), pa.int64())})
    preview = take_preview(table.schema, table.to_batches(max_chunksize=batch_rows), max_rows)
    head, tail = preview.head.column(0).to_pylist(), preview.tail.column(0).to_pylist()
    assert preview.num_rows == rows
    if rows <= max_rows or not max_rows:
        assert (head, tail) == (list(range(rows)), [])
    else:
        assert head + tail == [*range(max_rows - max_rows // 2), *range(rows - max_rows // 2, rows)]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_wide_results_fit_the_width(width: int) -> None:
    table = pa.table({f"column_{i}": [f"some text that is long {i}" * 3, "日本語" * i] for i in range(12)})
    lines = render_table(take_preview(table.schema, table.to_batches(), 0), max_width=width).splitlines()
    widths = {display_width(line) for line in lines[:-1]}
    assert len(widths) == 1
    assert widths.pop() <= width
    assert "column_0" in lines[1] or "…" in lines[1]


def test_numbers_are_never_cut() -> None:
    table = pa.table({"a": ["x" * 100], "n": [1234567890123456789]})
    text = render_table(take_preview(table.schema, table.to_batches(), 0), max_width=50)
    assert "1234567890123456789" in text
    assert "x…" in text


def test_line_breaks_stay_in_the_cell() -> None:
    table = pa.table({"a": ["one\ntwo\tthree\x1b[31m"]})
    text = render_table(take_preview(table.schema, table.to_batches(), 0))
    assert "one\\ntwo\\tthree\\x1b[31m" in text


def test_html_is_escaped() -> None:
    page = Source(pa.table({"<a>": ["<script>", None]})).result()._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "NULL" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1.5, "1.5"),
        (1e20, "1e+20"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0E-10"), "0.0000000000"),
        (datetime.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02 03:04:05"),
        (datetime.datetime(2024, 1, 2, 3, 4, 5, 500000), "2024-01-02 03:04:05.5"),
        (datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "2024-01-02 00:00:00+00"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.time(1, 2, 3, 40000), "01:02:03.04"),
        (b"a\\\x00", "a\\x5C\\x00"),
        ([1, None], "[1, NULL]"),
        ({"a": "b"}, "{a: b}"),
    ],
)
def test_value_text(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 0), "00:00:00"),
        ((14, 1, 0), "1 year 2 months 1 day"),
        ((-14, 0, 0), "-1 year -2 months"),
        ((0, -3, 0), "-3 days"),
        ((0, 0, 3_723_000_000_000), "01:02:03"),
        ((0, 0, -1_500_000_000), "-00:00:01.5"),
    ],
)
def test_interval_text(parts: tuple[int, int, int], text: str) -> None:
    assert interval_text(*parts) == text


def test_cut_counts_wide_characters() -> None:
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("abcdef", 3) == "ab…"


def test_polars_has_no_intervals() -> None:
    table = pa.table({"i": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with pytest.raises(UnsupportedError, match="'i' is an INTERVAL"):
        Source(table).result().to_polars()
