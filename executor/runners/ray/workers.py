"""The processes of a cluster, and the functions that run there: those of ``runners.worker``, once sqlray's packages
have reached a process (``runners.bootstrap``)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import ObjectRef, cloudpickle
from ray.exceptions import RaySystemError

from executor.runners import bootstrap

RETRIES = 10  # runs of a task that dies with its worker or node

cloudpickle.register_pickle_by_value(bootstrap)  # type: ignore[no-untyped-call]
_run = ray.remote(bootstrap.run_in_worker)
# In a process of its own: cuDF stays with the GPU that it began with, and the next task may be given another one.
_run_apart = ray.remote(max_calls=1)(bootstrap.run_in_worker)
_shape = ray.remote(num_cpus=0)(bootstrap.shape)
_free_cpus = ray.remote(num_cpus=0)(bootstrap.free_cpus)


class Workers:
    """What runs the functions of ``runners.worker`` that a session calls."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("executor")
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parents[1]
        self._digest = bootstrap.digest(root)
        self._archive = ray.put(bootstrap.pack(root))

    def call(
        self, function: str, *arguments: Any, threads: int, apart: bool = False, **options: Any
    ) -> list[ObjectRef[Any]]:
        """Call a function; returns the references of what it yields.

        Args:
            threads: how many the kernels use.
            apart: whether it gets a process of its own.
            options: Ray's, for this task. ``num_returns`` is 2 at least: see ``worker.merge``.
        """
        run = _run_apart if apart else _run
        refs: list[ObjectRef[Any]] = run.options(**options).remote(
            self._digest, self._archive, threads, function, *arguments
        )
        return refs


def shapes(refs: Sequence[ObjectRef[Any]]) -> list[tuple[int, int, Any]]:
    """Rows, bytes and schema of Arrow tables, which stay where they are."""
    found: list[tuple[int, int, Any]] = ray.get([_shape.remote(ref) for ref in refs])
    return found


def free_cpus() -> float:
    """The most CPUs that a node of the cluster has free."""
    try:
        return bootstrap.free_cpus()
    except RaySystemError:  # a client of a cluster elsewhere has to ask there
        found: float = ray.get(_free_cpus.remote())
        return found
