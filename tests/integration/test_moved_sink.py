"""A sink is moved to another address while a write is under way: what it answers counts for nothing there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.lanes.sweeping import sweep
from connector_runner.outbound.lanes.writing import Hands
from tests.integration.outbound_stack import Clinic, System, a_patient, once_planned

SINK: dict[str, Any] = {"accept_from": ["ehr"], "entity_types": ["patient"], "client_id": False}


def at(hour: int, phone: str) -> dict[str, Any]:
    return a_patient(phone=phone, meta={"lastUpdated": f"2026-11-20T{hour}:00:00Z"})


def a_stranger(ref: str) -> dict[str, Any]:
    """Somebody else who goes by the same id there."""
    return a_patient(
        ref.partition("/")[2],
        "617-555-0900",
        birthDate="1950-05-05",
        name=[{"family": "Lindqvist", "given": ["Tuva"]}],
        identifier=[{"system": "urn:mrn", "value": "MRN-other"}],
    )


def moving(monkeypatch: pytest.MonkeyPatch, move: Callable[[str], Any]) -> None:
    """The sink is moved while the answer to the next request is on its way."""
    call, done = Hands._call, []

    def moved(hands: Hands, lane: Lane, *planned: Any) -> Any:
        reply = call(hands, lane, *planned)
        if not done:
            done.append(True)
            move(reply.ref or str(lane.sink_ref))
        return reply

    monkeypatch.setattr(Hands, "_call", moved)


def lapsed(clinic: Clinic) -> None:
    """The lease of who was told off is over, and so is the quiet period."""
    lane = clinic.lane("store")
    assert (lane["state"], lane["sink_etag"], clinic.count("open_intent")) == ("leased", None, 1)
    clinic.execute("UPDATE sync_lane SET lease_until = now() - interval '1 second'")
    assert sweep(clinic.database, hint_every_s=0).reaped == 1
    assert clinic.lane("store")["state"] == "unknown"
    clinic.execute("UPDATE open_intent SET resolve_after = now()")
    clinic.execute("UPDATE sync_lane SET due_at = now()")


def test_a_create_under_way_is_looked_for_where_the_sink_is_now(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **SINK)
    clinic.land("ehr", at(10, "617-555-0101"))
    clinic.release()
    strangers: list[str] = []

    def move(ref: str) -> None:
        ehr.put(a_stranger(ref))
        strangers.append(ref)
        clinic.source("store", ehr, **SINK)

    moving(monkeypatch, move)
    assert clinic.drain("store").outcomes == {"fence_lost": 1}
    lapsed(clinic)
    clinic.flow("store")
    lane = clinic.lane("store")
    assert (lane["state"], lane["reason"]) == ("idle", "landed")
    clinic.land("ehr", at(11, "617-555-0777"))
    clinic.flow("store")
    assert ehr.get(strangers[0])["name"][0]["family"] == "Lindqvist"
    [ours] = [patient for patient in ehr.all("Patient") if f"Patient/{patient['id']}" not in strangers]
    assert (ours["telecom"][0]["value"], len(store.all("Patient"))) == ("617-555-0777", 1)


def test_an_update_under_way_leaves_whoever_is_there_now_alone(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **SINK)
    clinic.land("ehr", at(10, "617-555-0101"))
    clinic.flow("store")
    ref = clinic.lane("store")["sink_ref"]
    clinic.land("ehr", at(11, "617-555-0777"))
    clinic.release()

    def move(_: str) -> None:
        for _version in range(2):
            ehr.put(a_stranger(ref))
        clinic.source("store", ehr, **SINK)

    moving(monkeypatch, move)
    assert clinic.drain("store").outcomes == {"fence_lost": 1}
    lapsed(clinic)
    tried = len(ehr.writes())
    clinic.flow("store")
    clinic.land("ehr", at(12, "617-555-0888"))
    clinic.flow("store")
    assert (clinic.lane("store")["state"], clinic.lane("store")["reason"]) == ("quarantined", "other_person")
    assert (ehr.get(ref)["name"][0]["family"], len(ehr.writes())) == ("Lindqvist", tried)


def test_what_was_only_planned_is_not_sent(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has the sink as it was, until its slice is over."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, **SINK)
    clinic.land("ehr", at(10, "617-555-0101"))
    clinic.release()
    once_planned(monkeypatch, lambda: clinic.source("store", ehr, **SINK))
    assert clinic.drain("store").outcomes == {"fence_lost": 1}
    assert (store.writes(), ehr.writes(), clinic.count("open_intent")) == ([], [], 0)
