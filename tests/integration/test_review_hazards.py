"""What goes wrong beside the judge: a transcript that does not open, clocks that differ, several values of a kind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from connector_runner.infra.database import Database, execute
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import utc_now
from connector_runner.review import label_store, policy_store, tending
from connector_runner.review.calibration import measured
from connector_runner.review.items import Item
from connector_runner.review.loop import MOST_ATTEMPTS
from connector_runner.review.verdicts import Verdict
from connector_runner.world.confidence import CONVERSATION, REVIEWED
from tests.integration.review_desk import ReviewDesk

PHONES = {
    "telecom": [
        {"system": "phone", "use": "home", "value": "+16175550101"},
        {"system": "phone", "use": "mobile", "value": "+16175550102"},
    ]
}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def leases_end(desk: ReviewDesk) -> None:
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "UPDATE pending_review SET due_at = clock_timestamp()")


def test_a_transcript_that_does_not_open_holds_up_nobody_else_and_ends_before_a_person(desk: ReviewDesk) -> None:
    broken = desk.say(correlation_id="call-1")
    others = [desk.say() for _ in range(3)]
    desk.hear("call-1", "Caller: Hello.")
    desk.loop = replace(desk.loop, sealer=Sealer(bytes(32)))
    for _ in range(MOST_ATTEMPTS):
        desk.run()
        leases_end(desk)
    assert all(set(desk.confidences(each["entity_id"]).values()) == {REVIEWED} for each in others)
    assert desk.items() == []
    desk.run()
    assert desk.item().event_ids == (broken["id"],)
    assert set(desk.confidences(broken["entity_id"]).values()) == {CONVERSATION}
    assert desk.pending() == 0


def test_a_clock_that_is_ahead_hides_nothing_from_later_scans(desk: ReviewDesk) -> None:
    tending.tend(desk.database, desk.workspace, now=utc_now() + timedelta(days=300))
    desk.say()
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "DELETE FROM pending_review")
    assert tending.tend(desk.database, desk.workspace, now=utc_now()).found == 1


def test_each_of_several_values_of_a_kind_is_a_label(desk: ReviewDesk) -> None:
    desk.judge.words = {"telecom": "unclear"}
    said = desk.say(PHONES)
    desk.run()
    right = {"telecom": PHONES["telecom"][:1]}
    assert isinstance(desk.answer(desk.item().id, "corrected", data=right), Item)
    with desk.database.begin(desk.workspace) as tx:
        (found,) = measured(label_store.labels(tx, desk.workspace))
    assert (found.labels, found.recall) == (2, 0)
    rows = desk.rows("SELECT field, holds FROM label")
    assert sorted(row["holds"] for row in rows) == [False, True]
    assert not any("home" in row["field"] or "mobile" in row["field"] for row in rows)
    with desk.database.begin(desk.workspace) as tx:
        word = Verdict(said["id"], True, "omar", fields=("telecom[phone|mobile]",))
        desk.answers.decide(tx, desk.workspace, word, now=utc_now())
        desk.answers.decide(tx, desk.workspace, replace(word, approve=False, reason="hers no more"), now=utc_now())
    assert len(desk.rows("SELECT 1 FROM label")) == 4
