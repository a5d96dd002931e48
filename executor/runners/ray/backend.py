"""What a session has of a Ray cluster: its nodes, and what its queries share there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from executor.cancellation import Cancellation
from executor.devices import GpuAbsence
from executor.driver import Execution
from executor.runners.backend import RunSettings
from executor.runners.base import Runner, StageOutput, StageProgress
from executor.runners.ray import nodes
from executor.runners.ray.blocks import remote
from executor.runners.ray.claims import Claims
from executor.runners.ray.connection import CONNECTION
from executor.runners.ray.datasets import ray_data
from executor.runners.ray.gpus import GpuRates, GpuStages
from executor.runners.ray.runner import RayRunner
from executor.runners.ray.tables import ClusterTables
from executor.runners.ray.workers import Workers
from planner.cost import ClusterInfo
from planner.devices import Rates
from planner.stages import Stage

if TYPE_CHECKING:
    from executor.runners.ray.datasets import Dataset


class RayBackend:
    """A Ray cluster: the one this process is connected to, the one at ``address`` or that runs already, else a new one
    on this machine that stops with the session.

    Args:
        address: ``host:port``, ``ray://host:port``, ``auto``, or None for RAY_ADDRESS or whatever there is.

    Raises:
        ExecutionError: there is no cluster at ``address``.
    """

    def __init__(self, address: str | None = None) -> None:
        CONNECTION.open(address)
        self._closed = False
        self._workers = Workers()
        self._claims = Claims()
        self._tables = ClusterTables()
        self._rates = GpuRates(self._workers, self._claims)
        self._queries = itertools.count(1)

    def cluster(self, memory_limit: int) -> ClusterInfo:
        return nodes.cluster_info(nodes.alive(), memory_limit)

    def gpu_absence(self) -> GpuAbsence | None:
        if nodes.with_gpus(nodes.alive()):
            return None
        return GpuAbsence("no node of the cluster has a GPU", "add a node that has one with `ray start --address=…`")

    def known_rates(self) -> Rates | None:
        return self._rates.known()

    def measured_rates(self) -> Rates | None:
        return self._rates.measured()

    def runner(self, settings: RunSettings, cancellation: Cancellation, progress: StageProgress) -> RayRunner:
        alive = nodes.alive()
        cluster = nodes.cluster_info(alive, settings.memory_limit)
        return RayRunner(
            self._workers,
            self._claims,
            self._tables,
            settings,
            cluster,
            self._claims.cpus(cluster.cpus),
            GpuStages(max((n.gpus for n in alive), default=0)),
            next(self._queries),
            cancellation,
            progress,
        )

    def dataset(self, execution: Execution, schema: pa.Schema) -> Dataset:
        def finish(runner: Runner, last: Stage, inputs: Mapping[int, StageOutput]) -> None:
            assert isinstance(runner, RayRunner)
            runner.submit(last, inputs, schema)

        data = ray_data()  # if there is none, the query need not run
        refs = [b.ref for b in remote(execution.output(finish).blocks())]
        dataset: Dataset = data.from_arrow_refs(refs) if refs else data.from_arrow(schema.empty_table())
        return dataset

    def close(self) -> None:
        self._tables.clear()
        if not self._closed:
            self._closed = True
            CONNECTION.close()
