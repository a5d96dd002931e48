"""Arrow IPC: files, streams, compression, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

import sqlray
from sqlray import ExecutionError, UnsupportedError

TABLE = pa.table({"a": [1, 2, None], "s": ["x", None, "y"], "d": pa.array(["p", "q", "p"]).dictionary_encode()})


def _write(path: Path, table: pa.Table = TABLE, compression: str | None = None, stream: bool = False) -> Path:
    options = ipc.IpcWriteOptions(compression=compression)
    with (ipc.new_stream if stream else ipc.new_file)(path, table.schema, options=options) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("stream", [False, True])
def test_rows(compression: str | None, stream: bool, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.arrow", compression=compression, stream=stream)
    result = sqlray.connect().sql(f"select * from '{path}'")
    assert result.fetchall() == [(1, "x", "p"), (2, None, "q"), (None, "y", "p")]
    assert sqlray.connect().sql(f"select d, count(*) from '{path}' group by d order by d").fetchall() == [
        ("p", 2),
        ("q", 1),
    ]


def test_folders_become_columns(tmp_path: Path) -> None:
    for k in (1, 2):
        (tmp_path / f"k={k}").mkdir()
        _write(tmp_path / f"k={k}" / "x.arrow")
    session = sqlray.connect()
    session.register("t", str(tmp_path))
    assert session.sql("select k, sum(a) from t group by k order by k").fetchall() == [(1, 3), (2, 3)]
    assert session.sql("select count(*) from t where k = 2").fetchall() == [(3,)]
    assert session.sql("select count(*), min(k), max(k) from t").fetchall() == [(6, 1, 2)]


@pytest.mark.parametrize("content", [b"hello world", b"", b"ARROW1" + bytes(40)])
def test_corrupt(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    path.write_bytes(content)
    with pytest.raises(ExecutionError, match=r"x\.arrow is not a readable Arrow IPC file"):
        sqlray.connect().sql(f"select * from '{path}'").fetchall()


def test_cut_off(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.arrow")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ExecutionError, match=r"x\.arrow"):
        sqlray.connect().sql(f"select * from '{path}'").fetchall()


def test_files_of_different_columns(tmp_path: Path) -> None:
    _write(tmp_path / "1.arrow")
    _write(tmp_path / "2.arrow", pa.table({"a": ["x"], "s": ["y"], "d": ["z"]}))
    with pytest.raises(ExecutionError, match='column "a" is'):
        sqlray.connect().sql(f"select * from '{tmp_path}'").fetchall()


def test_types_that_polars_has_not(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([1, None], pa.decimal256(50, 2)), "i": [1, 2]})
    with pa.ipc.new_file(tmp_path / "x.arrow", table.schema) as file:
        file.write_table(table)
    with pytest.raises(UnsupportedError, match="decimal256"):
        sqlray.connect().sql(f"select i from '{tmp_path}/x.arrow'")
