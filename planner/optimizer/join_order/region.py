"""A region of joins, taken apart: relations, predicates over them, and the joins that are not inner.

Inner joins dissolve into their conditions. LEFT, SEMI, ANTI, MARK and SINGLE joins do not combine two
relations as equals: each looks at one row of its left input at a time and filters or extends it. Such an
*operator* may run at any point at which the columns it reads are there, so it is kept with the set of
relations it needs, and the search places it by cost. (A LEFT join B) INNER JOIN C is (A INNER JOIN C) LEFT
JOIN B as long as the inner condition does not read B; conditions that do read it wait for it.

FULL joins and everything that is no join are relations: walls to the search, behind which other regions may
lie.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from planner.expr import Column, ColumnId, Expr, column, columns_of, conjuncts, is_volatile, substitute
from planner.logical import Filter, Item, Join, JoinKind, LogicalPlan, Project, project_to
from planner.record import record

_OPERATORS = (JoinKind.LEFT, JoinKind.RIGHT, JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK, JoinKind.SINGLE)


@record
class Operator:
    """A join that is not inner, without its left input: ``join.left`` is only where it came from.

    ``needs`` are the columns of the left input that it reads. ``after`` are the relations and operators, by
    position in the region, that must come before it whatever it reads.
    """

    join: Join
    right: LogicalPlan
    needs: frozenset[ColumnId]
    after: frozenset[ColumnId] = frozenset()


@dataclass(slots=True)
class Region:
    """What ``take_apart`` found below ``root``: it equals the inner join of ``relations`` on ``predicates``
    with ``operators`` applied, projected by ``output``.
    """

    root: LogicalPlan
    relations: list[LogicalPlan] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    predicates: list[Expr] = field(default_factory=list)
    computed: dict[ColumnId, Expr] = field(default_factory=dict)

    def output(self, plan: LogicalPlan, ordered: bool) -> LogicalPlan:
        """``plan``, which has the columns of all relations, with those of ``root`` (``ordered``: in its order)."""
        schema = self.root.schema
        if any(f.id in self.computed for f in schema):
            return Project(plan, tuple(Item(f, self.computed.get(f.id, column(f))) for f in schema))
        if not ordered and plan.schema.ids == schema.ids:
            return plan
        return project_to(plan, [f.id for f in schema])

    def has_own_columns(self) -> bool:
        """Whether no column comes from two relations (a subplan that is read twice without new ids)."""
        inputs = [*self.relations, *(o.right for o in self.operators)]
        return sum(len(p.schema) for p in inputs) == len(frozenset().union(*(p.schema.ids for p in inputs)))


def is_region(plan: LogicalPlan) -> bool:
    """Whether a region of joins starts at ``plan``: a join, or filters and projections above one."""
    while True:
        match plan:
            case Join():
                return _dissolves(plan)
            case Filter(input, predicate):
                if is_volatile(predicate):
                    return False
                plan = input
            case Project(input, items):
                if any(is_volatile(i.expr) for i in items):
                    return False
                plan = input
            case _:
                return False


def _dissolves(plan: Join) -> bool:
    if plan.kind is not JoinKind.INNER and plan.kind not in _OPERATORS:
        return False
    return not any(is_volatile(e) for e in plan.expressions())


def take_apart(root: LogicalPlan) -> Region:
    """The region that starts at ``root`` (``is_region`` holds)."""
    region = Region(root)
    _collect(root, region)
    return region


def _collect(plan: LogicalPlan, region: Region) -> None:
    if not is_region(plan):
        region.relations.append(plan)
        return
    match plan:
        case Filter(input, predicate):
            _collect(input, region)
            region.predicates += _rewritten(conjuncts(predicate), region)
        case Project(input, items):
            _collect(input, region)
            computed = {}
            for item in items:
                if not (isinstance(item.expr, Column) and item.expr.id == item.field.id):
                    computed[item.field.id] = substitute(item.expr, region.computed)
            region.computed.update(computed)
        case Join(JoinKind.INNER, left, right):
            _collect(left, region)
            _collect(right, region)
            region.predicates += _rewritten((c for e in plan.condition for c in conjuncts(e)), region)
        case Join(JoinKind.RIGHT, left, right):
            _collect(right, region)
            _operator(replace(plan, kind=JoinKind.LEFT, left=right, right=left), region)
        case Join(_, left, _):
            _collect(left, region)
            _operator(plan, region)
        case _:
            raise TypeError(f"not part of a region: {plan!r}")


def _operator(join: Join, region: Region) -> None:
    """Note a join that is not inner; its left input is collected already."""
    changed = join.with_expressions(_rewritten(join.expressions(), region))
    assert isinstance(changed, Join)
    own = frozenset() if join.mark is None else frozenset((join.mark.id,))
    needs = columns_of(*changed.expressions()) - join.right.schema.ids - own
    after = frozenset[ColumnId]()
    # A scalar subquery that yields two rows is an error, which a row that another join drops must not
    # raise: it stays above what it was above. So does a join that reads nothing, for want of a better
    # place.
    if join.kind is JoinKind.SINGLE or not needs:
        after = frozenset(id for p in region.relations for id in p.schema.ids)
    region.operators.append(Operator(changed, join.right, needs, after))


def _rewritten(expressions: Iterable[Expr], region: Region) -> list[Expr]:
    """The expressions over the relations' own columns."""
    if not region.computed:
        return list(expressions)
    return [substitute(e, region.computed) for e in expressions]
