"""Progress where people see it: in a terminal and in a notebook."""

from __future__ import annotations

import io
import os
import re
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pexpect
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sqlray
from executor.progress import Progress, QueryProgress, StageStatus
from planner.errors import ExecutionError
from sqlray import progress as shown
from sqlray.progress import Watch
from sqlray.progress_notebook import NotebookDisplay
from sqlray.progress_picture import clock, picture
from sqlray.progress_terminal import TerminalDisplay
from tests.integration.test_shell import ROOT, Terminal
from tests.screen import Screen
from tests.slow_source import SlowSource

COUNTS = "select g, count(*) as n from slow group by g order by g limit 3"
STAGES = (
    StageStatus(0, "scan customer", "done", 4, 4, 1_363_614, 2**24, 1.5),
    StageStatus(1, "scan orders", "running", 3, 4, 9_123_782, 149_600_000, 6.0),
    StageStatus(2, "scan <nation>", "running", 0, 1, 0, 0, 3.0),
    StageStatus(3, "shuffle", "waiting", 0, 4, 0, 0, 0.0),
)


def one_stage(rows: int, tasks: int = 1) -> Progress:
    return Progress((StageStatus(0, "result", "running", 0, tasks, rows, rows * 8, 2.0),), 2.0)


# What is shown


def test_a_query_of_one_stage_shows_rows_bytes_and_time() -> None:
    assert picture(None, 3.0, 8) == picture(Progress((), 0.0), 3.0, 8) == picture(one_stage(0), 3.0, 8)
    found = picture(one_stage(1000), 61.0, 8)
    assert found.summary is None
    (bar,) = found.bars
    assert (bar.label, bar.fraction, bar.facts, bar.seconds) == ("running", None, ("1,000 rows", "8.0KB"), 61.0)
    assert picture(one_stage(0, tasks=4), 1.0, 8).bars[0].facts == ("0 of 4 tasks",)


def test_a_query_of_several_stages_has_a_bar_for_each_that_runs() -> None:
    found = picture(Progress(STAGES, 12.0), 12.5, 8)
    assert found.summary == "1 of 4 stages done in 0:12; scan customer 1,363,614 rows"
    assert [(b.label, b.fraction) for b in found.bars] == [
        ("stage 1: scan orders", 0.75),
        ("stage 2: scan <nation>", None),
    ]
    assert found.bars[0].facts == ("3 of 4 tasks", "9,123,782 rows", "149.6MB")
    few = picture(Progress(STAGES, 12.0), 12.5, 1)
    assert len(few.bars) == 1
    assert "; 2 running; " in (few.summary or "")


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (67.0, "1:07"), (3723.0, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# In a terminal


class FakeTerminal(io.StringIO):
    """A stream that is a terminal and is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = Screen()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.screen.write(text.replace("\n", "\r\n"))
        return super().write(text)


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> FakeTerminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return FakeTerminal()


def test_bars_come_and_go(tty: FakeTerminal) -> None:
    tty.write("a line\n")
    with closing(TerminalDisplay(tty)) as display:
        display.draw(Progress(STAGES, 12.0), 12.0)
        lines = tty.screen.text.splitlines()
        assert lines[:2] == ["a line", "1 of 4 stages done in 0:12; scan customer 1,363,614 rows"]
        assert re.fullmatch(r"stage 1: scan orders +━+[╸╺]?━* +0:06 +3 of 4 tasks, 9,123,782 rows, 149.6MB", lines[2])
        assert re.fullmatch(r"stage 2: scan <nation> +━+ +0:03", lines[3])
        assert not tty.screen.cursor
        display.draw(one_stage(5), 13.0)  # fewer lines than before
        assert re.fullmatch(r"a line\nrunning +━+ +0:13 +5 rows, 40B\n*", tty.screen.text)
    display.close()  # once more does no harm
    assert tty.screen.text.strip() == "a line"
    assert tty.screen.cursor


def test_narrow_terminals(tty: FakeTerminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stay, facts give way, and a Ctrl-C has room at the end of the line."""
    monkeypatch.setenv("COLUMNS", "50")
    with closing(TerminalDisplay(tty)) as display:
        display.draw(Progress(STAGES, 12.0), 12.0)
        lines = tty.screen.text.splitlines()
    assert max(map(len, lines)) <= 47
    assert lines[1].startswith("stage 1: scan orders ")


def test_two_queries_do_not_share_a_terminal(tty: FakeTerminal) -> None:
    with closing(TerminalDisplay(tty)) as second:
        with closing(TerminalDisplay(tty)) as first:
            first.draw(one_stage(1), 1.0)
            second.draw(one_stage(2), 1.0)
            assert "1 row" in tty.screen.text
            assert "2 rows" not in tty.screen.text
        second.draw(one_stage(2), 1.0)
        assert "2 rows" in tty.screen.text
    assert tty.screen.text.strip() == ""


@pytest.mark.parametrize(
    ("option", "terminal", "seen"),
    [("auto", True, False), ("on", True, True), ("off", True, False), ("on", False, False)],
)
def test_programs_show_progress_if_they_ask_for_it(
    tty: FakeTerminal, monkeypatch: pytest.MonkeyPatch, option: str, terminal: bool, seen: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", tty if terminal else io.StringIO())
    monkeypatch.setattr(shown, "PATIENCE", 0.1)
    pictures: list[str] = []

    def wait(begun: int) -> None:
        time.sleep(0.5)
        pictures.append(tty.screen.text)

    session = sqlray.connect(progress=option)
    session.register("slow", SlowSource(wait))
    assert session.sql(COUNTS).num_rows == 3
    assert ("running" in pictures[-1]) == seen
    assert tty.screen.text.strip() == ""
    if not terminal:
        assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    path = tmp_path / "nation.parquet"
    pq.write_table(
        pa.table({"n_key": range(1000), "n_name": [f"nation {n}" for n in range(1000)]}), path, row_group_size=250
    )
    opened = Terminal(str(path), home=tmp_path)
    yield opened
    opened.process.close(force=True)


ENDLESS = "select count(distinct a.n_name || b.n_name || c.n_name) from nation a, nation b, nation c;"


@pytest.mark.parametrize(
    ("partitions", "patterns"),
    [
        ("0", ["running +.*━.* 0:0[12]"]),
        ("3", [r"2 of 4 stages done in 0:0", r"stage 2: .*━.* 0 of 3 tasks, [\d,]+ rows"]),
    ],
)
def test_the_shell_shows_progress_until_ctrl_c(shell: Terminal, partitions: str, patterns: list[str]) -> None:
    shell.type(f".set partitions {partitions}", ENDLESS)
    for pattern in patterns:
        shell.see(pattern)
    shell.process.sendintr()
    shell.see(r"\x1b\[\?25h")  # the cursor is back, and so everything is off the screen
    shell.see("cancelled")
    shell.type("select 4711;")
    shell.see(r"│ +4711 │")


def test_the_shell_shows_nothing_if_it_shall_not(shell: Terminal) -> None:
    shell.type(".set progress off", ENDLESS)
    assert shell.process.expect(["━", pexpect.TIMEOUT], timeout=3) == 1
    shell.process.sendintr()
    shell.see("cancelled")


def test_progress_stays_out_of_the_output(tmp_path: Path) -> None:
    """Rows go through a pipe while the bar is on the terminal."""
    script = (
        "import sys, time; from sqlray.console import Console; import sqlray\n"
        "from tests.slow_source import SlowSource\n"
        "session = sqlray.connect(); session.register('slow', SlowSource(lambda begun: time.sleep(2)))\n"
        f"Console(session, open({str(tmp_path / 'rows.csv')!r}, 'wb'), 'csv').run_script('''{COUNTS}''')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = pexpect.spawn(
        sys.executable,
        ["-c", script],
        env=environment,
        cwd=str(ROOT),
        dimensions=(40, 100),
        encoding="utf-8",
        timeout=30,
    )
    process.expect("running")
    printed = process.before + process.after
    process.expect(pexpect.EOF)
    screen = Screen()
    screen.write(printed + process.before)
    assert screen.text.strip() == ""
    assert (tmp_path / "rows.csv").read_text() == "g,n\n0,4000\n1,4000\n2,4000\n"


# In a notebook


@dataclass
class Notebook:
    """What a notebook's display functions were told."""

    pages: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    broken: bool = False

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Notebook:
        assert display_id
        assert not self.pages or not self.pages[-1]  # one output at a time
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        if self.broken:
            raise OSError("the notebook is gone")
        assert raw
        self.pages.append(data["text/html"])
        self.times.append(time.monotonic())


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook()
    shell = types.SimpleNamespace(kernel=object())
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    display: Any = types.ModuleType("IPython.display")
    display.display = made.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(shown, "PATIENCE", 0.3)
    return made


def slow_session(seconds: float, **options: object) -> sqlray.Session:
    session = sqlray.connect(**options)
    session.register("slow", SlowSource(lambda begun: time.sleep(seconds)))
    return session


ASK: list[Callable[[sqlray.Result], object]] = [
    lambda r: r.to_arrow(),
    lambda r: r.to_polars(),
    lambda r: r.fetchall(),
    lambda r: r._repr_html_(),
    lambda r: r.explain(analyze=True),
]


@pytest.mark.parametrize("ask", ASK, ids=["arrow", "polars", "rows", "html", "analyze"])
def test_a_notebook_shows_progress_while_it_waits(notebook: Notebook, ask: Callable[[sqlray.Result], object]) -> None:
    ask(slow_session(0.7, partitions=2).sql(COUNTS))
    *pages, last = notebook.pages
    assert any("stage 0: scan slow" in page and "1 of 2 tasks" in page for page in pages)
    assert last == ""
    gaps = [b - a for a, b in pairwise(notebook.times[:-1])]
    assert min(gaps) >= 0.19  # at most five times a second, besides the last
    assert len(gaps) >= 2


def test_names_are_text_in_html(notebook: Notebook) -> None:
    display = NotebookDisplay()
    display.draw(Progress(STAGES, 12.0), 12.0)
    assert "scan &lt;nation&gt;" in notebook.pages[0]
    assert "width:75%" in notebook.pages[0]
    display.close()


def test_a_query_that_fails_leaves_nothing_in_the_notebook(notebook: Notebook) -> None:
    session = slow_session(0.7)
    with pytest.raises(ExecutionError):
        session.sql("select max(cast(s as int)) from slow").to_arrow()
    assert len(notebook.pages) > 1
    assert notebook.pages[-1] == ""


def test_a_query_that_is_interrupted_leaves_nothing_in_the_notebook(notebook: Notebook) -> None:
    def wait(begun: int) -> None:
        time.sleep(0.7)
        raise KeyboardInterrupt

    session = sqlray.connect(partitions=2)
    session.register("slow", SlowSource(wait))
    with pytest.raises(KeyboardInterrupt):
        session.sql(COUNTS).to_arrow()
    assert len(notebook.pages) > 1
    assert notebook.pages[-1] == ""


def test_fast_queries_show_nothing(notebook: Notebook) -> None:
    assert slow_session(0.0).sql(COUNTS).num_rows == 3
    assert not notebook.pages


def test_a_notebook_shows_nothing_if_it_shall_not(notebook: Notebook) -> None:
    session = slow_session(0.7, progress=False)
    assert session.option("progress") == "off"
    assert session.sql(COUNTS).num_rows == 3
    assert not notebook.pages


def test_a_stream_shows_nothing(notebook: Notebook) -> None:
    """Its reader may print in between, and take as long as it likes."""
    assert sum(b.num_rows for b in slow_session(0.7).sql(COUNTS).batches()) == 3
    assert not notebook.pages


def test_statements_that_run_at_once_show_progress(notebook: Notebook) -> None:
    slow_session(0.7).sql("create table t as select * from slow")
    assert len(notebook.pages) > 1


def test_ipython_without_a_notebook_shows_nothing(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: types.SimpleNamespace())
    assert slow_session(0.7).sql(COUNTS).num_rows == 3
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    assert slow_session(0.7).sql(COUNTS).num_rows == 3
    assert not notebook.pages


def test_a_notebook_that_went_away_fails_no_query(notebook: Notebook) -> None:
    notebook.broken = True
    assert slow_session(0.7).sql(COUNTS).num_rows == 3


def test_the_clock_says_how_often_something_is_drawn() -> None:
    """However much a query tells."""
    drawn: list[Progress | None] = []

    class Counting:
        interval = 0.1

        def draw(self, progress: Progress | None, seconds: float) -> None:
            drawn.append(progress)

        def close(self) -> None:
            drawn.append(None)

    query = QueryProgress()
    started = time.monotonic()
    with Watch(Counting(), patience=0.0) as watch:
        watch.follow(query)
        while time.monotonic() - started < 0.55:
            query.plan([])
    assert 2 <= len(drawn) <= 8
    assert drawn[-1] is None
