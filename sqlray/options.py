"""Every option in one typed table: each field of `Options` is an option with its parser, default and help.

`Options` is immutable: `options.set("memory_limit", "2GB")` returns the changed copy.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import Field, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from planner.errors import BindError, nearest
from planner.record import record

T = TypeVar("T")

_UNITS = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "kib": 2**10,
    "m": 10**6, "mb": 10**6, "mib": 2**20,
    "g": 10**9, "gb": 10**9, "gib": 2**30,
    "t": 10**12, "tb": 10**12, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z%]*)\s*")
_TRUE = frozenset({"true", "t", "on", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "off", "no", "n", "0"})


class OptionRow(NamedTuple):
    """One option as `SHOW`, the shell and `Session.options()` list it."""

    name: str
    value: str
    default: str
    help: str


def machine_memory() -> int:
    """The bytes of memory this process may use: the machine's, or its container's where that is less."""
    total = _physical_memory()
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        total = min(total, limit)
    return total


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no sysconf: assume a small machine
        return 8 * 2**30


def parse_size(value: object) -> int:
    """Bytes from `2GB`, `512MiB`, `1.5g`, `70%` (of this machine's memory) or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.fullmatch(str(value))
    unit = match[2].lower() if match else None
    if match is None or (unit != "%" and unit not in _UNITS):
        raise ValueError("a size such as '2GB', '512MiB' or '70%' of the machine's memory")
    number = float(match[1])
    size = machine_memory() * number / 100 if unit == "%" else number * _UNITS[cast(str, unit)]
    if size < 1:
        raise ValueError("a size of at least one byte")
    return int(size)


def format_size(size: int) -> str:
    """`2.0GB`, `512.0MB`: a size as people read it, which `parse_size` reads back."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= unit:
            return f"{size / unit:.1f}{name}"
    return f"{size}B"


def parse_bool(value: object) -> bool:
    """A boolean from True, 1, 'true', 'on', 'yes' and their opposites."""
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("true or false")


def parse_count(value: object) -> int:
    """A whole number, 0 or more."""
    try:
        number = int(str(value).strip())
    except ValueError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise ValueError("a whole number, 0 or more")
    return number


def parse_names(value: object) -> tuple[str, ...]:
    """Names from `a, b` or from a list of them."""
    parts = [str(part) for part in value] if isinstance(value, (list, tuple, set)) else str(value).split(",")
    return tuple(name for part in parts if (name := part.strip().lower()))


def parse_text(value: object) -> str:
    """Any text, as it is."""
    return str(value)


def _choice(*names: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        text = str(value).strip().lower()
        if text not in names:
            raise ValueError(" or ".join(repr(name) for name in names))
        return text

    return parse


def _progress(value: object) -> str:
    text = str(value).strip().lower()
    if text == "auto":
        return text
    try:
        return "on" if parse_bool(value) else "off"
    except ValueError:
        raise ValueError("'auto', 'on' or 'off'") from None


def _directory(value: object) -> str:
    return os.path.abspath(os.path.expanduser(str(value)))


def _option(parse: Callable[[object], T], default: str, help: str) -> T:
    """A field of `Options`; its default is text, read the same way as a user's value."""
    metadata = {"parse": parse, "default": default, "help": help}
    return field(default_factory=lambda: parse(default), metadata=metadata)


@record
class Options:
    """The options of a session. `set` and `reset` return changed copies."""

    memory_limit: int = _option(parse_size, "70%", "memory for data; more than this is spilled to disk")
    temp_directory: str = _option(_directory, tempfile.gettempdir(), "where spilled data goes")
    partitions: int = _option(parse_count, "0", "partitions of every shuffle, 0 for as many as the data calls for")
    staged: bool = _option(parse_bool, "false", "cut the plan into stages even where one task would do")
    broadcast_limit: int = _option(parse_size, "64MB", "largest table that is sent whole to every partition of a join")
    skew_limit: int = _option(parse_size, "64MB", "partition that several nodes share if the others are far smaller")
    device: str = _option(
        _choice("auto", "cpu", "gpu"), "auto", "where kernels run: 'cpu', 'gpu', or 'auto', the faster for each stage"
    )
    disabled_rules: tuple[str, ...] = _option(parse_names, "", "optimizer rules to leave out, separated by commas")
    plan_cache_size: int = _option(
        parse_count, "100", "plans kept for queries that come again, 0 to plan every query anew"
    )
    dialect: str = _option(parse_text, "duckdb", "the SQL dialect that queries are written in")
    progress: str = _option(
        _progress, "auto", "progress of what takes over a second: 'auto' in the shell and notebooks, 'on', 'off'"
    )
    timer: bool = _option(parse_bool, "true", "show the time that each statement took")
    max_rows: int = _option(parse_count, "40", "rows of a result that are displayed, 0 for all")
    max_width: int = _option(parse_count, "0", "width of a displayed result, 0 for the terminal's")
    null_text: str = _option(parse_text, "NULL", "how NULL is displayed")

    def set(self, name: str, value: object) -> Options:
        """A copy with option `name` set from a Python value or its text."""
        option = _find(name)
        try:
            parsed = option.metadata["parse"](value)
        except ValueError as error:
            raise BindError(f"{value!r} is not a value of option '{option.name}': expected {error}") from None
        change: dict[str, Any] = {option.name: parsed}
        return replace(self, **change)

    def reset(self, name: str | None = None) -> Options:
        """A copy with option `name`, or every option, at its default."""
        if name is None:
            return Options()
        option = _find(name)
        return self.set(option.name, option.metadata["default"])

    def get(self, name: str) -> object:
        """The value of option `name`."""
        value: object = getattr(self, _find(name).name)
        return value

    def describe(self) -> list[OptionRow]:
        """All options with their values, defaults and help, in the table's order."""
        return [
            OptionRow(option.name, format_value(option, getattr(self, option.name)), *_default_and_help(option))
            for option in fields(self)
        ]


def _default_and_help(option: Field[Any]) -> tuple[str, str]:
    return option.metadata["default"], option.metadata["help"]


def format_value(option: Field[Any], value: object) -> str:
    """The text of an option's value, which `set` reads back."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if option.metadata["parse"] is parse_size:
            return format_size(value)
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def option_names() -> list[str]:
    """The names of all options."""
    return [option.name for option in fields(Options)]


def _find(name: str) -> Field[Any]:
    wanted = name.strip().lower()
    for option in fields(Options):
        if option.name == wanted:
            return option
    close = nearest(wanted, option_names())
    hint = f"did you mean '{close}'?" if close else "options: " + ", ".join(option_names())
    raise BindError(f"there is no option '{name}'", hint=hint)
