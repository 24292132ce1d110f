"""What was said in a conversation, and the questions about it: it may come late, come again, or be several."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.infra.database import Database
from connector_runner.kernel.clock import utc_now
from connector_runner.review import policy_store, showing
from connector_runner.review.items import Refused
from connector_runner.world.confidence import CONVERSATION, REVIEWED
from tests.integration.review_desk import ReviewDesk

PHONE = "telecom[phone|home]"
ADA = {
    "name": {"family": "Okafor", "given": ["Ada"]},
    "telecom": [{"system": "phone", "use": "home", "value": "+16175550101"}],
}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.otherwise = "unclear"
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def shown(desk: ReviewDesk) -> dict[str, Any]:
    with desk.database.begin(desk.workspace) as tx:
        return showing.context(tx, desk.sealer, desk.workspace, desk.items(status=["pending"])[0].id)


def test_a_transcript_that_comes_after_the_question_answers_it(desk: ReviewDesk) -> None:
    said = desk.say(ADA, correlation_id="call-1")
    desk.run()
    item = desk.item()
    assert (item.status, item.session_id) == ("pending", "call-1")
    desk.hear("call-1", "Caller: This is Ada Okafor, 617 555 0101.")
    desk.judge.otherwise = "supported"
    assert desk.run().verdicts == 1
    assert set(desk.confidences(said["entity_id"]).values()) == {REVIEWED}
    assert (desk.item().status, desk.item().ended_because) == ("expired", "superseded")
    refused = desk.answer(item.id, "approved")
    assert isinstance(refused, Refused)
    assert refused.code == "superseded"
    (change,) = refused.changed
    assert (change["event_id"], change["because"], change["fields"]) == (said["id"], "answered", ["name", "telecom"])


def test_the_item_goes_on_with_what_the_transcript_leaves_open(desk: ReviewDesk) -> None:
    said = desk.say(ADA, correlation_id="call-1")
    desk.run()
    desk.claim(desk.item().id)
    desk.hear("call-1", "Caller: My number is 617 555 0101.")
    desk.judge.words = {"telecom": "supported"}
    desk.run()
    assert desk.confidences(said["entity_id"]) == {"name": CONVERSATION, PHONE: REVIEWED}
    item = desk.item()
    assert (item.asked, item.version) == ({said["id"]: ["name"]}, 2)
    told = desk.answer(item.id, "approved")
    assert isinstance(told, Refused)
    assert [(each["because"], each["fields"]) for each in told.changed] == [("answered", ["telecom"])]
    assert not isinstance(desk.answer(item.id, "approved"), Refused)


def test_what_people_are_asked_is_judged_anew_for_new_words_alone(desk: ReviewDesk) -> None:
    said = desk.say(ADA, correlation_id="call-1")
    desk.run()
    for words, judged in (("Caller: Hello.", 2), ("Caller: Hello.", 2), ("Caller: Hello there.", 3)):
        desk.hear("call-1", words)
        desk.run()
        assert len(desk.judge.cases) == judged
    desk.say({"gender": "female"}, entity_id=said["entity_id"], correlation_id="call-2")
    desk.run()
    assert [len(case.events) for case in desk.judge.cases[3:]] == [1], "the first call has said nothing new"
    assert desk.item().version == 2


def test_each_quote_is_of_its_own_conversation_as_it_was_read(desk: ReviewDesk) -> None:
    first = desk.say(ADA, correlation_id="call-1")
    desk.hear("call-1", "Caller: I am Ada.")
    desk.run()
    second = desk.say({"gender": "female"}, entity_id=first["entity_id"], correlation_id="call-2")
    desk.hear("call-2", "Caller: Mrs Okafor speaking.")
    desk.run()
    desk.hear("call-1", "Caller: Corrected by the provider.")
    quotes = {(each["event_id"], each["session_id"], each["quote"]) for each in shown(desk)["quotes"]}
    assert quotes == {(first["id"], "call-1", "I am Ada."), (second["id"], "call-2", "Mrs Okafor speaking.")}
    desk.run()
    quotes = {(each["event_id"], each["quote"]) for each in shown(desk)["quotes"]}
    assert quotes == {(first["id"], "Corrected by the provider."), (second["id"], "Mrs Okafor speaking.")}
