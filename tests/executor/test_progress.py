"""What a running query tells of its stages."""

from __future__ import annotations

from typing import Any

import pytest

import sqlray
from executor.progress import Progress, QueryProgress
from planner.errors import ExecutionError
from planner.stages import Stage
from tests.planned import planned_query
from tests.slow_source import SlowSource

COUNTS = "select g, count(*) as n from slow group by g"


def stage(number: int, tasks: int = 2, name: str = "scan t") -> Stage:
    plan: Any = None
    return Stage(number, plan, None, tasks, (), name)


def states(progress: Progress) -> dict[int, str]:
    return {s.id: s.state for s in progress.stages}


def test_stages_wait_run_and_are_done() -> None:
    query = QueryProgress()
    query.plan([stage(0), stage(1), stage(2)])
    assert states(query.look()) == {0: "waiting", 1: "waiting", 2: "waiting"}
    query.tell(stage(1), 0, 0, 0)
    query.tell(stage(0), 1, 10, 100)
    progress = query.look()
    assert [s.id for s in progress.stages] == [1, 0, 2]  # as they began
    assert (progress.stages[1].tasks_done, progress.stages[1].rows, progress.stages[1].bytes) == (1, 10, 100)
    query.tell(stage(0), 2, 20, 200)
    progress = query.look()
    assert states(progress) == {1: "running", 0: "done", 2: "waiting"}
    assert progress.stages_done == 1
    assert 0 <= progress.stages[1].seconds <= progress.seconds


def test_a_finished_stage_takes_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    query = QueryProgress()
    query.plan([stage(0), stage(1)])
    now = 101.0
    query.tell(stage(0), 0, 0, 0)
    now = 104.0
    assert query.look().stages[0].seconds == 3
    query.tell(stage(0), 2, 1, 1)
    query.tell(stage(1), 0, 0, 0)
    now = 110.0
    progress = query.look()
    assert [s.seconds for s in progress.stages] == [3, 6]
    assert progress.seconds == 10


def test_stages_may_be_planned_anew() -> None:
    query = QueryProgress()
    query.plan([stage(0), stage(1), stage(2), stage(3)])
    query.tell(stage(0), 2, 5, 50)
    query.tell(stage(1), 1, 5, 50)
    query.plan([stage(1), stage(4, name="another")])
    assert states(query.look()) == {0: "done", 1: "running", 4: "waiting"}
    query.tell(stage(5), 0, 0, 0)  # nobody said that there would be one
    query.tell(stage(1, tasks=4), 2, 9, 90)  # and one has more tasks than was thought
    progress = query.look()
    assert states(progress) == {0: "done", 1: "running", 5: "running", 4: "waiting"}
    assert [s.tasks for s in progress.stages] == [2, 4, 2, 2]


@pytest.mark.parametrize("options", [{}, {"partitions": 2}])
def test_a_query_tells_of_every_stage(options: dict[str, object]) -> None:
    """Seen while the first stage reads, and once more when all is done."""
    seen: list[Progress] = []
    query = QueryProgress()
    session = sqlray.connect(**options)
    session.register("slow", SlowSource(lambda begun: seen.append(query.look())))
    planned = planned_query(session, COUNTS)
    execution = planned.execution(progress=query)
    assert sum(b.num_rows for b in planned.batches(execution)) == 100
    stages = planned.physical.graph.stages

    first = seen[0]
    assert len(first.stages) == len(stages)
    assert first.stages[0].state == "running"
    assert {s.state for s in first.stages[1:]} <= {"waiting"}
    for at, progress in enumerate(seen):  # a look when each of its tasks begins
        assert (progress.stages[0].tasks_done, progress.stages[0].rows > 0) == (at, at > 0)

    last = query.look()
    assert states(last) == {s.id: "done" for s in execution.graph.stages}
    for status in last.stages:
        measured = execution.metrics.stages[status.id]
        assert (status.tasks_done, status.rows) == (measured.tasks, measured.rows)
        assert status.bytes == measured.bytes > 0


def test_explain_analyze_tells_too() -> None:
    query = QueryProgress()
    session = sqlray.connect(partitions=2)
    seen: list[Progress] = []
    session.register("slow", SlowSource(lambda begun: seen.append(query.look())))
    planned = planned_query(session, COUNTS)
    planned.explain(True, query)
    assert seen[-1].stages[0].tasks_done == 1
    assert set(states(query.look()).values()) == {"done"}


def test_a_stage_that_failed_is_not_done() -> None:
    query = QueryProgress()
    session = sqlray.connect(partitions=2)
    session.register("slow", SlowSource(lambda begun: None))
    planned = planned_query(session, "select g, max(cast(s as int)) from slow group by g")
    with pytest.raises(ExecutionError):
        list(planned.batches(planned.execution(progress=query)))
    assert query.look().stages[0].state == "running"
