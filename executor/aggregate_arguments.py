"""What aggregates take, computed before the groups are made: cuDF aggregates columns, and little else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from executor.expressions import translate
from executor.frame import Context, Frame, stored
from planner.expr import AggregateCall, Column, Expr, column, column_name, columns_of, new_field
from planner.physical import AggregateExec


def compute_arguments(plan: AggregateExec, frame: Frame, context: Context) -> tuple[AggregateExec, Frame]:
    """The aggregation over columns, and the frame that has them; what several aggregates take is computed once."""
    found = dict.fromkeys(e for a in plan.aggregates for e in _computed(a.call))
    if not found:
        return plan, frame
    scope = context.scope(frame.columns, plan.bounds)
    fields = {expr: new_field("argument", expr.dtype) for expr in found}
    values = {expr: translate(expr, scope) for expr in found}
    names = {expr: column_name(field) for expr, field in fields.items()}
    lazy = frame.lazy.with_columns(values[e].expr.alias(names[e]) for e in found)
    columns = {**scope.columns, **{fields[e].id: stored(values[e], names[e]) for e in found}}

    def over_columns(call: AggregateCall) -> AggregateCall:
        taken = set(_computed(call))
        return call.with_expressions([column(fields[e]) if e in taken else e for e in call.expressions()])

    aggregates = tuple(replace(a, call=over_columns(a.call)) for a in plan.aggregates)
    return replace(plan, aggregates=aggregates), Frame(lazy, columns, frame.max_rows)


def _computed(call: AggregateCall) -> Iterator[Expr]:
    """What is more than a column; constants only where every row has one, not where they set how it aggregates."""
    for i, expr in enumerate(call.expressions()):
        if not isinstance(expr, Column) and (i == 0 or columns_of(expr)):
            yield expr
