"""The kinds of value that the generator tracks, so that what it writes is well typed."""

from dataclasses import dataclass
from typing import Literal

KindName = Literal[
    "integer", "big", "decimal", "double", "string", "date", "timestamp", "time", "timestamptz", "blob", "boolean"
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A SQL type as far as the generator cares.

    `big` are 64-bit and wider integers, which are only added and compared so that they do not overflow.
    An inexact double (an average, a quotient) is only ever selected: what comes of comparing, grouping or
    sorting by one would hang on its last digit.
    """

    name: KindName
    precision: int = 0
    scale: int = 0
    exact: bool = True

    @property
    def sql(self) -> str:
        match self.name:
            case "integer":
                return "INTEGER"
            case "big":
                return "BIGINT"
            case "decimal":
                return f"DECIMAL({self.precision},{self.scale})"
            case "double":
                return "DOUBLE"
            case "string":
                return "VARCHAR"
            case other:
                return other.upper()

    @property
    def is_number(self) -> bool:
        return self.name in ("integer", "big", "decimal", "double")


INTEGER = Kind("integer")
BIG = Kind("big")
DOUBLE = Kind("double")
ROUGH = Kind("double", exact=False)
STRING = Kind("string")
DATE = Kind("date")
TIMESTAMP = Kind("timestamp")
TIME = Kind("time")
TIMESTAMPTZ = Kind("timestamptz")
BLOB = Kind("blob")
BOOLEAN = Kind("boolean")


def decimal(precision: int, scale: int) -> Kind:
    """DECIMAL(precision, scale)."""
    return Kind("decimal", precision, scale)


EXACT_KINDS: tuple[Kind, ...] = (
    INTEGER,
    BIG,
    decimal(10, 2),
    DOUBLE,
    STRING,
    DATE,
    TIMESTAMP,
    BOOLEAN,
    TIME,
    TIMESTAMPTZ,
    BLOB,
)
