"""What the user sees of Ray's errors."""

from __future__ import annotations

from ray.exceptions import (
    ObjectLostError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from executor.runners.ray.workers import RETRIES
from planner.errors import ExecutionError, SqlrayError
from planner.stages import Stage


def place(stage: Stage, task: int) -> str:
    """A task in words."""
    return f"task {task + 1} of {stage.tasks} of stage {stage.id} ({stage.name})"


def failure(error: RayError, where: str) -> SqlrayError:
    """The user's error for one of Ray's that came in ``where``."""
    match error:
        case RayTaskError():
            return ExecutionError(f"{where} failed: {error.cause or error}")
        case TaskCancelledError():
            return ExecutionError(f"{where} was cancelled from outside")
        case WorkerCrashedError():
            return ExecutionError(
                f"{where} died with its worker {RETRIES + 1} times",
                hint="the logs of the Ray node tell why; with too little memory, SET memory_limit lower",
            )
        case ObjectLostError() | RaySystemError():
            return ExecutionError(f"rows that {where} needs are lost and cannot be computed again: {error}")
        case _:
            return ExecutionError(f"{where} failed: {type(error).__name__}: {error}")
