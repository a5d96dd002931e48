"""What every rule gets besides the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.record import record

if TYPE_CHECKING:
    from planner.statistics import Estimator


@record
class OptimizerContext:
    """``estimator`` knows rows and columns of any plan; ``disabled`` names the rules that are switched
    off.
    """

    estimator: Estimator
    disabled: frozenset[str] = frozenset()
