"""What is left of a query: the plan in one place again, in which stages that have started are leaves.

Their rows are known once they have finished, and the estimates of everything above are corrected by as much as those of
the leaves were wrong: a join that was thought to give two rows for each of its left input still does.

Kabra and DeWitt, "Efficient mid-query re-optimization of sub-optimal query execution plans", SIGMOD 1998.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planner.algorithms import build_side
from planner.estimates import Estimates, NodeEstimate
from planner.logical import JoinKind
from planner.origins import Origin
from planner.physical import (
    AggregateExec,
    Arbitrary,
    ExchangeExec,
    HashJoinExec,
    HashPartitioned,
    InputExec,
    LimitExec,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    RangePartitioned,
    SortExec,
    UnionExec,
)
from planner.placement import SINGLE, Placement
from planner.started import StageSizes, StartedStage
from planner.statistics import DEFAULT_ROWS
from planner.tree import replace_children


class Rest:
    """Finds the rest of a distributed plan.

    Args:
        origins: what the plan's nodes stand for.
        made_of: the stages of its exchanges and materializations, by identity.
        sizes: the stages that have started; None for one that still runs.
        started: those that the plan read as leaves already.
        estimates: what is known of the plan's nodes; of the new ones it is noted here.
    """

    def __init__(
        self,
        origins: Mapping[int, Origin],
        made_of: Mapping[int, int],
        sizes: Mapping[int, StageSizes | None],
        started: Mapping[int, StartedStage],
        estimates: Estimates,
    ) -> None:
        self.started: dict[int, StartedStage] = {}
        self._origins = origins
        self._made_of = made_of
        self._sizes = sizes
        self._before = started
        self._estimates = estimates
        self._done: dict[int, PhysicalPlan] = {}

    def of(self, node: PhysicalPlan) -> PhysicalPlan:
        """What gives the rows of ``node`` in the plan in one place."""
        if id(node) not in self._done:
            self._done[id(node)] = self._leaf(node) or self._rest(node)
        return self._done[id(node)]

    def _rest(self, node: PhysicalPlan) -> PhysicalPlan:
        found = self._origins.get(id(node))
        if found is None:  # moves or keeps rows, and computes nothing
            assert isinstance(node, (ExchangeExec, MaterializeExec))
            return self.of(node.input)
        if len(found.inputs) == 1:
            resumed = self._resumed(node, found.inputs[0])
            if resumed is not None:
                return resumed
        return self._over(found.whole, [self.of(i) for i in found.inputs])

    def _resumed(self, node: PhysicalPlan, input: PhysicalPlan) -> PhysicalPlan | None:
        """``node``, which stands with the nodes down to ``input`` for one operator, over the part of these that has
        started; None if none has."""
        if node is input:
            return None
        leaf = self._leaf(node)
        if leaf is not None:
            return leaf
        below = self._resumed(node.children()[0], input)
        return None if below is None else self._over(node, [below])

    def _over(self, node: PhysicalPlan, inputs: list[PhysicalPlan]) -> PhysicalPlan:
        """``node`` over other inputs, with its estimate corrected."""
        made = replace_children(node, inputs)
        if made is node:
            return node
        if isinstance(made, HashJoinExec):
            sides = (self._estimates.assumed_bytes(made.left), self._estimates.assumed_bytes(made.right))
            made = replace(made, build=build_side(made.kind, *sides))
        known = self._estimates.get(node)
        old = [self._estimates.rows_or(c, DEFAULT_ROWS) for c in node.children()]
        new = [self._estimates.rows_or(c, DEFAULT_ROWS) for c in inputs]
        rows = max(new, default=0.0) if known.rows is None else corrected(made, known.rows, old, new)
        self._estimates.put(made, replace(known, rows=rows))
        return made

    def _leaf(self, node: PhysicalPlan) -> InputExec | None:
        """The leaf for ``node`` if it is the output of a stage that has started."""
        if isinstance(node, InputExec):
            stage, placement = node.stage, self._before[node.stage].placement
        elif id(node) in self._made_of and self._made_of[id(node)] in self._sizes:
            stage, placement = self._made_of[id(node)], self._placement(node)
        else:
            return None
        sizes = self._sizes[stage]
        self.started[stage] = StartedStage(placement, sizes)
        leaf = InputExec(stage, node.schema)
        known = self._estimates.get(node)
        if sizes is None:
            estimate = replace(known, cost=NodeEstimate().cost)
        else:
            width = sizes.total / sizes.rows if sizes.rows else known.width
            estimate = NodeEstimate(float(sizes.rows), width, columns=known.columns)
        self._estimates.put(leaf, estimate)
        return leaf

    def _placement(self, node: PhysicalPlan) -> Placement:
        """How the rows of an exchange or materialization stand."""
        match node:
            case ExchangeExec(target=HashPartitioned(keys, count)):
                return Placement(count, (keys,))
            case ExchangeExec(target=RangePartitioned(order, count)):
                return Placement(count, order=order)
            case ExchangeExec(target=Arbitrary(count)):
                return Placement(count)
            case MaterializeExec(input):
                found = self._origins.get(id(node)) or self._origins.get(id(input))
                return SINGLE if found is None else replace(found.placement, skewed=False)
            case _:
                return SINGLE


def corrected(node: PhysicalPlan, rows: float, old: list[float], new: list[float]) -> float:
    """The rows that ``node`` gives for ``new`` rows of its inputs, if they were thought to be ``rows`` for ``old``."""
    factors = [b / a if a else 1.0 for a, b in zip(old, new, strict=True)]
    match node:
        case HashJoinExec(kind) | NestedLoopJoinExec(kind):
            left, right = factors
            both = rows * left * right
            match kind:
                case JoinKind.INNER:
                    return both
                case JoinKind.LEFT:
                    return max(new[0], both)
                case JoinKind.RIGHT:
                    return max(new[1], both)
                case JoinKind.FULL:
                    return max(*new, both)
                case JoinKind.SEMI:
                    return min(new[0], both)
                case _:
                    return min(new[0], rows * left)
        case UnionExec():
            return sum(new)
        case AggregateExec(keys=()):
            return rows
        case AggregateExec():
            return min(new[0], rows * max(1.0, factors[0]))  # fewer rows have as many groups, until there are too few
        case LimitExec(limit=int()) | SortExec(limit=int()):
            return min(rows, new[0])
        case _:
            return rows * factors[0]
