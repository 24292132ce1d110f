"""Settings of a source, applied, refused and tried; and a source that cannot be reached."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.infra.database import Database, execute, one
from connector_runner.intake import polling
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from tests.integration.polled import Clinic, Deps, Server


def test_health_turns_after_three_failures_and_back_after_one_success(clinic: Clinic, server: Server) -> None:
    clinic.poll()
    server.faults({"on": "GET Patient", "kind": "html", "next": 50})
    seen = []
    for _ in range(4):
        clinic.poll()
        seen.append(clinic.health)
    code = clinic.resource["last_error_code"]
    assert seen == [("healthy", code), ("healthy", code), ("unhealthy", code), ("unhealthy", code)]
    server.faults()
    assert clinic.poll().status == "done"
    assert clinic.health == ("healthy", None)
    assert clinic.resource["consecutive_errors"] == 0


def test_an_unreachable_source_is_named_and_stops_no_other(deps: Deps, workspace: str, server: Server) -> None:
    down = Clinic(deps, workspace, "http://127.0.0.1:9/fhir")
    for _ in range(3):
        assert down.poll().code == "not_sent"
    assert down.health == ("unhealthy", "not_sent")
    document = {
        "name": "other",
        "source_type": "fhir_store",
        "settings": {"base_url": server.system.base_url, "resources": ["Patient"]},
    }
    other = down.apply(document)
    at = down.at + timedelta(seconds=1)
    outcome = polling.poll(deps, workspace, other.data_source_id, "Patient", owner="x", now=at)
    assert outcome.status == "done"


def test_a_secret_that_is_missing_makes_the_source_unhealthy_without_its_value(
    deps: Deps, workspace: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"kind": "bearer", "token": "env:EHR_TOKEN_OF_TEST"}
    monkeypatch.delenv("EHR_TOKEN_OF_TEST", raising=False)
    clinic = Clinic(deps, workspace, server.system.base_url, auth=auth)
    assert clinic.poll().status == "failed"
    (row,) = clinic.query("SELECT health_detail FROM data_source")
    assert "EHR_TOKEN_OF_TEST" in row["health_detail"]
    monkeypatch.setenv("EHR_TOKEN_OF_TEST", "t")
    assert clinic.poll().status == "done"


def test_applying_is_audited_idempotent_and_begins_anew_at_another_address(clinic: Clinic, server: Server) -> None:
    server.put("a")
    clinic.poll()
    assert clinic.resource["cursor"]["since"]
    settings = {"base_url": server.system.base_url, "page_size": 10, "resources": {"Patient": {"cadence_s": 30}}}
    document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
    outcomes = []
    for _ in range(2):
        with clinic.deps.database.begin(clinic.workspace) as tx:
            (applied,) = directory.apply(
                tx, clinic.workspace, {**document, "name": "other"}, actor="test", now=clinic.at
            )
        outcomes.append(applied.outcome)
    assert outcomes == ["created", "unchanged"]
    settings["page_size"] = 20
    clinic.apply(document)
    cursor = "SELECT cursor FROM source_resource WHERE data_source_id = :id"
    (row,) = clinic.query(cursor, id=clinic.source.data_source_id)
    assert row["cursor"]["since"], "a changed page size keeps the cursor"
    settings["base_url"] = "http://127.0.0.1:9/fhir"
    clinic.apply(document)
    (row,) = clinic.query(cursor, id=clinic.source.data_source_id)
    assert row["cursor"] == {}
    actions = clinic.query("SELECT action, detail->>'outcome' AS outcome FROM audit_log ORDER BY n")
    assert {"action": "source.apply", "outcome": "created"} in actions
    assert actions[-1] == {"action": "source.apply", "outcome": "changed"}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"name": "x", "source_type": "fhir_store", "settings": {}}, "f.yaml: settings.base_url"),
        ({"name": "x", "source_type": "fhir_store", "settings": {"base_url": "ftp://x"}}, "f.yaml: settings.base_url"),
        ({"name": "x", "source_type": "fax"}, "f.yaml: source_type"),
        ({"name": "X y", "source_type": "file_drop"}, "f.yaml: name"),
        ({"name": "x", "source_type": "file_drop", "colour": 1}, "f.yaml: colour"),
        (
            {"name": "x", "source_type": "fhir_store",
             "settings": {"base_url": "http://x", "auth": {"kind": "bearer", "token": "hunter2"}}},
            "f.yaml: settings.auth.token",
        ),
        (
            {"name": "x", "source_type": "fhir_store",
             "settings": {"base_url": "http://x", "resources": {"Patient": {"cadence": 3}}}},
            "f.yaml: settings.resources.Patient.cadence",
        ),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_file_and_key(
    database: Database, workspace: str, document: dict[str, Any], where: str
) -> None:
    with pytest.raises(Misconfigured) as caught, database.begin(workspace) as tx:
        directory.apply(tx, workspace, document, actor="test", now=utc_now(), file="f.yaml")
    assert caught.value.where == where
    assert "hunter2" not in str(caught.value)
    with database.begin(workspace) as tx:
        assert one(tx, "SELECT 1 FROM data_source") is None


def test_a_suspended_workspace_is_not_polled(clinic: Clinic) -> None:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        execute(tx, "UPDATE workspace SET status = 'suspended'")
    assert clinic.poll().status == "not_due"


def test_a_source_can_be_tried_without_landing_anything(clinic: Clinic, server: Server) -> None:
    server.put("a")
    tried = polling.test_connection(clinic.deps, clinic.source)
    assert tried == {"ok": True, "resources": {"Patient": {"ok": True, "records": 1, "unusable": 0}}}
    server.faults({"on": "GET Patient", "kind": "status", "status": 403, "next": 50})
    tried = polling.test_connection(clinic.deps, clinic.source)
    assert not tried["ok"]
    assert tried["resources"]["Patient"]["code"] == "forbidden"
    assert clinic.events == 0
    assert clinic.resource["cursor"] == {}
