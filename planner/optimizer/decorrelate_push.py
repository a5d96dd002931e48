"""Pushing a dependent join down, operator by operator: the general way, which every subquery can go.

Instead of once for each outer row, the subquery is evaluated once for all combinations of the values it
reads (the domain). Every operator that is correlated handles all combinations side by side, its rows tagged
with theirs: aggregates group by the tags too, joins compare them, LIMIT counts within them. Operators that
read no outer column are left as they are. After Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW
2015) and "Improving Unnesting of Complex Queries" (BTW 2025); a nested dependent join gets its outer values
from its left side, and is removed after.

Where a filter ``outer = inner`` makes an inner column equal to an outer one, that column is the tag and the
domain need not be joined.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import field, replace

from planner.errors import PlanError
from planner.expr import (
    Case,
    Column,
    ColumnId,
    Comparison,
    Expr,
    IsNull,
    Not,
    column,
    columns_of,
    conjuncts,
    is_volatile,
    mint,
    new_field,
    substitute,
)
from planner.logical import (
    Aggregate,
    CommonSubplan,
    DependentJoin,
    Filter,
    Item,
    Join,
    JoinKind,
    Limit,
    LogicalPlan,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
    passthrough,
)
from planner.optimizer.construct import extended, filtered
from planner.optimizer.decorrelate_columns import distinct_columns, without_outer_leaf
from planner.optimizer.decorrelate_domain import Domain, Tagged, equal_tags
from planner.optimizer.decorrelate_limit import first_rows, limited
from planner.optimizer.decorrelate_one_row import renamed_calls
from planner.optimizer.decorrelate_pull import LEFT_PRESERVING
from planner.outer_columns import OuterColumns
from planner.record import record
from planner.rename import substitute_columns
from planner.types import has_equal_variants


@record
class Push:
    """One dependent join on its way down: its domain, which outer columns each plan reads, and whether an
    expression of the subquery may fail."""

    domain: Domain
    reads: OuterColumns
    fallible: bool
    _common: dict[int, tuple[CommonSubplan, Tagged]] = field(default_factory=dict)

    def needed(self, plan: LogicalPlan) -> Set[ColumnId]:
        return self.reads.of(plan) & self.domain.columns

    def __call__(self, plan: LogicalPlan, columns: Set[ColumnId] = frozenset()) -> Tagged:
        """``plan`` for every combination, with tags for what it reads and for ``columns``.

        Its columns keep their ids; there may be more of them than before.
        """
        tagged = self._push(plan) if self.needed(plan) else Tagged(plan)
        return self.domain.extend(tagged, columns)

    def _push(self, plan: LogicalPlan) -> Tagged:
        match plan:
            case Scan() | Values():
                return self(without_outer_leaf(plan))
            case Filter(source, predicate):
                return self._restrict(self(source), conjuncts(predicate))
            case Project():
                return self._project(plan)
            case Join(JoinKind.INNER):
                return self._inner_join(plan)
            case DependentJoin():
                return self._dependent_join(plan)
            case Join(JoinKind.RIGHT):
                return self._right_join(plan)
            case Join(JoinKind.FULL):
                return self._full_join(plan)
            case Join(kind) if kind in LEFT_PRESERVING:
                return self._left_join(plan)
            case Aggregate(_, ()):
                return self._aggregate_all(plan)
            case Aggregate():
                return self._aggregate(plan)
            case Sort(source, _, None, 0):
                return self(source)
            case Sort() | Limit():
                return self._limit(plan)
            case Union():
                return self._union(plan)
            case Window(source):
                tagged = self(source, self.needed(plan))
                window = plan.with_expressions([substitute(e, tagged.tags) for e in plan.expressions()])
                assert isinstance(window, Window)
                partition = distinct_columns([*window.partition, *tagged.tags.values()])
                return replace(tagged, plan=replace(window, input=tagged.plan, partition=partition))
            case CommonSubplan():
                return self._common_subplan(plan)
            case _:
                raise PlanError(f"decorrelate: not a logical operator: {type(plan).__name__}")

    def _restrict(self, tagged: Tagged, predicates: Sequence[Expr]) -> Tagged:
        """A filter: outer columns without a tag get one from a predicate that equates them, else from the
        domain."""
        needed = columns_of(*predicates) & self.domain.columns
        items: list[Item] = []
        tags, rest = dict(tagged.tags), []
        for predicate in predicates:
            found = self._tag_source(predicate, needed - tags.keys())
            if found is None:
                rest.append(predicate)
                continue
            outer, inner = found
            item = Item(new_field(outer.name, outer.dtype, nullable=False), inner)
            tags[outer.id] = column(item.field)
            items.append(item)
        # A NULL equals nothing; the filter comes first, since the new columns are declared not to be NULL.
        plan = filtered(tagged.plan, [Not(IsNull(i.expr)) for i in items])
        tagged = self.domain.extend(Tagged(extended(plan, items), tags), needed)
        return replace(tagged, plan=filtered(tagged.plan, [substitute(p, tagged.tags) for p in rest]))

    def _tag_source(self, predicate: Expr, missing: Set[ColumnId]) -> tuple[Column, Expr] | None:
        """The outer column that ``predicate`` equates with an inner expression, and that expression.

        Not where they may be equal and yet not the same value to compute with, as 0.0 and -0.0. Not where an
        expression of the subquery may fail: it is then evaluated for the outer values only.
        """
        if self.fallible or not isinstance(predicate, Comparison) or predicate.op != "=":
            return None
        for a, b in ((predicate.left, predicate.right), (predicate.right, predicate.left)):
            if isinstance(a, Column) and a.id in missing and not has_equal_variants(a.dtype):
                if not columns_of(b) & self.domain.columns and not is_volatile(b):
                    return a, b
        return None

    def _project(self, plan: Project) -> Tagged:
        tagged = self(plan.input, self.needed(plan))
        items = [Item(i.field, substitute(i.expr, tagged.tags)) for i in plan.items]
        own = {i.field.id for i in items}
        kept = [tagged.plan.schema[t.id] for t in tagged.tags.values() if t.id not in own]
        return replace(tagged, plan=Project(tagged.plan, (*items, *passthrough(kept))))

    def _inner_join(self, plan: Join) -> Tagged:
        left, right = self(plan.left), self(plan.right)
        tags = {**right.tags, **left.tags}
        later = [c for c in plan.condition if columns_of(c) & self.domain.columns - tags.keys()]
        condition = [substitute(c, tags) for c in plan.condition if c not in later]
        joined = Join(JoinKind.INNER, left.plan, right.plan, (*equal_tags(left, right), *condition))
        return self._restrict(Tagged(joined, tags), later)

    def _left_join(self, plan: Join) -> Tagged:
        left, right = self(plan.left, self.needed(plan)), self(plan.right)
        return replace(left, plan=self._joined(plan, left, right, left.tags))

    def _right_join(self, plan: Join) -> Tagged:
        left, right = self(plan.left), self(plan.right, self.needed(plan))
        return replace(right, plan=self._joined(plan, left, right, right.tags))

    def _full_join(self, plan: Join) -> Tagged:
        """A row without a match has its tags on one side only."""
        needed = self.needed(plan)
        left, right = self(plan.left, needed), self(plan.right, needed)
        joined = self._joined(plan, left, right, left.tags)
        items = []
        for c, tag in left.tags.items():
            value = Case(((IsNull(tag), right.tags[c]),), tag)
            items.append(Item(new_field(tag.name, tag.dtype), value))
        tags = {c: column(i.field) for c, i in zip(left.tags, items, strict=True)}
        return Tagged(extended(joined, items), tags)

    def _joined(self, plan: Join, left: Tagged, right: Tagged, tags: dict[ColumnId, Column]) -> Join:
        condition = (*equal_tags(left, right), *(substitute(c, tags) for c in plan.condition))
        comparison = None if plan.comparison is None else substitute(plan.comparison, tags)
        return Join(plan.kind, left.plan, right.plan, condition, comparison, plan.mark)

    def _dependent_join(self, plan: DependentJoin) -> Tagged:
        """Its right side reads the outer values from its left side: a dependent join of one level less."""
        left = self(plan.left, self.needed(plan))
        right = substitute_columns(plan.right, left.tags)
        condition = tuple(substitute(c, left.tags) for c in plan.condition)
        comparison = None if plan.comparison is None else substitute(plan.comparison, left.tags)
        return replace(left, plan=DependentJoin(plan.kind, left.plan, right, condition, comparison, plan.mark))

    def _aggregate(self, plan: Aggregate) -> Tagged:
        tagged = self(plan.input, self.needed(plan))
        keys = distinct_columns([*plan.keys, *tagged.tags.values()])
        return replace(tagged, plan=self.grouped(plan, tagged, keys))

    def _aggregate_all(self, plan: Aggregate) -> Tagged:
        """One row also for the combinations of whose rows there are none."""
        needed = self.needed(plan)
        tagged = self(plan.input, needed)
        calls, values = renamed_calls(plan.aggregates)
        grouped = self.grouped(replace(plan, aggregates=calls), tagged, tuple(tagged.tags.values()))
        combinations = self.domain.read(needed)
        condition = equal_tags(combinations, Tagged(grouped, tagged.tags))
        joined = Join(JoinKind.LEFT, combinations.plan, grouped, condition)
        tags = passthrough(combinations.plan.schema.fields)
        items = (Item(a.field, values[a.field.id]) for a in plan.aggregates)
        return Tagged(Project(joined, (*tags, *items)), combinations.tags)

    def grouped(self, plan: Aggregate, tagged: Tagged, keys: tuple[Column, ...]) -> Aggregate:
        """The aggregates of ``plan`` over ``tagged``, its input for every combination."""
        calls = []
        for item in plan.aggregates:
            expressions = [substitute(e, tagged.tags) for e in item.call.expressions()]
            calls.append(replace(item, call=item.call.with_expressions(expressions)))
        return Aggregate(tagged.plan, keys, tuple(calls))

    def _limit(self, plan: Limit | Sort) -> Tagged:
        source, keys, limit, offset = limited(plan)
        tagged = self(source, self.needed(plan))
        order = [replace(k, expr=substitute(k.expr, tagged.tags)) for k in keys]
        first = first_rows(tagged.plan, tuple(tagged.tags.values()), order, limit, offset)
        return replace(tagged, plan=first)

    def _union(self, plan: Union) -> Tagged:
        needed = self.needed(plan)
        fields = {c: replace(self.domain.fields[c], id=mint()) for c in sorted(needed)}
        inputs = []
        for source in plan.inputs:
            tagged = self(source, needed)
            columns = (*map(column, source.schema), *(tagged.tags[c] for c in fields))
            items = tuple(Item(new_field(c.name, c.dtype), c) for c in columns)
            inputs.append(Project(tagged.plan, items))
        union = Union(tuple(inputs), (*plan.fields, *fields.values()))
        return Tagged(union, {c: column(f) for c, f in fields.items()})

    def _common_subplan(self, plan: CommonSubplan) -> Tagged:
        """It stays shared; every reader gets tags under ids of its own."""
        hit = self._common.get(id(plan))
        if hit is None:
            tagged = self(plan.input)
            hit = (plan, replace(tagged, plan=CommonSubplan(tagged.plan, plan.name)))
            self._common[id(plan)] = hit
        common = hit[1]
        renamed = {c: replace(common.plan.schema[t.id], id=mint()) for c, t in common.tags.items()}
        tags = tuple(Item(f, common.tags[c]) for c, f in renamed.items())
        plan_items = (*passthrough(plan.schema.fields), *tags)
        return Tagged(Project(common.plan, plan_items), {c: column(f) for c, f in renamed.items()})
