"""The interactive shell, driven through a terminal, and its completion."""

from __future__ import annotations

import os
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


@pytest.fixture
def nation(tmp_path: Path) -> Path:
    path = tmp_path / "nation.parquet"
    pq.write_table(pa.table({"n_key": range(1000), "n_name": [f"nation {n}" for n in range(1000)]}), path)
    return path


class Terminal:
    """A shell in a terminal of 100 columns. Lines are typed, and what it prints is waited for."""

    def __init__(self, *arguments: str, home: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "SQLRAY_HISTORY": str(home / "history"),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        for name in ("EDITOR", "LINES", "COLUMNS"):  # readline puts a size there, which would hide the terminal's
            environment.pop(name, None)
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "sqlray.cli", *arguments],
            env=environment,
            cwd=str(ROOT),
            dimensions=(40, 100),
            encoding="utf-8",
            timeout=30,
        )
        self.see("sqlray> ")

    def type(self, *lines: str) -> None:
        for line in lines:
            self.process.send(line + "\r")

    def see(self, pattern: str) -> None:
        """Wait until something that matches is printed, after what was seen before."""
        self.process.expect(pattern)


@pytest.fixture
def terminal(nation: Path, tmp_path: Path) -> Iterator[Terminal]:
    shell = Terminal(str(nation), home=tmp_path)
    yield shell
    shell.process.close(force=True)


def test_copy_tells_its_rows(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(f"copy nation to '{tmp_path / 'copy.csv'}' (header false);")
    terminal.see(r"COPY 1000  \(\d+\.\d+ s\)\r\n")
    assert (tmp_path / "copy.csv").read_text().startswith("0,nation 0\n")


def test_statement_over_several_lines(terminal: Terminal) -> None:
    terminal.type("select count(*) as n", "from nation", "where n_key < 10;")
    terminal.see(r"│ +10 │")
    terminal.see(r"1 row  \(\d+\.\d+ s\)\r\n")


def test_long_results_are_cut(terminal: Terminal) -> None:
    terminal.type("from nation;")
    terminal.see("nation 999 ")
    terminal.see(r"1,000 rows \(30 shown\)")  # what 40 lines hold


def test_errors_leave_the_shell_running(terminal: Terminal) -> None:
    terminal.type("select n_nam from nation;")
    terminal.see("Error")
    terminal.see(r"\^\^\^\^\^")
    terminal.see("n_name")  # the suggestion
    terminal.type("select 4711;")
    terminal.see(r"│ +4711 │")


def test_commands(terminal: Terminal) -> None:
    terminal.type(".tables")
    terminal.see("n_key, n_name")
    terminal.type(".schema nation")
    terminal.see("n_name varchar")
    terminal.type(".help")
    terminal.see(r"\.quit +leave the shell")
    terminal.type(".timr")
    terminal.see(r"did you mean '\.timer'")


def test_timer_and_format(terminal: Terminal) -> None:
    terminal.type(".timer off", "select 4711;")
    terminal.see(r"│ +4711 │")
    terminal.see(r"1 row\r\n")
    terminal.type(".format csv", "select 1 as a, 2 as b;")
    terminal.see("a,b\r\n1,2\r\n")
    terminal.type(".format parquet")
    terminal.see("is binary")


def test_interrupt_cancels_the_query_only(terminal: Terminal) -> None:
    # A billion names: takes longer than the test waits for it.
    terminal.type("select count(distinct a.n_name || b.n_name || c.n_name) from nation a, nation b, nation c;")
    terminal.process.expect(pexpect.TIMEOUT, timeout=2)
    terminal.process.sendintr()
    terminal.see("cancelled")
    terminal.type("select 4711;")
    terminal.see(r"│ +4711 │")


def test_interrupt_at_the_prompt_drops_the_line(terminal: Terminal) -> None:
    terminal.process.send("select nonsense")
    terminal.see("nonsense")
    terminal.process.sendintr()
    terminal.see("sqlray> ")
    terminal.type("select 4711;")
    terminal.see(r"│ +4711 │")


@pytest.mark.parametrize("leave", [".quit\r", ".quit;\r", "\x04"])
def test_leaving(terminal: Terminal, leave: str) -> None:
    terminal.process.send(leave)
    terminal.process.expect(pexpect.EOF)
    terminal.process.close()
    assert terminal.process.exitstatus == 0


def test_history_is_kept(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("select 4711;")
    terminal.see(r"│ +4711 │")
    assert "select 4711;" in (tmp_path / "history").read_text()


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
    for text in (f"select * from '{nation.parent}/nat", f"copy nation to '{nation.parent}/nat"):
        found = [c.text for c in completer.get_completions(Document(text, len(text)), CompleteEvent())]
        assert found == ["ion.parquet"]
