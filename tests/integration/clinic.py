"""A clinic in Postgres for tests of what is shown: a polled source with a sink, a file drop, patients, lanes."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import text

from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource, SourceRecord
from connector_runner.infra.database import Database
from connector_runner.intake.landing import Intake, Origin
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import new_id
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.world.events import NewEvent
from connector_runner.world.service import World

CANARY: Final = "Quatermass"
MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")
EHR: Final = {
    "name": "ehr",
    "source_type": "fhir_store",
    "settings": {
        "base_url": "http://127.0.0.1:9/fhir",
        "resources": {"Patient": {"cadence_s": 30}},
        "sink": {"entity_types": ["patient"]},
    },
}
PARTNER: Final = {"name": "partner", "source_type": "file_drop"}


class Clinic:
    """One workspace; every method is a transaction of its own."""

    def __init__(self, database: Database, quarantine: Quarantine, workspace: str) -> None:
        self.database, self.quarantine, self.workspace = database, quarantine, workspace
        self.world = World()

    def apply(self, document: dict[str, Any]) -> DataSource:
        with self.database.begin(self.workspace) as tx:
            return directory.apply(tx, self.workspace, document, actor="test", now=utc_now())[0].source

    def polled(self, source: DataSource, *, times_failed: int = 0) -> None:
        with self.database.begin(self.workspace) as tx:
            for _ in range(times_failed):
                directory.record_error(tx, source, "unreachable", "the address cannot be reached", utc_now())
            if not times_failed:
                directory.record_ok(tx, source, utc_now())

    def land(self, source: DataSource, *resources: dict[str, Any]) -> None:
        records = []
        for resource in resources:
            raw = exact_json.dumps(resource).encode()
            records.append(SourceRecord(resource["resourceType"], resource["id"], raw, exact_json.loads(raw)))
        origin = Origin(source.data_source_id, source.name, "fhir_r4")
        intake = Intake(self.world, MAPPINGS, self.quarantine)
        self.database.retrying(
            self.workspace, lambda tx: intake.land(tx, self.workspace, origin, records, now=utc_now())
        )

    def hear(self, name: str) -> None:
        """What a voice agent understood of a new patient."""
        entity = new_id()
        event = NewEvent(
            entity_id=entity, entity_type="patient", event_type="patient.created", facts={"name": {"family": name}},
            source="voice_agent", confidence=0.5, snapshot=False, canonical_id=f"voice_agent:Patient:{entity}",
        )  # fmt: skip
        with self.database.begin(self.workspace) as tx:
            self.world.append(tx, self.workspace, [event], now=utc_now())

    def reject(self, subject: str) -> None:
        with self.database.begin(self.workspace) as tx:
            self.quarantine.put(
                tx, self.workspace, stage="map", subject=subject, code="bad_date", message="no date",
                body=CANARY.encode(), now=utc_now(),
            )  # fmt: skip

    def lane(self, sink: DataSource, state: str, *, written: bool = False, due_ago_s: float = 0) -> None:
        self.run(
            "INSERT INTO sync_lane (workspace_id, sink_id, lane_id, entity_id, entity_type, state, synced_revision,"
            " client_ref, due_at) VALUES (:ws, :sink, :lane, :entity, 'patient', :state, :written, 'x',"
            " now() - :ago * interval '1 second')",
            sink=sink.data_source_id, lane=new_id(), entity=new_id(), state=state, written=int(written), ago=due_ago_s,
        )  # fmt: skip

    def run(self, statement: str, **values: Any) -> None:
        with self.database.begin(self.workspace) as tx:
            tx.execute(text(statement), {"ws": self.workspace, **values})


def a_patient(n: int, **more: Any) -> dict[str, Any]:
    """A patient whose name must be shown nowhere."""
    return {"resourceType": "Patient", "id": str(n), "name": [{"family": CANARY, "given": [f"Number{n}"]}], **more}
