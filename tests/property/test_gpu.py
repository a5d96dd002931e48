"""Generated queries on the GPU against DuckDB, and without one: what cuDF would be given, and whether it takes it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

import sqlray
from executor import devices
from executor.sources import dictionary
from tests.executor.fake_gpu import FakeGpu
from tests.planned import planned_query, refusal
from tests.property.harness import ON_GPU, Harness
from tests.property.queries import generate

FIRST = 55_000_000
FORMS = 150  # queries
TRANSLATED = 300
ON_DEVICE = 600


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    made.close()


def check(harness: Harness, queries: int, windows: bool = False) -> None:
    summary = harness.run(range(FIRST, FIRST + queries), [ON_GPU], windows=windows)
    found = "\n".join(f"{f.seed}: {f.finding.sql}\n{f.finding.status}: {f.finding.detail}" for f in summary.failures)
    assert not summary.failures, f"{summary.text()}\n{found}"


@pytest.mark.parametrize("codes", [False, True])
def test_forms_for_the_gpu_are_right(codes: bool, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars' own engine runs what is compiled for cuDF; with codes in place of text, if that can be."""
    fake = FakeGpu().install(monkeypatch)
    monkeypatch.setattr(dictionary, "LEAST_ROWS", 1 if codes else 1 << 60)
    check(harness, FORMS)
    assert fake.plans > 0.8 * FORMS


def test_windows_beside_forms_for_the_gpu_are_right(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu().install(monkeypatch)
    monkeypatch.setattr(dictionary, "LEAST_ROWS", 1)
    check(harness, FORMS, windows=True)


@pytest.mark.gpu
def test_answers_of_the_gpu(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "LEAST_ROWS", 1)
    reasons: Counter[str] = Counter()
    failure = devices.failure

    def counted(error: BaseException) -> str:
        reasons[failure(error)] += 1
        return failure(error)

    monkeypatch.setattr(devices, "failure", counted)
    check(harness, ON_DEVICE)
    print(f"\n{sum(reasons.values())} fragments of {ON_DEVICE} queries ran on the CPU:")
    for reason, count in reasons.most_common():
        print(f"{count:5} {reason}")


KNOWN = {
    "a text is found in another only where it is constant": "cuDF finds bytes, and characters before a constant",
    "a function that runs in Python": "texts that are rarely computed with, such as a BLOB's",
    "a cast that runs in Python": "casts that are rarely asked for, such as a BLOB's to text",
    "literal=False is not supported for replace": "cuDF replaces patterns everywhere",
    '"cuda" is an NVIDIA driver library': "a join by a comparison; its predicate is only built where a driver is",
}
"""What cuDF does not take of generated queries, by a pattern of its reason."""


@pytest.mark.cudf
def test_what_does_not_translate_is_known(harness: Harness) -> None:
    pytest.importorskip("cudf_polars", reason="cudf-polars (the gpu extra) is not installed", exc_type=ImportError)
    session = harness.session(ON_GPU)
    refused: dict[str, str] = {}
    whole = 0
    for seed in range(FIRST, FIRST + TRANSLATED):
        sql = generate(seed).sql
        try:
            stages = planned_query(session, sql).physical.graph.stages
        except sqlray.SqlrayError:
            continue
        found = [reason for reason in map(refusal, stages) if reason is not None]
        refused.update(dict.fromkeys(found, sql))
        whole += not found
    unknown = {r: sql for r, sql in refused.items() if not any(re.search(pattern, r) for pattern in KNOWN)}
    assert not unknown, "\n".join(f"{reason}\n    {sql}" for reason, sql in unknown.items())
    assert whole > 0.9 * TRANSLATED
