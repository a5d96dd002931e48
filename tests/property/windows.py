"""Writes random window calls of a wanted kind, and the WINDOW clause of their query block.

The rows of a query must not depend on which of several peers an engine puts first. So whatever counts rows
(row_number, ntile, lag, ROWS frames, …) orders its window by columns that tell all rows of the block apart;
if none are known, only calls are written in which peers are treated alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.property.expressions import comparable_kind, condition, value
from tests.property.kinds import (
    BIG,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    ROUGH,
    STRING,
    Kind,
    decimal,
)
from tests.property.scope import Column, Context, Scope

_DECIMAL = decimal(10, 2)
_NUMBERS = (INTEGER, BIG, _DECIMAL, DOUBLE)
_DIRECTIONS = ("", "", " ASC", " DESC", " DESC", " NULLS FIRST", " NULLS LAST", " DESC NULLS FIRST", " DESC NULLS LAST")
_EXCLUDES = (" EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES", " EXCLUDE NO OTHERS")
_WHOLE = "UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING"


@dataclass(frozen=True, slots=True)
class Over:
    """A window's parts. `total`: no two rows of a partition are peers."""

    partition: tuple[Column, ...] = ()
    order: tuple[Column, ...] = ()
    directions: tuple[str, ...] = ()
    frame: str = ""
    total: bool = False

    def text(self, base: "Over | None" = None, name: str = "") -> str:
        """What stands between the parentheses; after a base window's name only what that does not have."""
        parts = [name] if name else []
        if self.partition and not (base and base.partition):
            parts.append(f"PARTITION BY {', '.join(column.text for column in self.partition)}")
        if self.order and not (base and base.order):
            items = (f"{column.text}{way}" for column, way in zip(self.order, self.directions, strict=True))
            parts.append(f"ORDER BY {', '.join(items)}")
        if self.frame:
            parts.append(self.frame)
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class _Function:
    """A call without its OVER.

    Its window has to be `total` if the order of peers counts, which it does not where the argument is a `key`
    of the window. For `mode` all rows of a partition have the same argument: then there is one most frequent value.
    """

    call: Callable[[str], str]
    argument: str
    kind: Kind
    window: Literal["any", "total", "total or key", "constant"] = "any"
    framed: bool = True


@dataclass(slots=True)
class Windows:
    """The window calls of one query block.

    `scope` holds what arguments and keys may read: columns, or the keys and aggregates of a grouped block.
    `unique` are columns that together tell its rows apart, `odd` doubles with NaN and -0.0 among them.
    """

    ctx: Context
    scope: Scope
    unique: tuple[Column, ...] = ()
    odd: tuple[Column, ...] = ()
    _named: list[tuple[str, str, Over]] = field(default_factory=list)

    def column(self, kind: Kind) -> Column:
        """A call whose result is of this kind."""
        function = self._function(kind)
        while function.window == "total" and not self.unique:
            function = self._function(kind)
        if function.window == "total or key" and (not self.unique or self.ctx.chance(0.3)):
            over = self._over(False, function.framed)
            keys = [key for key in (*over.partition, *over.order) if _same_kind(key.kind, function.kind)]
            if keys:
                return self._call(function, self.ctx.pick(keys).text, over)
            if not self.unique:
                function = self._aggregated("max", function.kind, function.kind)
        if function.window == "constant":
            over = self._new_over(False, True)
            argument = Column(function.argument, function.kind)
            return self._call(function, argument.text, replace(over, partition=(*over.partition, argument)))
        return self._call(function, function.argument, self._over("total" in function.window, function.framed))

    def _call(self, function: _Function, argument: str, over: Over) -> Column:
        return Column(f"{function.call(argument)} OVER {self._written(over)}", function.kind, plain=False)

    def clause(self) -> str:
        """The block's WINDOW clause, or nothing."""
        if not self._named:
            return ""
        return " WINDOW " + ", ".join(f"{name} AS ({text})" for name, text, _ in self._named)

    def ranking(self) -> str:
        """A call that gives every row another number, or nothing if no unique columns are known."""
        if not self.unique:
            return ""
        over = replace(self._new_over(True, False), partition=())
        return f"row_number() OVER ({over.text()})"  # DuckDB's ORDER BY does not know the names of windows

    # ------------------------------------------------------------------ windows

    def _over(self, total: bool, framed: bool) -> Over:
        """A named window or a new one."""
        usable = [over for _, _, over in self._named if over.total or not total]
        if usable and self.ctx.chance(0.4):
            return self.ctx.pick(usable)
        return self._new_over(total, framed)

    def _new_over(self, total: bool, framed: bool) -> Over:
        ctx = self.ctx
        partition = tuple(self._key() for _ in range(ctx.weighted([(3, 0), (4, 1), (2, 2), (0.7, 3)])))
        order = tuple(self._key() for _ in range(ctx.weighted([(2, 0), (5, 1), (2, 2), (0.7, 3)])))
        if self.unique and (total or ctx.chance(0.25)):
            order = self.unique if ctx.chance(0.3) else order + self.unique
            total = True
        else:
            total = False
        directions = tuple(ctx.pick(_DIRECTIONS) for _ in order)
        frame = self._frame(order, total) if ctx.chance(0.7 if framed else 0.06) else ""
        return Over(partition, order, directions, frame, total)

    def _key(self) -> Column:
        ctx = self.ctx
        if self.odd and ctx.chance(0.12):
            return ctx.pick(self.odd)
        # DuckDB allows no window function inside a window's definition, not in a subquery there either.
        columns = [c for c in self.scope.columns if c.kind.exact and " OVER " not in c.text]
        if columns and ctx.chance(0.8):
            common = [c for c in columns if c.text.endswith((".k", ".t", ".p", ".dt", ".i"))]
            return ctx.pick(common if common and ctx.chance(0.5) else columns)
        kind = comparable_kind(ctx, Scope(tuple(columns)))
        subqueries, ctx.subqueries = ctx.subqueries, None
        text = value(ctx, Scope(tuple(columns), self._sight().outer), kind, 1)
        ctx.subqueries = subqueries
        return Column(text, kind, plain=False)

    def _written(self, over: Over) -> str:
        """An OVER clause's text: in full, by name, or as a refinement of a named window."""
        ctx = self.ctx
        for name, _, known in self._named:
            if known is over:
                return name if ctx.chance(0.85) or over.frame else f"({name})"
        if ctx.chance(0.18):
            base = Over(over.partition, *ctx.pick([((), ()), (over.order, over.directions)]))
            name = ctx.name("w")
            if ctx.chance(0.5):
                self._named.append((name, over.text(), over))
                return name
            if ctx.chance(0.5):
                self._named.append((name, base.text(), base))
                return f"({over.text(base, name)})"
            self._named.append((name, base.text(), base))
            self._named.append((ctx.name("w"), over.text(base, name), over))
            return self._named[-1][0]
        return f"({over.text()})"

    def _frame(self, order: Sequence[Column], total: bool) -> str:
        ctx = self.ctx
        unit = ctx.pick(["ROWS", "ROWS", "RANGE", "RANGE", "GROUPS"] if order else ["ROWS", "RANGE"])
        offset: Callable[[], str] | None = self._rows_offset
        if unit == "RANGE":
            offset = self._range_offset(order[0].kind) if len(order) == 1 else None
        elif unit == "ROWS" and not total:
            bounds = ctx.pick([_WHOLE, ("CURRENT ROW", "CURRENT ROW")])
            return f"ROWS BETWEEN {bounds[0]} AND {bounds[1]}{self._exclude()}"
        if ctx.chance(0.15):
            starts = ["UNBOUNDED PRECEDING", "CURRENT ROW"] + ([f"{offset()} PRECEDING"] if offset else [])
            return f"{unit} {ctx.pick(starts)}{self._exclude()}"
        # Places from first to last: a frame may not start at a later one than it ends.
        choices = (0, 1, 1, 2, 3, 3, 4) if offset else (0, 2, 4)
        start, end = sorted((ctx.pick(choices), ctx.pick(choices)))
        start, end = min(start, 3 if offset else 2), max(end, 1 if offset else 2)
        return f"{unit} BETWEEN {_bound(start, offset)} AND {_bound(end, offset)}{self._exclude()}"

    def _exclude(self) -> str:
        return self.ctx.pick(_EXCLUDES) if self.ctx.chance(0.3) else ""

    def _rows_offset(self) -> str:
        ctx = self.ctx
        if ctx.chance(0.04):
            return f"(coalesce(abs({value(ctx, self.scope.alone(), INTEGER, 0)}), 0) % 4)"
        return str(ctx.pick([0, 1, 1, 2, 3, 5, 100]))

    def _range_offset(self, kind: Kind) -> Callable[[], str] | None:
        ctx = self.ctx
        match kind.name:
            case "integer" | "big":
                return lambda: str(ctx.pick([0, 1, 2, 5, 1000]))
            case "decimal":
                return lambda: ctx.pick(["0", "1", "0.5", "2.25", "100"])
            case "double":
                return lambda: ctx.pick(["0", "1", "0.5", "2.25", "3.0"])
            case "date" | "timestamp" | "timestamptz":
                units = ["DAY", "DAY", "MONTH", "YEAR"] + ([] if kind.name == "date" else ["HOUR", "SECOND"])
                return lambda: f"INTERVAL {ctx.pick([0, 1, 2, 30])} {ctx.pick(units)}"
            case _:
                return None

    # ---------------------------------------------------------------- functions

    def _function(self, kind: Kind) -> _Function:
        ctx = self.ctx
        if not kind.exact:
            return ctx.weighted([(1, self._share), (5, self._rough), (1, self._odd_value)])()
        makers: list[tuple[float, Callable[[], _Function]]] = [
            (4, lambda: self._navigation(kind)),
            (3, lambda: self._value_aggregate(kind)),
        ]
        match kind.name:
            case "integer":
                makers += [(8, self._rank), (4, self._count)]
            case "big":
                makers += [(5, self._sum_of_integers), (2, self._bits)]
            case "decimal":
                makers.append((6, lambda: self._aggregated("sum", kind, decimal(38, kind.scale))))
            case "double":
                makers.append((6, lambda: self._aggregated("sum", kind, kind)))
            case "boolean":
                makers.append((4, lambda: self._aggregated(ctx.pick(["bool_and", "bool_or"]), kind, kind)))
            case "string":
                makers.append((3, self._string_agg))
        return ctx.weighted(makers)()

    def _rank(self) -> _Function:
        ctx = self.ctx
        name = ctx.pick(["rank", "rank", "dense_rank", "row_number", "row_number", "ntile"])
        if name == "ntile":
            buckets = str(ctx.pick([1, 2, 3, 4, 7, 100]))
            if ctx.chance(0.06):
                buckets = f"(1 + coalesce(abs({value(ctx, self.scope.alone(), INTEGER, 0)}), 0) % 5)"
            return _Function(lambda of: f"ntile({of})", buckets, INTEGER, "total", framed=False)
        window: Literal["any", "total"] = "total" if name == "row_number" else "any"
        return _Function(lambda _: f"{name}()", "", INTEGER, window, framed=False)

    def _share(self) -> _Function:
        name = self.ctx.pick(["percent_rank", "cume_dist"])
        return _Function(lambda _: f"{name}()", "", ROUGH, framed=False)

    def _odd_value(self) -> _Function:
        """NaN and -0.0 as values."""
        ctx = self.ctx
        if not self.odd:
            return self._rough()
        name = ctx.pick(["min", "max", "sum", "first_value", "last_value", "lag"])
        window: Literal["any", "total"] = "any" if name in ("min", "max", "sum") else "total"
        return _Function(lambda of: f"{name}({of})", ctx.pick(self.odd).text, ROUGH, window)

    def _navigation(self, kind: Kind) -> _Function:
        ctx = self.ctx
        argument = self._argument(kind)
        nulls = ctx.pick(["", "", "", " IGNORE NULLS", " RESPECT NULLS"])
        name = ctx.pick(["lag", "lead", "lag", "lead", "first_value", "last_value", "nth_value"])
        if name in ("lag", "lead"):
            offset = str(ctx.pick([0, 1, 1, 2, 3, 50, -1, -2]))
            if ctx.chance(0.06):
                offset = value(ctx, self.scope.alone(), INTEGER, 0)
            rest = ctx.weighted([(4, ""), (3, f", {offset}"), (3, f", {offset}, {self._argument(kind)}")])
            return _Function(lambda of: f"{name}({of}{rest}{nulls})", argument, kind, "total", framed=False)
        place = f", {ctx.pick([1, 2, 3, 7])}" if name == "nth_value" else ""
        return _Function(lambda of: f"{name}({of}{place}{nulls})", argument, kind, "total or key")

    def _value_aggregate(self, kind: Kind) -> _Function:
        """An aggregate whose result is one of its argument's values."""
        ctx = self.ctx
        argument = self._argument(kind)
        choices = ["min", "max"] * 3 + ["any_value", "first", "last", "mode"]
        choices += ["arg_min", "arg_max"] if len(self.unique) == 1 else []
        choices += ["quantile_disc"] if kind.name in ("integer", "big", "decimal", "double", "date", "string") else []
        name = ctx.pick(choices)
        if name in ("min", "max"):
            return self._aggregated(name, kind, kind)
        rest, filtered = "", self._filter()
        if name == "quantile_disc":
            rest = ", " + ctx.pick(["0", "0.25", "0.5", "0.9", "1"])
        if name in ("arg_min", "arg_max"):
            rest = f", {self.unique[0].text}"
        if name in ("any_value", "first", "last"):
            rest = self._inner_order(0.3)
            filtered = filtered if name == "any_value" else ""  # to DuckDB the others are first_value and last_value
            return _Function(lambda of: f"{name}({of}{rest}){filtered}", argument, kind, "total or key")
        window: Literal["any", "constant"] = "constant" if name == "mode" else "any"
        return _Function(lambda of: f"{name}({of}{rest}){filtered}", argument, kind, window)

    def _count(self) -> _Function:
        ctx = self.ctx
        argument = self._argument(ctx.pick([INTEGER, STRING, _DECIMAL, BOOLEAN, DATE]))
        text = ctx.weighted([(3, "*"), (2, argument), (2, f"DISTINCT {argument}")])
        filtered = self._filter()
        return _Function(lambda of: f"count({of}){filtered}", text, INTEGER)

    def _sum_of_integers(self) -> _Function:
        ctx = self.ctx
        if ctx.chance(0.15):
            return _Function(lambda of: f"count_if({of})", condition(ctx, self.scope.alone(), 1), BIG)
        return self._aggregated("sum", ctx.pick([INTEGER, INTEGER, BIG]), BIG)

    def _bits(self) -> _Function:
        return self._aggregated(self.ctx.pick(["bit_and", "bit_or", "bit_xor"]), INTEGER, BIG)

    def _rough(self) -> _Function:
        ctx = self.ctx
        name = ctx.pick([*["avg"] * 4, *_DEVIATIONS, "median", "quantile_cont", "product", *_PAIRED])
        if name not in ("product", "quantile_cont", *_PAIRED):
            return self._aggregated(name, DOUBLE if name == "median" else ctx.pick(_NUMBERS), ROUGH)
        argument, filtered = self._argument(DOUBLE), self._filter()
        if name == "product":  # factors near 1, so that no product of a frame is infinite
            return _Function(lambda of: f"product(1 + {of} / 1000){filtered}", argument, ROUGH)
        rest = "0.25" if name == "quantile_cont" else self._argument(ctx.pick([INTEGER, DOUBLE]))
        return _Function(lambda of: f"{name}({of}, {rest}){filtered}", argument, ROUGH)

    def _string_agg(self) -> _Function:
        ctx = self.ctx
        argument, filtered = self._argument(STRING), self._filter()
        if not any(column.text in argument for column in self.scope.columns):
            return self._aggregated("max", STRING, STRING)
        if ctx.chance(0.4):
            return _Function(lambda of: f"string_agg({of}, '-'){filtered}", argument, STRING, "total")
        distinct, way = ctx.pick(["", "DISTINCT "]), ctx.pick(["", " DESC"])
        return _Function(lambda of: f"string_agg({distinct}{of}, ',' ORDER BY {of}{way}){filtered}", argument, STRING)

    def _aggregated(self, name: str, kind: Kind, result: Kind) -> _Function:
        """An aggregate that treats peers alike, also with DISTINCT, ORDER BY and FILTER inside."""
        distinct = "DISTINCT " if self.ctx.chance(0.15) else ""
        rest, filtered = "" if distinct else self._inner_order(0.05), self._filter()
        return _Function(lambda of: f"{name}({distinct}{of}{rest}){filtered}", self._argument(kind), result)

    def _inner_order(self, chance: float) -> str:
        if not self.unique or not self.ctx.chance(chance):
            return ""
        return f" ORDER BY {', '.join(column.text + self.ctx.pick(['', ' DESC']) for column in self.unique)}"

    def _filter(self) -> str:
        ctx = self.ctx
        return f" FILTER (WHERE {condition(ctx, self._sight(), 1)})" if ctx.chance(0.12) else ""

    def _argument(self, kind: Kind) -> str:
        return value(self.ctx, self._sight(), kind, self.ctx.pick([0, 0, 0, 1]))

    def _sight(self) -> Scope:
        """Mostly without the columns of the blocks outside."""
        return self.scope if self.ctx.chance(0.2) else self.scope.alone()


_DEVIATIONS = ("stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop")
_PAIRED = ("covar_samp", "covar_pop", "corr")


def _same_kind(kind: Kind, wanted: Kind) -> bool:
    return kind.name == wanted.name and kind.exact >= wanted.exact and kind.scale == wanted.scale


def _bound(place: int, offset: Callable[[], str] | None) -> str:
    match place:
        case 0:
            return "UNBOUNDED PRECEDING"
        case 2:
            return "CURRENT ROW"
        case 4:
            return "UNBOUNDED FOLLOWING"
    assert offset is not None
    return f"{offset()} {'PRECEDING' if place == 1 else 'FOLLOWING'}"
