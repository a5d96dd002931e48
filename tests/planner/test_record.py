"""Records mean what frozen dataclasses with slots mean."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from planner.record import record


@record
class Point:
    x: int
    label: str = field(default="", compare=False)
    tags: list[int] = field(default_factory=list)
    kind: str = field(default="point", init=False, repr=False)
    double: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", 2 * self.x)


@record(eq=False)
class Plan:
    input: Any


@record
class Own:
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and self.name.lower() == other.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


@record
class Nothing:
    pass


@record
class Other:
    x: int


@dataclass(frozen=True, slots=True)
class Standard:
    x: int
    label: str = field(default="", compare=False)
    tags: list[int] = field(default_factory=list)


def test_is_constructed_as_a_dataclass() -> None:
    point = Point(3, tags=[1])
    assert (point.x, point.label, point.tags, point.kind, point.double) == (3, "", [1], "point", 6)
    assert Point(3).tags is not Point(3).tags
    assert repr(point) == repr(Standard(3, tags=[1])).replace("Standard", "Point")
    assert [f.name for f in fields(point)] == ["x", "label", "tags", "kind", "double"]


@pytest.mark.parametrize("wrong", [{}, {"x": 1, "y": 2}, {"x": 1, "kind": "line"}])
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="argument"):
        Point(**wrong)


def test_compares_by_its_fields() -> None:
    assert Point(1, "a") == Point(1, "b")
    assert Point(1) != Point(2)
    other: object = Other(1)
    assert Point(1) != other != 1
    assert hash(Other(1)) == hash(Other(1))
    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1


def test_compares_by_identity() -> None:
    plan = Plan(1)
    assert plan == plan != Plan(1)
    assert len({plan, Plan(1)}) == 2


def test_compares_as_it_says_itself() -> None:
    assert Own("A") == Own("a")
    assert len({Own("A"), Own("a")}) == 1


def test_replace_and_match() -> None:
    assert replace(Point(1, "a"), x=2).double == 4
    match Point(1, "a"):
        case Point(1, label, tags):
            assert (label, tags) == ("a", [])
        case _:
            pytest.fail("a record matches its fields by position")


def test_is_frozen_and_has_slots() -> None:
    point: Any = Point(1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2
    with pytest.raises(FrozenInstanceError):
        point.other = 2
    with pytest.raises(FrozenInstanceError):
        del point.x
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_and_pickles(again: Any) -> None:
    point = Point(1, "a", [1])
    assert again(point) == point
    assert again(point).double == 2
