"""A scope of one table with a column of every type, for tests that bind single expressions."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from sqlglot import exp

from planner import types
from planner.binder_aggregates import bind_aggregate_call
from planner.binder_expressions import bind_expression, bind_sort_key
from planner.errors import BindError
from planner.expr import AggregateCall, Expr, Field, SortKey, column, new_field
from planner.parser import parse

COLUMNS = {
    "ti": types.TINYINT, "si": types.SMALLINT, "i": types.INTEGER, "b": types.BIGINT,
    "uti": types.UTINYINT, "us": types.USMALLINT, "ui": types.UINTEGER, "ub": types.UBIGINT,
    "f": types.FLOAT, "d": types.DOUBLE, "d4": types.decimal(5, 2), "d10": types.decimal(10, 2),
    "d38": types.decimal(38, 4), "s": types.VARCHAR, "bo": types.BOOLEAN, "bl": types.BLOB,
    "da": types.DATE, "ts": types.TIMESTAMP, "tz": types.TIMESTAMPTZ, "tm": types.TIME, "iv": types.INTERVAL,
}  # fmt: skip

TABLE = """
CREATE TABLE t AS SELECT 1::tinyint ti, 2::smallint si, 3::integer i, 4::bigint b, 5::utinyint uti,
  6::usmallint us, 7::uinteger ui, 8::ubigint ub, 1.5::float f, 2.5::double d, 1.25::decimal(5,2) d4,
  1.25::decimal(10,2) d10, 1.5::decimal(38,4) d38, 'ab' s, true bo, 'x'::blob bl, date '1995-01-02' da,
  timestamp '1995-01-02 03:04:05.678' ts, timestamptz '1995-01-02 03:04:05+00' tz, time '10:00:00' tm,
  interval '1 day' iv
"""


def _fields() -> dict[str, Field]:
    return {name: new_field(name, dtype) for name, dtype in COLUMNS.items()}


@dataclass
class TableScope:
    """Resolves the columns of the table; a subquery or a parameter is recorded and has a fixed result."""

    sql: str
    dialect: str = "duckdb"
    now: dt.datetime = dt.datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=dt.UTC)
    fields: dict[str, Field] = field(default_factory=_fields)
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def resolve_column(self, node: exp.Column) -> Expr:
        if node.name not in self.fields:
            raise BindError(f'there is no column "{node.name}"')
        return column(self.fields[node.name])

    def bind_scalar_subquery(self, query: exp.Expression) -> Expr:
        return self._ask("scalar", query.sql())

    def bind_exists(self, query: exp.Expression) -> Expr:
        return self._ask("exists", query.sql())

    def bind_in(self, left: tuple[Expr, ...], query: exp.Expression) -> Expr:
        return self._ask("in", left, query.sql())

    def bind_quantified(self, op: str, quantifier: str, left: tuple[Expr, ...], query: exp.Expression) -> Expr:
        return self._ask(op, quantifier, left, query.sql())

    def bind_aggregate(self, node: exp.Expression) -> Expr:
        return column(new_field("aggregate", bind_aggregate_call(node, self).dtype))

    def bind_window(self, node: exp.Expression) -> Expr:
        return self._ask("window", node.sql())

    def parameter(self, node: exp.Expression) -> Expr:
        return self._ask("parameter", node.name)

    def _ask(self, *question: object) -> Expr:
        self.asked.append(question)
        return column(self.fields["bo"])


def scope_and_node(text: str, dialect: str = "duckdb") -> tuple[TableScope, exp.Expression]:
    sql = f"SELECT {text} FROM t"
    (tree,) = parse(sql, dialect)
    return TableScope(sql, dialect), tree.expressions[0]


def bind(text: str, dialect: str = "duckdb") -> Expr:
    scope, node = scope_and_node(text, dialect)
    return bind_expression(node, scope)


def bind_aggregate(text: str, dialect: str = "duckdb") -> AggregateCall:
    scope, node = scope_and_node(text, dialect)
    return bind_aggregate_call(node, scope)


def bind_order(text: str, dialect: str = "duckdb") -> SortKey:
    sql = f"SELECT 1 FROM t ORDER BY {text}"
    (tree,) = parse(sql, dialect)
    return bind_sort_key(tree.args["order"].expressions[0], TableScope(sql, dialect))
