"""A bad mapping goes live, is found, understood and taken back, by the commands that an operator types."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector_runner.settings import PROJECT_ROOT
from tests.acceptance.stack import Sandbox, Stack, a_stack, ehr_settings, store_settings, wait_for

FRENCH = [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "fr"}], "text": "French"}}]
WORKERS = (("worker", "--pool", "io"), ("worker", "--pool", "cpu"), ("beat",))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with a_stack(tmp_path_factory.mktemp("operator")) as made:
        yield made


def release_of(folder: Path, version: int, *, bad: bool) -> str:
    """A release of the mappings; the bad one writes the language over the marital status."""
    place = folder / f"mappings-{version}"
    shutil.copytree(PROJECT_ROOT / "mappings", place)
    file = place / "outbound" / "fhir_r4" / "patient.yaml"
    text = re.sub(r"(?m)^version: \d+", f"version: {version}", file.read_text())
    if bad:
        text, found = re.subn(
            r"(?m)^  maritalStatus:.*\n(?:    .*\n)*", "  maritalStatus: {path: language, transform: concept}\n", text
        )
        assert found == 1
    file.write_text(text)
    return str(place)


def switch(stack: Stack, mappings: str) -> None:
    """Deploy: all processes end, and come back with other mappings."""
    for process in list(stack.processes):
        stack.end(process)
    stack.environment["CONNECTOR_RUNNER_MAPPINGS"] = mappings
    for arguments in WORKERS:
        stack.start(*arguments)


def copies(store: Sandbox) -> dict[str, dict[str, Any]]:
    """The store's patients by an identifier that they have in the EHR, too."""
    return {key_of(patient): patient for patient in store.every("Patient")}


def key_of(patient: dict[str, Any]) -> str:
    return min(f"{i.get('system')}|{i['value']}" for i in patient["identifier"])


def test_a_bad_mapping_is_undone_but_for_what_others_edited(stack: Stack, tmp_path: Path) -> None:
    ehr, store = stack.sandbox("ehr", "--seed", "5", "--patients", "4"), stack.sandbox("store")
    for patient in ehr.every("Patient"):
        ehr.put(f"fhir/Patient/{patient['id']}", patient | {"maritalStatus": {"text": "Married"}})
    stack.environment["CONNECTOR_RUNNER_MAPPINGS"] = release_of(tmp_path, 91, bad=False)
    stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
    stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir)))
    switch(stack, stack.environment["CONNECTOR_RUNNER_MAPPINGS"])
    wait_for("the copies", lambda: len(store.every("Patient")) == 4, timeout_s=240, every_s=0.5)
    stack.taken_in(ehr)
    stack.settled()
    before = copies(store)

    switch(stack, release_of(tmp_path, 92, bad=True))
    for patient in ehr.every("Patient"):
        ehr.put(f"fhir/Patient/{patient['id']}", patient | {"communication": FRENCH})
    spoilt = wait_for("the harm", lambda: harmed(store), timeout_s=240, every_s=0.5)
    stack.settled()
    theirs, *others = sorted(spoilt)
    store.put(f"fhir/Patient/{spoilt[theirs]['id']}", copies(store)[theirs] | {"maritalStatus": {"text": "Widowed"}})

    name = f"ehr:Patient:{next(p['id'] for p in ehr.every('Patient') if key_of(p) == others[0])}"
    written = stack.cli("outbound", "log", "--mapping", "fhir_r4/patient@92", "--since", "10m")["writes"]
    assert {(write["operation"], write["outcome"]) for write in written} == {("update", "landed")}
    assert len(written) == 4
    assert stack.cli("entity", "explain", name, "--field", "language", "--sink", "store")["safe_to_replay"]["safe"]
    shown = stack.cli("outbound", "undo", "--mapping", "fhir_r4/patient@92")
    assert shown["counts"] == {"restore": 4}
    skipped = {each["sink_ref"]: [s["field"] for s in each["skipped"]] for each in shown["records"]}
    assert skipped[f"Patient/{spoilt[theirs]['id']}"] == ["maritalStatus"]
    assert copies(store)[others[0]]["maritalStatus"] != before[others[0]]["maritalStatus"], "looking sends nothing"

    switch(stack, release_of(tmp_path, 93, bad=False))
    done = stack.cli("outbound", "undo", "--mapping", "fhir_r4/patient@92", "--apply", "--wait", "90")
    assert (done["open"], {row["status"] for row in done["records"]}) == (0, {"undone"})
    stack.settled()
    after = copies(store)
    assert after[theirs]["maritalStatus"] == {"text": "Widowed"}
    for key in others:
        assert after[key]["maritalStatus"] == before[key]["maritalStatus"]
    assert all(patient["communication"][0]["language"]["text"] == "French" for patient in after.values()), (
        "what was meant goes under the mended mapping"
    )
    assert stack.cli("outbound", "undo", "--mapping", "fhir_r4/patient@92")["records"] == []
    assert stack.cli("outbound", "preview", name, "--sink", "store")["action"] == "none"
    assert stack.cli("audit", "verify")["ok"] is True


def harmed(store: Sandbox) -> dict[str, dict[str, Any]] | None:
    """The copies, once the bad mapping has reached all of them."""
    found = copies(store)
    return found if all("French" in str(patient.get("maritalStatus")) for patient in found.values()) else None
