"""A sink that takes codes only, and rules that leave some values without one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector_runner.infra.database import rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.llm import LanguageModel
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.outbound.translating.deciding import Decided, Deciding
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import MappingSet, load_mappings
from tests.integration.llm_server import Model
from tests.integration.outbound_stack import Clinic, System

SAID = "Tied the Knot Quatermass"


MARITAL = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"


RULE = """\
version: 1
extends: fhir_r4/patient
fields:
  maritalStatus:
    path: marital_status
    transform: concept
    translate: {vocabulary: marital_status, fuzzy: 0.9, llm: %s, otherwise: %s}
"""


def mappings(folder: Path, otherwise: str, *, llm: bool = True) -> MappingSet:
    """What ships, and a system ``acme`` like FHIR that is particular about marital status."""
    root = folder / f"{otherwise}-{llm}"
    if not root.exists():
        shutil.copytree(PROJECT_ROOT / "mappings", root)
        for direction in ("inbound", "outbound"):
            (root / direction / "acme").mkdir()
            (root / direction / "acme" / "system.yaml").write_text("extends: fhir_r4\n")
        (root / "outbound" / "acme" / "patient.yaml").write_text(RULE % (str(llm).lower(), otherwise))
    return load_mappings(root)


def set_up(clinic: Clinic, ehr: System, folder: Path, otherwise: str, *, llm: bool = True) -> None:
    clinic.outbound = replace(clinic.outbound, mappings=mappings(folder, otherwise, llm=llm))
    clinic.source("ehr", ehr, mapping="acme", entity_types={"patient": {}})


def patient(clinic: Clinic, status: str = SAID, family: str = "Mensah") -> str:
    """A patient whom an agent knows, verified; the id of the entity."""
    said = clinic.say(
        entity_type="patient",
        confidence=0.5,
        facts={
            "name": {"family": family, "given": ["Kofi"]},
            "birth_date": "1990-01-02",
            "marital_status": {"text": status},
        },
    )
    clinic.judge(said.events[0]["id"])
    return str(said.events[0]["entity_id"])


def deciding(clinic: Clinic, server: Model | None, *, timeout_s: float = 5.0) -> Deciding:
    def opened() -> LanguageModel | None:
        if server is None:
            return None
        http = HTTP(Settings(http_allow=("127.0.0.1",)))
        return LanguageModel(http, base_url=server.base_url, model="small-1", api_key=None, timeout_s=timeout_s)

    out = clinic.outbound
    return Deciding(out.database, out.sealer, out.quarantine, out.mappings.vocabularies, opened)


def work_off(clinic: Clinic, server: Model | None, **more: Any) -> Decided:
    clinic.execute("UPDATE translation_request SET due_at = clock_timestamp() WHERE state = 'asked'")
    return deciding(clinic, server, **more).work_off(clinic.workspace)


def held(ehr: System) -> Any:
    [one] = ehr.all("Patient")
    return one.get("maritalStatus")


def requests(clinic: Clinic) -> list[dict[str, Any]]:
    with clinic.database.begin(clinic.workspace) as tx:
        return rows(tx, "SELECT state, reason, attempts, llm, blocking FROM translation_request ORDER BY asked_at")


def quarantined(clinic: Clinic, status: str = "open") -> list[Any]:
    with clinic.database.begin(clinic.workspace) as tx:
        found = clinic.outbound.quarantine.list(tx, clinic.workspace, stage="translation", status=status)  # type: ignore[arg-type]
        return [(entry, clinic.outbound.quarantine.body(tx, clinic.workspace, entry.quarantine_id)) for entry in found]


def decisions(clinic: Clinic) -> list[dict[str, Any]]:
    with clinic.database.begin(clinic.workspace) as tx:
        return rows(tx, "SELECT * FROM translation ORDER BY decided_at")


def misconfigured() -> LanguageModel | None:
    raise Misconfigured("no key", code="secret_missing", where="env:KEY")


def answer(clinic: Clinic, code: str | None) -> int:
    """A person's answer to the only open request."""
    people = deciding(clinic, None)
    [waiting] = people.waiting(clinic.workspace)
    assert waiting["text"] == SAID
    return people.set_code(clinic.workspace, waiting["id"], code, actor="nurse", now=utc_now())
