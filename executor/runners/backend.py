"""What a session's options say to whatever runs its queries."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from executor.cancellation import Cancellation
from executor.driver import Execution
from executor.runners.base import Runner, StageProgress
from planner.cost import ClusterInfo
from planner.record import record


@record
class RunSettings:
    """One query's limits.

    Args:
        memory_limit: bytes for operators and blocks together, on every node; blocks get a quarter before they spill.
        temp_directory: where blocks are spilled to.
    """

    memory_limit: int
    temp_directory: str


class Backend(Protocol):
    """Where a session's queries run: in this process, or on a cluster."""

    def cluster(self, memory_limit: int) -> ClusterInfo:
        """The nodes, and the bytes that a query may use on each if the options allow it ``memory_limit``."""
        ...

    def runner(self, settings: RunSettings, cancellation: Cancellation, progress: StageProgress) -> Runner:
        """What runs one query."""
        ...

    def dataset(self, execution: Execution, schema: pa.Schema) -> object | None:
        """The rows of a query as a ``ray.data.Dataset``, left where they were computed; None where that is here."""
        ...

    def close(self) -> None:
        """Give back what the session started."""
        ...
