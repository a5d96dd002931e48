"""The nodes of a cluster, and what they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from planner.cost import ClusterInfo
from planner.errors import ExecutionError
from planner.record import record

_USABLE = 0.8  # of the memory that Ray leaves to the processes of a node


@record
class Node:
    """A node that is there, with the CPUs and GPUs that tasks may claim whole.

    Args:
        memory: bytes that Ray leaves to its processes; None if it does not tell.
    """

    id: str
    cpus: int
    gpus: int
    memory: float | None = None


def alive() -> list[Node]:
    """The nodes that are there now."""
    told: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    has = [(n["NodeID"], n["Resources"]) for n in told if n["Alive"]]
    return [Node(id, int(r.get("CPU", 0)), int(r.get("GPU", 0)), r.get("memory")) for id, r in has]


def with_gpus(nodes: Sequence[Node]) -> list[Node]:
    """Those that have a GPU."""
    return [n for n in nodes if n.gpus]


def with_cpus(nodes: Sequence[Node]) -> list[Node]:
    """Those that have a CPU.

    Raises:
        ExecutionError: there is none.
    """
    found = [n for n in nodes if n.cpus]
    if not found:
        raise ExecutionError("the Ray cluster has no node with a CPU", hint="add one with `ray start --address=…`")
    return found


def cluster_info(nodes: Sequence[Node], memory_limit: int) -> ClusterInfo:
    """What tasks find on the nodes.

    Raises:
        ExecutionError: there is none with a CPU.
    """
    found = with_cpus(nodes)
    available = min(int((memory_limit if n.memory is None else n.memory) * _USABLE) for n in found)
    gpus = sum(n.gpus for n in nodes)
    return ClusterInfo(len(found), min(n.cpus for n in found), min(memory_limit, available), gpus)
