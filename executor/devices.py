"""Whether this process has a GPU that kernels can run on, where stages may run, and why a fragment could not.

Asking for a GPU costs microseconds and loads nothing. What it cannot see (a GPU that cuDF does not support, an install
that is broken) shows when the first fragment fails there and runs on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

from executor.value import NotOnDevice
from planner.devices import Device, Rates
from planner.errors import ExecutionError
from planner.record import record

_INSTALL = 'pip install "sqlray[gpu]"'
_DRIVERS = ("/dev/nvidia0", "/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")  # the last: Linux in Windows
_LONGEST = 300  # characters of a reason


def choice(option: str, gpus: int, known_rates: Callable[[], Rates | None]) -> Device | Rates:
    """Where the option ``device`` ('cpu', 'gpu' or 'auto') lets stages run: on that device, or on the better of two.

    Args:
        gpus: how many there are.
        known_rates: tells what they and the cores beside them do, if that is known.
    """
    if option == "cpu" or gpus == 0:
        return "cpu"
    return "gpu" if option == "gpu" else known_rates() or "cpu"


def require(option: str, absence: Callable[[], GpuAbsence | None]) -> None:
    """Refuse to run what cannot run as the option ``device`` asks.

    Raises:
        ExecutionError: it asks for a GPU that is not there.
    """
    absent = absence() if option == "gpu" else None
    if absent is not None:
        raise ExecutionError(
            f"the option device is 'gpu', but {absent.reason}", hint=f"{absent.remedy}, or SET device = 'auto'"
        )


@record
class GpuAbsence:
    """Why nothing can run on a GPU, and what would help."""

    reason: str
    remedy: str


def absence_here() -> GpuAbsence | None:
    """Why nothing can run on a GPU in this process; None if it can."""
    reason = gpu_absence()
    return None if reason is None else GpuAbsence(reason, f"{_INSTALL} on a machine with an NVIDIA GPU")


@cache
def gpu_absence() -> str | None:
    """Why kernels cannot run on a GPU in this process; None if they can."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU from this process"
    if not _has_driver():
        return "this machine has no NVIDIA GPU, or no driver for it"
    if find_spec("cudf_polars") is None:
        return "cudf-polars is not installed"
    return None


def _has_driver() -> bool:
    return any(map(os.path.exists, _DRIVERS))


def failure(error: BaseException) -> str:
    """In one line, why a fragment could not run on the GPU."""
    cause = error.__cause__ or error  # an ExecutionError tells users what Polars or cuDF told us
    text = "; ".join(line for part in str(cause).splitlines() if (line := part.strip()))[:_LONGEST]
    if isinstance(cause, NotOnDevice):
        return text
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
