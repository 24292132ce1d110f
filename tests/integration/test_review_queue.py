"""The human queue: who may answer what, and what follows from it, with a real database."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from connector_runner.audit import verifying
from connector_runner.infra.database import Database
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord
from connector_runner.review import label_store, policy_store, queue, switching
from connector_runner.review.calibration import measured
from connector_runner.review.items import Answer, Item, Refused
from connector_runner.review.verdicts import Verdict
from connector_runner.world.atoms import field_of
from connector_runner.world.confidence import AUTHORITATIVE, CONVERSATION, HUMAN_APPROVED, REVIEWED
from tests.integration.review_desk import ADA, ReviewDesk

PHONE = "telecom[phone|home]"


def home(number: str) -> dict[str, Any]:
    return {"telecom": [{"system": "phone", "use": "home", "value": number}]}


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.otherwise = "unclear"
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0, "least_labels": 5}, actor="test", now=utc_now())
    return desk


def asked(desk: ReviewDesk, facts: dict[str, Any] | None = None, **more: Any) -> tuple[dict[str, Any], Item]:
    said = desk.say(facts, **more)
    desk.run()
    (item,) = [each for each in desk.items(status=["pending"]) if said["id"] in each.event_ids]
    return said, item


def test_an_approval_makes_it_worth_more_and_is_the_last_word(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    done = desk.answer(item.id, "approved", notes="heard the recording")
    assert isinstance(done, Item)
    assert (done.status, done.completed_action, done.completed_by) == ("completed", "approved", "ruth")
    assert set(desk.confidences(said["entity_id"]).values()) == {HUMAN_APPROVED}
    assert desk.one("SELECT count(*) AS n FROM pending_release")["n"] == 0, "no sink covers it"
    again = desk.answer(item.id, "rejected", notes="no", actor="omar")
    assert isinstance(again, Refused)
    assert again.code == "already_decided"
    entry = desk.one("SELECT detail FROM audit_log WHERE action = 'review.approved'")["detail"]
    assert entry["before"]["name"] == entry["after"]["name"]
    assert entry["events"] == [said["id"]]
    assert "Okafor" not in str(entry)
    assert "recording" not in str(entry)


def test_a_rejection_needs_a_reason_and_takes_the_value_away(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    refused = desk.answer(item.id, "rejected", notes="  ")
    assert isinstance(refused, Refused)
    assert refused.code == "reason_missing"
    refused = desk.answer(item.id, "rejected", notes="x" * 2001)
    assert isinstance(refused, Refused)
    assert refused.code == "too_long"
    done = desk.answer(item.id, "rejected", notes="another patient")
    assert isinstance(done, Item)
    assert done.status == "rejected"
    assert desk.state(said["entity_id"]) == {}
    entry = desk.one("SELECT detail FROM audit_log WHERE action = 'review.rejected'")["detail"]
    assert entry["before"]["name"] is not None
    assert entry["after"]["name"] is None


def test_a_rejection_is_about_what_was_asked(desk: ReviewDesk) -> None:
    desk.judge.words = {"name": "supported"}
    said, item = asked(desk)
    assert item.asked == {said["id"]: [PHONE]}
    desk.answer(item.id, "rejected", notes="wrong number")
    assert desk.confidences(said["entity_id"]) == {"name": REVIEWED}


def test_a_correction_is_a_new_event_that_holds(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    data = {"name": {"family": "Okafor", "given": ["Adaeze"]}, **home("+16175550101")}
    done = desk.answer(item.id, "corrected", data=data, notes="spelled out")
    assert isinstance(done, Item)
    assert done.completed_action == "corrected"
    assert desk.state(said["entity_id"]) == data
    assert set(desk.confidences(said["entity_id"]).values()) == {AUTHORITATIVE}
    assert "review.corrected" in desk.actions()
    made = [row["event_type"] for row in desk.rows("SELECT event_type FROM event")]
    assert sorted(made) == ["patient.corrected", "patient.created", "review.approved", "review.rejected"]
    labels = {field_of(row["field"]): row["holds"] for row in desk.rows("SELECT field, holds FROM label")}
    assert labels == {"name": False, "telecom": True}


@pytest.mark.parametrize(
    ("data", "code", "where"),
    [
        ({"nam": {}}, "unknown_field", "corrected_data.nam"),
        ({"birth_date": 1982}, "wrong_type", "corrected_data.birth_date"),
        ({"birth_date": "1982-02-30"}, "invalid", "corrected_data.birth_date"),
        ({"telecom": [{"system": "phone"}]}, "missing", "corrected_data.telecom[0].value"),
        ({"telecom": [{"system": "phone", "value": 7}]}, "wrong_type", "corrected_data.telecom[0].value"),
        ({"name": {"family": "Okafor", "givn": "Ada"}}, "unknown_field", "corrected_data.name.givn"),
        ({"telecom": "617"}, "wrong_type", "corrected_data.telecom"),
        ({}, "data_missing", "corrected_data"),
        ([], "data_missing", "corrected_data"),
        (["617"], "wrong_type", "corrected_data"),
        ({"gender": None}, "wrong_type", "corrected_data.gender"),
        ({"gender": "banana"}, "unknown_code", "corrected_data.gender"),
        ({"birth_date": "2082-03-04"}, "in_the_future", "corrected_data.birth_date"),
        ({"name.family": "Okafor"}, "unknown_field", "corrected_data.name.family"),
        (
            {"telecom": [home("+16175550101")["telecom"][0], {"system": "phone", "value": "12"}]},
            "not_a_number",
            "corrected_data.telecom[1]",
        ),
        ({"identifier": [{"value": "7", "valeu": "8"}]}, "unknown_field", "corrected_data.identifier[0].valeu"),
        ({"marital_status": {"cod": "M"}}, "unknown_field", "corrected_data.marital_status.cod"),
        ({"marital_status": {"codings": [{"code": 7}]}}, "wrong_type", "corrected_data.marital_status.codings[0].code"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_with_the_path(
    desk: ReviewDesk, data: Any, code: str, where: str
) -> None:
    said, item = asked(desk)
    refused = desk.answer(item.id, "corrected", data=data)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.where) == (code, where)
    assert set(desk.confidences(said["entity_id"]).values()) == {CONVERSATION}
    assert desk.items(status=["pending"])[0].id == item.id


def test_only_who_claimed_it_decides_and_gives_it_back(desk: ReviewDesk) -> None:
    _, item = asked(desk)
    mine = desk.claim(item.id)
    assert isinstance(mine, Item)
    assert (mine.status, mine.assigned_to) == ("in_progress", "ruth")
    for found in (desk.claim(item.id, "omar"), desk.answer(item.id, "approved", "omar")):
        assert isinstance(found, Refused)
        assert found.code == "claimed_by_other"
    with desk.database.begin(desk.workspace) as tx:
        theirs = queue.unclaim(tx, desk.workspace, item.id, actor="omar", now=utc_now())
        assert isinstance(theirs, Refused)
        free = queue.unclaim(tx, desk.workspace, item.id, actor="ruth", now=utc_now())
        assert isinstance(free, Item)
    assert free.status == "pending"
    assert isinstance(desk.answer(item.id, "approved", "omar"), Item)
    assert [a for a in desk.actions() if a.startswith("review.")][-3:] == [
        "review.claimed", "review.unclaimed", "review.approved",
    ]  # fmt: skip


def test_nobody_decides_what_joined_after_they_looked(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    desk.claim(item.id)
    later = desk.say({"gender": "female"}, entity_id=said["entity_id"])
    desk.run()
    refused = desk.answer(item.id, "approved")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.changed) == ("changed", ({"event_id": later["id"], "because": "joined"},))
    assert isinstance(desk.answer(item.id, "approved"), Item), "told of it, they have seen it"
    assert desk.confidences(said["entity_id"])["gender"] == HUMAN_APPROVED


def test_who_says_which_version_they_saw_is_told_when_it_is_another(desk: ReviewDesk) -> None:
    _, item = asked(desk)
    refused = desk.answer(item.id, "approved", seen_version=item.version - 1)
    assert isinstance(refused, Refused)
    assert refused.code == "changed"
    assert isinstance(desk.answer(item.id, "approved", seen_version=item.version), Item)


def test_what_was_superseded_meanwhile_is_not_decided(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    other = desk.say({"gender": "female"}, entity_id=said["entity_id"])
    desk.run()
    later = desk.say(home("+16175550777") | {"name": ADA["name"]}, entity_id=said["entity_id"], supersedes=said["id"])
    refused = desk.answer(item.id, "approved")
    assert isinstance(refused, Refused)
    assert refused.code == "superseded"
    assert "review.refused" in desk.actions()
    (change,) = refused.changed
    assert (change["event_id"], change["because"], change["by"]) == (said["id"], "superseded", later["id"])
    assert change["fields"] == ["name", "telecom"]
    assert set(desk.confidences(said["entity_id"]).values()) == {CONVERSATION}, "nothing was decided"
    (left,) = desk.items(status=["pending"])
    assert left.event_ids == (other["id"],), "the item goes on with what is left"
    assert isinstance(desk.answer(item.id, "approved"), Item)


def test_a_word_about_an_event_answers_the_item_too(desk: ReviewDesk) -> None:
    said, _ = asked(desk)
    with desk.database.begin(desk.workspace) as tx:
        desk.answers.decide(tx, desk.workspace, Verdict(said["id"], True, "omar"), now=utc_now())
    assert desk.item().ended_because == "superseded"
    assert desk.one("SELECT holds, verdict, version FROM label LIMIT 1") == {
        "holds": True, "verdict": "unclear", "version": "scripted-1",
    }  # fmt: skip


def test_a_word_about_an_event_waits_for_who_works_on_its_item(desk: ReviewDesk) -> None:
    said, item = asked(desk)
    other = desk.say({"language": "es"}, source="manual")
    desk.claim(item.id, "ruth")
    with desk.database.begin(desk.workspace) as tx:
        for verdict, code in (
            (Verdict(said["id"], True, "omar"), "claimed_by_other"),
            (Verdict(said["id"], False, "ruth", reason=" "), "reason_missing"),
            (Verdict(said["id"], False, "ruth", reason="x" * 2001), "too_long"),
        ):
            with pytest.raises(BadRecord) as caught:
                desk.answers.decide(tx, desk.workspace, verdict, now=utc_now())
            assert caught.value.code == code
        desk.answers.decide(tx, desk.workspace, Verdict(other["id"], True, "omar"), now=utc_now())
        desk.answers.decide(tx, desk.workspace, Verdict(said["id"], True, "ruth"), now=utc_now())
    assert set(desk.confidences(said["entity_id"]).values()) == {HUMAN_APPROVED}


def test_batches_answer_item_by_item(desk: ReviewDesk) -> None:
    found = [asked(desk)[1].id for _ in range(3)]
    desk.answer(found[0], "approved")
    result = queue.batch(
        desk.database, desk.handlers, desk.workspace, [*found, desk.workspace], Answer("approved", "ruth")
    )
    assert result["succeeded"] == found[1:]
    assert [(each["item_id"], each["code"]) for each in result["failed"]] == [
        (found[0], "already_decided"), (desk.workspace, "unknown_item"),
    ]  # fmt: skip
    for wrong in ([], [str(n) for n in range(101)]):
        with pytest.raises(BadRecord):
            queue.batch(desk.database, desk.handlers, desk.workspace, wrong, Answer("approved", "ruth"))


def test_the_judge_loses_a_category_in_which_it_is_wrong_and_only_a_person_gives_it_back(desk: ReviewDesk) -> None:
    with desk.database.begin(desk.workspace) as tx:
        policy = {"sample": 1, "least_labels": 5, "precision_bound": 0.9}
        policy_store.save(tx, desk.workspace, policy, actor="test", now=utc_now())
    desk.judge.otherwise = "supported"
    for number in range(5):
        _, item = asked(desk, home(f"+1617555{number:04}"))
        assert item.reason == "sample"
        action = "rejected" if number == 2 else "approved"
        desk.answer(item.id, action, notes="listened")
    with desk.database.begin(desk.workspace) as tx:
        assert set(policy_store.suspended(tx, desk.workspace)) == {"contact"}
        (found,) = measured(label_store.labels(tx, desk.workspace))
    assert (found.labels, found.passed, found.precision) == (5, 5, 0.8)
    assert found.precision_interval == pytest.approx((0.3755, 0.9638), abs=1e-3)
    assert found.brier == pytest.approx((4 * 0.15**2 + 0.85**2) / 5)
    assert desk.actions().count("review.category_suspended") == 1

    said, item = asked(desk, home("+16175559999"))
    assert item.reason == "category_suspended"
    assert set(desk.confidences(said["entity_id"]).values()) == {CONVERSATION}
    desk.say({"language": "es"}, entity_id=said["entity_id"])
    with desk.database.begin(desk.workspace) as tx:
        switching.restore(tx, desk.workspace, "contact", actor="ruth", reason="prompt mended", now=utc_now())
        with pytest.raises(BadRecord):
            switching.restore(tx, desk.workspace, "contact", actor="ruth", reason="again", now=utc_now())
    assert desk.actions().count("review.category_restored") == 1
    said, item = asked(desk, home("+16175558888"))
    assert item.reason == "sample"
    assert set(desk.confidences(said["entity_id"]).values()) == {REVIEWED}
    desk.answer(item.id, "rejected", notes="no")
    with desk.database.begin(desk.workspace) as tx:
        assert policy_store.suspended(tx, desk.workspace) == {}, "old answers count no more"


def test_eight_reviewers_decide_two_hundred_items_once_each(desk: ReviewDesk) -> None:
    said = [desk.say(home(f"+1617555{number:04}")) for number in range(200)]
    while desk.run().more:
        pass
    assert len(desk.items(status=["pending"])) == 200
    decided: list[tuple[str, str]] = []
    wrong: list[BaseException] = []

    def reviewer(actor: str) -> None:
        own = Database(desk.database.url, pool_size=1)
        try:
            while True:
                with own.begin(desk.workspace) as tx:
                    waiting, _ = queue.listing(tx, desk.workspace, status=["pending"], limit=5)
                if not waiting:
                    return
                for item in waiting:
                    _review(own, desk, item.id, actor, decided)
        except BaseException as error:
            wrong.append(error)
        finally:
            own.dispose()

    threads = [threading.Thread(target=reviewer, args=(f"reviewer {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(decided) == len({item_id for item_id, _ in decided}) == 200
    assert desk.items(status=["pending", "in_progress"]) == []
    assert desk.one("SELECT count(*) AS n FROM event WHERE event_type = 'review.approved'")["n"] == 200
    assert desk.actions().count("review.approved") == 200
    assert all(set(desk.confidences(each["entity_id"]).values()) == {HUMAN_APPROVED} for each in said[:5])
    with desk.database.begin(desk.workspace) as tx:
        assert verifying.verify(tx, desk.workspace).broken is None


def _review(own: Database, desk: ReviewDesk, item_id: str, actor: str, decided: list[tuple[str, str]]) -> None:
    """Claim and approve, as a person does: a claim that somebody else has is left alone."""
    claimed = own.retrying(
        desk.workspace, lambda tx: queue.claim(tx, desk.workspace, item_id, actor=actor, now=utc_now())
    )
    if isinstance(claimed, Refused):
        return
    answer = Answer("approved", actor)
    done = own.retrying(
        desk.workspace, lambda tx: queue.decide(tx, desk.handlers, desk.workspace, item_id, answer, now=utc_now())
    )
    assert isinstance(done, Item), done
    decided.append((item_id, actor))
