"""Columns, schemas and the scalar expressions over them.

Expressions are immutable and compare by structure. A column is a ``ColumnId`` minted by the binder: names are for
people, ids for the engine, so that self-joins, aliases and rewrites need no care. Every expression knows its
Arrow type; the binder has already inserted casts, so that both sides of a comparison, all branches of a CASE and all
values of an IN list have one type.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, NamedTuple, NewType

import pyarrow as pa

from planner import types
from planner.record import record
from planner.tree import transform_up, walk

ColumnId = NewType("ColumnId", int)

_ids = itertools.count(1)


def mint() -> ColumnId:
    """A column id that no other column of this process has."""
    return ColumnId(next(_ids))


@record
class Field:
    """One output column of a plan node: its id, its user-facing name, its type, and whether it can be NULL."""

    id: ColumnId
    name: str
    dtype: pa.DataType
    nullable: bool = True


def new_field(name: str, dtype: pa.DataType, nullable: bool = True) -> Field:
    return Field(mint(), name, dtype, nullable)


def column_name(item: Field | Column) -> str:
    """The name of a column inside kernels and blocks: readable, and unique through its id."""
    return f"{item.name}#{item.id}"


@record
class Schema:
    """The ordered output columns of a plan node."""

    fields: tuple[Field, ...]
    _by_id: dict[ColumnId, Field] = field(init=False, repr=False, compare=False)
    ids: frozenset[ColumnId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {f.id: f for f in self.fields}
        object.__setattr__(self, "_by_id", by_id)
        object.__setattr__(self, "ids", frozenset(by_id))

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def __getitem__(self, id: ColumnId) -> Field:
        return self._by_id[id]

    def get(self, id: ColumnId) -> Field | None:
        return self._by_id.get(id)

    @property
    def repeats(self) -> bool:
        """Whether an id occurs twice."""
        return len(self._by_id) != len(self.fields)

    def arrow(self) -> pa.Schema:
        """As blocks carry it: columns named ``name#id``."""
        return pa.schema([pa.field(column_name(f), f.dtype, f.nullable) for f in self.fields])


class _Facts(NamedTuple):
    """What an expression consists of. Found once: rules ask the same expressions again and again."""

    columns: frozenset[ColumnId]
    column_types: dict[ColumnId, pa.DataType]
    node_types: frozenset[type[Expr]]


class Expr:
    """A scalar expression. The subclasses below are all there are."""

    __slots__ = ("_facts",)

    dtype: pa.DataType
    _facts: _Facts

    def children(self) -> tuple[Expr, ...]:
        return ()

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return self


@record
class Column(Expr):
    """A column of the input. The name is for display and never compared."""

    id: ColumnId
    name: str = field(compare=False)
    dtype: pa.DataType = field(compare=False)


@record
class Literal(Expr):
    """A constant: None, bool, int, float, Decimal, str, bytes, date, time, datetime, or (INTERVAL) pa.MonthDayNano."""

    value: Any
    dtype: pa.DataType

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))  # Arrow's types are slow to hash, here and below

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Literal)
            and self.dtype == other.dtype
            and type(self.value) is type(other.value)
            and (self.value == other.value or self.value is other.value)
            and repr(self.value) == repr(other.value)  # 0.0 and -0.0, 1.0 and 1.00 are different constants
        )


@record
class Cast(Expr):
    """CAST, or TRY_CAST when ``safe``: a value that does not convert is NULL instead of an error."""

    arg: Expr
    dtype: pa.DataType = field(hash=False)
    safe: bool = False

    def children(self) -> tuple[Expr, ...]:
        return (self.arg,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Cast(children[0], self.dtype, self.safe)


COMPARISONS = ("=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from")
FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=",
           "is distinct from": "is distinct from", "is not distinct from": "is not distinct from"}  # fmt: skip
NEGATED = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<",
           "is distinct from": "is not distinct from", "is not distinct from": "is distinct from"}  # fmt: skip


@record
class Comparison(Expr):
    """``left op right`` for one of COMPARISONS. Floats order as in DuckDB: NaN equals NaN and is the greatest."""

    op: str
    left: Expr
    right: Expr
    dtype: pa.DataType = field(default=types.BOOLEAN, init=False, repr=False, compare=False)

    def children(self) -> tuple[Expr, ...]:
        return (self.left, self.right)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Comparison(self.op, *children)


@record
class Arithmetic(Expr):
    """``left op right`` for one of ``+ - * / // %`` on numbers.

    Integers and floats: both operands have the result's type. ``/`` is DOUBLE division; ``//`` truncates toward zero.
    Decimals: operands keep their own types (an integer operand is already cast to DECIMAL(p,0)), the result is exact
    at ``dtype``'s scale. ``//`` and ``%`` by zero raise or give NULL, as the session has it; an overflow raises.
    Dates and intervals use Call.
    """

    op: str
    left: Expr
    right: Expr
    dtype: pa.DataType = field(hash=False)

    def children(self) -> tuple[Expr, ...]:
        return (self.left, self.right)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Arithmetic(self.op, children[0], children[1], self.dtype)


@record
class And(Expr):
    """Conjunction of two or more arguments, three-valued. Build it with ``conjunction``."""

    args: tuple[Expr, ...]
    dtype: pa.DataType = field(default=types.BOOLEAN, init=False, repr=False, compare=False)

    def children(self) -> tuple[Expr, ...]:
        return self.args

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return And(tuple(children))


@record
class Or(Expr):
    """Disjunction of two or more arguments, three-valued. Build it with ``disjunction``."""

    args: tuple[Expr, ...]
    dtype: pa.DataType = field(default=types.BOOLEAN, init=False, repr=False, compare=False)

    def children(self) -> tuple[Expr, ...]:
        return self.args

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Or(tuple(children))


@record
class Not(Expr):
    arg: Expr
    dtype: pa.DataType = field(default=types.BOOLEAN, init=False, repr=False, compare=False)

    def children(self) -> tuple[Expr, ...]:
        return (self.arg,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Not(children[0])


@record
class IsNull(Expr):
    arg: Expr
    dtype: pa.DataType = field(default=types.BOOLEAN, init=False, repr=False, compare=False)

    def children(self) -> tuple[Expr, ...]:
        return (self.arg,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return IsNull(children[0])


@record
class InList(Expr):
    """``arg IN (values)``; the values are literals of ``arg``'s type, a NULL among them counts (three-valued)."""

    arg: Expr
    values: tuple[Literal, ...]
    dtype: pa.DataType = field(default=types.BOOLEAN, init=False, repr=False, compare=False)

    def children(self) -> tuple[Expr, ...]:
        return (self.arg,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return InList(children[0], self.values)


@record
class Case(Expr):
    """Searched CASE: the value of the first condition that is TRUE, else ``otherwise`` (a NULL literal if none)."""

    whens: tuple[tuple[Expr, Expr], ...]
    otherwise: Expr
    dtype: pa.DataType = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self.otherwise.dtype)

    def children(self) -> tuple[Expr, ...]:
        return (*itertools.chain.from_iterable(self.whens), self.otherwise)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        pairs = tuple((children[i], children[i + 1]) for i in range(0, len(children) - 1, 2))
        return Case(pairs, children[-1])


@record
class Call(Expr):
    """A scalar function of ``planner.functions``, by its canonical name."""

    name: str
    args: tuple[Expr, ...]
    dtype: pa.DataType = field(hash=False)

    def children(self) -> tuple[Expr, ...]:
        return self.args

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Call(self.name, tuple(children), self.dtype)


@record
class SortKey:
    """One ORDER BY key. NULLs are largest unless said otherwise; NaN is larger than every number."""

    expr: Expr
    descending: bool = False
    nulls_first: bool = False


@record
class AggregateCall:
    """An aggregate function over a group: not an Expr, since it stands only in an Aggregate node.

    ``count_star`` has no argument. ``filter`` is FILTER (WHERE …); ``order_by`` belongs to ordered aggregates
    (string_agg, first, last).
    """

    name: str
    args: tuple[Expr, ...]
    dtype: pa.DataType
    distinct: bool = False
    filter: Expr | None = None
    order_by: tuple[SortKey, ...] = ()

    def expressions(self) -> tuple[Expr, ...]:
        """Everything it evaluates, in the order that ``with_expressions`` takes."""
        tail = () if self.filter is None else (self.filter,)
        return (*self.args, *(k.expr for k in self.order_by), *tail)

    def with_expressions(self, expressions: Sequence[Expr]) -> AggregateCall:
        n, m = len(self.args), len(self.order_by)
        keys = tuple(replace(k, expr=e) for k, e in zip(self.order_by, expressions[n : n + m], strict=True))
        tail = expressions[n + m] if self.filter is not None else None
        return replace(self, args=tuple(expressions[:n]), order_by=keys, filter=tail)


TRUE = Literal(True, types.BOOLEAN)
FALSE = Literal(False, types.BOOLEAN)


def null(dtype: pa.DataType) -> Literal:
    return Literal(None, dtype)


def column(item: Field) -> Column:
    """A reference to a field."""
    return Column(item.id, item.name, item.dtype)


def conjuncts(expr: Expr | None) -> tuple[Expr, ...]:
    """The arguments of a (nested) AND; TRUE and None have none."""
    match expr:
        case None:
            return ()
        case And(args):
            return tuple(itertools.chain.from_iterable(map(conjuncts, args)))
        case Literal(True, _):
            return ()
        case _:
            return (expr,)


def disjuncts(expr: Expr) -> tuple[Expr, ...]:
    """The arguments of a (nested) OR."""
    if isinstance(expr, Or):
        return tuple(itertools.chain.from_iterable(map(disjuncts, expr.args)))
    return (expr,)


def conjunction(args: Iterable[Expr]) -> Expr:
    """AND of the arguments, without duplicates; TRUE of none."""
    flat = tuple(itertools.chain.from_iterable(map(conjuncts, args)))
    if len(flat) > 1:
        flat = tuple(dict.fromkeys(flat))
    return TRUE if not flat else flat[0] if len(flat) == 1 else And(flat)


def disjunction(args: Iterable[Expr]) -> Expr:
    """OR of the arguments, without duplicates; FALSE of none."""
    flat = tuple(dict.fromkeys(itertools.chain.from_iterable(map(disjuncts, args))))
    return FALSE if not flat else flat[0] if len(flat) == 1 else Or(flat)


def columns_of(*expressions: Expr) -> frozenset[ColumnId]:
    """The ids of all columns that the expressions read."""
    if len(expressions) == 1:
        return _facts_of(expressions[0]).columns
    found: set[ColumnId] = set()
    for expr in expressions:
        if isinstance(expr, Column):
            found.add(expr.id)
        else:
            found |= _facts_of(expr).columns
    return frozenset(found)


def column_types(expr: Expr) -> Mapping[ColumnId, pa.DataType]:
    """The columns that the expression reads, with the types it reads them as."""
    return _facts_of(expr).column_types


def node_types(expr: Expr) -> frozenset[type[Expr]]:
    """The classes of the nodes that the expression consists of."""
    return _facts_of(expr).node_types


_COLUMN: frozenset[type[Expr]] = frozenset((Column,))


def _facts_of(expr: Expr) -> _Facts:
    try:
        return expr._facts
    except AttributeError:
        if isinstance(expr, Column):
            found = _Facts(frozenset((expr.id,)), {expr.id: expr.dtype}, _COLUMN)
        else:
            nodes = list(walk(expr))
            columns = {n.id: n.dtype for n in nodes if isinstance(n, Column)}
            found = _Facts(frozenset(columns), columns, frozenset(map(type, nodes)))
        object.__setattr__(expr, "_facts", found)
        return found


def substitute(expr: Expr, mapping: Mapping[ColumnId, Expr]) -> Expr:
    """``expr`` with columns replaced; columns that ``mapping`` lacks stay."""
    if isinstance(expr, Column):
        return mapping.get(expr.id, expr)
    if columns_of(expr).isdisjoint(mapping):
        return expr

    def swap(node: Expr) -> Expr:
        return mapping.get(node.id, node) if isinstance(node, Column) else node

    return transform_up(expr, swap)


def rewrite(expr: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """``transform_up`` under the name that reads well for expressions."""
    return transform_up(expr, function)


VOLATILE = frozenset({"random", "gen_random_uuid", "uuid"})


def is_volatile(expr: Expr) -> bool:
    """Whether two evaluations can differ, so that the expression must not be copied, moved or shared."""
    return Call in node_types(expr) and any(isinstance(n, Call) and n.name in VOLATILE for n in walk(expr))


def show(expr: Expr) -> str:
    """The expression as SQL-like text, for EXPLAIN and error messages."""
    match expr:
        case Column():
            return f"{expr.name}#{expr.id}"
        case Literal(value, dtype):
            return _show_literal(value, dtype)
        case Cast(arg, dtype, safe):
            return f"{'TRY_CAST' if safe else 'CAST'}({show(arg)} AS {types.type_name(dtype)})"
        case Comparison(op, left, right) | Arithmetic(op, left, right):
            return f"{_group(left)} {op.upper()} {_group(right)}"
        case And(args):
            return " AND ".join(map(_group, args))
        case Or(args):
            return " OR ".join(map(_group, args))
        case Not(arg):
            return f"NOT {_group(arg)}"
        case IsNull(arg):
            return f"{_group(arg)} IS NULL"
        case InList(arg, values):
            shown = [show(v) for v in values[:8]] + ([f"… {len(values)} values"] if len(values) > 8 else [])
            return f"{_group(arg)} IN ({', '.join(shown)})"
        case Case(whens, otherwise):
            body = " ".join(f"WHEN {show(c)} THEN {show(v)}" for c, v in whens)
            return f"CASE {body} ELSE {show(otherwise)} END"
        case Call(name, args, _):
            return f"{name}({', '.join(map(show, args))})"
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def show_aggregate(call: AggregateCall) -> str:
    args = "*" if call.name == "count_star" else ", ".join(map(show, call.args))
    name = "count" if call.name == "count_star" else call.name
    order = f" ORDER BY {', '.join(map(show_sort_key, call.order_by))}" if call.order_by else ""
    tail = f" FILTER ({show(call.filter)})" if call.filter is not None else ""
    return f"{name}({'DISTINCT ' if call.distinct else ''}{args}{order}){tail}"


def show_sort_key(key: SortKey) -> str:
    return f"{show(key.expr)}{' DESC' if key.descending else ''}{' NULLS FIRST' if key.nulls_first else ''}"


def _group(expr: Expr) -> str:
    text = show(expr)
    return f"({text})" if isinstance(expr, (And, Or, Not, Comparison, Arithmetic, InList, IsNull)) else text


def _show_literal(value: Any, dtype: pa.DataType) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, pa.MonthDayNano):
        months, days, nanos = value
        return f"INTERVAL '{months} months {days} days {nanos // 1000} us'"
    if types.is_temporal(dtype):
        return f"{types.type_name(dtype)} '{value}'"
    return str(value)
