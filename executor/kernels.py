"""Physical plan → Polars LazyFrame, and running it.

One fragment becomes one LazyFrame, which Polars' streaming engine or cuDF collects. The planner owns the
plan: Polars' join reordering is off, build sides are given; its pushdown into scans is on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal as OneOf
from typing import TypeVar, cast

import polars as pl
from polars.exceptions import OutOfBoundsError, PanicException

from executor import device_frames
from executor.arrow_output import to_arrow
from executor.checks import execution_error
from executor.device_frames import DeviceFrame, DeviceTimes, Fragment
from executor.device_types import differs, to_device
from executor.dictionary_codes import with_codes
from executor.dtypes import device_dtype, polars_dtype
from executor.expressions import conjunction, translate
from executor.frame import Context, Frame, KernelOptions, column_value, named, output, select, stored, unify_frames
from executor.kernels_aggregate import aggregate
from executor.kernels_join import hash_join, nested_loop_join
from executor.kernels_sort import head, limit, sort
from executor.kernels_window import window
from executor.sources.base import Source
from executor.sources.dictionary import CodedTable
from executor.sources.held_files import HeldFiles
from executor.sources.memory import MemoryTable
from executor.split_pruning import remaining_splits
from executor.value import NotOnDevice, Store, Value, native
from planner import types
from planner.devices import Device
from planner.errors import PlanError
from planner.expr import ColumnId, Field, Literal, column_name
from planner.physical import (
    AggregateExec,
    ExchangeExec,
    FilterExec,
    HashJoinExec,
    InputExec,
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

__all__ = ["KernelOptions", "collect", "compile_fragment", "optimizations", "run_on_device", "stream", "to_arrow"]

T = TypeVar("T")
Resident = MemoryTable | CodedTable | HeldFiles  # tables of whose columns a GPU keeps copies


def compile_fragment(
    plan: PhysicalPlan, inputs: Mapping[int, pl.LazyFrame] | None = None, options: KernelOptions | None = None
) -> pl.LazyFrame:
    """The LazyFrame that computes ``plan``: columns are named ``name#id`` and have the schema's types.

    Args:
        inputs: the rows of each stage that an ``InputExec`` reads.

    Raises:
        NotOnDevice: the options ask for the GPU, and it has no exact form of some operation.
    """
    context = Context(options or KernelOptions(), inputs or {})
    frame = _compile(with_codes(plan) if context.device == "gpu" else plan, context, {})
    return output(frame, plan.schema, context.device)


def optimizations() -> pl.QueryOptFlags:
    """Polars' optimizations: all but those that reorder what the planner ordered."""
    flags = pl.QueryOptFlags()
    if hasattr(flags, "join_order"):
        flags.join_order = False
    return flags


def collect(lazy: pl.LazyFrame) -> pl.DataFrame:
    """Run a fragment that was compiled for the CPU to its end.

    Raises:
        ExecutionError: it failed.
    """
    return _run(lambda engine, flags: lazy.collect(engine=engine, optimizations=flags))


def run_on_device(fragment: Fragment, times: DeviceTimes) -> DeviceFrame:
    """Run a fragment that was compiled for the GPU there, and leave its rows there.

    Raises:
        Exception: of any kind, if the GPU cannot.
    """
    return device_frames.run(fragment, optimizations(), times)


def stream(lazy: pl.LazyFrame, take: Callable[[pl.DataFrame], bool], batch_rows: int | None = None) -> None:
    """Run a fragment that was compiled for the CPU and hand over its rows batch by batch, in order; ``take`` returns
    True to stop.

    Raises:
        ExecutionError: it failed.
    """
    taken = False

    def offer(batch: pl.DataFrame) -> bool:
        nonlocal taken
        taken = True
        return take(batch)

    # Unlike collect_batches, sink_batches runs in this thread and stops at SIGINT inside an operator.
    _run(
        lambda engine, flags: lazy.sink_batches(
            offer,
            engine=engine,
            maintain_order=True,
            chunk_size=batch_rows,
            optimizations=flags,
        ),
        may_repeat=lambda: not taken,
    )


def _run(
    work: Callable[[OneOf["streaming", "in-memory"], pl.QueryOptFlags], T],
    may_repeat: Callable[[], bool] = lambda: True,
) -> T:
    """``work`` with Polars' streaming engine and its optimizations, its errors as ours.

    Where Polars gives up on a plan, ``work`` is done again without what panicked, if it ``may_repeat``.
    """
    flags = optimizations()
    try:
        try:
            return work("streaming", flags)
        except (PanicException, OutOfBoundsError) as panic:
            if not may_repeat():
                raise
            if "JoinType::Cross" in str(panic):  # the pushdown of predicates, on some cross joins inside of joins
                flags.predicate_pushdown = False
                return work("streaming", flags)
            # The streaming engine of polars 1.44, where a LIMIT ends one reader of several, or sorts no rows.
            if isinstance(panic, OutOfBoundsError) or "PortState" in str(panic):
                return work("in-memory", flags)
            raise
    except (Exception, PanicException) as error:
        raise execution_error(error) from error


def _compile(plan: PhysicalPlan, context: Context, memo: dict[int, Frame]) -> Frame:
    """Compile a node once: a subplan with several parents is computed once too."""
    hit = memo.get(id(plan))
    if hit is not None:
        return hit
    children = [_compile(c, context, memo) for c in plan.children()]
    frame = _operator(plan, children, context)
    if isinstance(plan, MaterializeExec):
        frame = replace(frame, lazy=frame.lazy.cache())
    memo[id(plan)] = frame
    return frame


def _operator(plan: PhysicalPlan, children: list[Frame], context: Context) -> Frame:
    match plan:
        case ScanExec():
            return _scan(plan, context)
        case ValuesExec():
            return _values(plan, context)
        case InputExec():
            lazy = context.inputs[plan.stage]
            lazy = to_device(lazy, plan.schema) if context.device == "gpu" else lazy
            return Frame(lazy, {f.id: column_value(f, context.device) for f in plan.schema})
        case FilterExec():
            scope = context.scope(children[0].columns, plan.bounds)
            test = conjunction((plan.predicate,), scope)
            lazy = children[0].lazy if test is None else children[0].lazy.filter(test)
            return Frame(lazy, scope.columns, children[0].max_rows)
        case ProjectExec():
            return _project(plan, children[0], context)
        case HashJoinExec():
            return hash_join(plan, children[0], children[1], context)
        case NestedLoopJoinExec():
            return nested_loop_join(plan, children[0], children[1], context)
        case AggregateExec():
            return aggregate(plan, children[0], context)
        case SortExec():
            return sort(plan, children[0], context)
        case LimitExec():
            return limit(plan, children[0])
        case UnionExec():
            return _union(plan, children, context)
        case WindowExec():
            return window(plan, children[0], context)
        case ExchangeExec() | MaterializeExec():
            return children[0]
        case _:
            raise PlanError(f"not a physical operator: {plan!r}")


def _scan(plan: ScanExec, context: Context) -> Frame:
    table = cast(Source, plan.table)  # every table of the catalog is one; checking the protocol costs more
    names = list(dict.fromkeys(f.name for f in plan.fields)) or [_narrowest(table)]
    resident = table if context.device == "gpu" and isinstance(table, Resident) else None
    read = {f.id: _read_column(f, plan, resident, context.device) for f in plan.fields}
    scope = context.scope(read, plan.bounds)
    splits = remaining_splits(plan, scope)
    lazy = table.scan(names, splits) if resident is None else resident.scan_on_device(names, splits)
    test = conjunction(plan.predicates, scope)
    if test is not None:
        lazy = lazy.filter(test)
    if plan.limit is not None:
        lazy = head(lazy, plan.limit)
    renamed = [pl.col(f.name).alias(column_name(f)) for f in plan.fields]
    columns = {f.id: stored(scope.columns[f.id], column_name(f)) for f in plan.fields}
    statistics = table.statistics(())
    rows = int(statistics.rows) if statistics.exact and statistics.rows is not None else None
    return Frame(select(lazy, renamed), columns, rows)


def _read_column(item: Field, plan: ScanExec, resident: Resident | None, device: Device) -> Value:
    """A column as its source, or the copy that a GPU keeps of a table, gives it."""
    held = isinstance(resident, (MemoryTable, CodedTable)) and item.dtype != types.INTERVAL
    if device == "gpu" and differs(item) and not held:
        raise NotOnDevice(f"columns of {types.type_name(item.dtype)} are read on the CPU")
    scaled = resident is not None and resident.is_scaled_on_device(item.name)
    nullable = item.nullable and item.id not in plan.not_null
    return Value(pl.col(item.name), item.dtype, Store.INT64 if scaled else Store.NATIVE, nullable=nullable)


def _narrowest(table: Source) -> str:
    """The column to count rows by where a scan needs none."""
    schema = table.schema
    for field in schema:
        if types.is_integer(field.type) or field.type == types.DATE:
            return str(field.name)
    return str(schema.names[0])


def _values(plan: ValuesExec, context: Context) -> Frame:
    fields = tuple(plan.schema)
    if not fields:
        lazy = pl.LazyFrame({"#row": [0] * len(plan.rows)}, schema={"#row": pl.Int8})
        return Frame(lazy, {}, len(plan.rows))
    schema = {column_name(f): polars_dtype(f.dtype) for f in fields}
    columns = {f.id: column_value(f, context.device) for f in fields}
    plain = all(isinstance(c, Literal) and c.dtype != types.INTERVAL for row in plan.rows for c in row)
    if plain or not plan.rows:
        data = {
            column_name(f): [row[i].value for row in plan.rows]  # type: ignore[attr-defined]
            for i, f in enumerate(fields)
        }
        lazy = pl.LazyFrame(data, schema=schema)
        lazy = to_device(lazy, plan.schema) if context.device == "gpu" else lazy
        return Frame(lazy, columns, len(plan.rows))
    scope = context.scope({})
    one = pl.LazyFrame({"#row": [0]}, schema={"#row": pl.Int8})
    rows = []
    for row in plan.rows:
        cells = [native(translate(cell, scope), context.device) for cell in row]
        pairs = zip(cells, fields, strict=True)
        rows.append(select(one, [e for c, f in pairs for e in _cast_to(c, f, context.device)]))
    return Frame(rows[0] if len(rows) == 1 else pl.concat(rows), columns, len(plan.rows))


def _project(plan: ProjectExec, frame: Frame, context: Context) -> Frame:
    scope = context.scope(frame.columns, plan.bounds)
    exprs: list[pl.Expr] = []
    columns: dict[ColumnId, Value] = {}
    for item in plan.items:
        value = translate(item.expr, scope)
        name = column_name(item.field)
        exprs += named(value, name)
        columns[item.field.id] = stored(value, name, value.nullable and item.field.nullable)
    return Frame(select(frame.lazy, exprs), columns, frame.max_rows)


def _union(plan: UnionExec, children: list[Frame], context: Context) -> Frame:
    parts = []
    total: int | None = 0
    for child, source in zip(unify_frames(children, context.device), plan.inputs, strict=True):
        exprs = []
        for item, theirs in zip(plan.schema, source.schema, strict=True):
            exprs += _cast_to(child.columns[theirs.id], item, context.device)
        parts.append(select(child.lazy, exprs))
        total = None if total is None or child.max_rows is None else total + child.max_rows
    lazy = parts[0] if len(parts) == 1 else pl.concat(parts, how="vertical")
    return Frame(lazy, {f.id: column_value(f, context.device) for f in plan.schema}, total)


def _cast_to(value: Value, item: Field, device: Device) -> list[pl.Expr]:
    """The value as the column of that name and type."""
    if value.parts is None:
        value = replace(value, expr=value.expr.cast(device_dtype(item.dtype, device)))
    return named(value, column_name(item))
