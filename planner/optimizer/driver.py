"""Runs the rules: batch after batch, each once or until nothing changes, and checks the plan after every
rule.

A rule is a function ``LogicalPlan, OptimizerContext → LogicalPlan`` that returns the same object when it has
nothing to do. Identity is how the driver sees that a plan has settled and what is left to verify.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.errors import PlanError, SqlrayError, UnsupportedError
from planner.logical import DependentJoin, LogicalPlan, operators, pretty
from planner.optimizer.batch import Batch, Rule, rule_name
from planner.optimizer.context import OptimizerContext
from planner.optimizer.rules import BATCHES
from planner.optimizer.verify import Malformed, Verifier


def optimize(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """``plan`` after all rules.

    Raises:
        PlanError: see ``run``.
    """
    return run(plan, BATCHES, context)


def run(plan: LogicalPlan, batches: Sequence[Batch], context: OptimizerContext) -> LogicalPlan:
    """``plan`` after all batches.

    Raises:
        PlanError: a rule raised, changed the output, or produced a plan that is not well formed.
    """
    verifier = Verifier()
    _verify(plan, plan, verifier, "binder")
    for batch in batches:
        seen: set[str] = set()
        for i in range(batch.rounds):
            before = plan
            for rule in batch.rules:
                if rule_name(rule) not in context.disabled:
                    plan = apply_rule(plan, rule, context, verifier)
            if plan is before or (i > 1 and _was_seen(plan, seen)):
                break
        if batch.removes_dependent_joins and DependentJoin in operators(plan):
            raise PlanError(f"a dependent join is left after the batch {batch.name!r}")
    return plan


def apply_rule(plan: LogicalPlan, rule: Rule, context: OptimizerContext, verifier: Verifier) -> LogicalPlan:
    """``plan`` after one rule, verified.

    Raises:
        PlanError: see ``run``.
    """
    try:
        result = rule(plan, context)
    except SqlrayError:
        raise
    except RecursionError:
        raise UnsupportedError("the query is nested too deeply") from None
    except Exception as error:
        raise PlanError(f"the optimizer rule {rule_name(rule)!r} failed: {type(error).__name__}: {error}") from error
    if result is not plan:
        _verify(plan, result, verifier, rule_name(rule))
    return result


def _was_seen(plan: LogicalPlan, seen: set[str]) -> bool:
    """Whether rules that undo each other have come back to a plan of this batch."""
    text = pretty(plan)
    if text in seen:
        return True
    seen.add(text)
    return False


def _verify(before: LogicalPlan, after: LogicalPlan, verifier: Verifier, name: str) -> None:
    old, new = before.schema.fields, after.schema.fields
    if old is not new and [(f.id, f.dtype) for f in old] != [(f.id, f.dtype) for f in new]:
        raise PlanError(f"the optimizer rule {name!r} changed the output of the plan from {old} to {new}")
    try:
        verifier.check(after)
    except Malformed as error:
        raise PlanError(f"the optimizer rule {name!r} broke the plan: {error}") from error
