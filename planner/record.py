"""Records: what ``@dataclass(frozen=True, slots=True)`` makes, but cheap to declare and to construct.

The standard decorator compiles six methods for every class: for all classes of an engine that is a sixth of the time
that the command takes to start, which makes objects of few of them. A record's methods are compiled with its first
object, and its ``__init__`` fills the slots directly. ``field``, ``fields``, ``replace`` and ``match`` work as for any
dataclass, since it is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

C = TypeVar("C", bound=type)


@overload
def record(cls: C, /) -> C: ...
@overload
def record(*, eq: bool = True, weakref: bool = False) -> Callable[[C], C]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: Any = None, /, *, eq: bool = True, weakref: bool = False) -> Any:
    """Make a class a record. Records compare by their fields, or by identity if not ``eq``. With ``weakref`` there can
    be weak references to them."""

    def make(cls: Any) -> Any:
        compared = [name for name in ("__eq__", "__hash__") if eq and name not in cls.__dict__]
        cls = dataclass(init=False, repr=False, eq=False, slots=True, weakref_slot=weakref)(cls)

        def first_init(self: Any, *args: Any, **kwargs: Any) -> None:
            methods = _compiled(cls)
            for name in (*compared, "__init__"):  # last, since it says that the others are there
                setattr(cls, name, methods[name])
            cls.__init__(self, *args, **kwargs)

        cls.__init__ = first_init
        cls.__repr__ = _repr
        if "__reduce__" not in cls.__dict__:
            cls.__reduce__ = _reduce
        cls.__setattr__ = cls.__delattr__ = _refuse
        return cls

    return make if cls is None else make(cls)


def _compiled(cls: Any) -> dict[str, Any]:
    """The methods whose text depends on the fields, by name."""
    scope: dict[str, Any] = {"NOT_GIVEN": MISSING}  # in capitals, which no field is
    parameters = ["self"]
    body = []
    for f in fields(cls):
        name = value = f.name
        scope[f"SET_{name}"] = getattr(cls, name).__set__
        if f.default is not MISSING:
            scope[f"DEFAULT_{name}"] = f.default
            parameter, value = f"{name}=DEFAULT_{name}", name if f.init else f"DEFAULT_{name}"
        elif f.default_factory is not MISSING:
            scope[f"MAKE_{name}"] = f.default_factory
            made = f"MAKE_{name}()"
            parameter, value = f"{name}=NOT_GIVEN", f"{made} if {name} is NOT_GIVEN else {name}" if f.init else made
        elif f.init:
            parameter = name
        else:
            continue  # __post_init__ fills it
        if f.init:
            parameters.append(parameter)
        body.append(f"SET_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    compared = [f.name for f in fields(cls) if f.compare]
    hashed = [f.name for f in fields(cls) if (f.compare if f.hash is None else f.hash)]
    text = f"""
def __init__({", ".join(parameters)}):
    {"; ".join(body) or "pass"}

def __eq__(self, other):
    if self is other:
        return True
    if self.__class__ is not other.__class__:
        return NotImplemented
    return {" and ".join(f"self.{name} == other.{name}" for name in compared) or True}

def __hash__(self):
    return hash(({"".join(f"self.{name}, " for name in hashed)}))
"""
    exec(text, scope)
    return scope


def _repr(self: Any) -> str:
    shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _reduce(self: Any) -> tuple[Any, ...]:
    """Copies and pickles are constructed, as every record is."""
    return self.__class__, tuple(getattr(self, f.name) for f in fields(self) if f.init)


def _refuse(self: Any, name: str, value: object = None) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")
