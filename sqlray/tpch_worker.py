"""One engine in a process of its own, so that engines share no memory, threads or caches.

The parent writes a query's number on a line to stdin and reads one line of JSON from stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from planner.errors import ExecutionError
from planner.record import record
from sqlray.tpch_engines import open_engine


@record
class Measurement:
    """One run of a query: seconds, rows, the process's peak memory so far in bytes, or what went wrong."""

    seconds: float = 0.0
    rows: int = 0
    peak: int = 0
    error: str | None = None


class Worker:
    """The parent's side of a worker process. A context manager: the process ends with it."""

    def __init__(self, engine: str, paths: dict[str, str], settings: dict[str, str]) -> None:
        self._engine = engine
        # The worker finds sqlray where this process found it, installed or not.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sqlray.tpch_worker", engine, json.dumps(paths), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, number: int) -> Measurement:
        """Run a query once, from its text to an Arrow table."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            status = self._process.wait()
            raise ExecutionError(f"the {self._engine} process ended at query {number} with status {status}")
        return Measurement(**json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        with self._process:  # closes its pipes, which ends it, and waits
            pass


def peak_memory() -> int:
    """The most memory this process has had resident, in bytes."""
    try:
        # Not getrusage: a new process inherits its parent's peak there.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # no /proc
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _serve(engine: str, paths: dict[str, str], settings: dict[str, str]) -> None:
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    run = open_engine(engine, paths, settings)
    for line in sys.stdin:
        number = int(line)
        try:
            started = time.perf_counter()
            rows = run(number).num_rows
            answer = Measurement(time.perf_counter() - started, rows, peak_memory())
        except Exception as error:  # every engine has its own errors; the parent reports them
            answer = Measurement(error=f"{type(error).__name__}: {error}")
        print(json.dumps(asdict(answer)), file=answers, flush=True)


if __name__ == "__main__":
    try:
        _serve(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
    except KeyboardInterrupt:
        sys.exit(130)
