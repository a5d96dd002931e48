"""Writes whole random queries: FROM with every join, grouping, set operations, CTEs, subqueries, ordering."""

import random
from dataclasses import dataclass, field, replace

from tests.property.aggregates import aggregate
from tests.property.data import COLUMNS, SIZES, WINDOW_SIZES
from tests.property.expressions import comparable_kind, condition, leaf, value
from tests.property.kinds import (
    BIG,
    BLOB,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    ROUGH,
    STRING,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    Kind,
    decimal,
)
from tests.property.scope import Column, Context, Scope
from tests.property.windows import Windows

_OUTPUT_KINDS: tuple[Kind, ...] = (
    *[INTEGER] * 4,
    *[BIG] * 2,
    *[decimal(10, 2)] * 2,
    *[DOUBLE] * 2,
    *[ROUGH] * 2,
    *[STRING] * 4,
    DATE,
    DATE,
    TIMESTAMP,
    TIMESTAMP,
    BOOLEAN,
    TIME,
    TIMESTAMPTZ,
    BLOB,
)
_COMMON_KINDS = (INTEGER, INTEGER, STRING, DATE, BOOLEAN, decimal(10, 2))
_JOIN_KINDS = (*[INTEGER] * 4, *[STRING] * 3, DATE, DATE, BIG, decimal(10, 2), TIMESTAMP, BOOLEAN)
_SET_OPERATIONS = (
    "UNION",
    "UNION ALL",
    "UNION ALL",
    "INTERSECT",
    "EXCEPT",
    "INTERSECT ALL",
    "EXCEPT ALL",
)
# Joins may not make more rows than this.
_MOST_ROWS = 4000
_SHARED_NAMES = ("k", "i", "s", "t", "p", "dt")


@dataclass(frozen=True, slots=True)
class Query:
    """A query block's text, its output, and what is known about the order of its rows.

    `key` names output columns that tell the rows apart; `ranking` is a window call that numbers them.
    """

    sql: str
    columns: tuple[tuple[str, Kind], ...]
    rows: int
    ordered_by: tuple[int, ...] = ()
    key: tuple[str, ...] = ()
    ranking: str = ""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind for _, kind in self.columns)


@dataclass(frozen=True, slots=True)
class Relation:
    """Something in FROM: its text, the columns it offers, about how many rows it has, its key and odd doubles."""

    text: str
    alias: str
    columns: tuple[tuple[str, Kind], ...]
    rows: int
    key: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()

    def scope_columns(self) -> tuple[Column, ...]:
        return tuple(Column(f"{self.alias}.{name}", kind) for name, kind in self.columns)


@dataclass(slots=True)
class QueryGenerator:
    """Writes one query; also what expressions ask for their subqueries."""

    ctx: Context
    ctes: list[tuple[str, Query]] = field(default_factory=list)

    def statement(self) -> Query:
        """A whole query, with its WITH, ORDER BY and LIMIT."""
        ctx = self.ctx
        definitions: list[str] = []
        for _ in range(ctx.weighted([(6, 0), (2, 1), (1, 2)])):
            query = self.body(None, None)
            name = ctx.name("c")
            definitions.append(f"{name} AS ({query.sql})")
            self.ctes.append((name, query))
        query = self.ordered(self.body(None, None), limit_chance=0.3, order_chance=0.5)
        if not definitions:
            return query
        return replace(query, sql=f"WITH {', '.join(definitions)} {query.sql}")

    def body(self, wanted: tuple[Kind, ...] | None, outer: Scope | None) -> Query:
        """A SELECT, or a set operation over SELECTs."""
        ctx = self.ctx
        operations = ctx.weighted([(8, 0), (1, 1), (0.4, 2)])
        if operations and wanted is None:
            # Few columns of few values, so that rows of both sides meet.
            wanted = tuple(ctx.pick(_COMMON_KINDS) for _ in range(ctx.pick([1, 1, 2])))
        left = self.select(wanted, outer)
        for _ in range(operations):
            if not ctx.take_block():
                break
            right = self.select(left.kinds, outer)
            operator = ctx.pick(_SET_OPERATIONS)
            sql = f"({left.sql}) {operator} ({right.sql})"
            if operator.startswith("UNION") and not left.sql.startswith("(") and ctx.chance(0.4):
                sql = f"{left.sql} {operator} {right.sql}"
            left = Query(sql, left.columns, left.rows + right.rows)
        return left

    def ordered(self, query: Query, limit_chance: float, order_chance: float) -> Query:
        """Adds ORDER BY over the output, and LIMIT where the order is total: then the rows are determined."""
        ctx = self.ctx
        if query.ranking and ctx.chance(0.3):
            rows = ctx.pick([1, 3, 7, 20])
            sql = f"{query.sql} ORDER BY {query.ranking} LIMIT {rows}"
            return Query(sql, query.columns, min(rows, query.rows), key=query.key)
        sortable = [at for at, kind in enumerate(query.kinds) if kind.exact]
        if not sortable or not ctx.chance(order_chance):
            return query
        total = len(sortable) == len(query.columns)
        ctx.rng.shuffle(sortable)
        keys = sortable if total and ctx.chance(0.7) else sortable[: ctx.rng.randint(1, len(sortable))]
        items = []
        for at in keys:
            by = str(at + 1) if ctx.chance(0.5) else query.columns[at][0]
            items.append(by + ctx.pick(["", " ASC", " DESC"]) + ctx.pick(["", "", " NULLS FIRST", " NULLS LAST"]))
        sql = f"{query.sql} ORDER BY {', '.join(items)}"
        rows = query.rows
        if len(keys) == len(query.columns) and ctx.chance(limit_chance / order_chance):
            rows = ctx.pick([0, *[1, 3, 7, 20] * 3])
            sql += f" LIMIT {rows}" + ctx.pick(["", "", "", " OFFSET 2"])
        return Query(sql, query.columns, min(rows, query.rows), tuple(keys), query.key)

    def select(self, wanted: tuple[Kind, ...] | None, outer: Scope | None) -> Query:
        """One SELECT block whose output has the wanted kinds."""
        ctx = self.ctx
        relations, source, where = self.source(outer)
        columns = tuple(c for relation in relations for c in relation.scope_columns())
        rows = max((relation.rows for relation in relations), default=1)
        scope = Scope(columns, outer)
        conditions = list(where)
        if ctx.chance(0.4):
            conditions.append(condition(ctx, scope, ctx.pick([1, 2, 3])))
        sql = f" FROM {source}"
        if conditions:
            sql += f" WHERE {' AND '.join(conditions)}"
        kinds = wanted or tuple(ctx.pick(_OUTPUT_KINDS) for _ in range(ctx.rng.randint(1, 4)))
        if ctx.windows and ctx.chance(0.75):
            if ctx.chance(0.2):
                return self._grouped(sql, scope, kinds, rows)
            return self._windowed(sql, self._windows(relations, scope), kinds, rows, with_key=wanted is None)
        shape = ctx.rng.random()
        if shape < 0.3:
            return self._grouped(sql, scope, kinds, rows)
        if shape < 0.42:
            return self._aggregated(sql, scope, kinds)
        if shape < 0.5 and wanted is None:
            return self._grouped_by_output(sql, scope, kinds, rows)
        distinct = "DISTINCT " if ctx.chance(0.12) and all(kind.exact for kind in kinds) else ""
        items = [self._item(scope, kind) for kind in kinds]
        return self._finish(distinct, items, sql, kinds, rows)

    def _finish(self, distinct: str, items: list[str], rest: str, kinds: tuple[Kind, ...], rows: int) -> Query:
        names = [self.ctx.name("x") for _ in kinds]
        output = ", ".join(f"{item} AS {name}" for item, name in zip(items, names, strict=True))
        return Query(f"SELECT {distinct}{output}{rest}", tuple(zip(names, kinds, strict=True)), rows)

    def _item(self, scope: Scope, kind: Kind) -> str:
        return value(self.ctx, scope, kind, self.ctx.pick([0, 1, 1, 2, 3]))

    def _grouped(self, rest: str, scope: Scope, kinds: tuple[Kind, ...], rows: int) -> Query:
        """GROUP BY columns and expressions, HAVING, and items over the keys and aggregates."""
        ctx = self.ctx
        keys: list[Column] = []
        for _ in range(ctx.rng.randint(1, 3)):
            kind = comparable_kind(ctx, scope)
            plain = scope.of(kind)
            if plain and ctx.chance(0.8):
                keys.append(ctx.pick(plain))
            else:
                keys.append(Column(value(ctx, scope.alone(), kind, 2), kind, plain=False))
        keys = [key for key in keys if any(c.text in key.text for c in scope.columns)]
        if not keys:
            return self._aggregated(rest, scope, kinds)
        keys = list({key.text: key for key in keys}.values())
        grouped = self._grouped_scope(scope, tuple(keys), kinds)
        unique = tuple(keys)
        by = [key.text for key in keys]
        if ctx.chance(0.25):
            asked = ctx.rng.sample(by, ctx.rng.randint(1, len(by)))
            grouped = Scope((*grouped.columns, Column(f"GROUPING({', '.join(asked)})", BIG, plain=False)), scope.outer)
            by = self._grouping_sets(by)
            unique = ()  # several sets may have the same keys
        sql = f"{rest} GROUP BY {', '.join(by)}"
        if ctx.chance(0.35):
            sql += f" HAVING {condition(ctx, grouped, ctx.pick([1, 2]))}"
        if ctx.windows and ctx.chance(0.8):
            return self._windowed(sql, Windows(ctx, grouped, unique), kinds, rows)
        items = [self._item(grouped, kind) if ctx.chance(0.5) else leaf(ctx, grouped, kind) for kind in kinds]
        return self._finish("", items, sql, kinds, rows)

    def _grouping_sets(self, keys: list[str]) -> list[str]:
        """Some of the keys in ROLLUP, CUBE or GROUPING SETS, the others before them."""
        ctx = self.ctx
        plain = ctx.rng.randint(0, len(keys) - 1)
        inside = keys[plain:]
        form = ctx.pick(["ROLLUP", "CUBE", "GROUPING SETS"])
        # To DuckDB a subquery that stands in two sets is two keys.
        if form == "GROUPING SETS" and not any("SELECT" in key for key in inside):
            sets = [inside, *(ctx.rng.sample(inside, ctx.rng.randint(0, len(inside))) for _ in range(ctx.pick([1, 2])))]
            inside = [f"({', '.join(s)})" for s in sets]
        elif form == "GROUPING SETS":
            form = "ROLLUP"
        return [*keys[:plain], f"{form}({', '.join(inside)})"]

    @staticmethod
    def _key(relations: list[Relation]) -> tuple[Column, ...]:
        """Columns that tell the rows of a join apart; none if a relation has no key."""
        if not all(relation.key for relation in relations):
            return ()
        return tuple(Column(f"{r.alias}.{name}", INTEGER) for r in relations for name in r.key)

    def _windows(self, relations: list[Relation], scope: Scope) -> Windows:
        odd = tuple(Column(f"{r.alias}.{name}", DOUBLE) for r in relations for name in r.odd)
        return Windows(self.ctx, scope, self._key(relations), odd)

    def _windowed(
        self, rest: str, windows: Windows, kinds: tuple[Kind, ...], rows: int, with_key: bool = False
    ) -> Query:
        """Items over window calls, with QUALIFY, DISTINCT, and in ORDER BY.

        `rest` is what follows the items, up to HAVING; `with_key` adds the rows' key to the output.
        """
        ctx = self.ctx
        scope = windows.scope
        calls = tuple(windows.column(kind) for kind in kinds)
        ranks = tuple(windows.column(INTEGER) for _ in range(ctx.pick([0, 0, 1])))
        seen = Scope(scope.columns + calls + ranks, scope.outer)
        items = [
            ctx.weighted([(6, call.text), (1, leaf(ctx, seen, kind)), (2, self._item(seen, kind))])
            for call, kind in zip(calls, kinds, strict=True)
        ]
        if not any(" OVER " in item for item in items):
            items[0] = calls[0].text
        distinct = "DISTINCT " if ctx.chance(0.1) and all(kind.exact for kind in kinds) else ""
        key: tuple[Column, ...] = ()
        if with_key and windows.unique and not distinct and ctx.chance(0.6):
            key = windows.unique
            items += [column.text for column in key]
            kinds += tuple(column.kind for column in key)
        names = [ctx.name("x") for _ in kinds]
        ranking = windows.ranking() if not distinct and ctx.chance(0.3) else ""
        qualify = self._qualify(Scope(calls + ranks + scope.columns[:2], scope.outer), names, kinds)
        output = ", ".join(f"{item} AS {name}" for item, name in zip(items, names, strict=True))
        sql = f"SELECT {distinct}{output}{rest}{windows.clause()}{qualify}"
        columns = tuple(zip(names, kinds, strict=True))
        return Query(sql, columns, rows, key=tuple(names[len(names) - len(key) :]) if key else (), ranking=ranking)

    def _qualify(self, calls: Scope, names: list[str], kinds: tuple[Kind, ...]) -> str:
        """QUALIFY over window calls or over the output's names."""
        ctx = self.ctx
        if not ctx.chance(0.25):
            return ""
        integers = [name for name, kind in zip(names, kinds, strict=True) if kind is INTEGER]
        if integers and ctx.chance(0.5):
            return f" QUALIFY {ctx.pick(integers)} {ctx.pick(['<=', '=', '>', '<>'])} {ctx.pick([1, 2, 3])}"
        return f" QUALIFY {condition(ctx, calls, ctx.pick([0, 1]))}"

    def _grouped_by_output(self, rest: str, scope: Scope, kinds: tuple[Kind, ...], rows: int) -> Query:
        """GROUP BY ALL, by position or by alias: some items are the keys, the others are aggregates."""
        ctx = self.ctx
        count = ctx.rng.randint(1, len(kinds))
        exact = tuple(kind if kind.exact else INTEGER for kind in kinds[:count])
        items = [self._item(scope.alone(), kind) for kind in exact]
        kinds = exact + kinds[count:]
        items += [aggregate(ctx, scope, kind).text for kind in kinds[count:]]
        query = self._finish("", items, rest, kinds, rows)
        names = [name for name, _ in query.columns[:count]]
        by = ctx.pick(["ALL", ", ".join(str(at + 1) for at in range(count)), ", ".join(names)])
        if any(not any(c.text in item for c in scope.columns) for item in items[:count]):
            if count == len(kinds):
                return query  # DuckDB does not group at all by constants alone
            by = "ALL"  # a constant that stands in GROUP BY by itself may be read as a position
        return Query(f"{query.sql} GROUP BY {by}", query.columns, rows)

    def _aggregated(self, rest: str, scope: Scope, kinds: tuple[Kind, ...]) -> Query:
        """Aggregates without GROUP BY: always one row, or none after HAVING."""
        ctx = self.ctx
        grouped = self._grouped_scope(scope, (), kinds)
        sql = rest + (f" HAVING {condition(ctx, grouped, 1)}" if ctx.chance(0.1) else "")
        items = [self._item(grouped, kind) if ctx.chance(0.4) else leaf(ctx, grouped, kind) for kind in kinds]
        if not any(column.text in item for item in items for column in grouped.columns):
            items[0] = aggregate(ctx, scope, kinds[0]).text
        return self._finish("", items, sql, kinds, 1)

    def _grouped_scope(self, scope: Scope, keys: tuple[Column, ...], kinds: tuple[Kind, ...]) -> Scope:
        aggregates = [aggregate(self.ctx, scope, kind) for kind in kinds]
        aggregates += [aggregate(self.ctx, scope, INTEGER)]
        return Scope(keys + tuple(aggregates), scope.outer)

    def source(self, outer: Scope | None) -> tuple[list[Relation], str, list[str]]:
        """FROM: the relations whose columns can be seen, the text, and the conditions of comma joins."""
        ctx = self.ctx
        first = self.relation(outer)
        relations, text, where = [first], first.text, list[str]()
        rows = first.rows
        joins = [(6.0, 0), (3.0, 1), (0.5, 2)] if ctx.windows else [(5, 0), (4, 1), (1.5, 2), (0.5, 3)]
        for _ in range(ctx.weighted(joins)):
            if ctx.chance(0.06) and rows < 200 and "," not in text and ctx.take_block():
                joined = self._lateral(relations, outer)
                kind, on = ctx.pick([("CROSS JOIN", ""), ("LEFT JOIN", " ON TRUE"), ("JOIN", " ON TRUE")])
                text = f"{text} {kind} LATERAL {joined.text}{on}"
                rows *= joined.rows
                relations.append(joined)
                continue
            joined = self.relation(outer)
            left_rows, rows = rows, self._joined_rows(rows, joined.rows)
            if left_rows * joined.rows > _MOST_ROWS * (1 if ctx.windows else 2):
                break
            kind = ctx.weighted(_JOINS)
            if kind == "comma":
                text = f"{text}, {joined.text}"
                where.append(self._join_condition(relations, joined, outer))
            elif kind == "CROSS JOIN" and left_rows * joined.rows <= _MOST_ROWS // (3 if ctx.windows else 1):
                text = f"{text} CROSS JOIN {joined.text}"
                rows = left_rows * joined.rows
            else:
                kind = "INNER JOIN" if kind == "CROSS JOIN" else kind
                text = f"{text} {kind} {joined.text} {self._on_or_using(relations, joined, text, outer)}"
                if kind in ("SEMI JOIN", "ANTI JOIN"):
                    rows = left_rows
                    continue
            relations.append(joined)
        # The WHERE of a comma join can only see what precedes; ON cannot follow a comma join's left side.
        return relations, text, where

    def _lateral(self, relations: list[Relation], outer: Scope | None) -> Relation:
        """A derived table that reads the relations before it: few rows for each of theirs."""
        ctx = self.ctx
        alias = ctx.name("r")
        around = Scope(tuple(c for relation in relations for c in relation.scope_columns()), outer)
        kinds = tuple(ctx.pick(_COMMON_KINDS) for _ in range(2))
        inner = self.relation(None)
        scope = Scope(inner.scope_columns(), around)
        rest = f" FROM {inner.text} WHERE {self._correlation(scope)}"
        if ctx.windows and ctx.chance(0.6):
            query = self._windowed(rest, self._windows([inner], scope), kinds, inner.rows)
        elif ctx.chance(0.5):
            query = self._aggregated(rest, scope, kinds)
        else:
            query = self._finish("", [self._item(scope, kind) for kind in kinds], rest, kinds, inner.rows)
        return Relation(f"({query.sql}) AS {alias}", alias, query.columns, max(1, query.rows // 3))

    @staticmethod
    def _joined_rows(left: int, right: int) -> int:
        return max(left, right, left * right // 4)

    def _on_or_using(self, relations: list[Relation], joined: Relation, text: str, outer: Scope | None) -> str:
        ctx = self.ctx
        if len(relations) == 1 and "," not in text and ctx.chance(0.2):
            shared = [
                name for name, kind in joined.columns if name in _SHARED_NAMES and (name, kind) in relations[0].columns
            ]
            if shared:
                return f"USING ({', '.join(ctx.rng.sample(shared, min(len(shared), ctx.pick([1, 1, 2]))))})"
        # ON sees the relations since the last comma only; the newest is always among them.
        seen = relations if "," not in text else relations[-1:]
        return f"ON {self._join_condition(seen, joined, None)}"

    def _join_condition(self, relations: list[Relation], joined: Relation, outer: Scope | None) -> str:
        ctx = self.ctx
        left = Scope(tuple(c for relation in relations for c in relation.scope_columns()), outer)
        right = Scope(joined.scope_columns())
        both = Scope(left.columns + right.columns, outer)
        if ctx.chance(0.12):
            return condition(ctx, both, 2)
        kinds = [kind for kind in _JOIN_KINDS if left.of(kind) and right.of(kind)]
        if not kinds:
            return condition(ctx, both, 1)
        parts: list[str] = []
        for _ in range(ctx.pick([1, 1, 1, 2])):
            kind = ctx.pick(kinds)
            a, b = ctx.pick(left.of(kind)).text, ctx.pick(right.of(kind)).text
            if ctx.chance(0.1):
                a, b = value(ctx, Scope(left.columns), kind, 1), value(ctx, right, kind, 1)
            operator = ctx.weighted([(8, "="), (0.7, "<"), (0.4, "<>"), (0.7, "IS NOT DISTINCT FROM")])
            parts.append(f"{a} {operator} {b}")
        if ctx.chance(0.15):
            parts.append(condition(ctx, both, 1))
        return " AND ".join(parts)

    def relation(self, outer: Scope | None) -> Relation:
        """A table, a CTE, VALUES or a derived table."""
        ctx = self.ctx
        alias = ctx.name("r")
        if self.ctes and ctx.chance(0.5):
            name, query = ctx.pick(self.ctes)
            return Relation(f"{name} {ctx.pick(['', 'AS '])}{alias}", alias, query.columns, query.rows, query.key)
        if ctx.chance(0.15) and ctx.take_block():
            query = self.ordered(self.body(None, None), limit_chance=0.25, order_chance=0.35)
            return Relation(f"({query.sql}) AS {alias}", alias, query.columns, query.rows, query.key)
        if ctx.windows and ctx.chance(0.85):
            sizes = [name for name in WINDOW_SIZES if name != "w_large" or not self.ctx.blocks_left]
            table = ctx.weighted(list(zip((5, 6, 5, 1, 0.7, 0.7, 0.5, 0.4), sizes, strict=False)))
            columns = (*COLUMNS.items(), ("id", INTEGER))
            return Relation(f"{table} {alias}", alias, columns, max(WINDOW_SIZES[table][0], 1), ("id",), ("z",))
        if ctx.chance(0.04):
            kinds = (INTEGER, STRING)
            lines = [f"({leaf(ctx, Scope(()), INTEGER)}, {leaf(ctx, Scope(()), STRING)})" for _ in range(3)]
            lines.append("(NULL, 'a')")
            columns = tuple(zip(("k", "s"), kinds, strict=True))
            return Relation(f"(VALUES {', '.join(lines)}) AS {alias}(k, s)", alias, columns, 4)
        names = list(SIZES)
        table = ctx.weighted(list(zip((6.0, 5.0, 4.0, 3.0, 0.25, 0.25), names, strict=True)))
        return Relation(f"{table} {alias}", alias, tuple(COLUMNS.items()), max(SIZES[table][0], 1))

    def scalar(self, scope: Scope, kind: Kind) -> str:
        """An aggregate without groups, or the first row of a total order."""
        ctx = self.ctx
        relations, source, where = self.source(scope)
        inner = Scope(tuple(c for relation in relations for c in relation.scope_columns()), scope)
        conditions = [*where, self._correlation(inner)]
        text = f" FROM {source} WHERE {' AND '.join(conditions)}"
        if ctx.windows and ctx.chance(0.4):
            windows = self._windows(relations, inner)
            call = windows.column(kind)
            return f"SELECT {call.text} AS y{text}{windows.clause()} ORDER BY y{ctx.pick(['', ' DESC'])} LIMIT 1"
        if ctx.chance(0.75):
            column = aggregate(ctx, inner, kind)
            extra = self._item(Scope((column,), scope), kind) if ctx.chance(0.2) else column.text
            return f"SELECT {extra if column.text in extra else column.text}{text}"
        return f"SELECT {leaf(ctx, inner, kind)} AS y{text} ORDER BY y{ctx.pick(['', ' DESC'])} LIMIT 1"

    def column(self, scope: Scope, kind: Kind) -> str:
        """A subquery of one column for IN, ANY and ALL."""
        return self._set(scope, (kind,))

    def pairs(self, scope: Scope, kinds: tuple[Kind, Kind]) -> str:
        """A subquery of two columns for a row IN; not correlated, which DuckDB lacks."""
        return self._set(Scope(()), kinds)

    def rows(self, scope: Scope) -> str:
        """A subquery for EXISTS."""
        return self._set(scope, (self.ctx.pick([INTEGER, STRING]),))

    def _set(self, scope: Scope, kinds: tuple[Kind, ...]) -> str:
        ctx = self.ctx
        if ctx.chance(0.15):
            return self.body(kinds, scope if ctx.chance(0.5) else None).sql
        relations, source, where = self.source(scope)
        inner = Scope(tuple(c for relation in relations for c in relation.scope_columns()), scope)
        conditions = [*where, self._correlation(inner)]
        items = [value(ctx, Scope(inner.columns), kind, ctx.pick([0, 0, 1])) for kind in kinds]
        windows = self._windows(relations, inner)
        if ctx.windows and ctx.chance(0.4):
            items = [windows.column(kind).text for kind in kinds]
        output = ", ".join(f"{item} AS y{at}" for at, item in enumerate(items))
        return f"SELECT {output} FROM {source} WHERE {' AND '.join(conditions)}{windows.clause()}"

    def _correlation(self, inner: Scope) -> str:
        """A condition that mostly compares a column inside with one outside."""
        ctx = self.ctx
        kind = comparable_kind(ctx, inner)
        inside, outside = inner.of(kind), inner.outside(kind)
        if inside and outside and ctx.chance(0.7):
            operator = ctx.weighted([(6, "="), (1, "<"), (1, ">"), (0.5, "<>"), (0.5, "IS NOT DISTINCT FROM")])
            text = f"{ctx.pick(inside).text} {operator} {ctx.pick(outside).text}"
            return f"{text} AND {condition(ctx, inner, 1)}" if ctx.chance(0.3) else text
        return condition(ctx, inner, 1)


_JOINS: tuple[tuple[float, str], ...] = (
    (4, "INNER JOIN"),
    (0.5, "JOIN"),
    (3, "LEFT JOIN"),
    (1.5, "RIGHT JOIN"),
    (1.5, "FULL JOIN"),
    (0.8, "CROSS JOIN"),
    (0.8, "SEMI JOIN"),
    (0.8, "ANTI JOIN"),
    (1, "comma"),
)


def generate(seed: int, windows: bool = False) -> Query:
    """The query of this seed; the same on every run and machine. With `windows` most blocks have window calls."""
    rng = random.Random(seed)
    ctx = Context(rng, blocks_left=rng.choice([0, 0, 1, 2, 3, 5]), windows=windows)
    generator = QueryGenerator(ctx)
    ctx.subqueries = generator
    return generator.statement()
