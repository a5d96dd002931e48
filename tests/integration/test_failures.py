"""Bad input and bad luck: what the error says, that the session goes on, and that nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sqlray
from planner.errors import BindError, CancelledError, ExecutionError, ParseError, SqlrayError, UnsupportedError

SLOW = "select count(*) from big x join big y on x.b = y.b join big z on y.b = z.b where x.a + y.a + z.a <> 7"
SPILLING = {"memory_limit": "1MB", "partitions": 3, "staged": True}
SPILLED = "select b, count(*), sum(a) from big group by b, a order by 1, 3 limit 5"

# What to run over table t(a, b, d), the error's class, words of its text, and whether it names a place.
BAD_SQL = [
    ("select aa from t", BindError, 'did you mean "a"', True),
    ("select t.zz from t", BindError, "columns here: a, b, d", True),
    ("select * from tt", BindError, 'did you mean "t"', True),
    ("select florr(a) from t", BindError, 'did you mean "floor"', True),
    ("select a + b from t", BindError, "INTEGER + VARCHAR", True),
    ("select sum(b) from t", BindError, "sum does not take", True),
    ("select a from t x join t y on true", BindError, "ambiguous", True),
    ("select a, count(*) from t", BindError, "GROUP BY", True),
    ("select a from t order by 5", BindError, "out of range", True),
    ("select a from t limit -1", BindError, "cannot be negative", True),
    ("select ?", BindError, "pass params", False),
    ("select 1 // 0", ExecutionError, "division by zero", False),
    ("select a // (a - a) from t", ExecutionError, "nullif", False),
    ("select 2147483647::int + a from t", ExecutionError, "out of range for INTEGER", False),
    ("select 9223372036854775807 + 1", ExecutionError, "out of range for BIGINT", False),
    ("select d * 9999999999999999999999999999999999999 from t", ExecutionError, "DECIMAL", False),
    ("select cast(300 as tinyint)", BindError, "out of range", True),
    ("select cast('2020-13-01' as date)", BindError, "'1995-01-31'", True),
    ("select b::int from t", ExecutionError, "TRY_CAST", False),
    ("select (select a from t)", ExecutionError, "more than one row", False),
    ("select a from t where a = (select a from t)", ExecutionError, "LIMIT 1", False),
    ("selec 1", ParseError, "syntax error", True),
    ("select (1", ParseError, "Expecting )", True),
    ("select 'abc", ParseError, "closing '", True),
    ("select * from t where", ParseError, "WHERE is incomplete", True),
    ("select b from t group by grouping sets ((a), ())", BindError, "must appear in GROUP BY", True),
    ("select a from t group by rollup()", BindError, "ROLLUP needs a key", True),
    ("select grouping(b) from t group by rollup(a)", BindError, "key of GROUP BY", True),
    ("with recursive r as (select 1 x union all select x + 1 from r) from r", UnsupportedError, "recursive", True),
    ("select * from t pivot (sum(a) for b in ('x', 'y'))", UnsupportedError, "PIVOT", True),
    ("update t set a = 1", UnsupportedError, "UPDATE", True),
    ("create table q (a foo)", UnsupportedError, "foo", True),
    ("set zz = 1", BindError, "no option", False),
    ("set memory_limit = 'abc'", BindError, "a size such as", False),
    ("insert into t values (1)", BindError, "its columns: a, b, d", True),
]  # fmt: skip


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.parquet"
    frame = pl.DataFrame({"a": range(100_000), "b": [i % 500 for i in range(100_000)]})
    frame.write_parquet(path, row_group_size=10_000)
    return path


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    made = tmp_path / "spill"
    made.mkdir()
    return made


@pytest.fixture
def session(big: Path, spill: Path) -> Iterator[sqlray.Session]:
    made = sqlray.connect(temp_directory=str(spill))
    made.register("big", big)
    made.sql("create table t (a int, b varchar, d decimal(38, 2)); insert into t values (1, 'x', 1.5), (2, 'y', 2)")
    yield made
    assert_usable(made)
    assert not list(spill.iterdir()) if spill.exists() else True
    assert not [t for t in threading.enumerate() if t.name.startswith("sqlray")]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parquet") / "good.parquet"
    n = 5000
    table = pa.table({"a": range(n), "b": [f"w{i % 97}" for i in range(n)], "c": [i / 3 for i in range(n)]})
    pq.write_table(table, path, row_group_size=1000)
    return path


def assert_usable(session: sqlray.Session) -> None:
    assert session.sql("select a + 1 from t order by 1").fetchall() == [(2,), (3,)]


@pytest.mark.parametrize(("sql", "kind", "words", "placed"), BAD_SQL)
def test_sql(session: sqlray.Session, sql: str, kind: type[SqlrayError], words: str, placed: bool) -> None:
    with pytest.raises(kind) as caught:
        session.sql(sql).to_arrow()
    assert words in str(caught.value)
    assert (caught.value.position is not None and "^" in str(caught.value)) == placed


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.json", "x.arrow", "*.parquet", "sub", "x.unknown"])
def test_missing_files(session: sqlray.Session, tmp_path: Path, name: str) -> None:
    with pytest.raises(BindError) as caught:
        session.sql(f"select * from '{tmp_path / name}'")
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.position is not None
    with pytest.raises(SqlrayError):
        session.register("r", tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.parquet", "half"),
        ("garbage.parquet", "garbage"),
        ("empty.parquet", "empty"),
        ("text.parquet", "text"),
        ("wrong.csv", "all"),
        ("wrong.json", "all"),
        ("wrong.arrow", "all"),
        ("no_suffix", "all"),
    ],
)
def test_files_that_are_something_else(
    session: sqlray.Session, tmp_path: Path, parquet: Path, name: str, content: str
) -> None:
    raw = parquet.read_bytes()
    contents = {"half": raw[: len(raw) // 2], "garbage": bytes(range(7, 256)) * 9, "empty": b"", "text": b"a,b\n1,2\n"}
    path = tmp_path / name
    path.write_bytes(contents.get(content, raw))
    with pytest.raises((BindError, ExecutionError)) as caught:
        session.sql(f"select * from '{path}'").to_arrow()
    assert str(path) in str(caught.value)


def test_corrupt_pages_fail_while_running(session: sqlray.Session, tmp_path: Path, parquet: Path) -> None:
    raw = bytearray(parquet.read_bytes())
    for i in range(200, len(raw) - 5000, 7):
        raw[i] ^= 0xFF
    path = tmp_path / "pages.parquet"
    path.write_bytes(raw)
    for sql in ("select * from '{}'", "select b, sum(c) from '{}' group by b", "select max(b) from '{}' where a > 5"):
        with pytest.raises(ExecutionError) as caught:
            session.sql(sql.format(path)).to_arrow()
        assert "corrupt" in str(caught.value)
    session.set_option("staged", True)
    session.set_option("partitions", 3)
    with pytest.raises(ExecutionError):
        session.sql(f"select b, sum(c) from '{path}' group by b").to_arrow()


def test_no_permission(session: sqlray.Session, tmp_path: Path, parquet: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "secret.parquet"
    path.write_bytes(parquet.read_bytes())
    path.chmod(0)
    with pytest.raises(ExecutionError, match="no permission"):
        session.sql(f"select * from '{path}'")


def test_a_file_deleted_or_rewritten_before_it_runs(session: sqlray.Session, tmp_path: Path, parquet: Path) -> None:
    path = tmp_path / "gone.parquet"
    path.write_bytes(parquet.read_bytes())
    session.register("gone", path)
    sql = "select sum(a), max(b) from gone where c > 3"
    result = session.sql(sql)
    path.unlink()
    with pytest.raises(SqlrayError) as caught:
        result.to_arrow()
    assert str(path) in str(caught.value)
    with pytest.raises(SqlrayError):
        session.sql(sql)
    path.write_bytes(parquet.read_bytes())
    result = session.sql(sql)
    pq.write_table(pa.table({"other": ["x"] * 7}), path)
    with pytest.raises(SqlrayError):
        result.to_arrow()
    path.write_text("no longer Parquet")
    with pytest.raises(SqlrayError):
        session.sql(sql).to_arrow()


def test_disk_full(session: sqlray.Session, monkeypatch: pytest.MonkeyPatch, spill: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name, value in SPILLING.items():
        session.set_option(name, value)
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_ipc", full)
        with pytest.raises(ExecutionError) as caught:
            session.sql(SPILLED).to_arrow()
    assert "No space left" in str(caught.value)
    assert "temp_directory" in str(caught.value)
    assert session.sql(SPILLED).num_rows == 5


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_disk_really_full(session: sqlray.Session, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed")
    try:
        for name, value in {**SPILLING, "temp_directory": str(small)}.items():
            session.set_option(name, value)
        with pytest.raises(ExecutionError, match="cannot spill"):
            session.sql(SPILLED).to_arrow()
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_no_place_to_spill(session: sqlray.Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "absent", tmp_path / "file"):
        for name, value in {**SPILLING, "temp_directory": str(place)}.items():
            session.set_option(name, value)
        with pytest.raises(ExecutionError) as caught:
            session.sql(SPILLED).to_arrow()
        assert str(place) in str(caught.value)


def test_spill_of_a_killed_process_is_removed(session: sqlray.Session, big: Path, spill: Path) -> None:
    script = (
        "import os, signal, sqlray\n"
        f"s = sqlray.connect(temp_directory={str(spill)!r}, memory_limit='1MB', partitions=3, staged=True)\n"
        f"s.register('big', {str(big)!r})\n"
        "batches = s.sql('select x.a, y.b from big x join big y on x.a = y.a').batches()\n"
        "next(batches)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(sqlray.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(list(spill.iterdir())) == 1
    other = spill / f"sqlray-{os.getpid()}-mine"
    other.mkdir()
    for name, value in SPILLING.items():
        session.set_option(name, value)
    assert session.sql(SPILLED).num_rows == 5
    assert list(spill.iterdir()) == [other]  # of a process that is alive
    other.rmdir()


@pytest.mark.parametrize("options", [{}, {"partitions": 2, "staged": True}])
def test_cancelled_from_another_thread(session: sqlray.Session, options: dict[str, object]) -> None:
    for name, value in options.items():
        session.set_option(name, value)
    timer = threading.Timer(0.3, session.cancel)
    timer.start()
    started = time.perf_counter()
    with pytest.raises(CancelledError):
        session.sql(SLOW).to_arrow()
    assert time.perf_counter() - started < 5
    timer.join()


def test_keyboard_interrupt(session: sqlray.Session) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        session.sql(SLOW).to_arrow()
    timer.join()


def test_cancelling_a_paused_query_leaves_its_reader_alone(session: sqlray.Session) -> None:
    batches = session.sql("select x.a, y.a from big x join big y on x.b = y.b").batches()
    next(batches)
    timer = threading.Timer(0.05, session.cancel)
    timer.start()
    time.sleep(0.3)  # a KeyboardInterrupt here would be the reader's
    with pytest.raises(CancelledError):
        for _ in batches:
            pass


@pytest.mark.parametrize("options", [{}, SPILLING])
def test_batches_dropped_half_way(session: sqlray.Session, spill: Path, options: dict[str, object]) -> None:
    for name, value in options.items():
        session.set_option(name, value)
    batches = session.sql("select x.a, y.b from big x join big y on x.a = y.a").batches()
    next(batches)
    del batches
    assert not list(spill.iterdir())


def test_rarities(session: sqlray.Session) -> None:
    assert session.sql("select '\0' as zero, a from t limit 99999999999999999999").num_rows == 2
    number = session.sql("select 99999999999999999999999999999999.99").fetchall()[0][0]
    assert str(number) == "99999999999999999999999999999999.99"
