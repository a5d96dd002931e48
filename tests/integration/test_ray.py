"""Queries on Ray: the same answers as in this process, whatever the cluster does meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

import sqlray
from executor.devices import gpu_absence
from executor.metrics import Fallback
from executor.progress import Progress, QueryProgress
from executor.runners import worker
from executor.runners.base import StageOutput
from executor.runners.ray.backend import RayBackend
from executor.runners.ray.blocks import RemoteBlock
from executor.runners.ray.gpus import GONE, GpuRates
from executor.runners.ray.nodes import Node
from executor.runners.ray.runner import RayRunner
from planner.devices import H100, Rates, default_cpu
from planner.stages import Stage
from sqlray.tpch_verify import SORT_KEYS, compare
from tests.conftest import TPCH_TABLES
from tests.placed_source import SPLITS, PlacedSource
from tests.planned import planned_query, run
from tpch_queries import NUMBERS, query

COUNT = 400_000  # in four splits
ROWS = pl.DataFrame(
    {
        "k": [i % 100 if i % 7 else None for i in range(COUNT)],
        "f": [float(i % 10) if i % 10 else -0.0 for i in range(COUNT)],
        "s": [f"name {i % 13}" for i in range(COUNT)],
        "v": list(range(COUNT)),
    }
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes of one CPU each, on this machine. The last is said to have a GPU."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200 * 2**20})
    ray.init(address=made.address, log_to_driver=False, logging_level="error")  # on the first node, which stays
    for gpus in (0, 1):
        made.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=200 * 2**20)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def session(cluster: Cluster) -> Iterator[sqlray.Session]:
    with sqlray.connect("ray", memory_limit="500MB") as made:
        yield made


def with_tpch(session: sqlray.Session, data: Path) -> sqlray.Session:
    for table in TPCH_TABLES:
        session.register(table, str(data / f"{table}.parquet"))
    return session


@pytest.fixture(scope="module")
def expected(tpch_data: Path) -> dict[int, pa.Table]:
    local = with_tpch(sqlray.connect(), tpch_data)
    return {n: local.sql(query(n)).to_arrow() for n in NUMBERS}


def same(left: pa.Table, right: pa.Table) -> bool:
    """Equal rows in equal order; doubles up to the order of summation."""
    if left.schema != right.schema or left.num_rows != right.num_rows:
        return False
    for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True):
        for x, y in zip(a.values(), b.values(), strict=True):
            if x != y and not (isinstance(x, float) and x == pytest.approx(y, rel=1e-12)):
                return False
    return True


@pytest.mark.parametrize(
    "options", [{}, {"partitions": 3, "broadcast_limit": 1}], ids=["as planned", "everything shuffled"]
)
def test_tpch(
    session: sqlray.Session, split_data: Path, expected: dict[int, pa.Table], options: dict[str, object]
) -> None:
    for name, value in options.items():
        session.set_option(name, value)
    with_tpch(session, split_data)
    wrong = [n for n in NUMBERS if not same(session.sql(query(n)).to_arrow(), expected[n])]
    assert not wrong


def test_progress_tells_of_every_stage(session: sqlray.Session) -> None:
    session.set_option("partitions", 3)
    session.register("t", ROWS)
    progress = QueryProgress()
    planned = planned_query(session, "select k, count(*) as n from t group by k")
    seen: list[Progress] = []
    tell = progress.tell

    def remember(stage: Stage, tasks_done: int, rows: int, size: int) -> None:
        tell(stage, tasks_done, rows, size)
        seen.append(progress.look())

    progress.tell = remember  # type: ignore[method-assign]
    execution = planned.execution(progress=progress)
    assert sum(b.num_rows for b in planned.batches(execution)) == 101
    assert [p.stages[0].tasks_done for p in seen[:4]] == [0, 1, 2, 3]  # of the scan: none when it begins
    last = progress.look()
    assert [s.state for s in last.stages] == ["done"] * len(execution.graph.stages)
    for status in last.stages:
        measured = execution.metrics.stages[status.id]
        assert (status.tasks_done, status.rows) == (measured.tasks, measured.rows)
        assert status.bytes > 0


def test_there_is_no_cluster() -> None:
    script = "import sys, sqlray; sqlray.connect('ray', address=sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(Path(sqlray.__file__).parents[1])}
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        command = [sys.executable, "-c", script, address]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert f"ExecutionError: cannot connect to a Ray cluster at {address}" in ran.stderr
        assert "Hint: start one" in ran.stderr
    with pytest.raises(sqlray.UnsupportedError, match="only a cluster has an address"):
        sqlray.connect(address="127.0.0.1:1")


def test_sessions_share_a_connection(session: sqlray.Session) -> None:
    with sqlray.connect("ray") as other:
        assert other.sql("select 1 as x").fetchall() == [(1,)]
    assert session.sql("select 2 as x").fetchall() == [(2,)]


def test_equal_keys_meet(session: sqlray.Session) -> None:
    session.set_option("partitions", 4)
    session.set_option("broadcast_limit", 1)
    session.register("t", ROWS)
    session.register("u", [{"f": 0.0, "d": 5}, {"f": 3.0, "d": None}])
    text = """
        select t.f + 0 as f, count(*) as n, count(distinct t.s) as names, min(t.v) as low
        from t join u on t.f = u.f group by t.f order by 1
    """
    assert session.sql(text).fetchall() == [(0.0, COUNT // 10, 13, 0), (3.0, COUNT // 10, 13, 3)]
    nulls = session.sql("select k, count(*) from t group by k order by k nulls first limit 1").fetchall()
    assert nulls == [(None, ROWS["k"].null_count())]


def test_a_shuffle_of_many_blocks_is_merged(session: sqlray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.runners.ray.tasks._MOST_OBJECTS", 5)
    session.set_option("partitions", 7)
    session.set_option("broadcast_limit", 1)
    session.register("t", ROWS)
    text = """
        select a.k, count(*) as n, sum(b.v) as total from t as a join (select k, max(v) as v from t group by k) as b
        on a.k = b.k group by a.k order by a.k
    """
    assert session.sql(text).fetchall() == sqlray.connect().sql(text, t=ROWS).fetchall()


def test_nodes_share_a_key_that_most_rows_have(session: sqlray.Session) -> None:
    """One task would join nine of ten rows; and the rest is sorted in ranges, a sample of which says where they end."""
    for name, value in {"partitions": 3, "broadcast_limit": 1, "skew_limit": "100KB"}.items():
        session.set_option(name, value)
    hot = pl.DataFrame({"k": [7 if i % 10 else i for i in range(COUNT)], "i": range(COUNT)})
    names = pl.DataFrame({"k": range(COUNT), "name": [f"n{i}" for i in range(COUNT)]})
    sql = "select i, name from hot join names using (k) order by name desc, i"
    expected = sqlray.connect().sql(sql, hot=hot, names=names).to_polars()
    assert session.sql(sql, hot=hot, names=names).to_polars().equals(expected)
    text = session.sql(sql, hot=hot, names=names).explain(analyze=True)
    assert "tasks share partition" in text
    assert "range [name" in text


def test_rows_picked_at_will_are_picked_once(session: sqlray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads them: their blocks are put into the store by this process, so that no task runs again for them."""
    made: list[RemoteBlock] = []
    read: list[list[RemoteBlock]] = []
    finish, submit = RayRunner._output, RayRunner.submit

    def output(runner: RayRunner, *args: Any) -> StageOutput:
        found = finish(runner, *args)
        made.extend(b for b in found.blocks() if isinstance(b, RemoteBlock))
        return found

    def start(runner: RayRunner, stage: Stage, inputs: Mapping[int, StageOutput], *args: Any) -> None:
        read.extend([b for b in inputs[i].blocks() if isinstance(b, RemoteBlock)] for i in stage.inputs)
        submit(runner, stage, inputs, *args)

    monkeypatch.setattr(RayRunner, "_output", output)
    monkeypatch.setattr(RayRunner, "submit", start)
    session.set_option("partitions", 3)
    session.set_option("broadcast_limit", 1)
    sql = "with few as materialized (select v from t limit 1000) select count(*) from few a join few b on a.v = b.v"
    assert session.sql(sql, t=ROWS).fetchall() == [(1000,)]
    picked = next(blocks for blocks in read if sum(b.rows for b in blocks) == 1000)
    assert {b.ref for b in picked}.isdisjoint({b.ref for b in made})


def test_a_task_that_fails_when_it_runs_again_has_no_rows_to_give() -> None:
    block = worker.to_block(ROWS.head(3))
    error = sqlray.ExecutionError("the file is gone")
    assert [b.num_rows if b is not None else None for b in worker.merge([block, None], [block, block])] == [6, 3, None]
    with pytest.raises(sqlray.ExecutionError, match="the file is gone"):
        list(worker.merge([block, None], error))  # type: ignore[arg-type]


def test_explain_analyze_tells_of_stages(session: sqlray.Session) -> None:
    session.set_option("partitions", 3)
    text = session.sql("select s, count(*) from t group by s", t=ROWS).explain(analyze=True)
    assert "Stage 0: scan t, 3 tasks" in text
    assert "tasks: median" in text
    assert "stage by stage" in text


def test_tables_in_memory_are_sent_once(session: sqlray.Session) -> None:
    session.register("t", ROWS)
    for _ in range(3):
        assert session.sql("select sum(v), max(s) from t").fetchall() == [(COUNT * (COUNT - 1) // 2, "name 9")]
    assert len(session._backend._tables._known) == 1  # type: ignore[attr-defined]


def test_rows_are_copied_to_and_from_files(session: sqlray.Session, tmp_path: Path) -> None:
    session.register("t", ROWS)
    query = "select s, count(*) as n, sum(v) as total from t group by s"
    for form in ("parquet", "csv", "json"):
        path = tmp_path / f"x.{form}"
        assert session.sql(f"copy (select * from t) to '{path}'").fetchall() == [(COUNT,)]
        assert session.sql(f"select count(*), sum(v) from '{path}'").fetchall() == [(COUNT, COUNT * (COUNT - 1) // 2)]
        assert session.sql(f"copy ({query}) to '{path}'").fetchall() == [(13,)]
    session.sql("create table u (s varchar, n integer, total bigint)")
    assert session.sql(f"copy u from '{tmp_path / 'x.csv'}'").fetchall() == [(13,)]
    assert sorted(session.sql("from u").fetchall()) == sorted(session.sql(query).fetchall())
    with pytest.raises(sqlray.ExecutionError, match="division by zero"):
        session.sql(f"copy (select 1 // (v - 399999) from t) to '{tmp_path / 'y.csv'}'")
    assert {f.name for f in tmp_path.iterdir()} == {"x.parquet", "x.csv", "x.json"}


def test_files_with_empty_lines_are_read_by_workers(session: sqlray.Session, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,x\n,\n\n" * 50_000)
    assert session.sql(f"select count(*), count(a) from '{path}'").fetchall() == [(100_000, 50_000)]


def test_errors_are_the_users(session: sqlray.Session) -> None:
    session.register("t", ROWS)
    with pytest.raises(sqlray.ExecutionError, match="convert"):
        session.sql("select cast(s as integer) from t").to_arrow()
    assert session.sql("select 1 as x").fetchall() == [(1,)]
    with pytest.raises(sqlray.BindError, match="nosuch"):
        session.sql("select nosuch from t")


def test_a_result_is_a_dataset_and_a_dataset_is_a_table(session: sqlray.Session) -> None:
    session.register("t", ROWS)
    made = session.sql("select s, sum(v) as total from t group by s").to_ray_dataset()
    assert made.count() == 13

    def twice(batch: pa.Table) -> pa.Table:
        return batch.append_column("twice", pa.array([2 * int(v) for v in batch["total"].to_pylist()]))

    doubled = made.map_batches(twice, batch_format="pyarrow")  # noqa: F841 - queries find it by name
    rows = session.sql("select s, twice from doubled where s = 'name 3'").fetchall()
    assert rows == session.sql("select s, cast(2 * sum(v) as bigint) from t where s = 'name 3' group by s").fetchall()
    assert session.sql("select count(*) from t where false").to_ray_dataset().count() == 1
    assert session.sql("select v from t where false").to_ray_dataset().count() == 0
    local = sqlray.connect()
    assert local.sql("select count(*) from doubled").fetchall() == [(13,)]
    assert local.sql("select 1 as x").to_ray_dataset().take_all() == [{"x": 1}]


def test_datasets_need_packages(session: sqlray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)  # as where pandas is not installed
    with pytest.raises(sqlray.UnsupportedError, match="Ray Datasets cannot be used"):
        session.sql("select 1 as x").to_ray_dataset()
    assert session.sql("select 1 as x").fetchall() == [(1,)]


def test_queries_side_by_side(session: sqlray.Session) -> None:
    session.register("t", ROWS)
    found: list[list[tuple[object, ...]]] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(session.sql(f"select max(v) + {i} from t").fetchall()))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [[(COUNT - 1 + i,)] for i in range(6)]


def test_a_session_inside_of_a_task_and_of_an_actor(cluster: Cluster, session: sqlray.Session) -> None:
    def ask() -> object:
        with sqlray.connect("ray") as inner:
            return inner.sql("select sum(x) from (values (1), (2)) as t(x)").fetchall()

    class Asker:
        def ask(self) -> object:
            return ask()

    root = str(Path(sqlray.__file__).parents[1])
    environment = {"env_vars": {"PYTHONPATH": root}}
    assert ray.get(ray.remote(ask).options(runtime_env=environment).remote(), timeout=120) == [(3,)]
    actor = ray.remote(Asker).options(num_cpus=1, runtime_env=environment).remote()
    assert ray.get(actor.ask.remote(), timeout=120) == [(3,)]
    ray.kill(actor)


def fast_gpus(monkeypatch: pytest.MonkeyPatch, **gpu: float) -> None:
    """Have GPUs that are worth it for a few rows, as the option `device` = 'auto' sees them."""
    usual = Rates(default_cpu(1), replace(H100, launch=0.0, start=0.0, **gpu), nodes=3, gpus=1)  # type: ignore[arg-type]
    for name in ("known_rates", "measured_rates"):
        monkeypatch.setattr(RayBackend, name, lambda backend: usual)


def gpu_node() -> str:
    """The id of the only node with a GPU."""
    (found,) = (n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU"))
    return str(found)


def test_tpch_on_a_gpu(session: sqlray.Session, tpch_data: Path, expected: dict[int, pa.Table]) -> None:
    """If there is none in truth, every stage runs on the CPU of the node that is said to have one, and tells why."""
    absence = gpu_absence()
    session.set_option("device", "gpu")
    with_tpch(session, tpch_data)
    for number in NUMBERS:
        session.set_option("partitions", 2 if number in (3, 11, 15, 20) else 0)
        planned = planned_query(session, query(number))
        answer, metrics = run(planned)
        assert compare(answer, expected[number], SORT_KEYS.get(number, ()), tolerance=1e-9) is None
        fell_back = set(metrics.fallbacks)
        assert fell_back == (set() if absence is None else {Fallback(s, absence) for s in metrics.stages})


def test_gpu_tasks_run_where_gpus_are(session: sqlray.Session) -> None:
    session.set_option("partitions", 3)
    nodes = {"cpu": set[str](), "gpu": set[str]()}
    for device, gpus in (("cpu", 0), ("gpu", 1)):
        session.set_option("device", device)
        rows = session.sql("select i, node, gpus from placed order by i", placed=PlacedSource()).fetchall()
        assert [i for i, *_ in rows] == list(range(SPLITS))
        assert {claimed for *_, claimed in rows} == {gpus}
        nodes[device] = {str(node) for _, node, _ in rows}
    assert nodes["gpu"] == {gpu_node()}
    assert nodes["cpu"] - nodes["gpu"]


def test_cpu_and_gpu_stages_overlap(
    session: sqlray.Session, split_data: Path, expected: dict[int, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU reads Parquet here and gets no rows of other stages; meanwhile every CPU is claimed by others."""
    fast_gpus(monkeypatch, upload=1e-3)
    running: list[tuple[int, float]] = []
    start = RayRunner._start

    def note(runner: RayRunner, *args: Any) -> None:
        start(runner, *args)
        attempts = runner._attempts.values()
        running.append((sum(a.device == "gpu" for a in attempts), sum(a.claim for a in attempts)))

    monkeypatch.setattr(RayRunner, "_start", note)
    for name, value in {"partitions": 3, "broadcast_limit": 1}.items():
        session.set_option(name, value)
    with_tpch(session, split_data)
    text = session.sql(query(9)).explain()
    assert "on the GPU: about" in text
    assert "on the CPU: about" in text
    answer, metrics = run(planned_query(session, query(9)))
    assert compare(answer, expected[9], SORT_KEYS[9], tolerance=1e-9) is None
    assert {f.stage for f in metrics.fallbacks} < set(metrics.stages)
    assert any(gpus and cpus for gpus, cpus in running)


def test_what_a_gpu_does_is_asked_once(session: sqlray.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a worker on its node; where all are taken nobody asks."""
    backend = session._backend
    assert isinstance(backend, RayBackend)
    node = gpu_node()
    assert (backend.cluster(10**9).gpus, backend.gpu_absence()) == (1, None)
    asked: list[str] = []
    ask = GpuRates._ask
    known = Rates(default_cpu(1), H100)

    def remember(rates: GpuRates, which: str, *args: Any) -> Rates | None:
        asked.append(which)
        assert (ask(rates, which, *args) is None) == (gpu_absence() is not None)
        return known

    monkeypatch.setattr(GpuRates, "_ask", remember)
    here = replace(known, nodes=backend.cluster(10**9).nodes, gpus=1, keeps=False)
    for _ in range(2):
        assert backend.known_rates() == here
        assert backend.measured_rates() == here
    assert asked == ["known", "measured"]
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 3.0})
    assert backend.known_rates() is not None  # the task that measured had it a moment ago
    monkeypatch.setattr("executor.runners.ray.claims._LAG", 0.0)
    assert backend.known_rates() is None
    nodes = [Node(node, 1, 4), Node("other", 1, 4)]
    monkeypatch.setattr("executor.runners.ray.nodes.alive", lambda: nodes)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 3.0, "GPU": 5.0})
    several = backend.known_rates()
    assert several is not None
    assert several.gpus == 5
    assert several.gpu.start > known.gpu.start  # each task in a process of its own


def test_a_cancelled_query_leaves_the_session_usable(session: sqlray.Session) -> None:
    session.register("t", ROWS)
    slow = session.sql("select count(*) from t as a, t as b, t as c where a.v + b.v + c.v < 0")
    caught: list[BaseException] = []

    def run() -> None:
        try:
            slow.to_arrow()
        except sqlray.SqlrayError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(2)
    session.cancel()
    thread.join(30)
    assert [type(e) for e in caught] == [sqlray.CancelledError]
    assert session.sql("select count(*) from t").fetchall() == [(COUNT,)]


def test_nothing_leaks(session: sqlray.Session) -> None:
    session.register("t", ROWS)
    session.set_option("partitions", 3)
    text = "select s, count(*) from t group by s order by s"
    session.sql(text).to_arrow()
    before = used_bytes()
    for _ in range(30):
        session.sql(text).to_arrow()
    deadline = time.monotonic() + 20
    while used_bytes() > before + 2**20 or ray.available_resources().get("CPU") != 3.0:
        assert time.monotonic() < deadline, f"{before} bytes used before, {used_bytes()} after"
        time.sleep(0.5)


def used_bytes() -> float:
    """Bytes in use in the object stores of all nodes."""
    total, free = ray.cluster_resources(), ray.available_resources()
    return float(total["object_store_memory"] - free.get("object_store_memory", 0.0))


def remove_after(monkeypatch: pytest.MonkeyPatch, stages: int, cluster: Cluster, node: Any) -> None:
    """Have the node with the last GPUs go when so many stages have finished."""
    finished = itertools.count(1)
    output = RayRunner._output

    def remove(runner: RayRunner, *args: Any) -> StageOutput:
        found = output(runner, *args)
        if next(finished) == stages:
            cluster.remove_node(node)
            deadline = time.monotonic() + 60  # a node that dies is noticed late
            while "GPU" in ray.cluster_resources():  # until the cluster knows, tasks may still be sent there
                assert time.monotonic() < deadline
                time.sleep(0.1)
        return found

    monkeypatch.setattr(RayRunner, "_output", remove)


def test_the_last_gpu_goes_with_rows(
    cluster: Cluster, session: sqlray.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it made and nobody else can make again: the query begins anew, on the CPU."""
    session.register("t", ROWS)
    sql = "select a.v, count(*) as n from t a join t b on a.v = b.v group by a.v order by a.v"
    for name, value in {"device": "gpu", "partitions": 3, "broadcast_limit": 1}.items():
        session.set_option(name, value)
    planned = planned_query(session, sql)
    remove_after(monkeypatch, 2, cluster, next(n for n in cluster.worker_nodes if n.node_id == gpu_node()))
    answer, metrics = run(planned)
    assert answer.to_pydict() == {"v": list(range(COUNT)), "n": [1] * COUNT}
    gone = {f.stage for f in metrics.fallbacks if f.reason == GONE}
    assert gone == {s.id for s in planned.physical.graph.stages}
    with pytest.raises(sqlray.ExecutionError, match="'gpu', but no node of the cluster has a GPU") as caught:
        session.sql("select 1").to_arrow()
    assert "add a node that has one" in str(caught.value)
    session.set_option("device", "auto")
    assert session.sql("select 1").fetchall() == [(1,)]


def test_a_node_with_several_gpus_comes_and_goes(
    cluster: Cluster,
    session: sqlray.Session,
    split_data: Path,
    expected: dict[int, pa.Table],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its tasks run in processes of their own; those that still wait when it goes run on CPUs."""
    node = cluster.add_node(num_cpus=1, num_gpus=2, object_store_memory=200 * 2**20)
    for name, value in {"device": "gpu", "partitions": 3, "broadcast_limit": 1}.items():
        session.set_option(name, value)
    rows = session.sql("select i, gpus from placed order by i", placed=PlacedSource()).fetchall()
    assert rows == [(i, 1) for i in range(SPLITS)]
    with_tpch(session, split_data)
    planned = planned_query(session, query(6))
    remove_after(monkeypatch, 1, cluster, node)
    answer, metrics = run(planned)
    assert same(answer, expected[6])
    assert GONE in {f.reason for f in metrics.fallbacks}


def workers() -> list[int]:
    """The processes that run sqlray's tasks at the moment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"ray::sqlray" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_workers_that_die(session: sqlray.Session, tpch_data: Path, expected: dict[int, pa.Table]) -> None:
    session.set_option("partitions", 3)
    session.set_option("broadcast_limit", 1)
    with_tpch(session, tpch_data)
    killed = 0
    stop = threading.Event()

    def kill() -> None:
        nonlocal killed
        while not stop.wait(random.uniform(0.5, 3.0)):
            for process in workers()[:1]:
                os.kill(process, signal.SIGKILL)
                killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        wrong = []
        for n in itertools.cycle(NUMBERS):
            wrong += [n] if not same(session.sql(query(n)).to_arrow(), expected[n]) else []
            if killed >= 4:
                break
    finally:
        stop.set()
        killer.join()
    assert not wrong


def test_a_node_that_dies_and_one_that_comes(
    cluster: Cluster, session: sqlray.Session, tpch_data: Path, expected: dict[int, pa.Table]
) -> None:
    session.set_option("partitions", 3)
    session.set_option("broadcast_limit", 1)
    with_tpch(session, tpch_data)
    victim = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
    removed = threading.Timer(1.5, lambda: cluster.remove_node(victim, allow_graceful=False))
    removed.start()
    wrong = [n for n in (5, 18, 21) if not same(session.sql(query(n)).to_arrow(), expected[n])]
    removed.join()
    assert not wrong


def test_workers_get_the_packages(tmp_path: Path) -> None:
    """A cluster whose workers cannot import sqlray."""
    root = Path(sqlray.__file__).parents[1]
    script = textwrap.dedent(f"""
        import importlib.util
        import sys
        import ray

        def forget():
            sys.path[:] = [p for p in sys.path if p not in ("", {str(root)!r})]

        environment = {{"worker_process_setup_hook": forget}}
        ray.init(
            address="local", num_cpus=1, log_to_driver=False, logging_level="error", include_dashboard=False,
            runtime_env=environment,
        )
        assert ray.get(ray.remote(lambda: importlib.util.find_spec("planner")).remote()) is None
        import sqlray
        print(sqlray.connect("ray").sql("select 40 + 2 as x").fetchall())
    """)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180
    )
    assert ran.stdout.strip().endswith("[(42,)]"), ran.stdout + ran.stderr  # after what Ray has to say of its workers
