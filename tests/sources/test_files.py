"""From names to files: globs, directories, partitions, URLs, and files that are not there or not to be
read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import polars as pl
import pytest

import sqlray
from executor.sources.files import open_files
from sqlray import BindError, ExecutionError, SqlrayError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """t/year=…/month=…/x.parquet"""
    for year in (2023, 2024):
        for month in ("01", "02"):
            place = tmp_path / "t" / f"year={year}" / f"month={month}"
            place.mkdir(parents=True)
            pl.DataFrame({"v": [year * 100 + int(month), None]}).write_parquet(place / "x.parquet")
    return tmp_path / "t"


@pytest.mark.parametrize(
    "sql",
    [
        "select year, month, v from {} order by all",
        "select count(*), sum(v) from {} where year = 2024",
        "select sum(v) from {} where month = 2 and year > 2023",
        "select year, count(v) from {} group by year order by year",
        "select min(year), max(month) from {}",
    ],
)
def test_partitions(sql: str, folder: Path) -> None:
    expected = duckdb.sql(sql.format(f"read_parquet('{folder}/*/*/*.parquet', hive_partitioning = true)"))
    for path in (f"{folder}", f"{folder}/*/*/*.parquet", f"{folder}/**/*.parquet"):
        assert sqlray.connect().sql(sql.format(f"'{path}'")).fetchall() == expected.fetchall()


def test_null_partition(tmp_path: Path) -> None:
    for k in ("1", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / f"k={k}").mkdir()
        pl.DataFrame({"v": [1]}).write_parquet(tmp_path / f"k={k}" / "x.parquet")
    rows = sqlray.connect().sql(f"select k, v from '{tmp_path}' order by k").fetchall()
    assert rows == [(1, 1), (None, 1)]
    assert sqlray.connect().sql(f"select count(*) from '{tmp_path}' where k is null").fetchall() == [(1,)]


def _error(path: object) -> str:
    with pytest.raises(SqlrayError) as caught:
        sqlray.connect().sql(f"select * from '{path}'").fetchall()
    return str(caught.value)


def test_nothing_is_there(tmp_path: Path) -> None:
    (tmp_path / "orders.parquet").touch()
    assert f"did you mean {tmp_path}/orders.parquet?" in _error(tmp_path / "order.parquet")
    assert f"no file matches {tmp_path}/*.csv" in _error(tmp_path / "*.csv")
    (tmp_path / "empty").mkdir()
    assert "holds no data files" in _error(tmp_path / "empty")
    with pytest.raises(BindError, match="the list of files is empty"):
        open_files([])


def test_formats_that_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "x.bin").touch()
    assert "cannot tell the format" in _error(tmp_path / "x.bin")
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.jsonl").write_text('{"a":1}\n')
    assert "different formats" in _error(tmp_path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
def test_no_permission(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_text("a\n1\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    assert f"no permission to read {path}" in _error(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" + bytes(100) + b"PAR1"])
def test_not_parquet(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    assert f"{path} is not a readable Parquet file" in _error(path)


def test_the_file_vanishes_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    session = sqlray.connect()
    result = session.sql(f"select a + 1 from '{path}'")
    path.unlink()
    with pytest.raises(ExecutionError):
        result.fetchall()
    assert session.sql("select 1").fetchall() == [(1,)]


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    session = sqlray.connect()
    for n in (1, 2):
        pl.DataFrame({"a": [n] * n}).write_parquet(path)
        assert session.sql(f"select count(*), min(a), max(a) from '{path}'").fetchall() == [(n, n, n)]


def test_files_of_different_columns(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"b": [1]}).write_parquet(tmp_path / "2.parquet")
    assert "other columns" in _error(tmp_path)
    pl.DataFrame({"a": ["x"]}).write_parquet(tmp_path / "2.parquet")
    assert 'column "a" is' in _error(tmp_path)


class _RangeHandler(SimpleHTTPRequestHandler):
    """Serves byte ranges, which the readers of columnar files ask for."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.exists():
            super().do_GET()
            return
        data = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(len(data) - int(last), 0)
        end = min(int(last), len(data) - 1) if first and last else len(data) - 1
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.wfile.write(data[start : end + 1])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    pl.DataFrame({"a": [1, 2], "s": ["x", "y"]}).write_parquet(tmp_path / "x.parquet")
    pl.DataFrame({"a": [1, 2], "s": ["x", "y"]}).write_ipc(tmp_path / "x.arrow")
    (tmp_path / "x.csv").write_text("a;s\n1;x\n2;y\n")
    (tmp_path / "x.jsonl").write_text('{"a":1,"s":"x"}\n{"a":2,"s":"y"}\n')
    handler = partial(_RangeHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.mark.parametrize("file", ["x.parquet", "x.csv", "x.jsonl", "x.arrow"])
def test_urls(file: str, server: str) -> None:
    session = sqlray.connect()
    assert session.sql(f"select * from '{server}/{file}' order by a").fetchall() == [(1, "x"), (2, "y")]
    assert session.sql(f"select count(*) from '{server}/{file}' where a > 1").fetchall() == [(1,)]


def test_urls_that_lead_nowhere(server: str) -> None:
    for file in ("none.parquet", "none.csv", "none.jsonl", "none.arrow"):
        assert f"{server}/{file}" in _error(f"{server}/{file}")
