"""What was estimated of each physical node: kept beside the plan, by node identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from planner.cardinality import DEFAULT_ROWS
from planner.catalog import ColumnStatistics
from planner.cost import Cost
from planner.expr import ColumnId
from planner.physical import PhysicalPlan
from planner.record import record


@record
class NodeEstimate:
    """Output rows (None: unknown), average bytes a row, the node's own cost, and what is known of its columns."""

    rows: float | None = None
    width: float = 0.0
    cost: Cost = field(default_factory=Cost)
    columns: Mapping[ColumnId, ColumnStatistics] = field(default_factory=dict)

    @property
    def bytes(self) -> float | None:
        return None if self.rows is None else self.rows * self.width


UNKNOWN = NodeEstimate()


class Estimates:
    """Estimates by node. A node that replaces another takes over what was known (``inherit``)."""

    def __init__(self, known: Estimates | None = None) -> None:
        # The node is kept: its id stays taken.
        self._known: dict[int, tuple[PhysicalPlan, NodeEstimate]] = {} if known is None else dict(known._known)

    def get(self, node: PhysicalPlan) -> NodeEstimate:
        hit = self._known.get(id(node))
        return hit[1] if hit is not None else UNKNOWN

    def put(self, node: PhysicalPlan, estimate: NodeEstimate) -> None:
        self._known[id(node)] = (node, estimate)

    def inherit(self, new: PhysicalPlan, old: PhysicalPlan) -> PhysicalPlan:
        """Give ``new`` the estimate of ``old``, unless it has one; returns ``new``."""
        if new is not old and id(new) not in self._known and id(old) in self._known:
            self._known[id(new)] = (new, self._known[id(old)][1])
        return new

    def rows_or(self, node: PhysicalPlan, default: float) -> float:
        rows = self.get(node).rows
        return default if rows is None else rows

    def bytes_or(self, node: PhysicalPlan, default: float) -> float:
        size = self.get(node).bytes
        return default if size is None else size

    def assumed_bytes(self, node: PhysicalPlan) -> float:
        """The estimated bytes, or those of a table of which nothing is known."""
        known = self.get(node)
        return known.bytes if known.bytes is not None else DEFAULT_ROWS * max(known.width, 8.0)
