"""Rules and the batches that they run in."""

from __future__ import annotations

from collections.abc import Callable

from planner.logical import LogicalPlan
from planner.optimizer.context import OptimizerContext
from planner.record import record

Rule = Callable[[LogicalPlan, OptimizerContext], LogicalPlan]


@record
class Batch:
    """Rules that run in order: once, or (``rounds`` > 1) again until a whole round changes nothing.

    ``rounds`` bounds the repetition. A batch that reaches it has not failed: every rule leaves a right plan,
    so that the bound only costs a better one. ``removes_dependent_joins`` holds of every plan after the
    batch.
    """

    name: str
    rules: tuple[Rule, ...]
    rounds: int = 1
    removes_dependent_joins: bool = False


def rule_name(rule: Rule) -> str:
    """The name that ``SET disabled_rules`` takes."""
    return str(getattr(rule, "__name__", rule))
