"""How much memory a plan holds at its worst moment, and in how many parts it therefore runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from planner.catalog import TableStatistics
from planner.estimates import Estimates
from planner.logical import JoinKind
from planner.physical import (
    AggregateExec,
    HashJoinExec,
    InputExec,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ScanExec,
    SortExec,
    WindowExec,
)
from planner.statistics import DEFAULT_ROWS, column_width
from planner.tree import walk

_OVERHEAD = 2.0  # a hash table and the kernels' copies of a column, over the column's own bytes
_ENTRY = 16.0  # bytes of a hash table's entry beside the row itself
_POSITIONS = 160.0  # bytes a row of what a window knows of it: codes, bounds of partitions, peers and frames


_USABLE = 0.6  # of the memory limit: the rest is for what streams past, and for estimates that were low
_MOST = 256
_NODE_BYTES = 64 * 2**20  # bytes to read, from which on another node is worth its exchanges
_HOLDS_ROWS = ("median", "quantile_cont", "quantile_disc", "string_agg", "mode", "list")


def choose_partitions(plan: PhysicalPlan, estimates: Estimates, memory_limit: int, nodes: int = 1) -> int:
    """One, if the working set of ``plan`` fits ``memory_limit``; else as many parts as make each of them fit.

    With several nodes also as many as have enough to read each, so that all of them work, and as many for each node: a
    power of two, so that fewer tasks can read several partitions each.
    """
    held = working_set(plan, estimates)
    usable = memory_limit * _USABLE
    parts = 1 if held <= usable else min(_MOST, max(2, ceil(held / usable)))
    if nodes > 1:
        read = sum(estimates.get(n).bytes or 0.0 for n in walk(plan) if isinstance(n, (ScanExec, InputExec)))
        parts = max(parts, min(nodes, int(read // _NODE_BYTES)))
    each = 1 if parts < nodes else 1 << (ceil(parts / nodes) - 1).bit_length()
    return parts if parts < nodes else min(_MOST, each * nodes)


def working_set(plan: PhysicalPlan, estimates: Estimates) -> float:
    """Estimated bytes that all operators of ``plan`` hold at the same time, at the worst moment.

    A join first builds its table, beside whatever that needs, and then holds it while the other side runs.
    """
    measured = _WorkingSet(estimates)
    return max(measured.peak(plan), measured.shared)


def resident_set(plan: PhysicalPlan, estimates: Estimates) -> float:
    """Estimated bytes that ``plan`` holds at its worst moment where every operator has the whole of its inputs before
    it begins and gives its whole output at once, as cuDF's in-memory executor does."""
    return _resident(plan, _WorkingSet(estimates), {})


def _resident(node: PhysicalPlan, tables: _WorkingSet, known: dict[int, float]) -> float:
    hit = known.get(id(node))
    if hit is None:
        estimates = tables.estimates
        held = worst = 0.0
        for child in node.children():
            worst = max(worst, held + _resident(child, tables, known))
            held += estimates.bytes_or(child, 0.0)
        if isinstance(node, ScanExec):
            own = read_bytes(node, scan_statistics(node), estimates)
        else:
            own = estimates.bytes_or(node, 0.0)
        hit = known[id(node)] = max(worst, held + own + tables.own(node))
    return hit


def scan_statistics(scan: ScanExec) -> TableStatistics:
    """What is known of a scan's table, and of the columns that it reads."""
    return scan.table.statistics(tuple(dict.fromkeys(f.name for f in scan.fields)))


def read_bytes(
    scan: ScanExec, known: TableStatistics, estimates: Estimates, without: frozenset[str] = frozenset()
) -> float:
    """Bytes of the columns that a scan reads, before any of its predicates.

    Args:
        known: what ``scan_statistics`` gives.
        without: names of columns that do not count.
    """
    rows = estimates.rows_or(scan, DEFAULT_ROWS) if known.rows is None else known.rows
    return rows * sum(column_width(f.dtype, known.columns[f.name]) for f in scan.fields if f.name not in without)


@dataclass(slots=True)
class _WorkingSet:
    estimates: Estimates
    shared: float = 0.0
    known: dict[int, float] = field(default_factory=dict)

    def peak(self, node: PhysicalPlan) -> float:
        hit = self.known.get(id(node))
        if hit is None:
            hit = self.measure(node)
            if isinstance(node, MaterializeExec):
                # Computed once, before the rest: what it needed is gone by then, and its rows may be on disk.
                self.shared = max(self.shared, hit)
                hit = 0.0
            self.known[id(node)] = hit
        return hit

    def measure(self, node: PhysicalPlan) -> float:
        match node:
            case HashJoinExec() | NestedLoopJoinExec():
                build, probe = _sides(node)
                table = self.own(node)
                return max(self.peak(build) + table, table + self.peak(probe))
            case AggregateExec(input) | SortExec(input) | WindowExec(input):
                return self.peak(input) + self.own(node)
            case _:
                return max(map(self.peak, node.children()), default=0.0)

    def own(self, node: PhysicalPlan) -> float:
        """Bytes that ``node`` itself holds."""
        match node:
            case HashJoinExec() | NestedLoopJoinExec():
                build, probe = _sides(node)
                return self.held(build) + (self.held(probe) * 0.5 if node.kind is JoinKind.FULL else 0.0)
            case AggregateExec(input):
                state = self.held(node)
                if any(a.call.distinct or a.call.name in _HOLDS_ROWS for a in node.aggregates):
                    state += self.estimates.rows_or(input, DEFAULT_ROWS) * _ENTRY
                return state
            case SortExec(input):
                return self.held(input if node.limit is None else node)
            case WindowExec(input):
                return self.held(input) + self.estimates.rows_or(input, DEFAULT_ROWS) * _POSITIONS
            case _:
                return 0.0

    def held(self, node: PhysicalPlan) -> float:
        """Bytes of the rows of ``node`` in an operator's table."""
        estimate = self.estimates.get(node)
        rows = DEFAULT_ROWS if estimate.rows is None else estimate.rows
        return rows * (estimate.width * _OVERHEAD + _ENTRY)


def _sides(node: HashJoinExec | NestedLoopJoinExec) -> tuple[PhysicalPlan, PhysicalPlan]:
    """The inputs of a join: the one that it holds, and the one that runs past it."""
    if isinstance(node, HashJoinExec) and node.build == "left":
        return node.left, node.right
    return node.right, node.left
