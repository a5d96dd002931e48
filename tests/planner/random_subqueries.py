"""Random SQL with correlated subqueries of every kind, to any depth, over small tables full of NULLs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

TABLES = {"r": ("a", "b", "c"), "s": ("d", "e", "f"), "t": ("g", "h", "i")}


@dataclass(slots=True)
class SubqueryGenerator:
    """``query()`` gives one SELECT; every subquery reads what its rows can see, at any distance."""

    rng: random.Random
    _aliases: int = field(default=0)

    def rows(self) -> dict[str, list[tuple[int | None, ...]]]:
        """The contents of the tables."""
        cell = (None, 0, 1, 1, 2, 3)
        return {
            name: [tuple(self.rng.choice(cell) for _ in columns) for _ in range(self.rng.choice((0, 3, 5, 6)))]
            for name, columns in TABLES.items()
        }

    def query(self) -> str:
        return self._select([], 2, 2)

    def _alias(self) -> str:
        self._aliases += 1
        return f"x{self._aliases}"

    def _from(self, outer: Sequence[str], depth: int) -> tuple[str, list[str]]:
        """A FROM clause and the columns it offers."""
        name, alias = self.rng.choice(list(TABLES)), self._alias()
        columns = [f"{alias}.{c}" for c in TABLES[name]]
        text = f"{name} {alias}"
        pick = self.rng.random()
        if depth > 0 and pick < 0.2:
            lateral = self._alias()
            inner = self._select([*outer, *columns], depth - 1, 1, "v")
            kind = self.rng.choice((", lateral", " cross join lateral", " left join lateral"))
            on = " on true" if "left" in kind else ""
            return f"{text}{kind} ({inner}) {lateral}{on}", [*columns, f"{lateral}.v"]
        if depth > 0 and pick < 0.3:
            derived = self._alias()
            inner = self._select(outer, depth - 1, 1, "v")
            return f"{text}, ({inner}) {derived}", [*columns, f"{derived}.v"]
        if pick < 0.6:
            other, second = self.rng.choice(list(TABLES)), self._alias()
            more = [f"{second}.{c}" for c in TABLES[other]]
            kind = self.rng.choice(("join", "left join", "right join", "full join"))
            simple = kind == "full join" or self.rng.random() < 0.5
            on = f"{columns[0]} = {more[0]}" if simple else self._predicate([*columns, *more], outer, 0)
            return f"{text} {kind} {other} {second} on {on}", [*columns, *more]
        return text, columns

    def _value(self, inner: Sequence[str], outer: Sequence[str], depth: int = 0) -> str:
        pick = self.rng.random()
        if depth > 0 and pick < 0.25:
            return self._scalar([*inner, *outer], depth - 1)
        if outer and pick < 0.45:
            return self.rng.choice(outer)
        if inner and pick < 0.85:
            return self.rng.choice(inner)
        if pick < 0.93 or not inner:
            return str(self.rng.randrange(4))
        return f"({self.rng.choice(inner)} + {self._value(inner, outer)})"

    def _predicate(self, inner: Sequence[str], outer: Sequence[str], depth: int) -> str:
        parts = []
        for _ in range(self.rng.choice((1, 1, 2))):
            pick = self.rng.random()
            if depth > 0 and pick < 0.5:
                parts.append(self._subquery_predicate(inner, outer, depth - 1))
            elif outer and pick < 0.8:
                op = self.rng.choice(("=", "=", "=", "<", "<>", ">=", "is not distinct from"))
                parts.append(f"{self.rng.choice(inner)} {op} {self.rng.choice(outer)}")
            else:
                op = self.rng.choice(("=", "<", "<>", "is distinct from"))
                parts.append(f"{self._value(inner, outer)} {op} {self._value(inner, outer)}")
        if len(parts) == 2:
            return f"({parts[0]} {self.rng.choice(('and', 'and', 'or'))} {parts[1]})"
        return parts[0]

    def _subquery_predicate(self, inner: Sequence[str], outer: Sequence[str], depth: int) -> str:
        scope = [*inner, *outer]
        value = self._value(inner, outer)
        match self.rng.randrange(6):
            case 0 | 1:
                negated = self.rng.choice(("", "not "))
                return f"{negated}exists ({self._select(scope, depth, 1)})"
            case 2 | 3:
                negated = self.rng.choice(("", "not "))
                return f"{value} {negated}in ({self._select(scope, depth, 1)})"
            case 4:
                op, kind = self.rng.choice(("=", "<", "<>", ">=")), self.rng.choice(("any", "all"))
                return f"{value} {op} {kind} ({self._select(scope, depth, 1)})"
            case _:
                return f"{value} {self.rng.choice(('=', '<', '>='))} {self._scalar(scope, depth)}"

    def _scalar(self, scope: Sequence[str], depth: int) -> str:
        """A subquery of at most one row."""
        source, columns = self._from(scope, depth)
        where = f" where {self._predicate(columns, scope, depth)}" if self.rng.random() < 0.85 else ""
        if self.rng.random() < 0.25:
            value = self._value(columns, scope)
            keys = columns if value.isdigit() else [value, *columns]  # a number would be a column's place
            return f"(select {value} from {source}{where} order by {', '.join(keys)} limit 1)"
        having = f" having {self._aggregate(columns, scope)} > 0" if self.rng.random() < 0.1 else ""
        text = self._aggregate(columns, scope)
        wrapped = self.rng.choice((text, text, f"{text} + 1", f"coalesce({text}, -1)"))
        return f"(select {wrapped} from {source}{where}{having})"

    def _aggregate(self, columns: Sequence[str], scope: Sequence[str]) -> str:
        value = self.rng.choice(columns) if self.rng.random() < 0.8 else f"{columns[0]} + {self._value(columns, scope)}"
        name = self.rng.choice(("count(*)", "count", "sum", "min", "max", "count(distinct"))
        if name == "count(*)":
            return name
        text = f"{name} {value})" if name.endswith("distinct") else f"{name}({value})"
        if self.rng.random() < 0.1:
            text += f" filter (where {self._predicate(columns, scope, 0)})"
        return text

    def _select(self, outer: Sequence[str], depth: int, width: int, name: str = "") -> str:
        if depth > 0 and self.rng.random() < 0.12:
            op = self.rng.choice(("union all", "union", "intersect", "except", "intersect all", "except all"))
            left, right = (self._core(outer, depth - 1, width, name) for _ in range(2))
            return f"{_operand(left)} {op} {_operand(right)}"
        return self._core(outer, depth, width, name)

    def _core(self, outer: Sequence[str], depth: int, width: int, name: str) -> str:
        source, columns = self._from(outer, depth)
        where = f" where {self._predicate(columns, outer, depth)}" if self.rng.random() < 0.85 else ""
        pick = self.rng.random()
        label = f" as {name}" if name else ""
        if pick < 0.2:
            key = self.rng.choice(columns)
            values = [key, *(self._aggregate(columns, outer) for _ in range(width))][-width:]
            having = f" having {self._aggregate(columns, outer)} >= 1" if self.rng.random() < 0.3 else ""
            return f"select {', '.join(values)}{label} from {source}{where} group by {key}{having}"
        if pick < 0.3 and outer:
            values = [self._aggregate(columns, outer) for _ in range(width)]
            return f"select {', '.join(values)}{label} from {source}{where}"
        values = [self._value(columns, outer, depth) for _ in range(width)]
        distinct = "distinct " if self.rng.random() < 0.15 else ""
        tail = ""
        if not distinct and outer and self.rng.random() < 0.2:
            keys = [v for v in values if not v.isdigit()]  # a number would be a column's place
            offset = self.rng.choice(("", "", " offset 1"))
            tail = f" order by {', '.join([*columns, *keys])} limit {self.rng.choice((1, 2))}{offset}"
            return f"select {', '.join(values)}{label} from {source}{where}{tail}"
        return f"select {distinct}{', '.join(values)}{label} from {source}{where}"


def _operand(select: str) -> str:
    """A side of a set operation; its own LIMIT needs parentheses."""
    return f"select * from ({select}) q" if " limit " in select else select
