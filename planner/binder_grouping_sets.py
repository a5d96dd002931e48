"""Grouping sets: ROLLUP, CUBE and GROUPING SETS written out as the sets of keys that they stand for, and the plan
that groups by each of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product

from sqlglot import exp

from planner import types
from planner.binder_scope import Environment
from planner.expr import (
    Column,
    ColumnId,
    Expr,
    Field,
    Literal,
    column,
    columns_of,
    new_field,
    null,
    substitute,
)
from planner.logical import Aggregate, AggregateItem, CommonSubplan, Item, LogicalPlan, Project, Union, Values
from planner.record import record

# Each set is an operator of its own in the plan; what so many take is counted in minutes already.
MOST_SETS = 4096

_Set = tuple[exp.Expression, ...]
_SEVERAL = (exp.Rollup, exp.Cube, exp.GroupingSets)


@record
class GroupingSets:
    """What GROUP BY lists: every key once for each place where it stands, and the sets by positions among them.

    ``distinct``: sets of the same keys count once.
    """

    keys: tuple[exp.Expression, ...]
    sets: tuple[tuple[int, ...], ...]
    distinct: bool = False

    def of(self, columns: Sequence[Column]) -> list[tuple[Column, ...]]:
        """The sets of the columns that the keys are."""
        sets = [tuple(dict.fromkeys(columns[at] for at in s)) for s in self.sets]
        return list({frozenset(s): s for s in sets}.values()) if self.distinct else sets


def grouping_sets(group: exp.Group, env: Environment) -> GroupingSets:
    """The keys and sets of a GROUP BY; plain keys are one set.

    Raises:
        BindError: there are too many sets, or a list without a key.
        UnsupportedError: other syntax.
    """
    if group.args.get("totals"):
        raise env.unsupported("TOTALS is not supported yet", group)
    elements = list(group.expressions)
    if group.args.get("all") and any(isinstance(e, _SEVERAL) for e in elements):
        raise env.error("GROUP BY ALL finds its keys itself", elements[0], hint="leave ALL out, or the keys")
    if trailing := [t for kind in ("rollup", "cube", "grouping_sets") for t in group.args.get(kind) or ()]:
        sets = _trailing(elements, trailing, env)
    else:
        _check_count(math.prod(_count(e, env) for e in elements), elements, env)
        sets = [_joined(parts) for parts in product(*(_sets(e) for e in elements))]
    keys = tuple(key for e in (*elements, *trailing) for key in _keys(e))
    at = {id(key): position for position, key in enumerate(keys)}
    distinct = group.args.get("all") is False  # PostgreSQL's GROUP BY DISTINCT
    return GroupingSets(keys, tuple(tuple(at[id(key)] for key in s) for s in sets), distinct)


def _trailing(elements: Sequence[exp.Expression], forms: Sequence[exp.Expression], env: Environment) -> list[_Set]:
    """``GROUP BY a, b WITH ROLLUP`` and ``GROUP BY a, b GROUPING SETS (…)``, which make sets of the keys before."""
    form = forms[0]
    if len(forms) > 1 or any(isinstance(e, _SEVERAL) for e in elements):
        raise env.unsupported("WITH ROLLUP and its like go with plain keys only", elements[0])
    parts = [_composite(e) for e in elements]
    match form:
        case exp.GroupingSets():
            _check_count(_count(form, env), elements, env)
            return _sets(form)
        case exp.Cube():
            _check_count(2 ** len(parts), elements, env)
            return _cube(parts)
        case _:
            _check_count(len(parts) + 1, elements, env)
            return _rollup(parts)


def _check_count(count: int, elements: Sequence[exp.Expression], env: Environment) -> None:
    if count > MOST_SETS:
        raise env.error(
            f"GROUP BY has {count:,} grouping sets, and {MOST_SETS:,} are the most",
            next((e for e in elements if isinstance(e, exp.Cube | exp.GroupingSets)), elements[0]),
            hint="list the sets that are needed with GROUPING SETS",
        )


def _count(node: exp.Expression, env: Environment) -> int:
    """How many sets an element stands for, before they are written out."""
    match node:
        case exp.Rollup() | exp.Cube():
            if not node.expressions:
                raise env.error(f"{node.key.upper()} needs a key", node)
            return 2 ** len(node.expressions) if isinstance(node, exp.Cube) else len(node.expressions) + 1
        case exp.GroupingSets():
            return sum(_count(e, env) for e in node.expressions)
        case _:
            return 1


def _sets(node: exp.Expression) -> list[_Set]:
    """The sets that an element of GROUP BY stands for."""
    match node:
        case exp.Rollup():
            return _rollup([_composite(e) for e in node.expressions])
        case exp.Cube():
            return _cube([_composite(e) for e in node.expressions])
        case exp.GroupingSets():
            return [s for e in node.expressions for s in _sets(e)]
        case _:
            return [_composite(node)]


def _rollup(parts: Sequence[_Set]) -> list[_Set]:
    return [_joined(parts[:n]) for n in range(len(parts), -1, -1)]


def _cube(parts: Sequence[_Set]) -> list[_Set]:
    return [_joined(chosen) for n in range(len(parts), -1, -1) for chosen in combinations(parts, n)]


def _joined(parts: Iterable[_Set]) -> _Set:
    return tuple(key for part in parts for key in part)


def _composite(node: exp.Expression) -> _Set:
    """The keys of ``a`` or ``(a, b)``, however nested."""
    return tuple(_keys(node))


def _keys(node: exp.Expression) -> Iterator[exp.Expression]:
    """The keys in an element, in the order in which they are written."""
    match node:
        case exp.Paren():
            yield from _keys(node.this)
        case exp.Tuple() | exp.Rollup() | exp.Cube() | exp.GroupingSets():
            for part in node.expressions:
                yield from _keys(part)
        case exp.Anonymous() if str(node.this).lower() == "row":
            for part in node.expressions:
                yield from _keys(part)
        case _:
            yield node


# ------------------------------------------------------------------------------ the plan


def aggregate(plan: LogicalPlan, keys: tuple[Column, ...], items: tuple[AggregateItem, ...]) -> LogicalPlan:
    """The groups of ``plan``. All rows as one group, of which nothing is asked, are one row, however many they are."""
    return Aggregate(plan, keys, items) if keys or items else Values((), ((),))


def aggregate_by_sets(
    plan: LogicalPlan,
    sets: Sequence[tuple[Column, ...]],
    outputs: Mapping[Column, Field],
    aggregates: Sequence[AggregateItem],
    calls: Mapping[tuple[Column, ...], Field],
) -> LogicalPlan:
    """The groups of every set, one after another. Keys that a set lacks are NULL.

    All sets read the same rows, which so are computed once; the optimizer sees which sets can be computed from others.

    Args:
        plan: the rows, with the keys among their columns.
        outputs: the keys, and what each becomes.
        aggregates: computed over the rows as they are: a key in an aggregate is no NULL.
        calls: what GROUPING is asked for, and the column that it becomes.
    """
    if not outputs and not aggregates:  # a row for each set, as in ``aggregate``
        return Values((), ((),) * len(sets))
    rows = CommonSubplan(plan, "grouping sets")
    keys = tuple(outputs)
    fields = []
    for key, output in outputs.items():
        nullable = plan.schema[key.id].nullable or any(key not in s for s in sets)
        fields.append(replace(output, nullable=nullable))
    times = Counter(map(frozenset, sets))
    branches: list[LogicalPlan] = []
    for chosen, n in times.items():
        branch = _branch(rows, tuple(k for k in keys if k in chosen), keys, aggregates, calls)
        branches += [branch] if n == 1 else _repeated(branch, n)
    return Union(tuple(branches), (*fields, *(a.field for a in aggregates), *calls.values()))


def _branch(
    rows: CommonSubplan,
    keys: tuple[Column, ...],
    all_keys: Sequence[Column],
    aggregates: Sequence[AggregateItem],
    calls: Mapping[tuple[Column, ...], Field],
) -> LogicalPlan:
    """The groups of one set, with the columns of all sets under new ids."""
    read = columns_of(*keys, *(e for a in aggregates for e in a.call.expressions()))
    renamed = {f.id: new_field(f.name, f.dtype, f.nullable) for f in rows.schema if f.id in read}
    own: dict[ColumnId, Expr] = {old: column(f) for old, f in renamed.items()}
    source = Project(rows, tuple(Item(f, column(rows.schema[old])) for old, f in renamed.items()))
    items = []
    for item in aggregates:
        call = item.call.with_expressions([substitute(e, own) for e in item.call.expressions()])
        items.append(AggregateItem(new_field(item.field.name, item.field.dtype, item.field.nullable), call))
    groups = aggregate(source, tuple(column(renamed[key.id]) for key in keys), tuple(items))
    output = []
    for key in all_keys:
        if key in keys:
            output.append(Item(renamed[key.id], column(renamed[key.id])))
        else:
            output.append(Item(new_field(key.name, key.dtype), null(key.dtype)))
    output += [Item(i.field, column(i.field)) for i in items]
    for asked, field in calls.items():
        bits = Literal(_grouping_bits(asked, keys), types.BIGINT)
        output.append(Item(new_field(field.name, field.dtype, nullable=False), bits))
    return Project(groups, tuple(output))


def _repeated(branch: LogicalPlan, times: int) -> list[LogicalPlan]:
    """A set that stands several times: computed once, and given out each time."""
    common = CommonSubplan(branch, "grouping set")
    return [
        Project(common, tuple(Item(new_field(f.name, f.dtype, f.nullable), column(f)) for f in branch.schema))
        for _ in range(times)
    ]


def _grouping_bits(asked: Sequence[Column], keys: Sequence[Column]) -> int:
    """GROUPING of the set ``keys``: a bit for each argument, the first the highest, set where the set lacks it."""
    bits = 0
    for key in asked:
        bits = bits * 2 + (key not in keys)
    return bits
