"""What stages take on either device, and which one runs them."""

from __future__ import annotations

from dataclasses import fields, replace
from math import exp, inf, log

import pytest

from planner import types
from planner.cost import CostModel
from planner.device_cost import MARGIN, USABLE, Work, choose, place, seconds, work
from planner.devices import H100, Device, DeviceRates, Rates, default_cpu
from planner.estimates import Estimates
from planner.expr import AggregateCall, new_field
from planner.logical import Window, WindowItem
from planner.physical_context import PhysicalContext
from planner.physical_planner import PhysicalQuery, plan_query, plan_rest
from planner.started import StageSizes
from planner.tree import walk
from planner.window import WHOLE_PARTITION, WindowCall
from planner.working_set import resident_set, working_set
from tests.golden.placement import DEVICES, optimized, stages
from tpch_queries import NUMBERS

RATES = DEVICES["datacentre"]
CPU: DeviceRates = RATES.cpu
SCAN = Work(decoded=5e9, stream=1e8, group=6e7, operators=3, resident=8e9)  # much like Q1 at scale 10
COUNTED = ("decoded", "copied", "returned", "stream", "join", "group", "sort", "operators", "tasks")


def ratio(scale: int, parquet: bool) -> float:
    """The CPU's time over the GPU's for TPC-H, geometric mean."""
    logs = []
    for number in NUMBERS:
        plan, estimator = optimized(number, scale, parquet)
        context = PhysicalContext(estimator, memory_limit=64 * 2**30)
        found = [work(s, context.estimates, context.model) for s in plan_query(plan, context).graph.stages]
        done = [w for w in found if w is not None]
        assert len(done) == len(found)
        cpu, gpu = (sum(seconds(w, rates).total for w in done) for rates in (CPU, H100))
        logs.append(log(cpu / gpu))
    return exp(sum(logs) / len(logs))


def test_defaults_give_what_was_measured() -> None:
    assert ratio(10, True) == pytest.approx(1.83, rel=0.1)
    assert ratio(1, True) == pytest.approx(0.91, rel=0.1)
    assert ratio(10, False) == pytest.approx(0.30, rel=0.1)


def test_tpch_in_memory_stays_on_the_cpu() -> None:
    for rates in DEVICES.values():
        assert {s.device for n in NUMBERS for s in stages(n, 10, False, 0, rates).stages} == {"cpu"}


@pytest.mark.parametrize("rates", [CPU, H100], ids=["cpu", "gpu"])
def test_more_work_takes_longer(rates: DeviceRates) -> None:
    before = seconds(SCAN, rates).total
    for name in COUNTED:
        more = replace(SCAN, **{name: getattr(SCAN, name) * 2 + 1})
        assert seconds(more, rates).total >= before
    more_bytes = [seconds(Work(decoded=n * 1e9), rates).total for n in range(5)]
    assert more_bytes == sorted(set(more_bytes))


def test_copies_cost_the_gpu_alone() -> None:
    copied = Work(copied=7.7e9, returned=7.7e9)
    assert seconds(copied, CPU).copies == 0.0
    assert seconds(copied, H100).copies == pytest.approx(2.0)


def test_what_does_not_fit_stays_on_the_cpu() -> None:
    assert choose(SCAN, RATES)[0] == "gpu"
    device, why = choose(replace(SCAN, resident=H100.memory * USABLE + 1), RATES)
    assert device == "cpu"
    assert why == "needs 40.0 GB, over 50% of the GPU's 80.0 GB"
    small = replace(RATES, gpu=replace(H100, memory=4e9))
    assert choose(SCAN, small)[0] == "cpu"


def test_the_gpu_must_be_clearly_faster() -> None:
    for factor, device in ((MARGIN * 1.01, "gpu"), (MARGIN * 0.99, "cpu"), (0.5, "cpu")):
        gpu = replace(CPU, decode=CPU.decode * factor, name="GPU", memory=inf)
        assert choose(Work(decoded=1e9, tasks=0), Rates(CPU, gpu))[0] == device


def test_reasons() -> None:
    assert choose(SCAN, RATES)[1] == "about 403 ms, on the CPU 1.0 s"
    in_memory = replace(SCAN, copied=SCAN.decoded, decoded=0.0)
    assert choose(in_memory, RATES)[1].endswith(" of it copies to and from it")
    assert choose(Work(operators=3), RATES)[1].endswith("14 ms of it starting them")
    assert choose(None, RATES) == ("cpu", "how many rows it reads is not known")


def query(number: int, scale: int = 10, parquet: bool = True, partitions: int = 0) -> PhysicalQuery:
    plan, estimator = optimized(number, scale, parquet)
    return plan_query(plan, PhysicalContext(estimator, partitions=partitions, memory_limit=64 * 2**30, devices=RATES))


def test_work_of_a_scan() -> None:
    planned = query(6)
    done = work(planned.graph.result, planned.estimates, CostModel())
    assert done is not None
    assert done.decoded > 60_000_000 * 28  # two decimals, a quantity and a date
    assert done.copied == done.join == done.sort == 0.0
    assert 0 < done.returned < 100
    in_memory = query(6, parquet=False)
    copied = work(in_memory.graph.result, in_memory.estimates, CostModel())
    assert copied is not None
    assert (copied.copied, copied.decoded) == (done.decoded, 0.0)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_gpu_holds_more_at_once(number: int) -> None:
    """Beside what is held on the CPU, the rows that stream past there."""
    planned = query(number)
    for stage in planned.graph.stages:
        held = working_set(stage.plan, planned.estimates)
        assert resident_set(stage.plan, planned.estimates) >= held * 0.5
        one_row = Estimates(planned.estimates)
        for node in walk(stage.plan):
            one_row.put(node, replace(planned.estimates.get(node), rows=1.0))
        assert resident_set(stage.plan, one_row) <= resident_set(stage.plan, planned.estimates) + 1e4


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_device_that_was_asked_for(device: Device) -> None:
    plan, estimator = optimized(3, 1, False)
    planned = plan_query(plan, PhysicalContext(estimator, partitions=2, devices=device))
    assert {(s.device, s.why) for s in planned.graph.stages} == {(device, "")}


def test_the_rest_of_a_query_is_placed_again() -> None:
    """A stage that turns out to give hundreds of times the rows changes where its reader runs, not where it ran."""
    planned = query(18, partitions=4)
    first = next(s for s in planned.graph.stages if not s.inputs)
    again = plan_rest(planned, {first.id: StageSizes(10**9, (10**10,) * 4, (1,) * 4)}, first.id)
    assert again.graph.stages[0] is first
    reader = next(s for s in again.graph.stages if first.id in s.inputs)
    assert reader.device == "cpu"
    assert reader.why != planned.graph.stages[reader.id].why


def test_every_rate_counts() -> None:
    done = Work(1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 10, 2)
    for field in fields(DeviceRates):
        if field.name in ("name", "memory"):
            continue
        factor = 2.0 if field.name in ("launch", "start") else 0.5
        slower = replace(H100, **{field.name: getattr(H100, field.name) * factor})
        assert seconds(done, slower).total > seconds(done, H100).total


def test_a_stage_of_unknown_size_stays_on_the_cpu() -> None:
    planned = query(1)
    context = replace(planned.context, estimates=Estimates())
    placed = place(planned.graph.result, context)
    assert planned.graph.result.device == "gpu"
    assert (placed.device, placed.why) == ("cpu", "how many rows it reads is not known")


@pytest.mark.parametrize(("name", "device"), [("rank", "cpu"), ("row_number", "gpu")])
def test_window_functions_run_on_the_cpu(name: str, device: Device) -> None:
    plan, estimator = optimized(1, 10, True)
    call = WindowCall(AggregateCall(name, (), types.BIGINT), WHOLE_PARTITION)
    plan = Window(plan, (), (), (WindowItem(new_field(name, types.BIGINT), call),))
    placed = plan_query(plan, PhysicalContext(estimator, memory_limit=64 * 2**30, devices=RATES)).graph.result
    assert placed.device == device
    assert (placed.why == "the window function rank runs there") == (name == "rank")


@pytest.mark.parametrize(("tasks", "devices", "share"), [(1, 4, 1.0), (4, 4, 0.25), (4, 2, 0.5), (3, 2, 2 / 3)])
def test_the_busiest_device_counts(tasks: int, devices: int, share: float) -> None:
    done = Work(1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 10, tasks)
    assert seconds(done, H100, devices).total == pytest.approx(seconds(done, H100).total * share)


def test_reasons_tell_how_many() -> None:
    several = replace(RATES, nodes=3, gpus=2)
    assert choose(SCAN, several)[1] == choose(SCAN, RATES)[1]  # of one task
    assert choose(replace(SCAN, tasks=4), several)[1] == "about 223 ms on 2 GPUs, on the CPU 520 ms on 3 nodes"


def on_cluster(number: int, nodes: int, gpus: int, scale: int, start: float = 0.0) -> PhysicalQuery:
    plan, estimator = optimized(number, scale, True)
    rates = replace(RATES, nodes=nodes, gpus=gpus, gpu=replace(H100, start=H100.start + start))
    return plan_query(plan, PhysicalContext(estimator, memory_limit=64 * 2**30, nodes=nodes, devices=rates))


def test_gpus_take_a_partition_each() -> None:
    """Where several have more to do than one node: of large tables, and if a task does not take long to start."""
    planned = on_cluster(1, nodes=1, gpus=4, scale=100)
    assert [(s.device, s.tasks) for s in planned.graph.stages] == [("gpu", 4), ("cpu", 1)]
    assert "on 4 GPUs, on the CPU" in planned.graph.stages[0].why
    for single in (on_cluster(6, 1, 4, 1), on_cluster(1, 1, 4, 100, start=10.0)):
        assert [s.tasks for s in single.graph.stages] == [1]
    nodes = on_cluster(1, nodes=4, gpus=2, scale=100)  # more cores there than two GPUs are worth
    assert [(s.device, s.tasks) for s in nodes.graph.stages] == [("cpu", 4), ("cpu", 1)]


def test_the_rest_is_planned_for_as_many_places() -> None:
    planned = on_cluster(18, nodes=1, gpus=4, scale=100)
    first = next(s for s in planned.graph.stages if not s.inputs)
    again = plan_rest(planned, {first.id: StageSizes(10**8, (10**9,) * 4, (1,) * 4)}, first.id)
    assert again.partitions == planned.partitions == 4


def test_cores_add_up() -> None:
    assert default_cpu(16).decode == pytest.approx(default_cpu(1).decode * 16)
    assert default_cpu(16).start == default_cpu(1).start
