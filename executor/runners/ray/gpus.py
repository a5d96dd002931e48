"""The GPUs of a cluster: what they do in a second, and which stages of a query depend on them.

A task for a GPU can run only where there is one, and so can what Ray runs again for lost rows. When the last GPU of a
cluster goes, tasks that wait for it are started anew for the CPU; and if rows are lost with it, so is the query.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from executor.runners.base import LostWithGpu, StageOutput
from executor.runners.ray import nodes
from executor.runners.ray.blocks import are_there, remote
from executor.runners.ray.claims import Claims
from executor.runners.ray.workers import Workers
from planner.devices import Device, Rates
from planner.stages import Stage

GONE = "no node of the cluster has a GPU any more"

_PATIENCE = 10.0  # seconds for a worker to tell what it knows of its GPU
_MEASURING = 60.0  # seconds that a query waits for its devices to be measured
_AGAIN = 60.0  # seconds until a cluster is asked again what its GPUs do, if it did not answer
_PROCESS = 3.0  # seconds that a process takes to start (0.8 measured), to load cuDF (0.6) and to reach its GPU
_LOOK = 2.0  # seconds between looks at whether there still is a GPU


def needs_processes(gpus_of_a_node: int) -> bool:
    """Whether every task gets a process of its own: on a node with several GPUs Ray may give each another one."""
    return gpus_of_a_node > 1


class GpuRates:
    """What GPUs and the cores beside them do in a second, as workers tell; remembered for the session."""

    def __init__(self, workers: Workers, claims: Claims) -> None:
        self._workers = workers
        self._claims = claims
        self._told: dict[tuple[str, str], Rates] = {}  # what was asked for, by node …
        self._refused: dict[tuple[str, str], float] = {}  # … and when there was no answer

    def known(self) -> Rates | None:
        """See ``Backend.known_rates``."""
        return self._find("known", _PATIENCE)

    def measured(self) -> Rates | None:
        """See ``Backend.measured_rates``."""
        return self._find("measured", _MEASURING)

    def _find(self, which: str, patience: float) -> Rates | None:
        """Ask a worker on a node with a GPU, always the same one, so that it finds the file that it wrote."""
        alive = nodes.alive()
        with_gpus, with_cpus = nodes.with_gpus(alive), nodes.with_cpus(alive)
        free = self._claims.gpus(sum(n.gpus for n in with_gpus))
        if free == 0:
            return None
        key = which, min(n.id for n in with_gpus)
        found = self._told.get(key)
        if found is None and time.monotonic() > self._refused.get(key, -inf) + _AGAIN:
            found = self._ask(*key, min(n.cpus for n in with_cpus), patience)
            if found is None:
                self._refused[key] = time.monotonic()
            else:
                self._told[key] = found
        if found is None:
            return None
        start = found.gpu.start + (_PROCESS if needs_processes(max(n.gpus for n in with_gpus)) else 0.0)
        return Rates(found.cpu, replace(found.gpu, start=start), len(with_cpus), free, keeps=False)

    def _ask(self, which: str, node: str, cpus: int, patience: float) -> Rates | None:
        """What a worker on a node with a GPU tells; None if it does not within so many seconds."""
        measures = which == "measured"
        told = self._workers.call(
            f"{which}_rates",
            threads=cpus,
            num_cpus=self._claims.cpus(cpus) if measures else 0,
            num_gpus=1 if measures else 0,
            num_returns=2,
            name=f"sqlray: {which} rates",
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
        )[0]
        if measures:
            self._claims.begin(told, 0.0, gpu=True)
        try:
            rates: Rates | None = ray.get(told, timeout=patience)
        except RayError:  # it failed, or the GPU is not to be had: a query must not wait for that, nor fail
            ray.cancel(told, force=False)
            return None
        finally:
            self._claims.end(told)
        return rates


@dataclass(slots=True, eq=False)
class GpuStages:
    """The stages of a query whose rows only a GPU can make, or compute again, until there is none any more.

    Args:
        gpus_of_a_node: the most that a node has.
        gone: whether no node had one at some moment; from then on the query runs on CPUs.
    """

    gpus_of_a_node: int
    gone: bool = False
    _outputs: dict[int, StageOutput | None] = field(default_factory=dict)  # by stage; None: it has not finished
    _look_again: float = 0.0

    def begin(self, stage: Stage) -> Device:
        """Note that a stage starts; returns the device for its tasks."""
        device: Device = "cpu" if self.gone else stage.device
        if device == "gpu" or any(i in self._outputs for i in stage.inputs):
            self._outputs[stage.id] = None
        return device

    def end(self, stage: Stage, output: StageOutput) -> None:
        """Note what a stage has made."""
        if stage.id in self._outputs:
            self._outputs[stage.id] = output

    def forget(self, stage: Stage) -> None:
        """The rows of a stage need not be computed again."""
        self._outputs.pop(stage.id, None)

    def clear(self) -> None:
        """Forget all stages."""
        self._outputs.clear()

    def look(self) -> bool:
        """Look now and then, if a stage depends on it, whether there still is a GPU; returns whether there is none."""
        now = time.monotonic()
        if not self._outputs or now < self._look_again:
            return False
        self._look_again = now + _LOOK
        if nodes.with_gpus(nodes.alive()):
            return False
        self.gone = True
        return True

    def check_rows(self, made: Sequence[ObjectRef[Any]]) -> None:
        """See whether rows are lost that Ray would compute again on a GPU.

        Args:
            made: what must be there beside the rows of stages that have finished.

        Raises:
            LostWithGpu: there are some.
        """
        known = [b.ref for output in self._outputs.values() if output is not None for b in remote(output.blocks())]
        if not are_there([*made, *known]):
            raise LostWithGpu(GONE)
