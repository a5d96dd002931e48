"""One query's way: bound plan → optimized plan → physical plan → stage graph → running execution → Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from executor.analyze import AnalyzingRunner
from executor.arrow_output import to_arrow
from executor.cancellation import Cancellation
from executor.devices import choice, require
from executor.driver import Execution
from executor.progress import QueryProgress
from executor.runners.backend import Backend, RunSettings
from executor.runners.base import Runner, StageProgress
from executor.runners.local import LocalBackend, resources
from planner.devices import Rates
from planner.estimates import Estimates
from planner.explain import explain_query
from planner.logical import LogicalPlan
from planner.optimizer.context import OptimizerContext
from planner.optimizer.driver import optimize
from planner.physical_planner import PhysicalContext, PhysicalQuery, place_again, plan_query
from planner.statistics import Estimator
from sqlray.options import Options


@dataclass(slots=True)
class PlannedQuery:
    """A query that is ready to run, any number of times."""

    bound: LogicalPlan
    optimized: LogicalPlan
    physical: PhysicalQuery
    names: tuple[str, ...]
    options: Options
    backend: Backend

    @property
    def schema(self) -> pa.Schema:
        """The result's columns under the names that their user gave them."""
        fields = zip(self.names, self.physical.graph.result.plan.schema, strict=True)
        return pa.schema([pa.field(name, f.dtype, f.nullable) for name, f in fields])

    def execution(self, cancellation: Cancellation | None = None, progress: QueryProgress | None = None) -> Execution:
        make = self._runner
        return Execution(self.physical, make, cancellation or Cancellation(), progress or QueryProgress())

    @property
    def _settings(self) -> RunSettings:
        require(self.options.device, self.backend.gpu_absence)
        return RunSettings(self.options.memory_limit, self.options.temp_directory)

    def _runner(self, cancellation: Cancellation, progress: StageProgress) -> Runner:
        return self.backend.runner(self._settings, cancellation, progress)

    def explain(self, analyze: bool, progress: QueryProgress) -> str:
        """The stages of the plan with estimated rows and costs; ``analyze`` runs it and adds what was measured: of each
        operator in this process and of every stage on a cluster."""
        if not analyze:
            return explain_query(self.physical)
        execution = self.execution(progress=progress)
        analyzing: list[AnalyzingRunner] = []
        if isinstance(self.backend, LocalBackend):

            def make_runner(cancellation: Cancellation, progress: StageProgress) -> Runner:
                settings = self._settings
                analyzing.append(AnalyzingRunner(*resources(settings), cancellation, progress))
                return analyzing[0]

            execution.make_runner = make_runner
        for _ in execution.batches():
            pass
        metrics, query = execution.metrics, execution.query
        if analyzing:
            text, how = explain_query(query, analyzing[0].measured(query.graph)), "operator by operator"
        else:
            text, how = explain_query(query, stages=metrics.stages), "stage by stage"
        spilled = f", {metrics.spilled_bytes / 1e6:.1f} MB spilled" if metrics.spilled_bytes else ""
        device = f"\nOn the GPU: {metrics.device}" if metrics.device.kernels else ""
        fallbacks = "".join(f"\nOn the CPU, not the GPU: stage {f.stage}: {f.reason}" for f in metrics.fallbacks)
        changes = "".join(f"\nPlanned again {change}" for change in query.changes)
        return f"{text}\n\nTotal {metrics.seconds:.3f} s, {how}{spilled}{changes}{device}{fallbacks}"

    def batches(self, execution: Execution) -> Iterator[pa.RecordBatch]:
        """The rows of an execution as record batches of ``schema``."""
        schema = self.schema
        for frame in execution.batches():
            yield from to_arrow(frame, schema).to_batches()


def plan(bound: LogicalPlan, names: tuple[str, ...], options: Options, backend: Backend) -> PlannedQuery:
    """Optimize and plan a bound query for the place where it will run.

    Raises:
        PlanError: an optimizer rule broke the plan.
    """
    estimator = Estimator()
    optimized = optimize(bound, OptimizerContext(estimator, frozenset(options.disabled_rules)))
    physical = _physical(optimized, _context(estimator, options, backend), backend)
    return PlannedQuery(bound, optimized, physical, names, options, backend)


def plan_again(planned: PlannedQuery) -> PlannedQuery:
    """A query that was planned before, for the place where it runs as that is now: only what depends on it is planned
    anew."""
    before = planned.physical.context
    now = _context(before.estimator, planned.options, planned.backend)
    if replace(now, estimates=before.estimates) == before:
        physical = place_again(planned.physical)
    else:
        physical = _physical(planned.optimized, now, planned.backend)
    return planned if physical is planned.physical else replace(planned, physical=physical)


def _context(estimator: Estimator, options: Options, backend: Backend) -> PhysicalContext:
    """What physical planning has to know of the options, and of the place where the query will run."""
    cluster = backend.cluster(options.memory_limit)
    devices = choice(options.device, cluster.gpus, backend.known_rates)
    return PhysicalContext(
        estimator,
        partitions=options.partitions,
        staged=options.staged,
        nodes=cluster.gpus if devices == "gpu" else cluster.nodes,
        memory_limit=cluster.memory_limit,
        broadcast_limit=options.broadcast_limit,
        skew_limit=options.skew_limit,
        devices=devices,
    )


def _physical(optimized: LogicalPlan, context: PhysicalContext, backend: Backend) -> PhysicalQuery:
    physical = plan_query(optimized, context)
    if isinstance(context.devices, Rates) and any(s.device == "gpu" for s in physical.graph.stages):
        measured = backend.measured_rates()
        if measured is not None and measured != context.devices:  # before the first stage on a GPU: see where it pays
            physical = plan_query(optimized, replace(context, devices=measured, estimates=Estimates()))
    return physical
