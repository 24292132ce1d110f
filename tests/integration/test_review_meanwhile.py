"""What happens between a question and its answer: others speak, the loop looks again, part of it is answered."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.infra.database import Database
from connector_runner.kernel.clock import utc_now
from connector_runner.review import policy_store
from connector_runner.review.items import Item, Refused
from connector_runner.world.confidence import AUTHORITATIVE, CONVERSATION, HUMAN_APPROVED
from tests.integration.review_desk import ADA, ReviewDesk

PHONE = "telecom[phone|home]"


def home(number: str) -> dict[str, Any]:
    return {"telecom": [{"system": "phone", "use": "home", "value": number}]}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.otherwise = "unclear"
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0, "people": []}, actor="test", now=utc_now())
    return desk


def refused(found: Item | Refused) -> Refused:
    assert isinstance(found, Refused)
    return found


def test_who_claimed_it_is_told_what_the_loop_took_out(desk: ReviewDesk) -> None:
    first = desk.say(home("+16175550101"))
    other = desk.say({"gender": "female"}, entity_id=first["entity_id"])
    desk.run()
    item = desk.item()
    desk.claim(item.id)
    later = desk.say(home("+16175550199"), entity_id=first["entity_id"], supersedes=first["id"])
    desk.run()
    assert set(desk.item().event_ids) == {other["id"], later["id"]}
    found = refused(desk.answer(item.id, "approved"))
    assert found.code == "superseded"
    assert [(each["event_id"], each["because"], each.get("by")) for each in found.changed] == [
        (first["id"], "superseded", later["id"]), (later["id"], "joined", None),
    ]  # fmt: skip
    assert set(desk.confidences(first["entity_id"]).values()) == {CONVERSATION}
    assert isinstance(desk.answer(item.id, "approved"), Item), "told of it, they have seen it"


def test_what_was_superseded_whole_is_refused_with_what_changed(desk: ReviewDesk) -> None:
    first = desk.say(home("+16175550101"))
    desk.run()
    item = desk.item()
    desk.judge.otherwise = "supported"
    later = desk.say(home("+16175550199"), entity_id=first["entity_id"], supersedes=first["id"])
    desk.run()
    assert desk.item().status == "expired", "nothing is left to ask"
    found = refused(desk.answer(item.id, "approved"))
    assert found.code == "superseded"
    (change,) = found.changed
    assert (change["event_id"], change["because"], change["by"]) == (first["id"], "superseded", later["id"])
    assert desk.actions().count("review.refused") == 1


def test_who_was_told_once_that_it_was_superseded_answers_the_rest(desk: ReviewDesk) -> None:
    first = desk.say(home("+16175550101"))
    desk.say({"gender": "female"}, entity_id=first["entity_id"])
    desk.run()
    item = desk.item()
    desk.claim(item.id)
    desk.say(home("+16175550199"), entity_id=first["entity_id"], source="manual", supersedes=first["id"])
    assert refused(desk.answer(item.id, "approved")).code == "superseded"
    assert isinstance(desk.answer(item.id, "approved"), Item)
    assert desk.confidences(first["entity_id"]) == {"gender": HUMAN_APPROVED, PHONE: AUTHORITATIVE}


def test_what_a_correction_leaves_open_is_asked_anew(desk: ReviewDesk) -> None:
    said = desk.say(ADA | {"gender": "female"})
    desk.run()
    item = desk.item()
    desk.claim(item.id)
    done = desk.answer(item.id, "corrected", data={"name": {"family": "Okafor", "given": ["Adaeze"]}})
    assert isinstance(done, Item)
    assert (done.status, done.completed_action) == ("completed", "corrected")
    assert desk.confidences(said["entity_id"]) == {"name": AUTHORITATIVE, PHONE: CONVERSATION, "gender": CONVERSATION}
    (left,) = desk.items(status=["pending"])
    assert left.asked == {said["id"]: ["gender", PHONE]}
    assert (left.reason, left.category, left.priority) == ("unclear", "identity", item.priority)
    assert left.analysis is not None
    assert {word["path"] for word in left.analysis["fields"]} == {"gender", PHONE}
    assert desk.one("SELECT detail FROM audit_log WHERE action = 'review.corrected'")["detail"]["left"] == left.id
    assert desk.run().asked == 0, "it is asked once"
    assert isinstance(desk.answer(left.id, "approved"), Item)
    assert desk.items(status=["pending"]) == []


def test_a_correction_of_all_that_was_asked_leaves_nothing(desk: ReviewDesk) -> None:
    desk.say()
    desk.run()
    data = {"name": {"family": "Okafor", "given": ["Adaeze"]}, "telecom": []}
    assert isinstance(desk.answer(desk.item().id, "corrected", data=data), Item)
    assert desk.items(status=["pending", "in_progress"]) == []


def test_what_joins_makes_an_item_as_grave_as_it_is_itself(desk: ReviewDesk) -> None:
    said = desk.say(home("+16175550101"))
    desk.run()
    assert (desk.item().reason, desk.item().category) == ("unclear", "contact")
    desk.judge.words = {"gender": "contradicted"}
    desk.say({"gender": "female"}, entity_id=said["entity_id"], correlation_id="call-7")
    desk.run()
    item = desk.item()
    assert (item.reason, item.category, item.version) == ("contradicted", "identity", 2)
    desk.judge.words = {}
    desk.say({"language": "es"}, entity_id=said["entity_id"])
    desk.run()
    assert (desk.item().reason, desk.item().category) == ("contradicted", "identity"), "the lesser changes nothing"


def test_what_counts_again_as_its_successor_was_rejected_is_asked_again(desk: ReviewDesk) -> None:
    first = desk.say(home("+16175550101") | {"gender": "female"})
    desk.run()
    assert isinstance(desk.answer(desk.item().id, "corrected", data={"gender": "male"}), Item)
    second = desk.say(home("+16175550199"), entity_id=first["entity_id"], supersedes=first["id"])
    desk.run()
    (item,) = desk.items(status=["pending"])
    assert item.event_ids == (second["id"],)
    assert isinstance(desk.answer(item.id, "rejected", notes="misheard"), Item)
    desk.run()
    (item,) = desk.items(status=["pending"])
    assert item.asked == {first["id"]: [PHONE]}, "nobody has answered for the number that counts again"
    assert isinstance(desk.answer(item.id, "approved"), Item)
    assert desk.confidences(first["entity_id"])[PHONE] == HUMAN_APPROVED
