"""One table of awkward values, and the same SQL on it here and in DuckDB."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

import sqlray

UTC = dt.UTC
INTEGERS = [0, 1, -1, 2, 7, -8, 100, 12345, 2**31 - 1, -(2**31)]
BIG = [0, 1, -1, 3, 10**12, -(10**12), 2**62, 2**63 - 1, -(2**63)]
SMALL = [0, 1, 2, 3, 5, -1, -2, -5]
DECIMALS = [Decimal(x) for x in ("0.00", "1.25", "-1.25", "0.05", "2.50", "-2.50", "99999.99", "-0.01", "1234.56")]
WIDE = [Decimal(x) for x in ("0", "1.5", "-1.5", "123456789012345678901234.5678", "-0.0001", "99.9999")]
DOUBLES = [0.0, -0.0, 1.5, -2.5, 0.1, 1e15, 1e16, 1e-5, 123.456, -0.5, math.nan, math.inf, -math.inf]
FINITE = [0.0, 1.5, -2.5, 0.25, 0.5, 2.0, -0.75, 100.0, 1.0]
STRINGS = ["", "a", "abc", "Hello World", "aXbXc", "äöü", "a%b_c", "  pad ", "x\ny", "ABCabc", "日本語", "a,b,,c"]
NUMERIC_TEXT = ["1", "-5", " 7 ", "1.5", "2.5", "-2.5", "1e3", "+4", "abc", "", "99999999999"]
DATE_TEXT = ["2020-02-29", "2020-2-3", " 1969-12-31", "2020-13-01", "x", "0001-01-01", "2020-01-01 10:00:00"]
DATES = [
    dt.date(*x) for x in ((1970, 1, 1), (1969, 12, 31), (2000, 2, 29), (2024, 12, 30), (1899, 3, 1), (2020, 1, 31))
]
TIMESTAMPS = [
    dt.datetime(1970, 1, 1),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2000, 2, 29, 12, 30, 15, 250000),
    dt.datetime(2024, 12, 30, 1), dt.datetime(1899, 3, 1, 6, 7, 8), dt.datetime(2020, 1, 31, 10, 20, 30),
]  # fmt: skip
TIMES = [dt.time(0, 0), dt.time(23, 59, 59, 999999), dt.time(12, 30, 15, 500000), dt.time(6, 7, 8)]

COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i": (pa.int32(), INTEGERS), "j": (pa.int32(), SMALL), "b": (pa.int64(), BIG), "n": (pa.int64(), SMALL),
    "t": (pa.int8(), [0, 1, -1, 127, -128, 5]), "u": (pa.uint8(), [0, 1, 200, 255]),
    "d": (pa.decimal128(15, 2), DECIMALS),
    "e": (pa.decimal128(9, 4), [Decimal(x) for x in ("0", "1.5", "-0.0001", "3.1415")]),
    "w": (pa.decimal128(38, 4), WIDE),
    "f": (pa.float64(), DOUBLES),
    "g": (pa.float64(), FINITE), "r": (pa.float32(), [0.0, 1.5, -2.25, 0.1, 3e38]),
    "s": (pa.string(), STRINGS), "p": (pa.string(), ["a", "b", "%", "a%", "%b%", "_", "X", "", "o W"]),
    "x": (pa.string(), NUMERIC_TEXT), "y": (pa.string(), DATE_TEXT),
    "k": (pa.bool_(), [True, False]), "l": (pa.bool_(), [True, False]),
    "da": (pa.date32(), DATES), "db": (pa.date32(), DATES), "ta": (pa.timestamp("us"), TIMESTAMPS),
    "tb": (pa.timestamp("us"), TIMESTAMPS), "ti": (pa.time64("us"), TIMES),
    "tz": (pa.timestamp("us", tz="UTC"), [x.replace(tzinfo=UTC) for x in TIMESTAMPS]),
    "bl": (pa.binary(), [b"", b"abc", b"\x00\xff"]),
}  # fmt: skip


@cache
def table(rows: int = 120, nulls: float = 0.2, seed: int = 7) -> pa.Table:
    """Columns of all types; the first rows go through every value, the rest are random."""
    rng = random.Random(seed)
    data: dict[str, pa.Array] = {"id": pa.array(range(rows), type=pa.int64())}
    for name, (dtype, values) in COLUMNS.items():
        shuffled = values[:]
        rng.shuffle(shuffled)
        head = list(itertools.islice(itertools.cycle(shuffled), rows // 2))
        tail = [None if rng.random() < nulls * 2 else rng.choice(values) for _ in range(rows - len(head))]
        data[name] = pa.array(head + tail, type=dtype)
    return pa.table(data)


def session() -> sqlray.Session:
    made = sqlray.connect()
    made.register("t", table())
    return made


def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute("set timezone = 'UTC'")
    made.register("t_arrow", table())
    made.execute("create table t as from t_arrow")
    return made


def same(a: Any, b: Any, tolerance: float = 1e-12) -> bool:
    """Whether two cells are equal; floats up to rounding."""
    if isinstance(a, float) or isinstance(b, float):
        if a is None or b is None:
            return a is b
        a, b = float(a), float(b)
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-300)
    if isinstance(a, dt.datetime) and isinstance(b, dt.datetime) and (a.tzinfo is None) != (b.tzinfo is None):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
