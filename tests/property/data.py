"""The tables that generated queries run over: small, full of NULLs and duplicates, the same on every run."""

import datetime
import random
from collections.abc import Callable, Sequence
from decimal import Decimal

import pyarrow as pa

from tests.property.kinds import (
    BIG,
    BLOB,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    Kind,
    decimal,
)

# Every table has the same columns, so that USING and set operations always find a partner.
COLUMNS: dict[str, Kind] = {
    "k": INTEGER,
    "i": INTEGER,
    "b": BIG,
    "d": decimal(10, 2),
    "e": decimal(18, 4),
    "f": DOUBLE,
    "s": STRING,
    "t": STRING,
    "dt": DATE,
    "ts": TIMESTAMP,
    "p": BOOLEAN,
    "h": INTEGER,
    "g": DOUBLE,
    "tm": TIME,
    "tz": TIMESTAMPTZ,
    "bl": BLOB,
}
_ARROW: dict[str, pa.DataType] = {
    "k": pa.int32(),
    "i": pa.int32(),
    "b": pa.int64(),
    "d": pa.decimal128(10, 2),
    "e": pa.decimal128(18, 4),
    "f": pa.float64(),
    "s": pa.string(),
    "t": pa.string(),
    "dt": pa.date32(),
    "ts": pa.timestamp("us"),
    "p": pa.bool_(),
    "h": pa.int16(),
    "g": pa.float32(),
    "tm": pa.time64("us"),
    "tz": pa.timestamp("us", tz="UTC"),
    "bl": pa.binary(),
}
# Rows and the share of NULLs of each table; r_nulls holds nothing else, r_none has no rows.
SIZES: dict[str, tuple[int, float]] = {
    "r_big": (48, 0.2),
    "r_mid": (20, 0.3),
    "r_small": (8, 0.25),
    "r_full": (12, 0.0),
    "r_nulls": (3, 1.0),
    "r_none": (0, 0.0),
}
# Tables for window functions have two columns more: `id` tells their rows apart, `z` has NaN, -0.0 and infinities.
WINDOW_SIZES: dict[str, tuple[int, float]] = {
    "w_mid": (200, 0.25),
    "w_full": (30, 0.0),
    "w_ten": (10, 0.4),
    "w_two": (2, 0.3),
    "w_one": (1, 0.2),
    "w_nulls": (6, 1.0),
    "w_none": (0, 0.0),
    "w_large": (5000, 0.15),
}
ODD_DOUBLES = (0.0, -0.0, 1.0, -1.5, 2.25, float("nan"), float("inf"), float("-inf"))
WORDS = ("a", "b", "ab", "abc", "Ab", "B", "", " a ", "b%", "_x", "NULL", "été", "zz", "10", "a")
DATES = (
    datetime.date(1969, 12, 31),
    datetime.date(2020, 1, 31),
    datetime.date(2020, 2, 29),
    datetime.date(2020, 3, 1),
    datetime.date(2020, 12, 31),
    datetime.date(2021, 1, 1),
    datetime.date(2021, 2, 28),
    datetime.date(2021, 7, 15),
)


def make_tables(seed: int = 7) -> dict[str, pa.Table]:
    """All tables; the same seed gives the same rows."""
    rng = random.Random(seed)
    tables = {name: _table(rng, rows, nulls) for name, (rows, nulls) in SIZES.items()}
    return tables | {name: _window_table(rng, rows, nulls) for name, (rows, nulls) in WINDOW_SIZES.items()}


def _window_table(rng: random.Random, rows: int, nulls: float) -> pa.Table:
    table = _table(rng, rows, nulls)
    odd = [None if rng.random() < nulls else rng.choice(ODD_DOUBLES) for _ in range(rows)]
    table = table.append_column("id", pa.array(rng.sample(range(rows), rows), pa.int32()))
    return table.append_column("z", pa.array(odd, pa.float64()))


def _table(rng: random.Random, rows: int, nulls: float) -> pa.Table:
    values: dict[str, Callable[[], object]] = {
        "k": lambda: rng.randrange(0, 8),
        "i": lambda: rng.randrange(-5, 13),
        "b": lambda: rng.choice([rng.randrange(-5, 13), rng.randrange(-5, 13), rng.randrange(-(10**12), 10**12)]),
        "d": lambda: Decimal(_cents(rng)) / 100,
        "e": lambda: Decimal(rng.randrange(-99999, 99999)) / 10000,
        "f": lambda: rng.randrange(-40, 40) / 4,
        "s": lambda: rng.choice(WORDS),
        "t": lambda: rng.choice(WORDS[:5]),
        "dt": lambda: rng.choice(DATES),
        "ts": lambda: _timestamp(rng),
        "p": lambda: rng.random() < 0.5,
        "h": lambda: rng.randrange(-5, 13),
        "g": lambda: rng.randrange(-20, 20) / 4,
        "tm": lambda: _timestamp(rng).time(),
        "tz": lambda: _timestamp(rng).replace(tzinfo=datetime.UTC),
        "bl": lambda: rng.choice([b"", b"a", b"ab", b"\x00\xff", b"b"]),
    }
    columns = [
        pa.array([None if rng.random() < nulls else values[name]() for _ in range(rows)], type=_ARROW[name])
        for name in COLUMNS
    ]
    return pa.table(columns, names=list(COLUMNS))


def _cents(rng: random.Random) -> int:
    return rng.choice([0, 100, 500, 250, -310]) if rng.random() < 0.5 else rng.randrange(-9999, 9999)


def _timestamp(rng: random.Random) -> datetime.datetime:
    midnight = datetime.datetime.combine(rng.choice(DATES), datetime.time())
    seconds: Sequence[float] = (0, 0, 3600, 43200.5, 86399.999999, rng.randrange(86400))
    return midnight + datetime.timedelta(seconds=rng.choice(seconds))
