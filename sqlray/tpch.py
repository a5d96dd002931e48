"""`sqlray tpch`: generate the data, run the 22 queries, verify the answers."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from planner.errors import ExecutionError
from sqlray.console import format_seconds
from sqlray.format import FORMATS, format_of, whole_file, write_result
from sqlray.options import Options, format_size
from sqlray.ray_option import add_ray
from sqlray.result import Result
from sqlray.tpch_data import data_size, default_directory, ensure_data, generate, table_paths
from sqlray.tpch_engines import PEERS, check_installed, open_engine
from sqlray.tpch_run import RunPlan, measure, print_report, report_table
from sqlray.tpch_verify import TOLERANCE, verify
from tpch_queries import NUMBERS


def main(arguments: Sequence[str]) -> int:
    """The entry point of `sqlray tpch`; returns the exit status."""
    options = _parser().parse_args(arguments)
    match options.command:
        case "generate":
            return _generate(options)
        case "run":
            return _run(options)
        case "verify":
            return _verify(options)
        case command:
            raise ExecutionError(f"there is no command '{command}'")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sqlray tpch", description="TPC-H: the data, times, and answers.")
    commands = parser.add_subparsers(dest="command", required=True)

    generate = commands.add_parser("generate", help="generate the eight tables as Parquet files")
    _add_scale(generate)
    generate.add_argument("--output", metavar="DIR", help="where to (default: tpch-data/sf<N>)")

    run = commands.add_parser("run", help="time the queries")
    run.add_argument("--runs", type=_positive, default=3, metavar="N", help="runs of each query (default: 3)")
    run.add_argument("--compare", type=_peers, default=[], metavar="PEERS", help="engines to run beside: duckdb,polars")
    run.add_argument("--memory", action="store_true", help="peak memory, each query in a fresh process")
    run.add_argument("--format", choices=FORMATS, help="how the table is written (default: table)")
    run.add_argument("-o", dest="output", metavar="FILE", help="write the table to a file")

    check = commands.add_parser("verify", help="compare every row and digit with DuckDB's")
    for command in (run, check):
        command.add_argument("--data", metavar="DIR", help="directory with the tables as Parquet files")
        _add_scale(command)
        numbers = list(NUMBERS)
        command.add_argument("--queries", type=query_numbers, default=numbers, metavar="LIST", help="such as 1,3,5-8")
        command.add_argument("--memory-limit", metavar="SIZE", help="sqlray's memory_limit, such as 2GB")
        command.add_argument("--partitions", metavar="N", help="force the plan into stages of N partitions")
        command.add_argument(
            "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="set an option"
        )
        add_ray(command)
    return parser


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scale", type=_scale, default=1.0, metavar="N", help="scale factor (default: 1, 1 GB of text)"
    )


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if scale <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a scale factor")
    return scale


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def _peers(text: str) -> list[str]:
    peers = [name.strip() for name in text.split(",")]
    for peer in peers:
        if peer not in PEERS:
            raise argparse.ArgumentTypeError(f"there is no peer '{peer}'; peers: {', '.join(PEERS)}")
    return peers


def query_numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().removeprefix("q").partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise argparse.ArgumentTypeError(f"'{part}' is not a query; write 1,3,5-8")
        numbers += range(int(first), int(last or first) + 1)
    for number in numbers:
        if number not in NUMBERS:
            raise argparse.ArgumentTypeError(f"there is no query {number}: they are 1 to 22")
    return numbers


def _generate(options: argparse.Namespace) -> int:
    directory = Path(options.output) if options.output else default_directory(options.scale)
    started = time.perf_counter()
    generate(options.scale, directory)
    size = format_size(data_size(table_paths(directory)))
    print(f"{directory}: 8 tables, {size} in {format_seconds(time.perf_counter() - started)}")
    return 0


def _paths(options: argparse.Namespace) -> dict[str, str]:
    directory = Path(options.data) if options.data else ensure_data(options.scale)
    return {table: str(Path(path).resolve()) for table, path in table_paths(directory).items()}


def _settings(options: argparse.Namespace) -> dict[str, str]:
    settings = dict(setting.partition("=")[::2] for setting in options.settings)
    if options.memory_limit:
        settings["memory_limit"] = options.memory_limit
    if options.partitions:
        settings |= {"partitions": options.partitions, "staged": "true"}
    for name, value in settings.items():
        Options().set(name, value)  # a wrong value should fail before anything runs
    return settings if options.ray is None else {**settings, "ray": options.ray}


def _run(options: argparse.Namespace) -> int:
    for peer in options.compare:
        check_installed(peer)
    plan = RunPlan(
        paths=_paths(options),
        queries=options.queries,
        runs=options.runs,
        engines=["sqlray", *options.compare],
        settings=_settings(options),
        memory=options.memory,
    )
    form = options.format or (format_of(options.output) if options.output else None) or "table"
    # A table on the screen grows line by line; the other forms are for programs, with the lines on stderr.
    screen = sys.stdout if form == "table" and not options.output else sys.stderr
    results = print_report(plan, measure(plan), lambda line: print(line, file=screen, flush=True))
    if screen is sys.stderr:
        table = report_table(plan, results)
        result = Result(table.schema, lambda: iter(table.to_batches()), lambda analyze: "")
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(whole_file(options.output)) if options.output else sys.stdout.buffer
            write_result(result, form, out, Options())
    return 1 if any("sqlray" in times.errors for times in results) else 0


def _verify(options: argparse.Namespace) -> int:
    check_installed("duckdb")
    paths = _paths(options)
    engine, oracle = open_engine("sqlray", paths, _settings(options)), open_engine("duckdb", paths, {})
    wrong = 0
    for verdict in verify(options.queries, engine, oracle):
        wrong += verdict.problem is not None
        rows = f"{verdict.rows:>6} {'row ' if verdict.rows == 1 else 'rows'}"
        print(f"q{verdict.number:02}  {rows}  {verdict.problem or 'ok'}", flush=True)
    count = len(options.queries)
    print(f"{count - wrong} of {count} right; decimals exact, doubles within {TOLERANCE:g} of their value")
    return 1 if wrong else 0
