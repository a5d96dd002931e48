"""TPC-H plans do not change unnoticed. ``python -m tests.golden.regenerate`` writes them anew."""

from __future__ import annotations

import pytest

from tests.golden import placement
from tests.golden.plans import path, text


@pytest.mark.parametrize("number", range(1, 23))
def test_plan(number: int) -> None:
    assert text(number) == path(number).read_text()


@pytest.mark.parametrize("name", placement.DEVICES)
def test_devices(name: str) -> None:
    assert placement.text(name) == placement.path(name).read_text()
