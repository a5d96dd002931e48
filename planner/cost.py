"""What a plan costs: CPU work, memory held, bytes moved. One unit of ``cpu`` is about one row through one
operator.

The weights are ratios measured on the kernels: what a row costs to build into a hash table, to probe with,
to come out, and what a byte costs that is written. They decide between plans; they do not predict seconds.
"""

from __future__ import annotations

from math import log2

from planner.record import record


@record
class Cost:
    """``cpu`` in rows, ``memory`` in bytes held at once, ``network`` in bytes moved between nodes."""

    cpu: float = 0.0
    memory: float = 0.0
    network: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Both, one after the other: work adds up, and so does memory, as a pipeline holds all its tables."""
        return Cost(self.cpu + other.cpu, self.memory + other.memory, self.network + other.network)


@record
class ClusterInfo:
    """Where the query runs: nodes, cores a node, bytes of memory a node may use, and GPUs that kernels can run on."""

    nodes: int = 1
    cpus: int = 1
    memory_limit: int = 8 * 2**30
    gpus: int = 0


@record
class CostModel:
    """Weights for each row, and for each byte, by what happens to it."""

    scan_row: float = 0.2
    scan_byte: float = 0.02
    filter_row: float = 0.1
    expression_row: float = 0.1
    build_row: float = 2.0
    probe_row: float = 1.0
    output_row: float = 0.5
    output_byte: float = 0.01
    pair: float = 0.2  # a pair of rows tested by a nested loop
    group_row: float = 1.0
    sort_row: float = 0.3  # times log2 of the rows
    network_byte: float = 0.05

    def total(self, cost: Cost) -> float:
        """One number to compare plans by."""
        return cost.cpu + cost.network * self.network_byte

    def scan(self, rows: float, size: float) -> Cost:
        return Cost(rows * self.scan_row + size * self.scan_byte)

    def filter(self, rows: float) -> Cost:
        return Cost(rows * self.filter_row)

    def project(self, rows: float, expressions: int) -> Cost:
        return Cost(rows * expressions * self.expression_row)

    def hash_join(self, build_rows: float, build_width: float, probe_rows: float, rows: float, width: float) -> Cost:
        """A table of the build side stays in memory while the probe side streams past it."""
        return Cost(self.hash_join_cpu(build_rows, probe_rows, rows, width), build_rows * (build_width + 16))

    def hash_join_cpu(self, build_rows: float, probe_rows: float, rows: float, width: float) -> float:
        """What ``hash_join`` costs in one place, for the search of the join order, which asks very often."""
        cpu = build_rows * self.build_row + probe_rows * self.probe_row
        return cpu + rows * (self.output_row + width * self.output_byte)

    def nested_loop(self, left_rows: float, right_rows: float, right_width: float, rows: float) -> Cost:
        return Cost(left_rows * right_rows * self.pair + rows * self.output_row, right_rows * right_width)

    def aggregate(self, rows: float, groups: float, width: float) -> Cost:
        return Cost(rows * self.group_row + groups * self.output_row, groups * (width + 16))

    def sort(self, rows: float, width: float, limit: int | None = None) -> Cost:
        kept = rows if limit is None else min(rows, float(limit))
        return Cost(rows * self.sort_row * log2(max(kept, 2.0)), kept * width)

    def exchange(self, size: float, copies: int = 1) -> Cost:
        return Cost(network=size * copies)
