"""Options: reading values, telling what is wrong with them, and keeping the table whole."""

from __future__ import annotations

import pytest

from planner.errors import BindError
from sqlray.options import Options, format_size, machine_memory, option_names, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        (1000, 1000),
        ("2GB", 2_000_000_000),
        ("1.5 gib", 1_610_612_736),
        ("512MiB", 536_870_912),
        ("10k", 10_000),
        ("50%", machine_memory() // 2),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("size", [1, 999, 64_000_000, 2_000_000_000])
def test_sizes_are_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("staged", "on", True),
        ("STAGED", False, False),
        ("partitions", "4", 4),
        ("disabled_rules", "join_order, Fold", ("join_order", "fold")),
        ("disabled_rules", "", ()),
        ("device", "CPU", "cpu"),
        ("null_text", "", ""),
        ("progress", "AUTO", "auto"),
        ("progress", False, "off"),
        ("progress", "true", "on"),
    ],
)
def test_set_returns_a_changed_copy(name: str, value: object, expected: object) -> None:
    options = Options()
    assert options.set(name, value).get(name) == expected
    assert options == Options()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("memory_limit", "2XB", "a size such as '2GB'"),
        ("memory_limit", "0", "at least one byte"),
        ("memory_limit", -5, "a size such as"),
        ("staged", "perhaps", "true or false"),
        ("partitions", "-1", "a whole number"),
        ("partitions", "2.5", "a whole number"),
        ("partitions", True, "a whole number"),
        ("device", "tpu", "'auto' or 'cpu' or 'gpu'"),
        ("progress", "sometimes", "'auto', 'on' or 'off'"),
        ("memory_limt", "1GB", "did you mean 'memory_limit'"),
        ("zzz", "1", "options: memory_limit"),
    ],
)
def test_errors_say_what_is_expected(name: str, value: object, message: str) -> None:
    with pytest.raises(BindError) as caught:
        Options().set(name, value)
    assert message in str(caught.value)


def test_reset() -> None:
    changed = Options().set("partitions", 4).set("staged", True)
    assert changed.reset("partitions") == Options().set("staged", True)
    assert changed.reset() == Options()


def test_every_default_is_a_value_of_its_option() -> None:
    rows = Options().describe()
    assert [row.name for row in rows] == option_names()
    for row in rows:
        assert Options().set(row.name, row.default) == Options()
        assert row.help
