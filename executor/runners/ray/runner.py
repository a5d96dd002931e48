"""Runs a query's stages as tasks on a Ray cluster.

A task takes a node's CPUs and its kernels use as many threads; or it takes a GPU and no CPU, so that the CPUs of its
node are free for tasks of other stages. Ray moves blocks to where they are read, prefers nodes that hold them, spills
them to disk, and runs tasks again whose worker or output is lost. The driver holds references and counts alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import polars as pl
import pyarrow as pa
import ray
from ray import ObjectRef
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError

from executor.blocks import to_frame
from executor.cancellation import Cancellation
from executor.device_frames import DeviceTimes
from executor.metrics import Fallback, TaskMetrics
from executor.runners.backend import RunSettings
from executor.runners.base import StageOutput, StageProgress
from executor.runners.ray.blocks import RemoteBlock, are_there, remote
from executor.runners.ray.claims import Claims
from executor.runners.ray.failures import failure, place
from executor.runners.ray.gpus import GONE, GpuStages, needs_processes
from executor.runners.ray.tables import ClusterTables
from executor.runners.ray.tasks import Attempt, bundles, objects, sent
from executor.runners.ray.workers import RETRIES, Workers
from executor.runners.worker import TaskReport, given
from planner.cost import ClusterInfo
from planner.devices import Device
from planner.errors import OutOfMemoryError as QueryOutOfMemoryError
from planner.expr import Field, SortKey, column_name
from planner.physical import InputExec, LimitExec, ScanExec, SortExec
from planner.stages import Stage, partition_count
from planner.tree import walk

_GRACE = 2.0  # seconds that a cancelled task has to end by itself
_TICK = 0.2  # seconds between looks at whether the query shall stop
_SMALLER = 4  # a task that was killed for memory runs again in so many times more pieces …
_ATTEMPTS = 4  # … and so many times
_SIDE_BY_SIDE = 2  # small tasks that run on a node at a time, so that one computes while the other stores or fetches
_HOLDS = 3  # times its input that a task may hold


@dataclass(slots=True, eq=False)
class _Unfinished:
    """A stage under way: the reports and partitions of the tasks that have finished, and what they made."""

    stage: Stage
    done: dict[int, tuple[TaskReport, Sequence[ObjectRef[Any]]]] = field(default_factory=dict)
    tasks: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, attempt: Attempt, report: TaskReport) -> None:
        self.done[attempt.task] = report, attempt.partitions
        self.tasks += 1
        self.rows += sum(report.rows)
        self.bytes += sum(report.bytes)


@dataclass(slots=True, eq=False)
class RayRunner:
    """Runs the stages of one query; tasks of all submitted stages run side by side as the cluster has room.

    Args:
        workers, claims, tables: the session's.
        claim: the CPUs that a task asks for which has a node for itself.
        query: its number, for whoever looks at the cluster's tasks.
    """

    workers: Workers
    claims: Claims
    tables: ClusterTables
    settings: RunSettings
    cluster: ClusterInfo
    claim: float
    gpus: GpuStages
    query: int
    cancellation: Cancellation
    progress: StageProgress
    spilled_bytes: int = 0
    fallbacks: list[Fallback] = field(default_factory=list)
    device_times: DeviceTimes = field(default_factory=DeviceTimes)
    _attempts: dict[ObjectRef[Any], Attempt] = field(default_factory=dict)
    _stages: dict[int, _Unfinished] = field(default_factory=dict)
    _metrics: dict[int, list[TaskMetrics]] = field(default_factory=dict)

    def tasks(self, stage: Stage) -> tuple[TaskMetrics, ...]:
        return tuple(self._metrics.get(stage.id, ()))

    def submit(self, stage: Stage, inputs: Mapping[int, StageOutput], schema: pa.Schema | None = None) -> None:
        """Start a stage. With a ``schema`` its blocks have these columns, under their users' names."""
        self._stages[stage.id] = _Unfinished(stage)
        device = self.gpus.begin(stage)
        if device != stage.device:
            self.fallbacks.append(Fallback(stage.id, GONE))
        if device == "gpu":  # beside a task on the CPUs, and those of the node's other GPUs
            claim, shared = 0.0, self.gpus.gpus_of_a_node + 1
        else:
            shared = self._side_by_side(stage, inputs)
            claim = max(1.0, self.claim // shared)
        memory_limit = self.cluster.memory_limit // shared
        self.progress(stage, 0, 0, 0)
        for task in range(stage.tasks):
            self._start(Attempt(stage, task, inputs, device, claim, memory_limit, schema))

    def has_room(self, device: Device) -> bool:
        if device == "gpu" and not self.gpus.gone:
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
                    self.gpus.forget(attempt.stage)
                else:
                    self.gpus.end(attempt.stage, output)
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
                yield to_frame(self._get(rows, place(stage, task), made=True))

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
        refs = [b.ref for b in remote(output.blocks())]
        tasks = min(len(refs), self.cluster.nodes)
        shares = (refs[len(refs) * i // tasks : len(refs) * (i + 1) // tasks] for i in range(tasks))
        name = f"sqlray query {self.query}: {what}"
        found = [self._call(name, 2, function, *arguments, *share)[0] for share in shares]
        frames = [to_frame(self._get(ref, what)) for ref in found]
        return pl.concat(frames) if frames else None

    def free(self, output: StageOutput) -> None:
        """Nothing to do: Ray frees a block with the last reference to it, and the driver gives up its own."""

    def close(self) -> None:
        unfinished = list(self._attempts)
        for report in unfinished:
            ray.cancel(report, force=False)
            self.claims.end(report)
        if unfinished:  # a kernel in the middle of its work does not notice
            timer = threading.Timer(_GRACE, _stop, [unfinished])
            timer.daemon = True
            timer.start()
        self._attempts.clear()
        self._stages.clear()
        self._metrics.clear()
        self.gpus.clear()

    def _look_after_gpus(self, made: Sequence[ObjectRef[Any]] = ()) -> None:
        """Once no node has a GPU any more, start what waits for one on the CPU.

        Args:
            made: what the caller waits for, of tasks that have finished.

        Raises:
            LostWithGpu: rows are lost that Ray would compute again on a GPU.
        """
        if not self.gpus.look():
            return
        for report, attempt in [(r, a) for r, a in self._attempts.items() if a.device == "gpu"]:
            if not are_there([report]):
                ray.cancel(report, force=False)
                self.claims.end(report)
                del self._attempts[report]
                self.fallbacks.append(Fallback(attempt.stage.id, GONE))
                self._start(replace(attempt, device="cpu", claim=self.claim, partitions=()))
        self.gpus.check_rows(made)

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

    def _start(self, attempt: Attempt) -> None:
        stage, gpu = attempt.stage, attempt.device == "gpu"
        name = f"sqlray query {self.query} stage {stage.id}: {stage.name}"
        arguments = sent(attempt, self.tables, self.settings.temp_directory)
        returned = self._call(name, 1 + objects(stage), "run", *arguments, cpus=attempt.claim, gpu=gpu)
        report, *partitions = returned
        self.claims.begin(report, attempt.claim, gpu)
        self._attempts[report] = replace(attempt, partitions=tuple(partitions))

    def _call(
        self, name: str, returned: int, function: str, *arguments: Any, cpus: float = 1, gpu: bool = False
    ) -> list[ObjectRef[Any]]:
        """Call a function of ``runners.worker``, again if its process or node dies."""
        return self.workers.call(
            function,
            *arguments,
            threads=self.cluster.cpus,
            apart=gpu and needs_processes(self.gpus.gpus_of_a_node),
            name=name,
            num_cpus=cpus,
            num_gpus=1 if gpu else 0,
            num_returns=returned,
            max_retries=RETRIES,
        )

    def _finished(self, attempt: Attempt, report: TaskReport) -> _Unfinished:
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
        sizes = bundles(stage)
        if sizes:
            refs = (r for b, size in enumerate(sizes) for r in self._merge(stage, [o[b] for o in outputs], size))
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

    def _merge(self, stage: Stage, bundle: list[ObjectRef[Any]], size: int) -> list[ObjectRef[Any]]:
        """Start a task that makes ``size`` partitions of what every task of a stage gave for them."""
        return self._call(f"sqlray query {self.query} stage {stage.id}: merge", size + 1, "merge", *bundle)[:size]

    def _pinned(self, output: StageOutput) -> StageOutput:
        """The same rows in objects of this process, which are never computed again: another run of their tasks could
        pick other rows, and readers of the stage, or of its partitions, would not see the same ones."""

        def pin(block: RemoteBlock) -> RemoteBlock:
            return replace(block, ref=ray.put(self._get(block.ref, "a stage that picks rows", made=True)))

        return replace(output, partitions=[[pin(b) for b in remote(blocks)] for blocks in output.partitions])

    def _next_report(self) -> tuple[Attempt, TaskReport]:
        """The next task that has finished; one that was killed for memory is started again in smaller pieces."""
        while True:
            ref = self._next_ready()
            attempt = self._attempts.pop(ref)
            self.claims.end(ref)
            try:
                report: TaskReport = ray.get(ref)
            except OutOfMemoryError:
                if attempt.number == _ATTEMPTS:
                    raise QueryOutOfMemoryError(
                        f"{place(attempt.stage, attempt.task)} was killed for memory {attempt.number} times, the last "
                        f"time with a limit of {attempt.memory_limit / 1e6:.0f} MB",
                        hint="SET memory_limit lower, so that a task's part is smaller, or give the nodes more memory",
                    ) from None
                smaller = max(attempt.memory_limit // _SMALLER, 1)
                again = replace(attempt, memory_limit=smaller, number=attempt.number + 1, partitions=())
                self._start(again)
                continue
            except RayError as error:
                raise failure(error, place(attempt.stage, attempt.task)) from error
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
                raise failure(error, where) from error


def _stop(reports: list[ObjectRef[Any]]) -> None:
    """End the workers of tasks that still run."""
    if ray.is_initialized():
        _, running = ray.wait(reports, num_returns=len(reports), timeout=0, fetch_local=False)
        for report in running:
            ray.cancel(report, force=True)


def _picks_rows(stage: Stage) -> bool:
    """Whether it is left open which rows a stage gives: the first that come, or some of those that sort alike."""
    for node in walk(stage.plan):
        match node:
            case LimitExec() | ScanExec(limit=int()) | SortExec(limit=int()):
                return True
            case _:
                pass
    return False
