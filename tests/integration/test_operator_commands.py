"""The operator's commands as they are typed: one document for programs, words for people, exit codes 0, 1, 2."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connector_runner.cli.console import moment
from connector_runner.cli.main import app
from connector_runner.infra.database import one, rows
from connector_runner.kernel.errors import Misconfigured
from connector_runner.settings import PROJECT_ROOT
from tests.integration.outbound_stack import KEY, Clinic, System, a_patient

PATIENTS = {"entity_types": ["patient"]}
NAME = "ehr:Patient:p1"


@pytest.fixture(autouse=True)
def environment(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process of the product."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("CONNECTOR_RUNNER_HTTP_ALLOW", "127.0.0.1")


def run(clinic: Clinic, *arguments: str, code: int = 0) -> Any:
    """The JSON of a command."""
    done = CliRunner().invoke(app, [*arguments, "--workspace", clinic.workspace, "--json"])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return json.loads(done.stdout)


def told(clinic: Clinic, *arguments: str, code: int = 0) -> str:
    """What a command says to people."""
    done = CliRunner().invoke(app, [*arguments, "--workspace", clinic.workspace])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return done.stdout


def heard(clinic: Clinic, ehr: System, **sink: Any) -> None:
    """The EHR has a patient; another phone is heard and approved, and not sent yet."""
    clinic.source("ehr", ehr, **PATIENTS, **sink)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    said = clinic.say(
        canonical_id=NAME,
        entity_type="patient",
        confidence=0.5,
        facts={"telecom": [{"system": "phone", "use": "home", "value": "617-555-0199"}]},
    )
    clinic.judge(str(said.events[0]["id"]))


def phone(system: System) -> str:
    return str(system.get("Patient/p1")["telecom"][0]["value"])


def test_preview_prints_the_exact_request_and_no_credential(
    clinic: Clinic, ehr: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EHR_TOKEN", "tell-nobody")
    heard(clinic, ehr, write_auth={"kind": "bearer", "token": "env:EHR_TOKEN"})
    before = len(ehr.writes())
    found = run(clinic, "outbound", "preview", NAME, "--sink", "ehr")
    request = found["request"]
    assert (found["action"], request["method"], request["path"]) == ("update", "PUT", "/fhir/Patient/p1")
    assert request["headers"]["If-Match"] == found["target"]["etag"]
    assert request["headers"]["Authorization"] == "(hidden)"
    assert [item["value"] for item in request["body"]["telecom"]] == ["617-555-0199"]
    assert found["changes"] == ["telecom[phone|home]"]
    assert len(ehr.writes()) == before
    words = told(clinic, "outbound", "preview", NAME, "--sink", "ehr")
    assert "PUT /fhir/Patient/p1" in words
    assert "tell-nobody" not in words + json.dumps(found)

    clinic.flow("ehr")
    [sent] = ehr.writes()[before:]
    assert (sent["method"], sent["path"]) == (request["method"], request["path"])
    assert {k: v for k, v in ehr.get("Patient/p1").items() if k != "meta"} == {
        k: v for k, v in request["body"].items() if k != "meta"
    }
    assert run(clinic, "outbound", "preview", NAME, "--sink", "ehr")["action"] == "none"
    with clinic.database.begin(clinic.workspace) as tx:
        reads = rows(tx, "SELECT 1 FROM audit_read WHERE action = 'outbound.preview'")
    assert len(reads) == 3


def test_preview_of_a_create_has_our_identity_in_it(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient())
    found = run(clinic, "outbound", "preview", NAME, "--sink", "store")
    assert (found["action"], found["request"]["method"], found["target"]) == ("create", "PUT", None)
    clinic.flow("store")
    assert found["request"]["path"] == f"/fhir/Patient/{clinic.lane('store')['client_ref']}"


def test_undo_shows_then_sends_and_the_log_tells(clinic: Clinic, ehr: System) -> None:
    heard(clinic, ehr)
    clinic.flow("ehr")
    shown = run(clinic, "outbound", "undo", "--mapping", "fhir_r4/patient")
    assert shown["counts"] == {"restore": 1}
    assert shown["records"][0]["restored"][0]["to"]["value"] == "617-555-0101"
    assert phone(ehr) == "617-555-0199"
    assert "telecom[phone|home] -> " in told(clinic, "outbound", "undo", "--since", "1h", "--sink", "ehr")
    assert run(clinic, "outbound", "undo", "--since", "1h", "--until", "30m")["records"] == []

    asked = run(clinic, "outbound", "undo", "--mapping", "fhir_r4/patient", "--apply")
    assert (asked["lanes"], asked["open"]) == (1, 1)
    clinic.flow("ehr")
    assert phone(ehr) == "617-555-0101"
    by_mapping = run(clinic, "outbound", "log", "--mapping", "fhir_r4/patient", "--entity", NAME)["writes"]
    assert [(w["operation"], w["outcome"], w["undone_by"]) for w in by_mapping] == [
        ("update", "landed", asked["undo_id"])
    ]
    bodies = run(clinic, "outbound", "log", "--since", "1h", "--outcome", "landed", "--bodies")["writes"]
    assert [w["sent"]["telecom"][0]["value"] for w in bodies] == ["617-555-0101", "617-555-0199"]
    assert run(clinic, "outbound", "log", "--until", "1h")["writes"] == []
    with clinic.database.begin(clinic.workspace) as tx:
        assert one(tx, "SELECT count(*) AS n FROM audit_read WHERE action = 'outbound.log'") == {"n": 1}

    lane = run(clinic, "outbound", "status", "--sink", "ehr")["lanes"][0]
    assert {item["code"] for item in lane["withheld"]} == {"undone"}
    why = run(clinic, "entity", "explain", NAME, "--sink", "ehr")
    assert (why["safe_to_replay"]["safe"], why["sinks"][0]["safe_to_replay"]["code"]) == (False, "undone")
    assert run(clinic, "outbound", "retry", lane["lane_id"]) == {"retried": 0, "let_go": 1}
    clinic.flow("ehr")
    assert phone(ehr) == "617-555-0199"


def test_undo_exits_1_where_something_is_left_for_a_person(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    asked = run(clinic, "outbound", "undo", "--sink", "store", "--since", "1h", "--apply", code=1)
    assert (asked["lanes"], len(asked["created"])) == (0, 1)


def test_explain_tells_people_in_tables_and_how_long_it_took(clinic: Clinic, ehr: System) -> None:
    heard(clinic, ehr)
    words = told(clinic, "entity", "explain", NAME, "--field", "telecom")
    assert {
        "telecom[phone|home]",
        "telecom[0]",
        "facts.telecom[0]",
        "asserted_earlier",
        "voice_agent",
        "approved",
    } <= set(words.split())
    clinic.flow("ehr")
    assert "ehr: safe to replay: yes, because" in told(clinic, "entity", "explain", NAME, "--sink", "ehr")
    assert any(run(clinic, "entity", "explain", NAME)["took_ms"] < 200 for _ in range(20)), "once nobody is in its way"


def test_quarantine_replays_what_is_named_or_a_cause(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient(), a_patient("thirteenth", birthDate="1982-13-45"))
    store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1})
    clinic.flow("store")
    listed = run(clinic, "quarantine", "list")["entries"]
    assert {entry["stage"] for entry in listed} == {"unify", "outbound"}
    assert len(run(clinic, "quarantine", "list", "--source", "store")["entries"]) == 1
    failed = run(clinic, "quarantine", "replay", "--source", "ehr", code=1)
    assert failed["counts"] == {"failed": 1}
    assert run(clinic, "quarantine", "replay", "--stage", "outbound", "--dry-run")["counts"] == {"put_back": 1}
    lane = next(entry for entry in listed if entry["stage"] == "outbound")
    assert run(clinic, "quarantine", "replay", lane["quarantine_id"])["counts"] == {"put_back": 1}
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    assert "thirteenth" not in told(clinic, "quarantine", "replay", "--all", code=1)
    assert run(clinic, "quarantine", "discard", "--stage", "unify") == {"discarded": 1}
    assert run(clinic, "quarantine", "list")["entries"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["outbound", "undo"], 2),
        (["outbound", "undo", "--since", "yesterday"], 2),
        (["outbound", "retry"], 2),
        (["outbound", "retry", "not-a-lane"], 2),
        (["quarantine", "replay"], 2),
        (["quarantine", "replay", "--all", "--stage", "unify"], 2),
        (["quarantine", "replay", "01a1fd24-6ea2-7cbd-bf75-c0e17b46a53b"], 1),
        (["outbound", "preview", NAME, "--sink", "nowhere"], 1),
        (["outbound", "retry", "--sink", "nowhere"], 1),
        (["entity", "explain", "ehr:Patient:nobody"], 1),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(clinic: Clinic, arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "connector_runner.cli", *arguments, "--workspace", clinic.workspace],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.startswith("error: ")


def test_times_are_instants_or_ages() -> None:
    assert moment("2026-03-04T05:06:07Z") == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert moment("2026-03-04") == datetime(2026, 3, 4, tzinfo=UTC)
    assert abs(datetime.now(UTC) - moment("2h") - timedelta(hours=2)) < timedelta(seconds=5)
    with pytest.raises(typer.BadParameter):
        moment("soon")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"entity_types": ["patiant"]}, "settings.sink.entity_types.patiant"),
        ({"entity_types": {"patient": {"owns": ["telecom", "telecmo"]}}}, "settings.sink.entity_types.patient.owns"),
        ({"mapping": "fhir_r44", "entity_types": ["patient"]}, "settings.sink.entity_types.patient"),
    ],
)
def test_what_no_mapping_writes_is_refused_by_its_key(
    clinic: Clinic, tmp_path: Path, settings: dict[str, Any], key: str
) -> None:
    file = tmp_path / "store.json"
    mapping = settings.pop("mapping", "fhir_r4")
    document = {"name": "store", "source_type": "fhir_store",
                "settings": {"base_url": "http://127.0.0.1/fhir", "mapping": mapping, "sink": settings}}  # fmt: skip
    file.write_text(json.dumps(document))
    done = CliRunner().invoke(app, ["source", "apply", str(file), "--workspace", clinic.workspace])
    assert isinstance(done.exception, Misconfigured)
    assert done.exception.where == f"{file}: {key}"
    assert run(clinic, "source", "list") == {"sources": []}
