"""JSON lines and arrays, against DuckDB, and what goes wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

import sqlray
from sqlray import ExecutionError

FILES = {
    "plain": '{"a":1,"b":"x","c":1.5,"d":true}\n{"a":null,"b":null,"c":2}\n',
    "late_key": '{"a":1}\n{"a":2,"z":3}\n',
    "numbers": '{"a":1}\n{"a":2.5}\n',
    "dates": (
        '{"a":"2024-01-02","b":"2024-01-02 03:04:05","c":"10:11:12"}\n{"a":"2024-02-03","b":null,"c":"11:00:00"}\n'
    ),
    "almost_dates": '{"a":"2024-01-02"}\n{"a":"soon"}\n',
    "array": '[{"a":1},{"a":2,"b":"x"}]',
    "blank_lines": '{"a":1}\n\n{"a":2}\n',
    "escapes": '{"a":"x\\u00e9\\n"}\n',
    "no_newline_at_end": '{"a":1}\n{"a":2}',
}


@pytest.mark.parametrize("name", FILES)
def test_as_duckdb_reads_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(FILES[name])
    expected = duckdb.sql(f"from '{path}'")
    found = sqlray.connect().sql(f"select * from '{path}'")
    assert found.columns == expected.columns
    assert found.fetchall() == expected.fetchall()


def test_files_with_other_keys(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text('{"a":1}\n')
    (tmp_path / "2.jsonl").write_text('{"a":2.5,"b":"x"}\n')
    with gzip.open(tmp_path / "3.jsonl.gz", "wt") as file:
        file.write('{"b":"y"}\n')
    rows = sqlray.connect().sql(f"select a, b from '{tmp_path}' order by all").fetchall()
    assert rows == [(1.0, None), (2.5, "x"), (None, "y")]


def test_nested_values_do_not_hide_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a":1,"b":{"c":2}}\n')
    assert sqlray.connect().sql(f"select a from '{path}'").fetchall() == [(1,)]


def test_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a":1}\n{"a":\n')
    with pytest.raises(ExecutionError, match=r"x\.jsonl is not a readable JSON file"):
        sqlray.connect().sql(f"select * from '{path}'").fetchall()


def test_a_value_of_another_type_after_the_sample(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a":1}\n' * 700_000 + '{"a":"x"}\n')
    with pytest.raises(ExecutionError, match="sample_size"):
        sqlray.connect().sql(f"select sum(a) from '{path}'").fetchall()
    session = sqlray.connect()
    assert session.sql(f"select count(*) from read_json('{path}', sample_size = -1)").fetchone() == (700_001,)


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_no_objects(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    found = sqlray.connect().sql(f"select * from '{path}'")
    assert (found.columns, found.fetchall()) == (["json"], [])
    (tmp_path / "y.json").write_text('{"a": 1}\n')
    assert sqlray.connect().sql(f"select a from '{tmp_path}/*.json'").fetchall() == [(1,)]
