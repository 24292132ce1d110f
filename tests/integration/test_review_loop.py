"""The review loop: from what was said in doubt to a verdict or a question, with a real database."""

from __future__ import annotations

import pytest

from connector_runner.infra.database import Database, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.review import items, policy_store
from connector_runner.review.items import Item, Refused
from connector_runner.review.loop import MOST_ATTEMPTS
from connector_runner.world.confidence import CONVERSATION, HUMAN_APPROVED, REVIEWED
from tests.integration.review_desk import ADA, ReviewDesk

PHONE = "telecom[phone|home]"
MOVED = {"telecom": [{"system": "phone", "use": "home", "value": "+16175550199"}]}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def test_what_is_supported_is_believed_and_asked_for_in_one_transaction(desk: ReviewDesk) -> None:
    said = desk.say()
    assert desk.hinted == [desk.workspace]
    assert desk.pending() == 1
    done = desk.run()
    assert (done.entities, done.verdicts, done.asked, done.again) == (1, 1, 0, 0)
    assert desk.confidences(said["entity_id"]) == {"name": REVIEWED, PHONE: REVIEWED}
    assert desk.pending() == 0
    verdict = desk.one("SELECT facts, actor FROM event WHERE event_type = 'review.approved'")
    assert verdict["facts"]["kind"] == "automated"
    assert verdict["facts"]["version"] == "scripted-1"
    assert "verdict.approved" in desk.actions()
    assert not desk.run().entities, "a verdict asks for no verdict"


def test_a_verdict_is_about_the_fields_that_were_borne_out(desk: ReviewDesk) -> None:
    desk.judge.words = {"telecom": "contradicted"}
    said = desk.say()
    desk.run()
    assert desk.confidences(said["entity_id"]) == {"name": REVIEWED, PHONE: CONVERSATION}
    item = desk.item()
    assert (item.status, item.reason, item.category) == ("pending", "contradicted", "contact")
    assert item.asked == {said["id"]: [PHONE]}
    assert item.analysis is not None
    assert [word["verdict"] for word in item.analysis["fields"]] == ["contradicted"]


def test_fifty_events_of_a_call_make_one_item(desk: ReviewDesk) -> None:
    desk.judge.otherwise = "unclear"
    first = desk.say(correlation_id="call-1")
    for number in range(49):
        desk.say(
            {"telecom": [{"system": "phone", "use": f"u{number}", "value": f"+1617555{number:04}"}]},
            entity_id=first["entity_id"],
            correlation_id="call-1",
        )
    assert desk.pending() == 1
    desk.run()
    assert len(desk.item().event_ids) == 50
    later = desk.say({"gender": "female"}, entity_id=first["entity_id"])
    judged = len(desk.judge.cases)
    desk.run()
    assert [event.id for case in desk.judge.cases[judged:] for event in case.events] == [later["id"]]
    item = desk.item()
    assert len(item.event_ids) == 51
    assert item.version == 2


def test_what_becomes_known_while_it_is_judged_is_judged_as_well(desk: ReviewDesk) -> None:
    said = desk.say()

    def meanwhile() -> None:
        desk.judge.meanwhile = None
        desk.say(MOVED, entity_id=said["entity_id"])

    desk.judge.meanwhile = meanwhile
    done = desk.run()
    assert (done.verdicts, done.again, done.more) == (0, 1, True)
    assert set(desk.confidences(said["entity_id"]).values()) == {CONVERSATION}, "nothing by what is not so any more"
    assert desk.run().verdicts == 2
    assert set(desk.confidences(said["entity_id"]).values()) == {REVIEWED}


def test_whoever_lost_the_lease_writes_nothing(desk: ReviewDesk) -> None:
    desk.say()

    def overtaken() -> None:
        desk.judge.meanwhile = None
        with desk.database.begin(desk.workspace) as tx:
            execute(tx, "UPDATE pending_review SET due_at = now() - interval '1 second'")
        assert desk.run().verdicts == 1

    desk.judge.meanwhile = overtaken
    assert desk.run().verdicts == 0
    assert desk.one("SELECT count(*) AS n FROM event WHERE event_type = 'review.approved'")["n"] == 1


def test_a_judge_that_fails_holds_up_nobody_else_and_ends_before_a_person(desk: ReviewDesk) -> None:
    said = desk.say()

    def broken() -> None:
        raise RuntimeError("out of order")

    desk.judge.meanwhile = broken
    for _ in range(MOST_ATTEMPTS):
        assert desk.run().verdicts == 0
        with desk.database.begin(desk.workspace) as tx:
            execute(tx, "UPDATE pending_review SET due_at = now()")
    assert desk.items() == []
    desk.run()
    assert desk.item().event_ids == (said["id"],)
    assert desk.item().reason == "unclear"
    assert set(desk.confidences(said["entity_id"]).values()) == {CONVERSATION}


def test_some_things_always_need_a_person(desk: ReviewDesk) -> None:
    allergy = desk.say({"code": {"text": "penicillin"}}, entity_type="allergy_intolerance")
    inferred = desk.say(confidence=0.2)
    desk.run()
    found = {item.entity_id: item for item in desk.items()}
    assert found[allergy["entity_id"]].reason == "sign_off"
    assert found[inferred["entity_id"]].reason == "faint"
    assert found[allergy["entity_id"]].priority < found[inferred["entity_id"]].priority
    assert desk.items()[0].id == found[allergy["entity_id"]].id


def test_a_policy_says_who_looks_at_what(desk: ReviewDesk) -> None:
    with desk.database.begin(desk.workspace) as tx:
        policy = {"sample": 0, "people": [], "sources": {"forms": "person", "text_agent": "nobody"}}
        policy_store.save(tx, desk.workspace, policy, actor="ruth", now=utc_now())
    form, text, voice = (desk.say(source=source) for source in ("forms", "text_agent", "voice_agent"))
    desk.run()
    assert [item.entity_id for item in desk.items()] == [form["entity_id"]]
    assert set(desk.confidences(voice["entity_id"]).values()) == {REVIEWED}
    assert set(desk.confidences(text["entity_id"]).values()) == {CONVERSATION}
    assert "review.policy_changed" in desk.actions()


def test_a_safety_field_that_a_system_of_record_contradicts_goes_to_a_person(desk: ReviewDesk) -> None:
    known = desk.say({"birth_date": "1982-03-04"}, source="manual")
    desk.say({"birth_date": "1983-03-04", "language": "es"}, entity_id=known["entity_id"])
    desk.run()
    item = desk.item()
    assert (item.reason, item.category) == ("conflict", "identity")
    assert [list(atoms) for atoms in item.asked.values()] == [["birth_date"]]
    assert desk.state(known["entity_id"])["birth_date"] == "1982-03-04"
    assert desk.confidences(known["entity_id"])["language"] == REVIEWED


def test_what_a_system_of_record_contradicts_later_goes_to_a_person_too(desk: ReviewDesk) -> None:
    heard = desk.say({"birth_date": "1983-03-04"})
    desk.run()
    assert desk.confidences(heard["entity_id"]) == {"birth_date": REVIEWED}
    desk.say({"birth_date": "1982-03-04"}, entity_id=heard["entity_id"], source="manual", as_of="2020-01-01T00:00:00Z")
    assert desk.state(heard["entity_id"])["birth_date"] == "1982-03-04"
    desk.run()
    item = desk.item()
    assert (item.reason, item.event_ids) == ("conflict", (heard["id"],))
    assert isinstance(desk.answer(item.id, "approved", notes="saw the passport"), Item)
    assert desk.state(heard["entity_id"])["birth_date"] == "1983-03-04"


def test_a_share_of_what_passed_is_shown_to_people(desk: ReviewDesk) -> None:
    with desk.database.begin(desk.workspace) as tx:
        policy_store.save(tx, desk.workspace, {"sample": 0.5}, actor="ruth", now=utc_now())
    said = [desk.say() for _ in range(40)]
    desk.run()
    assert all(set(desk.confidences(each["entity_id"]).values()) == {REVIEWED} for each in said)
    sampled = desk.items()
    assert 8 <= len(sampled) <= 32
    assert {item.reason for item in sampled} == {"sample"}
    assert {word["weight"] for item in sampled for word in (item.analysis or {})["fields"]} == {2}


def test_an_item_about_what_is_said_otherwise_now_is_over(desk: ReviewDesk) -> None:
    desk.judge.otherwise = "unclear"
    first = desk.say()
    desk.run()
    item = desk.item()
    desk.say(
        ADA | {"gender": "female"}, entity_id=first["entity_id"], supersedes=first["id"], event_type="patient.updated"
    )
    desk.judge.otherwise = "supported"
    desk.run()
    (over,) = desk.items(status=["expired"])
    assert (over.id, over.ended_because) == (item.id, "superseded")
    assert desk.items(status=["pending"]) == []
    assert isinstance(desk.answer(item.id, "approved"), Refused)


def test_two_records_that_may_be_the_same_are_one_question(desk: ReviewDesk) -> None:
    one, other = (desk.say()["entity_id"] for _ in range(2))
    with desk.database.begin(desk.workspace) as tx:
        asked = [
            items.ask(tx, desk.workspace, kind="match", entity_id=a, other_id=b, entity_type="patient",
                      reason="possible_match", priority=40, now=utc_now())
            for a, b in ((one, other), (other, one))
        ]  # fmt: skip
        assert asked[0] == asked[1]
        third = items.ask(
            tx, desk.workspace, kind="match", entity_id=one, other_id=desk.workspace, entity_type="patient",
            reason="possible_match", priority=40, now=utc_now(),
        )  # fmt: skip
        assert third != asked[0]
        assert items.withdraw(tx, desk.workspace, kind="match", entity_id=other, other_id=one, now=utc_now())
        assert not items.withdraw(tx, desk.workspace, kind="match", entity_id=other, other_id=one, now=utc_now())
    found: list[Item] = desk.items(status=["expired"])
    assert [item.id for item in found] == [asked[0]]


def test_an_answer_follows_a_record_to_the_entity_that_adopted_it(desk: ReviewDesk) -> None:
    """The agent's patient, whose record in the EHR was met first: by a poll before, by our write afterwards."""
    desk.judge.otherwise = "unclear"
    ours = desk.say({"gender": "female"}, source="manual")
    met = desk.say({"language": "es"}, canonical_id="ehr:Patient:7", entity_type="patient")
    desk.run()
    assert desk.item().entity_id == met["entity_id"]
    with desk.database.begin(desk.workspace) as tx:
        desk.world.adopt(tx, desk.workspace, "ehr:Patient:7", ours["entity_id"], desk.workspace, now=utc_now())
    assert isinstance(desk.answer(desk.item().id, "approved"), Item)
    assert desk.confidences(ours["entity_id"])["language"] == HUMAN_APPROVED


def test_what_waits_while_its_record_is_adopted_is_judged_of_who_adopts_it(desk: ReviewDesk) -> None:
    ours = desk.say({"gender": "female"}, source="manual")
    desk.say({"language": "es"}, canonical_id="ehr:Patient:8", entity_type="patient")
    with desk.database.begin(desk.workspace) as tx:
        desk.world.adopt(tx, desk.workspace, "ehr:Patient:8", ours["entity_id"], desk.workspace, now=utc_now())
    assert desk.run().verdicts == 1
    assert desk.confidences(ours["entity_id"])["language"] == REVIEWED
