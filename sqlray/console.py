"""Runs the statements of `-c`, `-f`, pipes and the shell on a session and writes what they return."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from planner.errors import ExecutionError, SqlrayError
from sqlray.console_run import run_cancellable
from sqlray.format import check_one_result, write_result
from sqlray.options import Options
from sqlray.result import Result
from sqlray.session import Session
from sqlray.shell_commands import run_command
from sqlray.statements import Statement, split_statements

# The lines around a table's rows: its frame, names, types, gap and footer, and the prompts before and after.
_TABLE_FRAME = 10
_FEWEST_ROWS = 10
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


@dataclass(slots=True)
class Console:
    """A session, where its results go and in which form.

    Args:
        session: what runs the statements.
        out: where results are written.
        form: the output format, one of `sqlray.format.FORMATS`.
        interactive: whether a person types the statements: then times are shown and errors stop nothing.
        last_query: the statement that `.explain` explains when it is given none.
        written: how many results were written so far.
    """

    session: Session
    out: BinaryIO
    form: str = "table"
    interactive: bool = False
    last_query: str | None = None
    written: int = 0

    def run_script(self, script: str) -> None:
        """Run the statements and dot commands of a script one after another; the first error ends it."""
        for statement in split_statements(script):
            try:
                self.run_statement(statement)
            except SqlrayError as error:
                raise statement.place(error, script) from error

    def run_file(self, path: str) -> None:
        """Run a file of statements and dot commands."""
        try:
            script = Path(path).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise ExecutionError(f"cannot read '{path}': {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ExecutionError(f"cannot read '{path}': it is not UTF-8 text") from error
        self.run_script(script)

    def run_statement(self, statement: Statement) -> None:
        """Run one statement or dot command and write its result."""
        if statement.is_command:
            run_command(self, statement.text)
            return
        self.last_query = _EXPLAIN.sub("", statement.text)
        started = time.perf_counter()
        # A table is laid out before it is written, so that the progress bar is gone by then.
        buffer = io.BytesIO() if self.form == "table" else None

        def work() -> None:
            result = self.session.sql(statement.text)
            self._write(result, self.out if buffer is None else buffer)

        run_cancellable(self.session, work, progress=self.shows_progress())
        if buffer is not None:
            seconds = time.perf_counter() - started
            text = buffer.getvalue()
            if self._timed():
                text = text.rstrip(b"\n") + f"  ({format_seconds(seconds)})\n".encode()
            self.out.write(text)
        self.out.flush()

    def show(self, text: str) -> None:
        """Write a line of text, such as a command's answer."""
        self.out.write(text.encode(errors="replace") + b"\n")
        self.out.flush()

    def show_result(self, result: Result) -> None:
        """Write a result as a table, whatever the format is."""
        write_result(result, "table", self.out, self.display_options(), width=self._width())
        self.out.flush()

    def display_options(self) -> Options:
        """The session's options of display; in a terminal, no more rows than leave the names on the screen."""
        options = Options()
        for name in ("max_rows", "max_width", "null_text"):
            options = options.set(name, self.session.option(name))
        if self.interactive and options.max_rows:
            fitting = max(shutil.get_terminal_size().lines - _TABLE_FRAME, _FEWEST_ROWS)
            return options.set("max_rows", min(options.max_rows, fitting))
        return options

    def shows_progress(self) -> bool:
        """Whether a bar on stderr would disturb nothing and somebody sees it."""
        wanted = self.session.option("progress") != "off"
        return wanted and sys.stderr.isatty() and (self.form == "table" or not self.out.isatty())

    def _write(self, result: Result, out: BinaryIO) -> None:
        if not result.columns or result.told:
            if self.form == "table" and (result.message or self.interactive):
                out.write(f"{result.message or 'OK'}\n".encode())
            return
        if self.form == "table" and result.message is not None:
            out.write(f"{result.message}\n".encode())
            return
        self.written += 1
        check_one_result(self.form, self.written)
        if self.form == "markdown" and self.written > 1 and not self.interactive:
            out.write(b"\n")  # or the two tables would be one
        write_result(result, self.form, out, self.display_options(), width=self._width())

    def _width(self) -> int:
        """The width that tables are cut to: the option's, or the terminal's; none in a pipe or a file."""
        option = int(str(self.session.option("max_width")))
        if option:
            return option
        try:
            return os.get_terminal_size(self.out.fileno()).columns
        except (OSError, ValueError):
            return 0

    def _timed(self) -> bool:
        return self.interactive and self.session.option("timer") is True


def format_seconds(seconds: float) -> str:
    """`0.012 s`, `1.50 s`, `2 min 5 s`."""
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def error_text(error: BaseException, *, color: bool) -> str:
    """What is printed about an error."""
    if isinstance(error, SqlrayError):
        text = f"Error: {error}"
    else:
        text = (
            f"Internal error: {type(error).__name__}: {error}\n"
            "This is a defect of sqlray; SQLRAY_DEBUG=1 shows where it happened."
        )
    if not color or "NO_COLOR" in os.environ:
        return text
    kind, _, rest = text.partition(":")
    return f"\x1b[1;31m{kind}:\x1b[0m{rest}"
