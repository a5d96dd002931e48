"""COPY: files as DuckDB writes and reads them, whole or not at all, whatever their size."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sqlray
from executor.sources.memory import memory_table
from planner.copy_options import default_format
from sqlray import BindError, ExecutionError, ParseError, SqlrayError, UnsupportedError
from sqlray.write_file import whole_file, write_rows
from tests.slow_source import SlowSource

# Every type, with what is hard to write in each: the same rows for both engines.
ROWS = r"""
    select * from (values
        (1::tinyint, 1::integer, 9223372036854775807::bigint, 1::utinyint, 18446744073709551615::ubigint,
         1.50::decimal(9, 2), 12345678901234567890.123::decimal(38, 3), 1.5::float, 1e20::double, true,
         'a,b', '\x00\xFF'::blob, date '2024-02-29', time '10:11:12.25', timestamp '2024-01-02 03:04:05.678901',
         timestamptz '2024-01-02 03:04:05+01'),
        (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null),
        (-128, -2147483648, -9223372036854775808, 0, 0, -0.01, -0.001, -0.1, -1e-7, false,
         '', ''::blob, date '0001-01-01', time '00:00:00', timestamp '1900-01-01 00:00:00',
         timestamptz '1969-12-31 23:59:59+00'),
        (0, 0, 0, 255, 1, 0, 0, 0.0, 0.1, false,
         'say "x"' || chr(10) || '  ünï 日本 ', 'text'::blob, date '9999-12-31', time '23:59:59.999999',
         timestamp '9999-12-31 23:59:59', timestamptz '2024-07-01 00:00:00+05:30'),
        (7, 7, 7, 7, 7, 7, 7, 7, 1e16, true,
         ' # ' || chr(13) || chr(9) || chr(92), 'q"'::blob, date '1970-01-01', time '12:00', timestamp '1970-01-01',
         timestamptz '1970-01-01 00:00:00+00'),
        (8, 8, 8, 8, 8, 8, 8, 8, 8, true, 'NULL', 'NULL'::blob, date '2024-01-01', time '12:00',
         timestamp '2024-01-01', timestamptz '2024-01-01 00:00:00+00')
    ) as t(i8, i32, i64, u8, u64, d9, d38, f4, f8, b, s, bin, d, t, ts, tz)"""
TYPES = {
    "i8": "tinyint", "i32": "integer", "i64": "bigint", "u8": "utinyint", "u64": "ubigint", "d9": "decimal(9,2)",
    "d38": "decimal(38,3)", "f4": "float", "f8": "double", "b": "boolean", "s": "varchar", "bin": "blob",
    "d": "date", "t": "time", "ts": "timestamp", "tz": "timestamptz",
}  # fmt: skip
CASTS = ", ".join(f"{name}::{dtype} as {name}" for name, dtype in TYPES.items())


@pytest.fixture
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


@pytest.fixture
def session() -> sqlray.Session:
    return sqlray.connect()


def _count(result: sqlray.Result) -> int:
    assert result.columns == ["Count"]
    return int(result.fetchall()[0][0])


def _read(path: Path, options: str = "") -> dict[str, str]:
    """The query that reads a file's text as the types of ROWS, for each engine."""
    reader = {".csv": f"read_csv('{path}', all_varchar = true{options})", ".json": f"read_json('{path}'{options})"}
    source = reader.get(path.suffix, f"'{path}'")
    return {"duckdb": f"select {CASTS} from {source}", "sqlray": f"select {CASTS} from {source}"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_every_type_is_read_back(
    suffix: str, tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection
) -> None:
    ours, theirs = tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"
    assert _count(session.sql(f"copy ({ROWS}) to '{ours}'")) == 6
    assert oracle.execute(f"copy ({ROWS}) to '{theirs}'").fetchall() == [(6,)]
    expected = oracle.execute(_read(theirs)["duckdb"]).fetchall()
    assert repr(oracle.execute(_read(ours)["duckdb"]).fetchall()) == repr(expected)
    if suffix == ".parquet":
        assert session.sql(f"select * from '{ours}'").schema == session.sql(ROWS).schema
    if suffix != ".json":  # our reader tells numbers from a sample, and takes the widest for floats
        assert repr(session.sql(_read(ours)["sqlray"]).fetchall()) == repr(expected)
        assert repr(session.sql(_read(theirs)["sqlray"]).fetchall()) == repr(expected)


def test_every_type_is_read_back_from_arrow(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.arrow"
    assert _count(session.sql(f"copy ({ROWS}) to '{path}'")) == 6
    expected = session.sql(ROWS)
    assert session.sql(f"select * from '{path}'").to_arrow().equals(expected.to_arrow())
    with pa.ipc.open_file(path) as file:
        assert file.schema == expected.schema


@pytest.mark.parametrize("form", ["csv", "json"])
def test_intervals_are_text(
    form: str, tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection
) -> None:
    query = "select interval '1 year 2 months 3 days 04:05:06.5' as i union all select interval '-1 day'"
    for engine, path in ((session.sql, tmp_path / "a"), (oracle.execute, tmp_path / "b")):
        engine(f"copy (select * from ({query}) order by i) to '{path}' (format {form})")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


TEXTS = (
    "select * from (values (1, 'a,b', 1.5), (null, '', null), (2, null, 0.25), (3, 'say \"x\"', 1),"
    " (4, 'l' || chr(10), 2), (5, ' x', 3), (6, 'NULL', 4), (7, '7', 5), (8, 'a|b''c', 6), (9, '#', 7), (10, 'ü', 8))"
    " as t(i, s, d)"
)


@pytest.mark.parametrize(
    "options",
    [
        "", "(header)", "(header false)", "(header 0)", "(header 'false')", "(delimiter '|')", "(delim e'\\t')",
        "(sep ';')",
        "(null 'NULL')", "(nullstr '7')", "(nullstr 'x', delim '|', header false)", "(quote '''', escape '''')",
        "(quote '|', escape '|')", "(escape '\\')", "(force_quote (s))", "(force_quote (i, s), header false)",
        "(force_quote *)", "(force_quote *, null 'NULL')", "(format csv, header true)", "with (format 'csv')",
        "(overwrite_or_ignore true)", "(compression none)",
    ],
)  # fmt: skip
def test_csv_as_duckdb_writes_it(
    options: str, tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection
) -> None:
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    assert _count(session.sql(f"copy ({TEXTS}) to '{ours}' {options}")) == 11
    oracle.execute(f"copy ({TEXTS}) to '{theirs}' {options}")
    assert ours.read_text() == theirs.read_text()


def test_names(tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection) -> None:
    query = 'select 1 as a, 2 as a, 3 as "x,y", 4 as "q""q", 5 as " z"'
    for form in ("csv", "json", "parquet"):
        ours, theirs = tmp_path / f"ours.{form}", tmp_path / f"theirs.{form}"
        session.sql(f"copy ({query}) to '{ours}'")
        oracle.execute(f"copy ({query}) to '{theirs}'")
        assert oracle.sql(f"from '{ours}'").columns == oracle.sql(f"from '{theirs}'").columns
        if form != "parquet":
            assert ours.read_text() == theirs.read_text()


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "arrow"])
def test_no_rows(form: str, tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / f"x.{form}"
    assert _count(session.sql(f"copy (select 1 as a, 'x' as b where false) to '{path}'")) == 0
    if form == "json":
        assert path.read_bytes() == b""
        session.sql(f"copy (select 1 as a where false) to '{path}' (array)")
        assert path.read_bytes() == b"[]\n"
    else:
        assert session.sql(f"select * from '{path}'").columns == ["a", "b"]


def test_json_array(tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.json"
    query = "select * from (values (1, 'a\"b'), (2, null)) as t(i, s)"
    session.sql(f"copy ({query}) to '{path}' (array true)")
    assert path.read_text() == '[{"i":1,"s":"a\\"b"},\n{"i":2,"s":null}]\n'
    assert oracle.sql(f"from '{path}'").fetchall() == [(1, 'a"b'), (2, None)]


def test_every_character_in_json(tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "x.json"
    text = "".join(map(chr, range(1, 300))) + "\u2028日😀"
    session.sql(f"copy (select $1 as s) to '{path}'", [text])
    assert oracle.sql(f"from '{path}'").fetchall() == [(text,)]


@pytest.mark.parametrize(
    ("name", "options", "magic"),
    [
        ("x.csv.gz", "", b"\x1f\x8b"), ("x.csv", "(compression gzip)", b"\x1f\x8b"),
        ("x.json.gz", "", b"\x1f\x8b"), ("x.csv.zst", "", b"\x28\xb5\x2f\xfd"),
        ("x.csv.gz", "(compression uncompressed)", b"i,"), ("x.csv.gz", "(compression auto)", b"\x1f\x8b"),
    ],
)  # fmt: skip
def test_compressed_text(name: str, options: str, magic: bytes, tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / name
    session.sql(f"copy (select 1 as i, 'x' as s) to '{path}' {options}")
    assert path.read_bytes().startswith(magic)
    if not options:
        assert session.sql(f"select * from '{path}'").fetchall() == [(1, "x")]


@pytest.mark.parametrize("codec", ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4", "lz4_raw"])
def test_compressed_parquet(codec: str, tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.parquet"
    session.sql(f"copy (select 1 as i) to '{path}' (compression {codec})")
    found = pq.read_metadata(path).row_group(0).column(0).compression.lower()
    assert found == {"lz4_raw": "lz4"}.get(codec, codec)
    assert duckdb.sql(f"from '{path}'").fetchall() == [(1,)]


def test_levels_and_row_groups(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.parquet"
    count = _count(session.sql(f"copy (select range as i from range(2500)) to '{path}' (row_group_size 1000)"))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [1000, 1000, 500]
    assert count == 2500
    session.sql(f"copy (select 1 as i) to '{path}' (compression_level 19)")
    session.sql(f"copy (select range as i from range(25)) to '{tmp_path}/x.arrow' (row_group_size 10, compression lz4)")
    with pa.ipc.open_file(tmp_path / "x.arrow") as file:
        assert [file.get_batch(i).num_rows for i in range(file.num_record_batches)] == [10, 10, 5]


def test_the_name_tells_the_format(tmp_path: Path, session: sqlray.Session) -> None:
    def written(name: str, options: str = "") -> bytes:
        session.sql(f"copy (select 1 as a, 2 as b) to '{tmp_path / name}' {options}")
        return (tmp_path / name).read_bytes()

    assert written("x.parquet")[:4] == written("x.pq")[:4] == written("x.csv", "(format parquet)")[:4] == b"PAR1"
    assert written("x.arrow")[:6] == written("x.feather")[:6] == b"ARROW1"
    assert written("x.ndjson") == written("x.jsonl") == written("x", "(format json)") == b'{"a":1,"b":2}\n'
    assert written("x") == written("x.txt") == b"a,b\n1,2\n"
    assert written("x.tsv") == b"a\tb\n1\t2\n"


def test_tables_views_files_and_variables(
    tmp_path: Path, session: sqlray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    session.sql("create table t as select * from (values (1, 'x'), (2, 'y')) as v(a, b)")
    session.sql("create view w as select a * 10 as c from t")
    assert _count(session.sql(f"copy t to '{path}'")) == 2
    assert path.read_text() == "a,b\n1,x\n2,y\n"
    session.sql(f"copy t (b) to '{path}'")
    assert path.read_text() == "b\nx\ny\n"
    session.sql(f"copy w to '{path}'")
    assert path.read_text() == "c\n10\n20\n"
    session.sql(f"copy (with v as (select max(a) as m from t) from v) to '{path}'")
    assert path.read_text() == "m\n2\n"
    session.sql(f"copy (values (1, 2)) to '{path}' (header false)")
    assert path.read_text() == "1,2\n"
    session.sql(f"copy '{path}' to '{tmp_path / 'y.csv'}' (header false)")
    frame = pl.DataFrame({"z": [5]})
    session.sql("copy frame to ?", [str(path)])
    assert (path.read_text(), len(frame)) == ("z\n5\n", 1)
    session.sql("copy (select $n as n) to $path", {"n": 3, "path": str(path)})
    assert path.read_text() == "n\n3\n"
    monkeypatch.chdir(tmp_path)
    session.sql("copy t to 'relative.csv'; copy t to 'file://relative2.csv'")
    assert (tmp_path / "relative.csv").exists() and (tmp_path / "relative2.csv").exists()


@pytest.mark.parametrize(
    ("sql", "place", "words"),
    [
        ("copy t to 'x.csv' (colour 'red')", "colour", "COLOUR HEADER DELIMITER QUOTE ESCAPE NULL FORCE_QUOTE"),
        ("copy t to 'x.csv' (headr)", "headr", 'did you mean "HEADER"'),
        ("copy t to 'x.parquet' (header)", "header", "parquet HEADER COMPRESSION_LEVEL ROW_GROUP_SIZE"),
        ("copy t to 'x.json' (delim '|')", "delim", "json DELIMITER ARRAY"),
        ("copy t to 'x.csv' (header maybe)", "header", "true or false"),
        ("copy t to 'x.csv' (header, header)", "header", "twice"),
        ("copy t to 'x.csv' (delim '|', sep '|')", "sep", "twice"),
        ("copy t to 'x.csv' (delim 'ab')", "delim", "one ASCII character"),
        ("copy t to 'x.csv' (delim '')", "delim", "one ASCII character"),
        ("copy t to 'x.csv' (quote '')", "quote", "one ASCII character"),
        ("copy t to 'x.csv' (delim ',', quote ',')", "'x.csv'", "QUOTE DELIMITER"),
        ("copy t to 'x.csv' (null 'a,b')", "'x.csv'", "DELIMITER NULL"),
        ("copy t to 'x.csv' (null 'a\"b')", "'x.csv'", "QUOTE NULL"),
        ("copy t to 'x.csv' (force_quote (zz))", "force_quote", "zz a, b"),
        ("copy t to 'x.csv' (compression snappy)", "compression", "snappy gzip zstd"),
        ("copy t to 'x.parquet' (compression foo)", "compression", "foo uncompressed snappy brotli"),
        ("copy t to 'x.parquet' (row_group_size 0)", "row_group_size", "a number of rows"),
        ("copy t to 'x.parquet' (row_group_size -5)", "row_group_size", "a number of rows"),
        ("copy t to 'x.parquet' (compression_level 99)", "'x.parquet'", "1 to 22"),
        ("copy t to 'x.parquet' (compression snappy, compression_level 3)", "'x.parquet'", "no level"),
        ("copy t to 'x' (format xlsx)", "format", "xlsx csv json parquet arrow"),
        ("copy t to 'd' (format parquet, partition_by (a))", "partition_by", "PARTITION_BY one file"),
        ("copy t to 's3://b/x.csv'", "'s3://b/x.csv'", "URL local"),
        ("copy t 'x.csv'", "'x.csv'", "TO or FROM"),
        ("copy t to 'a.csv', 'b.csv'", "'b.csv'", "one file"),
        ("copy nope to 'x.csv'", "nope", "no table"),
        ("copy t (zz) to 'x.csv'", "zz", "no column"),
        ("copy (select zz from t) to 'x.csv'", "zz", "no column"),
        ("copy (select a from t) from 'x.csv'", "a from t", "COPY FROM needs a table"),
        ("copy t to 1", "1", "text"),
        ("copy t to ''", "''", "text not empty"),
        ("copy t to 'x.csv' (format)", "format", "csv parquet"),
        ("copy t to 'x.csv' (format 1)", "format", "csv parquet"),
    ],
)
def test_what_copy_refuses(sql: str, place: str, words: str, session: sqlray.Session) -> None:
    session.sql("create table t (a integer, b varchar)")
    with pytest.raises((BindError, UnsupportedError)) as caught:
        session.sql(sql)
    assert all(word in str(caught.value) for word in words.split(" "))
    position = caught.value.position
    assert position is not None
    assert sql[position.column - 1 :].startswith(place)


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ("(header =)", ")", "a value"),
        ("(delim = , header)", ", header", "a value"),
        ("(compression_level -x)", "x)", "a number"),
        ("(compression_level -)", ")", "a number"),
        ("(header", "header", "Expecting"),
    ],
)
def test_options_that_cannot_be_read(options: str, place: str, words: str, session: sqlray.Session) -> None:
    sql = f"copy t to 'x.csv' {options}"
    with pytest.raises(ParseError, match=words) as caught:
        session.sql(sql)
    assert caught.value.position is not None
    assert sql[caught.value.position.column - 1 :].startswith(place)


def test_text_that_is_no_copy(session: sqlray.Session) -> None:
    for sql in ("copy t to x.csv", "copy t to 'x.csv' (header true) and more", "copy t to"):
        with pytest.raises(SqlrayError, match="COPY"):
            session.sql(sql)
    with pytest.raises(UnsupportedError, match="EXPLAIN takes a query"):
        session.sql("create table t (a integer); explain copy t to 'x.csv'")


def test_intervals_are_refused_in_parquet(tmp_path: Path, session: sqlray.Session) -> None:
    with pytest.raises(UnsupportedError, match='"i" is an INTERVAL'):
        session.sql(f"copy (select interval '1 day' as i) to '{tmp_path / 'x.parquet'}'")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "arrow"])
def test_a_query_that_fails_leaves_the_file_as_it_was(form: str, tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / f"x.{form}"
    numbers = pl.DataFrame({"a": range(2_000_000)})
    failing = "select 10 // (a - 1900000) as x from numbers"
    with pytest.raises(ExecutionError, match="division by zero"):
        session.sql(f"copy ({failing}) to '{path}'", numbers=numbers)
    assert list(tmp_path.iterdir()) == []
    path.write_text("before")
    with pytest.raises(ExecutionError, match="division by zero"):
        session.sql(f"copy ({failing}) to '{path}'", numbers=numbers)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [(path.name, "before")]


def test_a_cancelled_copy_leaves_nothing(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.csv"
    numbers = pl.DataFrame({"a": range(50_000)})
    seen: list[str] = []

    def cancel() -> None:
        seen.extend(f.name for f in tmp_path.iterdir())
        session.cancel()

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(SqlrayError, match="cancelled"):
        session.sql(f"copy (select * from numbers, numbers as m) to '{path}'", numbers=numbers)
    timer.join()
    assert len(seen) == 1 and seen[0] != "x.csv"
    assert list(tmp_path.iterdir()) == []
    assert _count(session.sql(f"copy (select 1 as a) to '{path}'")) == 1


def test_the_file_appears_when_it_is_complete(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.csv"
    looked: list[bool] = []
    slow = SlowSource(lambda begun: looked.append(path.exists()))
    assert _count(session.sql(f"copy slow to '{path}'", slow=slow)) == 400_000
    assert looked and not any(looked) and path.exists()


def test_what_cannot_be_written(tmp_path: Path, session: sqlray.Session) -> None:
    session.sql("create table t as select 1 as a")
    for path, reason in (
        (tmp_path / "no" / "x.csv", "No such file or directory"),
        (tmp_path, "it is a directory"),
        (Path("/dev/full"), "No space left"),
    ):
        for form in ("csv", "json", "parquet", "arrow"):
            with pytest.raises(ExecutionError, match=reason):
                session.sql(f"copy t to '{path}' (format {form})")
    assert list(tmp_path.iterdir()) == []


def test_names_that_no_file_can_have(tmp_path: Path, session: sqlray.Session) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (f"{tmp_path}/a\0b", "~nobody-of-this-name/x.csv", f"{tmp_path}/loop/x.csv"):
        with pytest.raises(ExecutionError, match="cannot write to"):
            session.sql("copy (select 1 as a) to $1", [path])


def test_the_longest_name_that_a_file_can_have(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / ("日" * 83 + ".csv")
    session.sql(f"copy (select 1 as a) to '{path}'")
    assert path.read_text() == "a\n1\n"


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.csv"
    path.touch()
    path.chmod(0o600)
    session.sql(f"copy (select 1 as a) to '{path}'")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o400)
    if os.geteuid():  # root may write anything
        with pytest.raises(ExecutionError, match="Permission denied"):
            session.sql(f"copy (select 2 as a) to '{path}'")
        assert path.read_text() == "a\n1\n"


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.csv.zst", "x.json.zst", "x.parquet", "x.arrow"])
def test_what_ends_the_rows_is_told(name: str, tmp_path: Path) -> None:
    """Not that the end of the file cannot be written then."""
    schema = pa.schema([("a", pa.int64())])

    def rows(out: BinaryIO) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1]})
        out.close()
        raise KeyboardInterrupt

    form = default_format("json" if "json" in name else name.split(".")[1], name)
    with pytest.raises(KeyboardInterrupt), whole_file(str(tmp_path / name)) as out:
        write_rows(schema, rows(out), form, out)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_whose_reader_goes_away(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: path.open("rb").close())
    reader.start()
    with pytest.raises(ExecutionError, match=r"cannot write to '.*pipe': Broken pipe"):
        session.sql(f"copy (select a.n from range(1000) as a(n), range(1000) as b(n)) to '{path}'")
    reader.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_by_what_is_read_from_it(tmp_path: Path, session: sqlray.Session) -> None:
    path, link = tmp_path / "x.parquet", tmp_path / "link.parquet"
    session.sql(f"copy (select range as a from range(1000)) to '{path}'")
    link.symlink_to(path)
    for expected in (500, 250):
        session.sql(f"copy (select a from '{path}' where a % 2 = 0 limit {expected}) to '{link}'")
        assert session.sql(f"select count(*) from '{path}'").fetchall() == [(expected,)]
    assert link.is_symlink()
    assert {f.name for f in tmp_path.iterdir()} == {"x.parquet", "link.parquet"}


def test_many_threads_write_the_same_file(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.csv"
    failures: list[BaseException] = []

    def write(n: int) -> None:
        try:
            session.sql(f"copy (select {n} as n from range(50000)) to '{path}'")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert session.sql(f"select count(*), count(distinct n) from '{path}'").fetchall() == [(50_000, 1)]


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "arrow"])
def test_a_result_larger_than_memory_limit_streams(form: str, tmp_path: Path) -> None:
    code = (
        "import resource, sqlray, polars as pl\n"
        "session = sqlray.connect(memory_limit='100MB')\n"
        "numbers = pl.DataFrame({'a': range(4000)})\n"
        f"session.sql(\"copy (select 1 as a, 'x' as b) to '{tmp_path}/warm.{form}'\")\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "query = \"select m.a as x, n.a as y, 'some text that takes a little room' as z from numbers n, numbers m\"\n"
        f"print(session.sql(f\"copy ({{query}}) to '{tmp_path}/x.{form}'\").fetchall()[0][0])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    rows, kilobytes = map(int, done.stdout.split())
    assert rows == 16_000_000  # of more than 50 bytes each
    assert kilobytes < 400_000


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_whole_table_becomes_text_in_pieces(form: str, tmp_path: Path) -> None:
    code = (
        "import resource, sqlray, polars as pl\n"
        "session = sqlray.connect()\n"
        "text = pl.lit('some text that takes a little room')\n"
        "t = pl.DataFrame({'a': range(4_000_000)}).with_columns(b=text, c=text, d=text)\n"
        f"session.sql(\"copy (select 1 as a, 'x' as b) to '{tmp_path}/warm.{form}'\")\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"session.sql(\"copy t to '{tmp_path}/x.{form}'\")\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert int(done.stdout) < 1_100_000  # of which Arrow's form of the table, 450 MB, is most


# ------------------------------------------------------------------------------------------------ from a file


@pytest.mark.parametrize(
    ("columns", "text", "options"),
    [
        ("a varchar, b varchar", "a,b\nu,v\n", ""),
        ("a varchar, b integer", "x,y\nu,1\n", ""),
        ("a varchar, b integer", "x,2\nu,1\n", ""),
        ("a varchar, b integer", "007,2\nu,1\n", "(header false)"),
        ("a varchar, b integer", "p|q\nNA|3\n", "(delim '|', null 'NA', header)"),
        ("a varchar, b integer", "p;q\n'x;y';3\n", "(delim ';', quote '''', header)"),
        ("a decimal(5, 2), b date", "1.239,2024-01-02\n,\n", ""),
        ("a double", "x\n1e3\n-0.5\n", ""),
        ("a integer", "x\n1.5\n", ""),
        ("a varchar", 'x\n""\n\nz\n', ""),
        ("a integer, b integer", "x,y\n1,2\n\n,\n3,4\n", ""),
        ("d date, t time, s timestamp, b boolean", "2024-01-02,10:11,2024-01-02 03:04:05,t\n", "(header false)"),
        ("a varchar, b varchar", 'a,b\n"x\n\ny","q""q"\nü,\n', ""),
        ("a integer, b varchar", '1,NA\n2,\n3,""\n', "(null 'NA', header 0)"),
        ("a varchar, b varchar", "a\tb\nx\t\n", "(delim '\\t', nullstr 'NA', header 'true')"),
    ],
)
def test_rows_of_csv_as_duckdb_copies_them(
    columns: str, text: str, options: str, tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    for engine in (session.sql, oracle.execute):
        engine(f"create table t ({columns})")
    expected = oracle.execute(f"copy t from '{path}' {options}").fetchall()
    assert session.sql(f"copy t from '{path}' {options}").fetchall() == expected
    assert session.sql("from t").fetchall() == oracle.execute("from t").fetchall()


@pytest.mark.parametrize("options", ["", "(null 'none')", "(null '-', delimiter '|', header false)", "(force_quote *)"])
def test_rows_of_csv_come_back(options: str, tmp_path: Path, session: sqlray.Session) -> None:
    path, read = tmp_path / "x.csv", options if "force" not in options else ""
    for query in ("select i, s, d from t", "select s from t"):
        session.sql(f"create or replace table t as {TEXTS}; create or replace table u as {query} limit 0")
        session.sql(f"copy ({query}) to '{path}' {options}; copy u from '{path}' {read}")
        empty = "" if "null" in options else None  # without a text for NULL, an empty one is read as NULL
        expected = [tuple(empty if v == "" else v for v in row) for row in session.sql(query).fetchall()]
        assert session.sql("from u").fetchall() == expected


def test_rows_of_other_files_as_duckdb_copies_them(
    tmp_path: Path, session: sqlray.Session, oracle: duckdb.DuckDBPyConnection
) -> None:
    for form in ("parquet", "json"):
        path = tmp_path / f"x.{form}"
        oracle.execute(f"copy (select 1 as b, 'x' as a union all select 2, null) to '{path}'")
        for engine in (session.sql, oracle.execute):
            engine("create or replace table t (a varchar, b varchar, c integer)")
            engine(f"copy t {'(b, a)' if form == 'parquet' else ''} from '{path}'")
        assert session.sql("from t").fetchall() == oracle.execute("from t").fetchall()
    session.sql(f"copy t to '{tmp_path / 'x.arrow'}'; copy t from '{tmp_path / 'x.arrow'}'")
    assert session.sql("select count(*) from t").fetchall() == [(4,)]


def test_rows_of_json_come_back(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.json"
    session.sql("create table t as select 1 as a, 'x' as b; create table u (a integer, b varchar)")
    for count, where in ((0, "where false"), (1, "")):
        for options in ("", "(array)"):
            session.sql(f"copy (select * from t {where}) to '{path}' {options}")
            assert _count(session.sql(f"copy u from '{path}' {options}")) == count
    assert session.sql("from u").fetchall() == [(1, "x")] * 2


def test_what_cannot_be_copied_from(tmp_path: Path, session: sqlray.Session) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n2,y\n1,z\n")
    session.sql("create table t (a integer primary key, b varchar not null); insert into t values (1, 'x')")
    session.sql("create view v as select * from t")
    session.register("other", memory_table("other", {"a": [1]}))
    for sql, kind, words in (
        (f"copy t from '{path}'", ExecutionError, ("x.csv", "already has a row with a = 1", "declared unique")),
        (f"copy t (a) from '{path}'", BindError, ("1 values", "2 are given")),
        (f"copy t (a, zz) from '{path}'", BindError, ('no column "zz"',)),
        (f"copy v from '{path}'", BindError, ("is a view",)),
        (f"copy nope from '{path}'", BindError, ("no table",)),
        (f"copy t from '{tmp_path / 'none.csv'}'", BindError, ("there is no file",)),
        (f"copy t from '{path}' (colour 1)", UnsupportedError, ("colour", "header")),
        (f"copy t (b, a) from '{path}'", ExecutionError, ("x.csv", "could not convert string 'y' to INTEGER")),
    ):
        with pytest.raises(kind) as caught:
            session.sql(sql)
        assert all(word in str(caught.value) for word in words), str(caught.value)
    path.write_text("a,b\n5,\n")
    with pytest.raises(ExecutionError, match="must not be NULL"):
        session.sql(f"copy t from '{path}'")
    assert session.sql("from t").fetchall() == [(1, "x")]


# ------------------------------------------------------------------------------------------------ where it shows


def test_how_it_is_displayed(tmp_path: Path, session: sqlray.Session) -> None:
    result = session.sql(f"copy (select 1 as a) to '{tmp_path / 'x.csv'}'")
    assert repr(result) == "COPY 1"
    assert result.to_arrow() == pa.table({"Count": pa.array([1], pa.int64())})


def test_on_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "sqlray.cli", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=environment
        )
        return done.stdout

    assert run("-c", "copy (select 1 as a) to 'x.csv'") == "COPY 1\n"
    assert (tmp_path / "x.csv").read_text() == "a\n1\n"
    copied = run("--format", "csv", "-c", "copy (select 2 as a) to 'x.csv'; select * from 'x.csv'")
    assert copied == "a\n2\n"
    assert run("-c", "copy (select 7 as b) to '/dev/stdout'") == "b\n7\nCOPY 1\n"


def test_a_query_ends_with_who_reads_it(tmp_path: Path) -> None:
    """Polars' threads that were still at work when Python ended made it abort."""
    query = "select a.n from range(10000) as a(n), range(1000) as b(n)"
    for arguments in (["-c", query, "--format", "csv", "-o"], ["-c"]):
        reader, writer = os.pipe()
        target = f"/dev/fd/{writer}"
        last = target if len(arguments) > 1 else f"copy ({query}) to '{target}'"
        process = subprocess.Popen([sys.executable, "-m", "sqlray.cli", *arguments, last], pass_fds=[writer])
        os.close(writer)
        assert os.read(reader, 1) == b"n"
        os.close(reader)
        assert process.wait(60) == 0


def test_what_was_written_to_stdout_before_stays_where_that_is_a_file(tmp_path: Path) -> None:
    script = "create table t as select 7 as b; copy t to '/dev/stdout'; copy t to '/dev/fd/1'; drop table t"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (tmp_path / "out").open("w") as out:
        subprocess.run(
            [sys.executable, "-m", "sqlray.cli", "-c", script], stdout=out, timeout=60, check=True, env=environment
        )
    assert (tmp_path / "out").read_text() == "CREATE TABLE\nb\n7\nCOPY 1\nb\n7\nCOPY 1\nDROP TABLE\n"
