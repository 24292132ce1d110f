"""Tasks and hints on real Postgres and Redis: what they refuse, what they do about errors, who runs what is due."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.infra import queue, schedule
from connector_runner.infra.database import Database, rows
from connector_runner.infra.logging import configure
from connector_runner.infra.queue import Hint, Publisher
from connector_runner.kernel import errors
from connector_runner.kernel.clock import utc_now
from connector_runner.resolution import population_store, service
from connector_runner.settings import Settings
from tasks import base, follow_ups, process
from tasks.base import ACTIONS, Action, RunnerTask, TaskFailed, action_for

CANARY = "Zebulon Canary"
ID = "01a1fcb1-303c-75f2-a84f-8d753d52594b"


def _all_errors(kind: type[errors.RunnerError]) -> Iterator[type[errors.RunnerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all_errors(below)


def test_there_is_an_action_for_every_error() -> None:
    for kind in _all_errors(errors.RunnerError):
        assert isinstance(action_for(kind.__new__(kind)), Action)
    named = {kind for kind in _all_errors(errors.RunnerError) if kind.__bases__ == (errors.RunnerError,)}
    assert named <= set(ACTIONS)
    assert action_for(errors.RateLimited("slow down")) is Action.WAIT
    assert action_for(errors.Conflict("moved")) is Action.REPEAT
    assert action_for(ValueError("foreign")) is Action.FAIL


@pytest.mark.parametrize("value", [CANARY, "/data/zebulon.json", "", "x" * 65, None, True, 1.5, ["a"], {"a": 1}])
def test_a_message_takes_ids_only(value: Any) -> None:
    with pytest.raises(errors.BadRecord) as refused:
        queue.check_arguments({"workspace_id": value})
    assert refused.value.code == "task_argument"
    assert CANARY not in str(refused.value)


@pytest.fixture
def runner(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Runner:
    made = Runner(Settings(home=tmp_path), Addresses(database_url, redis_url))
    for module in (process, base, follow_ups):
        monkeypatch.setattr(module, "runner", lambda: made)
    return made


def _task(body: Any, follow: Any = None) -> RunnerTask:
    kind = type("Probe", (RunnerTask,), {"name": "probe.run", "run": staticmethod(body), "follow_ups": follow})
    task = kind()
    task.bind(Celery("probe", set_as_current=False))
    return task


def test_a_failure_shows_its_code_and_nothing_of_the_record(runner: Runner) -> None:
    lines = io.StringIO()
    configure("INFO", stream=lines, json=True)

    def body(**_: Any) -> None:
        raise ValueError(CANARY)

    with pytest.raises(TaskFailed) as failed:
        _task(body)(workspace_id=ID)
    assert str(failed.value) == "error"
    assert failed.value.__suppress_context__
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["event"], line["code"], line["workspace_id"]) for line in logged] == [("task_failed", "error", ID)]
    assert CANARY not in lines.getvalue()


def test_a_conflict_is_run_again_and_then_left_to_the_sweep(runner: Runner) -> None:
    runs: list[int] = []

    def body(**_: Any) -> None:
        runs.append(1)
        raise errors.Conflict("moved")

    _task(body)(workspace_id=ID)
    assert len(runs) == base.ATTEMPTS


class _Landed:
    """What a poll, a push or a slice of an import came to."""

    polls: Sequence[str] = ()
    more = False

    def __bool__(self) -> bool:
        return True


def test_follow_ups_are_sent_only_after_the_body_returned(runner: Runner, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    waiting: list[int] = []

    def body(**_: Any) -> bool:
        waiting.append(redis.llen("cr:release"))
        return True

    _task(body, staticmethod(follow_ups.after_change))(workspace_id=ID)
    assert (waiting, redis.llen("cr:release")) == ([0], 1)
    message = json.loads(redis.lindex("cr:release", 0))
    assert message["headers"]["task"] == queue.RELEASE
    assert message["headers"]["kwargsrepr"] == repr({"workspace_id": ID})


@pytest.mark.parametrize(
    ("follow", "outcome"),
    [
        (follow_ups.after_change, 1),
        (follow_ups.after_poll, [SimpleNamespace(workspace_id=ID, outcome=_Landed())]),
        (follow_ups.after_push, _Landed()),
        (follow_ups.after_import, _Landed()),
    ],
)
def test_what_landed_is_compared_at_once(follow: Any, outcome: Any) -> None:
    assert Hint.of(queue.RESOLVE, workspace_id=ID) in list(follow(outcome, {"workspace_id": ID}))


def test_names_are_counted_workspace_by_workspace_and_who_waits_for_it_is_compared(
    runner: Runner, redis_url: str, new_workspace: Any
) -> None:
    redis, workspace_id = Redis.from_url(redis_url), new_workspace()
    with runner.database.begin(workspace_id) as tx:
        population_store.grow(tx, workspace_id, "patient", 1)
    _task(lambda: service.workspaces(runner.database), staticmethod(follow_ups.counts_due))()
    count = functools.partial(service.recount, runner.database, now=utc_now())
    _task(lambda workspace_id: count(workspace_id), staticmethod(follow_ups.after_count))(workspace_id=workspace_id)
    hints = [json.loads(message)["headers"] for message in redis.lrange("cr:resolve", 0, -1)]
    told = [(hint["task"], hint["kwargsrepr"]) for hint in hints]
    for task in (queue.RECOUNT_WORKSPACE, queue.SHELVE):
        assert (task, repr({"workspace_id": workspace_id})) in told
    with runner.database.begin(workspace_id) as tx:
        assert [row["counted"] for row in rows(tx, "SELECT counted FROM population")] == [0]
    assert queue.RESOLVE not in [hint["task"] for hint in hints]
    assert list(follow_ups.after_count(3, {"workspace_id": ID})) == [Hint.of(queue.RESOLVE, workspace_id=ID)]


def test_the_same_hint_waits_once_and_may_come_again_when_started(redis_url: str) -> None:
    publisher, redis = Publisher(redis_url), Redis.from_url(redis_url)
    assert publisher.hint(queue.RELEASE, workspace_id=ID)
    assert publisher.hint(queue.RELEASE, workspace_id=ID)
    assert redis.llen("cr:release") == 1
    publisher.started(Hint.of(queue.RELEASE, workspace_id=ID))
    assert publisher.hint(queue.RELEASE, workspace_id=ID)
    assert publisher.depths(["release", "poll"]) == {"release": 2, "poll": 0}


def test_a_hint_that_cannot_be_sent_is_no_error() -> None:
    publisher = Publisher("redis://127.0.0.1:1/0")
    assert publisher.hint(queue.RELEASE, workspace_id=ID) is False
    publisher.started(Hint.of(queue.RELEASE, workspace_id=ID))


def test_of_two_claimants_one_runs_what_is_due(database: Database) -> None:
    with database.sweep() as tx:
        schedule.ensure(tx, {"probe": 3600.0})
    with database.sweep() as first, database.sweep() as second:
        assert schedule.claim(first, ["probe"], "one") == ["probe"]
        assert schedule.claim(second, ["probe"], "two") == []
    with database.sweep() as tx:
        assert schedule.claim(tx, ["probe"], "three") == []


def test_a_worker_leaves_beat_its_turn(database: Database) -> None:
    with database.sweep() as tx:
        schedule.ensure(tx, {"fresh": 3600.0})
        assert schedule.claim(tx, ["fresh"], "worker", late_s=60.0) == []
        assert schedule.claim(tx, ["fresh"], "beat") == ["fresh"]


def test_a_drain_goes_on_only_if_it_got_something_done(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_ups, "_queue_of", lambda workspace_id, sink_id: "sink.demo.store")
    ids = {"workspace_id": ID, "sink_id": ID}
    stuck = SimpleNamespace(more=True, outcomes={})
    going = SimpleNamespace(more=True, outcomes={"landed": 3})
    assert list(follow_ups.drain_again(stuck, ids)) == []
    assert [hint.queue for hint in follow_ups.drain_again(going, ids)] == ["sink.demo.store"]
