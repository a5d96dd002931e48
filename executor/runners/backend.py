"""What a session's options say to whatever runs its queries."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from executor.cancellation import Cancellation
from executor.devices import GpuAbsence
from executor.driver import Execution
from executor.runners.base import Runner, StageProgress
from planner.cost import ClusterInfo
from planner.devices import Rates
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
        """The nodes and GPUs, and the bytes that a query may use on each node if the options allow ``memory_limit``."""
        ...

    def gpu_absence(self) -> GpuAbsence | None:
        """Why nothing can run on a GPU; None if it can."""
        ...

    def known_rates(self) -> Rates | None:
        """What the GPUs that are to be had and the cores beside them do in a second, as far as that is known without
        measuring; None if it is not, or all of them are taken."""
        ...

    def measured_rates(self) -> Rates | None:
        """The same, measured now if it never was, which takes some seconds; None if that fails."""
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
