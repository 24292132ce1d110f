"""What is asked again as it counts again, and what is asked no more as nobody may decide it, whatever changed that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Database
from connector_runner.intake.landing import Intake, Origin
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of, new_id
from connector_runner.outbound.operating import policies
from connector_runner.policy.settings import PolicySettings
from connector_runner.resolution import service
from connector_runner.review import ageing, policy_store
from connector_runner.review.items import Item
from connector_runner.review.noting import Subscriber
from connector_runner.review.verdicts import Verdict
from connector_runner.world.changes import EntityChange
from connector_runner.world.service import World
from tests.integration.review_desk import MAPPINGS, ReviewDesk
from tests.integration.test_world import Rejected, a_patient, a_record

PORTAL = Origin(new_id(), "portal", "fhir_r4", source="browser", confidence=0.7)
EHR = Origin(new_id(), "portal", "fhir_r4")


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.otherwise = "unclear"
    laid_down(desk)
    return desk


def laid_down(desk: ReviewDesk, **more: Any) -> None:
    with desk.database.begin(desk.workspace) as tx:
        policy_store.save(tx, desk.workspace, {"sample": 0, "people": [], **more}, actor="test", now=utc_now())


def told(desk: ReviewDesk, one: str, other: str, *, same: bool) -> None:
    """A person says whether two are one, and the clusters are made anew."""
    with desk.database.begin(desk.workspace) as tx:
        service.decide(tx, desk.workspace, one, other, same=same, actor="ruth", reason="seen", now=utc_now())
    service.resolve(desk.database, desk.workspace, now=utc_now(), tell=Subscriber(desk.hinted.append).resolved)


def rejected(desk: ReviewDesk, event_id: str, *, approve: bool = False, fields: Sequence[str] = ()) -> None:
    verdict = Verdict(event_id, approve, "ruth", fields=fields, reason="heard it")
    with desk.database.begin(desk.workspace) as tx:
        desk.answers.decide(tx, desk.workspace, verdict, now=utc_now())


def landed(desk: ReviewDesk, origin: Origin, *records: Any, mappings: Any = MAPPINGS) -> None:
    intake = Intake(desk.world, mappings, Rejected())
    desk.database.retrying(desk.workspace, lambda tx: intake.land(tx, desk.workspace, origin, records, now=utc_now()))


def waits(desk: ReviewDesk) -> dict[str, list[str]]:
    """Event -> its atoms that people are asked about, once the loop has come to its end; each once."""
    while desk.run().entities:
        pass
    found: dict[str, list[str]] = {}
    for item in desk.items(status=["pending", "in_progress"]):
        for event, atoms in item.asked.items():
            found.setdefault(event, []).extend(atoms)
    return found


def two_who_are_one(desk: ReviewDesk) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was said of one, and in its place of another who is the same."""
    one, other = desk.say({"language": "es"}), desk.say({"gender": "female"})
    told(desk, one["entity_id"], other["entity_id"], same=True)
    waits(desk)
    later = desk.say({"language": "en"}, entity_id=other["entity_id"], supersedes=one["id"])
    return one, later


def test_what_a_system_of_record_took_the_place_of_is_asked_no_more(desk: ReviewDesk) -> None:
    first = desk.say({"language": "es"})
    assert waits(desk) == {first["id"]: ["language"]}
    desk.say({"language": "en"}, entity_id=first["entity_id"], source="manual", supersedes=first["id"])
    assert waits(desk) == {}
    assert desk.item().ended_because == "superseded"


def test_what_a_record_says_no_more_is_asked_no_more(desk: ReviewDesk) -> None:
    landed(desk, PORTAL, a_record({"resourceType": "Patient", "id": "1", "gender": "female"}, day=1))
    assert [*waits(desk).values()] == [["gender"]]
    landed(desk, EHR, a_record({"resourceType": "Patient", "id": "1", "birthDate": "1982-03-04"}, day=2))
    assert waits(desk) == {}


def test_of_a_record_that_is_gone_nothing_is_asked_and_everybody_hears_though_no_mapping_covers_it(
    desk: ReviewDesk,
) -> None:
    heard: list[str] = []

    def hear(tx: Any, workspace_id: str, changes: Sequence[EntityChange]) -> None:
        heard.extend(change.entity_id for change in changes)

    desk.world = World([hear, Subscriber(desk.hinted.append)])
    landed(desk, PORTAL, a_record(a_patient(), day=1))
    assert waits(desk) != {}
    entity = entity_id_of(desk.workspace, "portal:Patient:1")
    heard.clear()
    gone = SourceRecord("Patient", "1", b"", None, None, datetime(2026, 6, 1, tzinfo=UTC), deleted=True)
    landed(desk, PORTAL, gone, mappings=_Nothing())
    assert desk.state(entity) == {}
    assert heard == [entity]
    assert waits(desk) == {}


class _Nothing:
    def inbound(self, *_: object) -> None:
        return None


def test_what_took_the_place_of_another_counts_for_nothing_once_it_is_rejected_part_by_part(desk: ReviewDesk) -> None:
    first = desk.say({"language": "es"})
    later = desk.say({"language": "en", "gender": "female"}, entity_id=first["entity_id"], supersedes=first["id"])
    assert waits(desk).keys() == {later["id"]}
    rejected(desk, later["id"], fields=("language",))
    assert waits(desk).keys() == {later["id"]}, "it stands for the rest"
    rejected(desk, later["id"], fields=("gender",))
    assert waits(desk) == {first["id"]: ["language"]}


def test_what_was_said_of_another_who_is_the_same_is_asked_no_more_and_again(desk: ReviewDesk) -> None:
    one, later = two_who_are_one(desk)
    assert waits(desk).keys() & {one["id"], later["id"]} == {later["id"]}
    rejected(desk, later["id"])
    assert waits(desk).keys() & {one["id"], later["id"]} == {one["id"]}, "it counts again"
    rejected(desk, later["id"], approve=True)
    assert waits(desk).keys() & {one["id"], later["id"]} == set()


def test_what_counts_again_as_two_part_is_asked_again(desk: ReviewDesk) -> None:
    one, later = two_who_are_one(desk)
    waits(desk)
    told(desk, one["entity_id"], later["entity_id"], same=False)
    assert waits(desk).keys() >= {one["id"], later["id"]}
    told(desk, one["entity_id"], later["entity_id"], same=True)
    assert waits(desk).keys() & {one["id"], later["id"]} == {later["id"]}


def test_an_expired_question_is_put_again_about_who_adopted_its_record(desk: ReviewDesk) -> None:
    ours = desk.say({"gender": "female"}, source="manual")
    met = desk.say({"language": "es"}, canonical_id="ehr:Patient:7", entity_type="patient")
    waits(desk)
    before = desk.item()
    with desk.database.begin(desk.workspace) as tx:
        desk.world.adopt(tx, desk.workspace, "ehr:Patient:7", ours["entity_id"], desk.workspace, now=utc_now())
    waits(desk)
    with desk.database.begin(desk.workspace) as tx:
        found = ageing.reopen(tx, desk.handlers, desk.workspace, before.id, actor="ruth", now=utc_now())
    assert isinstance(found, Item)
    assert found.entity_id == ours["entity_id"]
    assert waits(desk) == {met["id"]: ["language"]}, "once"
    assert isinstance(desk.answer(found.id, "approved"), Item)
    assert waits(desk) == {}


def test_what_was_a_sample_that_nobody_looked_at_is_asked_once_it_is_disputed(desk: ReviewDesk) -> None:
    desk.judge.otherwise = "supported"
    laid_down(desk, sample=1)
    said = desk.say({"birth_date": "1982-03-04"})
    assert waits(desk) == {said["id"]: ["birth_date"]}
    assert desk.item().reason == "sample"
    with desk.database.begin(desk.workspace) as tx:
        assert ageing.expire(tx, desk.workspace, now=utc_now() + timedelta(days=30)) == 1
    assert waits(desk) == {}
    desk.say({"birth_date": "1983-03-04"}, entity_id=said["entity_id"], source="manual")
    assert waits(desk) == {said["id"]: ["birth_date"]}
    (item,) = desk.items(status=["pending"])
    assert item.reason == "conflict"


@pytest.mark.parametrize("besides", [{}, {"language": "es"}])
def test_what_waits_as_a_sample_waits_as_a_conflict_once_it_is_disputed(
    desk: ReviewDesk, besides: dict[str, str]
) -> None:
    """Whatever else of the same person waits with it."""
    desk.judge.words = {"birth_date": "supported"}
    laid_down(desk, sample=1)
    said = desk.say({"birth_date": "1982-03-04", **besides})
    assert waits(desk) == {said["id"]: ["birth_date", *besides]}
    before = desk.item()
    assert before.reason == ("unclear" if besides else "sample")
    desk.say({"birth_date": "1983-03-04"}, entity_id=said["entity_id"], source="manual")
    assert waits(desk) == {said["id"]: ["birth_date", *besides]}, "once"
    after = desk.item()
    assert (after.id, after.reason, after.analysis) == (before.id, "conflict", before.analysis)
    changed_at = after.changed_at
    desk.say({"marital_status": {"code": "M"}}, entity_id=said["entity_id"], source="manual")
    waits(desk)
    assert desk.item().changed_at == changed_at, "and is left alone"


def test_what_nobody_looked_at_is_looked_at_once_somebody_shall(desk: ReviewDesk) -> None:
    laid_down(desk, sources={"forms": "nobody"}, skip_types=["deal"])
    form, deal = desk.say({"language": "es"}, source="forms"), desk.say({"stage": "won"}, entity_type="deal")
    assert waits(desk) == {}
    laid_down(desk, sources={"forms": "judge"}, skip_types=["deal"])
    assert waits(desk) == {form["id"]: ["language"]}
    laid_down(desk, skip_types=[])
    assert waits(desk).keys() == {form["id"], deal["id"]}


def test_what_was_waived_is_looked_at_once_it_is_not(desk: ReviewDesk) -> None:
    def without(**named: Any) -> None:
        policy = PolicySettings.model_validate({"without_review": named})
        policies.apply(desk.database, desk.workspace, policy, actor="test", now=utc_now())

    without(voice_agent=["patient.language"])
    desk.judge.words = {"marital_status": "supported"}
    said = desk.say({"language": "es", "marital_status": {"code": "M"}})
    assert waits(desk) == {}
    without()
    assert waits(desk) == {said["id"]: ["language"]}
