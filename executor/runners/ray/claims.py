"""What the tasks of a session hold of the cluster, and what is therefore to be had: that, and what nobody holds."""

from __future__ import annotations

import time
from math import inf
from typing import Any

import ray
from ray import ObjectRef

from executor.runners.ray.workers import free_cpus

_LAG = 2.0  # seconds until the cluster tells that a GPU is free again


class Claims:
    """The CPUs and GPUs of tasks under way, which are known by the references of their reports."""

    def __init__(self) -> None:
        self._cpus: dict[ObjectRef[Any], float] = {}
        self._gpus: set[ObjectRef[Any]] = set()
        self._gpus_held = 0  # at once, until …
        self._gpu_ended = -inf  # … this moment

    def begin(self, report: ObjectRef[Any], cpus: float, gpu: bool) -> None:
        """Note that a task has started."""
        self._cpus[report] = cpus
        if gpu:
            self._gpus.add(report)

    def end(self, report: ObjectRef[Any]) -> None:
        """Note that a task runs no more."""
        self._cpus.pop(report, None)
        if report in self._gpus:
            self._gpus_held, self._gpu_ended = max(self._gpus_held_lately(), len(self._gpus)), time.monotonic()
            self._gpus.discard(report)

    def cpus(self, of_a_node: int) -> float:
        """The CPUs that each task of a query asks for: a node's, or what others leave where that is less. An actor that
        waits for the query keeps its own, and a claim for more than the rest of its node would wait for ever."""
        return float(max(1, min(of_a_node, int(free_cpus() + sum(self._cpus.values())))))

    def gpus(self, of_the_cluster: int) -> int:
        """How many of the cluster's GPUs are to be had: those that nobody has, or tasks from here."""
        ours = max(len(self._gpus), self._gpus_held_lately())
        available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        return min(of_the_cluster, int(available.get("GPU", 0.0)) + ours)

    def _gpus_held_lately(self) -> int:
        """As many as the cluster may not yet tell to be free."""
        return self._gpus_held if time.monotonic() < self._gpu_ended + _LAG else 0
