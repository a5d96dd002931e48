"""How the two sides of a hash join come together on several nodes."""

from __future__ import annotations

from enum import StrEnum

from planner.expr import Expr, show
from planner.physical import HashJoinExec, KeyPair
from planner.record import record


class Meeting(StrEnum):
    SHUFFLE = "both sides shuffled by the keys"
    BROADCAST_LEFT = "the left side broadcast"
    BROADCAST_RIGHT = "the right side broadcast"
    ONE_PLACE = "in one task"


@record
class JoinCondition:
    """What a join is known by while its inputs change."""

    kind: str
    keys: tuple[KeyPair, ...]
    residual: tuple[Expr, ...]

    def __str__(self) -> str:
        pairs = [f"{show(k.left)} = {show(k.right)}" for k in self.keys]
        return f"{self.kind} join on {' AND '.join(pairs) or 'nothing'}"


def join_condition(node: HashJoinExec) -> JoinCondition:
    return JoinCondition(node.kind, node.keys, node.residual)
