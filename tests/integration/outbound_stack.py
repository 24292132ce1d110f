"""A clinic with real Postgres, Redis and simulated systems, for tests of the way out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import requests

from connector_runner.connectors import directory, registry
from connector_runner.connectors.base import Opening, SourceRecord
from connector_runner.infra import secrets
from connector_runner.infra.database import Database, Row, execute, one, rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake import appending
from connector_runner.intake.landing import Intake, Landed, Origin
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import parse_instant, utc_now
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes.drain import Drained, drain
from connector_runner.outbound.lanes.rounds import Rounds
from connector_runner.outbound.lanes.together import Together
from connector_runner.outbound.lanes.writing import Hands
from connector_runner.outbound.releasing.release import applied, release, subscriber
from connector_runner.outbound.sinks.directory import DirectorySinks
from connector_runner.outbound.sinks.pace_memory import SqlMemory
from connector_runner.resilience.limiter import Limiter
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.review.verdicts import Verdict, decide
from connector_runner.sandbox import launch
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import load_mappings
from connector_runner.world.service import World

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
KEY = bytes(range(32))
FAST = {"per_second": 500, "burst": 100, "concurrency": 2}


def a_patient(record_id: str = "p1", phone: str = "617-555-0101", **more: Any) -> dict[str, Any]:
    """A patient as an EHR has one."""
    return {
        "resourceType": "Patient",
        "id": record_id,
        "identifier": [{"system": "urn:mrn", "value": f"MRN-{record_id}"}],
        "name": [{"use": "official", "family": "Okafor", "given": ["Ada"]}],
        "gender": "female",
        "birthDate": "1982-03-04",
        "telecom": [{"system": "phone", "use": "home", "value": phone}],
        **more,
    }


def an_appointment(record_id: str, patient: str = "p1", **more: Any) -> dict[str, Any]:
    """An appointment of a patient, as an EHR has one."""
    return {
        "resourceType": "Appointment",
        "id": record_id,
        "status": "booked",
        "start": "2026-12-01T09:00:00Z",
        "end": "2026-12-01T09:20:00Z",
        "participant": [{"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}],
        **more,
    }


def sinks_of(database: Database, sealer: Sealer, limiter: Limiter) -> DirectorySinks:
    """The sinks, with nothing remembered."""
    return DirectorySinks(database, HTTP(Settings(http_allow=("127.0.0.1",))), sealer, limiter)


def outbound_of(database: Database, redis_url: str) -> Outbound:
    """The outbound side as bootstrap builds it."""
    sealer, limiter = Sealer(KEY), Limiter(redis_url, SqlMemory(database))
    return Outbound(
        database=database,
        world=World([subscriber]),
        mappings=MAPPINGS,
        sealer=sealer,
        quarantine=Quarantine(sealer),
        limiter=limiter,
        sinks=sinks_of(database, sealer, limiter),
    )


@dataclass
class System:
    """One simulated system, seen from a test."""

    running: launch.Running

    def reset(self) -> None:
        """Empty, without faults."""
        self._post("reset", {"empty": True})

    def faults(self, *orders: dict[str, Any]) -> None:
        """These and no others."""
        requests.put(f"{self.running.switchboard}/faults", json=list(orders), timeout=10).raise_for_status()

    def put(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Write a resource past our own code, as another user of the system would."""
        place = f"{self.running.base_url}/{resource['resourceType']}/{resource['id']}"
        answer = requests.put(place, json=resource, timeout=10)
        answer.raise_for_status()
        return dict(answer.json())

    def get(self, ref: str) -> dict[str, Any]:
        """A resource."""
        answer = requests.get(f"{self.running.base_url}/{ref}", timeout=10)
        answer.raise_for_status()
        return dict(answer.json())

    def all(self, resource_type: str) -> list[dict[str, Any]]:
        """Every resource of a type."""
        answer = requests.get(f"{self.running.base_url}/{resource_type}?_count=1000", timeout=10).json()
        return [entry["resource"] for entry in answer.get("entry", [])]

    def writes(self) -> list[dict[str, Any]]:
        """Journalled requests that wrote, ours or not; to search or to validate by POST is no write."""
        asked = ("/_search", "/$validate")
        return [
            entry
            for entry in self.journal()
            if entry["method"] in ("PUT", "POST", "PATCH", "DELETE") and not entry["path"].endswith(asked)
        ]

    def journal(self) -> list[dict[str, Any]]:
        """Every request."""
        return list(requests.get(f"{self.running.switchboard}/journal", timeout=10).json())

    def _post(self, what: str, body: dict[str, Any]) -> None:
        requests.post(f"{self.running.switchboard}/{what}", json=body, timeout=10).raise_for_status()


@dataclass
class Clinic:
    """A workspace with its sources, and the verbs of the pipeline."""

    outbound: Outbound
    workspace: str
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Database:
        """Where it is kept."""
        return self.outbound.database

    def source(
        self, name: str, system: System, *, mapping: str = "fhir_r4", polled: Sequence[str] = (), **sink: Any
    ) -> str:
        """Apply a FHIR source with a sink (none when ``sink`` is empty); its id. Workers would poll ``polled``."""
        settings: dict[str, Any] = {"base_url": system.running.base_url, "mapping": mapping, "request_timeout_s": 2}
        if polled:
            settings["resources"] = {kind: {"cadence_s": 60} for kind in polled}
        if sink:
            settings["sink"] = {"quiet_period_s": 0.3, "rate": FAST, **sink}
        document = {"name": name, "source_type": "fhir_store", "settings": settings}
        with self.database.begin(self.workspace) as tx:
            done = directory.apply(tx, self.workspace, document, actor="test", now=utc_now())
            if done[0].moved:
                # New terms are no reason to look at everything here: a test asks for that itself.
                applied(tx, self.workspace, done)
        self.ids[name] = done[0].source.data_source_id
        parts = self.outbound
        self.outbound = replace(parts, sinks=sinks_of(self.database, parts.sealer, parts.limiter))
        return self.ids[name]

    def delete(self, name: str, record_id: str, resource_type: str = "Patient") -> Landed:
        """Land that a source has deleted a record."""
        return self._landed(name, [SourceRecord(resource_type, record_id, b"", None, deleted=True)])

    def land(self, name: str, *resources: dict[str, Any]) -> Landed:
        """Land resources as a poll of ``name`` would."""
        records = []
        for resource in resources:
            raw = exact_json.dumps(resource).encode()
            meta = resource.get("meta", {})
            records.append(
                SourceRecord(
                    resource["resourceType"],
                    resource["id"],
                    raw,
                    exact_json.loads(raw),
                    meta.get("versionId"),
                    parse_instant(meta["lastUpdated"]) if "lastUpdated" in meta else None,
                )
            )
        return self._landed(name, records)

    def _landed(self, name: str, records: list[SourceRecord]) -> Landed:
        intake = Intake(self.outbound.world, MAPPINGS, self.outbound.quarantine)
        origin = Origin(self.ids[name], name, "fhir_r4")
        return self.database.retrying(
            self.workspace, lambda tx: intake.land(tx, self.workspace, origin, records, now=utc_now())
        )

    def poll(self, name: str, resource_type: str) -> Landed:
        """Land everything of a type that a source holds, through the real source."""
        with self.database.begin(self.workspace) as tx:
            source = directory.load(tx, self.workspace, name)
        http = HTTP(Settings(http_allow=("127.0.0.1",)))
        opened = registry.open_source(source, Opening(http, secrets.resolve))
        intake = Intake(self.outbound.world, MAPPINGS, self.outbound.quarantine)
        landed = Landed()
        for page in opened.pages(resource_type, {}, full=True):
            found = self.database.retrying(
                self.workspace,
                lambda tx, page=page: intake.land(
                    tx,
                    self.workspace,
                    Origin(source.data_source_id, name, "fhir_r4", base_url=source.settings.base),
                    page.records,
                    now=utc_now(),
                ),
            )
            landed.add(found)
        self.project()
        return landed

    def project(self) -> None:
        """Fold what was marked dirty."""
        self.database.retrying(
            self.workspace, lambda tx: self.outbound.world.refold_dirty(tx, self.workspace, now=utc_now())
        )

    def say(self, **event: Any) -> appending.Outcome:
        """Append one event as an agent writes it."""
        document = exact_json.loads(json.dumps({"source": "voice_agent", **event}))
        outcome = self.database.retrying(
            self.workspace,
            lambda tx: appending.append(
                tx, self.outbound.world, MAPPINGS, self.workspace, [document], actor="agent", now=utc_now()
            ),
        )
        assert not outcome.errors, outcome.errors
        return outcome

    def judge(self, event_id: str, *, approve: bool = True, kind: Any = "human", fields: Any = ()) -> None:
        """A verdict about an event."""
        reason = None if approve else "wrong"
        verdict = Verdict(event_id, approve, "nurse", kind=kind, fields=fields, reason=reason)
        self.database.retrying(
            self.workspace, lambda tx: decide(tx, self.outbound.world, self.workspace, verdict, now=utc_now())
        )

    def release(self) -> None:
        """Until nothing is pending."""
        while release(self.outbound, self.workspace, 50).entities:
            pass

    def drain(self, sink: str, *, slice_s: float = 10.0) -> Drained:
        """One drain of a sink."""
        return drain(self.outbound, self.workspace, self.ids[sink], "test", slice_s)

    def flow(self, sink: str) -> Drained:
        """Release, then drain until nothing is due; what all drains did."""
        done = Drained()
        for _ in range(50):
            self.release()
            part = self.drain(sink)
            done.outcomes.update(part.outcomes)
            if not part.more and not part.outcomes:
                break
        return done

    def lanes(self, sink: str) -> list[Row]:
        """Every lane of a sink."""
        with self.database.begin(self.workspace) as tx:
            return rows(
                tx, "SELECT * FROM sync_lane WHERE sink_id = :sink ORDER BY entity_type, lane_id", sink=self.ids[sink]
            )

    def lane(self, sink: str, entity_type: str = "patient") -> Row:
        """The only lane of a type in a sink."""
        found = [lane for lane in self.lanes(sink) if lane["entity_type"] == entity_type]
        assert len(found) == 1, f"{len(found)} lanes of {entity_type} in {sink}"
        return found[0]

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.database.begin(self.workspace) as tx:
            found = one(tx, f"SELECT count(*) AS n FROM {table}")
            assert found is not None
            return int(found["n"])

    def execute(self, sql: str, **values: Any) -> None:
        """Change something behind the code's back."""
        with self.database.begin(self.workspace) as tx:
            execute(tx, sql, **values)


def once_planned(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any], by: type[Hands | Rounds | Together] = Hands
) -> None:
    """``work`` is done between the first plan of a write and the intent that is opened for it, ``by`` whomever."""
    _before(monkeypatch, by, "_open", work)


def once_opened(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> None:
    """``work`` is done between the intent of the first write and its request."""
    _before(monkeypatch, Hands, "_call", work)


def _before(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, work: Callable[[], Any]) -> None:
    called, done = getattr(owner, method), []

    def after_work(itself: Any, *planned: Any) -> Any:
        if not done:
            done.append(work())
        return called(itself, *planned)

    monkeypatch.setattr(owner, method, after_work)


def eventually(true: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
