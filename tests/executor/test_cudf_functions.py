"""Which functions translate to cuDF: each overload of the table over columns, or it stands in ``cudf_exceptions.txt``.

Asked of cudf-polars' translator, which needs no GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.kernels import KernelOptions, compile_fragment
from executor.value import NotOnDevice
from tests.executor.function_calls import Call, calls, refusals

pytestmark = pytest.mark.cudf

EXCEPTIONS = Path(__file__).parent / "cudf_exceptions.txt"
SHARE = 0.95  # of all overloads translate, with cudf-polars 26.10


def failure(call: Call) -> str | None:
    """Why a call does not run on cuDF."""
    try:
        lazy = compile_fragment(call.plan, call.inputs, KernelOptions(device="gpu"))
    except NotOnDevice as error:
        return str(error)
    return "; ".join(refusals(lazy)) or None


def known_exceptions() -> dict[str, str]:
    """Overloads that do not translate, and why."""
    lines = EXCEPTIONS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" : ", 1) for line in lines if line and not line.startswith("#"))
    return {name: reason for name, reason in pairs if reason}


def test_every_function_translates_or_is_a_known_exception() -> None:
    found = {call.name: failure(call) for call in calls()}
    failed = {name: reason for name, reason in found.items() if reason is not None}
    known = known_exceptions()
    new = {name: reason for name, reason in failed.items() if name not in known}
    assert not new, "\n".join(f"{name} : {reason}" for name, reason in new.items())
    assert known.keys() - failed.keys() == set()  # they translate by now
    assert 1 - len(failed) / len(found) >= SHARE
