"""CSV: what is told from a file alone, against DuckDB; options; and what goes wrong."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import sqlray
from executor.sources import csv_records
from executor.sources.csv_records import Dialect, records
from sqlray import ExecutionError, UnsupportedError

FILES = {
    "names": "name,city\nbob,paris\nann,rome\n",
    "nulls": 'a,b\n1,\n2,""\n3,x\n',
    "no_header": "1,2\n3,4\n",
    "no_header_mixed": "a,1\nb,2\n",
    "number_in_first_row": "1,b\n2,c\n3,d\n",
    "repeated_names": "a,a,b\n1,2,3\n",
    "unnamed": "a,\n1,2\n",
    "semicolons": "a;b\n1;2,5\n3;4,5\n",
    "tabs": "a\tb\n1\t2\n",
    "pipes": "a|b\n1|2\n",
    "one_column": "x\n1\n2\n",
    "types": (
        "d,t,ts,b,f\n2024-01-02,10:11:12,2024-01-02 03:04:05,true,1.5\n,,,,\n"
        "2024-02-02,10:11:12.5,2024-01-02T03:04:05.123,false,1e3\n"
    ),
    "header_only": "a,b\n",
    "quoted": 'a,b\n1,"x\ny"\n2,"q""q"\n3,"u,v"\n',
    "blank_lines": "a,b\n1,2\n\n3,4\n\n",
    "blank_lines_and_rows_of_nulls": 'a,b\n\n1,2\n,\n\n"",""\n3,"x\n\ny"\n\n',
    "blank_lines_and_rows_of_nulls_after_returns": "a;b\r\n1;2\r\n\r\n;\r\n3;4\r\n\r\n",
    "blank_lines_at_the_start": "\n\na,b\n1,2\n,\n",
    "blank_lines_at_the_start_of_one_column": "\n\na\n1\n\n2\n",
    "blank_line_of_one_column": "a\n1\n\n3\n",
    "empty_fields": "a,b\n1,2\n,\n3,4\n",
    "codes": "a,b\n007,1\n008,2\n",
    "booleans": "a,b\nt,True\nf,FALSE\n",
    "integers_and_floats": "a\n1\n2.5\n",
    "spaces": "a,b\n1 ,x \n 2, y\n",
    "slashes": "a\n2024/01/02\n2024/02/03\n",
    "dates_and_times": "a\n2024-01-02 03:04:05\n2024-01-03\n",
    "dates_and_text": "a\n2024-01-02\nhello\n",
    "plus": "a\n+3\n4\n",
    "all_null": "a,b\n1,\n2,\n",
    "nan": "a\nNaN\n1.5\n",
    "crlf": "a,b\r\n1,x\r\n2,y\r\n",
    "no_newline_at_end": "a,b\n1,x\n2,y",
    "bom": "\ufeffa,b\n1,2\n",
    "wide": ",".join(f"c{i}" for i in range(60)) + "\n" + ",".join(map(str, range(60))) + "\n",
}


def _same(path: object, options: str = "") -> None:
    sql = f"from read_csv('{path}'{options})"
    expected = duckdb.sql(sql)
    found = sqlray.connect().sql(f"select * {sql}")
    assert found.columns == expected.columns
    assert repr(found.fetchall()) == repr(expected.fetchall())


@pytest.mark.parametrize("name", FILES)
def test_as_duckdb_reads_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_bytes(FILES[name].encode())
    _same(path)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;b\n1;2\n", ", delim = ';'"),
        ("1,2\n3,4\n", ", header = true"),
        ("a,b\n1,2\n", ", header = false"),
        ("made by x\na,b\n1,2\n", ", skip = 1"),
        ("a,b\n1,NA\n2,3\n", ", nullstr = 'NA'"),
        ('a,b,c\n1,NA,x\n,,\n2,"",""\nNA,NA,NA\n', ", nullstr = 'NA'"),
        ("a,b\n1,x\n\n,NA\n\n", ", nullstr = 'NA'"),
        ('a\nx\n\n""\nNA\n\n', ", nullstr = 'NA'"),
        ("a,b\n1,2\n\n,\n", ", nullstr = ''"),
        ("a\tb\n1\t2\n", ", delim = '\\t', header = 1"),
        ("a,b\n1,2\n", ", all_varchar = true"),
        ("a;b\n1,5;x\n", ", delim = ';', decimal_separator = ','"),
        ("# c\na,b\n1,2\n# d\n3,4\n", ", comment = '#'"),
        ("a,b\n'x,y',2\n", ", quote = '''', delim = ','"),
    ],
)
def test_options(text: str, options: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    _same(path, options)


def test_an_empty_field_after_the_sample_is_no_number_where_nulls_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 2_000_000 + ",NA\n")
    _fails(path, "''", options=", nullstr = 'NA'")
    assert sqlray.connect().sql(f"select b from read_csv('{path}', nullstr = 'NA') where b is null").fetchall() == [
        (None,)
    ]


def test_large_integers_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n12345678901234567890\n")
    assert str(sqlray.connect().sql(f"select a from '{path}'").fetchone()) == "(Decimal('12345678901234567890'),)"


def test_compressed_glob_and_list(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,a\n")
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write("x,y\n2,b\n")
    session = sqlray.connect()
    assert session.sql(f"select * from '{tmp_path}/*.csv*' order by x").fetchall() == [(1, "a"), (2, "b")]
    assert session.sql(f"select * from '{tmp_path}' order by x").fetchall() == [(1, "a"), (2, "b")]
    session.register("t", [str(tmp_path / "b.csv.gz"), str(tmp_path / "a.csv")])
    assert session.sql("select sum(x) from t").fetchall() == [(3,)]


def test_folders_become_columns(tmp_path: Path) -> None:
    for day, n in (("2024-01-01", 1), ("2024-01-02", 2)):
        for kind in ("a", "b"):
            folder = tmp_path / f"day={day}" / f"kind={kind}"
            folder.mkdir(parents=True)
            (folder / "x.csv").write_text(f"n\n{n}\n")
    _same_rows = duckdb.sql(
        f"select day, kind, n from read_csv('{tmp_path}/*/*/*.csv', hive_partitioning = true) order by all"
    ).fetchall()
    session = sqlray.connect()
    found = session.sql(f"select day, kind, n from '{tmp_path}' order by all").fetchall()
    assert found == _same_rows
    counted = session.sql(f"select count(*) from '{tmp_path}' where kind = 'b' and n = 2").fetchall()
    assert counted == [(1,)]


def _fails(path: object, *words: str, options: str = "") -> None:
    with pytest.raises(ExecutionError) as caught:
        sqlray.connect().sql(f"select * from read_csv('{path}'{options})").fetchall()
    for word in words:
        assert word in str(caught.value)


def test_lines_that_do_not_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3,4,5\n")
    _fails(path, "record 3 has 3 values", str(path))


def test_a_value_of_another_type_after_the_sample(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 2_000_000 + "x,2\n")
    _fails(path, "'x'", '"a"', "sample_size")


def test_files_of_different_columns(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n1,2\n")
    _fails(tmp_path / "*.csv", "other columns", "b, c")


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,\xff\xfe\n")
    _fails(path, str(path))


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "# nothing\n"])
def test_no_lines(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    _fails(path, "x.csv is empty", options=", comment = '#'")


def test_cut_off_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 10_000)[:60])
    _fails(path, str(path), "CSV")


def test_unknown_option(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    with pytest.raises(UnsupportedError, match="no option 'colour'"):
        sqlray.connect().sql(f"select * from read_csv('{path}', colour = 1)")


def test_folders_that_cannot_match_are_not_read(tmp_path: Path) -> None:
    for k in (1, 2, 3):
        (tmp_path / f"k={k}").mkdir()
        (tmp_path / f"k={k}" / "x.csv").write_text(f"n\n{k}\n")
    session = sqlray.connect()
    session.register("t", str(tmp_path))
    others = session.sql("select sum(n) from t where k <> 2")
    one = session.sql("select k, n from t where k in (1, 7)")
    none = session.sql("select n from t where k > 5")
    every = session.sql("select sum(n) from t")
    (tmp_path / "k=2" / "x.csv").unlink()
    assert (others.fetchall(), one.fetchall(), none.fetchall()) == ([(4,)], [(1, 1)], [])
    with pytest.raises(ExecutionError, match="k=2"):
        every.fetchall()


def test_packed_rows_of_nulls(tmp_path: Path) -> None:
    """What looks like an empty line in packed bytes is none."""
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n,\n\n3,4\n"))
    assert sqlray.connect().sql(f"select * from '{path}'").fetchall() == [(1, 2), (None, None), (3, 4)]


@pytest.mark.parametrize(
    "line", ["31/01/2024,x", "2024-01-02 03:04:05+02,x", "2024-01-02T03:04:05.5Z,x", ",31.01.2024"]
)
def test_moments_that_stay_text_are_no_names(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{line}\n{line}\n")
    assert len(sqlray.connect().sql(f"select * from '{path}'").fetchall()) == 2
    path.write_text(f"a,b\n{line}\n{line}\n")
    assert sqlray.connect().sql(f"select * from '{path}'").columns == ["a", "b"]


def _pieces(path: Path, text: bytes, dialect: Dialect, columns: int = 2) -> bytes:
    path.write_bytes(text)
    pieces = list(records(str(path), dialect, columns))
    assert all(p.endswith(b"\n") for p in pieces[:-1])
    return b"".join(pieces)


def _byte_by_byte(text: str, comment: str) -> str:
    """Records without empty lines and comments, in the simplest way."""
    kept, inside, line = [], False, ""
    for character in text:
        line += character
        inside ^= character == '"' and not (comment and line.startswith(comment))
        if character == "\n" and not inside:
            if line.strip("\r\n") and not (comment and line.startswith(comment)):
                kept.append(line)
            line = ""
    return "".join(kept) + line


@pytest.mark.parametrize("comment", ["", "#"])
def test_empty_lines_go_wherever_pieces_of_a_file_end(
    comment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_records, "_SEARCHED", 5)
    monkeypatch.setattr(csv_records, "_FIRST_PIECE", 1)
    monkeypatch.setattr(csv_records, "_PIECE", 7)
    chosen = random.Random(3)
    parts = ["a,b\n", ",\n", "\n", "\n\n", "\r\n", '"x\n\n#y",1\n', '"q""\n\n""",2\n', "c,d\r\n", "e#,f\n"]
    parts += ['# say "\n'] if comment else []
    for _ in range(300):
        text = "".join(chosen.choices(parts, k=chosen.randrange(12))) + chosen.choice(["", "g,h", "\n"])
        found = _pieces(tmp_path / "x.csv", text.encode(), Dialect(",", comment=comment))
        assert found.decode().strip("\n") == _byte_by_byte(text, comment).strip("\n"), repr(text)


def test_lines_that_are_skipped_are_no_records(tmp_path: Path) -> None:
    text = b'5" pipes\n\n\na,b\n1,2\n\n,\n'
    assert _pieces(tmp_path / "x.csv", text, Dialect(",", skip=1)) == b"a,b\n1,2\n,\n"
    assert _pieces(tmp_path / "x.csv", text, Dialect(",", skip=9)) == b""
    assert _pieces(tmp_path / "x.csv", b"\n\na\n\n1\n", Dialect(","), columns=1) == b"a\n\n1\n"


def test_quotes_in_comments(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('# say "\n\na,b\n# it\n1,"x\n\n# y"\n\n,\n3,4\n# "')
    found = sqlray.connect().sql(f"select * from read_csv('{path}', comment = '#')")
    assert (found.columns, found.fetchall()) == (["a", "b"], [(1, "x\n\n# y"), (None, None), (3, "4")])


def test_an_empty_line_anywhere_in_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    lines = "12345,abcdefgh\n" * 4_500_000
    path.write_text("a,b\n" + lines + "\n" + lines)
    found = sqlray.connect().sql(f"select count(*), count(a) from '{path}'")
    assert found.fetchall() == [(9_000_000, 9_000_000)]


def test_parts_of_a_file_with_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b,c\n\n" + "".join(f"{i},t{i},{i / 4}\n,,\n\n" for i in range(50_000)))
    session = sqlray.connect()
    for sql in (
        "select count(*) from t",
        "select sum(c) from t where a % 7 = 1",
        "select count(*) from (select * from t limit 1000) where a > 5",
        "select b from t where a > 49990 order by a limit 3",
        "select count(*) from t where a is null",
    ):
        expected = duckdb.sql(sql.replace("from t", f"from read_csv('{path}')"))
        assert session.sql(sql.replace("from t", f"from '{path}'")).fetchall() == expected.fetchall(), sql
    few = session.sql(f"select * from '{path}' limit 3").fetchall()
    assert few == [(0, "t0", 0.0), (None, None, None), (1, "t1", 0.25)]


def test_a_sample_that_ends_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for length in range(40):
        path.write_text("a,b,c\n" + f'1,"{"x" * length}\n\ny",2.5\n' * 40)
        found = sqlray.connect().sql(f"select sum(a), min(b), sum(c) from read_csv('{path}', sample_size = 1)")
        assert found.fetchall() == [(40, "x" * length + "\n\ny", 100.0)]
    path.write_text('a,b\n1,"' + "x\n" * 1000 + '"\n')
    found = sqlray.connect().sql(f"select a, length(b) from read_csv('{path}', sample_size = 1)")
    assert found.fetchall() == [("1", 2000)]


def test_what_is_wrong_in_a_file_with_empty_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    rows = "1,2\n,\n\n" * 800_000
    path.write_text("a,b\n" + rows + "x,2\n")
    _fails(path, "'x'", '"a"', "sample_size")
    path.write_bytes(b"a,b\n" + rows.encode() + b"1,2,3\n")
    _fails(path, "more fields")
    monkeypatch.setattr(csv_records, "_LONGEST", 1 << 20)
    path.write_text("a,b\n" + rows + '5" pipe,2\n' + rows)
    _fails(path, "a record of more than", "quote")


def test_a_file_with_empty_lines_is_read_in_pieces(tmp_path: Path) -> None:
    """It is not held whole: reading one of 200 MB takes a process less than that beyond what it starts with."""
    path = tmp_path / "x.csv"
    block = 'a,b\n"' + "x" * 990 + '",1\n,\n\n'
    with path.open("w") as file:
        for _ in range(200):
            file.write(block * 1000)
    code = (
        "import resource, sqlray\n"
        f"sqlray.sql(\"select 1 from '{tmp_path / 'small.csv'}'\").fetchall()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"print(sqlray.sql(\"select count(*) from '{path}'\").fetchone()[0])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    (tmp_path / "small.csv").write_text("a,b\n1,2\n,\n\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 200_000 * 3 - 1
    assert kilobytes < 180_000
