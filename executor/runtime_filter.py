"""Filters from finished build sides: what a scan may skip once it is known which keys can still match.

A join's build side that ran as a stage of its own has a known set of keys. Rows of the probe side's scan with other
keys cannot reach the result, so the scan gets two more predicates: the keys' range (which Parquet row groups are
skipped by) and, when they are few, the set itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from executor.runners.base import Runner, StageOutput
from planner import types
from planner.expr import FALSE, Comparison, Expr, Field, InList, Literal, column
from planner.physical import PhysicalPlan, ScanExec
from planner.stages import ScanFilter, Stage
from planner.tree import transform_up

MOST_VALUES = 2_000


def apply_filters(
    stage: Stage, filters: Sequence[ScanFilter], finished: Mapping[int, StageOutput], runner: Runner
) -> Stage:
    """``stage`` with the predicates that its finished sources allow, on the scans that ``filters`` name."""
    added: dict[int, list[Expr]] = {}
    for item in filters:
        if item.target == stage.id and item.source in finished:
            found = predicates(item.column, item.source_column, finished[item.source], runner)
            added.setdefault(id(item.scan), []).extend(found)
    if not any(added.values()):
        return stage

    def extend(node: PhysicalPlan) -> PhysicalPlan:
        extra = added.get(id(node))
        if extra and isinstance(node, ScanExec):
            return replace(node, predicates=(*node.predicates, *extra))
        return node

    return replace(stage, plan=transform_up(stage.plan, extend))


def predicates(probe: Field, build: Field, output: StageOutput, runner: Runner) -> list[Expr]:
    """What a probe column must satisfy to match a finished stage's column; none if the type has no literals."""
    if types.is_float(probe.dtype) or probe.dtype != build.dtype:
        return []
    values = runner.distinct(output, build)
    if len(values) == 0:
        return [FALSE]
    target = column(probe)
    if len(values) <= MOST_VALUES:
        listed = tuple(Literal(v, probe.dtype) for v in values.sort().to_list())
        if len(listed) == 1:
            return [Comparison("=", target, listed[0])]
        return [*_range(target, listed[0].value, listed[-1].value, probe), InList(target, listed)]
    return _range(target, values.min(), values.max(), probe)


def _range(target: Expr, low: Any, high: Any, probe: Field) -> list[Expr]:
    return [
        Comparison(">=", target, Literal(low, probe.dtype)),
        Comparison("<=", target, Literal(high, probe.dtype)),
    ]
