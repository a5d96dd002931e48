"""The stage graph: what a driver runs. A plan is cut at exchanges and materializations and nowhere else.

Glossary. A *stage* is a plan fragment without exchanges; its leaves are scans, constants and ``InputExec``s that read
what earlier stages produced. A *task* is one run of the fragment: task i of a stage reads its share of every scan
(``task_plan``) and of every partitioned input (``Stage.share``). A *block* is some rows of one partition.

The contract between stages, which a runner must keep:

- ``Stage.output`` says how each task divides its own rows. ``HashPartitioned(keys, n)``: into n partitions by the hash
  of the keys (equal keys, NULL equal to NULL, land in the same partition whatever stage they come from).
  ``RangePartitioned(keys, n)``: into n partitions that follow each other in the order of the keys.
  ``Arbitrary(n)``: into n partitions of about equal size, by the rows' values alone. ``Single`` and ``Broadcast``: one
  partition with everything; the two differ only in how many tasks read it. ``None``: not divided; the output of task i
  *is* partition i.
- ``InputExec(stage, tasks=n)`` with n > 1 stands, in the task whose share is i, for the partitions i, i + n, i + 2n …
  of that stage, each of all its tasks in order. With one task it stands for all rows of that stage, in task order, in
  every task (so ordered data stays ordered through a gather).
- Tasks are pure: running one twice gives the same blocks (row order aside where the plan leaves it open).
- The result is the output of the last stage, its tasks concatenated in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from planner.catalog import Split
from planner.devices import Device
from planner.dynamic_filters import DynamicFilter
from planner.errors import PlanError
from planner.estimates import Estimates
from planner.expr import Field
from planner.physical import (
    Arbitrary,
    Broadcast,
    ExchangeExec,
    HashJoinExec,
    HashPartitioned,
    InputExec,
    MaterializeExec,
    Partitioning,
    PhysicalPlan,
    RangePartitioned,
    ScanExec,
    Single,
)
from planner.record import record
from planner.tree import replace_children, transform_up, walk


@record
class Share:
    """What a task reads of partitioned inputs: share ``index``, and of the one input that is divided further every
    ``of``-th block from ``part`` on."""

    index: int
    part: int = 0
    of: int = 1


@record
class Stage:
    """A fragment and how often it runs.

    ``plan`` reads the stages ``inputs`` through ``InputExec``; its scans still have ``splits=None``
    (``task_plan`` gives each task its share). ``name`` is a few words for progress and EXPLAIN.

    Where several tasks share a partition, ``shares`` says what each task reads, and ``divided`` is the stage whose
    blocks they divide among them; of the other inputs each has the whole partition.

    ``device`` runs the stage's kernels; ``why`` says in a few words what spoke for it, where there was a choice.
    ``stays`` tells that all its readers run on the GPU, too, so that its rows may stay there.
    """

    id: int
    plan: PhysicalPlan
    output: Partitioning | None
    tasks: int
    inputs: tuple[int, ...]
    name: str = ""
    shares: tuple[Share, ...] = ()
    divided: int | None = None
    device: Device = "cpu"
    why: str = ""
    stays: bool = False

    def share(self, task: int) -> Share:
        """What task ``task`` reads."""
        return self.shares[task] if self.shares else Share(task)


@record
class ScanFilter:
    """Rows of ``scan`` in stage ``target`` whose ``column`` is not among the values of ``source_column`` in
    stage ``source`` cannot reach the result, so that the scan may skip them once ``source`` has finished.

    ``scan`` is a node of the target's plan (by identity); NULLs in ``column`` never match.
    """

    source: int
    source_column: Field
    target: int
    scan: ScanExec
    column: Field


@record
class StageGraph:
    """Stages in an order in which they can run (every input before its readers); the last one is the result.

    ``filters`` are optional to use: each needs its source finished before its target starts, and the order
    of the stages allows for that (a source is always an input of its target, or of a stage that the target
    reads). ``made_of`` tells which stage gives the rows of which exchange or materialization, by identity.
    ``precedence`` names for a stage those that had better finish first, beside its inputs.
    """

    stages: tuple[Stage, ...]
    filters: tuple[ScanFilter, ...] = ()
    made_of: Mapping[int, int] = field(default_factory=dict)
    precedence: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def result(self) -> Stage:
        return self.stages[-1]

    def readers(self, stage: int) -> tuple[int, ...]:
        """The stages that read ``stage``: when the last of them has finished, its blocks can go."""
        return tuple(s.id for s in self.stages if stage in s.inputs)


def task_plan(stage: Stage, task: int) -> PhysicalPlan:
    """The fragment that task ``task`` of ``stage`` runs: every scan with the task's share of the splits.

    A stage of one task reads its tables whole, so its plan comes back as it is.
    """
    if stage.tasks == 1:
        return stage.plan

    def share(node: PhysicalPlan) -> PhysicalPlan:
        if isinstance(node, ScanExec) and node.splits is None:
            return replace(node, splits=shares(node.table.splits(), stage.tasks)[task])
        return node

    return transform_up(stage.plan, share)


def shares(splits: Sequence[Split], tasks: int) -> tuple[tuple[Split, ...], ...]:
    """``splits`` as ``tasks`` contiguous runs of about equal bytes (rows where bytes are unknown, else count)."""
    weights = [float(s.bytes if s.bytes is not None else s.rows if s.rows is not None else 1) for s in splits]
    if any(s.bytes is None for s in splits) and any(s.bytes is not None for s in splits):
        weights = [1.0] * len(splits)
    total = sum(weights) or 1.0
    out: list[list[Split]] = [[] for _ in range(tasks)]
    before = 0.0
    for split, weight in zip(splits, weights, strict=True):
        middle = before + weight / 2
        out[min(tasks - 1, int(middle / total * tasks))].append(split)
        before += weight
    return tuple(map(tuple, out))


def cut(
    plan: PhysicalPlan,
    filters: Sequence[DynamicFilter] = (),
    estimates: Estimates | None = None,
    started: Sequence[Stage] = (),
) -> StageGraph:
    """Cut a plan (with its exchanges) into stages; ``filters`` name nodes of ``plan``.

    The stages' nodes take over what ``estimates`` knows of the plan's. ``started`` are the stages that the plan's
    ``InputExec``s read, and those that they read; the new ones follow them.
    """
    cutter = _Cutter(estimates or Estimates(), started)
    root, inputs, tasks = cutter.fragment(plan)
    cutter.add(root, None, tasks, inputs, "result")
    targets = {id(n): s.id for s in cutter.stages for n in walk(s.plan) if isinstance(n, ScanExec)}
    found = []
    for item in filters:
        source, target = cutter.stage_of(item.source), targets.get(id(item.scan))
        if source is not None and target is not None and source < target:
            found.append(ScanFilter(source, item.source_column, target, item.scan, item.column))
    return StageGraph(tuple(cutter.stages), tuple(found), cutter.made_of)


class _Cutter:
    """Builds stages bottom-up; a shared exchange or materialization is one stage."""

    def __init__(self, estimates: Estimates, started: Sequence[Stage]) -> None:
        self.stages = list(started)
        self.made_of: dict[int, int] = {}
        self._estimates = estimates
        self._next = max((s.id for s in started), default=-1) + 1
        self._partitions = {s.id: partition_count(s.output, s.tasks) for s in started}

    def add(
        self,
        plan: PhysicalPlan,
        output: Partitioning | None,
        tasks: int,
        inputs: tuple[int, ...],
        name: str,
    ) -> int:
        made = self._next
        self._next += 1
        self.stages.append(Stage(made, plan, output, tasks, inputs, name))
        self._partitions[made] = partition_count(output, tasks)
        return made

    def fragment(self, plan: PhysicalPlan) -> tuple[PhysicalPlan, tuple[int, ...], int]:
        """``plan`` down to its cuts: the fragment, the stages it reads, and in how many tasks it runs."""
        inputs: dict[int, None] = {}
        root = self.down_to_cuts(plan, inputs, {})
        return root, tuple(inputs), _tasks(root)

    def down_to_cuts(
        self, node: PhysicalPlan, inputs: dict[int, None], memo: dict[int, PhysicalPlan]
    ) -> PhysicalPlan:
        """``node`` with its cuts as leaves; ``inputs`` collects the stages that those read."""
        hit = memo.get(id(node))
        if hit is None:
            if isinstance(node, (ExchangeExec, MaterializeExec, InputExec)):
                leaf = node if isinstance(node, InputExec) else self.leaf(node)
                inputs[leaf.stage] = None
                hit = leaf
            elif isinstance(node, HashJoinExec) and node.build == "right":
                right = self.down_to_cuts(node.right, inputs, memo)  # build sides first: they may filter the other
                hit = replace_children(node, (self.down_to_cuts(node.left, inputs, memo), right))
            else:
                hit = replace_children(node, [self.down_to_cuts(c, inputs, memo) for c in node.children()])
            memo[id(node)] = self._estimates.inherit(hit, node)
        return hit

    def leaf(self, node: ExchangeExec | MaterializeExec) -> InputExec:
        """What stands in the reader's fragment for ``node``; the stage below it is made if it is new."""
        if isinstance(node, MaterializeExec):
            stage = self.stage(node)
            return InputExec(stage, node.schema, self._partitions[stage])
        if isinstance(node.input, MaterializeExec) and isinstance(node.target, (Single, Broadcast)):
            return InputExec(self.stage(node.input), node.schema)  # its blocks are there for everyone
        stage = self.stage(node)
        return InputExec(stage, node.schema, self._partitions[stage])

    def stage_of(self, node: ExchangeExec | MaterializeExec | InputExec) -> int | None:
        """The stage that was made of ``node``, if one was."""
        if isinstance(node, InputExec):
            return node.stage
        if isinstance(node, ExchangeExec) and isinstance(node.input, MaterializeExec) and id(node) not in self.made_of:
            node = node.input
        return self.made_of.get(id(node))

    def stage(self, node: ExchangeExec | MaterializeExec) -> int:
        done = self.made_of.get(id(node))
        if done is not None:
            return done
        root, inputs, tasks = self.fragment(node.input)
        output: Partitioning | None
        if isinstance(node, MaterializeExec):
            output, name = (Single() if tasks == 1 else None), node.name
        else:
            output, name = node.target, ""
        made = self.add(root, output, tasks, inputs, name or _name(root))
        self.made_of[id(node)] = made
        return made


def _tasks(fragment: PhysicalPlan) -> int:
    """In how many tasks a fragment runs: as many as share its inputs and scans."""
    counts = {n.tasks for n in walk(fragment) if isinstance(n, (InputExec, ScanExec)) and n.tasks > 1}
    if len(counts) > 1:
        raise PlanError(f"a stage reads inputs of {sorted(counts)} partitions; they must agree")
    return counts.pop() if counts else 1


def partition_count(output: Partitioning | None, tasks: int) -> int:
    """The output partitions of a stage of so many tasks."""
    match output:
        case HashPartitioned(_, count) | RangePartitioned(_, count) | Arbitrary(count):
            return count
        case None:
            return tasks
        case _:
            return 1


def _name(fragment: PhysicalPlan) -> str:
    tables = [n.table.name for n in walk(fragment) if isinstance(n, ScanExec)]
    return "scan " + ", ".join(dict.fromkeys(tables)) if tables else "shuffle"
