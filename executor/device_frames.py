"""Rows in the memory of the GPU, and plans that cuDF runs over them.

cudf-polars translates a plan that Polars has optimized. It is evaluated here, so that its rows can stay on the device
and what took how long can be told. The only file that knows how cudf-polars (26.10) is made.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from executor.value import NotOnDevice
from planner.record import record


@record(eq=False)
class DeviceFrame:
    """Rows on the device, and their columns' types; ``held`` is cudf-polars' DataFrame."""

    rows: int
    bytes: int
    schema: Mapping[str, pl.DataType]
    held: Any


@dataclass(slots=True)
class DeviceTimes:
    """What plans on the device took, in seconds, and the bytes that crossed the bus.

    Args:
        prepare: optimizing and translating, on the host.
        scan: reading files; the device decodes them.
        upload: copying rows of the host's memory.
        kernels: all other operators.
        download: copying rows back.
        operators: seconds by the name of cudf-polars' operator, as far as the host waits for them.
    """

    prepare: float = 0.0
    scan: float = 0.0
    upload: float = 0.0
    kernels: float = 0.0
    download: float = 0.0
    uploaded: int = 0
    downloaded: int = 0
    operators: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        parts = {
            "kernels": self.kernels, "files": self.scan, "copies there": self.upload, "copies back": self.download,
            "preparing": self.prepare,
        }  # fmt: skip
        listed = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in parts.items() if seconds)
        moved = (self.uploaded + self.downloaded) / 1e6
        return f"{listed}; {moved:.1f} MB copied" if moved else listed

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.prepare + self.scan + self.upload + self.kernels + self.download

    def add(self, other: DeviceTimes) -> None:
        """Count what other plans took, too."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))


_running: ContextVar[DeviceTimes | None] = ContextVar("sqlray_device_times", default=None)
"""What the plan takes that this thread runs on the device; None where Polars itself runs one."""


@cache
def gpu_engine() -> pl.GPUEngine:
    """How cuDF runs plans: wholly, or it raises.

    It allocates plain GPU memory: in the default, which the host shares, a query that does not fit crawls for minutes
    where it should fail and run on the CPU.
    """
    memory = {"qualname": "rmm.mr.CudaAsyncMemoryResource"}
    return pl.GPUEngine(executor="in-memory", raise_on_fail=True, memory_resource_config=memory)


def run(fragment: Fragment, flags: pl.QueryOptFlags, times: DeviceTimes) -> DeviceFrame:
    """Run a plan on the device and leave its rows there.

    Raises:
        NotOnDevice: cuDF has no form of an operation.
        MemoryError: the device has too little memory.
    """
    started = time.perf_counter()
    plan = _translated(fragment, flags)
    times.prepare += time.perf_counter() - started
    token = _running.set(times)
    try:
        return _evaluate(plan, times)
    finally:
        _running.reset(token)


@record(eq=False)
class Translated:
    """A plan as cudf-polars evaluates it, any number of times, and the types that its columns must have."""

    plan: Any
    schema: Mapping[str, pl.DataType]


@dataclass(slots=True)
class Fragment:
    """A compiled plan, and once it was to run on the device what cudf-polars made of it, or why it cannot."""

    lazy: pl.LazyFrame
    translated: Translated | None = None
    refusal: str = ""


def _translated(fragment: Fragment, flags: pl.QueryOptFlags) -> Translated:
    if fragment.refusal:
        raise NotOnDevice(fragment.refusal)
    if fragment.translated is None:
        try:
            fragment.translated = translate(fragment.lazy, flags)
        except NotOnDevice as error:
            fragment.refusal = str(error)
            raise
    return fragment.translated


def translate(lazy: pl.LazyFrame, flags: pl.QueryOptFlags) -> Translated:
    """cudf-polars' form of a plan, which Polars optimizes first. Needs no GPU.

    Raises:
        NotOnDevice: cuDF has no form of an operation.
    """
    from cudf_polars.dsl.translate import Translator

    found: list[Translated] = []
    errors: list[str] = []

    def callback(visitor: Any, since: int | None) -> None:
        translator = Translator(visitor, gpu_engine())
        found.append(Translated(translator.translate_ir(), visitor.get_schema()))
        errors.extend(dict.fromkeys(map(str, translator.errors)))
        visitor.set_udf(lambda *options: pl.DataFrame())  # Polars has nothing left to do

    flags = flags.__copy__()
    flags.slice_pushdown = False  # cudf-polars refuses limits in what a Python function reads (``source``)
    lazy.collect(engine="in-memory", optimizations=flags, post_opt_callback=callback)  # type: ignore[call-overload]
    if errors:
        raise NotOnDevice("; ".join(errors))
    return found[0]


def _evaluate(translated: Translated, times: DeviceTimes) -> DeviceFrame:
    from cudf_polars.dsl.ir import IRExecutionContext
    from cudf_polars.utils.timer import Timer

    timer = Timer(0)
    within = times.seconds
    with _device():
        started = time.perf_counter()
        held = translated.plan.evaluate(cache={}, timer=timer, context=IRExecutionContext())
        held.stream.synchronize()
        took = time.perf_counter() - started
    within = times.seconds - within  # copies and loads that the plan has asked for
    seconds: Counter[str] = Counter()
    for begin, end, name in timer.timings:
        seconds[name] += (end - begin) / 1e9
    times.operators += seconds
    times.scan += seconds["Scan"]
    times.upload += seconds["DataFrameScan"]
    times.kernels += took - seconds["Scan"] - seconds["DataFrameScan"] - within
    return _framed(_typed(held, translated.schema))


def _typed(held: Any, schema: Mapping[str, pl.DataType]) -> Any:
    """Rows whose columns have exactly these types: cuDF keeps no precision of decimals.

    Raises:
        NotOnDevice: they are of other types.
    """
    from cudf_polars.containers import Column, DataFrame, DataType

    columns = []
    for column in held.columns:
        found, wanted = column.dtype.polars_type, schema[column.name]
        if found != wanted:
            if not (isinstance(found, pl.Decimal) and isinstance(wanted, pl.Decimal) and found.scale == wanted.scale):
                raise NotOnDevice(f"cuDF gave {found} for {wanted}")
            column = Column(column.obj, DataType(wanted), name=column.name).sorted_like(column)
        columns.append(column)
    return DataFrame(columns, stream=held.stream, num_rows=held.num_rows)


@contextmanager
def _device() -> Iterator[None]:
    """The device and the allocator of its memory, as cudf-polars sets them around a plan."""
    from cudf_polars.callback import set_device, set_memory_resource

    options = _options()
    with set_device(options.device), set_memory_resource(None, options.memory_resource_config, options.executor):
        yield


@cache
def _options() -> Any:
    from cudf_polars.utils.config import ConfigOptions

    return ConfigOptions.from_polars_engine(gpu_engine())


def scan(frame: DeviceFrame) -> pl.LazyFrame:
    """Rows on the device as the source of a plan, which may as well run on the CPU: then they are copied back."""
    return source(frame.schema, lambda names: select(frame, names))


def source(schema: Mapping[str, pl.DataType], read: Callable[[Sequence[str]], DeviceFrame]) -> pl.LazyFrame:
    """Rows on the device that are asked for when the plan runs, as in ``scan``.

    Args:
        schema: all columns that there are.
        read: gives the named columns, in that order.
    """

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[Any]:
        frame = read(list(schema) if columns is None else columns)
        if _running.get() is not None:
            yield frame.held
            return
        copy = download(frame)
        copy = copy if rows is None else copy.head(rows)  # what a predicate beside it is asked of
        yield copy if predicate is None else copy.filter(predicate)

    return register_io_source(batches, schema=dict(schema))


def load(lazy: pl.LazyFrame) -> DeviceFrame:
    """The rows of a plan of its own, such as one that reads files, while another one runs.

    Raises:
        NotOnDevice: cuDF has no form of an operation.
        MemoryError: the device has too little memory.
    """
    return run(Fragment(lazy), pl.QueryOptFlags(), _running.get() or DeviceTimes())


def upload(frame: pl.DataFrame) -> DeviceFrame:
    """A copy on the device.

    Raises:
        MemoryError: the device has too little memory.
    """
    from cudf_polars.containers import DataFrame
    from cudf_polars.utils.cuda_stream import get_cuda_stream

    times = _running.get()
    started = time.perf_counter()
    with _device():
        held = DataFrame.from_polars(frame, stream=get_cuda_stream())
        held.stream.synchronize()
    copied = _framed(held)
    if times is not None:
        times.upload += time.perf_counter() - started
        times.uploaded += copied.bytes
    return copied


def download(frame: DeviceFrame, times: DeviceTimes | None = None) -> pl.DataFrame:
    """A copy in the host's memory."""
    started = time.perf_counter()
    with _device():
        held = _compact(frame.held) if 0 < frame.rows <= _FEW else frame.held
        rows = held.to_polars()
    if times is not None:
        times.download += time.perf_counter() - started
        times.downloaded += frame.bytes
    assert isinstance(rows, pl.DataFrame)
    return rows


_FEW = 100_000  # rows


def _compact(held: Any) -> Any:
    """The rows without those that they were cut from, as the first of a sort are: all buffers would be copied whole."""
    from cudf_polars.containers import DataFrame
    from pylibcudf import contiguous_split

    table = contiguous_split.unpack(contiguous_split.pack(held.table, stream=held.stream), stream=held.stream)
    return DataFrame.from_table(table, held.column_names, held.dtypes, held.stream)


def select(frame: DeviceFrame, names: Sequence[str]) -> DeviceFrame:
    """Some columns; nothing is copied."""
    return _framed(frame.held.select(names))


def side_by_side(frames: Sequence[DeviceFrame], rows: int) -> DeviceFrame:
    """The columns of all frames; nothing is copied."""
    from cudf_polars.containers import DataFrame
    from cudf_polars.utils.cuda_stream import get_cuda_stream

    columns = [column for frame in frames for column in frame.held.columns]
    return _framed(DataFrame(columns, stream=get_cuda_stream(), num_rows=rows))


def pieces(frame: DeviceFrame, ranges: Sequence[tuple[int, int]]) -> DeviceFrame:
    """The rows of some ranges (first row, number of rows), one after the other; those of one are not copied."""
    from cudf_polars.dsl.ir import IRExecutionContext, concatenate_chunks

    with _device():
        parts = [frame.held.slice(part) for part in ranges] or [frame.held.slice((0, 0))]
        held = parts[0] if len(parts) == 1 else concatenate_chunks(parts, context=IRExecutionContext())
    return _framed(held)


def device_memory() -> int:
    """Bytes of the device's memory, used or not."""
    from cudf_polars.utils.config import get_total_device_memory

    return get_total_device_memory() or 0


def _framed(held: Any) -> DeviceFrame:
    size = sum(column.obj.device_buffer_size() for column in held.columns)
    return DeviceFrame(held.num_rows, size, {c.name: c.dtype.polars_type for c in held.columns}, held)
