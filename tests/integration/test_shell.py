"""The interactive shell, driven through a terminal, and its completion."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

import sqlray
from sqlray.shell_completion import SqlCompleter

ROOT = Path(__file__).parents[2]
PROMPT = "sqlray> "


@pytest.fixture
def nation(tmp_path: Path) -> Path:
    path = tmp_path / "nation.parquet"
    pq.write_table(pa.table({"n_key": range(1000), "n_name": [f"nation {n}" for n in range(1000)]}), path)
    return path


class Terminal:
    """A shell in a terminal of 100 columns. What it prints is read without its colours and cursor moves."""

    def __init__(self, *arguments: str, home: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "SQLRAY_HISTORY": str(home / "history"),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        environment.pop("EDITOR", None)
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "sqlray.cli", *arguments],
            env=environment,
            cwd=str(ROOT),
            dimensions=(40, 100),
            encoding="utf-8",
            timeout=30,
        )
        self.wait_for_prompt()

    def wait_for_prompt(self) -> str:
        self.process.expect_exact(PROMPT)
        before = self.process.before
        assert isinstance(before, str)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", before).replace("\r", "")

    def run(self, *lines: str) -> str:
        """Type lines and return what is printed up to the next prompt."""
        for line in lines:
            self.process.send(line + "\r")
        # The first prompt is drawn again while text is typed; the output ends at the next empty one.
        self.process.expect_exact("\r\n")
        return self.wait_for_prompt()


@pytest.fixture
def terminal(nation: Path, tmp_path: Path) -> Iterator[Terminal]:
    shell = Terminal(str(nation), home=tmp_path)
    yield shell
    shell.process.close(force=True)


def test_statement_over_several_lines(terminal: Terminal) -> None:
    text = terminal.run("select count(*) as n", "from nation", "where n_key < 10;")
    assert "│ 10 │" in re.sub(r" +", " ", text)
    assert re.search(r"1 row  \(\d+\.\d+ s\)", text)


def test_long_results_are_cut(terminal: Terminal) -> None:
    text = terminal.run("from nation;")
    assert "1,000 rows (40 shown)" in text
    assert "nation 999" in text


def test_errors_leave_the_shell_running(terminal: Terminal) -> None:
    text = terminal.run("select n_nam from nation;")
    assert "Error" in text
    assert "^^^^^" in text
    assert "n_name" in text  # the suggestion
    assert "│ 1 │" in re.sub(r" +", " ", terminal.run("select 1;"))


def test_commands(terminal: Terminal) -> None:
    assert "n_key, n_name" in terminal.run(".tables")
    assert "n_name varchar" in terminal.run(".schema nation")
    assert ".quit" in terminal.run(".help")
    assert "did you mean '.timer'" in terminal.run(".timr")
    terminal.run(".timer off")
    assert terminal.run("select 1;").rstrip().endswith("1 row")
    terminal.run(".format csv")
    assert "a,b\n1,2\n" in terminal.run("select 1 as a, 2 as b;")


def test_interrupt_cancels_the_query_only(terminal: Terminal) -> None:
    # A billion pairs: takes longer than the test waits for it.
    query = "select sum(a.n_key * b.n_key + c.n_key) from nation a, nation b, nation c;"
    terminal.process.send(query + "\r")
    terminal.process.expect_exact("\r\n")
    terminal.process.expect(pexpect.TIMEOUT, timeout=1.5)
    terminal.process.sendintr()
    assert "cancelled" in terminal.wait_for_prompt()
    assert "│ 2 │" in re.sub(r" +", " ", terminal.run("select 2;"))


def test_interrupt_at_the_prompt_drops_the_line(terminal: Terminal) -> None:
    terminal.process.send("select nonsense")
    terminal.process.sendintr()
    terminal.wait_for_prompt()
    assert "│ 3 │" in re.sub(r" +", " ", terminal.run("select 3;"))


@pytest.mark.parametrize("leave", [".quit\r", ".quit;\r", "\x04"])
def test_leaving(terminal: Terminal, leave: str) -> None:
    terminal.process.send(leave)
    terminal.process.expect(pexpect.EOF)
    terminal.process.close()
    assert terminal.process.exitstatus == 0


def test_history_is_kept(terminal: Terminal, tmp_path: Path) -> None:
    terminal.run("select 42;")
    assert "select 42;" in (tmp_path / "history").read_text()


@pytest.fixture
def completer() -> SqlCompleter:
    session = sqlray.connect()
    session.register("orders", pa.table({"o_key": [1], "o_date": [1], "odd name": [1]}))
    session.register("parts", pa.table({"p_key": [1], "p_name": ["x"]}))
    return SqlCompleter(session)


@pytest.mark.parametrize(
    ("text", "expected", "absent"),
    [
        ("sel", ["select"], ["SELECT"]),
        ("SEL", ["SELECT"], ["select"]),
        ("select * from ", ["orders", "parts"], ["o_key"]),
        ("select * from orders join pa", ["parts"], ["partition"]),
        ("select o_", ["o_key", "o_date"], ["p_key"]),
        ("select * from parts where ", [], []),
        ("select * from parts where p", ["p_key", "p_name", "parts"], ["o_key"]),
        ("select o.", [], ["o_key"]),
        ("select * from orders as o where o.o_d", ["o_date"], ["o_key"]),
        ("select orders.", ["o_key", '"odd name"'], ["p_key"]),
        ("select coal", ["coalesce"], []),
        (".sch", [".schema"], []),
        (".schema o", ["orders"], ["parts"]),
        (".set memory", ["memory_limit"], []),
        (".timer ", ["on", "off"], []),
    ],
)
def test_completion(completer: SqlCompleter, text: str, expected: list[str], absent: list[str]) -> None:
    found = [c.text for c in completer.get_completions(Document(text, len(text)), CompleteEvent())]
    assert all(name in found for name in expected)
    assert not any(name in found for name in absent)


def test_completion_of_paths(completer: SqlCompleter, nation: Path) -> None:
    text = f"select * from '{nation.parent}/nat"
    found = [c.text for c in completer.get_completions(Document(text, len(text)), CompleteEvent())]
    assert found == ["ion.parquet"]
