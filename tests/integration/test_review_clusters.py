"""Review of records that turn out to be one person, or not: what they say against, or for, one another."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.infra.database import Database
from connector_runner.kernel.clock import utc_now
from connector_runner.resolution import service
from connector_runner.review import policy_store
from connector_runner.review.items import Item
from connector_runner.review.noting import Subscriber
from connector_runner.world import reading
from connector_runner.world.confidence import CONVERSATION, HUMAN_APPROVED, REVIEWED
from tests.integration.review_desk import ReviewDesk

PHONE = "telecom[phone|home]"
HOME = {"telecom": [{"system": "phone", "use": "home", "value": "+16175550101"}]}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def told(desk: ReviewDesk, one: str, other: str, *, same: bool) -> None:
    """A person says whether two are one, and the clusters are made anew."""
    with desk.database.begin(desk.workspace) as tx:
        service.decide(tx, desk.workspace, one, other, same=same, actor="ruth", reason="seen", now=utc_now())
    hear = Subscriber(desk.hinted.append).resolved
    service.resolve(desk.database, desk.workspace, now=utc_now(), tell=hear)


def members(desk: ReviewDesk, entity: str) -> tuple[str, ...]:
    with desk.database.begin(desk.workspace) as tx:
        view = reading.view(tx, desk.workspace, entity)
    assert view is not None
    return view.members


def stored(desk: ReviewDesk, entity: str) -> float:
    return float(desk.one("SELECT confidence FROM projection WHERE entity_id = :id", id=entity)["confidence"])


def two(desk: ReviewDesk, heard: dict[str, Any], known: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a caller said, and what a system of record says of whom nobody takes for the same yet."""
    first, second = desk.say(heard), desk.say(known, source="manual")
    desk.run()
    return first, second


def test_what_the_judge_passed_is_asked_about_when_it_turns_out_to_be_about_somebody_known(desk: ReviewDesk) -> None:
    heard, known = two(desk, {"birth_date": "1983-03-04"}, {"birth_date": "1982-03-04"})
    assert desk.confidences(heard["entity_id"]) == {"birth_date": REVIEWED}
    desk.hinted.clear()
    told(desk, heard["entity_id"], known["entity_id"], same=True)
    assert len(members(desk, heard["entity_id"])) == 2
    assert desk.hinted == [desk.workspace]
    assert desk.state(heard["entity_id"])["birth_date"] == "1982-03-04"
    desk.run()
    item = desk.item()
    assert (item.entity_id, item.reason, item.event_ids) == (heard["entity_id"], "conflict", (heard["id"],))
    assert isinstance(desk.answer(item.id, "rejected", notes="misheard"), Item)
    assert desk.state(known["entity_id"])["birth_date"] == "1982-03-04"
    desk.run()
    assert desk.items(status=["pending"]) == [], "it is asked once"


def test_what_one_of_them_says_later_is_held_against_what_the_judge_passed_of_the_other(desk: ReviewDesk) -> None:
    heard, known = two(desk, {"birth_date": "1983-03-04"}, {"gender": "female"})
    told(desk, heard["entity_id"], known["entity_id"], same=True)
    desk.run()
    assert desk.items() == []
    desk.say({"birth_date": "1982-03-04"}, entity_id=known["entity_id"], source="manual")
    desk.run()
    assert (desk.item().entity_id, desk.item().reason) == (heard["entity_id"], "conflict")


def test_an_answer_is_about_the_person_when_two_became_one_while_it_waited(desk: ReviewDesk) -> None:
    desk.judge.otherwise = "unclear"
    heard, known = two(desk, {"birth_date": "1983-03-04"}, {"gender": "female"})
    item = desk.item()
    told(desk, heard["entity_id"], known["entity_id"], same=True)
    assert isinstance(desk.answer(item.id, "approved"), Item)
    assert desk.confidences(known["entity_id"])["birth_date"] == HUMAN_APPROVED
    told(desk, heard["entity_id"], known["entity_id"], same=False)
    assert "birth_date" not in desk.confidences(known["entity_id"])
    assert desk.confidences(heard["entity_id"]) == {"birth_date": HUMAN_APPROVED}


def test_what_passed_by_the_word_of_another_is_doubtful_again_when_they_part(desk: ReviewDesk) -> None:
    desk.judge.otherwise = "unclear"
    heard, known = two(desk, {"language": "es"}, HOME)
    told(desk, heard["entity_id"], known["entity_id"], same=True)
    desk.judge.otherwise, desk.judge.code = "supported", "agrees_with_authority"
    later = desk.say(HOME | {"gender": "female"}, entity_id=heard["entity_id"])
    desk.run()
    alone = desk.confidences(heard["entity_id"])
    assert (alone[PHONE], alone["gender"]) == (REVIEWED, REVIEWED)
    assert stored(desk, heard["entity_id"]) == CONVERSATION, "its own state does not rest on another's word"
    told(desk, heard["entity_id"], known["entity_id"], same=False)
    assert members(desk, heard["entity_id"]) == (heard["entity_id"],)
    parted = desk.confidences(heard["entity_id"])
    assert (parted[PHONE], parted["gender"]) == (CONVERSATION, REVIEWED), "as if they had never been one"
    desk.judge.otherwise = "unclear"
    desk.run()
    item = desk.item()
    assert set(item.event_ids) == {heard["id"], later["id"]}
    assert item.asked[later["id"]] == [PHONE]


def test_an_open_question_goes_with_its_record_to_who_adopts_it(desk: ReviewDesk) -> None:
    desk.judge.otherwise = "unclear"
    ours = desk.say({"gender": "female"}, source="manual")
    desk.say({"language": "es"}, canonical_id="ehr:Patient:7", entity_type="patient")
    desk.run()
    before = desk.item()
    with desk.database.begin(desk.workspace) as tx:
        desk.world.adopt(tx, desk.workspace, "ehr:Patient:7", ours["entity_id"], desk.workspace, now=utc_now())
    while desk.run().entities:
        pass
    (item,) = desk.items(status=["pending"])
    assert (item.entity_id, item.asked) == (ours["entity_id"], before.asked)
    assert [(each.id, each.ended_because) for each in desk.items(status=["expired"])] == [(before.id, "withdrawn")]
    assert isinstance(desk.answer(item.id, "approved"), Item)
    assert desk.confidences(ours["entity_id"])["language"] == HUMAN_APPROVED
