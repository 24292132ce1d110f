"""The net under the review loop: what was said in doubt, and nobody noted, is found."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest

from connector_runner.infra.database import Database, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.review import pending_store, policy_store, tending
from tests.integration.review_desk import ReviewDesk


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def forget(desk: ReviewDesk) -> None:
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "DELETE FROM pending_review")


def scan(desk: ReviewDesk) -> int:
    return tending.tend(desk.database, desk.workspace, now=utc_now()).found


def test_what_nobody_noted_is_found(desk: ReviewDesk) -> None:
    desk.say()
    forget(desk)
    assert scan(desk) == 1
    assert scan(desk) == 0, "it is noted by now"
    desk.judge.otherwise = "unclear"
    desk.run()
    assert scan(desk) == 0, "a person is asked about it already"


def test_what_the_judge_has_passed_is_not_judged_again(desk: ReviewDesk) -> None:
    said = desk.say()
    assert desk.run().verdicts == 1
    assert scan(desk) == 0
    more = desk.say({"gender": "female"}, entity_id=said["entity_id"])
    forget(desk)
    assert scan(desk) == 1
    judged = len(desk.judge.cases)
    desk.run()
    assert [event.id for case in desk.judge.cases[judged:] for event in case.events] == [more["id"]]


def test_a_long_past_is_scanned_step_by_step(desk: ReviewDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        desk.say()
    forget(desk)
    steps: list[datetime | None] = []
    step = pending_store.scan

    def noting(*given: object, **named: object) -> tuple[int, datetime | None]:
        done = step(*given, **named)  # type: ignore[arg-type]
        steps.append(done[1])
        return done

    monkeypatch.setattr(pending_store, "scan", partial(noting, limit=3))
    assert scan(desk) == 7
    assert len(steps) == 2
    assert steps[-1] is None


def scanned(desk: ReviewDesk, ago: timedelta) -> None:
    """What there is now came so long before the last scan, and was committed after it."""
    forget(desk)
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "UPDATE review_scan SET seen_until = clock_timestamp() + :ago", ago=ago)


def test_what_was_committed_late_is_found_by_the_next_scan(desk: ReviewDesk) -> None:
    desk.say()
    assert scan(desk) == 0, "it is noted"
    scanned(desk, timedelta(minutes=50))
    assert scan(desk) == 1, "it came before the last scan, by less than a transaction may take"
    scanned(desk, timedelta(minutes=90))
    assert scan(desk) == 0
