"""Runs stage graphs and physical plans over Python rows, by the contract that ``planner.stages`` states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pyarrow as pa

from planner.expr import Comparison, Schema
from planner.logical import (
    Aggregate,
    Filter,
    Join,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
)
from planner.physical import (
    AggregateExec,
    Arbitrary,
    ExchangeExec,
    FilterExec,
    HashJoinExec,
    HashPartitioned,
    InputExec,
    LimitExec,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ProjectExec,
    RangePartitioned,
    ScanExec,
    SortExec,
    UnionExec,
    ValuesExec,
    WindowExec,
)
from planner.physical_planner import PhysicalQuery, plan_rest
from planner.stages import Stage, StageGraph, task_plan
from planner.started import StageSizes
from tests.planner.interpreter import ListTable, Row, evaluate, value

Rows = list[Row]


def logical(node: PhysicalPlan, read: Callable[[InputExec], Rows]) -> LogicalPlan:
    """The logical plan that a physical one implements; exchanges and materializations are identities."""
    below = [logical(c, read) for c in node.children()]
    match node:
        case ScanExec(table, fields, _, predicates, limit, splits):
            assert isinstance(table, ListTable)
            rows = table.rows if splits is None else tuple(r for s in splits for r in table.rows[s.part])
            return Scan(ListTable(table.name, table.schema, rows), fields, predicates, limit)
        case ValuesExec(rows=cells, schema=schema):
            return Values(schema.fields, cells)
        case InputExec(schema=schema):
            return _rows(schema, read(node))
        case FilterExec(predicate=predicate):
            return Filter(below[0], predicate)
        case ProjectExec(items=items):
            return Project(below[0], items)
        case HashJoinExec():
            pairs = [Comparison("is not distinct from" if k.null_safe else "=", k.left, k.right) for k in node.keys]
            condition = (*pairs, *node.residual)
            return Join(node.kind, below[0], below[1], condition, node.comparison, node.mark)
        case NestedLoopJoinExec():
            return Join(node.kind, below[0], below[1], node.condition, node.comparison, node.mark)
        case AggregateExec(keys=keys, aggregates=aggregates):
            return Aggregate(below[0], keys, aggregates)
        case SortExec(keys=keys, limit=limit, offset=offset):
            return Sort(below[0], keys, limit, offset)
        case LimitExec(limit=limit, offset=offset):
            return Limit(below[0], limit, offset)
        case UnionExec(schema=schema):
            return Union(tuple(below), schema.fields)
        case WindowExec(partition=partition, order=order, items=calls):
            return Window(below[0], partition, order, calls)
        case ExchangeExec() | MaterializeExec():
            return below[0]
        case _:
            raise TypeError(node)


def _rows(schema: Schema, rows: Rows) -> Scan:
    """A scan of rows that are there already."""
    fields = [replace(f, name=f"c{i}") for i, f in enumerate(schema)]
    arrow = pa.schema([(f.name, f.dtype) for f in fields])
    return Scan(ListTable("input", arrow, tuple(tuple(r[f.id] for f in fields) for r in rows)), tuple(fields))


def run_plan(plan: PhysicalPlan) -> Rows:
    """The rows of a physical plan in one place."""

    def read(node: InputExec) -> Rows:
        raise AssertionError(f"a whole plan reads no stage: {node}")

    return evaluate(logical(plan, read), {})


Blocks = list[Rows]


def run_query(
    query: PhysicalQuery, check: Callable[[StageGraph], None], seed: int, again: bool = True
) -> tuple[Rows, PhysicalQuery]:
    """The rows of a planned query, its stages in any order, some while others still run; and how it ran in the end.

    Args:
        check: called with every graph.
        again: plan the rest anew whenever a stage has finished.
    """
    random = Random(seed)
    outputs: dict[int, list[Blocks]] = {}
    running: list[Stage] = []
    sizes: dict[int, StageSizes | None] = {}
    while True:
        check(query.graph)
        ready = [s for s in query.graph.stages if s.id not in sizes and all(i in outputs for i in s.inputs)]
        if ready == [query.graph.result] and not running:
            produced = _produce(query.graph.result, outputs)
            return [row for rows in produced for row in rows], query
        if ready and ready != [query.graph.result] and (not running or random.random() < 0.5):
            stage = random.choice([s for s in ready if s is not query.graph.result])
            running.append(stage)
            sizes[stage.id] = None
            continue
        stage = running.pop(random.randrange(len(running)))
        outputs[stage.id] = _divide(stage, _produce(stage, outputs))
        each = [sum(len(b) for b in blocks) for blocks in outputs[stage.id]]
        size = tuple(rows * 8 * len(stage.plan.schema) for rows in each)
        sizes[stage.id] = StageSizes(sum(each), size, tuple(map(len, outputs[stage.id])))
        if again:
            query = plan_rest(query, sizes, stage.id)


def _produce(stage: Stage, outputs: dict[int, list[Blocks]]) -> list[Rows]:
    return [_task(stage, task, outputs) for task in range(stage.tasks)]


def _task(stage: Stage, task: int, outputs: dict[int, list[Blocks]]) -> Rows:
    def read(node: InputExec) -> Rows:
        partitions = outputs[node.stage]
        if not node.partitioned:
            return [row for blocks in partitions for block in blocks for row in block]
        share = stage.share(task)
        found = [block for blocks in partitions[share.index :: node.tasks] for block in blocks]
        if node.stage == stage.divided:
            found = found[share.part :: share.of]
        return [row for block in found for row in block]

    return evaluate(logical(task_plan(stage, task), read), {})


def _divide(stage: Stage, produced: Sequence[Rows]) -> list[Blocks]:
    """The blocks of every partition: one of each task."""
    match stage.output:
        case None:
            return [[rows] for rows in produced]
        case HashPartitioned(keys, count):
            out: list[Blocks] = [[] for _ in range(count)]
            for rows in produced:
                parts: list[Rows] = [[] for _ in range(count)]
                for row in rows:
                    key: tuple[Any, ...] = tuple(value(k, row) for k in keys)
                    parts[hash(key) % count].append(row)
                for blocks, part in zip(out, parts, strict=True):
                    blocks.append(part)
            return out
        case Arbitrary(count):
            every = [r for rows in produced for r in rows]
            return [[every[i::count]] for i in range(count)]
        case RangePartitioned(keys, count):
            every = [r for rows in produced for r in rows]
            ordered = evaluate(Sort(_rows(stage.plan.schema, every), keys), {})
            edges = [len(ordered) * i // count for i in range(count + 1)]
            return [[ordered[a:b][::-1]] for a, b in pairwise(edges)]
        case _:
            return [list(produced)]
