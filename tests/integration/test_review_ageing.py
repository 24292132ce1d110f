"""What time does to questions: they expire and are asked again, claims lapse, appointments come nearer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Database, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.review import ageing, policy_store, queue, tending
from connector_runner.review.items import Item, Refused
from connector_runner.world import reading
from connector_runner.world.confidence import HUMAN_APPROVED
from tests.integration.review_desk import ReviewDesk


def home(number: str) -> dict[str, Any]:
    return {"telecom": [{"system": "phone", "use": "home", "value": number}]}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.otherwise = "unclear"
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def asked(desk: ReviewDesk, facts: dict[str, Any] | None = None, **more: Any) -> tuple[dict[str, Any], Item]:
    said = desk.say(facts, **more)
    desk.run()
    (item,) = [each for each in desk.items(status=["pending"]) if said["id"] in each.event_ids]
    return said, item


def older(desk: ReviewDesk, item: Item, hours: int) -> None:
    """Nobody has touched it for so long."""
    with desk.database.begin(desk.workspace) as tx:
        execute(
            tx,
            "UPDATE review_item SET changed_at = changed_at - :ago, claimed_at = claimed_at - :ago WHERE id = :id",
            ago=timedelta(hours=hours),
            id=item.id,
        )


def expired(desk: ReviewDesk, item: Item) -> None:
    older(desk, item, 337)
    assert tending.tend(desk.database, desk.workspace, now=utc_now()).expired == 1


def reopen(desk: ReviewDesk, item: Item) -> Item | Refused:
    return desk.database.retrying(
        desk.workspace,
        lambda tx: ageing.reopen(tx, desk.handlers, desk.workspace, item.id, actor="ruth", now=utc_now()),
    )


def test_what_nobody_answers_expires_and_is_shown(desk: ReviewDesk) -> None:
    _, item = asked(desk)
    _, fresh = asked(desk)
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "UPDATE review_item SET changed_at = :old WHERE id = :id",
                old=utc_now() - timedelta(hours=337), id=item.id)  # fmt: skip
        assert ageing.expire(tx, desk.workspace, now=utc_now()) == 1
        over, total = queue.history(tx, desk.workspace)
        counted = queue.stats(tx, desk.workspace, now=utc_now())
    assert (total, over[0].id, over[0].status, over[0].ended_because) == (1, item.id, "expired", "stale")
    assert (counted["pending"], counted["expired"], counted["queue_depth"]) == (1, 1, 1)
    assert desk.items(status=["pending"])[0].id == fresh.id
    assert "review.expired" in desk.actions()
    refused = desk.answer(item.id, "approved")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.message) == ("expired", "the item is expired (stale)")


def test_an_expired_item_is_asked_again_and_answered(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    desk.claim(item.id, "omar")
    expired(desk, item)
    found = reopen(desk, item)
    assert isinstance(found, Item)
    assert (found.id, found.status, found.assigned_to, found.ended_because) == (item.id, "pending", None, None)
    assert tending.tend(desk.database, desk.workspace, now=utc_now()).expired == 0, "it has its whole time again"
    again = reopen(desk, item)
    assert isinstance(again, Refused)
    assert again.code == "not_expired"
    assert isinstance(desk.answer(item.id, "approved"), Item)
    assert set(desk.confidences(said["entity_id"]).values()) == {HUMAN_APPROVED}
    assert [a for a in desk.actions() if a.startswith("review.")][-3:] == [
        "review.expired", "review.reopened", "review.approved",
    ]  # fmt: skip


def test_what_is_asked_again_joins_what_is_asked_by_then(desk: ReviewDesk) -> None:
    first, item = asked(desk, home("+16175550101"))
    expired(desk, item)
    second, open_one = asked(desk, {"gender": "female"}, entity_id=first["entity_id"])
    assert open_one.id != item.id
    found = reopen(desk, item)
    assert isinstance(found, Item)
    assert (found.id, set(found.event_ids), found.category) == (open_one.id, {first["id"], second["id"]}, "identity")
    assert [each.id for each in desk.items(status=["expired"])] == [item.id], "history stays as it was"


def test_nothing_is_asked_again_that_is_not_open_any_more(desk: ReviewDesk) -> None:
    first, item = asked(desk, home("+16175550101"))
    expired(desk, item)
    later = desk.say(home("+16175550102"), entity_id=first["entity_id"], source="manual", supersedes=first["id"])
    found = reopen(desk, item)
    assert isinstance(found, Refused)
    assert (found.code, found.changed[0]["by"]) == ("superseded", later["id"])
    assert [(each.id, each.ended_because) for each in desk.items()] == [(item.id, "superseded")]


def test_a_claim_that_is_not_answered_lapses(desk: ReviewDesk) -> None:
    _, item = asked(desk)
    _, held = asked(desk)
    desk.claim(item.id, "omar")
    desk.claim(held.id, "omar")
    older(desk, item, 25)
    touched = desk.one("SELECT changed_at FROM review_item WHERE id = :id", id=item.id)["changed_at"]
    assert tending.tend(desk.database, desk.workspace, now=utc_now()).lapsed == 1
    assert {each.id: each.status for each in desk.items()} == {item.id: "pending", held.id: "in_progress"}
    row = desk.one("SELECT changed_at, assigned_to, seen FROM review_item WHERE id = :id", id=item.id)
    assert (row["changed_at"], row["assigned_to"], row["seen"]) == (touched, None, None), "it expires as it would have"
    entry = desk.one("SELECT object, detail FROM audit_log WHERE action = 'review.lapsed'")
    assert (entry["object"], entry["detail"]["claimed_by"]) == (item.id, "omar")
    assert isinstance(desk.answer(item.id, "approved", "ruth"), Item)


def test_the_nearest_appointment_makes_it_urgent(desk: ReviewDesk) -> None:
    _, plain = asked(desk, home("+16175550111"))
    soon, _ = asked(desk, home("+16175550122"))
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "DELETE FROM review_item WHERE entity_id = :id", id=soon["entity_id"])
        stored = reading.row(tx, desk.workspace, soon["entity_id"])
    assert stored is not None
    name = stored["canonical_id"]
    start = (utc_now() + timedelta(hours=5)).isoformat()
    desk.say({"start": start, "status": "booked", "patient": {"ref": name}}, entity_type="appointment", source="manual")
    desk.say({"language": "es"}, entity_id=soon["entity_id"])
    desk.run()
    (item,) = [each for each in desk.items() if each.entity_id == soon["entity_id"]]
    assert item.priority == plain.priority - 30
    assert desk.items()[0].id == item.id


def test_an_item_that_waits_is_more_urgent_the_nearer_the_appointment(desk: ReviewDesk) -> None:
    said, item = asked(desk, home("+16175550111"))
    _, other = asked(desk, home("+16175550122"))
    with desk.database.begin(desk.workspace) as tx:
        stored = reading.row(tx, desk.workspace, said["entity_id"])
    assert stored is not None
    now = utc_now()
    visit = {
        "start": (now + timedelta(days=6)).isoformat(),
        "status": "booked",
        "patient": {"ref": stored["canonical_id"]},
    }
    desk.say(visit, entity_type="appointment", source="manual")
    for ahead, sooner, moved in ((0, 10, 1), (0, 10, 0), (4, 20, 1), (5.5, 30, 1), (7, 0, 1)):
        assert tending.tend(desk.database, desk.workspace, now=now + timedelta(days=ahead)).moved == moved
        found = {each.id: each for each in desk.items()}
        assert found[item.id].priority == item.priority - sooner
        assert found[other.id].priority == other.priority
        assert (found[item.id].version, found[item.id].changed_at) == (item.version, item.changed_at)


def test_every_item_is_looked_at_however_many_wait(desk: ReviewDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ageing, "_STEP", 2)
    for _ in range(5):
        asked(desk, home("+16175550111"))
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "UPDATE review_item SET priority = 0")
    assert ageing.come_nearer(desk.database, desk.workspace, now=utc_now()) == 5
    assert ageing.come_nearer(desk.database, desk.workspace, now=utc_now()) == 0
