"""Terms of a sink that change while it is drained: what was planned by those before is not sent, nor left aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector_runner.infra.queue import DRAIN
from connector_runner.outbound.lanes.rounds import Rounds, Stride
from connector_runner.outbound.lanes.together import Together
from connector_runner.outbound.lanes.writing import Hands
from connector_runner.outbound.operating import undoing
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.outbound.planning.first_read import SINK_NOT_READ
from connector_runner.outbound.releasing.release import request_all
from tasks import follow_ups
from tests.integration.outbound_stack import FAST, Clinic, System, a_patient, an_appointment, once_planned

TERMS: dict[str, Any] = {
    "accept_from": ["ehr"],
    "entity_types": {"patient": {}, "appointment": {}},
    "rate": {**FAST, "concurrency": 1},
}
NARROWED: dict[str, dict[str, Any]] = {
    "a person approves": {"human_review": ["patient"]},
    "consent is asked for": {"consent": "required"},
    "fields are not ours": {"entity_types": {"patient": {"owns": ["name"]}}},
    "more is to be believed": {"threshold": 0.99},
    "a type is not taken": {"entity_types": ["appointment"]},
    "it is off": {"enabled": False},
}


def spoken(clinic: Clinic, number: int) -> None:
    clinic.say(
        entity_type="patient",
        canonical_id=f"voice_agent:Patient:v{number}",
        source="manual",
        confidence=0.95,
        facts={
            "name": {"family": f"Okafor{number}", "given": ["Ada"]},
            "birth_date": "1982-03-04",
            "telecom": [{"system": "phone", "value": f"617-555-01{number:02}"}],
        },
    )


def at_first(clinic: Clinic, ehr: System, store: System, people: int = 1, **more: Any) -> Callable[..., None]:
    """People that the store is to have; what changes its terms."""
    clinic.source("ehr", ehr)

    def changed(**other: Any) -> None:
        clinic.source("store", store, **TERMS | more | other)

    changed()
    for number in range(people):
        spoken(clinic, number)
    clinic.release()
    return changed


@pytest.mark.parametrize("how", NARROWED)
def test_what_a_sink_takes_is_asked_once_more_when_a_write_is_opened(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    changed = at_first(clinic, ehr, store)
    once_planned(monkeypatch, lambda: changed(**NARROWED[how]))
    assert clinic.drain("store").outcomes == {"outdated": 1}
    assert store.writes() == []
    assert (clinic.lane("store")["state"], clinic.lane("store")["attempts"]) == ("ready", 0)
    clinic.drain("store")
    assert all("telecom" not in made for made in store.all("Patient"))
    changed()
    clinic.execute("UPDATE sync_lane SET due_at = now(), state = 'ready'")
    clinic.drain("store")
    assert len(store.all("Patient")) == 1


@pytest.mark.parametrize("by", [Rounds, Together])
def test_of_several_that_go_together_none_is_sent_by_terms_of_before(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, by: type[Rounds | Together]
) -> None:
    changed = at_first(clinic, ehr, store, 0, capabilities={"transaction": by is Together})
    clinic.land("ehr", a_patient("p1"), a_patient("p2") if by is Rounds else an_appointment("a1"))
    clinic.release()
    monkeypatch.setattr(Stride, "size", 2)
    once_planned(monkeypatch, lambda: changed(enabled=False), by)
    assert clinic.drain("store").outcomes == {"outdated": 2}
    assert store.writes() == []
    assert clinic.count("open_intent") == 0


def test_a_first_reading_that_begins_anew_is_asked_about_when_a_write_is_opened(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = at_first(clinic, ehr, store, polled=["Patient"])
    clinic.execute(
        "UPDATE source_resource SET listed_whole_at = now(), read_whole_at = now(), compared_whole_at = now()"
    )
    clinic.execute("DELETE FROM pending_resolution")
    clinic.execute("UPDATE sync_lane SET due_at = now()")

    def off_and_on() -> None:
        changed(polled=[])
        changed()

    once_planned(monkeypatch, off_and_on)
    assert clinic.drain("store").outcomes == {"outdated": 1}
    clinic.drain("store")
    assert store.writes() == []
    assert (clinic.lane("store")["state"], clinic.lane("store")["reason"]) == ("waiting", SINK_NOT_READ)


def test_a_write_is_not_taken_back_from_a_sink_that_is_off(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = at_first(clinic, ehr, store, 0)
    store.put(a_patient())
    clinic.poll("store", "Patient")
    number = {"telecom": [{"system": "phone", "use": "home", "value": "617-555-0199"}]}
    clinic.say(entity_type="patient", canonical_id="store:Patient:p1", source="manual", confidence=0.95, facts=number)
    clinic.flow("store")
    of_it = Selection(entity_id=clinic.lane("store")["entity_id"])
    assert undoing.ask(clinic.outbound, clinic.workspace, of_it, actor="op").writes == 1
    before = len(store.writes())
    once_planned(monkeypatch, lambda: changed(enabled=False))
    assert clinic.drain("store").outcomes == {"outdated": 1}
    assert len(store.writes()) == before


def test_a_drain_ends_with_the_terms_that_it_began_with_and_another_goes_on_at_once(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = at_first(clinic, ehr, store, 5)
    call, calls = Hands._call, []

    def calling(hands: Hands, *sent: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            changed(human_review=["patient"])
        return call(hands, *sent)

    monkeypatch.setattr(Hands, "_call", calling)
    monkeypatch.setattr(Stride, "size", 1)
    done = clinic.drain("store")
    assert done.outcomes == {"landed": 1, "outdated": 1}
    monkeypatch.setattr(follow_ups, "_queue_of", lambda **_: "the sink's")
    again = follow_ups.drain_again(done, {"workspace_id": clinic.workspace, "sink_id": clinic.ids["store"]})
    assert [hint.task for hint in again] == [DRAIN]
    assert clinic.drain("store").outcomes == {"idle": 4}
    assert len(store.writes()) == 1


def test_what_terms_of_before_kept_back_is_not_left_behind(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wider terms, and the release that follows them, come while a drain goes on by those that it read first."""
    changed = at_first(clinic, ehr, store, 2, consent="required")
    lanes = clinic.lanes("store")
    assert {lane["state"] for lane in lanes} == {"idle"}
    # Something is due, so that there is a drain at all.
    clinic.execute("UPDATE sync_lane SET state = 'ready' WHERE lane_id = :lane", lane=lanes[0]["lane_id"])
    following, done = Hands._next, []

    def after_release(hands: Hands) -> Any:
        if not done:
            done.append(1)
            changed(consent="none")
            with clinic.database.begin(clinic.workspace) as tx:
                request_all(tx, clinic.workspace)
            clinic.release()
        return following(hands)

    monkeypatch.setattr(Hands, "_next", after_release)
    assert clinic.drain("store").outcomes == {"outdated": 1}
    assert clinic.drain("store").outcomes == {"landed": 2}
