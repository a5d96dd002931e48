"""`sqlray tpch run`: times of the 22 queries, with peers beside them.

How it is measured: each engine has a process of its own that stays for the whole run and uses all cores as it
comes. Engines take turns query by query and run by run, so that whatever else the machine does meets all
of them. A time goes from the query's text to the whole result as an Arrow table; Parquet files are read
anew each time, from the operating system's cache after the first. The time shown is the median of the
runs. With `--memory` each query of each engine also runs once in a process of its own, whose peak
resident memory is shown; sqlray is imported in all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pyarrow as pa

from planner.record import record
from sqlray.format_values import pad
from sqlray.options import format_size
from sqlray.tpch_worker import Measurement, Worker


@record
class RunPlan:
    """What to run.

    Args:
        paths: the tables' files.
        queries: the numbers of the queries.
        runs: how often each query runs on each engine.
        engines: sqlray first, then its peers.
        settings: sqlray's options.
        memory: whether peak memory is measured as well.
    """

    paths: dict[str, str]
    queries: list[int]
    runs: int
    engines: list[str]
    settings: dict[str, str]
    memory: bool


@record
class QueryTimes:
    """One query's result: per engine the median seconds (None if it failed) and the peak memory."""

    number: int
    rows: int
    seconds: dict[str, float | None]
    peaks: dict[str, int]
    errors: dict[str, str]

    @property
    def ratio(self) -> float | None:
        """sqlray's time over the fastest peer's."""
        own = self.seconds["sqlray"]
        peers = [s for engine, s in self.seconds.items() if engine != "sqlray" and s is not None]
        return own / min(peers) if own is not None and peers else None


def measure(plan: RunPlan) -> Iterator[QueryTimes]:
    """Run every query and yield its times as soon as they are there."""
    with ExitStack() as stack:
        workers = {engine: stack.enter_context(Worker(engine, plan.paths, plan.settings)) for engine in plan.engines}
        for number in plan.queries:
            runs: dict[str, list[Measurement]] = {engine: [] for engine in plan.engines}
            for _ in range(plan.runs):
                for engine, worker in workers.items():
                    runs[engine].append(worker.run(number))
            peaks = _peaks(plan, number) if plan.memory else {}
            yield _summary(number, runs, peaks)


def _peaks(plan: RunPlan, number: int) -> dict[str, int]:
    peaks = {}
    for engine in plan.engines:
        with Worker(engine, plan.paths, plan.settings) as worker:
            peaks[engine] = worker.run(number).peak
    return peaks


def _summary(number: int, runs: dict[str, list[Measurement]], peaks: dict[str, int]) -> QueryTimes:
    errors = {engine: m.error for engine, ms in runs.items() for m in ms if m.error is not None}
    seconds = {
        engine: None if engine in errors else statistics.median(m.seconds for m in ms) for engine, ms in runs.items()
    }
    return QueryTimes(number, runs["sqlray"][0].rows, seconds, peaks, errors)


@record
class _Column:
    name: str
    width: int
    cell: Callable[[QueryTimes], str]


def print_report(plan: RunPlan, results: Iterator[QueryTimes], show: Callable[[str], None]) -> list[QueryTimes]:
    """Show each query's line as it comes and the totals at the end; returns all results."""
    columns = _columns(plan)
    show("  ".join(pad(column.name, column.width, right=True) for column in columns))
    done = []
    for times in results:
        done.append(times)
        show("  ".join(pad(column.cell(times), column.width, right=True) for column in columns).rstrip())
        for engine, error in times.errors.items():
            show(f"       {engine}: {error}")
    for line in _totals(plan, done):
        show(line)
    return done


def _columns(plan: RunPlan) -> list[_Column]:
    def time_column(engine: str) -> _Column:
        return _Column(f"{engine} s", 9, lambda times: _seconds(times.seconds[engine]))

    def memory_column(engine: str) -> _Column:
        return _Column(f"{engine} peak", 11, lambda times: format_size(times.peaks[engine]))

    columns = [_Column("query", 5, lambda times: f"q{times.number:02}")]
    columns.append(_Column("rows", 6, lambda times: str(times.rows)))
    columns += [time_column(engine) for engine in plan.engines]
    if len(plan.engines) > 1:
        columns.append(_Column("ratio", 5, lambda times: "" if times.ratio is None else f"{times.ratio:.2f}"))
    if plan.memory:
        columns += [memory_column(engine) for engine in plan.engines]
    return columns


def _seconds(seconds: float | None) -> str:
    return "failed" if seconds is None else f"{seconds:.3f}"


def _totals(plan: RunPlan, results: list[QueryTimes]) -> list[str]:
    lines = []
    sums = [_total(results, engine) for engine in plan.engines]
    lines.append("  ".join([pad("total", 13, right=False), *(pad(s, 9, right=True) for s in sums)]))
    ratios = [(times.ratio, times.number) for times in results if times.ratio is not None]
    if ratios:
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio, _ in ratios))
        worst, number = max(ratios)
        lines.append(f"time over the fastest peer: geometric mean {mean:.2f}, worst {worst:.2f} (q{number:02})")
    return lines


def _total(results: list[QueryTimes], engine: str) -> str:
    times = [times.seconds[engine] for times in results]
    return "" if None in times else f"{sum(t for t in times if t is not None):.3f}"


def report_table(plan: RunPlan, results: list[QueryTimes]) -> pa.Table:
    """The results as a table, for the formats that programs read."""
    columns: dict[str, pa.Array] = {
        "query": pa.array([times.number for times in results], pa.int32()),
        "rows": pa.array([times.rows for times in results], pa.int64()),
    }
    for engine in plan.engines:
        columns[f"{engine}_seconds"] = pa.array([times.seconds[engine] for times in results], pa.float64())
    if len(plan.engines) > 1:
        columns["ratio"] = pa.array([times.ratio for times in results], pa.float64())
    if plan.memory:
        for engine in plan.engines:
            columns[f"{engine}_peak_bytes"] = pa.array([t.peaks[engine] for t in results], pa.int64())
    return pa.table(columns)
