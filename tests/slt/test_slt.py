"""The sqllogictest runner itself, and the corpus sample on sqlray."""

import hashlib
import os
from pathlib import Path

import pytest

from tests.slt.formats import compare
from tests.slt.parser import Halt, Record, SltSyntaxError, parse_text
from tests.slt.runner import Report, Settings, find_files, run_file

HERE = Path(__file__).parent
OWN = find_files([HERE / "sqlray"])
SAMPLE = find_files([HERE / "sqlite"])
CORPUS = Path(os.environ.get("SQLRAY_SLT", HERE.parents[2] / "shared" / "slt"))
# Of a file's records so many must pass; the rest may be unsupported, never wrong.
LEAST_SHARE = 0.99
# These files are mostly about what sqlray leaves out: indexes, blobs compared to numbers, triggers.
LEAST_SHARES = {
    "slt_lang_createview.test": 0.5,
    "slt_lang_aggfunc.test": 0.8,
    "in1.test": 0.9,
    "in2.test": 0.9,
}

SQLITE_FORM = """\
hash-threshold 8

statement ok
CREATE TABLE t(x INTEGER)

skipif mysql # not compatible
query IR rowsort label-1
SELECT x, x / 2.0 FROM t
----
1
0.500
NULL
NULL

onlyif mssql
halt

query T valuesort
SELECT y FROM t
----
30 values hashing to 3c13dee48d9356ae19af2515e05e6b54

statement error
SELECT nothing
"""

DUCKDB_FORM = """\
# name: test/sql/example.test
# group: [example]

loop i 0 2

query IT
SELECT ${i}, 'a'
----
${i}\ta

endloop

statement error
SELECT nothing
----
Binder Error

require parquet_from_the_moon

query I
SELECT 1
----
1
"""


def test_reads_sqlites_form() -> None:
    create, query, halt, hashed, error = parse_text(SQLITE_FORM, Path("a.test")).records
    assert isinstance(create, Record) and not create.is_query and not create.expect_error
    assert isinstance(query, Record)
    assert (query.types, query.sort, query.label) == ("IR", "rowsort", "label-1")
    assert query.expected == ("1", "0.500", "NULL", "NULL")
    assert query.conditions[0].engine == "mysql" and not query.conditions[0].only
    assert isinstance(halt, Halt) and halt.conditions[0].only
    assert isinstance(hashed, Record) and hashed.expected_hash == (30, "3c13dee48d9356ae19af2515e05e6b54")
    assert isinstance(error, Record) and error.expect_error


def test_reads_duckdbs_form() -> None:
    parsed = parse_text(DUCKDB_FORM, Path("a.test"))
    assert parsed.form == "duckdb"
    first, second, error, halt = parsed.records[:4]
    assert isinstance(first, Record) and first.sql == "SELECT 0, 'a'" and first.expected == ("0\ta",)
    assert isinstance(second, Record) and second.sql == "SELECT 1, 'a'"
    assert isinstance(error, Record) and error.expected == ("Binder Error",)
    assert isinstance(halt, Halt)


def test_says_where_a_file_is_wrong() -> None:
    with pytest.raises(SltSyntaxError, match=r"a\.test:1: unknown record 'quarry'"):
        parse_text("quarry I\nSELECT 1\n", Path("a.test"))


def test_formats_by_column_type() -> None:
    record = Record(1, "", types="IRT", expected=("1", "2.500", "(empty)", "NULL", "NULL", "NULL"))
    assert compare(record, [(1.7, 2.5, ""), (None, None, None)], "sqlite") is None
    assert "expected '2.500'" in str(compare(record, [(1, 2.4, ""), (None, None, None)], "sqlite"))
    assert "expected 3 columns" in str(compare(record, [(1, 2)], "sqlite"))


def test_compares_rows_of_duckdbs_form() -> None:
    record = Record(1, "", types="IT", sort="rowsort", expected=("2\tb", "1\ttrue"))
    assert compare(record, [(1, True), (2.0, "b")], "duckdb") is None


def test_hashes_as_sqlite_does() -> None:
    digest = hashlib.md5(b"1\n2\n3\n").hexdigest()
    record = Record(1, "", types="I", sort="rowsort", expected_hash=(3, digest))
    assert compare(record, [(3,), (1,), (2,)], "sqlite") is None
    assert "expected hash" in str(compare(record, [(3,), (1,), (4,)], "sqlite"))
    assert "expected 3 values" in str(compare(record, [(3,), (1,)], "sqlite"))


def test_duckdb_agrees_with_the_sample() -> None:
    """The runner reads and compares as SQLite's own does: DuckDB passes all but what it does differently."""
    path = HERE / "sqlite" / "select1.test"
    assert Report(run_file(path, Settings(engine="duckdb"))).passed_share() == 1.0


@pytest.mark.parametrize("partitions", [0, 3], ids=["whole", "3-partitions"])
@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_sample(path: Path, partitions: int) -> None:
    report = Report(run_file(path, Settings(options={"partitions": str(partitions)})))
    wrong = [o for o in report.outcomes if o.status == "wrong"]
    assert not wrong, report.groups()
    assert report.passed_share() >= LEAST_SHARES.get(path.name, LEAST_SHARE), report.groups()


@pytest.mark.parametrize("partitions", [0, 3], ids=["whole", "3-partitions"])
@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_files(path: Path, partitions: int) -> None:
    """Files of the project's own, with answers that DuckDB gave (`tests.slt.record`): all must pass."""
    report = Report(run_file(path, Settings(options={"partitions": str(partitions)})))
    assert not report.failures(), report.groups()


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus: set SQLRAY_SLT to its directory")
@pytest.mark.parametrize("partitions", [0, 3], ids=["whole", "3-partitions"])
def test_corpus(partitions: int) -> None:
    outcomes = [
        outcome
        for path in find_files([CORPUS])
        for outcome in run_file(path, Settings(options={"partitions": str(partitions)}))
    ]
    report = Report(outcomes)
    assert not [o for o in outcomes if o.status == "wrong"], report.groups()
    assert report.passed_share() >= LEAST_SHARE, report.groups()
