"""What release and the drain write down for several lanes at once: each as if it went alone."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.connectors.sinks import Reply
from connector_runner.infra.database import Database, Tx, rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes.lane import State
from connector_runner.outbound.lanes.writing import Hands
from connector_runner.outbound.releasing import release_store
from connector_runner.world import store as world_store
from connector_runner.world.events import SentAtom
from tests.integration.outbound_stack import Clinic, System, a_patient

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATIENTS = {"entity_types": ["patient"]}


def test_what_was_written_while_release_looked_is_put_right(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number goes out, and is taken back while it is under way: whoever writes down later finds the sink behind."""
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    for day, phone in enumerate(("617-555-0101", "617-555-0102"), 1):
        clinic.land("ehr", a_patient(phone=phone, meta={"lastUpdated": f"2026-03-0{day}T09:00:00Z"}))
        if day == 1:
            clinic.flow("store")
    looked, landed = threading.Event(), threading.Event()
    want, call = release_store.want, Hands._call

    def wanting(tx: Tx, workspace_id: str, wishes: Any) -> dict[str, State]:
        if threading.current_thread() is releasing:
            looked.set()
            assert landed.wait(10)
        return want(tx, workspace_id, wishes)

    def calling(hands: Hands, *sent: Any) -> Reply:
        if not looked.is_set():
            back = a_patient(phone="617-555-0101", meta={"lastUpdated": "2026-03-03T09:00:00Z"})
            clinic.land("ehr", back)
            releasing.start()
            assert looked.wait(10)
        return call(hands, *sent)

    releasing = threading.Thread(target=clinic.release)
    clinic.release()
    monkeypatch.setattr(release_store, "want", wanting)
    monkeypatch.setattr(Hands, "_call", calling)
    assert clinic.drain("store").outcomes["landed"] == 1
    landed.set()
    releasing.join(10)
    clinic.flow("store")
    [patient] = store.all("Patient")
    assert [item["value"] for item in patient["telecom"]] == ["617-555-0101"]


def test_a_lane_that_was_claimed_or_woken_since_is_looked_at_again(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    lane, fence = clinic.lane("store"), clinic.lane("store")["fence"]

    def wanted(fence: int, more: int = 0) -> State:
        seen = clinic.lane("store")["desired_revision"] - more
        wish = release_store.Wish(
            sink_id=lane["sink_id"], lane_id=lane["lane_id"], entity_id=lane["entity_id"], entity_type="patient",
            client_ref=lane["client_ref"], state=State.IDLE, prio=20, policy="latest", revision=1, delay_s=3600,
            reason="consent", fence=fence, seen=seen,
        )  # fmt: skip
        with clinic.database.begin(clinic.workspace) as tx:
            return release_store.want(tx, clinic.workspace, [wish])[lane["lane_id"]]

    assert wanted(fence) is State.IDLE
    assert wanted(fence, more=1) is State.READY
    assert wanted(fence) is State.IDLE
    assert wanted(fence - 1) is State.READY
    assert clinic.drain("store").outcomes["idle"] == 1


def test_what_a_record_was_sent_twice_in_one_transaction_is_all_kept(database: Database, workspace: str) -> None:
    record, other = new_id(), new_id()

    def sent(value: str) -> SentAtom:
        return SentAtom("gender", value, f"event {value}", "manual", None, 1.0, NOW)

    with database.begin(workspace) as tx:
        world_store.save_sent(tx, workspace, record, [sent("first")], NOW)
    with database.begin(workspace) as tx:
        for place, value in ((record, "second"), (other, "alone"), (record, "third")):
            world_store.save_sent(tx, workspace, place, [sent(value)], datetime(2026, 3, 2, tzinfo=UTC))
    with database.begin(workspace) as tx:
        now = {row["record_id"]: row for row in rows(tx, "SELECT * FROM sent_value")}
        before = rows(tx, "SELECT * FROM sent_before ORDER BY sent_at")
    assert {place: row["origin"]["event_id"] for place, row in now.items()} == {
        record: "event third",
        other: "event alone",
    }
    assert bytes(now[record]["value_digest"]) == exact_json.digest("third")
    assert [(row["record_id"], row["origin"]["event_id"]) for row in before] == [
        (record, "event first"),
        (record, "event second"),
    ]


def test_settling_lanes_leaves_what_was_put_aside_of_others(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    quarantine, sink = clinic.outbound.quarantine, clinic.ids["ehr"]
    with clinic.database.begin(clinic.workspace) as tx:
        for stage, subject in (("outbound", "a"), ("outbound", "b"), ("outbound", "c"), ("release", "a")):
            quarantine.put(
                tx, clinic.workspace, stage=stage, subject=subject, code="x", message="m", data_source_id=sink,
                body=None, context={}, now=NOW,
            )  # fmt: skip
        for subject in ("a", "b"):
            quarantine.settle_unasked(tx, clinic.workspace, "outbound", subject)
    with clinic.database.begin(clinic.workspace) as tx:
        left = rows(tx, "SELECT stage, subject FROM quarantine WHERE status = 'open' ORDER BY stage")
    assert left == [{"stage": "outbound", "subject": "c"}, {"stage": "release", "subject": "a"}]
