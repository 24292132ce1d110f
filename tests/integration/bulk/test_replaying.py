"""What exports left in quarantine, replayed: another export, and deletes that can be read by now."""

from __future__ import annotations

import json

from connector_runner.intake.bulk import running
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.operating.replay import Replayed, replay
from connector_runner.resilience.quarantine import Entry
from tests.integration.bulk.stack import Clinic, Server


def entries(clinic: Clinic) -> list[Entry]:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        return list(clinic.deps.quarantine.list(tx, clinic.workspace, stage="bulk"))


def replayed(clinic: Clinic, *, named: bool = False, dry_run: bool = False) -> list[Replayed]:
    return replay(clinic.deps, clinic.workspace, entries(clinic), actor="test", named=named, dry_run=dry_run)


def test_what_the_server_could_not_export_is_asked_for_since_the_same_time(clinic: Clinic, server: Server) -> None:
    server.patients(1)
    clinic.export()
    server.patients(2)
    server.behave(export_issues=2)
    clinic.export()
    assert [one.outcome for one in replayed(clinic, dry_run=True)] == ["asked", "asked"]
    assert len(clinic.query("SELECT 1 FROM export_job")) == 2
    assert [one.outcome for one in replayed(clinic)] == ["asked", "asked"]
    assert entries(clinic) == []
    jobs = clinic.query("SELECT export_id, types, since, state FROM export_job ORDER BY created_at")
    assert [job["state"] for job in jobs] == ["completed", "completed", "starting"]
    assert jobs[2]["since"] == jobs[1]["since"] is not None
    assert jobs[2]["types"] == jobs[1]["types"]
    assert running.run_to_end(clinic.deps, clinic.workspace, str(jobs[2]["export_id"]))["complete"]
    assert [one.times for one in entries(clinic)] == [1, 1]  # it still could not


def kept(clinic: Clinic, line: dict[str, object]) -> None:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        clinic.deps.quarantine.put(
            tx, clinic.workspace, stage="bulk", subject="line", code="bad_deletion", message="cannot be read",
            data_source_id=clinic.source.data_source_id, body=json.dumps(line).encode(), now=utc_now(),
        )  # fmt: skip


def test_deletes_that_can_be_read_by_now_are_applied_where_the_record_is_gone(clinic: Clinic, server: Server) -> None:
    server.patients(1, 2, 3)
    clinic.export()
    server.delete("Patient", "p1")
    kept(clinic, {"resourceType": "Bundle", "entry": [{"request": {"method": "PATCH", "url": "Patient/p1"}}]})
    assert [(one.outcome, one.reason) for one in replayed(clinic, named=True)] == [("failed", "bad_deletion")]
    gone = [{"request": {"method": "DELETE", "url": f"Patient/p{n}"}} for n in (1, 2)]
    kept(clinic, {"resourceType": "Bundle", "entry": gone})
    assert [(one.outcome, one.reason) for one in replayed(clinic)] == [("refused", "name_it")]
    assert [one.outcome for one in replayed(clinic, named=True, dry_run=True)] == ["replayed"]
    assert "Patient:p1" in clinic.names()
    assert [one.outcome for one in replayed(clinic, named=True)] == ["replayed"]
    assert clinic.names() == {"Patient:p2", "Patient:p3"}
    assert entries(clinic) == []
