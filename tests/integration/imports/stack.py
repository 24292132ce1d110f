"""What imports work with, and files to import."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector_runner.infra.database import Database, Row, one
from connector_runner.infra.http import HTTP
from connector_runner.intake.imports import running
from connector_runner.intake.landing import Intake
from connector_runner.kernel.ids import canonical_id
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.world import reading

MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")


@dataclass(frozen=True)
class Parts:
    """What imports work with."""

    settings: Settings
    database: Database
    http: HTTP
    mappings: MappingSet
    intake: Intake
    quarantine: Quarantine


def patient(n: int | str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": f"p{n}", "name": [{"family": f"Ames{n}", "given": ["Ida"]}]} | more


def observation(n: int, subject: str) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "8302-2"}]}
    quantity = {"value": 170 + n % 10, "unit": "cm"}
    said = {"code": code, "effectiveDateTime": "2026-01-02", "valueQuantity": quantity}
    return {"resourceType": "Observation", "id": f"o{n}", "status": "final", "subject": {"reference": subject}} | said


def post(resource: dict[str, Any], full_url: str | None = None) -> dict[str, Any]:
    request = {"method": "POST", "url": resource["resourceType"]}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def bundle(*entries: Any, kind: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def write(path: Path, content: Any) -> Path:
    """A file of lines from a list of resources, of one document otherwise; packed when its name says so."""
    text = "\n".join(map(json.dumps, content)) if isinstance(content, list) else json.dumps(content, indent=2)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def entity(deps: Parts, workspace: str, kind: str, record_id: str) -> Row:
    with deps.database.begin(workspace) as tx:
        found = reading.row(tx, workspace, canonical_id("partner", kind, record_id))
    assert found is not None
    return found


def count(deps: Parts, workspace: str, table: str) -> int:
    with deps.database.begin(workspace) as tx:
        row = one(tx, f"SELECT count(*) AS n FROM {table}")
    return int(row["n"]) if row else 0


def run_to_end(deps: Parts, workspace: str, import_id: str, *, slice_s: float = 10) -> int:
    """Slices until there is nothing left; how many it took."""
    for slices in range(1, 200):
        if not running.run(deps, workspace, import_id, owner="worker", slice_s=slice_s).more:
            return slices
    raise AssertionError("the import does not end")
