"""Decorrelation: every DependentJoin becomes plain joins. No form of correlation is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from planner import types
from planner.expr import (
    TRUE,
    Case,
    Expr,
    IsNull,
    column,
    new_field,
    null,
    substitute,
)
from planner.logical import Aggregate, DependentJoin, Item, Join, JoinKind, LogicalPlan, Project, operators, project_to
from planner.optimizer.construct import extended
from planner.optimizer.context import OptimizerContext
from planner.optimizer.decorrelate_domain import Domain, Tagged, domain_of, equal_tags
from planner.optimizer.decorrelate_one_row import finish, join_one_row, one_row, renamed_calls
from planner.optimizer.decorrelate_pull import Need, Pull, Pulled
from planner.optimizer.decorrelate_push import Push
from planner.optimizer.push_filters import is_fallible
from planner.outer_columns import OuterColumns
from planner.tree import replace_children, transform_up, walk


def decorrelate(plan: LogicalPlan, context: OptimizerContext) -> LogicalPlan:
    """Replace every DependentJoin by joins of independent inputs.

    Three ways are tried, the cheapest first: the correlation is pulled up into the join's condition; an
    aggregate of one row is grouped by the columns it is correlated by and outer-joined; else the dependent
    join is pushed down over the domain of the outer values. The modules ``decorrelate_pull``, ``_one_row``
    and ``_push`` say why each is safe (empty groups, NULLs, duplicates) and show plans.

    Inner dependent joins come first. One that only the general way can remove, and that stands in a
    subquery which itself reads columns of a query further out, waits until that query's values have been
    pushed down to it.
    """
    if DependentJoin not in operators(plan):
        return plan
    return _Decorrelation()(plan)


@dataclass(slots=True)
class _Decorrelation:
    reads: OuterColumns = field(default_factory=OuterColumns)
    _memo: dict[int, tuple[LogicalPlan, LogicalPlan]] = field(default_factory=dict)

    def __call__(self, plan: LogicalPlan) -> LogicalPlan:
        hit = self._memo.get(id(plan))
        if hit is None:
            hit = self._memo[id(plan)] = (plan, self._visit(plan))
        return hit[1]

    def _visit(self, plan: LogicalPlan) -> LogicalPlan:
        plan = replace_children(plan, [self(c) for c in plan.children()])
        if not isinstance(plan, DependentJoin):
            return plan
        removed = self._remove(plan)
        # Dependent joins within that had to wait for this one are met again.
        return plan if removed is plan else self(removed)

    def _remove(self, node: DependentJoin) -> LogicalPlan:
        """``node`` as other operators; ``node`` itself if it has to wait for one further out."""
        outer = node.left.schema.ids
        if not self.reads.of(node.right) & outer:
            return Join(node.kind, node.left, node.right, node.condition, node.comparison, node.mark)
        pull = Pull(outer, self.reads)
        plan = join_one_row(node, pull)
        if plan is not None:
            return plan
        pulled = pull(node.right, _need(node))
        if pulled is not None:
            return _join_pulled(node, pulled)
        return node if self.reads.of(node) else self._push(node)

    def _push(self, node: DependentJoin) -> LogicalPlan:
        row = one_row(node.right)
        body = node.right if row is None or not isinstance(row.base, Aggregate) else row.base
        columns = self.reads.of(body) & node.left.schema.ids
        left, domain = domain_of(node.left, columns)
        fallible = any(is_fallible(e) for n in walk(body) for e in n.expressions())
        push = Push(domain, self.reads, fallible)
        if row is not None and isinstance(row.base, Aggregate):
            # A left row without a partner has the value of an empty group: the domain is not needed for that.
            tagged = push(row.base.input, columns)
            calls, values = renamed_calls(row.base.aggregates)
            groups = push.grouped(replace(row.base, aggregates=calls), tagged, tuple(tagged.tags.values()))
            condition = _same_combination(left, Tagged(groups, tagged.tags))
            plan = finish(node, Join(JoinKind.LEFT, left, groups, condition), row, values)
        else:
            tagged = push(body)
            condition = (*_same_combination(left, tagged), *node.condition)
            joined = Join(node.kind, left, tagged.plan, condition, node.comparison, node.mark)
            plan = project_to(joined, [f.id for f in node.schema])
        return _inline_single_use(plan, domain)


def _same_combination(left: LogicalPlan, right: Tagged) -> tuple[Expr, ...]:
    """The predicates that a row of ``right`` belongs to the values of a left row."""
    return equal_tags(Tagged(left, {c: column(left.schema[c]) for c in sorted(right.tags)}), right)


def _need(node: DependentJoin) -> Need:
    """What the join wants to know of the rows of its right side."""
    if node.kind not in (JoinKind.SEMI, JoinKind.ANTI, JoinKind.MARK):
        return Need.ROWS
    return Need.SET if node.condition or node.comparison is not None else Need.EXISTENCE


def _join_pulled(node: DependentJoin, pulled: Pulled) -> LogicalPlan:
    """The join of the left side with ``pulled``, which filters and computes what the subquery could not."""
    condition = (*pulled.predicates, *(substitute(c, pulled.computed) for c in node.condition))
    comparison = None if node.comparison is None else substitute(node.comparison, pulled.computed)
    right = pulled.plan
    values = {f.id: pulled.computed[f.id] for f in node.schema if f.id in pulled.computed}
    if values and node.kind in (JoinKind.LEFT, JoinKind.SINGLE):
        matched = new_field("matched", types.BOOLEAN, nullable=False)
        right = extended(right, [Item(matched, TRUE)])
        missing = IsNull(column(matched))
        values = {id: Case(((missing, null(e.dtype)),), e) for id, e in values.items()}
    joined = Join(node.kind, node.left, right, condition, comparison, node.mark)
    if not values:
        return project_to(joined, [f.id for f in node.schema])
    return Project(joined, tuple(Item(f, values.get(f.id, column(f))) for f in node.schema))


def _inline_single_use(plan: LogicalPlan, domain: Domain) -> LogicalPlan:
    """A domain that is read in one place only needs no sharing."""
    readers = sum(c is domain.plan for n in walk(plan) for c in n.children())
    if readers != 1:
        return plan
    return transform_up(plan, lambda n: n.input if n is domain.plan else n)
