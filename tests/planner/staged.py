"""Runs stage graphs and physical plans over Python rows, by the contract that ``planner.stages`` states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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
    RowNumber,
    Scan,
    Sort,
    Union,
    Values,
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
    RowNumberExec,
    ScanExec,
    SortExec,
    UnionExec,
    ValuesExec,
)
from planner.stages import Stage, StageGraph, task_plan
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
        case RowNumberExec(partition=partition, order=order, field=item):
            return RowNumber(below[0], partition, order, item)
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


def run_graph(graph: StageGraph) -> Rows:
    """The rows of a stage graph: per stage and partition, the blocks of its tasks in order."""
    outputs: dict[int, list[Rows]] = {}
    for stage in graph.stages:
        assert all(i in outputs for i in stage.inputs), "a stage stands before its input"
        produced = [_task(stage, task, outputs) for task in range(stage.tasks)]
        outputs[stage.id] = _divide(stage, produced)
    return [row for part in outputs[graph.result.id] for row in part]


def _task(stage: Stage, task: int, outputs: dict[int, list[Rows]]) -> Rows:
    def read(node: InputExec) -> Rows:
        parts = outputs[node.stage]
        return parts[task] if node.partitioned else [row for part in parts for row in part]

    return evaluate(logical(task_plan(stage, task), read), {})


def _divide(stage: Stage, produced: Sequence[Rows]) -> list[Rows]:
    match stage.output:
        case None:
            return list(produced)
        case HashPartitioned(keys, count):
            out: list[Rows] = [[] for _ in range(count)]
            for row in (r for rows in produced for r in rows):
                key: tuple[Any, ...] = tuple(value(k, row) for k in keys)
                out[hash(key) % count].append(row)
            return out
        case Arbitrary(count):
            rows = [r for part in produced for r in part]
            return [rows[i::count] for i in range(count)]
        case _:
            return [[row for rows in produced for row in rows]]
