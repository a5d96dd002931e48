"""TPC-H on a GPU: every query's answer checked against the CPU's, and timed against the CPU and DuckDB.

    python -m tests.benchmarks.gpu --data tpch-data/sf10 --scale 10 --runs 3 --profile --output gpu.txt

A query that fails, or that has to fall back to the CPU, says why, and the next one follows. Every line is written as
soon as it is known. Without a GPU only the other columns are filled. Times are from a query's text to the whole result
as Arrow: the first run on the GPU, and the best of `--runs` for every engine. In "GPU anew" and on the CPU every run is
planned, as in DuckDB; in the other columns the plan is that of the first run. (DuckDB gains nothing by prepared
statements: 79 ms a query at scale 1, with or without.)
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

import duckdb
import polars as pl
import pyarrow as pa

import sqlray
from executor import residents
from executor.device_frames import DeviceTimes, Fragment
from executor.device_rates import known_rates, measured_rates
from executor.devices import failure, gpu_absence
from executor.kernels import run_on_device
from executor.sources.memory import MemoryTable
from planner.device_cost import choose, seconds, work
from planner.devices import H100, Rates, default_cpu
from planner.physical import ScanExec
from planner.record import record
from planner.tree import walk
from sqlray.options import machine_memory
from sqlray.tpch import query_numbers
from sqlray.tpch_data import generate, table_paths
from sqlray.tpch_verify import SORT_KEYS, compare
from tests.planned import planned_query, run
from tpch_queries import NUMBERS, query

TOLERANCE = 1e-9  # of a double's value: the GPU adds in another order
PACKAGES = ("sqlray", "polars", "cudf-polars-cu13", "libcudf-cu13", "rmm-cu13", "pyarrow", "duckdb")
SMI = "name,memory.total,driver_version,pcie.link.gen.max,pcie.link.width.max,clocks.max.sm"
HEADER = (
    f"{'source':8} {'query':>5} {'GPU first':>10} {'GPU best':>9} {'GPU anew':>9} {'auto':>9} {'CPU best':>9} "
    f"{'DuckDB':>9} {'CPU/GPU':>8} {'DuckDB/GPU':>10}  result"
)

Engine = Callable[[int], pa.Table]
OnGpu = Callable[[int], tuple[pa.Table, DeviceTimes]]


class FellBack(Exception):
    """The GPU did not run a query, or a part of it."""


@dataclass(slots=True)
class Report:
    """Lines for the screen and, at once, for a file."""

    file: TextIO | None

    def line(self, text: str = "") -> None:
        for out in (sys.stdout, self.file):
            if out is not None:
                print(text, file=out, flush=True)


@dataclass(slots=True)
class Timing:
    """One engine's runs of a query: its seconds, its last answer, or why there is none."""

    seconds: list[float] = field(default_factory=list)
    answer: pa.Table | None = None
    error: str | None = None
    device: DeviceTimes = field(default_factory=DeviceTimes)  # of the best run

    @property
    def best(self) -> float | None:
        return min(self.seconds) if self.seconds and self.error is None else None


@record
class Engines:
    """The engines over one copy of the tables, and the session that chooses the device; ``gpu`` is None where there is
    none."""

    source: str
    cpu: Engine
    duckdb: Engine
    auto: Engine
    gpu: OnGpu | None
    gpu_anew: OnGpu | None
    session: sqlray.Session


def main() -> None:
    arguments = _arguments()
    with arguments.output.open("w") if arguments.output else nullcontext() as file:
        report = Report(file)
        if not arguments.data.is_dir():
            started = time.perf_counter()
            generate(arguments.scale, arguments.data)
            report.line(f"generated scale {arguments.scale:g} in {time.perf_counter() - started:.1f} s")
        for fact in _facts(arguments.data):
            report.line(fact)
        absent = gpu_absence()
        report.line(f"no GPU columns: {absent}" if absent else _warm_up())
        rates = measured_rates() if arguments.model and not absent else None
        for device in (rates.cpu, rates.gpu) if rates else ():
            report.line(f"measured: {device}")
        deadline = time.perf_counter() + arguments.limit
        for source in arguments.sources:
            engines = _open(source, table_paths(arguments.data), absent is None)
            _table(engines, arguments, deadline, report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a directory with a Parquet file for each table")
    parser.add_argument("--scale", type=float, default=1.0, help="of the data that is generated if there is none")
    parser.add_argument("--queries", type=query_numbers, default=list(NUMBERS), help="such as 1,3,5-9; all by default")
    parser.add_argument("--runs", type=int, default=3, help="runs of each query on each engine")
    parser.add_argument("--sources", nargs="+", choices=["parquet", "memory"], default=["parquet", "memory"])
    parser.add_argument("--profile", action="store_true", help="tell what each query spent its time on, on the GPU")
    parser.add_argument("--model", action="store_true", help="measure the devices, and tell what is expected of them")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds after which no query is started")
    parser.add_argument("--output", type=Path, help="a file for the same lines")
    return parser.parse_args()


def _facts(data: Path) -> Iterable[str]:
    yield f"machine: {os.cpu_count()} cores, {machine_memory() / 1e9:.0f} GB, {platform.platform()}"
    smi = ["nvidia-smi", f"--query-gpu={SMI}", "--format=csv,noheader"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(smi, capture_output=True, text=True, check=False, timeout=30)
        yield from (f"GPU ({SMI}): {line}" for line in done.stdout.splitlines())
    yield "versions: Python " + platform.python_version() + "".join(f", {name} {_version(name)}" for name in PACKAGES)
    size = sum(path.stat().st_size for path in data.rglob("*.parquet"))
    yield f"data: {data}, {size / 1e6:.0f} MB of Parquet"


def _version(package: str) -> str:
    if package == "sqlray":
        return sqlray.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def _warm_up() -> str:
    """A small query starts the GPU: its memory pool and its libraries."""
    started = time.perf_counter()
    try:
        run_on_device(Fragment(pl.LazyFrame({"a": [1, 2, 3]}).select(pl.col("a").sum())), DeviceTimes())
    except Exception as error:  # the queries will tell too
        return f"the GPU does not start: {failure(error)}"
    return f"the GPU started in {time.perf_counter() - started:.2f} s"


def _open(source: str, paths: dict[str, str], gpu: bool) -> Engines:
    connection = duckdb.connect()
    kind = "view" if source == "parquet" else "table"
    for table, path in paths.items():
        quoted = path.replace("'", "''")
        connection.execute(f"create {kind} {table} as select * from read_parquet('{quoted}')")
    tables: dict[str, object] = dict(paths)
    if source == "memory":
        tables = {table: pl.read_parquet(path) for table, path in paths.items()}
    sessions = {"cpu": sqlray.connect(device="cpu", plan_cache_size=0), "auto": sqlray.connect(device="auto")}
    if gpu:
        sessions |= {"gpu": sqlray.connect(device="gpu"), "anew": sqlray.connect(device="gpu", plan_cache_size=0)}
    for table, rows in tables.items():
        for session in sessions.values():
            session.register(table, rows)
        if source == "memory" and gpu:  # one copy on the device for both
            sessions["anew"].register(table, sessions["gpu"].catalog.get(table))
    return Engines(
        source,
        lambda number: sessions["cpu"].sql(query(number)).to_arrow(),
        lambda number: connection.sql(query(number)).to_arrow_table(),
        lambda number: sessions["auto"].sql(query(number)).to_arrow(),
        (lambda number: _on_gpu(sessions["gpu"], number)) if gpu else None,
        (lambda number: _on_gpu(sessions["anew"], number)) if gpu else None,
        sessions["auto"],
    )


def _on_gpu(session: sqlray.Session, number: int) -> tuple[pa.Table, DeviceTimes]:
    answer, metrics = run(planned_query(session, query(number)))
    if metrics.fallbacks:
        raise FellBack("; ".join(f"stage {f.stage}: {f.reason}" for f in metrics.fallbacks))
    return answer, metrics.device


def _table(engines: Engines, arguments: argparse.Namespace, deadline: float, report: Report) -> None:
    report.line()
    report.line(HEADER)
    over_cpu: list[float] = []
    over_duckdb: list[float] = []
    anew_over_duckdb: list[float] = []
    auto_over: list[float] = []
    right = 0
    for number in arguments.queries:
        if time.perf_counter() > deadline:
            report.line(f"{engines.source:8} {number:5} and those after it: no time is left")
            break
        gpu = Timing(error="no GPU") if engines.gpu is None else _time(engines.gpu, number, arguments.runs + 1)
        anew = Timing(error="no GPU") if engines.gpu_anew is None else _time(engines.gpu_anew, number, arguments.runs)
        cpu = _time(_without_times(engines.cpu), number, arguments.runs)
        duck = _time(_without_times(engines.duckdb), number, arguments.runs)
        auto = _time(_without_times(engines.auto), number, arguments.runs) if engines.gpu else Timing(error="no GPU")
        result = _verdict(number, gpu, cpu, duck)
        if result == "ok" and gpu.best:
            right += 1
            over_cpu += [cpu.best / gpu.best] if cpu.best else []
            over_duckdb += [duck.best / gpu.best] if duck.best else []
            anew_over_duckdb += [duck.best / anew.best] if duck.best and anew.best else []
            auto_over += [min(cpu.best, gpu.best) / auto.best] if auto.best and cpu.best else []
        first = gpu.seconds[0] if gpu.best else None
        report.line(
            f"{engines.source:8} {number:5} {_number(first, 10)} {_number(gpu.best, 9)} {_number(anew.best, 9)} "
            f"{_number(auto.best, 9)} {_number(cpu.best, 9)} {_number(duck.best, 9)} {_ratio(cpu, gpu, 8)} "
            f"{_ratio(duck, gpu, 10)}  {result}"
        )
        if arguments.model:
            report.line(_expected(engines.session, number))
        if arguments.profile and gpu.error is None:
            report.line(_profile(engines, number, gpu))
    report.line(
        f"{engines.source:8} {right} of {len(arguments.queries)} right on the GPU; geometric means: "
        f"CPU/GPU {_mean(over_cpu)}, DuckDB/GPU {_mean(over_duckdb)}, DuckDB/GPU anew {_mean(anew_over_duckdb)}, "
        f"the better device/auto {_mean(auto_over)}"
    )


def _without_times(engine: Engine) -> OnGpu:
    return lambda number: (engine(number), DeviceTimes())


def _time(engine: OnGpu, number: int, runs: int) -> Timing:
    """The runs of a query; one that fails is not repeated."""
    timing = Timing()
    for _ in range(runs):
        started = time.perf_counter()
        device = timing.device
        try:
            timing.answer, device = engine(number)
        except Exception as error:  # of any engine: the next query is still worth a line
            timing.error = str(error) if isinstance(error, FellBack) else failure(error)
        took = time.perf_counter() - started
        if took < min(timing.seconds, default=math.inf):
            timing.device = device
        timing.seconds.append(took)
        if timing.error is not None:
            break
    return timing


def _verdict(number: int, gpu: Timing, cpu: Timing, duck: Timing) -> str:
    """Whether the GPU's answer is the CPU's; without a GPU, whether the CPU and DuckDB gave one."""
    failures = [f"{name}: {t.error}" for name, t in (("GPU", gpu), ("CPU", cpu), ("DuckDB", duck)) if t.error]
    if failures:
        return "; ".join(failures)
    assert gpu.answer is not None
    assert cpu.answer is not None
    problem = compare(gpu.answer, cpu.answer, SORT_KEYS.get(number, ()), TOLERANCE)
    return "ok" if problem is None else f"WRONG: {problem}"


def _expected(session: sqlray.Session, number: int) -> str:
    """What the model of costs expects of a query on either device, and where its stages would therefore run."""
    rates = known_rates() or Rates(default_cpu(pl.thread_pool_size()), H100)
    physical = planned_query(session, query(number)).physical
    expected, devices = [0.0, 0.0], []
    for stage in physical.graph.stages:
        done = work(stage, physical.estimates, physical.context.model)
        devices.append(choose(done, rates)[0])
        if done is not None:
            for i, device in enumerate((rates.gpu, rates.cpu)):
                expected[i] += seconds(done, device).total
    return f"{'expected':14} GPU {expected[0]:.3f}, CPU {expected[1]:.3f}; auto: {', '.join(devices)}"


def _profile(engines: Engines, number: int, gpu: Timing) -> str:
    """What the best run spent its time on, and the share of the memory's bandwidth that its kernels reached: bytes of
    the columns that the query reads, over the kernels' seconds (they read them once at least, and what they write)."""
    times = gpu.device
    assert gpu.best is not None
    device = times.seconds
    parts = {
        "plan": gpu.best - device, "prepare": times.prepare, "scan": times.scan, "upload": times.upload,
        "kernels": times.kernels, "download": times.download,
    }  # fmt: skip
    listed = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in parts.items())
    slowest = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in times.operators.most_common(6))
    read = sum(
        residents.resident_bytes(node.table.frame, [f.name for f in node.fields])
        for stage in planned_query(engines.session, query(number)).physical.graph.stages
        for node in walk(stage.plan)
        if isinstance(node, ScanExec) and isinstance(node.table, MemoryTable)
    )
    reached = f"; {read / max(times.kernels, 1e-9) / 1e9:.0f} GB/s of columns" if read else ""
    return f"{'':14} ms: {listed}{reached}; operators: {slowest}"


def _number(value: float | None, width: int) -> str:
    return f"{value:{width}.3f}" if value is not None else f"{'-':>{width}}"


def _ratio(slow: Timing, fast: Timing, width: int) -> str:
    return f"{slow.best / fast.best:{width}.2f}" if slow.best and fast.best else f"{'-':>{width}}"


def _mean(ratios: list[float]) -> str:
    """The geometric mean, and of how many."""
    if not ratios:
        return "-"
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f} (of {len(ratios)})"


if __name__ == "__main__":
    main()
