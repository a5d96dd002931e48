"""What a stage takes on the CPU and on a GPU, and which of them therefore runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.cost import CostModel
from planner.devices import Device, DeviceRates, Rates
from planner.estimates import Estimates
from planner.expr import Column
from planner.physical import (
    AggregateExec,
    FilterExec,
    HashJoinExec,
    InputExec,
    NestedLoopJoinExec,
    PhysicalPlan,
    ProjectExec,
    ScanExec,
    SortExec,
    UnionExec,
    WindowExec,
)
from planner.physical_context import PhysicalContext
from planner.record import record
from planner.stages import Stage
from planner.tree import walk
from planner.working_set import read_bytes, resident_set, scan_statistics

MARGIN = 1.3
"""How many times faster than the CPU the GPU must be expected to be: estimates of rows are often off by as much, and a
wrong choice for the GPU costs more (its start, copies, perhaps a fallback) than one against it."""

USABLE = 0.5
"""The share of a device's memory that a stage may be expected to need: the rest is for the kernels' own buffers, for
whoever else uses the device, and for estimates that were low."""


KEPT = 0.5
"""The share of a device's memory that copies of tables may take."""


@dataclass(slots=True)
class Work:
    """What all tasks of a stage do together.

    Args:
        decoded: bytes of columns read from Parquet.
        copied: bytes of tables and blocks in the host's memory.
        returned: bytes of the rows that come out.
        stream, join, group, sort: units of the kernels' work (``CostModel``).
        resident: bytes that a task holds at once where every operator's rows are held whole.
        decoded_before, copied_before: what a GPU need not read of the bytes decoded and copied, if it keeps the columns
            that it reads: those that it holds already, and a share of the others, which queries to come find there.
    """

    decoded: float = 0.0
    copied: float = 0.0
    returned: float = 0.0
    stream: float = 0.0
    join: float = 0.0
    group: float = 0.0
    sort: float = 0.0
    operators: int = 0
    tasks: int = 1
    resident: float = 0.0
    decoded_before: float = 0.0
    copied_before: float = 0.0


@record
class Seconds:
    """What a stage takes on a device, by what it is spent on."""

    copies: float
    parquet: float
    kernels: float
    starts: float

    @property
    def total(self) -> float:
        return self.copies + self.parquet + self.kernels + self.starts

    @property
    def most(self) -> str:
        """What takes the longest, in words."""
        parts = {
            "copies to and from it": self.copies,
            "reading Parquet": self.parquet,
            "kernels": self.kernels,
            "starting them": self.starts,
        }
        name = max(parts, key=parts.__getitem__)
        return f"{_time(parts[name])} of it {name}"


def place(stage: Stage, context: PhysicalContext) -> Stage:
    """The stage on the device that runs it."""
    if not isinstance(context.devices, Rates):
        return replace(stage, device=context.devices)
    calls = (i.call.name for n in walk(stage.plan) if isinstance(n, WindowExec) for i in n.items)
    only_there = next((name for name in calls if name != "row_number"), None)
    if only_there is not None:
        return replace(stage, device="cpu", why=f"the window function {only_there} runs there")
    device, why = choose(work(stage, context.estimates, context.model), context.devices)
    return replace(stage, device=device, why=why)


def choose(done: Work | None, rates: Rates) -> tuple[Device, str]:
    """The device for a stage that does this, and why; None is work of which too little is known."""
    if done is None:
        return "cpu", "how many rows it reads is not known"
    if done.resident > rates.gpu.memory * USABLE:
        return "cpu", f"needs {_size(done.resident)}, over {USABLE:.0%} of the GPU's {_size(rates.gpu.memory)}"
    cpu, gpu = on_cpu(done, rates), on_gpu(done, rates)
    cpus, gpus = _several(done, rates.nodes, "nodes"), _several(done, rates.gpus, "GPUs")
    if gpu.total * MARGIN < cpu.total:
        return "gpu", f"about {_time(gpu.total)}{gpus}, on the CPU {_time(cpu.total)}{cpus}"
    return "cpu", f"about {_time(cpu.total)}{cpus}, on the GPU {_time(gpu.total)}{gpus}, {gpu.most}"


def expected(stages: Sequence[Stage], context: PhysicalContext) -> float | None:
    """Seconds that stages take in all, each on the device that was chosen for it; None if that is not known of one."""
    rates = context.devices
    assert isinstance(rates, Rates)
    total = 0.0
    for stage in stages:
        done = work(stage, context.estimates, context.model)
        if done is None:
            return None
        total += (on_gpu(done, rates) if stage.device == "gpu" else on_cpu(done, rates)).total
    return total


def on_cpu(done: Work, rates: Rates) -> Seconds:
    """What a stage takes on the CPUs of all nodes."""
    return seconds(done, rates.cpu, rates.nodes)


def on_gpu(done: Work, rates: Rates) -> Seconds:
    """What a stage takes on all GPUs."""
    if rates.keeps:
        decoded = done.decoded_before if done.decoded <= rates.gpu.memory * KEPT else 0.0
        done = replace(done, decoded=done.decoded - decoded, copied=done.copied - done.copied_before)
    return seconds(done, rates.gpu, rates.gpus)


def seconds(done: Work, rates: DeviceRates, devices: int = 1) -> Seconds:
    """What work takes on so many devices of a kind, each of which runs one task after the other."""
    tasks = max(done.tasks, 1)
    share = -(-tasks // devices) / tasks  # of all the work, what the busiest device does
    kernels = done.stream / rates.stream + done.join / rates.join + done.group / rates.group + done.sort / rates.sort
    return Seconds(
        copies=(done.copied / rates.upload + done.returned / rates.download) * share,
        parquet=done.decoded / rates.decode * share,
        kernels=kernels * share,
        starts=done.tasks * (rates.start + done.operators * rates.launch) * share,
    )


def _several(done: Work, devices: int, name: str) -> str:
    """In words, on how many devices of a kind the tasks run, where it is not one."""
    used = min(done.tasks, devices)
    return f" on {used} {name}" if used > 1 else ""


def work(stage: Stage, estimates: Estimates, model: CostModel) -> Work | None:
    """What a stage does; None if the size of one of its operators is not known."""
    nodes = list(walk(stage.plan))
    if any(estimates.get(n).rows is None for n in nodes):
        return None
    done = Work(operators=len(nodes), tasks=stage.tasks)
    for node in nodes:
        _add(done, node, estimates, model)
    done.returned = estimates.bytes_or(stage.plan, 0.0)
    done.resident = resident_set(stage.plan, estimates) / stage.tasks
    return done


def _add(done: Work, node: PhysicalPlan, estimates: Estimates, model: CostModel) -> None:
    """Count the work of one operator."""
    known = estimates.get(node)
    rows = known.rows or 0.0
    inputs = [estimates.get(child) for child in node.children()]
    read = [i.rows or 0.0 for i in inputs]
    match node:
        case ScanExec():
            statistics = scan_statistics(node)
            size = read_bytes(node, statistics, estimates)
            # A table that was read so many times is taken to be read as many times more.
            moved = read_bytes(node, statistics, estimates, statistics.resident) / (1 + statistics.reads)
            if statistics.parquet:
                done.decoded += size
                done.decoded_before += size - moved
            else:
                done.copied += size
                done.copied_before += size - moved
            tested = rows if statistics.rows is None else statistics.rows
            done.stream += model.filter(tested).cpu * len(node.predicates)
        case InputExec():
            done.copied += (known.bytes or 0.0) * (1 if node.partitioned else done.tasks)
        case FilterExec():
            done.stream += model.filter(read[0]).cpu + rows * model.output_row
        case ProjectExec(_, items):
            computed = sum(not isinstance(i.expr, Column) for i in items)
            done.stream += model.project(read[0], computed).cpu
        case UnionExec():
            done.stream += rows * model.output_row
        case HashJoinExec():
            build, probe = (0, 1) if node.build == "left" else (1, 0)
            done.join += model.hash_join_cpu(read[build], read[probe], rows, known.width)
        case NestedLoopJoinExec():
            done.join += model.nested_loop(read[0], read[1], inputs[1].width, rows).cpu
        case AggregateExec():
            done.group += model.aggregate(read[0], rows, known.width).cpu
        case SortExec(limit=limit):
            top = None if limit is None else limit + node.offset
            done.sort += model.sort(read[0], inputs[0].width, top).cpu
        case WindowExec():
            done.sort += model.sort(read[0], inputs[0].width).cpu
        case _:
            pass  # constants, limits: nothing that counts


def _time(value: float) -> str:
    """Seconds in two digits or three: they are estimates."""
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1000:.2g} ms" if value < 0.0995 else f"{value * 1000:.0f} ms"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
