"""The functions on a GPU, and their forms for it on the CPU: both must give the answers that the CPU's forms give.

Where the CPU raises an error the GPU must fail too: then the fragment runs again on the CPU, which tells the error.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from executor.device_frames import DeviceTimes, Fragment, download
from executor.device_types import from_device
from executor.kernels import KernelOptions, collect, compile_fragment, run_on_device
from executor.value import NotOnDevice
from tests.executor.fake_gpu import FakeGpu
from tests.executor.function_calls import VOLATILE, Call, calls, difference, queries, refusals, run_on_cpu
from tests.executor.test_aggregates import AGGREGATES
from tests.executor.test_function_fuzz import _PARSED, expression
from tests.executor.test_functions import EXPRESSIONS

GPU = KernelOptions(device="gpu")
TABLES = {"small numbers": True, "any numbers": False}
# What a GPU must answer itself, over text and numbers that its forms know.
_LINES = (Path(__file__).parent / "gpu_expressions.txt").read_text(encoding="utf-8").splitlines()
PLAIN = [line for line in _LINES if line and not line.startswith("#")]
_LINES = (Path(__file__).parent / "gpu_aggregates.txt").read_text(encoding="utf-8").splitlines()
GROUPED = [line for line in _LINES if line and not line.startswith("#")]
_RNG = random.Random(20261127)
RANDOM = [expression(_RNG.choice(list(_PARSED)), _RNG.choice((1, 2, 2, 3)), _RNG) for _ in range(200)]

QUERIES: dict[str, tuple[Any, ...]] = {
    "plain": (PLAIN, "select {} as v from t order by id", 1e-12),
    "scalars": (EXPRESSIONS, "select {} as v from t order by id", 1e-12),
    "random": (RANDOM, "select {} as v from t order by id", 1e-9, True),
    "aggregates": (AGGREGATES, "select {} as v from t", 1e-9),
    "aggregates by group": (AGGREGATES, "select n, {} as v from t group by n", 1e-9),
    "aggregates by two": (AGGREGATES, "select g, k, {} as v from t group by g, k", 1e-9),
    "more aggregates": (GROUPED, "select {} as v from t", 1e-9),
    "more aggregates by group": (GROUPED, "select n, {} as v from t group by n", 1e-9),
    "more aggregates by two": (GROUPED, "select k, g, {} as v from t group by k, g", 1e-9),
    "more aggregates of nothing": (GROUPED, "select j, {} as v from t where id < 0 group by j", 1e-9),
    "aggregates of nothing": (AGGREGATES, "select {} as v from t where id < 0", 1e-9),
}

# cuDF's remainders of large quotients and its quotients by a constant are exact, those of Polars are not.
# Between infinities there is no number, or one of them.
INEXACT = (
    "select f % 3 as v from t order by id",
    "round(DOUBLE, [INTEGER!]) -> DOUBLE",
    "quantile_cont(FLOAT, DOUBLE!) -> FLOAT by group",
)

# Sums of numbers so large that a GPU cannot tell whether they overflow: it gives up, and the CPU answers.
GIVES_UP = (
    "sum(b)", "avg(b)",
    # Nor does it know the bytes of other text than ASCII, or other moments than those of the plain form.
    "hex(VARCHAR)", "encode(VARCHAR)", "hex(s)", "encode(s)", "try_strptime(", "try_cast(x",
    "try_cast(y", "try_cast('",
)  # fmt: skip


def groups() -> Iterator[tuple[str, Callable[[], Iterable[Call]]]]:
    for name, bounded in TABLES.items():
        yield name, lambda bounded=bounded: (c for c in calls(bounded) if not c.name.startswith(VOLATILE))  # type: ignore[misc]
    for name, query in QUERIES.items():
        yield name, lambda query=query: queries(*query)  # type: ignore[misc]


def mismatches(
    found: Iterable[Call],
    run: Callable[[pl.LazyFrame], pl.DataFrame],
    skip: Callable[[pl.LazyFrame], bool] = lambda lazy: False,
) -> tuple[list[str], int]:
    """What the GPU's forms, run so, answer otherwise than the CPU's; and how many they answered."""
    wrong: list[str] = []
    answered = 0
    for call in found:
        try:
            lazy = compile_fragment(call.plan, call.inputs, GPU)
        except NotOnDevice:
            continue
        if skip(lazy):
            continue
        expected = run_on_cpu(call)
        try:
            answer = from_device(run(lazy), call.plan.schema)
        except BaseException as error:  # panics are no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            gives_up = call.gives_up or any(text in call.name for text in GIVES_UP)
            if not isinstance(expected, Exception) and not gives_up:
                wrong.append(f"{call.name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            continue
        if isinstance(expected, Exception):
            wrong.append(f"{call.name}: no error, the CPU's is {expected}")
            continue
        answered += 1
        reason = difference(call, expected, answer)
        if reason is not None:
            wrong.append(f"{call.name}: {reason}")
    return wrong, answered


GROUPS = dict(groups())


@pytest.mark.parametrize("group", GROUPS)
def test_forms_for_the_gpu_are_right(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars' own engine runs what is compiled for cuDF."""
    FakeGpu().install(monkeypatch)
    found = (call for call in GROUPS[group]() if call.name not in INEXACT)
    wrong, answered = mismatches(found, collect)
    assert not wrong, f"{len(wrong)} wrong, {answered} answered\n" + "\n".join(wrong)


@pytest.mark.gpu
@pytest.mark.parametrize("group", GROUPS)
def test_the_gpu_answers_as_the_cpu(group: str) -> None:
    def run(lazy: pl.LazyFrame) -> pl.DataFrame:
        return download(run_on_device(Fragment(lazy), DeviceTimes()))

    found = (call for call in GROUPS[group]() if call.name not in INEXACT)
    wrong, answered = mismatches(found, run, skip=lambda lazy: bool(refusals(lazy)))
    print(f"{group}: {answered} answered, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} wrong, {answered} answered\n" + "\n".join(wrong)
