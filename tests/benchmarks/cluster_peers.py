"""TPC-H on sqlray, Daft and Spark side by side: sqlray and Daft each on a Ray of its own, Spark with local[cores].

    python -m tests.benchmarks.cluster_peers portable tpch-data/sf10 tpch-data/sf10-portable
    python -m tests.benchmarks.cluster_peers run --data tpch-data/sf10-portable --output peers.jsonl \\
        --engine sqlray-ray --engine daft-ray=DAFT/bin/python --engine spark=SPARK/bin/python
    python -m tests.benchmarks.cluster_peers table peers.jsonl

Every engine runs in an interpreter of its own, with what it needs: `daft[ray]`; `pyspark` 4, pandas, pyarrow and
a Java of version 17 or later. All of them live for the whole run and take turns query by query, so that whatever else
the machine does meets all of them. A time goes from the query's text to the whole result as an Arrow table in
the client. Not counted: the start of the session, the registration of the tables, and one query that warms it up. The
files have been read once before, so they come from the operating system's cache if there is room for them.

Each engine gets the same cores and memory: as Ray's resources (beside its object store), or as Spark's driver memory.
Otherwise engines run as they come, but for Spark's 8 shuffle partitions in place of 200, which suit few cores. A query
that fails, or takes longer than --timeout, has its reason in the output, and the next one follows; an engine that
took too long is started anew. Answers are compared roughly, by the number of rows and a digest of each column, and the
table tells which differ: Daft's of query 6 does, where `0.06 + 0.01` is a double and less than 0.07.

Daft (0.7) reads no Parquet files whose Arrow schema says string_view, which tpchgen-cli writes. `portable` makes copies
without that hint; every other byte is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import os
import platform
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from sqlray.tpch import query_numbers
from tpch_queries import NUMBERS, query

ENGINES = ("sqlray-ray", "sqlray-local", "daft-ray", "spark")
WARM_UP = 3  # scans, joins, aggregates and sorts, and every engine can run it
STARTING = 180.0  # seconds for an engine to start, beside those for its warm-up query
TOLERANCE = 1e-4  # of a column's sum: engines give averages and quotients of decimals in different scales
SPARK_PARTITIONS = 8
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "true", "DAFT_PROGRESS_BAR": "0"}

Run = Callable[[int], Any]  # from a query's number to its pyarrow.Table


@dataclass(frozen=True, slots=True)
class Settings:
    """What every engine gets.

    Args:
        paths: the tables' files.
        cores: the cores that it may use.
        memory: bytes for its tasks; an engine in this process takes no notice of it.
        object_store: bytes of its Ray's object store.
        scratch: a directory for its temporary files. Short: Ray puts sockets there.
    """

    paths: dict[str, str]
    cores: int
    memory: int
    object_store: int
    scratch: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of a query: seconds, and the rows and columns of its answer; or what went wrong."""

    engine: str
    query: int
    seconds: float = 0.0
    rows: int = 0
    digest: tuple[float | str, ...] = ()
    error: str | None = None


def main() -> None:
    arguments = _arguments()
    match arguments.command:
        case "portable":
            make_portable(arguments.source, arguments.target)
        case "run":
            _measure(arguments)
        case "table":
            _table(arguments.files)
        case "serve":
            _serve(arguments.engine, Settings(**json.loads(arguments.settings)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    portable = commands.add_parser("portable", help="copy Parquet files without the hint that strings are views")
    portable.add_argument("source", type=Path)
    portable.add_argument("target", type=Path)
    run = commands.add_parser("run", help="time the queries")
    run.add_argument("--data", type=Path, required=True, help="a directory with a Parquet file for each table")
    run.add_argument(
        "--engine",
        type=_engine,
        action="append",
        required=True,
        metavar="NAME[=PYTHON]",
        help=f"one of {', '.join(ENGINES)}, and its interpreter (default: this one); the first is the one compared",
    )
    run.add_argument("--queries", type=query_numbers, default=list(NUMBERS), help="such as 1,3,5-9; all by default")
    run.add_argument("--runs", type=int, default=1, help="runs of each query on each engine; the median counts")
    run.add_argument("--timeout", type=float, default=180.0, help="seconds for each query")
    run.add_argument("--cores", type=int, default=os.cpu_count(), help="of each engine")
    run.add_argument("--memory", type=_gigabytes, default="6", metavar="GB", help="of each engine")
    run.add_argument("--object-store", type=_gigabytes, default="4", metavar="GB", help="of each engine's Ray")
    run.add_argument("--output", type=Path, required=True, help="JSON lines are added to this file as they come")
    table = commands.add_parser("table", help="print what runs have written")
    table.add_argument("files", type=Path, nargs="+")
    serve = commands.add_parser("serve", help="one engine's process, which `run` starts")
    serve.add_argument("engine", choices=ENGINES)
    serve.add_argument("settings")
    return parser.parse_args()


def _engine(text: str) -> tuple[str, str]:
    name, _, python = text.partition("=")
    if name not in ENGINES:
        raise argparse.ArgumentTypeError(f"there is no engine '{name}'; engines: {', '.join(ENGINES)}")
    return name, python or sys.executable


def _gigabytes(text: str) -> int:
    return int(float(text) * 1e9)


# Files that every engine can read.

_HINT = b"ARROW:schema"


def make_portable(source: Path, target: Path) -> None:
    """Copy a directory's Parquet files; in the copies the key of the Arrow schema has a name that nobody looks for."""
    target.mkdir(parents=True)
    for file in sorted(source.glob("*.parquet")):
        copy = target / file.name
        shutil.copyfile(file, copy)
        with copy.open("r+b") as out:
            out.seek(-8, os.SEEK_END)  # a file ends with its footer, the footer's length and PAR1
            length = int.from_bytes(out.read(4), "little")
            start = out.seek(-8 - length, os.SEEK_END)
            footer = out.read(length)
            if footer.count(_HINT) == 1:
                out.seek(start + footer.index(_HINT))
                out.write(_HINT.lower())


# The engines. Each is a context: a session with the tables, which ends with it.


@contextmanager
def _sqlray_ray(settings: Settings) -> Iterator[Run]:
    import sqlray

    with _ray(settings), sqlray.connect("ray", plan_cache_size=0) as session:
        yield _sqlray_run(session, settings)


@contextmanager
def _sqlray_local(settings: Settings) -> Iterator[Run]:
    import sqlray

    with sqlray.connect(plan_cache_size=0) as session:
        yield _sqlray_run(session, settings)


def _sqlray_run(session: Any, settings: Settings) -> Run:
    for table, path in settings.paths.items():
        session.register(table, path)
    return lambda number: session.sql(query(number)).to_arrow()


@contextmanager
def _daft_ray(settings: Settings) -> Iterator[Run]:
    import daft

    with _ray(settings):
        daft.set_runner_ray(noop_if_initialized=True)
        tables = {table: daft.read_parquet(path) for table, path in settings.paths.items()}
        yield lambda number: daft.sql(query(number), register_globals=False, **tables).to_arrow()


@contextmanager
def _spark(settings: Settings) -> Iterator[Run]:
    from pyspark.sql import SparkSession

    options = {
        "spark.driver.memory": f"{settings.memory // 10**6}m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": settings.scratch,
        "spark.sql.warehouse.dir": f"{settings.scratch}/warehouse",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.shuffle.partitions": str(SPARK_PARTITIONS),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(f"local[{settings.cores}]").appName("tpch")
    session = builder.config(map=options).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for table, path in settings.paths.items():
        session.read.parquet(path).createOrReplaceTempView(table)
    try:
        yield lambda number: session.sql(query(number).rstrip().removesuffix(";")).toArrow()
    finally:
        session.stop()


@contextmanager
def _ray(settings: Settings) -> Iterator[None]:
    """A new Ray on this machine, whichever others run here."""
    import ray

    ray.init(
        address="local",
        num_cpus=settings.cores,
        object_store_memory=settings.object_store,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _memory=settings.memory,
        _temp_dir=settings.scratch,
    )
    try:
        yield
    finally:
        ray.shutdown()


OPEN = {"sqlray-ray": _sqlray_ray, "sqlray-local": _sqlray_local, "daft-ray": _daft_ray, "spark": _spark}
PACKAGES = {
    "sqlray-ray": ("polars", "ray", "pyarrow"),
    "sqlray-local": ("polars", "pyarrow"),
    "daft-ray": ("daft", "ray", "pyarrow"),
    "spark": ("pyspark", "pyarrow"),
}


def _serve(engine: str, settings: Settings) -> None:
    """Run the queries whose numbers come on stdin, and answer each with a line of JSON."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with OPEN[engine](settings) as run:
        run(WARM_UP)
        facts = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES[engine]}}
        print(json.dumps(facts), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(asdict(_once(engine, run, int(line)))), file=answers, flush=True)


def _once(engine: str, run: Run, number: int) -> Measurement:
    started = time.perf_counter()
    try:
        answer = run(number)
        seconds = time.perf_counter() - started
        digest = tuple(_digest(column.to_pylist()) for column in answer.columns)
        return Measurement(engine, number, seconds, answer.num_rows, digest)
    except Exception as error:  # every engine has its own
        return Measurement(engine, number, error=_reason(error))


def _reason(error: Exception) -> str:
    """An error in a line: its start and, behind what may be a long trace, its end."""
    words = " ".join(re.sub(r"\x1b\[\d*m", "", f"{type(error).__name__}: {error}").split())
    return words if len(words) <= 400 else f"{words[:80]} … {words[-320:]}"


def _digest(values: list[Any]) -> float | str:
    """The sum of numbers, a hash of anything else; the rows' order plays no part."""
    try:
        return math.fsum(float(value) for value in values if value is not None)
    except (TypeError, ValueError):
        texts = sorted(str(value).rstrip() for value in values)
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


# The parent's side.


class Worker:
    """An engine's process. A context manager: the process and all that it started end with it."""

    def __init__(self, engine: str, python: str, settings: Settings, log: Path) -> None:
        self.engine = engine
        self.facts: dict[str, str] = {}
        self._command = [python, "-m", "tests.benchmarks.cluster_peers", "serve", engine, json.dumps(asdict(settings))]
        self._scratch = Path(settings.scratch)
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def start(self, timeout: float) -> None:
        """Start the engine, if it does not run.

        Raises:
            RuntimeError: it does not start.
        """
        if self._process is not None:
            return
        self._scratch.mkdir(parents=True)
        root = str(Path(__file__).parents[2])
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | QUIET
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        answer = self._answer(STARTING + timeout)
        if not answer:
            self.stop()
            raise RuntimeError(f"{self.engine} does not start; see {self._log.name}")
        self.facts = json.loads(answer)

    def run(self, number: int, timeout: float) -> Measurement:
        """Run a query once. An engine that does not answer is stopped, and starts anew for its next query."""
        try:
            self.start(timeout)
        except RuntimeError as error:
            return Measurement(self.engine, number, error=str(error))
        measured = self._ask(number, timeout)
        # Whatever failed may have broken the session, or left it cold.
        if measured.error is not None and self._process is not None and self._ask(WARM_UP, timeout).error is not None:
            self.stop()
        return measured

    def _ask(self, number: int, timeout: float) -> Measurement:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
            answer = self._answer(timeout)
        except BrokenPipeError:
            answer = ""
        if answer:
            return Measurement(**json.loads(answer))
        self.stop()
        reason = f"no answer in {timeout:g} s" if answer is None else f"the process ended; see {self._log.name}"
        return Measurement(self.engine, number, error=reason)

    def _answer(self, timeout: float) -> str | None:
        """The next line; None if there is none in time, empty if the process has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        return self._process.stdout.readline() if ready else None

    def stop(self, patience: float = 0.0) -> None:
        """End the process group, after so many seconds in which it may end by itself, and remove its files."""
        if self._process is None:
            return
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=patience)  # closes its stdin
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(patience=30.0)


def _measure(arguments: argparse.Namespace) -> None:
    from sqlray.tpch_data import data_size, table_paths  # not where a peer runs: sqlray need not be there

    paths = table_paths(arguments.data.absolute())
    with ExitStack() as stack:
        out = stack.enter_context(arguments.output.open("a"))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True)))
        workers = []
        for at, (engine, python) in enumerate(arguments.engine):
            settings = Settings(
                paths, arguments.cores, arguments.memory, arguments.object_store, str(scratch / str(at))
            )
            log = arguments.output.with_suffix(f".{engine}.log").absolute()
            worker = stack.enter_context(Worker(engine, python, settings, log))
            _tell(f"starting {engine}")
            worker.start(arguments.timeout)
            workers.append(worker)
        facts = {
            "machine": f"{os.cpu_count()} cores, {_machine_memory() / 1e9:.0f} GB",
            "data": f"{data_size(paths) / 1e6:.0f} MB of Parquet",
            "settings": f"{arguments.cores} cores and {arguments.memory / 1e9:g} GB for each engine, object stores of "
            f"{arguments.object_store / 1e9:g} GB, {SPARK_PARTITIONS} shuffle partitions in Spark, "
            f"{arguments.timeout:g} s for a query",
            **{f"versions, {w.engine}": ", ".join(f"{n} {v}" for n, v in w.facts.items()) for w in workers},
        }
        print(json.dumps({"facts": facts}), file=out, flush=True)
        _read(paths)
        for number in arguments.queries:
            failed: set[str] = set()
            for _ in range(arguments.runs):
                for worker in workers:
                    if worker.engine in failed:
                        continue
                    measured = worker.run(number, arguments.timeout)
                    print(json.dumps(asdict(measured)), file=out, flush=True)
                    _tell(f"q{number:02} {worker.engine:12} {measured.error or f'{measured.seconds:.3f} s'}")
                    if measured.error is not None:
                        failed.add(worker.engine)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(paths: dict[str, str]) -> None:
    """Read all files once, so that no engine is the first."""
    for path in map(Path, paths.values()):
        for file in path.parent.glob(path.name):
            with file.open("rb", buffering=0) as source:
                while source.read(2**24):
                    pass


# The table.


def _table(files: list[Path]) -> None:
    runs: dict[str, dict[int, list[Measurement]]] = {}
    for file in files:
        for line in map(json.loads, file.read_text().splitlines()):
            for name, value in line.get("facts", {}).items():
                print(f"{name}: {value}")
            if "facts" not in line:
                measured = Measurement(**line)
                runs.setdefault(measured.engine, {}).setdefault(measured.query, []).append(measured)
    if not runs:
        sys.exit("no query has run")
    seconds = {engine: _seconds(queries) for engine, queries in runs.items()}
    own, *peers = runs
    _rows(own, peers, seconds, sorted({number for queries in runs.values() for number in queries}))
    for peer in peers:
        _compare(own, peer, seconds)
    for engine, queries in runs.items():
        for number, ones in sorted(queries.items()):
            problem = _problem(ones, runs[own].get(number, []), own)
            if problem is not None:
                print(f"q{number:02} {engine}: {problem}")


def _seconds(queries: dict[int, list[Measurement]]) -> dict[int, float]:
    """The median of each query that did not fail."""
    good = {number: ones for number, ones in queries.items() if not any(one.error for one in ones)}
    return {number: statistics.median(one.seconds for one in ones) for number, ones in good.items()}


def _rows(own: str, peers: list[str], seconds: dict[str, dict[int, float]], numbers: list[int]) -> None:
    titles = {peer: f"{peer}/{own}" for peer in peers}
    print("\n" + "  ".join(["query", *(f"{engine:>12}" for engine in seconds), *titles.values()]))
    for number in numbers:
        cells = [_number(times.get(number), 12) for times in seconds.values()]
        for peer, title in titles.items():
            ours, theirs = seconds[own].get(number), seconds[peer].get(number)
            cells.append(_number(theirs / ours if ours and theirs else None, len(title), 2))
        print("  ".join([f"q{number:02}  ", *cells]))
    print("  ".join(["total", *(f"{sum(times.values()):12.3f}" for times in seconds.values())]))
    print("  ".join(["run  ", *(f"{len(times):12}" for times in seconds.values())]) + "\n")


def _problem(ones: list[Measurement], reference: list[Measurement], own: str) -> str | None:
    """Why a query failed, or that its answer is not the first engine's."""
    error = next((one.error for one in ones if one.error), None)
    if error is None and reference and reference[0].error is None and not _same(ones[0], reference[0]):
        return f"another answer than that of {own}"
    return error


def _compare(own: str, peer: str, seconds: dict[str, dict[int, float]]) -> None:
    both = sorted(seconds[own].keys() & seconds[peer].keys())
    if not both:
        print(f"{peer}: no query runs on {own} too")
        return
    ratios = {number: seconds[peer][number] / seconds[own][number] for number in both}
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios.values()))
    worst = min(both, key=lambda number: ratios[number])
    print(
        f"{peer}/{own} over the {len(both)} queries that both run: geometric mean {mean:.2f}, "
        f"least {ratios[worst]:.2f} (q{worst:02}), total {sum(seconds[peer][n] for n in both):.3f} s "
        f"to {sum(seconds[own][n] for n in both):.3f} s"
    )


def _number(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _same(ours: Measurement, theirs: Measurement) -> bool:
    if ours.rows != theirs.rows or len(ours.digest) != len(theirs.digest):
        return False
    for a, b in zip(ours.digest, theirs.digest, strict=True):
        if isinstance(a, float) and isinstance(b, float):
            if not math.isclose(a, b, rel_tol=TOLERANCE):
                return False
        elif a != b:
            return False
    return True


if __name__ == "__main__":
    main()
