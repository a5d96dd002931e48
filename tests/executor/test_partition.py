"""Dividing rows by hash: equal keys land together, whatever their type, their block and their process."""

from __future__ import annotations

import struct
import subprocess
import sys
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import executor
import sqlray
from executor.blocks import BlockStore, lazy
from executor.dtypes import INTERVAL_STRUCT
from executor.expressions import key_expressions
from executor.partition import hash_partition, row_partition
from executor.ranges import every, limits, range_partition
from executor.runners.task import PartitionSink
from planner import types
from planner.expr import Column, ColumnId, Field, Schema, SortKey, column, column_name
from planner.physical import Arbitrary, HashPartitioned, Partitioning

COUNT = 7


def places(frame: pl.DataFrame, keys: list[str], seed: int = 0) -> list[int]:
    """The partition of each row of ``frame``."""
    parts = hash_partition(frame.with_row_index("#"), [pl.col(k) for k in keys], COUNT, seed)
    found = {row: i for i, part in enumerate(parts) if part is not None for row in part["#"]}
    return [found[i] for i in range(frame.height)]


def test_equal_values_land_together() -> None:
    nans = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8 << 48, 0xFFF8 << 48, 0x7FF8 << 48 | 5)]
    assert len(set(places(pl.DataFrame({"k": nans}), ["k"]))) == 1
    for dtype in (pl.Float32, pl.Float64):
        assert len(set(places(pl.DataFrame({"k": [0.0, -0.0]}, schema={"k": dtype}), ["k"]))) == 1
    narrow = pl.DataFrame({"k": [Decimal("1.50"), None]}, schema={"k": pl.Decimal(5, 2)})
    wide = pl.DataFrame({"k": [Decimal("1.50"), None]}, schema={"k": pl.Decimal(38, 2)})
    assert places(narrow, ["k"]) == places(wide, ["k"])


def test_equal_intervals_land_together() -> None:
    key = Field(ColumnId(1), "k", types.INTERVAL)
    lengths = [(1, 0, 0), (0, 30, 0), (0, 0, 30 * 86_400_000_000), (0, 29, 86_400_000_000)]
    values = [dict(zip(("months", "days", "micros"), length, strict=True)) for length in lengths]
    frame = pl.DataFrame({column_name(key): values}, schema={column_name(key): INTERVAL_STRUCT})
    parts = hash_partition(frame, key_expressions([column(key)]), COUNT)
    assert [p.height for p in parts if p is not None] == [4]


VALUES: dict[str, list[object]] = {
    "integer": list(range(50)),
    "text": [f"word {i}" for i in range(50)],
    "blob": [bytes([i]) * 20 for i in range(50)],
    "boolean": [True, False],
    "date": [date(2020, 1, 1 + i) for i in range(30)],
    "time": [time(i) for i in range(20)],
    "timestamp": [datetime(2020, 1, 1 + i) for i in range(30)],
    "decimal": [Decimal(i) / 4 for i in range(50)],
    "double": [i / 3 for i in range(50)],
}
DATES = pl.Series("k", [-(2**31) + 1, -800_000, 0, 19_000, 4_000_000, 2**31 - 1]).cast(pl.Int32).cast(pl.Date)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(("descending", "nulls_first"), [(False, False), (False, True), (True, False), (True, True)])
def test_ranges_follow_each_other(kind: str, descending: bool, nulls_first: bool) -> None:
    """Sorted one by one they are the whole in order, and equal rows are in one of them."""
    values = [*VALUES[kind], None, None] * 3
    extreme = [float("nan"), float("-inf"), -0.0, 0.0, float("nan")] if kind == "double" else []
    random = Random(kind)
    dtype = pl.DataFrame({"k": values[:1]}).to_arrow().schema[0].type
    schema = Schema((Field(1, "k", dtype), Field(2, "v", pa.int64())))
    names = [column_name(f) for f in schema]
    rows = [(v, i % 2) for i, v in enumerate(values + extreme)]
    random.shuffle(rows)
    frame = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
    keys = [SortKey(column(schema.fields[0]), descending, nulls_first), SortKey(column(schema.fields[1]), True)]
    bounds = limits(every(frame.lazy(), keys, 3).collect(), keys, COUNT)
    parts = [range_partition(frame.slice(i, 20), keys, bounds, COUNT) for i in range(0, frame.height, 20)]
    joined = [pl.concat(found) for p in zip(*parts, strict=True) if (found := [x for x in p if x is not None])]
    assert len(joined) > 1

    def ordered(some: pl.DataFrame) -> pl.DataFrame:
        return some.sort(names, descending=[descending, True], nulls_last=[not nulls_first, True])

    assert_frame_equal(pl.concat(map(ordered, joined)), ordered(frame))
    assert len({r for p in joined for r in set(p.rows())}) == sum(len(set(p.rows())) for p in joined)


def test_ranges_of_dates_beyond_those_of_python() -> None:
    frame = pl.DataFrame({"k#1": DATES.sample(100, with_replacement=True, seed=1)})
    keys = [SortKey(column(Field(1, "k", pa.date32())))]
    parts = range_partition(frame, keys, limits(every(frame.lazy(), keys, 1).collect(), keys, 4), 4)
    assert_frame_equal(pl.concat(p.sort("k#1") for p in parts if p is not None), frame.sort("k#1"))


def test_a_sample_without_rows_limits_nothing() -> None:
    assert limits(pl.DataFrame(), [], COUNT).height == 0


@pytest.mark.parametrize("kind", VALUES)
def test_every_type_with_null(kind: str) -> None:
    values = [*VALUES[kind], None]
    frame = pl.DataFrame({"k": values})
    alone = places(frame, ["k"])
    # In other blocks, in another order, beside a second key: the same place.
    assert places(frame.reverse(), ["k"])[::-1] == alone
    assert [places(frame.slice(i, 1), ["k"])[0] for i in range(frame.height)] == alone
    both = frame.with_columns(pl.lit(None, pl.Int64).alias("n"))
    assert places(both, ["k", "n"]) == places(both.reverse(), ["k", "n"])[::-1]
    if len(values) > 10:
        assert len(set(alone)) > 3  # spread
        again = [places(frame, ["k"], seed=1)[i] for i, p in enumerate(alone) if p == alone[0]]
        assert len(set(again)) > 1  # another seed divides what one partition holds


def test_the_same_in_every_process() -> None:
    script = (
        "import polars as pl; from executor.partition import hash_partition\n"
        "frame = pl.DataFrame({'k': [f'w{i}' for i in range(40)], 'n': range(40), 'x': [i / 7 for i in range(40)]})\n"
        "parts = hash_partition(frame, [pl.col('k'), pl.col('n'), pl.col('x')], 5)\n"
        "print([p['n'].to_list() for p in parts if p is not None])\n"
    )
    root = Path(executor.__file__).parents[1]
    runs = {
        subprocess.run([sys.executable, "-c", script], cwd=root, check=True, capture_output=True, timeout=60).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_edges() -> None:
    empty = pl.DataFrame({"k": []}, schema={"k": pl.Int64})
    assert hash_partition(empty, [pl.col("k")], 3) == [None] * 3
    parts = row_partition(pl.DataFrame({"k": range(500)}), 3)
    assert sorted(v for p in parts if p is not None for v in p["k"]) == list(range(500))
    assert all(p is not None and 100 < p.height < 240 for p in parts)


def test_a_row_belongs_to_a_partition_wherever_it_stands() -> None:
    frame = pl.DataFrame({"k": range(100), "s": ["a", None] * 50})
    there, back = row_partition(frame, 4), row_partition(frame.reverse(), 4)
    assert [p is not None and p.rows() for p in there] == [p is not None and p.sort("k").rows() for p in back]


K, S = Field(ColumnId(1), "k", types.BIGINT), Field(ColumnId(2), "s", types.VARCHAR)
LONG = pl.DataFrame({column_name(K): range(5000)}).with_columns(
    pl.format("a comment of more than twelve bytes {}", pl.col(column_name(K))).alias(column_name(S))
)
BY_K = HashPartitioned((Column(K.id, K.name, K.dtype),), 3)


def divided(frame: pl.DataFrame, output: Partitioning, limit: int, batch: int, directory: str) -> list[pl.DataFrame]:
    """The partitions, sorted, of a frame that comes in batches."""
    store = BlockStore(limit, directory)
    sink = PartitionSink(store, output, 3)
    for part in frame.iter_slices(batch):
        sink.take(part)
    partitions = sink.finish()
    assert sink.rows == frame.height
    found = [lazy(blocks, Schema((K, S))).collect().sort(column_name(K)) for blocks in partitions]
    store.close()
    return found


@pytest.mark.parametrize("output", [BY_K, Arbitrary(3)])
def test_a_partition_is_the_same_however_its_rows_come(output: Partitioning, tmp_path: Path) -> None:
    once = divided(LONG, output, 1 << 30, 5000, str(tmp_path))
    assert sum(p.height for p in once) == LONG.height
    for limit, batch in ((1 << 30, 7), (20_000, 500), (1, 5000), (100_000, 40)):  # the smaller ones are spilled
        again = divided(LONG.reverse(), output, limit, batch, str(tmp_path))
        assert all(a.equals(b) for a, b in zip(once, again, strict=True))
    large = pl.concat([LONG] * 40)  # divided in several steps
    assert [p.height for p in divided(large, output, 1 << 30, large.height, str(tmp_path))] == [
        p.height * 40 for p in once
    ]


def test_a_block_keeps_no_rows_of_other_partitions_in_memory(tmp_path: Path) -> None:
    """Polars' strings are views: a partition of few rows would keep all strings of every batch in memory."""
    store = BlockStore(1 << 30, str(tmp_path))
    sink = PartitionSink(store, BY_K, 3)
    for batch in LONG.iter_slices(1000):
        sink.take(batch)
    blocks = [block for partition in sink.finish() for block in partition]
    assert all(b.held is not None and b.held.get_total_buffer_size() < 1.2 * b.bytes for b in blocks)
    assert sum(b.bytes for b in blocks) < 1.5 * LONG.estimated_size()


REDIVIDED = [
    "select k, count(*), sum(v) from t group by k",
    "select count(*), sum(v), min(w) from t join u using (k)",
    "select t.k, u.k, count(*) from t full join u on t.k = u.k group by all",
    "select t.k, v, w from t left join u on t.k = u.k and v < w",
    "select k, v from t where k not in (select k from u where w > 900)",
    "select k, v from t where not exists (select 1 from u where u.k = t.k)",
    "select t.v from t where t.v > (select avg(w) from u where u.k = t.k)",
    "select k, (select w from u where u.k = t.k order by w limit 1) from t",
    "select k, max(v) from t group by k order by 2 desc, 1 limit 4",
    "select * from (select t.k, w, v from t join u using (k) order by w desc, t.k, v limit 7) x join t using (k)",
    "select count(*) from (select k from t join u using (k) limit 100) x",
    "select t.k, t.v, u.w from t join u on t.k = u.k where g = 3 union all select k, v, 0 from t",
    "select k, count(*) from (select t.k from t join u on t.k = u.k union all select k from t) x group by k",
    "with c as (select k, sum(v) s from t group by k) select a.k, b.k from c a join c b on a.s < b.s",
    "select distinct g, w from t join u using (k)",
    "select k from t intersect select k from u",
    "select k, v from t except all select k, w from u",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("redivided")
    peer = duckdb.connect()
    peer.execute("select setseed(0.5)").fetchall()
    ints = "(random() * {0})::int as {1}"
    t = ", ".join(ints.format(*x) for x in ((50, "k"), (1000, "v"), (7, "g")))
    u = ", ".join(ints.format(*x) for x in ((60, "k"), (1000, "w")))
    pl.DataFrame(peer.sql(f"select {t} from range(2000)").to_arrow_table()).write_parquet(
        place / "t.parquet", row_group_size=400
    )
    pl.DataFrame(peer.sql(f"select {u} from range(1000)").to_arrow_table()).write_parquet(
        place / "u.parquet", row_group_size=300
    )
    return place


@pytest.mark.parametrize("broadcast", ["1B", "64MB"])
@pytest.mark.parametrize("sql", REDIVIDED)
def test_partitions_too_large_for_memory(data: Path, sql: str, broadcast: str) -> None:
    """A partition of some 10 kB against a limit of 20 kB is divided again wherever that is right."""
    session = sqlray.connect(partitions=3, staged=True, memory_limit="20KB", broadcast_limit=broadcast)
    peer = duckdb.connect()
    for name in ("t", "u"):
        session.register(name, data / f"{name}.parquet")
        peer.sql(f"create view {name} as from '{data / name}.parquet'")
    ours = sorted(session.sql(sql).fetchall(), key=repr)
    assert ours == sorted(peer.sql(sql).fetchall(), key=repr)
