"""Whatever hint, mark or row was lost, one reconciliation finds the entity; and in steady state it finds nothing."""

from __future__ import annotations

import re
import shutil
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from connector_runner.infra.database import one
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.lanes import sweeping
from connector_runner.outbound.lanes.lane import RECONCILE
from connector_runner.outbound.reconciling import reconcile_store
from connector_runner.outbound.reconciling.reconcile import Reconciled, find, reconcile
from connector_runner.outbound.releasing.release import release
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment

BOTH = {"entity_types": ["patient", "appointment"], "accept_from": ["ehr"]}


def walk(clinic: Clinic, sink: str = "store", **options: float) -> Reconciled:
    """One reconciliation of a sink, due or not."""
    find(clinic.database)
    clinic.execute("UPDATE reconcile_walk SET due_at = now() WHERE sink_id = :sink", sink=clinic.ids[sink])
    return reconcile(clinic.outbound, clinic.workspace, clinic.ids[sink], "test", **options)  # type: ignore[arg-type]


def pending(clinic: Clinic) -> int:
    return clinic.count("pending_release")


@pytest.fixture
def settled(clinic: Clinic, ehr: System, store: System) -> Clinic:
    """Two patients and an appointment, in the sink as they should be."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, **BOTH)
    clinic.land("ehr", a_patient("p1"), a_patient("p2"), an_appointment("a1"))
    assert clinic.flow("store").outcomes["landed"] == 3
    return clinic


def test_where_all_is_well_nothing_is_asked_for(settled: Clinic) -> None:
    done = walk(settled)
    assert (done.looked, dict(done.found), done.more, done.release, done.drain) == (3, {}, False, False, False)
    assert pending(settled) == 0


@pytest.mark.parametrize("decided_by", ["release", "drain"])
def test_a_refusal_that_ends_with_time_is_noticed(clinic: Clinic, ehr: System, store: System, decided_by: str) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, consent="opt_out", **BOTH)
    until = (utc_now() + timedelta(seconds=6)).isoformat()
    refusing = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "patient": {"reference": "Patient/p1"},
        "provision": {"type": "deny", "period": {"end": until}},
    }
    clinic.land("ehr", a_patient("p1"))
    if decided_by == "drain":
        clinic.release()
    clinic.land("ehr", refusing)
    if decided_by == "drain":
        clinic.drain("store")
    else:
        clinic.release()
    assert clinic.lane("store")["reason"] == "consent_withdrawn"
    time.sleep(6.1)
    clinic.execute("DELETE FROM pending_release")
    assert dict(walk(clinic).found) == {"time_passed": 1}
    clinic.flow("store")
    assert (clinic.lane("store")["reason"], len(store.all("Patient"))) == ("landed", 1)
    assert not walk(clinic).found


def test_what_no_gate_lets_through_is_not_looked_at_for_ever(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, entity_types=["patient"])
    clinic.land("ehr", a_patient("p1"))
    clinic.release()
    assert clinic.lanes("store") == []
    assert not walk(clinic).found


def test_a_lost_request_for_release_is_found(settled: Clinic, store: System) -> None:
    settled.land("ehr", a_patient("p1", phone="617-555-0199"))
    settled.execute("DELETE FROM pending_release")
    settled.flow("store")
    done = walk(settled)
    assert (dict(done.found), done.release) == ({"changed": 1}, True)
    assert settled.flow("store").outcomes["landed"] == 1
    assert not walk(settled).found


def test_a_lost_release_hint_is_found(settled: Clinic) -> None:
    settled.land("ehr", a_patient("p1", phone="617-555-0199"))
    settled.execute("UPDATE pending_release SET requested_at = now() - interval '2 minutes'")
    done = walk(settled)
    assert (dict(done.found), done.release) == ({"release_late": 1}, True)


def test_a_lost_drain_hint_is_found(settled: Clinic) -> None:
    settled.land("ehr", a_patient("p1", phone="617-555-0199"))
    settled.release()
    assert not walk(settled).drain
    settled.execute("UPDATE sync_lane SET due_at = now() - interval '2 minutes' WHERE state = 'ready'")
    done = walk(settled)
    assert (dict(done.found), done.drain) == ({"overdue_lane": 1}, True)


def test_a_lane_that_is_behind_its_entity_is_found(settled: Clinic) -> None:
    settled.land("ehr", a_patient("p1", phone="617-555-0199"))
    settled.flow("store")
    settled.execute("UPDATE sync_lane SET desired_revision = 1 WHERE synced_revision > 1")
    assert dict(walk(settled).found) == {"lane_behind": 1}


def test_a_sink_that_nobody_was_told_of_is_found(settled: Clinic, ehr: System) -> None:
    settled.source("second", ehr, **BOTH)
    settled.release()
    assert settled.lanes("second") == []
    assert walk(settled, "second").found["other_terms"] == 3
    assert settled.flow("second").outcomes["landed"] == 3


def test_terms_as_release_knew_them_are_what_counts(
    settled: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that goes by terms of some time ago forgets no sink that came since."""
    old = settled.outbound
    with old.database.begin(settled.workspace) as tx:
        known = old.sinks.terms(tx, settled.workspace)
    monkeypatch.setattr(old.sinks, "terms", lambda tx, workspace_id: known)
    settled.source("store", store, entity_types=["patient", "appointment"], accept_from=["ehr"], threshold=0.99)
    settled.land("ehr", a_patient("p1", phone="617-555-0199"))
    while release(old, settled.workspace).entities:
        pass
    assert walk(settled).found["other_terms"] == 3


def test_entities_written_by_an_older_mapping_are_found(settled: Clinic, tmp_path: Path) -> None:
    shutil.copytree(PROJECT_ROOT / "mappings", tmp_path / "mappings")
    rules = tmp_path / "mappings" / "outbound" / "fhir_r4" / "patient.yaml"
    rules.write_text(re.sub(r"^version: .*$", "version: 9999", rules.read_text(), count=1, flags=re.MULTILINE))
    newer = load_mappings(tmp_path / "mappings")
    settled.outbound = replace(settled.outbound, mappings=newer)
    assert dict(walk(settled).found) == {"other_terms": 2}
    settled.flow("store")
    assert not walk(settled).found


def test_a_lease_without_end_is_ended(settled: Clinic) -> None:
    settled.execute("UPDATE sync_lane SET state = 'leased', lease_until = NULL WHERE entity_type = 'appointment'")
    sweeping.reap(settled.database)
    assert settled.lane("store", "appointment")["state"] == "leased"
    assert dict(walk(settled).found) == {"endless_lease": 1}
    sweeping.reap(settled.database)
    assert settled.lane("store", "appointment")["state"] == "ready"


def test_what_is_found_wanting_goes_behind_what_is_fresh(settled: Clinic) -> None:
    settled.execute("DELETE FROM release_mark")
    walk(settled)
    settled.land("ehr", a_patient("p3"))
    assert release(settled.outbound, settled.workspace, 1).entities == 1
    with settled.database.begin(settled.workspace) as tx:
        fresh = one(tx, "SELECT count(*) AS n FROM pending_release WHERE prio < :prio", prio=RECONCILE)
    assert fresh == {"n": 0}
    settled.execute("UPDATE sync_lane SET synced_hash = NULL, last_sent = NULL, sink_ref = NULL WHERE state = 'idle'")
    settled.release()
    prios = {lane["prio"] // 10 for lane in settled.lanes("store") if lane["state"] == "ready"}
    assert prios == {2, 3}


def test_a_walk_goes_on_where_its_slice_cut_it_off(settled: Clinic) -> None:
    settled.execute("DELETE FROM release_mark")
    parts = [walk(settled, slice_s=0, stretch=1)]
    while parts[-1].more:
        parts.append(walk(settled, slice_s=0, stretch=1))
    assert sum(part.looked for part in parts) == 3
    assert max(part.looked for part in parts) == 1
    assert pending(settled) == 3
    row = _walk_row(settled)
    assert (row["looked"], row["asked"], row["entity_type"]) == (3, 3, "")


def test_of_two_who_are_told_at_once_one_walks(settled: Clinic) -> None:
    walk(settled)
    settled.execute("UPDATE reconcile_walk SET due_at = now()")
    with settled.database.begin(settled.workspace) as tx:
        first = reconcile_store.claim(tx, settled.workspace, settled.ids["store"], "one", 60)
    assert first is not None
    assert reconcile(settled.outbound, settled.workspace, settled.ids["store"], "two").looked == 0
    settled.execute("UPDATE reconcile_walk SET lease_until = now() - interval '1 second'")
    assert reconcile(settled.outbound, settled.workspace, settled.ids["store"], "two").looked == 3
    with settled.database.begin(settled.workspace) as tx:
        late = reconcile_store.go_on(
            tx,
            settled.workspace,
            settled.ids["store"],
            first,
            entity_type="x",
            after_id=first.after_id,
            looked=9,
            asked=9,
        )
    assert not late
    assert _walk_row(settled)["looked"] == 3


def test_a_walk_that_is_done_is_not_due_until_its_time(settled: Clinic) -> None:
    walk(settled, every_s=300)
    assert [due for due in find(settled.database) if due.workspace_id == settled.workspace and due.walk] == []
    settled.execute("UPDATE reconcile_walk SET due_at = now() - interval '1 second'")
    [due] = [due for due in find(settled.database) if due.workspace_id == settled.workspace]
    assert (due.sink_id, due.name, due.walk) == (settled.ids["store"], "store", True)


def test_with_enough_waiting_a_walk_asks_for_no_more(settled: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_runner.outbound.reconciling.reconcile._MOST_WAITING", 1)
    settled.execute("DELETE FROM release_mark")
    walk(settled, stretch=1)
    assert pending(settled) == 1
    settled.release()
    walk(settled, stretch=1)
    assert pending(settled) == 1


def test_a_sink_that_hangs_delays_no_other(settled: Clinic, ehr: System, store: System) -> None:
    settled.source("second", ehr, **BOTH)
    walk(settled, "second")
    settled.release()
    ehr.faults({"on": "* *", "kind": "hang"})
    settled.drain("second", slice_s=0)
    hanging = threading.Thread(target=lambda: settled.drain("second", slice_s=1))
    settled.execute("UPDATE data_source SET sink_next_wake_at = NULL, sink_paused_reason = NULL")
    hanging.start()
    settled.land("ehr", a_patient("p9"))
    assert settled.flow("store").outcomes["landed"] == 1
    settled.execute("DELETE FROM release_mark")
    assert walk(settled).found["never_looked_at"] == 4
    assert walk(settled, "second").looked == 4
    assert hanging.is_alive(), "all of it was done meanwhile"
    hanging.join()


def _walk_row(clinic: Clinic) -> dict[str, object]:
    with clinic.database.begin(clinic.workspace) as tx:
        row = one(tx, "SELECT * FROM reconcile_walk WHERE sink_id = :sink", sink=clinic.ids["store"])
    assert row is not None
    return row
