"""Each TPC-H query on three nodes while a worker dies, and while a node dies: are the answers right?

    python -m tests.benchmarks.failures --data DIRECTORY [--queries 1,2] [--kills 3]

The moment is random within the time that the query took undisturbed. Answers are compared with those of this process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import ray
from ray.cluster_utils import Cluster

import sqlray
from sqlray.tpch import query_numbers
from tests.conftest import TPCH_TABLES
from tests.integration.test_ray import same, workers
from tpch_queries import NUMBERS, query

OPTIONS: dict[str, object] = {"partitions": 3, "broadcast_limit": 1}
NODE = {"num_cpus": 1, "object_store_memory": 1 << 30}


def main(arguments: list[str] | None = None) -> int:
    """The command line; exits 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.failures", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a directory of TPC-H Parquet files")
    parser.add_argument("--queries", type=query_numbers, default=list(NUMBERS))
    parser.add_argument("--kills", type=int, default=3, help="runs of each query in which a worker dies")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    moments = random.Random(given.seed)
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    wrong = 0
    with sqlray.connect() as local, sqlray.connect("ray", **OPTIONS) as session:
        for table in TPCH_TABLES:
            for each in (local, session):
                each.register(table, str(given.data / f"{table}.parquet"))
        for number in given.queries:
            expected = local.sql(query(number)).to_arrow()
            session.sql(query(number)).to_arrow()
            usual, _ = _run(session, number)
            outcomes: list[str] = []
            for i in range(given.kills + 1):
                moment = moments.uniform(0, usual)
                kill: Callable[[], str]
                if i < given.kills:
                    kill = _kill_a_worker
                else:
                    victim = nodes.pop()

                    def kill(node: object = victim) -> str:
                        cluster.remove_node(node, allow_graceful=False)
                        return "node"

                killer = _Killer(moment, kill)
                killer.start()
                took, found = _run(session, number)
                killer.join()
                right = same(found, expected)
                wrong += not right
                outcomes.append(f"{killer.killed} {took:.1f} s{'' if right else ' WRONG'}")
                if i == given.kills:
                    nodes.append(cluster.add_node(**NODE))
                    cluster.wait_for_nodes()
            print(f"Q{number}: {usual:.1f} s; killed: {', '.join(outcomes)}", flush=True)
    ray.shutdown()
    cluster.shutdown()
    print(f"{wrong} wrong")
    return 1 if wrong else 0


class _Killer(threading.Thread):
    """Kills something after a while, and tells what."""

    def __init__(self, moment: float, kill: Callable[[], str]) -> None:
        super().__init__()
        self.killed = "nothing"
        self._moment = moment
        self._kill = kill

    def run(self) -> None:
        time.sleep(self._moment)
        self.killed = self._kill()


def _kill_a_worker() -> str:
    """Kill a worker that runs a task now, or the next one that does."""
    for _ in range(100):
        for process in workers()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                return "worker"
        time.sleep(0.01)
    return "nothing"


def _run(session: sqlray.Session, number: int) -> tuple[float, pa.Table]:
    started = time.perf_counter()
    found = session.sql(query(number)).to_arrow()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    sys.exit(main())
