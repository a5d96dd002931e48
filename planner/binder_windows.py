"""Window functions: calls with OVER bound, windows that have a name, and the Window operators that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from sqlglot import exp

from planner import coercion, types
from planner.binder_aggregates import bind_call_parts
from planner.binder_expression_scope import ExpressionScope
from planner.binder_expressions import bind_expression, bind_sort_key, located
from planner.binder_scope import Environment
from planner.errors import BindError, SqlrayError, UnsupportedError, nearest
from planner.expr import ColumnId, Expr, Literal, SortKey, column, columns_of, is_volatile, new_field
from planner.functions_window import NEVER_NULL, PEERS, resolve_window
from planner.logical import LogicalPlan, Window, WindowItem
from planner.optimizer.decorrelate_columns import with_columns
from planner.record import record
from planner.window import (
    CURRENT_ROW,
    UP_TO_PEERS,
    WHOLE_PARTITION,
    Exclusion,
    FrameBound,
    FrameUnit,
    Side,
    WindowCall,
    WindowFrame,
)


@record
class WindowSyntax:
    """A window with all that those which it builds upon say."""

    partition: tuple[exp.Expression, ...] = ()
    order: tuple[exp.Expression, ...] = ()
    frame: exp.Expression | None = None


@record
class _Rows:
    """What rows a function sees, and in which order."""

    partition: tuple[Expr, ...]
    order: tuple[SortKey, ...]


@dataclass(slots=True)
class Windows:
    """The window functions of one SELECT, equal ones computed once, and the windows that its WINDOW clause names."""

    named: dict[str, exp.Expression] = field(default_factory=dict)
    items: dict[_Rows, dict[WindowCall, WindowItem]] = field(default_factory=dict)
    ids: set[ColumnId] = field(default_factory=set)  # of the columns that they become

    def name(self, windows: Sequence[exp.Expression], env: Environment) -> None:
        """Take the windows of a WINDOW clause.

        Raises:
            BindError: two go by one name.
        """
        for window in windows:
            name = window.this.name.lower()
            if name in self.named:
                raise env.error(f'window "{window.this.name}" is defined twice', window.this)
            self.named[name] = window

    def bind(self, node: exp.Expression, scope: ExpressionScope, env: Environment) -> Expr:
        """The column of a window function, whose parts are bound in ``scope``."""
        syntax = self._syntax(node, env)
        parts = bind_call_parts(node.this, scope)
        try:
            rows, frame = _bind_rows(syntax, scope)
            call = resolve_window(
                parts.name, parts.args, frame, distinct=parts.distinct, filter=parts.filter, order_by=parts.order,
                ignore_nulls=parts.ignore_nulls,
            )  # fmt: skip
        except SqlrayError as error:
            raise located(error, node, scope.sql) from None
        items = self.items.setdefault(rows, {})
        if call not in items:
            items[call] = WindowItem(new_field(parts.name, call.function.dtype, call.name not in NEVER_NULL), call)
            self.ids.add(items[call].field.id)
        return column(items[call].field)

    def apply(self, plan: LogicalPlan, rewrite: Callable[[Expr], Expr]) -> LogicalPlan:
        """``plan`` with the columns of all window functions; their parts are rewritten first."""
        found: dict[_Rows, list[WindowItem]] = {}
        for rows, items in self.items.items():
            keys = dict.fromkeys(e for e in map(rewrite, rows.partition) if not _is_constant(e))
            order = tuple(SortKey(rewrite(k.expr), k.descending, k.nulls_first) for k in rows.order)
            made = found.setdefault(_Rows(tuple(keys), order), [])
            for item in items.values():
                call = item.call.with_expressions([rewrite(e) for e in item.call.expressions()])
                made.append(WindowItem(item.field, call))
        for rows in [r for r in found if not r.order]:  # any order will do, another window's too, where none has peers
            other = next((r for r in found if r.order and set(r.partition) == set(rows.partition)), None)
            if other is not None:
                alone = [i for i in found[rows] if _has_peers(i.call)]
                found[other] += [i for i in found.pop(rows) if not _has_peers(i.call)]
                found |= {rows: alone} if alone else {}
        for rows, calls in found.items():
            plan, partition = with_columns(plan, rows.partition)
            plan = Window(plan, tuple(dict.fromkeys(partition)), rows.order, tuple(calls))
        return plan

    def _syntax(self, node: exp.Expression, env: Environment, known: Sequence[str] | None = None) -> WindowSyntax:
        """A window with what it takes over from the one that it names: any, or one of those ``known`` before it.

        Raises:
            BindError: there is none of that name, or what it says may not be said again.
        """
        if node.args.get("first") is not None or (node.args.get("over") or "OVER") != "OVER":
            raise env.unsupported("KEEP (…) is not supported", node)
        order = node.args.get("order")
        own = WindowSyntax(
            tuple(node.args.get("partition_by") or ()), tuple(order.expressions) if order else (), node.args.get("spec")
        )
        alias = node.args.get("alias")
        if alias is None:
            return own
        names = list(self.named) if known is None else known
        name = alias.name.lower()
        if name not in names:
            close = nearest(alias.name, [self.named[n].this.name for n in names])
            hint = f'did you mean "{close}"?' if close else "name it in a WINDOW clause after HAVING"
            if name in self.named:
                hint = "a window is made of those that are defined before it"
            raise env.error(f'there is no window "{alias.name}" here', alias, hint=hint)
        base = self._syntax(self.named[name], env, names[: names.index(name)])
        again = "PARTITION BY" if own.partition and base.partition else "ORDER BY" if own.order and base.order else None
        if again is not None:
            raise env.error(f'window "{alias.name}" has its own {again}', node)
        if base.frame is not None and (own.partition or own.order or own.frame is not None):
            raise env.error(f'window "{alias.name}" has a frame, so that nothing can be added to it', node)
        return WindowSyntax(own.partition or base.partition, own.order or base.order, own.frame or base.frame)


def _is_constant(key: Expr) -> bool:
    """Whether it is the same for all rows, which it then parts in nothing."""
    return not columns_of(key) and not is_volatile(key)


def _has_peers(call: WindowCall) -> bool:
    """Whether a function asks which rows the order does not tell apart."""
    return call.name in PEERS or call.frame.unit is not FrameUnit.ROWS or call.frame.exclusion is not Exclusion.NOTHING


def _bind_rows(syntax: WindowSyntax, scope: ExpressionScope) -> tuple[_Rows, WindowFrame]:
    partition = tuple(bind_expression(e, scope) for e in syntax.partition)
    keys = tuple(bind_sort_key(k, scope) for k in syntax.order)
    frame = (UP_TO_PEERS if keys else WHOLE_PARTITION) if syntax.frame is None else _frame(syntax.frame, keys, scope)
    order = tuple(k for k in keys if frame.key is not None or not isinstance(k.expr, Literal))
    if not frame.expressions() and frame.exclusion is Exclusion.NOTHING:
        bounded = frame.start.side is Side.CURRENT or frame.end.side is Side.CURRENT
        if not bounded or (not order and frame.unit is not FrameUnit.ROWS):  # all rows are peers
            frame = WHOLE_PARTITION
    return _Rows(tuple(dict.fromkeys(partition)), order), frame


def _frame(spec: exp.Expression, keys: Sequence[SortKey], scope: ExpressionScope) -> WindowFrame:
    unit = FrameUnit(str(spec.args["kind"]).upper())
    start, from_ = _side(spec, "start")
    end, to = (CURRENT_ROW.side, None) if spec.args.get("end") is None else _side(spec, "end")
    if start is Side.FOLLOWING and from_ is None:
        raise BindError("a frame cannot start with UNBOUNDED FOLLOWING")
    if end is Side.PRECEDING and to is None:
        raise BindError("a frame cannot end with UNBOUNDED PRECEDING")
    if list(Side).index(start) > list(Side).index(end):
        raise BindError(f"a frame that starts with {start} cannot end with {end}")
    exclusion = spec.args.get("exclude")
    excluded = Exclusion.NOTHING if exclusion is None else Exclusion(exclusion.name.upper())
    if unit is not FrameUnit.RANGE or (from_ is None and to is None):
        bounds = [FrameBound(s, _count(o, unit, s, scope)) for s, o in ((start, from_), (end, to))]
        return WindowFrame(unit, bounds[0], bounds[1], excluded)
    if len(keys) != 1:
        raise BindError(
            f"RANGE with an offset needs an ORDER BY of one expression, not of {len(keys)}",
            hint="ROWS and GROUPS count rows and peers instead",
        )
    key = _range_key(keys[0].expr)
    limits = [_limit(key, s, o, keys[0].descending, scope) for s, o in ((start, from_), (end, to))]
    dtype = next(e.dtype for e in limits if e is not None)
    if any(e is not None and e.dtype != dtype for e in limits):  # of days and of hours before a date
        common = coercion.common_type([e for e in limits if e is not None])
        if common is None:
            raise BindError("the offsets of a RANGE have different types")
        dtype = common
    bounds = [
        FrameBound(s, None if e is None else coercion.cast(e, dtype)) for s, e in zip((start, end), limits, strict=True)
    ]
    return WindowFrame(unit, bounds[0], bounds[1], excluded, coercion.cast(key, dtype))


def _side(spec: exp.Expression, which: str) -> tuple[Side, exp.Expression | None]:
    """One end of a frame: where it is, and its offset, None where it has none."""
    value, side = spec.args[which], spec.args.get(f"{which}_side")
    if value == "CURRENT ROW":
        return Side.CURRENT, None
    if side is None:
        raise BindError("a frame's end needs PRECEDING or FOLLOWING")
    return Side(str(side).upper()), value if isinstance(value, exp.Expression) else None


def _count(node: exp.Expression | None, unit: FrameUnit, side: Side, scope: ExpressionScope) -> Expr | None:
    """An offset in rows or groups."""
    if node is None:
        return None
    expr = coercion.cast(bind_expression(node, scope), types.BIGINT)
    _check_offset(expr, f"{unit} {side}")
    return expr


def _check_offset(offset: Expr, what: str) -> None:
    known = coercion.constant(offset)
    if known is not None and known.value is None:
        raise BindError(f"the offset of {what} cannot be NULL")
    if known is not None and types.is_numeric(known.dtype) and known.value < 0:
        raise BindError(f"the offset of {what} cannot be negative: {known.value}")


def _range_key(key: Expr) -> Expr:
    """A sort key in a type in which small offsets hardly overflow, and from which they can be taken."""
    if not (types.is_numeric(key.dtype) or types.is_temporal(key.dtype)):
        raise BindError(
            f"RANGE with an offset needs a number or a moment to order by, not {types.type_name(key.dtype)}"
        )
    if key.dtype in (types.TIME, types.INTERVAL):
        raise UnsupportedError(f"RANGE with an offset over {types.type_name(key.dtype)} is not supported")
    if key.dtype == types.UBIGINT:
        return coercion.cast(key, types.decimal(20, 0))
    return coercion.cast(key, types.BIGINT) if types.is_integer(key.dtype) else key


def _limit(key: Expr, side: Side, node: exp.Expression | None, descending: bool, scope: ExpressionScope) -> Expr | None:
    """The key where a frame ends."""
    if node is None:
        return None
    offset = bind_expression(node, scope)
    _check_offset(offset, f"RANGE {side}")
    if key.dtype == types.DATE and isinstance(offset, Literal) and isinstance(offset.value, pa.MonthDayNano):
        months, days, nanos = offset.value
        if not months and not nanos:  # a day so many days away is a day
            offset = Literal(days, types.INTEGER)
    return coercion.arithmetic("-" if (side is Side.PRECEDING) is not descending else "+", key, offset)
