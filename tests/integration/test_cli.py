"""The `sqlray` command, as its users start it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqlray.paths import table_name
from sqlray.statements import is_complete, split_statements
from sqlray.version import __version__

ROOT = Path(__file__).parents[2]


def sqlray(*arguments: str, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "sqlray.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=environment,
        check=False,
    )


def output(*arguments: str, stdin: str = "") -> str:
    done = sqlray(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table({"name": ["Ada", "Grace", None], "age": [36, 85, 7]}), path)
    return path


def test_table() -> None:
    assert output("-c", "select 1 as a, 'x' as b") == (
        "┌─────────┬─────────┐\n"
        "│    a    │    b    │\n"
        "│ integer │ varchar │\n"
        "├─────────┼─────────┤\n"
        "│       1 │ x       │\n"
        "└─────────┴─────────┘\n"
        "1 row\n"
    )


def test_csv(people: Path) -> None:
    text = output(str(people), "--format", "csv", "-c", "select * from people order by age")
    assert text == "name,age\n,7\nAda,36\nGrace,85\n"


def test_csv_quotes_what_needs_it() -> None:
    assert output("--format", "csv", "-c", """select 'a,"b"' as "x,y", '' as e""") == '"x,y",e\n"a,""b""",""\n'


def test_json() -> None:
    sql = """select 1.50 as d, null as n, true as b, 'é"' as s, 1e0 as f, date '2024-01-02' as t"""
    text = output("--format", "json", "-c", sql)
    assert json.loads(text) == [{"d": 1.5, "n": None, "b": True, "s": 'é"', "f": 1.0, "t": "2024-01-02"}]
    assert '"d":1.50' in text  # every digit of a decimal


def test_json_without_rows() -> None:
    assert output("--format", "json", "-c", "select 1 as a where false") == "[]\n"


def test_markdown() -> None:
    text = output("--format", "markdown", "-c", "select 12345 as n, 'a|b' as s")
    assert text == "|     n | s    |\n| ----: | ---- |\n| 12345 | a\\|b |\n"
    two = output("--format", "markdown", "-c", "select 1 as a; select 2 as b")
    assert two == "|   a |\n| --: |\n|   1 |\n\n|   b |\n| --: |\n|   2 |\n"


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "json"])
def test_output_file(tmp_path: Path, people: Path, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    assert output(str(people), "-c", "select age from people order by age", "-o", str(target)) == ""
    match suffix:
        case "parquet":
            ages = pq.read_table(target).column("age").to_pylist()
        case "arrow":
            ages = pa.ipc.open_file(target).read_all().column("age").to_pylist()
        case "csv":
            ages = [int(line) for line in target.read_text().splitlines()[1:]]
        case _:
            ages = [row["age"] for row in json.loads(target.read_text())]
    assert ages == [7, 36, 85]


def test_arrow_to_a_pipe(people: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlray.cli", str(people), "-c", "from people", "--format", "arrow"],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert pa.ipc.open_stream(done.stdout).read_all().num_rows == 3


def test_failed_query_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    done = sqlray("-c", "select 1 as a; select nothing", "-o", str(target))
    assert done.returncode == 1
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_output_to_a_missing_directory(tmp_path: Path) -> None:
    done = sqlray("-c", "select 1", "-o", str(tmp_path / "no" / "out.csv"))
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


def test_two_results_do_not_fit_a_parquet_file(tmp_path: Path) -> None:
    done = sqlray("-c", "select 1; select 2", "-o", str(tmp_path / "out.parquet"))
    assert done.returncode == 1
    assert "holds one result" in done.stderr
    assert not list(tmp_path.iterdir())


def test_script_from_stdin_and_file(tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("create table t (a integer);\ninsert into t values (1), (2);\nselect sum(a) as s from t;")
    assert output("-f", str(script), "--format", "csv") == "s\n3\n"
    assert output("--format", "csv", stdin=script.read_text()) == "s\n3\n"
    assert output("--format", "csv", stdin=f".read {script}\n") == "s\n3\n"
    assert output("--format", "csv", "-c", "select 7 as x", "-f", str(script)) == "x\n7\ns\n3\n"


def test_error_tells_the_place_in_the_script() -> None:
    done = sqlray(stdin="select 1;\n\n  select nothing\n  from (values (1)) t(number);\nselect 2;")
    assert done.returncode == 1
    assert "line 3" in done.stderr
    line, carets = done.stderr.splitlines()[1:3]
    assert carets.index("^") == line.index("nothing")
    assert done.stdout.count("row") == 1  # nothing runs after the error


def test_syntax_error() -> None:
    done = sqlray("-c", "selec 1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_missing_file() -> None:
    done = sqlray("no/such.parquet", "-c", "select 1")
    assert done.returncode == 1
    assert "no/such.parquet" in done.stderr


def test_options() -> None:
    text = output("--set", "max_rows=2", "-c", "select * from (values (1), (2), (3), (4)) t(a)")
    assert text.endswith("4 rows (2 shown)\n")
    done = sqlray("--set", "max_row=2", "-c", "select 1")
    assert done.returncode == 1
    assert "did you mean 'max_rows'?" in done.stderr


def test_dot_commands_in_a_script(people: Path) -> None:
    text = output(str(people), stdin=".tables\n.schema people\n.format csv\nselect 1 as a;\n.quit\nselect 2;")
    assert "people" in text
    assert "name varchar" in text
    assert text.endswith("a\n1\n")


def test_an_error_in_a_file_that_is_read_has_its_place_there(tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("select 1;\nselect nope;\n")
    done = sqlray(stdin=f"select 0;\n\n.read {script}")
    assert done.returncode == 1
    assert "line 2: select nope;\n               ^^^^" in done.stderr


def test_explain_command(people: Path) -> None:
    text = output(str(people), stdin="select count(*) from people where age > 8;\n.explain")
    assert "people" in text.split("1 row\n", 1)[1]
    assert "Scan" in output(str(people), "-c", "explain select name from people")


def test_paths_with_names(people: Path) -> None:
    assert output(f"folks={people}", "--format", "csv", "-c", "select count(*) as n from folks") == "n\n3\n"
    done = sqlray(str(people), str(people), "-c", "select 1")
    assert done.returncode == 1
    assert "already is a table 'people'" in done.stderr


def test_reader_that_goes_away(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(200_000)}), tmp_path / "many.parquet")
    command = f"{sys.executable} -m sqlray.cli {tmp_path}/many.parquet --format csv -c 'from many' | head -n 2"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.stdout == "n\n0\n"
    assert done.stderr == ""


def test_version_and_help() -> None:
    assert output("--version") == f"sqlray {__version__}\n"
    assert "sqlray tpch run" in output("--help")


def test_heavy_packages_are_not_imported() -> None:
    code = (
        "import sys; from sqlray.cli import main; main(['-c', 'select 1']); "
        "heavy = 'rich', 'prompt_toolkit', 'pygments', 'pandas', 'duckdb', 'ray'; "
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("orders.parquet", "orders"),
        ("data/orders.csv.gz", "orders"),
        ("data/orders/", "orders"),
        ("data/orders/*.parquet", "orders"),
        ("data/orders/day=*/part-*.parquet", "orders"),
        ("s3://bucket/orders/", "orders"),
    ],
)
def test_table_name(path: str, name: str) -> None:
    assert table_name(path) == name


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ; ;-- nothing\n", []),
        ("select 1", ["select 1"]),
        ("select 1; select 2;", ["select 1", "select 2"]),
        ("select ';' as \"a;b\"; x", ["select ';' as \"a;b\"", "x"]),
        ("select 'it''s;'; x", ["select 'it''s;'", "x"]),
        ("a -- ;\n; b /* ; /* ; */ ; */; c", ["a -- ;", "b /* ; /* ; */ ; */", "c"]),
        ("$$ ; $$; $tag$ ; $$ ; $tag$", ["$$ ; $$", "$tag$ ; $$ ; $tag$"]),
        (".timer on\nselect .5;\n  .help", [".timer on", "select .5", ".help"]),
    ],
)
def test_split_statements(script: str, statements: list[str]) -> None:
    assert [statement.text for statement in split_statements(script)] == statements


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("select 1", False),
        ("select 1;", True),
        ("select 1; select", False),
        ("select 1; -- done", True),
        ("select ';", False),
        (".tables", True),
    ],
)
def test_is_complete(text: str, complete: bool) -> None:
    assert is_complete(text) is complete
