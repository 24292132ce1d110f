"""Confirmed writes are read back now and then, and what the sink does not hold as it said is found; nothing is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests

from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx, rows
from connector_runner.outbound.operating import status
from connector_runner.outbound.reconciling.reconcile import find
from connector_runner.outbound.reconciling.reconcile_sample import Sampled, sample
from tests.integration.outbound_stack import Clinic, System, a_patient

PATIENTS = {"entity_types": ["patient"], "accept_from": ["ehr"]}


def look(clinic: Clinic, sink: str = "store", count: int = 20) -> Sampled:
    """One sample of a sink, due or not, after every quiet period."""
    find(clinic.database)
    clinic.execute("UPDATE reconcile_walk SET sample_due_at = now() WHERE sink_id = :sink", sink=clinic.ids[sink])
    clinic.execute("UPDATE sync_lane SET synced_at = synced_at - interval '1 minute'")
    return sample(clinic.outbound, clinic.workspace, clinic.ids[sink], "test", count=count, every_s=300)


@pytest.fixture
def settled(clinic: Clinic, ehr: System, store: System) -> Clinic:
    """A patient whose phone was changed once, in the sink as it should be."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, **PATIENTS)
    for phone in ("617-555-0101", "617-555-0199"):
        clinic.land("ehr", a_patient("p1", phone=phone))
        assert clinic.flow("store").outcomes["landed"] == 1
    return clinic


def edited(store: System, **more: Any) -> dict[str, Any]:
    """Another user of the store changes the patient."""
    [patient] = store.all("Patient")
    return store.put({**patient, **more})


def test_what_is_there_as_confirmed_is_verified(settled: Clinic) -> None:
    assert settled.lane("store")["verified_at"] is None
    assert dict(look(settled).outcomes) == {"verified": 1}
    lane = settled.lane("store")
    assert (lane["drift"], lane["state"], lane["reason"]) == (None, "idle", "landed")
    assert lane["verified_at"] is not None
    settled.land("ehr", a_patient("p1", phone="617-555-0123"))
    settled.flow("store")
    assert settled.lane("store")["verified_at"] is None


def test_a_foreign_edit_is_found_planned_anew_and_not_undone(settled: Clinic, store: System) -> None:
    other = [{"system": "phone", "use": "home", "value": "617-555-0777"}]
    edited(store, telecom=other)
    writes = len(store.writes())
    done = look(settled)
    assert (dict(done.outcomes), done.release) == ({"foreign_edit": 1}, True)
    lane = settled.lane("store")
    assert (lane["drift"], lane["reason"], lane["reason_detail"]) == (
        "foreign_edit",
        "foreign_edit",
        "telecom[phone|home]",
    )
    with settled.database.begin(settled.workspace) as tx:
        assert [row["prio"] for row in rows(tx, "SELECT prio FROM pending_release")] == [30]
    settled.flow("store")
    settled.poll("store", "Patient")
    settled.flow("store")
    assert len(store.writes()) == writes
    assert store.all("Patient")[0]["telecom"] == other


def test_whose_word_is_newer_is_decided_though_a_poll_once_saw_ours(settled: Clinic, store: System) -> None:
    """A poll that saw what we wrote does not tell that it is there still."""
    settled.poll("store", "Patient")
    settled.flow("store")
    edited(store, telecom=[{"system": "phone", "use": "home", "value": "617-555-0777"}])
    assert dict(look(settled).outcomes) == {"foreign_edit": 1}
    reads = len([asked for asked in store.journal() if asked["method"] == "GET"])
    settled.flow("store")
    lane = settled.lane("store")
    assert len([asked for asked in store.journal() if asked["method"] == "GET"]) == reads + 1
    assert (lane["reason"], lane["withheld"]) == ("in_step", [{"atom": "telecom[phone|home]", "code": "sink_newer"}])


def test_what_others_say_beside_ours_is_no_drift(settled: Clinic, store: System) -> None:
    edited(store, maritalStatus={"text": "married"})
    assert dict(look(settled).outcomes) == {"verified": 1}


def test_what_a_poll_has_told_of_is_no_drift(settled: Clinic, store: System) -> None:
    edited(store, gender="other")
    settled.poll("store", "Patient")
    settled.flow("store")
    assert dict(look(settled).outcomes) == {"verified": 1}


def test_a_version_that_never_took_is_a_silent_reject(settled: Clinic, store: System) -> None:
    writes = len(store.writes())
    store.faults({"on": "GET Patient", "kind": "stale"})
    assert dict(look(settled).outcomes) == {"silent_reject": 1}
    lane = settled.lane("store")
    assert (lane["drift"], lane["reason_detail"]) == ("silent_reject", "telecom[phone|home]")
    store.faults()
    assert dict(look(settled).outcomes) == {"verified": 1}
    lane = settled.lane("store")
    assert (lane["drift"], lane["reason"], lane["reason_detail"]) == (None, "verified", None)
    assert len(store.writes()) == writes


@dataclass
class Polite:
    """A sink that answers 200 to every update, repeats what it was sent, and keeps nothing of it."""

    sink: Sink

    def update(self, ref: str, body: Json, etag: str | None, **more: Any) -> Reply:
        shown = {**body, "meta": {"versionId": "77"}}
        return Reply(Outcome.LANDED, "", 200, ref, 'W/"77"', shown, b"{}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)


@dataclass
class PoliteSinks:
    """The clinic's sinks, each polite."""

    of: Any

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        return list(self.of.terms(tx, workspace_id))

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Any]:
        terms, sink = self.of.open(tx, workspace_id, sink_id)
        return terms, Polite(sink)


def test_a_sink_that_says_yes_and_does_nothing_is_found_out(settled: Clinic, store: System) -> None:
    honest = settled.outbound
    settled.outbound = replace(honest, sinks=PoliteSinks(honest.sinks))
    settled.land("ehr", a_patient("p1", phone="617-555-0444"))
    assert settled.flow("store").outcomes["landed"] == 1
    assert store.all("Patient")[0]["telecom"][0]["value"] != "617-555-0444"
    assert dict(look(settled).outcomes) == {"silent_reject": 1}
    assert settled.lane("store")["drift"] == "silent_reject"
    with settled.database.begin(settled.workspace) as tx:
        [shown] = [sink for sink in status.lanes_by_state(tx, settled.workspace) if sink["name"] == "store"]
    assert shown["drift"] == {"silent_reject": 1}


def test_what_is_missing_is_put_aside_and_never_made_again(settled: Clinic, store: System) -> None:
    [patient] = store.all("Patient")
    requests.delete(f"{store.running.base_url}/Patient/{patient['id']}", timeout=5).raise_for_status()
    writes = len(store.writes())
    assert dict(look(settled).outcomes) == {"missing_in_sink": 1}
    lane = settled.lane("store")
    assert (lane["state"], lane["reason"], lane["drift"]) == ("quarantined", "missing_in_sink", "missing_in_sink")
    with settled.database.begin(settled.workspace) as tx:
        assert [row["code"] for row in rows(tx, "SELECT code FROM quarantine WHERE status = 'open'")] == [
            "missing_in_sink"
        ]
    settled.land("ehr", a_patient("p1", phone="617-555-0444"))
    settled.flow("store")
    assert len(store.writes()) == writes
    assert store.all("Patient") == []


def test_the_longest_unverified_are_read_first_and_new_ones_take_half(settled: Clinic) -> None:
    settled.land("ehr", *(a_patient(f"p{n}") for n in range(2, 6)))
    settled.flow("store")
    settled.execute(
        "UPDATE sync_lane l SET verified_at = now() - n * interval '1 day' FROM"
        " (SELECT lane_id, row_number() OVER (ORDER BY lane_id) AS n FROM sync_lane) o WHERE l.lane_id = o.lane_id"
    )
    before = {lane["lane_id"]: lane["verified_at"] for lane in settled.lanes("store")}
    oldest = sorted(before, key=lambda lane: before[lane])
    settled.execute("UPDATE sync_lane SET verified_at = NULL WHERE lane_id = :id", id=oldest[-1])
    assert sum(look(settled, count=2).outcomes.values()) == 2
    after = {lane["lane_id"]: lane["verified_at"] for lane in settled.lanes("store")}
    assert {lane for lane in after if after[lane] != before[lane]} == {oldest[0], oldest[-1]}
    look(settled, count=2)
    again = {lane["lane_id"]: lane["verified_at"] for lane in settled.lanes("store")}
    assert {lane for lane in again if again[lane] != after[lane]} == {oldest[1], oldest[2]}


def test_writes_go_first(settled: Clinic) -> None:
    settled.land("ehr", *(a_patient(f"p{n}") for n in range(2, 5)))
    settled.flow("store")
    settled.land("ehr", a_patient("p9"))
    settled.release()
    assert sum(look(settled).outcomes.values()) == 1


def test_a_turn_is_taken_once(settled: Clinic) -> None:
    assert look(settled).outcomes
    again = sample(settled.outbound, settled.workspace, settled.ids["store"], "other", count=20, every_s=300)
    assert not again.outcomes


def test_a_fresh_write_is_left_alone_for_its_quiet_period(settled: Clinic) -> None:
    find(settled.database)
    settled.execute("UPDATE sync_lane SET synced_at = now() + interval '1 minute'")
    settled.execute("UPDATE reconcile_walk SET sample_due_at = now()")
    assert not sample(settled.outbound, settled.workspace, settled.ids["store"], "t", count=20, every_s=300).outcomes


def test_a_sink_that_is_paused_is_not_asked(settled: Clinic, store: System) -> None:
    settled.execute(
        "UPDATE data_source SET sink_paused_reason = 'x', sink_next_wake_at = now() + interval '1 hour'"
        " WHERE sink_enabled"
    )
    asked = len(store.journal())
    assert look(settled).closed == "paused"
    assert len(store.journal()) == asked


def test_a_sink_that_hangs_is_asked_once_and_delays_no_other(settled: Clinic, ehr: System, store: System) -> None:
    settled.source("second", ehr, **PATIENTS)
    settled.land("ehr", *(a_patient(f"p{n}") for n in range(2, 5)))
    settled.execute("INSERT INTO pending_release SELECT workspace_id, entity_id FROM entity ON CONFLICT DO NOTHING")
    settled.flow("second")
    settled.flow("store")
    ehr.faults({"on": "GET *", "kind": "hang"})
    found: list[Sampled] = []
    hanging = threading.Thread(target=lambda: found.append(look(settled, "second")))
    hanging.start()
    assert look(settled).outcomes["verified"] == 4
    assert hanging.is_alive(), "all of it was done meanwhile"
    hanging.join()
    assert dict(found[0].outcomes) == {"unknown": 1}


def test_a_lane_that_moved_while_it_was_read_keeps_its_own_word(settled: Clinic, store: System) -> None:
    edited(store, gender="other")

    @dataclass
    class Meanwhile(Polite):
        def read(self, ref: str) -> Reply:
            settled.execute("UPDATE sync_lane SET fence = fence + 1")
            return self.sink.read(ref)

    class Busy(PoliteSinks):
        def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Any]:
            terms, sink = self.of.open(tx, workspace_id, sink_id)
            return terms, Meanwhile(sink)

    settled.outbound = replace(settled.outbound, sinks=Busy(settled.outbound.sinks))
    assert dict(look(settled).outcomes) == {"moved": 1}
    assert settled.lane("store")["drift"] is None
