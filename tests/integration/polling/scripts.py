"""A source that answers as a test says."""

from __future__ import annotations

from typing import Any

from tests.contract.scripted import Query, ScriptedServer, bundle, patient
from tests.integration.polled import Clinic, Deps


def clinic_of(deps: Deps, workspace: str, scripted: ScriptedServer, **settings: Any) -> Clinic:
    resources = {"Patient": {"cadence_s": 30, "full_sync_every_s": None}}
    return Clinic(deps, workspace, scripted.base_url, **{"history": False, "resources": resources, **settings})


def pages(scripted: ScriptedServer, count: int) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        page = int(query.get("page", ["1"])[0])
        link = f"{scripted.base_url}/Patient?page={page + 1}" if page < count else None
        return 200, bundle(patient(f"p{page}"), next_link=link)

    scripted.script = script
