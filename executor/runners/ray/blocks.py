"""Blocks in Ray's object store, where workers and this process find them by reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray import ObjectRef

from executor.runners.base import Block
from planner.record import record


@record(eq=False)
class RemoteBlock:
    """Rows in the object store, as an Arrow table."""

    ref: ObjectRef[Any]
    rows: int
    bytes: int


def remote(blocks: Sequence[Block]) -> list[RemoteBlock]:
    """Blocks of a stage that ran on the cluster."""
    return [b for b in blocks if isinstance(b, RemoteBlock)]


def are_there(refs: list[ObjectRef[Any]]) -> bool:
    """Whether what lies under these references has been made, and need not be made again."""
    if not refs:
        return True
    _, missing = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
    return not missing
