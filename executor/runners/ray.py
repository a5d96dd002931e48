"""Tasks on a Ray cluster: blocks lie in Ray's object store, and a worker or node that dies costs time, no rows.

A task takes a node's CPUs and its kernels use as many threads; or it takes a GPU and no CPU, so that the CPUs of its
node are free for tasks of other stages. Ray moves blocks to where they are read, prefers nodes that hold them, spills
them to disk, and runs tasks again whose worker or output is lost. The driver holds references and counts alone.

A task for a GPU can run only where there is one, and so can what Ray runs again for lost rows. When the last GPU of a
cluster goes, tasks that wait for it are started anew for the CPU; and if rows are lost with it, so is the query.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import ray
from ray import ObjectRef, cloudpickle
from ray.exceptions import (
    GetTimeoutError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from executor.blocks import to_block, to_frame
from executor.cancellation import Cancellation
from executor.device_frames import DeviceTimes
from executor.devices import GpuAbsence
from executor.driver import Execution
from executor.kernels import KernelOptions
from executor.metrics import Fallback, TaskMetrics
from executor.runners import bootstrap
from executor.runners.backend import RunSettings
from executor.runners.base import Block, LostWithGpu, Runner, StageOutput, StageProgress, input_blocks
from executor.runners.worker import (
    BlocksTable,
    ClusterInput,
    ClusterTask,
    TaskReport,
    dump_task,
    given,
)
from executor.sources.base import engine_schema
from executor.sources.memory import MemoryTable
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.cost import ClusterInfo
from planner.devices import Device, Rates
from planner.errors import ExecutionError, SqlrayError, UnsupportedError
from planner.errors import OutOfMemoryError as QueryOutOfMemoryError
from planner.expr import Field, SortKey, column_name
from planner.physical import InputExec, LimitExec, PhysicalPlan, ScanExec, SortExec
from planner.record import record
from planner.stages import Stage, partition_count, task_plan
from planner.tree import transform_up, walk

if TYPE_CHECKING:
    from ray.data import Dataset as Dataset

_PATIENCE = 10.0  # seconds for a cluster to answer at its address
_AGAIN = 60.0  # seconds until a cluster is asked again what its GPUs do, if it did not answer
_GRACE = 2.0  # seconds that a cancelled task has to end by itself
_TICK = 0.2  # seconds between looks at whether the query shall stop
_RETRIES = 10  # runs of a task that dies with its worker or node
_SMALLER = 4  # a task that was killed for memory runs again in so many times more pieces …
_ATTEMPTS = 4  # … and so many times
_MOST_OBJECTS = 10_000  # blocks of one shuffle; beyond, tasks give back bundles of partitions, which are merged
_USABLE = 0.8  # of the memory that Ray leaves to the processes of a node
_SIDE_BY_SIDE = 2  # small tasks that run on a node at a time, so that one computes while the other stores or fetches
_HOLDS = 3  # times its input that a task may hold
_LOOK = 2.0  # seconds between looks at whether there still is a GPU
_LAG = 2.0  # seconds until the cluster tells that a GPU is free again
_MEASURING = 60.0  # seconds that a query waits for its devices to be measured
_PROCESS = 3.0  # seconds that a process takes to start (0.8 measured), to load cuDF (0.6) and to reach its GPU
_GONE = "no node of the cluster has a GPU any more"

cloudpickle.register_pickle_by_value(bootstrap)  # type: ignore[no-untyped-call]
_run = ray.remote(bootstrap.run_in_worker)
# In a process of its own: cuDF stays with the GPU that it began with, and the next task may be given another one.
_run_apart = ray.remote(max_calls=1)(bootstrap.run_in_worker)
_shape = ray.remote(num_cpus=0)(bootstrap.shape)
_free_cpus = ray.remote(num_cpus=0)(bootstrap.free_cpus)


@record(eq=False)
class RemoteBlock:
    """Rows in the object store, as an Arrow table."""

    ref: ObjectRef[Any]
    rows: int
    bytes: int


@dataclass(slots=True, eq=False)
class _Attempt:
    """A task under way: its report and its partitions come under these references."""

    stage: Stage
    task: int
    inputs: Mapping[int, StageOutput]
    device: Device
    claim: float
    memory_limit: int
    schema: pa.Schema | None = None
    number: int = 1
    partitions: list[ObjectRef[Any]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Unfinished:
    """A stage under way: the reports and partitions of the tasks that have finished, and what they made."""

    stage: Stage
    done: dict[int, tuple[TaskReport, list[ObjectRef[Any]]]] = field(default_factory=dict)
    tasks: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, attempt: _Attempt, report: TaskReport) -> None:
        self.done[attempt.task] = report, attempt.partitions
        self.tasks += 1
        self.rows += sum(report.rows)
        self.bytes += sum(report.bytes)


@record(eq=False)
class DatasetTable:
    """A table whose rows are on the cluster, of a Ray Dataset or from here: its blocks by the parts of its splits."""

    name: str
    schema: pa.Schema
    blocks: Mapping[Any, RemoteBlock]

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        known = {c: ColumnStatistics() for c in columns}
        return TableStatistics(sum(b.rows for b in self.blocks.values()), True, known)

    def splits(self) -> tuple[Split, ...]:
        return tuple(Split(part, b.rows, b.bytes) for part, b in self.blocks.items())

    def scan(self, columns: Sequence[str], splits: Sequence[Split] | None) -> pl.LazyFrame:
        """In this process: the blocks are fetched."""
        part = self.of(splits) if splits is not None else self
        return BlocksTable(self.name, ray.get([b.ref for b in part.blocks.values()]), self.schema).scan(columns, None)

    def of(self, splits: Sequence[Split]) -> DatasetTable:
        """The table with some of its blocks."""
        return replace(self, blocks={s.part: self.blocks[s.part] for s in splits})


def dataset_table(name: str, dataset: Any) -> DatasetTable:
    """A table over a ``ray.data.Dataset``, which runs if it has not."""
    refs = dataset.to_arrow_refs()
    shapes = ray.get([_shape.remote(ref) for ref in refs])
    found = (RemoteBlock(r, rows, size) for r, (rows, size, _) in zip(refs, shapes, strict=True) if rows)
    blocks = dict(enumerate(found))
    schema = next((s for rows, _, s in shapes if rows), None) or next((s for *_, s in shapes), pa.schema([]))
    return DatasetTable(name, engine_schema(schema, name), blocks)


def is_dataset(value: object) -> bool:
    """Whether a value is a ``ray.data.Dataset``."""
    return isinstance(value, _ray_data().Dataset)


def to_dataset(table: pa.Table) -> Dataset:
    """A ``ray.data.Dataset`` of rows in this process."""
    dataset: Dataset = _ray_data().from_arrow(table)
    return dataset


def _ray_data() -> Any:
    """The module ``ray.data``, which needs more than ray itself brings.

    Raises:
        UnsupportedError: that is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UnsupportedError(f"Ray Datasets cannot be used: {error}", hint='pip install "ray[data]"') from None
    return ray.data


class _Connections:
    """The sessions of this process on Ray. What the first of them connected to (or started) ends with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions = 0
        self._ours = False

    def open(self, address: str | None) -> None:
        """See ``RayBackend``."""
        with self._lock:
            if not ray.is_initialized():
                try:
                    _knock(address or os.environ.get("RAY_ADDRESS"))
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
                except (OSError, ValueError, RuntimeError, RayError) as error:
                    where = address or os.environ.get("RAY_ADDRESS") or "auto"
                    raise ExecutionError(
                        f"cannot connect to a Ray cluster at {where}: {str(error).splitlines()[0]}",
                        hint="start one with `ray start --head`, or leave the address out for one on this machine",
                    ) from None
                self._ours = True
            self._sessions += 1

    def close(self) -> None:
        with self._lock:
            self._sessions -= 1
            if self._sessions == 0 and self._ours:
                self._ours = False
                ray.shutdown()


def _knock(address: str | None) -> None:
    """See whether somebody listens at ``host:port`` or ``ray://host:port``: ray.init tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


_connections = _Connections()


class RayBackend:
    """A Ray cluster: the one this process is connected to, the one at ``address`` or that runs already, else a new one
    on this machine that stops with the session.

    Args:
        address: ``host:port``, ``ray://host:port``, ``auto``, or None for RAY_ADDRESS or whatever there is.

    Raises:
        ExecutionError: there is no cluster at ``address``.
    """

    def __init__(self, address: str | None = None) -> None:
        _connections.open(address)
        self._closed = False
        spec = importlib.util.find_spec("executor")
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parents[1]
        self._digest = bootstrap.digest(root)
        self._archive = ray.put(bootstrap.pack(root))
        self._claimed: dict[ObjectRef[Any], float] = {}
        self._on_gpus: set[ObjectRef[Any]] = set()
        self._gpus_used = 0  # at once, until …
        self._gpu_ended = -inf  # … this moment
        self._rates: dict[tuple[str, str], Rates | None] = {}  # what was asked for, by node …
        self._refused: dict[tuple[str, str], float] = {}  # … and when there was no answer
        self._queries = itertools.count(1)
        self._tables: weakref.WeakKeyDictionary[MemoryTable, DatasetTable] = weakref.WeakKeyDictionary()

    def cluster(self, memory_limit: int) -> ClusterInfo:
        return _cluster(_alive(), memory_limit)

    def gpu_absence(self) -> GpuAbsence | None:
        if _gpus(_alive()):
            return None
        return GpuAbsence("no node of the cluster has a GPU", "add a node that has one with `ray start --address=…`")

    def known_rates(self) -> Rates | None:
        return self._ask_for_rates("known", _PATIENCE)

    def measured_rates(self) -> Rates | None:
        return self._ask_for_rates("measured", _MEASURING)

    def _ask_for_rates(self, function: str, patience: float) -> Rates | None:
        """Ask a worker on a node with a GPU, always the same one, so that it finds the file that it wrote."""
        alive = _alive()
        gpus, nodes = _gpus(alive), _cpus(alive)
        free = self._free_gpus(sum(gpus.values()))
        if free == 0:
            return None
        key = function, min(gpus)
        if key not in self._rates and time.monotonic() > self._refused.get(key, -inf) + _AGAIN:
            self._rates[key] = self._rates_of(*key, min(nodes), patience)
            if self._rates[key] is None:
                del self._rates[key]
                self._refused[key] = time.monotonic()
        found = self._rates.get(key)
        if found is None:
            return None
        start = found.gpu.start + (_PROCESS if max(gpus.values()) > 1 else 0.0)
        return Rates(found.cpu, replace(found.gpu, start=start), len(nodes), free)

    def _rates_of(self, function: str, node: str, cpus: int, patience: float) -> Rates | None:
        """What a worker on a node with a GPU tells; None if it does not within so many seconds."""
        measures = function == "measured"
        options = {
            "num_cpus": self._claim(cpus) if measures else 0,
            "num_gpus": 1 if measures else 0,
            "num_returns": 2,
            "name": f"sqlray: {function} rates",
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True),
        }
        told = _run.options(**options).remote(self._digest, self._archive, cpus, f"{function}_rates")[0]
        if measures:
            self._on_gpus.add(told)
        try:
            rates: Rates | None = ray.get(told, timeout=patience)
        except RayError:  # it failed, or the GPU is not to be had: a query must not wait for that, nor fail
            ray.cancel(told, force=False)
            return None
        finally:
            self.ended(told)
        return rates

    def _free_gpus(self, gpus: int) -> int:
        """How many of the cluster's GPUs are to be had: those that nobody has, or tasks from here."""
        lately = self._gpus_used if time.monotonic() < self._gpu_ended + _LAG else 0
        ours = max(len(self._on_gpus), lately)
        available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        return min(gpus, int(available.get("GPU", 0.0)) + ours)

    def runner(self, settings: RunSettings, cancellation: Cancellation, progress: StageProgress) -> RayRunner:
        alive = _alive()
        cluster = _cluster(alive, settings.memory_limit)
        claim = self._claim(cluster.cpus)
        most = max(_gpus(alive).values(), default=0)
        return RayRunner(self, settings, cluster, claim, next(self._queries), cancellation, progress, most)

    def _claim(self, cpus: int) -> float:
        """The CPUs that each task of a query asks for: a node's, or what others leave where that is less. An actor that
        waits for the query keeps its own, and a claim for more than the rest of its node would wait for ever."""
        try:
            free = bootstrap.free_cpus()
        except RaySystemError:  # a client of a cluster elsewhere has to ask there
            free = ray.get(_free_cpus.remote())
        return float(max(1, min(cpus, int(free + sum(self._claimed.values())))))

    def start(self, attempt: _Attempt, runner: RayRunner) -> ObjectRef[Any]:
        """Start a task; returns the reference of its report."""
        settings = runner.settings
        stage = attempt.stage
        plan = task_plan(stage, attempt.task)
        inputs: list[ClusterInput] = []
        blocks: list[ObjectRef[Any]] = []
        for leaf in {n.stage: n for n in walk(plan) if isinstance(n, InputExec)}.values():
            source = attempt.inputs[leaf.stage]
            found = _remote(input_blocks(stage, attempt.task, leaf, source))
            inputs.append(ClusterInput(leaf.stage, source.partitioning, len(found)))
            blocks += [b.ref for b in found]
        count = _partitions_of_a_task(stage)
        bundles = _bundles(stage)
        sent = ClusterTask(
            self._with_own_splits(plan),
            tuple(inputs),
            stage.output,
            count,
            attempt.memory_limit,
            settings.temp_directory,
            KernelOptions(device=attempt.device),
            attempt.schema,
            bundles,
        )
        payload, tables = dump_task(sent, _detached)
        name = f"sqlray query {runner.query} stage {stage.id}: {stage.name}"
        returned = 1 + (len(bundles) or count)
        gpu = attempt.device == "gpu"
        sent_on = payload, len(tables), *tables, *blocks
        refs = self._remote(name, runner, attempt.claim, returned, "run", *sent_on, gpu=gpu)
        attempt.partitions = refs[1:]
        self._claimed[refs[0]] = attempt.claim
        if gpu:
            self._on_gpus.add(refs[0])
        return refs[0]

    def merge(self, stage: Stage, bundle: list[ObjectRef[Any]], size: int, runner: RayRunner) -> list[ObjectRef[Any]]:
        """Start a task that makes ``size`` partitions of what every task of a stage gave for them."""
        name = f"sqlray query {runner.query} stage {stage.id}: merge"
        return self._remote(name, runner, 1, size + 1, "merge", *bundle)[:size]

    def look(self, what: str, runner: RayRunner, function: str, *arguments: Any) -> ObjectRef[Any]:
        """Start a task that gives one table."""
        return self._remote(f"sqlray query {runner.query}: {what}", runner, 1, 2, function, *arguments)[0]

    def _remote(
        self,
        name: str,
        runner: RayRunner,
        cpus: float,
        count: int,
        function: str,
        *arguments: Any,
        gpu: bool = False,
    ) -> list[ObjectRef[Any]]:
        options = {"num_cpus": cpus, "num_returns": count, "max_retries": _RETRIES, "name": name}
        sent = (self._digest, self._archive, runner.cluster.cpus, function, *arguments)
        run = _run_apart if gpu and runner.gpus_of_a_node > 1 else _run
        refs: list[ObjectRef[Any]] = run.options(**options, num_gpus=1 if gpu else 0).remote(*sent)
        return refs

    def ended(self, report: ObjectRef[Any]) -> None:
        """Note that a task runs no more."""
        self._claimed.pop(report, None)
        if report in self._on_gpus:
            now = time.monotonic()
            before = self._gpus_used if now < self._gpu_ended + _LAG else 0
            self._gpus_used, self._gpu_ended = max(before, len(self._on_gpus)), now
            self._on_gpus.discard(report)

    def _with_own_splits(self, plan: PhysicalPlan) -> PhysicalPlan:
        """A task's plan in which the tables whose rows are on the cluster, or in memory here, have the task's alone."""

        def localize(node: PhysicalPlan) -> PhysicalPlan:
            if not isinstance(node, ScanExec) or not isinstance(node.table, (DatasetTable, MemoryTable)):
                return node
            table = self._on_cluster(node.table)
            return replace(node, table=table if node.splits is None else table.of(node.splits), splits=None)

        return transform_up(plan, localize)

    def _on_cluster(self, table: DatasetTable | MemoryTable) -> DatasetTable:
        """A table whose rows are on the cluster: those of one in memory here are put there once for all queries."""
        if isinstance(table, DatasetTable):
            return table
        known = self._tables.get(table)
        if known is None:
            parts = [(s, table.part(s)) for s in table.splits()]
            blocks = {s.part: RemoteBlock(ray.put(to_block(f)), f.height, s.bytes or 0) for s, f in parts}
            known = self._tables[table] = DatasetTable(table.name, table.schema, blocks)
        return known

    def dataset(self, execution: Execution, schema: pa.Schema) -> Dataset:
        def finish(runner: Runner, last: Stage, inputs: Mapping[int, StageOutput]) -> None:
            assert isinstance(runner, RayRunner)
            runner.submit(last, inputs, schema)

        data = _ray_data()
        refs = [b.ref for b in _remote(execution.output(finish).blocks())]
        dataset: Dataset = data.from_arrow_refs(refs) if refs else data.from_arrow(schema.empty_table())
        return dataset

    def close(self) -> None:
        self._tables.clear()
        if not self._closed:
            self._closed = True
            _connections.close()


@dataclass(slots=True, eq=False)
class RayRunner:
    """Runs the stages of one query; tasks of all submitted stages run side by side as the cluster has room."""

    backend: RayBackend
    settings: RunSettings
    cluster: ClusterInfo
    claim: float
    query: int
    cancellation: Cancellation
    progress: StageProgress
    gpus_of_a_node: int = 0
    spilled_bytes: int = 0
    fallbacks: list[Fallback] = field(default_factory=list)
    device_times: DeviceTimes = field(default_factory=DeviceTimes)
    _attempts: dict[ObjectRef[Any], _Attempt] = field(default_factory=dict)
    _stages: dict[int, _Unfinished] = field(default_factory=dict)
    _metrics: dict[int, list[TaskMetrics]] = field(default_factory=dict)
    _of_gpus: dict[int, StageOutput | None] = field(default_factory=dict)  # by stage: made there, or of what was
    _gpus_gone: bool = False
    _look_again: float = 0.0

    def tasks(self, stage: Stage) -> tuple[TaskMetrics, ...]:
        return tuple(self._metrics.get(stage.id, ()))

    def submit(
        self, stage: Stage, inputs: Mapping[int, StageOutput], schema: pa.Schema | None = None
    ) -> None:
        """Start a stage. With a ``schema`` its blocks have these columns, under their users' names."""
        self._stages[stage.id] = _Unfinished(stage)
        on_gpu = stage.device == "gpu" and not self._gpus_gone
        if on_gpu or any(i in self._of_gpus for i in stage.inputs):
            self._of_gpus[stage.id] = None
        if stage.device == "gpu" and not on_gpu:
            self.fallbacks.append(Fallback(stage.id, _GONE))
        if on_gpu:  # beside a task on the CPUs, and those of the node's other GPUs
            claim, shared = 0.0, self.gpus_of_a_node + 1
        else:
            shared = self._side_by_side(stage, inputs)
            claim = max(1.0, self.claim // shared)
        memory_limit = self.cluster.memory_limit // shared
        self.progress(stage, 0, 0, 0)
        for task in range(stage.tasks):
            device: Device = "gpu" if on_gpu else "cpu"
            self._start(_Attempt(stage, task, inputs, device, claim, memory_limit, schema))

    def has_room(self, device: Device) -> bool:
        if device == "gpu" and not self._gpus_gone:
            return sum(a.device == "gpu" for a in self._attempts.values()) < self.cluster.gpus
        return sum(a.claim for a in self._attempts.values()) < self.cluster.nodes * self.cluster.cpus

    def wait(self) -> tuple[Stage, StageOutput] | None:
        while True:
            attempt, report = self._next_report()
            unfinished = self._finished(attempt, report)
            if unfinished.tasks == attempt.stage.tasks:
                del self._stages[attempt.stage.id]
                output = self._output(unfinished)
                if _picks_rows(attempt.stage):
                    output = self._pinned(output)
                    self._of_gpus.pop(attempt.stage.id, None)
                elif attempt.stage.id in self._of_gpus:
                    self._of_gpus[attempt.stage.id] = output
                return attempt.stage, output
            if self.has_room("cpu") or self.has_room("gpu"):
                return None

    def stream(self, stage: Stage, inputs: Mapping[int, StageOutput]) -> Iterator[pl.DataFrame]:
        self.submit(stage, inputs)
        unfinished = self._stages[stage.id]
        for task in range(stage.tasks):
            while task not in unfinished.done:
                self._finished(*self._next_report())
            report, (rows,) = unfinished.done.pop(task)
            if sum(report.rows):
                yield to_frame(self._get(rows, _place(stage, task), made=True))

    def distinct(self, output: StageOutput, column: Field) -> pl.Series:
        name = column_name(column)
        found = self._look(output, f"the filter by {name}", "distinct", name)
        return pl.Series(name, []) if found is None else found.to_series().unique()

    def sample(self, output: StageOutput, keys: Sequence[SortKey], rows: int) -> pl.DataFrame:
        step = max(1, output.rows // rows)
        found = self._look(output, "the sample for a sort", "sample", tuple(keys), step)
        return pl.DataFrame() if found is None else found

    def _look(self, output: StageOutput, what: str, function: str, *arguments: Any) -> pl.DataFrame | None:
        """What a function of the worker's makes of the blocks of a stage, where they lie; None if there are none."""
        refs = [b.ref for b in _remote(output.blocks())]
        tasks = min(len(refs), self.cluster.nodes)
        shares = (refs[len(refs) * i // tasks : len(refs) * (i + 1) // tasks] for i in range(tasks))
        found = [self.backend.look(what, self, function, *arguments, *share) for share in shares]
        frames = [to_frame(self._get(ref, what)) for ref in found]
        return pl.concat(frames) if frames else None

    def free(self, output: StageOutput) -> None:
        """Nothing to do: Ray frees a block with the last reference to it, and the driver gives up its own."""

    def close(self) -> None:
        unfinished = list(self._attempts)
        for report in unfinished:
            ray.cancel(report, force=False)
            self.backend.ended(report)
        if unfinished:  # a kernel in the middle of its work does not notice
            timer = threading.Timer(_GRACE, _stop, [unfinished])
            timer.daemon = True
            timer.start()
        self._attempts.clear()
        self._stages.clear()
        self._metrics.clear()
        self._of_gpus.clear()

    def _look_after_gpus(self, made: Sequence[ObjectRef[Any]] = ()) -> None:
        """Once no node has a GPU any more, start what waits for one on the CPU.

        Args:
            made: what the caller waits for, of tasks that have finished.

        Raises:
            LostWithGpu: rows are lost that Ray would compute again on a GPU.
        """
        now = time.monotonic()
        if not self._of_gpus or now < self._look_again:
            return
        self._look_again = now + _LOOK
        if _gpus(_alive()):
            return
        self._gpus_gone = True
        for report, attempt in [(r, a) for r, a in self._attempts.items() if a.device == "gpu"]:
            if not _are_there([report]):
                ray.cancel(report, force=False)
                self.backend.ended(report)
                del self._attempts[report]
                self.fallbacks.append(Fallback(attempt.stage.id, _GONE))
                self._start(replace(attempt, device="cpu", claim=self.claim, partitions=[]))
        known = [b.ref for output in self._of_gpus.values() if output is not None for b in _remote(output.blocks())]
        if not _are_there([*made, *known]):
            raise LostWithGpu(_GONE)

    def _side_by_side(self, stage: Stage, inputs: Mapping[int, StageOutput]) -> int:
        """The tasks of a stage that share a node: several where there are more than nodes, and they are small."""
        if stage.tasks <= self.cluster.nodes:
            return 1
        size = 0.0
        for leaf in walk(stage.plan):
            match leaf:
                case InputExec(source):
                    size += inputs[source].bytes / (stage.tasks if leaf.partitioned else 1)
                case ScanExec(table):
                    size += sum(inf if s.bytes is None else s.bytes for s in table.splits()) / stage.tasks
                case _:
                    pass
        return _SIDE_BY_SIDE if size * _HOLDS * _SIDE_BY_SIDE <= self.cluster.memory_limit else 1

    def _start(self, attempt: _Attempt) -> None:
        self._attempts[self.backend.start(attempt, self)] = attempt

    def _finished(self, attempt: _Attempt, report: TaskReport) -> _Unfinished:
        """Note that a task has finished; returns its stage."""
        unfinished = self._stages[attempt.stage.id]
        unfinished.add(attempt, report)
        self.progress(attempt.stage, unfinished.tasks, unfinished.rows, unfinished.bytes)
        return unfinished

    def _output(self, finished: _Unfinished) -> StageOutput:
        stage = finished.stage
        reports = [finished.done[task][0] for task in range(stage.tasks)]
        outputs = [finished.done[task][1] for task in range(stage.tasks)]
        count = partition_count(stage.output, stage.tasks)
        partitions: list[list[RemoteBlock]] = [[] for _ in range(count)]
        bundles = _bundles(stage)
        if bundles:
            merge = self.backend.merge
            refs = (r for b, size in enumerate(bundles) for r in merge(stage, [o[b] for o in outputs], size, self))
            for i, ref in enumerate(refs):
                rows, size = sum(r.rows[i] for r in reports), sum(r.bytes[i] for r in reports)
                partitions[i] += [RemoteBlock(ref, rows, size)] if rows else []
            return StageOutput(stage.plan.schema, stage.output, partitions)
        for task, (report, refs_of_task) in enumerate(zip(reports, outputs, strict=True)):
            for i, ref in enumerate(refs_of_task):
                if report.rows[i]:
                    at = task if stage.output is None else i
                    partitions[at].append(RemoteBlock(ref, report.rows[i], report.bytes[i]))
        return StageOutput(stage.plan.schema, stage.output, partitions)

    def _pinned(self, output: StageOutput) -> StageOutput:
        """The same rows in objects of this process, which are never computed again: another run of their tasks could
        pick other rows, and readers of the stage, or of its partitions, would not see the same ones."""

        def pin(block: RemoteBlock) -> RemoteBlock:
            return replace(block, ref=ray.put(self._get(block.ref, "a stage that picks rows", made=True)))

        return replace(output, partitions=[[pin(b) for b in _remote(blocks)] for blocks in output.partitions])

    def _next_report(self) -> tuple[_Attempt, TaskReport]:
        """The next task that has finished; one that was killed for memory is started again in smaller pieces."""
        while True:
            ref = self._next_ready()
            attempt = self._attempts.pop(ref)
            self.backend.ended(ref)
            try:
                report: TaskReport = ray.get(ref)
            except OutOfMemoryError:
                if attempt.number == _ATTEMPTS:
                    raise QueryOutOfMemoryError(
                        f"{_place(attempt.stage, attempt.task)} was killed for memory {attempt.number} times, the last "
                        f"time with a limit of {attempt.memory_limit / 1e6:.0f} MB",
                        hint="SET memory_limit lower, so that a task's part is smaller, or give the nodes more memory",
                    ) from None
                smaller = max(attempt.memory_limit // _SMALLER, 1)
                again = replace(attempt, memory_limit=smaller, number=attempt.number + 1, partitions=[])
                self._start(again)
                continue
            except RayError as error:
                raise _failure(error, _place(attempt.stage, attempt.task)) from error
            if report.error is not None:
                raise report.error
            self.spilled_bytes += report.spilled_bytes
            took = TaskMetrics(report.seconds, report.spilled_bytes)
            self._metrics.setdefault(attempt.stage.id, []).append(took)
            self.fallbacks += [Fallback(attempt.stage.id, reason) for reason in report.fallbacks]
            self.device_times.add(report.device)
            return attempt, report

    def _next_ready(self) -> ObjectRef[Any]:
        """The report of a task that has finished."""
        while True:
            self.cancellation.check()
            ready, _ = ray.wait(list(self._attempts), timeout=_TICK, fetch_local=False)
            if ready:
                return ready[0]
            self._look_after_gpus()

    def _get(self, ref: ObjectRef[Any], where: str, made: bool = False) -> Any:
        """What lies under a reference; ``made``: of a task that has finished."""
        while True:
            self.cancellation.check()
            try:
                return given(ray.get(ref, timeout=_TICK))
            except GetTimeoutError:
                self._look_after_gpus([ref] if made else [])
            except RayError as error:
                raise _failure(error, where) from error


def _detached(table: object) -> list[ObjectRef[Any]] | None:
    """The blocks of a table that are not sent with the plan."""
    return [b.ref for b in table.blocks.values()] if isinstance(table, DatasetTable) else None


def _stop(reports: list[ObjectRef[Any]]) -> None:
    """End the workers of tasks that still run."""
    if ray.is_initialized():
        _, running = ray.wait(reports, num_returns=len(reports), timeout=0, fetch_local=False)
        for report in running:
            ray.cancel(report, force=True)


def _partitions_of_a_task(stage: Stage) -> int:
    """The partitions that each task of a stage divides its rows over."""
    return 1 if stage.output is None else partition_count(stage.output, stage.tasks)


def _bundles(stage: Stage) -> tuple[int, ...]:
    """The sizes of the bundles in which each of many tasks gives back many partitions; none where they are few.

    A shuffle of m tasks into n partitions makes m·n objects, and the driver holds a reference to each. With bundles of
    √n partitions there are m·√n and n: 33 thousand instead of a million at m = n = 1000.
    """
    partitions = _partitions_of_a_task(stage)
    if partitions == 1 or stage.tasks * partitions <= _MOST_OBJECTS:
        return ()
    count = isqrt(partitions - 1) + 1
    return tuple(partitions * (i + 1) // count - partitions * i // count for i in range(count))


def _remote(blocks: Sequence[Block]) -> list[RemoteBlock]:
    """Blocks of a stage that ran on the cluster."""
    return [b for b in blocks if isinstance(b, RemoteBlock)]


def _are_there(refs: list[ObjectRef[Any]]) -> bool:
    """Whether what lies under these references has been made, and need not be made again."""
    if not refs:
        return True
    _, missing = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
    return not missing


def _alive() -> list[dict[str, Any]]:
    """What Ray tells of every node that is there."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [n for n in nodes if n["Alive"]]


def _gpus(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """The GPUs of every node that has some, by the node's id."""
    return {n["NodeID"]: int(n["Resources"]["GPU"]) for n in nodes if n["Resources"].get("GPU", 0) >= 1}


def _cpus(nodes: list[dict[str, Any]]) -> list[int]:
    """The CPUs of every node that has some.

    Raises:
        ExecutionError: there is none.
    """
    found = [int(n["Resources"]["CPU"]) for n in nodes if n["Resources"].get("CPU", 0) >= 1]
    if not found:
        raise ExecutionError("the Ray cluster has no node with a CPU", hint="add one with `ray start --address=…`")
    return found


def _cluster(nodes: list[dict[str, Any]], memory_limit: int) -> ClusterInfo:
    """What tasks find on the nodes.

    Raises:
        ExecutionError: there is none with a CPU.
    """
    cpus = _cpus(nodes)
    resources = [n["Resources"] for n in nodes if n["Resources"].get("CPU", 0) >= 1]
    available = min(int(r.get("memory", memory_limit) * _USABLE) for r in resources)
    return ClusterInfo(len(cpus), min(cpus), min(memory_limit, available), sum(_gpus(nodes).values()))


def _picks_rows(stage: Stage) -> bool:
    """Whether it is left open which rows a stage gives: the first that come, or some of those that sort alike."""
    for node in walk(stage.plan):
        match node:
            case LimitExec() | ScanExec(limit=int()) | SortExec(limit=int()):
                return True
            case _:
                pass
    return False


def _place(stage: Stage, task: int) -> str:
    return f"task {task + 1} of {stage.tasks} of stage {stage.id} ({stage.name})"


def _failure(error: RayError, where: str) -> SqlrayError:
    """What the user sees of an error of Ray's, which came in ``where``."""
    match error:
        case RayTaskError():
            return ExecutionError(f"{where} failed: {error.cause or error}")
        case TaskCancelledError():
            return ExecutionError(f"{where} was cancelled from outside")
        case WorkerCrashedError():
            return ExecutionError(
                f"{where} died with its worker {_RETRIES + 1} times",
                hint="the logs of the Ray node tell why; with too little memory, SET memory_limit lower",
            )
        case ObjectLostError() | RaySystemError():
            return ExecutionError(f"rows that {where} needs are lost and cannot be computed again: {error}")
        case _:
            return ExecutionError(f"{where} failed: {type(error).__name__}: {error}")
