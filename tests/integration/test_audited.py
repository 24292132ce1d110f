"""One row of the table of actions at a time: the thing is done, as it is in the product, and the entry is there."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.audit.actions import ACTIONS
from connector_runner.audit.log import append
from connector_runner.cli.main import app
from connector_runner.infra.database import rows
from connector_runner.kernel.clock import utc_now
from connector_runner.resilience import alerts
from connector_runner.review import items
from connector_runner.settings import PROJECT_ROOT
from connector_runner.world import reading
from tests.integration.outbound_stack import KEY, Clinic, System, a_patient

NAME = "ehr:Patient:p1"
CALLERS = {"test_callers": ["+16175550199"]}
PHONE = {"system": "phone", "use": "home", "value": "617-555-0199"}

# Done where the whole road to it is: the test there finds the entry.
ELSEWHERE = {
    "outbound.undo": "test_operator_undo.py",
    "translation.decided": "translating/test_deciding.py",
    "record.rolled_back": "test_world_hazards.py",
    "quarantine.replayed": "test_operator_quarantine.py",
    "push.secret_rotated": "test_push_secret_rotation.py",
    "review.policy_changed": "test_review_loop.py",
    "review.category_suspended": "test_review_queue.py",
    "review.expired": "test_review_ageing.py",
    "review.reopened": "test_review_ageing.py",
    "review.lapsed": "test_review_ageing.py",
    "review.claimed": "test_review_queue.py",
    "review.unclaimed": "test_review_queue.py",
    "review.approved": "test_review_queue.py",
    "review.rejected": "test_review_queue.py",
    "reads.sealed": "test_audit.py",
    "material.disclosed": "test_judge.py",
    "purge": "test_row_security.py",
    "audit.export": "test_audited.py",
    "outbound.adopted": "test_creation.py",
    "outbound.not_a_duplicate": "test_creation.py",
    "outbound.repair": "test_merging.py",
    "policy.refused": "test_policy.py",
    "review.category_restored": "test_review_queue.py",
    "review.corrected": "test_review_queue.py",
    "review.refused": "test_review_queue.py",
    "push.secret_made": "test_push_subscriptions.py",
}


@pytest.fixture(autouse=True)
def environment(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process of the product."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("CONNECTOR_RUNNER_HTTP_ALLOW", "127.0.0.1")


@dataclass
class Desk:
    """A clinic with a patient, and the command line."""

    clinic: Clinic
    ehr: System
    folder: Path
    said: dict[str, Any] = field(default_factory=dict)

    def run(self, *arguments: str, code: int | None = 0, feed: str | None = None) -> Any:
        """A command; its document where it prints one."""
        done = CliRunner().invoke(app, [*arguments, "--workspace", self.clinic.workspace, "--json"], input=feed)
        assert code is None or done.exit_code == code, f"{done.output} {done.exception!r}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def patient(self, **sink: Any) -> None:
        """The EHR has a patient whom we have read."""
        self.clinic.source("ehr", self.ehr, **sink)
        self.ehr.put(a_patient())
        self.clinic.poll("ehr", "Patient")

    def heard(self) -> str:
        """Another phone was heard; the id of the event."""
        self.patient(entity_types=["patient"])
        said = self.clinic.say(canonical_id=NAME, entity_type="patient", confidence=0.5, facts={"telecom": [PHONE]})
        return str(said.events[0]["id"])

    def twins(self) -> None:
        """Two systems have the same person, and that was found out."""
        self.clinic.source("ehr", self.ehr)
        self.clinic.source("crm", self.ehr)
        self.clinic.land("ehr", a_patient())
        self.clinic.land("crm", a_patient())
        self.run("clusters", "--entity-type", "patient")

    def file(self, name: str, content: Any) -> str:
        """A file with a document."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def logged(self, action: str) -> list[dict[str, Any]]:
        """What is on record of an action."""
        with self.clinic.database.begin(self.clinic.workspace) as tx:
            return rows(
                tx,
                "SELECT actor, object, detail FROM audit_log WHERE action = :action"
                " UNION ALL SELECT actor, object, detail FROM audit_read WHERE action = :action",
                action=action,
            )


@pytest.fixture
def desk(clinic: Clinic, ehr: System, tmp_path: Path) -> Desk:
    return Desk(clinic, ehr, tmp_path)


def a_source(desk: Desk) -> str:
    settings = {"base_url": desk.ehr.running.base_url, "mapping": "fhir_r4"}
    document = {"name": "other", "source_type": "fhir_store", "settings": settings}
    return desk.file("source.json", document)


def a_workspace(desk: Desk) -> None:
    done = CliRunner().invoke(app, ["workspace", "create", f"w{desk.clinic.workspace[-12:]}", "--json"])
    desk.clinic.workspace = json.loads(done.stdout)["workspace_id"]


def an_alert(desk: Desk) -> None:
    desk.patient()
    with desk.clinic.database.begin(desk.clinic.workspace) as tx:
        alerts.raise_once(tx, desk.clinic.workspace, desk.clinic.ids["ehr"], "health", "x", now=utc_now())
    [alert] = desk.run("alerts", "list")["alerts"]
    desk.run("alerts", "acknowledge", alert["alert_id"], "--actor", "ruth", "--reason", "the vendor was called")
    [seen] = desk.run("alerts", "list")["alerts"]
    assert seen["acknowledged_by"] == "ruth"
    desk.run("alerts", "acknowledge", alert["alert_id"], code=1)


def a_client_key(desk: Desk, then: str | None = None) -> None:
    key = desk.run("key", "create")
    if then == "retire":
        desk.run("key", "retire", key["kid"], "--force")
    elif then is not None:
        desk.run("key", then)


def a_client_key_from_elsewhere(desk: Desk) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    desk.run("key", "import", desk.file("key.pem", made.decode()), "--kid", "mine")


def a_write(desk: Desk) -> None:
    desk.clinic.judge(desk.heard())
    desk.clinic.flow("ehr")


def a_quarantined(desk: Desk) -> str:
    desk.clinic.source("ehr", desk.ehr)
    desk.clinic.land("ehr", {"resourceType": "Patient", "id": "bad", "birthDate": {"no": "date"}})
    [entry] = desk.run("quarantine", "list")["entries"]
    return str(entry["quarantine_id"])


def a_retry(desk: Desk) -> None:
    a_write(desk)
    desk.clinic.execute("UPDATE sync_lane SET state = 'quarantined', reason = 'rejected'")
    desk.run("outbound", "retry", "--sink", "ehr")


def an_item(desk: Desk) -> None:
    event = desk.heard()
    with desk.clinic.database.begin(desk.clinic.workspace) as tx:
        entity = reading.entity_id(tx, desk.clinic.workspace, NAME)
        item = items.ask(
            tx, desk.clinic.workspace, kind="events", entity_id=entity, entity_type="patient", event_ids=[event],
            reason="unclear", priority=5, now=utc_now(),
        )  # fmt: skip
    desk.run("review", "show", item)


def a_removed_secret(desk: Desk) -> None:
    desk.run("secret", "set", "token", feed="hush")
    desk.run("secret", "remove", "token")


def an_import(desk: Desk) -> None:
    desk.run("import", desk.file("p.json", a_patient()), "--source", "drop")


def a_material(desk: Desk) -> None:
    desk.run("transcript", "add", desk.file("t.txt", "agent: hello\ncaller: hello"), "--session", "call-1")


def events_appended(desk: Desk) -> None:
    event = {"entity_type": "patient", "event_type": "patient.updated", "source": "voice_agent",
             "facts": {"birth_date": "1982-03-04"}}  # fmt: skip
    desk.run("event", "append", desk.file("events.json", [event]))


def after_patient(*arguments: str, code: int | None = 0) -> Callable[[Desk], object]:
    def work(desk: Desk) -> None:
        desk.patient(entity_types=["patient"])
        desk.run(*arguments, code=code)

    return work


def after_write(*arguments: str) -> Callable[[Desk], object]:
    def work(desk: Desk) -> None:
        a_write(desk)
        desk.run(*arguments)

    return work


def about_event(*arguments: str) -> Callable[[Desk], object]:
    def work(desk: Desk) -> None:
        event = desk.heard()
        desk.run(*(event if one == "EVENT" else one for one in arguments))

    return work


def after_twins(*arguments: str) -> Callable[[Desk], object]:
    def work(desk: Desk) -> None:
        desk.twins()
        if arguments:
            desk.run(*arguments)
            desk.run("clusters", "--entity-type", "patient")

    return work


def plain(*arguments: str, code: int | None = 0) -> Callable[[Desk], object]:
    return lambda desk: desk.run(*arguments, code=code)


REASON = ("--reason", "they said so")
PARTED = ("link", "revert", "ehr:Patient:p1", "crm:Patient:p1", *REASON)
DOING: dict[str, Callable[[Desk], object]] = {
    "workspace.created": a_workspace,
    "source.apply": lambda desk: desk.run("source", "apply", a_source(desk)),
    "source.test": after_patient("source", "test", "ehr", code=None),
    "source.sync": after_patient("source", "sync", "ehr"),
    "source.export": after_patient("source", "export", "ehr", "--background", code=None),
    "alert.acknowledged": an_alert,
    "api_key.created": plain("api-key", "create", "--role", "agent"),
    "client_key.created": a_client_key,
    "client_key.imported": a_client_key_from_elsewhere,
    "client_key.rotated": lambda desk: a_client_key(desk, "rotate"),
    "client_key.retired": lambda desk: a_client_key(desk, "retire"),
    "secret.set": lambda desk: desk.run("secret", "set", "token", feed="hush"),
    "secret.removed": a_removed_secret,
    "import.begun": an_import,
    "event.append": events_appended,
    "material.added": a_material,
    "outbound.write": a_write,
    "quarantine.replay_asked": lambda desk: desk.run("quarantine", "replay", a_quarantined(desk), code=None),
    "quarantine.discarded": lambda desk: desk.run("quarantine", "discard", a_quarantined(desk)),
    "quarantine.show": lambda desk: desk.run("quarantine", "show", a_quarantined(desk), "--body"),
    "verdict.approved": about_event("review", "approve", "EVENT"),
    "verdict.rejected": about_event("review", "reject", "EVENT", *REASON),
    "link.made": after_twins(),
    "link.parted": after_twins(*PARTED),
    "link.different": after_twins(*PARTED),
    "link.same": after_twins("link", "make", "ehr:Patient:p1", "crm:Patient:p1", *REASON),
    "link.list": after_twins("link", "list"),
    "clusters.export": after_twins(),
    "entity.list": after_patient("entity", "list"),
    "entity.show": after_patient("entity", "show", NAME),
    "entity.explain": after_patient("entity", "explain", NAME),
    "entity.timeline": after_patient("entity", "timeline", NAME),
    "entity.history": after_patient("entity", "history", NAME),
    "outbound.preview": after_patient("outbound", "preview", NAME, "--sink", "ehr"),
    "outbound.log": after_write("outbound", "log", "--bodies"),
    "outbound.undo_shown": after_write("outbound", "undo", "--since", "1h"),
    "outbound.gaps": after_patient("outbound", "gaps", "--entity", NAME),
    "outbound.steps": lambda desk: desk.run("outbound", "steps", desk.heard(), code=None),
    "translation.list": plain("outbound", "translate"),
    "policy.show": plain("policy", "show"),
    "policy.check": after_patient("policy", "check", NAME, "--action", "read", code=None),
    "policy.applied": lambda desk: desk.run("policy", "apply", desk.file("p.json", CALLERS)),
    "outbound.retry": a_retry,
    "review.show": an_item,
    "audit.list": plain("audit", "list"),
    "audit.anchored": lambda desk: (desk.run("secret", "set", "token", feed="hush"), desk.run("audit", "anchor")),
}
NOT_BY_COMMAND = {"outbound.write", "link.made", "link.parted"}
"""Put on record by the database itself, which knows what was done and not who asked."""


@pytest.mark.parametrize("action", sorted(DOING))
def test_what_is_done_is_on_record(desk: Desk, action: str) -> None:
    DOING[action](desk)
    found = desk.logged(action)
    assert found, f"nothing is on record of {action}"
    for entry in found:
        assert entry["actor"]
        assert entry["object"]
        if action not in NOT_BY_COMMAND and entry["actor"] not in ("test", "import"):
            by = entry["detail"]["by"]
            assert by["who"].startswith("os:"), "whom the machine knows as having run it"
            assert by["through"]
            assert re.fullmatch(r"[0-9a-f-]{36}", by["correlation_id"])
    assert desk.run("audit", "verify")["ok"]


def test_what_no_command_of_this_page_does_is_tested_where_it_is_done() -> None:
    for action, name in ELSEWHERE.items():
        text = (PROJECT_ROOT / "tests/integration" / name).read_text()
        assert action in text or "SEAL_ACTION" in text, f"{name} does not look for {action}"


def test_every_row_of_the_table_is_tried() -> None:
    assert ACTIONS.keys() - DOING.keys() - ELSEWHERE.keys() == set()


def test_an_export_is_on_record(desk: Desk) -> None:
    done = CliRunner().invoke(app, ["audit", "export", "--workspace", desk.clinic.workspace])
    assert done.exit_code == 0, done.output
    [entry] = desk.logged("audit.export")
    assert entry["detail"]["format"] == "ndjson"


def test_what_fails_is_not_on_record(desk: Desk) -> None:
    desk.run("secret", "remove", "token", code=1)
    desk.run("entity", "show", NAME, code=1)
    assert desk.logged("secret.removed") == desk.logged("entity.show") == []


def test_what_was_changed_of_a_source_is_told_by_name(desk: Desk) -> None:
    path = a_source(desk)
    desk.run("source", "apply", path)
    document = json.loads(Path(path).read_text())
    document["settings"] |= {"overlap_s": 7, "sink": {"enabled": True, "entity_types": ["patient"]}}
    desk.run("source", "apply", desk.file("source.json", document))
    document["settings"]["sink"]["consent"] = "required"
    desk.run("source", "apply", desk.file("source.json", document))
    changed = [entry["detail"]["changed"] for entry in desk.logged("source.apply")]
    assert sorted(changed, key=len) == [[], ["sink.consent"], ["overlap_s", "sink"]]


def test_an_effect_and_its_entry_are_there_together_or_not_at_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_runner.auth.kept_secrets.audit.append", lambda *_, **__: 1 / 0)
    desk.run("secret", "set", "token", feed="hush", code=1)
    monkeypatch.setattr("connector_runner.auth.kept_secrets.audit.append", append)
    assert desk.run("secret", "list")["secrets"] == []
