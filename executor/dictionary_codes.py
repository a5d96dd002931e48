"""Text as codes on a GPU: a fragment over tables in memory reads the codes of text columns of few values instead.

Kernels over text are many times slower on a GPU than over numbers. Codes sort and group as the values do; what is asked
of one column alone is asked of each value when the fragment is compiled, and becomes a test of codes. The values take
the codes' place in the rows that come out, joined from the dictionary. A column that is used in any other way is read
as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl
from polars.exceptions import PanicException

from executor.expressions import translate
from executor.sources.dictionary import CODE, VALUE, CodedTable, Dictionary, dictionary
from executor.sources.memory import MemoryTable
from executor.value import Scope, Value
from planner import types
from planner.errors import PlanError
from planner.expr import (
    Column,
    ColumnId,
    Comparison,
    Expr,
    Field,
    InList,
    IsNull,
    Literal,
    Not,
    Schema,
    SortKey,
    column,
    columns_of,
    conjunction,
    is_volatile,
    new_field,
    substitute,
)
from planner.logical import AggregateItem, Item, JoinKind
from planner.physical import (
    AggregateExec,
    ExchangeExec,
    FilterExec,
    HashJoinExec,
    InputExec,
    KeyPair,
    LimitExec,
    MaterializeExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ProjectExec,
    ScanExec,
    SortExec,
    UnionExec,
    ValuesExec,
    WindowExec,
)
from planner.record import record
from planner.tree import transform_up, walk

_VALUE = column(new_field(VALUE, types.VARCHAR))  # in place of the column that is asked about
_MOST_KNOWN = 256  # tests of a dictionary's values


def with_codes(plan: PhysicalPlan) -> PhysicalPlan:
    """A plan of the same rows and columns that computes with codes where that pays; the plan itself if nowhere."""
    if isinstance(plan, ProjectExec) and all(isinstance(item.expr, Column) for item in plan.items):
        # It only picks, often of sorted rows: below it there is the order to keep.
        below = _with_codes(plan.input, columns_of(*(item.expr for item in plan.items)))
        return plan if below is plan.input else replace(plan, input=below)
    return _with_codes(plan, plan.schema.ids)


def _with_codes(plan: PhysicalPlan, needed: frozenset[ColumnId]) -> PhysicalPlan:
    """The same, with those columns alone that are needed, if it is not the plan itself."""
    dictionaries = dict(_dictionaries(plan))
    while dictionaries:
        attempt = _Attempt(dictionaries)
        coded = transform_up(plan, attempt.node)
        attempt.output(coded, needed)
        useless = dictionaries.keys() - attempt.used
        if not attempt.refused and not useless:
            return attempt.decoded(coded, Schema(tuple(f for f in plan.schema if f.id in needed)))
        dictionaries = {id: d for id, d in dictionaries.items() if id not in attempt.refused | useless}
    return plan


def _dictionaries(plan: PhysicalPlan) -> Iterable[tuple[ColumnId, Dictionary]]:
    for node in walk(plan):
        if isinstance(node, ScanExec) and isinstance(node.table, MemoryTable):
            names = Counter(f.name for f in node.fields)
            for item in node.fields:
                found = dictionary(node.table, item.name) if names[item.name] == 1 else None
                if found is not None:
                    yield item.id, found


@record
class _Code:
    """The codes in place of a column.

    Args:
        source: the column of a scan that it comes from.
        field: holds the codes.
    """

    source: ColumnId
    field: Field
    dictionary: Dictionary

    def renamed(self, item: Field) -> _Code:
        """The codes in place of another column of the same values."""
        return replace(self, field=new_field(item.name, self.field.dtype, item.nullable))


@dataclass(slots=True)
class _Attempt:
    """A plan over the codes of these columns of its scans, as far as that goes.

    Args:
        used: the columns whose codes are better than their text: they are tested, grouped or sorted by.
        refused: those that are used in a way that codes do not serve.
    """

    dictionaries: dict[ColumnId, Dictionary]
    codes: dict[ColumnId, _Code] = field(default_factory=dict)
    used: set[ColumnId] = field(default_factory=set)
    refused: set[ColumnId] = field(default_factory=set)

    def node(self, node: PhysicalPlan) -> PhysicalPlan:
        """An operator over inputs that hold codes."""
        match node:
            case ScanExec():
                return self._scan(node)
            case ValuesExec() | InputExec():
                return node
            case FilterExec():
                return replace(node, predicate=self.expr(node.predicate), schema=self._schema(node))
            case ProjectExec():
                return replace(node, items=tuple(map(self._item, node.items)), schema=self._schema(node))
            case HashJoinExec():
                keys = tuple(replace(k, left=self.expr(k.left), right=self.expr(k.right)) for k in node.keys)
                residual = self.exprs(node.residual)
                comparison = None if node.comparison is None else self.expr(node.comparison)
                schema = self._schema(node)
                return replace(node, keys=keys, residual=residual, comparison=comparison, schema=schema)
            case NestedLoopJoinExec():
                condition = self.exprs(node.condition)
                comparison = None if node.comparison is None else self.expr(node.comparison)
                return replace(node, condition=condition, comparison=comparison, schema=self._schema(node))
            case AggregateExec():
                by = tuple(map(self._key, node.keys))
                aggregates = tuple(map(self._aggregate, node.aggregates))
                return replace(node, keys=by, aggregates=aggregates, schema=self._schema(node))
            case SortExec():
                return replace(node, keys=self._sort_keys(node.keys), schema=self._schema(node))
            case WindowExec():
                partition = tuple(map(self._key, node.partition))
                calls = (i.call.with_expressions(self.exprs(i.call.expressions())) for i in node.items)
                items = tuple(replace(i, call=c) for i, c in zip(node.items, calls, strict=True))
                order = self._sort_keys(node.order)
                return replace(node, partition=partition, order=order, items=items, schema=self._schema(node))
            case LimitExec() | ExchangeExec() | MaterializeExec():
                return replace(node, schema=self._schema(node))
            case UnionExec():  # of columns with other dictionaries
                for part in node.inputs:
                    self._refuse(c.source for c in self.codes.values() if c.field.id in part.schema)
                return node
            case _:
                raise PlanError(f"not a physical operator: {node!r}")

    def output(self, plan: PhysicalPlan, needed: frozenset[ColumnId]) -> None:
        """See whether values can take the place of codes in the rows of a plan without losing their order."""
        chain, _ = _ordering(plan)
        below = plan
        while isinstance(below, (ProjectExec, LimitExec, FilterExec, MaterializeExec)):
            below = below.input
        if isinstance(below, SortExec) and not chain:
            self._refuse(self.codes[id].source for id in needed if id in self.codes)

    def decoded(self, plan: PhysicalPlan, schema: Schema) -> PhysicalPlan:
        """The columns of ``schema`` of a plan, with values in place of codes."""
        coded = {self.codes[f.id].field.id: self.codes[f.id] for f in schema if f.id in self.codes}
        if not coded:
            return plan
        chain, below = _ordering(plan)
        sort = next((n for n in chain if isinstance(n, SortExec)), None)
        # A join keeps no order. What is only sorted is so afterwards, by the codes; the first of a sort are few.
        full = len(chain) == 1 and sort is not None and sort.limit is None and not sort.offset
        joined = below if full else plan
        values: dict[ColumnId, Field] = {}
        for id, code in coded.items():
            key = new_field(CODE, code.field.dtype, nullable=False)
            value = values[id] = new_field(VALUE, types.VARCHAR)
            held = Schema((key, value))
            rows = ScanExec(code.dictionary.table, held.fields, held)
            pair = KeyPair(column(code.field), column(key))
            # LEFT: an outer join makes NULLs in a column that has none in its table.
            joined = HashJoinExec(JoinKind.LEFT, joined, rows, (pair,), Schema((*joined.schema, *held)))
        if sort is not None:
            joined = SortExec(joined, sort.keys, joined.schema, bounds=sort.bounds)
        found = [self._field(item) for item in schema]
        items = (Item(item, column(values.get(f.id, f))) for item, f in zip(schema, found, strict=True))
        return ProjectExec(joined, tuple(items), schema)

    def _refuse(self, sources: Iterable[ColumnId]) -> None:
        self.refused.update(sources)

    def _field(self, item: Field) -> Field:
        code = self.codes.get(item.id)
        return item if code is None else replace(code.field, nullable=item.nullable)

    def _schema(self, node: PhysicalPlan) -> Schema:
        return Schema(tuple(map(self._field, node.schema)))

    def _scan(self, node: ScanExec) -> PhysicalPlan:
        found = {f.id: self.dictionaries[f.id] for f in node.fields if f.id in self.dictionaries}
        if not found:
            return node
        assert isinstance(node.table, MemoryTable)
        dictionaries: dict[str, Dictionary] = {}
        bounds = dict(node.bounds)
        for item in node.fields:
            if item.id in found:
                dictionaries[item.name] = known = found[item.id]
                held = new_field(item.name, known.dtype, item.nullable)
                code = self.codes.setdefault(item.id, _Code(item.id, held, known))
                bounds[code.field.id] = 0, len(known.values) - 1
        not_null = node.not_null | {self.codes[id].field.id for id in node.not_null if id in found}
        return replace(
            node,
            table=CodedTable(node.table, dictionaries),
            fields=tuple(map(self._field, node.fields)),
            schema=self._schema(node),
            predicates=self.exprs(node.predicates),
            bounds=bounds,
            not_null=not_null,
        )

    def _item(self, item: Item) -> Item:
        code = self.codes.get(item.expr.id) if isinstance(item.expr, Column) else None
        if code is None:
            return Item(item.field, self.expr(item.expr))
        # A column that several operators give under one id is one column: of the same codes, or of none.
        held = self.codes.setdefault(item.field.id, code.renamed(item.field))
        if held.source != code.source:
            self._refuse((held.source, code.source))
        return Item(self._field(item.field), column(code.field))

    def _aggregate(self, item: AggregateItem) -> AggregateItem:
        call = item.call
        if call.name == "count" and call.filter is None and isinstance(call.args[0], Column):
            return AggregateItem(item.field, replace(call, args=(self._key(call.args[0]),)))
        return AggregateItem(item.field, call.with_expressions(self.exprs(call.expressions())))

    def _key(self, key: Column) -> Column:
        """A column that is only told from its like: as a code, if there is one."""
        code = self.codes.get(key.id)
        if code is None:
            return key
        self.used.add(code.source)
        return column(code.field)

    def _sort_keys(self, keys: Sequence[SortKey]) -> tuple[SortKey, ...]:
        return tuple(
            replace(k, expr=self._key(k.expr) if isinstance(k.expr, Column) else self.expr(k.expr)) for k in keys
        )

    def exprs(self, exprs: Iterable[Expr]) -> tuple[Expr, ...]:
        return tuple(map(self.expr, exprs))

    def expr(self, expr: Expr) -> Expr:
        """An expression over codes; columns that it needs as text are refused."""
        read = columns_of(expr)
        coded = [self.codes[id] for id in read if id in self.codes]
        if not coded:
            return expr
        if isinstance(expr, Column):
            self._refuse(c.source for c in coded)
            return expr
        if isinstance(expr, IsNull) and isinstance(expr.arg, Column):
            return IsNull(column(coded[0].field))
        if len(read) == 1 and expr.dtype == types.BOOLEAN and not is_volatile(expr):
            (code,) = coded
            found = _test(expr, next(iter(read)), code)
            if found is not None:
                self.used.add(code.source)
                return found
        return expr.with_children(self.exprs(expr.children()))


def _ordering(plan: PhysicalPlan) -> tuple[list[SortExec | LimitExec], PhysicalPlan]:
    """The sorts and limits that stand last in a plan, if there is a sort, and what they read."""
    chain: list[SortExec | LimitExec] = []
    below = plan
    while isinstance(below, (SortExec, LimitExec)):
        chain.append(below)
        below = below.input
    return (chain, below) if any(isinstance(n, SortExec) for n in chain) else ([], plan)


def _test(expr: Expr, id: ColumnId, code: _Code) -> Expr | None:
    """What a truth value that depends on one column alone is, asked of its codes; None if no test of codes is that."""
    truths = _truths(expr, id, code.dictionary)
    if truths is None:
        return None
    *of_values, of_null = truths
    if of_null is not None or None in of_values:  # a test of a code is NULL for a NULL, and for nothing else
        return None
    return _member([i for i, true in enumerate(of_values) if true], len(of_values), code)


def _truths(expr: Expr, id: ColumnId, dictionary: Dictionary) -> list[bool | None] | None:
    """The expression of each value, and of NULL; None where it fails for some: perhaps no row that counts has that."""
    asked = substitute(expr, {id: _VALUE})
    known = dictionary.truths
    if asked in known:
        return known[asked]
    if len(known) >= _MOST_KNOWN:  # not cleared: another thread may be about to look
        known.pop(next(iter(known)), None)
    found = known[asked] = _found(asked, dictionary)
    return found


def _found(expr: Expr, dictionary: Dictionary) -> list[bool | None] | None:
    rows = pl.DataFrame({VALUE: [*dictionary.values, None]}, schema={VALUE: pl.String})
    try:
        value = translate(expr, Scope({_VALUE.id: Value(pl.col(VALUE), types.VARCHAR)}))
        return rows.with_columns(value.expr.alias(VALUE)).to_series().to_list()  # for each, also if it is a constant
    except (Exception, PanicException):  # of any kind: as text it is computed for the rows that count
        return None


def _member(chosen: Sequence[int], count: int, code: _Code) -> Expr:
    """Whether the code is one of the chosen ones, of so many; NULL if it is NULL."""
    held = column(code.field)

    def compare(op: str, number: int) -> Expr:
        return Comparison(op, held, Literal(number, code.field.dtype))

    if not chosen:
        return compare("<", 0)
    low, high = chosen[0], chosen[-1]
    if len(chosen) == high - low + 1:
        if low == high:
            return compare("=", low)
        least = [compare(">=", low)] if low > 0 or high == count - 1 else []
        most = [compare("<=", high)] if high < count - 1 else []
        return conjunction([*least, *most])
    others = sorted(set(range(count)).difference(chosen))
    if len(others) == 1:
        return compare("<>", others[0])
    few, inverted = (chosen, False) if len(chosen) <= len(others) else (others, True)
    member = InList(held, tuple(Literal(number, code.field.dtype) for number in few))
    return Not(member) if inverted else member
