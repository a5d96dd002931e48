"""TPC-H at a small scale: every answer against DuckDB, and the commands around it."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from planner.errors import ExecutionError
from sqlray.tpch import main
from sqlray.tpch_data import table_paths
from sqlray.tpch_engines import open_engine
from sqlray.tpch_verify import compare, verify
from tpch_queries import NUMBERS, query

ROOT = Path(__file__).parents[2]

SETTINGS = {
    "one task": {},
    "3 partitions": {"partitions": "3", "staged": "true"},
    "64 MB": {"memory_limit": "64MB"},
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_answer(tpch_data: Path, number: int, settings: dict[str, str]) -> None:
    paths = table_paths(tpch_data)
    [verdict] = verify([number], open_engine("sqlray", paths, settings), open_engine("duckdb", paths, {}))
    assert verdict.problem is None


@pytest.mark.parametrize("number", NUMBERS)
def test_polars_peer_does_the_same_work(tpch_data: Path, number: int) -> None:
    paths = table_paths(tpch_data)
    ours = open_engine("polars", paths, {})(number).to_pylist()
    theirs = open_engine("duckdb", paths, {})(number).to_pylist()
    assert [list(row) for row in ours] == [list(row) for row in theirs]  # the columns' names
    for our, their in zip(ours, theirs, strict=True):
        for value, expected in zip(our.values(), their.values(), strict=True):
            if isinstance(value, float):
                # Polars sums no rows to 0, SQL to NULL (Q17 finds none at this scale)
                assert value == pytest.approx(float(expected or 0), rel=1e-9)
            else:
                assert value == expected


def test_queries_are_the_specifications() -> None:
    assert "interval '3' month" in query(4)
    assert "substring(c_phone from 1 for 2)" in query(22)
    assert all(query(number).rstrip().endswith(";") for number in NUMBERS)
    with pytest.raises(ValueError, match="1 to 22"):
        query(23)


def test_run_beside_peers(tpch_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(tpch_data), "--queries", "1,6", "--runs", "1", "--compare", "duckdb,polars"]
    assert main(["run", *arguments, "--memory"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["query", "rows"]
    assert [line.split()[:2] for line in lines[1:3]] == [["q01", "4"], ["q06", "1"]]
    assert "geometric mean" in lines[-1]


def test_run_as_json(tpch_data: Path, tmp_path: Path) -> None:
    target = tmp_path / "times.json"
    assert main(["run", "--data", str(tpch_data), "--queries", "6", "--runs", "1", "-o", str(target)]) == 0
    assert '"query":6,"rows":1,"sqlray_seconds":' in target.read_text()


def test_verify_command(tpch_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--data", str(tpch_data), "--queries", "1,13-14", "--partitions", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 of 3 right")


def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "data"
    assert main(["generate", "--scale", "0.001", "--output", str(directory)]) == 0
    assert len(table_paths(directory)) == 8
    assert "8 tables" in capsys.readouterr().out
    with pytest.raises(ExecutionError, match="is not empty"):
        main(["generate", "--scale", "0.001", "--output", str(directory)])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_missing_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlray.cli", "tpch", "run", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no TPC-H data" in done.stderr
    assert "sqlray tpch generate" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--queries", "23"], ["--queries", "x"], ["--runs", "0"], ["--compare", "spark"], ["--scale", "-1"]],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", *arguments])


def decimals(*values: str) -> pa.Array:
    return pa.array([Decimal(value) for value in values], pa.decimal128(38, 2))


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        ({"k": [1, 2], "v": decimals("1.10", "2.20"), "d": [0.1, 0.2]}, None),
        ({"k": [1, 2], "v": decimals("1.10", "2.20"), "d": [0.1 + 1e-15, 0.2]}, None),
        ({"k": [1, 2], "v": decimals("1.10", "2.20"), "d": [0.1 + 1e-9, 0.2]}, "instead of"),
        ({"k": [1, 2], "v": decimals("1.10", "2.21"), "d": [0.1, 0.2]}, "2.21"),
        ({"k": [2, 1], "v": decimals("2.20", "1.10"), "d": [0.2, 0.1]}, "row 1 sorts by"),
        ({"k": [1], "v": decimals("1.10"), "d": [0.1]}, "1 rows instead of 2"),
        ({"k": [1, 2], "v": [1.1, 2.2], "d": [0.1, 0.2]}, "v is DOUBLE instead of DECIMAL(38,2)"),
        ({"k": [1, 2], "w": decimals("1.10", "2.20"), "d": [0.1, 0.2]}, "columns"),
    ],
)
def test_compare_finds_differences(actual: dict[str, object], problem: str | None) -> None:
    expected = pa.table({"k": [1, 2], "v": decimals("1.10", "2.20"), "d": [0.1, 0.2]})
    found = compare(pa.table(actual), expected, (0,))
    assert found is None if problem is None else problem in (found or "")
