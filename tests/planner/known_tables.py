"""Tables whose statistics are known: small ones with rows, and TPC-H at scale factor 1 without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import pyarrow as pa

from planner import types
from planner.catalog import ColumnStatistics, Split, TableStatistics
from planner.expr import new_field
from planner.logical import Scan
from tests.planner.interpreter import ListTable

MONEY = types.decimal(15, 2)


class RowsTable(ListTable):
    """Rows with their true statistics."""

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        found = {}
        for name in columns:
            at = self.schema.get_field_index(name)
            values = [r[at] for r in self.rows if r[at] is not None]
            distinct = len(set(values))
            found[name] = ColumnStatistics(
                min(values, default=None),
                max(values, default=None),
                len(self.rows) - len(values),
                float(distinct),
                8.0,
                True,
                distinct == len(values),
            )
        return TableStatistics(float(len(self.rows)), True, found)

    def splits(self) -> tuple[Split, ...]:
        """Two parts; ``part`` is their slice of the rows."""
        middle = len(self.rows) // 2
        bounds = ((0, middle), (middle, len(self.rows)))
        return tuple(Split(slice(a, b), b - a, 8 * (b - a)) for a, b in bounds)


@dataclass(frozen=True, slots=True)
class StatisticsTable:
    """Statistics without rows, in parts of equal size."""

    name: str
    schema: pa.Schema
    known: TableStatistics = field(repr=False)
    parts: int = 1

    def statistics(self, columns: Sequence[str]) -> TableStatistics:
        return TableStatistics(self.known.rows, self.known.exact, {c: self.known.columns[c] for c in columns})

    def splits(self) -> tuple[Split, ...]:
        rows = int(self.known.rows or 0)
        width = sum(c.width or 8.0 for c in self.known.columns.values())
        return tuple(Split(i, rows // self.parts, int(rows * width / self.parts)) for i in range(self.parts))


def _key(top: int, ndv: int, low: int = 1) -> tuple[pa.DataType, ColumnStatistics]:
    return types.BIGINT, ColumnStatistics(low, top, 0, float(ndv), 8.0, True)


def _int(low: int, high: int, ndv: int) -> tuple[pa.DataType, ColumnStatistics]:
    return types.INTEGER, ColumnStatistics(low, high, 0, float(ndv), 4.0, True)


def _money(low: str, high: str, ndv: int) -> tuple[pa.DataType, ColumnStatistics]:
    return MONEY, ColumnStatistics(Decimal(low), Decimal(high), 0, float(ndv), 16.0, True)


def _text(low: str, high: str, ndv: int, width: float) -> tuple[pa.DataType, ColumnStatistics]:
    return types.VARCHAR, ColumnStatistics(low, high, 0, float(ndv), width, True)


def _day(low: date, high: date, ndv: int) -> tuple[pa.DataType, ColumnStatistics]:
    return types.DATE, ColumnStatistics(low, high, 0, float(ndv), 4.0, True)


_TPCH: dict[str, tuple[int, int, dict[str, tuple[pa.DataType, ColumnStatistics]]]] = {
    "lineitem": (
        6_001_215,
        49,
        {
            "l_orderkey": _key(6_000_000, 1_500_000),
            "l_partkey": _key(200_000, 200_000),
            "l_suppkey": _key(10_000, 10_000),
            "l_linenumber": _int(1, 7, 7),
            "l_quantity": _money("1.00", "50.00", 50),
            "l_extendedprice": _money("901.00", "104949.50", 933_900),
            "l_discount": _money("0.00", "0.10", 11),
            "l_tax": _money("0.00", "0.08", 9),
            "l_returnflag": _text("A", "R", 3, 5),
            "l_linestatus": _text("F", "O", 2, 5),
            "l_shipdate": _day(date(1992, 1, 2), date(1998, 12, 1), 2526),
            "l_commitdate": _day(date(1992, 1, 31), date(1998, 10, 31), 2466),
            "l_receiptdate": _day(date(1992, 1, 4), date(1998, 12, 31), 2554),
            "l_shipinstruct": _text("COLLECT COD", "TAKE BACK RETURN", 4, 16),
            "l_shipmode": _text("AIR", "TRUCK", 7, 8),
            "l_comment": _text(" Tiresias ", "zzle? slyly", 4_580_667, 30),
        },
    ),
    "orders": (
        1_500_000,
        13,
        {
            "o_orderkey": _key(6_000_000, 1_500_000),
            "o_custkey": _key(149_999, 99_996),
            "o_orderstatus": _text("F", "P", 3, 5),
            "o_totalprice": _money("857.71", "555285.16", 1_464_556),
            "o_orderdate": _day(date(1992, 1, 1), date(1998, 8, 2), 2406),
            "o_orderpriority": _text("1-URGENT", "5-LOW", 5, 12),
            "o_shippriority": _int(0, 0, 1),
            "o_comment": _text(" Tiresias", "zzle? f", 1_482_071, 52),
        },
    ),
    "customer": (
        150_000,
        2,
        {
            "c_custkey": _key(150_000, 150_000),
            "c_name": _text("Customer#000000001", "Customer#000150000", 150_000, 22),
            "c_nationkey": _int(0, 24, 25),
            "c_acctbal": _money("-999.99", "9999.99", 140_187),
            "c_mktsegment": _text("AUTOMOBILE", "MACHINERY", 5, 13),
        },
    ),
    "part": (
        200_000,
        2,
        {
            "p_partkey": _key(200_000, 200_000),
            "p_name": _text("almond antique", "yellow white", 199_997, 36),
            "p_brand": _text("Brand#11", "Brand#55", 25, 12),
            "p_type": _text("ECONOMY ANODIZED", "STANDARD POLISHED", 150, 24),
            "p_size": _int(1, 50, 50),
        },
    ),
    "partsupp": (
        800_000,
        7,
        {
            "ps_partkey": _key(200_000, 200_000),
            "ps_suppkey": _key(10_000, 10_000),
            "ps_availqty": _int(1, 9999, 9999),
            "ps_supplycost": _money("1.00", "1000.00", 99_865),
        },
    ),
    "supplier": (
        10_000,
        1,
        {
            "s_suppkey": _key(10_000, 10_000),
            "s_name": _text("Supplier#000000001", "Supplier#000010000", 10_000, 22),
            "s_nationkey": _int(0, 24, 25),
        },
    ),
    "nation": (
        25,
        1,
        {
            "n_nationkey": _int(0, 24, 25),
            "n_name": _text("ALGERIA", "VIETNAM", 25, 11),
            "n_regionkey": _int(0, 4, 5),
        },
    ),
    "region": (5, 1, {"r_regionkey": _int(0, 4, 5), "r_name": _text("AFRICA", "MIDDLE EAST", 5, 11)}),
}


def tpch(name: str) -> StatisticsTable:
    """A table of TPC-H at scale factor 1, with its true statistics."""
    rows, parts, columns = _TPCH[name]
    schema = pa.schema([(c, dtype) for c, (dtype, _) in columns.items()])
    known = TableStatistics(float(rows), True, {c: s for c, (_, s) in columns.items()})
    return StatisticsTable(name, schema, known, parts)


def scan(name: str, *columns: str) -> Scan:
    """A scan of some columns of a TPC-H table (of all, if none are named), with new ids."""
    table = tpch(name)
    wanted = [f for f in table.schema if not columns or f.name in columns]
    return Scan(table, tuple(new_field(f.name, f.type, False) for f in wanted))
