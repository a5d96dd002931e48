"""Spreads a plan over tasks: alone inserts exchanges, where what an operator requires is not what its input provides.

    operator                      requires
    filter, projection            nothing
    aggregation with keys         equal keys in one task; else partial, exchange, final
    aggregation without keys      one place; else partial, gather, final
    hash join                     both sides partitioned alike by the keys, or one side broadcast where that is legal
                                  (``placement``)
    join without an equality,     one side broadcast; FULL: one place
    MARK with a comparison alone
    window                        equal partition keys in one task
    sort                          ranges of the keys, found in a sample; of little one place
    top-N, limit                  one place; a top-N or limit of each part before
    union                         all inputs in one place, or all spread alike

The plan stays one plan: with exchanges taken as identities it also runs in one process. Its leaves may be stages that
have started (``InputExec``), whose rows stand as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.bounds import aggregate_bounds
from planner.expr import Column, Expr, Schema, SortKey, column
from planner.functions_aggregate import AggregateSplit, split_aggregate
from planner.join_meeting import JoinCondition, Meeting, join_condition
from planner.logical import Item
from planner.origins import Origin, origin
from planner.physical import (
    AggregateExec,
    AggregateMode,
    Arbitrary,
    Broadcast,
    ExchangeExec,
    FilterExec,
    HashJoinExec,
    HashPartitioned,
    InputExec,
    LimitExec,
    MaterializeExec,
    NestedLoopJoinExec,
    Partitioning,
    PhysicalPlan,
    ProjectExec,
    RangePartitioned,
    ScanExec,
    Single,
    SortExec,
    UnionExec,
    ValuesExec,
    WindowExec,
)
from planner.physical_context import PhysicalContext
from planner.placement import (
    LEGAL,
    SINGLE,
    Keys,
    Placement,
    groups_together,
    only_columns,
    through_project,
)
from planner.record import record
from planner.started import StartedStage

_SMALL_SCAN = 32 * 2**20  # bytes of a table that one task reads alone
_SCANS = 16  # of that size, that the memory limit holds at least: what reads them may hold many times their bytes
_SMALL_SORT = 32 * 2**20  # bytes that one task sorts alone
_FEW_GROUPS = 8 * 2**20  # bytes of partial states that are gathered rather than shuffled
_WORTH_PARTIAL = 0.7  # groups over rows, beyond which a partial aggregation only costs


@record
class Distributed:
    """A plan with its exchanges.

    Args:
        origins: what the nodes of ``plan`` stand for, by identity (none for a plan in one place).
        joins: how the sides of each hash join meet, by the join's condition.
    """

    plan: PhysicalPlan
    origins: Mapping[int, Origin]
    joins: Mapping[JoinCondition, Meeting]


def ensure_distribution(
    plan: PhysicalPlan,
    partitions: int,
    context: PhysicalContext,
    forced: bool = False,
    started: Mapping[int, StartedStage] | None = None,
) -> Distributed:
    """``plan`` with exchanges for ``partitions`` tasks a stage; unchanged for one.

    ``forced``: spread whatever can be spread, however small (so that tests meet every exchange). ``started``: the
    stages that the plan's ``InputExec``s read.
    """
    if partitions == 1:
        return Distributed(plan, {}, {})
    distribution = _Distribution(partitions, context, forced, started or {})
    made, _ = distribution.visit(plan)
    return Distributed(made, distribution.origins, distribution.joins)


Placed = tuple[PhysicalPlan, Placement]


class _Distribution:
    def __init__(
        self, partitions: int, context: PhysicalContext, forced: bool, started: Mapping[int, StartedStage]
    ) -> None:
        self.partitions = partitions
        self.context = context
        self.estimates = context.estimates
        self.forced = forced
        self.started = started
        self.origins: dict[int, Origin] = {}
        self.joins: dict[JoinCondition, Meeting] = {}
        self._done: dict[int, tuple[PhysicalPlan, Placed]] = {}

    def visit(self, node: PhysicalPlan) -> Placed:
        hit = self._done.get(id(node))
        if hit is None:
            made, placement = self.place(node)
            self.estimates.inherit(made, node)
            hit = (node, (made, placement))
            self._done[id(node)] = hit
            below = [self._done[id(c)][1][0] for c in node.children()]
            self.origins[id(made)] = origin(made, node, below, placement)
        return hit[1]

    def place(self, node: PhysicalPlan) -> Placed:
        match node:
            case ScanExec():
                return self.scan(node)
            case ValuesExec():
                return node, SINGLE
            case InputExec():
                return self.input(node)
            case FilterExec(input) | MaterializeExec(input):
                below, placement = self.visit(input)
                return (node if below is input else replace(node, input=below)), placement
            case ProjectExec(input, items):
                below, placement = self.visit(input)
                return replace(node, input=below), through_project(placement, items)
            case HashJoinExec():
                return self.hash_join(node)
            case NestedLoopJoinExec():
                return self.nested_loop(node)
            case AggregateExec():
                return self.aggregate(node)
            case SortExec():
                return self.sort(node)
            case LimitExec():
                return self.limit(node)
            case WindowExec(input, partition):
                below, placement = self.grouped(*self.visit(input), partition)
                return replace(node, input=below), replace(placement, skewed=False)
            case UnionExec(inputs):
                return self.union(node, [self.visit(i) for i in inputs])
            case ExchangeExec():
                raise TypeError("Exchange stands only in plans that are distributed already")
            case _:
                raise TypeError(f"not a physical operator: {node!r}")

    # --------------------------------------------------------------------------------------------------- exchanges

    def exchange(self, node: PhysicalPlan, target: Partitioning) -> PhysicalPlan:
        if isinstance(node, InputExec) and isinstance(target, (Single, Broadcast)):
            return self.estimates.inherit(replace(node, tasks=1), node)  # its blocks are there for everyone
        made = ExchangeExec(node, target, node.schema)
        known = self.estimates.get(node)
        copies = self.partitions if isinstance(target, Broadcast) else 1
        cost = self.context.model.exchange(known.bytes or 0.0, copies)
        self.estimates.put(made, replace(known, cost=cost))
        return made

    def gathered(self, node: PhysicalPlan, placement: Placement) -> PhysicalPlan:
        return node if placement.single else self.exchange(node, Single())

    def hashed(self, node: PhysicalPlan, keys: Keys) -> Placed:
        made = self.exchange(node, HashPartitioned(keys, self.partitions))
        return made, Placement(self.partitions, (keys,))

    def broadcast(self, node: PhysicalPlan) -> PhysicalPlan:
        return self.exchange(node, Broadcast())

    def grouped(self, node: PhysicalPlan, placement: Placement, keys: Sequence[Expr]) -> Placed:
        """Rows with equal ``keys`` in one task."""
        if groups_together(placement, keys):
            return node, placement
        if not keys:
            return self.gathered(node, placement), SINGLE
        return self.hashed(node, tuple(keys))

    # --------------------------------------------------------------------------------------------------- operators

    def input(self, node: InputExec) -> Placed:
        """Rows of a started stage. Hash partitions that are a multiple of the tasks are read by several at once, and
        stand as if they had been hashed into so many: ``hash % n % m == hash % m`` if m divides n."""
        stage = self.started[node.stage]
        if stage.placement.single:
            return node, SINGLE
        keys = stage.placement.keys if stage.placement.tasks % self.partitions == 0 else ()
        order = stage.placement.order if stage.placement.tasks == self.partitions else ()
        skewed = self.context.nodes > 1 and bool(stage.skewed(self.partitions, self.context.skew_limit))
        return replace(node, tasks=self.partitions), Placement(self.partitions, keys, skewed, order)

    def scan(self, node: ScanExec) -> Placed:
        splits = node.table.splits()
        if len(splits) < 2:
            return node, SINGLE
        size = sum(s.bytes or 0 for s in splits)
        if not self.forced and size and size < min(_SMALL_SCAN, self.context.memory_limit // _SCANS):
            return node, SINGLE
        return replace(node, tasks=self.partitions), Placement(self.partitions)

    def sort(self, node: SortExec) -> Placed:
        below, placement = self.visit(node.input)
        if placement.single:
            return replace(node, input=below), SINGLE
        if node.limit is not None:
            part = replace(node, input=below, limit=node.limit + node.offset, offset=0)
            below = self.estimates.inherit(part, node)
        elif placement.order == node.keys:
            return replace(node, input=below), Placement(self.partitions)
        elif not node.offset and (self.forced or self.estimates.assumed_bytes(node.input) > _SMALL_SORT):
            return replace(node, input=self.ranges(below, node.keys)), Placement(self.partitions)
        return replace(node, input=self.exchange(below, Single())), SINGLE

    def ranges(self, node: PhysicalPlan, keys: tuple[SortKey, ...]) -> PhysicalPlan:
        """The rows of ``node`` in ranges of ``keys``, after they have been computed, so that a sample can be taken."""
        if not isinstance(node, InputExec):
            node = self.estimates.inherit(MaterializeExec(node, "to be sorted", node.schema), node)
        return self.exchange(node, RangePartitioned(keys, self.partitions))

    def limit(self, node: LimitExec) -> Placed:
        below, placement = self.visit(node.input)
        if placement.single:
            return replace(node, input=below), SINGLE
        if node.limit is not None:
            part = LimitExec(below, node.limit + node.offset, node.schema)
            below = self.estimates.inherit(part, node)
        return replace(node, input=self.exchange(below, Single())), SINGLE

    def union(self, node: UnionExec, inputs: list[Placed]) -> Placed:
        if all(placement.single for _, placement in inputs):
            return replace(node, inputs=tuple(n for n, _ in inputs)), SINGLE
        spread = Arbitrary(self.partitions)
        made = [self.exchange(n, spread) if placement.single else n for n, placement in inputs]
        return replace(node, inputs=tuple(made)), Placement(self.partitions)

    def nested_loop(self, node: NestedLoopJoinExec) -> Placed:
        (left, at_left), (right, at_right) = self.visit(node.left), self.visit(node.right)
        if at_left.single and at_right.single:
            return replace(node, left=left, right=right), SINGLE
        legal = LEGAL[node.kind]
        smaller = self.estimates.assumed_bytes(node.left) < self.estimates.assumed_bytes(node.right)
        if legal.broadcast_left and not at_right.single and (smaller or not legal.broadcast_right or at_left.single):
            made = replace(node, left=self.broadcast(left), right=right)
            return made, only_columns(at_right, node.schema.ids)
        if legal.broadcast_right and not at_left.single:
            made = replace(node, left=left, right=self.broadcast(right))
            return made, only_columns(at_left, node.schema.ids)
        return replace(node, left=self.gathered(left, at_left), right=self.gathered(right, at_right)), SINGLE

    def hash_join(self, node: HashJoinExec) -> Placed:
        left, right = self.visit(node.left), self.visit(node.right)
        condition = join_condition(node)
        if left[1].single and right[1].single:
            self.joins[condition] = Meeting.ONE_PLACE
            return replace(node, left=left[0], right=right[0]), SINGLE
        legal = LEGAL[node.kind]
        shuffle = self.shuffle(node, left, right)
        if legal.broadcast_right and not left[1].single and self.prefers_broadcast(node.right, shuffle):
            made = replace(node, left=left[0], right=self.broadcast(right[0]), build="right")
            self.joins[condition] = Meeting.BROADCAST_RIGHT
            return made, only_columns(left[1], node.schema.ids)
        if legal.broadcast_left and not right[1].single and self.prefers_broadcast(node.left, shuffle):
            made = replace(node, left=self.broadcast(left[0]), right=right[0], build="left")
            self.joins[condition] = Meeting.BROADCAST_LEFT
            return made, only_columns(right[1], node.schema.ids)
        if shuffle is None:
            self.joins[condition] = Meeting.ONE_PLACE
            return replace(node, left=self.gathered(*left), right=self.gathered(*right)), SINGLE
        self.joins[condition] = Meeting.SHUFFLE
        left_side = left[0] if shuffle.left_stays else self.hashed(left[0], shuffle.left_keys)[0]
        right_side = right[0] if shuffle.right_stays else self.hashed(right[0], shuffle.right_keys)[0]
        if (shuffle.left_stays and left[1].skewed and legal.broadcast_right) or (
            shuffle.right_stays and right[1].skewed and legal.broadcast_left
        ):  # tasks will share a partition, so that equal keys are not in one task above the join
            return replace(node, left=left_side, right=right_side), Placement(self.partitions, skewed=True)
        keys: tuple[Keys, ...] = ()
        if legal.keeps_left:
            keys += (shuffle.left_keys,)
        if legal.keeps_right:
            keys += (shuffle.right_keys,)
        return replace(node, left=left_side, right=right_side), Placement(self.partitions, keys)

    def shuffle(self, node: HashJoinExec, left: Placed, right: Placed) -> _Shuffle | None:
        """The cheapest way to partition both sides alike by the join keys (or some of them); None without keys."""
        if not node.keys:
            return None
        pairs = {k.left: k.right for k in node.keys}
        back = {k.right: k.left for k in node.keys}
        options = [_Shuffle(tuple(pairs), tuple(pairs.values()))]
        options += [
            _Shuffle(keys, tuple(pairs[k] for k in keys), left_stays=True)
            for keys in left[1].keys
            if all(k in pairs for k in keys)
        ]
        options += [
            _Shuffle(tuple(back[k] for k in keys), keys, right_stays=True)
            for keys in right[1].keys
            if all(k in back for k in keys)
        ]
        for option in options:
            option.left_stays = option.left_stays or option.left_keys in left[1].keys
            option.right_stays = option.right_stays or option.right_keys in right[1].keys
            option.bytes = 0.0 if option.left_stays else self.estimates.assumed_bytes(node.left)
            option.bytes += 0.0 if option.right_stays else self.estimates.assumed_bytes(node.right)
        return min(options, key=lambda o: o.bytes)

    def prefers_broadcast(self, side: PhysicalPlan, shuffle: _Shuffle | None) -> bool:
        """Whether copies of ``side`` for every task are small, and cost less than the shuffle."""
        if shuffle is None:
            return True
        known = self.estimates.get(side).bytes
        if known is None or known > self.context.broadcast_limit:
            return False
        return known * self.partitions <= shuffle.bytes

    # ------------------------------------------------------------------------------------------------- aggregation

    def aggregate(self, node: AggregateExec) -> Placed:
        below, placement = self.visit(node.input)
        if groups_together(placement, node.keys) and (node.keys or placement.single):
            together = only_columns(placement, node.schema.ids)
            return replace(node, input=below), replace(together, skewed=False)  # no task may take part of a group
        found = [split_aggregate(item.call) for item in node.aggregates]
        splits = [s for s in found if s is not None]
        if len(splits) < len(found) or (node.keys and not self.forced and self.many_groups(node)):
            moved, at = self.grouped(below, placement, node.keys)
            return replace(node, input=moved), only_columns(at, node.schema.ids)
        return self.in_two_steps(node, below, splits)

    def many_groups(self, node: AggregateExec) -> bool:
        """Whether there are about as many groups as rows, so that partial states are no fewer than rows."""
        rows, groups = self.estimates.get(node.input).rows, self.estimates.get(node).rows
        return rows is not None and groups is not None and groups > rows * _WORTH_PARTIAL

    def in_two_steps(self, node: AggregateExec, below: PhysicalPlan, splits: list[AggregateSplit]) -> Placed:
        """States of each part, moved together, merged; and a projection where a result is more than its state."""
        keys = [node.schema[k.id] for k in node.keys]
        partials = tuple(p for s in splits for p in s.partials)
        finals = tuple(f for s in splits for f in s.finals)
        states = {}
        for item in partials:
            interval = aggregate_bounds(item.call, node.bounds, node.max_rows)
            if interval is not None:
                states[item.field.id] = interval
        # The merge of states is bounded as they are: they bound what any part of the rows gives.
        merged = {}
        for item in finals:
            state = item.call.args[0]
            if isinstance(state, Column) and state.id in states:
                merged[item.field.id] = states[state.id]
        partial = AggregateExec(
            below,
            node.keys,
            partials,
            Schema((*keys, *(p.field for p in partials))),
            AggregateMode.PARTIAL,
            node.bounds,
            node.max_rows,
            states,
        )
        known = self.estimates.get(node)
        rows = None if known.rows is None else known.rows * self.partitions
        source = self.estimates.get(node.input).rows
        if rows is not None and source is not None:
            rows = min(rows, source)
        self.estimates.put(partial, replace(known, rows=rows))
        moved, placement = self.merge_place(partial, node)
        final_bounds = {i: node.bounds[i] for i in (k.id for k in node.keys) if i in node.bounds}
        final = AggregateExec(
            moved,
            node.keys,
            finals,
            Schema((*keys, *(f.field for f in finals))),
            AggregateMode.FINAL,
            {**final_bounds, **states},
            node.max_rows,
            merged,
        )
        self.estimates.put(final, known)
        items = [Item(f, column(f)) for f in keys]
        items += [Item(a.field, s.result) for a, s in zip(node.aggregates, splits, strict=True)]
        result = ProjectExec(final, tuple(items), node.schema, merged)
        cost = self.context.model.project(known.rows or 0.0, len(splits))
        self.estimates.put(result, replace(known, cost=cost))
        return result, placement

    def merge_place(self, partial: AggregateExec, node: AggregateExec) -> Placed:
        """Where states are merged: in one place if they are few, else by their keys."""
        size = self.estimates.get(partial).bytes
        if not node.keys or (not self.forced and size is not None and size < _FEW_GROUPS):
            return self.exchange(partial, Single()), SINGLE
        return self.hashed(partial, node.keys)


@dataclass(slots=True)
class _Shuffle:
    """Keys to partition the two sides of a join by, which sides already are, and the bytes that the others move."""

    left_keys: Keys
    right_keys: Keys
    left_stays: bool = False
    right_stays: bool = False
    bytes: float = 0.0
