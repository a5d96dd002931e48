"""What the GPU and the cores beside it do in a second: measured once, kept in a file, and until then guessed.

Small queries run on both devices, over generated rows with keys, decimals and text. What a query takes beyond one that
only reads the same columns is what its operator takes.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import polars as pl

from executor import device_frames
from executor.device_frames import DeviceTimes, Fragment
from executor.kernels import collect, run_on_device
from planner.cost import CostModel
from planner.devices import H100, Device, DeviceRates, Rates, default_cpu
from planner.record import record

_ROWS = 8_000_000
_TIMES = 3
_LEAST = 1e-4  # seconds: what differences of times do not tell apart
_CUDF = ("cudf-polars-cu13", "cudf-polars-cu12", "cudf-polars")

Query = Callable[[pl.LazyFrame], pl.LazyFrame]


@record
class Gpu:
    """A GPU as its driver tells of it."""

    name: str
    memory: int


@cache
def find_gpu() -> Gpu | None:
    """The first GPU that this process sees, asked of NVML without starting CUDA; None if it does not tell.

    NVML counts in the bus's order, CUDA the fastest first: of several that differ this may be another one.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    handle, name, memory = ctypes.c_void_p(), ctypes.create_string_buffer(96), (ctypes.c_ulonglong * 3)()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return None
        if visible.isdecimal():
            failed = nvml.nvmlDeviceGetHandleByIndex_v2(int(visible), ctypes.byref(handle))
        else:
            failed = nvml.nvmlDeviceGetHandleByUUID(visible.encode(), ctypes.byref(handle))
        failed = failed or nvml.nvmlDeviceGetName(handle, name, len(name))
        failed = failed or nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    except (OSError, AttributeError):  # no such library, or an old one
        return None
    return None if failed else Gpu(name.value.decode(errors="replace"), memory[0])


def known_rates() -> Rates | None:
    """The rates that were measured here, or those of an H100 for whatever GPU there is; None if it cannot be asked."""
    gpu = find_gpu()
    if gpu is None:
        return None
    guessed = Rates(default_cpu(pl.thread_pool_size()), replace(H100, name=gpu.name, memory=gpu.memory))
    return _kept(_key(gpu)) or guessed


def measured_rates() -> Rates | None:
    """The rates that were measured here; if there are none yet, they are measured now, which takes some seconds.

    None if that fails: what is wrong with the GPU shows where a fragment fails on it.
    """
    gpu = find_gpu()
    if gpu is None:
        return None
    key = _key(gpu)
    if _kept(key) is None and key not in _found:
        _found[key] = _measure_both(gpu)
        keep(key, _found[key])
    return _found[key]


_found: dict[str, Rates | None] = {}  # what this process read or measured, by key; None: it failed, once is enough


def _kept(key: str) -> Rates | None:
    """The rates in the file, if it has them for this GPU, these cores and these versions."""
    if key not in _found:
        with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):  # no file, no home, not what we wrote
            found = json.loads(path().read_text())[key]
            _found[key] = Rates(DeviceRates(**found["cpu"]), DeviceRates(**found["gpu"]))
    return _found.get(key)


def _measure_both(gpu: Gpu) -> Rates | None:
    try:
        cpu = measure("cpu", f"{pl.thread_pool_size()} cores", inf)
        return Rates(cpu, measure("gpu", gpu.name, gpu.memory))
    except Exception:  # of any kind: a query must not fail because its devices could not be compared
        return None


def path() -> Path:
    """The file of measured rates, in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "sqlray" / "devices.json"


def keep(key: str, rates: Rates | None) -> None:
    """Add rates to the file, whole or not at all; without one that can be written each process measures again."""
    if rates is None:
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        target = path()
        target.parent.mkdir(parents=True, exist_ok=True)
        known: dict[str, object] = {}
        with suppress(OSError, ValueError, TypeError):
            known.update(json.loads(target.read_text()))
        known[key] = {"cpu": asdict(rates.cpu), "gpu": asdict(rates.gpu)}
        with NamedTemporaryFile("w", dir=target.parent, prefix="devices-", delete=False) as file:
            json.dump(known, file, indent=1)
        os.replace(file.name, target)


def _key(gpu: Gpu) -> str:
    return f"{gpu.name}, {pl.thread_pool_size()} cores, polars {pl.__version__}, cudf-polars {_cudf_version()}"


@cache
def _cudf_version() -> str:
    for package in _CUDF:
        with suppress(PackageNotFoundError):
            return version(package)
    return "unknown"


def measure(device: Device, name: str, memory: float, rows: int = _ROWS) -> DeviceRates:
    """Measure a device with about ``rows`` rows, 256 MB for the usual number.

    Raises:
        ExecutionError: a query failed on it.
    """
    frame = _rows(rows)
    size = float(frame.estimated_size())
    width = size / rows
    few = frame.head(8).lazy()
    model = CostModel()
    groups, build = rows // 16, rows // 4
    with TemporaryDirectory(prefix="sqlray-") as folder:
        file = Path(folder) / "rows.parquet"
        frame.write_parquet(file)
        source = pl.scan_parquet(file, cache=False) if device == "gpu" else frame.lazy()

        def took(query: Query, source: pl.LazyFrame = source) -> float:
            return _best(query(source), device)

        start, chain = took(_grouped, few), took(lambda rows: _chain(rows, 8), few)
        parquet = took(_read, pl.scan_parquet(file, cache=False))
        memory_read = took(_read, frame.lazy())
        read = parquet if device == "gpu" else memory_read
        whole = took(lambda rows: rows)
        launch = max(_LEAST, (chain - start) / 7)

        def rate(units: float, seconds: float, before: float) -> float:
            return units / max(seconds - before, _LEAST)

        join = took(lambda rows: _read(rows.join(rows.filter(pl.col("k") < build).select("k"), on="k")))
        return DeviceRates(
            name,
            memory,
            decode=rate(size, parquet, start if device == "gpu" else memory_read),
            stream=rate(model.filter(rows).cpu * 3 + rows * model.output_row, took(_filtered), read),
            join=rate(model.hash_join_cpu(build, rows, build, width), join, read),
            group=rate(model.aggregate(rows, groups, 24).cpu, took(lambda r: _read_groups(r, groups)), read),
            sort=rate(model.sort(rows, width).cpu, took(lambda rows: rows.sort("v", "k")), whole),
            launch=launch,
            start=max(_LEAST, start - launch),
            upload=rate(size, memory_read, start) if device == "gpu" else inf,
            download=rate(size, whole, read) if device == "gpu" else inf,
        )


def _rows(rows: int) -> pl.DataFrame:
    """Keys in no order, a decimal and a short text: what tables have."""
    at = pl.int_range(0, rows, dtype=pl.Int64)
    scattered = at * 2_654_435_761 % rows  # Knuth's multiplicative hash
    words = pl.Series(["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"])
    return pl.select(
        scattered.alias("k"),
        (scattered % 100_000).cast(pl.Decimal(15, 2)).alias("v"),
        pl.lit(words).gather(scattered % 7).alias("s"),
    )


def _read(rows: pl.LazyFrame) -> pl.LazyFrame:
    """As little as reads every column."""
    return rows.select(pl.col("k").sum(), pl.col("v").max(), pl.col("s").max())


def _filtered(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Three tests that every row passes."""
    return _read(rows.filter((pl.col("k") % 2 >= 0) & (pl.col("v") >= 0) & (pl.col("s") != "")))


def _grouped(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.group_by("k").agg(pl.col("v").max(), pl.col("s").max())


def _chain(rows: pl.LazyFrame, length: int) -> pl.LazyFrame:
    for _ in range(length):
        rows = _grouped(rows)
    return rows


def _read_groups(rows: pl.LazyFrame, groups: int) -> pl.LazyFrame:
    return _read(rows.with_columns(pl.col("k") % groups).group_by("k").agg(pl.col("v").max(), pl.col("s").max()))


def _best(lazy: pl.LazyFrame, device: Device) -> float:
    """Seconds of the best run of a query, after one that starts what has to be started."""
    _once(lazy, device)
    seconds = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        _once(lazy, device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _once(lazy: pl.LazyFrame, device: Device) -> pl.DataFrame:
    return collect(lazy) if device == "cpu" else device_frames.download(run_on_device(Fragment(lazy), DeviceTimes()))
