"""Window functions: a value for each row, computed from the rows around it (ISO 9075-2, 7.15 and 10.9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from planner.expr import AggregateCall, Expr, show, show_aggregate
from planner.record import record


class FrameUnit(StrEnum):
    """What the bounds of a frame count."""

    ROWS = "ROWS"
    RANGE = "RANGE"  # distances of the sort key
    GROUPS = "GROUPS"  # of rows that the order does not tell apart (peers)


class Side(StrEnum):
    """Where from the current row a frame begins or ends."""

    PRECEDING = "PRECEDING"
    CURRENT = "CURRENT ROW"
    FOLLOWING = "FOLLOWING"


class Exclusion(StrEnum):
    """The rows that a frame leaves out."""

    NOTHING = "NO OTHERS"
    CURRENT_ROW = "CURRENT ROW"
    GROUP = "GROUP"  # the current row and its peers
    TIES = "TIES"  # its peers alone


@record
class FrameBound:
    """One end of a frame; with PRECEDING or FOLLOWING and no ``offset``, the end of the partition there.

    ``offset`` is a number of rows or groups (BIGINT); in a RANGE frame it is the very key where the frame ends (``key -
    3`` for 3 PRECEDING), of the type of ``WindowFrame.key``.
    """

    side: Side
    offset: Expr | None = None


@record
class WindowFrame:
    """The rows of the partition that a function reads. CURRENT ROW means all its peers in RANGE and GROUPS.

    ``key``: of a RANGE frame with offsets, the sort key, in the type of the offsets.
    """

    unit: FrameUnit
    start: FrameBound
    end: FrameBound
    exclusion: Exclusion = Exclusion.NOTHING
    key: Expr | None = None

    def expressions(self) -> tuple[Expr, ...]:
        return tuple(e for e in (self.start.offset, self.end.offset, self.key) if e is not None)

    def with_expressions(self, expressions: Sequence[Expr]) -> WindowFrame:
        left = iter(expressions)
        start, end = (b if b.offset is None else replace(b, offset=next(left)) for b in (self.start, self.end))
        return replace(self, start=start, end=end, key=None if self.key is None else next(left))


UNBOUNDED_PRECEDING = FrameBound(Side.PRECEDING)
UNBOUNDED_FOLLOWING = FrameBound(Side.FOLLOWING)
CURRENT_ROW = FrameBound(Side.CURRENT)
WHOLE_PARTITION = WindowFrame(FrameUnit.ROWS, UNBOUNDED_PRECEDING, UNBOUNDED_FOLLOWING)
UP_TO_PEERS = WindowFrame(FrameUnit.RANGE, UNBOUNDED_PRECEDING, CURRENT_ROW)
"""What a window with an order and no frame reads."""


@record
class WindowCall:
    """A function over a window: one of ``functions_window``, or an aggregate over the frame."""

    function: AggregateCall
    frame: WindowFrame
    ignore_nulls: bool = False

    @property
    def name(self) -> str:
        return self.function.name

    def expressions(self) -> tuple[Expr, ...]:
        """Everything it evaluates, in the order that ``with_expressions`` takes."""
        return (*self.function.expressions(), *self.frame.expressions())

    def with_expressions(self, expressions: Sequence[Expr]) -> WindowCall:
        n = len(self.function.expressions())
        function = self.function.with_expressions(expressions[:n])
        return replace(self, function=function, frame=self.frame.with_expressions(expressions[n:]))


def show_call(call: WindowCall) -> str:
    """The call and its frame as SQL-like text, for EXPLAIN."""
    nulls = " IGNORE NULLS" if call.ignore_nulls else ""
    frame = "" if call.frame in (WHOLE_PARTITION, UP_TO_PEERS) else f" {show_frame(call.frame)}"
    return f"{show_aggregate(call.function)}{nulls}{frame}"


def show_frame(frame: WindowFrame) -> str:
    exclude = "" if frame.exclusion is Exclusion.NOTHING else f" EXCLUDE {frame.exclusion}"
    start, end = (_show_bound(frame, b) for b in (frame.start, frame.end))
    return f"{frame.unit} BETWEEN {start} AND {end}{exclude}"


def _show_bound(frame: WindowFrame, bound: FrameBound) -> str:
    if bound.side is Side.CURRENT:
        return str(bound.side)
    if bound.offset is None:
        return f"UNBOUNDED {bound.side}"
    if frame.key is None:
        return f"{show(bound.offset)} {bound.side}"
    return f"({show(bound.offset)}) {bound.side}"
