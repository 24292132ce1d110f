"""The main job, told end to end by the commands that an operator types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Sandbox, Stack, a_stack, ehr_settings, store_settings, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with a_stack(tmp_path_factory.mktemp("story")) as made:
        yield made


@pytest.fixture(scope="module")
def ehr(stack: Stack) -> Sandbox:
    return stack.sandbox("ehr", "--seed", "3", "--patients", "6")


@pytest.fixture(scope="module")
def store(stack: Stack) -> Sandbox:
    return stack.sandbox("store")


@pytest.fixture(scope="module")
def flowing(stack: Stack, ehr: Sandbox, store: Sandbox) -> Stack:
    """Both systems applied, two of every worker and two beats running, the population through."""
    stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
    stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir, polled=("Patient",))))
    for arguments in (("worker", "--pool", "io"), ("worker", "--pool", "cpu"), ("beat",)) * 2:
        stack.start(*arguments)
    stack.taken_in(ehr)
    stack.settled()
    return stack


def written(sandbox: Sandbox, resource_type: str | None = None) -> list[str]:
    """The resources that writes were committed for, in order."""
    return [
        entry["resource"]
        for entry in sandbox.journal()
        if entry["committed"] and (resource_type is None or entry["resource"].startswith(f"{resource_type}/"))
    ]


def phone_of(resource: dict[str, Any], use: str = "home") -> str | None:
    return next(
        (t["value"] for t in resource.get("telecom", ()) if t["system"] == "phone" and t.get("use") == use), None
    )


def test_both_sources_are_healthy_and_many_types_flow(flowing: Stack) -> None:
    status = flowing.status()
    assert {source["name"]: source["health_status"] for source in status["sources"]} == {
        "ehr": "healthy",
        "store": "healthy",
    }
    assert len(status["entities"]) >= 8
    assert status["events"]["total"] >= sum(status["entities"].values())


def test_the_store_holds_each_released_resource_exactly_once(flowing: Stack, ehr: Sandbox, store: Sandbox) -> None:
    for kind in ("Patient", "Organization", "Practitioner", "Location"):
        assert len(store.every(kind)) == len(ehr.every(kind)), kind
    assert store.repeated() == []


def test_nothing_of_the_ehr_returns_to_it(flowing: Stack, ehr: Sandbox) -> None:
    assert written(ehr) == []


def test_what_was_heard_leaves_only_after_a_person_said_so(flowing: Stack, ehr: Sandbox, store: Sandbox) -> None:
    patient = ehr.every("Patient")[0]
    name = f"ehr:Patient:{patient['id']}"
    heard = {
        "canonical_id": name, "entity_type": "patient", "event_type": "patient.updated", "source": "voice_agent",
        "confidence": 1.0, "facts": {"telecom": [{"system": "phone", "use": "home", "value": "+16175550177"}]},
    }  # fmt: skip
    before = len(written(ehr)) + len(written(store))
    event_id = flowing.cli("event", "append", flowing.write("heard.json", [heard]))["events"][0]["id"]
    # A change of the EHR's own goes through the same release, and takes nothing of it along.
    changed = dict(patient, active=False)
    ehr.put(f"fhir/Patient/{patient['id']}", changed)
    copy = f"Patient/{store_id(flowing, name)}"
    wait_for("the EHR's own change", lambda: ehr_copy(store, copy).get("active") is False)
    flowing.settled()
    assert phone_of(ehr_copy(store, copy)) == phone_of(patient)
    assert len(written(ehr)) + len(written(store)) == before + 2, "the change itself, and its copy"

    before_count = flowing.cli("entity", "show", name)["event_count"]
    flowing.cli("review", "approve", event_id)
    wait_for("the verified phone", lambda: phone_of(ehr_copy(ehr, f"Patient/{patient['id']}")) == "+16175550177")
    state = flowing.cli("entity", "show", name)["state"]
    # The verdict, and an echo from the next poll of each system, which changes nothing and raises nothing.
    wait_for(
        "the echoes",
        lambda: flowing.cli("entity", "show", name)["event_count"] >= before_count + 3,
        every_s=1,
    )
    flowing.settled()
    after = flowing.cli("entity", "show", name)
    assert after["state"] == state
    winner = after["provenance"]["telecom[phone|home]"]
    assert (winner["event_id"], winner["source"], winner["confidence"]) == (event_id, "voice_agent", 0.95)
    writes = Counter(written(ehr))
    assert writes[f"Patient/{patient['id']}"] == 2, "the change that the test made, and one write of ours"


def store_id(stack: Stack, name: str) -> str:
    sinks = stack.cli("entity", "explain", name)["sinks"]
    return str(next(sink["sink_ref"] for sink in sinks if sink["sink"] == "store")).removeprefix("Patient/")


def ehr_copy(sandbox: Sandbox, resource: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.get(f"fhir/{resource}")
    return found


def test_the_audit_chain_holds(flowing: Stack) -> None:
    assert flowing.cli("audit", "verify")["ok"] is True


def test_the_worst_of_files_is_told_and_the_rest_is_in(flowing: Stack, tmp_path: Path) -> None:
    good = '{"resourceType":"Patient","id":"%s","name":[{"family":"Okafor"}]}'
    (tmp_path / "a.ndjson").write_text("\n".join([good % "g1", "{broken", good % "g2", '{"resourceType":"Patient"}']))
    (tmp_path / "b.json").write_text(
        '{"resourceType":"Bundle","type":"collection","entry":[{"resource":%s},{"resource":%s},'
        % (good % "g3", '{"resourceType":"Patient","id":"g4","birthDate":"1982-13-45"}')
    )
    done = flowing.cli("import", str(tmp_path), "--source", "partner")
    assert done["events_created"] == 3
    assert done["quarantined"] >= 3
    assert any("a.ndjson" in error and "line 2" in error for error in done["errors"])
    assert any("entry[1]" in error and "birthDate" in error for error in done["errors"])
    assert "1982-13-45" not in str(done)
    again = flowing.cli("import", str(tmp_path), "--source", "partner")
    assert (again["events_created"], again["events_updated"]) == (0, 0)
