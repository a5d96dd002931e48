"""Runs sqllogictest files and reports what passed.

    python -m tests.slt.runner PATH… [--partitions 3] [--disable-rules a,b] [--set name=value]

A path is a file or a directory of `*.test` files. A record ends as

    passed        right rows, or an error where one was expected
    wrong         other rows, or no error where one was expected
    unsupported   sqlray said UnsupportedError
    error         any other exception, or longer than --timeout
    skipped       conditions in the file exclude this engine

The engine calls itself `sqlray` (and `duckdb` in DuckDB's form), so that SQLite's `skipif mysql` records
run and `onlyif mysql` ones do not. One reason counts although it names PostgreSQL: sqlray and DuckDB share
the rule of standard SQL that a selected column must be grouped or aggregated.
"""

import argparse
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from sqlray import UnsupportedError
from tests.slt.engines import Engine, open_engine
from tests.slt.formats import compare
from tests.slt.parser import Condition, Form, Halt, Record, SltFile, SltSyntaxError, parse_file

Status = Literal["passed", "wrong", "unsupported", "error", "skipped"]
_COUNTED: tuple[Status, ...] = ("passed", "wrong", "unsupported", "error", "skipped")
_SHARED_RULE = "strict column usage"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one record ended."""

    path: Path
    line: int
    sql: str
    status: Status
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run does with every file."""

    engine: str = "sqlray"
    form: Form | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0


def run_file(path: Path, settings: Settings = Settings()) -> list[Outcome]:
    """Runs one file on a new engine; a file that cannot be read is one error."""
    try:
        parsed = parse_file(path, settings.form)
    except (SltSyntaxError, OSError) as error:
        return [Outcome(path, 0, "", "error", detail=str(error))]
    engine = open_engine(settings.engine, parsed.form, settings.options)
    try:
        return list(_run_records(parsed, engine, settings.timeout))
    finally:
        engine.close()


def _run_records(file: SltFile, engine: Engine, timeout: float) -> Iterator[Outcome]:
    for record in file.records:
        applies = _applies(record.conditions, engine)
        match record:
            case Halt():
                if applies:
                    return
            case Record():
                if applies:
                    yield _run_record(file, record, engine, timeout)
                else:
                    yield Outcome(file.path, record.line, record.sql, "skipped")


def _applies(conditions: Iterable[Condition], engine: Engine) -> bool:
    for condition in conditions:
        named = condition.engine in engine.names
        if condition.only and not named:
            return False
        if not condition.only and (named or _SHARED_RULE in condition.reason):
            return False
    return True


def _run_record(file: SltFile, record: Record, engine: Engine, timeout: float) -> Outcome:
    timer = threading.Timer(timeout, engine.cancel)
    timer.daemon = True
    timer.start()
    started = time.perf_counter()
    try:
        status, detail = _judge(file, record, engine)
    finally:
        timer.cancel()
    return Outcome(file.path, record.line, record.sql, status, time.perf_counter() - started, detail)


def _judge(file: SltFile, record: Record, engine: Engine) -> tuple[Status, str]:
    try:
        rows = engine.run(record.sql)
    except UnsupportedError as error:
        return "unsupported", str(error)
    except Exception as error:  # any engine's error is a result of the test
        if not record.expect_error:
            return "error", f"{type(error).__name__}: {error}"
        wanted = "\n".join(record.expected).strip()
        if file.form == "duckdb" and wanted.startswith("<REGEX>:"):
            matches = re.search(wanted.removeprefix("<REGEX>:"), str(error), re.DOTALL) is not None
            return ("passed", "") if matches else ("wrong", f"expected error {wanted}, got: {error}")
        return "passed", ""
    if record.expect_error:
        return "wrong", f"expected an error, got {len(rows)} rows"
    if not record.is_query:
        return "passed", ""
    difference = compare(record, rows, file.form)
    return ("passed", "") if difference is None else ("wrong", difference)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files at these paths, directories searched for `*.test` and DuckDB's `*.test_slow`."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(sorted([*path.rglob("*.test"), *path.rglob("*.test_slow")]))
        else:
            found.append(path)
    return found


@dataclass(slots=True)
class Report:
    """The outcomes of a run, per file and in total."""

    outcomes: list[Outcome]

    def counts(self, path: Path | None = None) -> Counter[Status]:
        return Counter(o.status for o in self.outcomes if path is None or o.path == path)

    def failures(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.status not in ("passed", "skipped")]

    def passed_share(self) -> float:
        """Passed records out of those that ran; 1.0 if none did."""
        counts = self.counts()
        ran = sum(counts.values()) - counts["skipped"]
        return counts["passed"] / ran if ran else 1.0

    def table(self) -> str:
        """Counts, time and the slowest record of every file."""
        names = {path: path.name for path in dict.fromkeys(o.path for o in self.outcomes)}
        width = max([len(name) for name in names.values()] + [5])
        head = (
            f"{'file':{width}}" + "".join(f"{status:>12}" for status in _COUNTED) + f"{'seconds':>9}  slowest"
        )
        lines = [head]
        for path, name in names.items():
            outcomes = [o for o in self.outcomes if o.path == path]
            slowest = max(outcomes, key=lambda o: o.seconds)
            lines.append(
                f"{name:{width}}"
                + "".join(f"{self.counts(path)[status]:>12}" for status in _COUNTED)
                + f"{sum(o.seconds for o in outcomes):>9.1f}  {slowest.seconds:.3f} s at line {slowest.line}"
            )
        lines.append(f"{'total':{width}}" + "".join(f"{self.counts()[status]:>12}" for status in _COUNTED))
        return "\n".join(lines)

    def groups(self, limit: int = 20) -> str:
        """Failures gathered by status and message without its numbers and names, the largest group first."""
        groups: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self.failures():
            groups[f"{outcome.status}: {_shape(outcome)}"].append(outcome)
        lines: list[str] = []
        for shape, outcomes in sorted(groups.items(), key=lambda item: -len(item[1]))[:limit]:
            first = min(outcomes, key=lambda o: len(o.sql))
            lines += [
                f"{len(outcomes):6} {shape}",
                f"       {first.path}:{first.line}",
                f"       {first.sql}",
            ]
            lines += [f"       {first.detail}"]
        return "\n".join(lines)


def _shape(outcome: Outcome) -> str:
    if outcome.status == "wrong":
        return re.sub(r"[0-9]+|'[^']*'|\[.*", "*", outcome.detail)[:60]
    return re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "*", outcome.detail.split("\n", 1)[0])[:120]


def run_files(paths: Iterable[Path], settings: Settings = Settings(), jobs: int = 1) -> Report:
    """Runs all files, each on a new engine, `jobs` of them at a time in processes of their own."""
    files = find_files(paths)
    if jobs <= 1 or len(files) <= 1:
        return Report([outcome for path in files for outcome in run_file(path, settings)])
    with ProcessPoolExecutor(min(jobs, len(files)), mp_context=get_context("spawn")) as pool:
        results = pool.map(run_file, files, [settings] * len(files))
        return Report([outcome for outcomes in results for outcome in outcomes])


def main(arguments: list[str] | None = None) -> int:
    """The command line; exits 1 if a record is wrong or an error, or fewer than --require passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.slt.runner", description="Run sqllogictest files.")
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--engine", choices=["sqlray", "duckdb"], default="sqlray")
    parser.add_argument("--form", choices=["sqlite", "duckdb"], help="default: by the file's header")
    parser.add_argument(
        "--partitions", type=int, help="force plans of several stages with so many partitions"
    )
    parser.add_argument("--disable-rules", help="optimizer rules to leave out, with commas")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a session option")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one record")
    parser.add_argument("--groups", type=int, default=20, help="how many kinds of failure to print")
    parser.add_argument("--require", type=float, default=1.0, help="the share of records that must pass")
    given = parser.parse_args(arguments)
    options = dict(item.split("=", 1) for item in given.set)
    if given.partitions is not None:
        options["partitions"] = str(given.partitions)
    if given.disable_rules:
        options["disabled_rules"] = given.disable_rules
    settings = Settings(given.engine, given.form, options, given.timeout)
    report = run_files(given.paths, settings, given.jobs)
    if report.failures():
        print(report.groups(given.groups))
        print()
    print(report.table())
    share = report.passed_share()
    print(f"passed {share:.3%} of the records that ran")
    counts = report.counts()
    return 0 if share >= given.require and not counts["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
