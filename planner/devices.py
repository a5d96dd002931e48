"""The devices that kernels run on, and what each does in a second."""

from __future__ import annotations

from math import inf
from typing import Literal

from planner.record import record

Device = Literal["cpu", "gpu"]


@record
class DeviceRates:
    """What a device does in a second; of a CPU, all cores together.

    Work of kernels is counted in the units of ``cost.CostModel``, about one row through one operator each.

    Args:
        memory: bytes that operators may hold.
        decode: bytes of columns, as they stand in memory, read from Parquet files that the system's cache holds.
        upload: bytes from the host's pageable memory.
        download: bytes back to it.
        stream: units of filters and projections.
        join: units of joins, building and probing.
        group: units of aggregations.
        sort: units of sorts.
        launch: seconds that every operator takes beside its rows.
        start: seconds that every task takes beside its operators.
    """

    name: str
    memory: float
    decode: float
    stream: float
    join: float
    group: float
    sort: float
    launch: float
    start: float
    upload: float = inf
    download: float = inf


@record
class Rates:
    """A GPU and the cores of a node, between which every stage has a choice; and how many there are of each, so many
    tasks of a stage can run at once.

    Args:
        keeps: whether the columns of tables that a GPU has read stay there for the queries that follow.
    """

    cpu: DeviceRates
    gpu: DeviceRates
    nodes: int = 1
    gpus: int = 1
    keeps: bool = True


def default_cpu(cores: int) -> DeviceRates:
    """Cores of which nothing was measured."""
    rates = _CORE
    return DeviceRates(
        f"{cores} cores",
        inf,
        rates.decode * cores,
        rates.stream * cores,
        rates.join * cores,
        rates.group * cores,
        rates.sort * cores,
        rates.launch,
        rates.start,
    )


# Fitted to TPC-H on an H100 beside 16 cores (cudf-polars 26.10, polars 1.44). Geometric means of the CPU's time over
# the GPU's: 1.83 at scale 10 from Parquet, of which the GPU spent 80 % in scans; 0.9 at scale 1; 0.3 at scale 10 from
# tables in the host's memory, of which 95 % were copies. Kernels alone took the GPU 5 to 60 ms. Copies of pageable
# memory were measured at 7.7 GB/s (of pinned: 53 GB/s).
_CORE = DeviceRates("a core", inf, 0.5e9, 25e6, 25e6, 25e6, 25e6, 0.2e-3, 3e-3)
H100 = DeviceRates("NVIDIA H100", 80e9, 15e9, 4e9, 2e9, 2e9, 2e9, 1.5e-3, 10e-3, 7.7e9, 7.7e9)
