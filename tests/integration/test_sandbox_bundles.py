"""Transaction and batch bundles of the simulated systems, over HTTP against a real process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connector_runner.sandbox import launch

PATIENT_URN = "urn:uuid:6ba7b810-9dad-41d1-80b4-00c04fd430c8"
DOCTOR_URN = "urn:uuid:6ba7b811-9dad-41d1-80b4-00c04fd430c8"


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def base(running: launch.Running) -> str:
    requests.post(f"{running.switchboard}/reset", timeout=10)
    return running.base_url


def entry(method: str, url: str, resource: dict[str, Any] | None = None, urn: str | None = None, **more: str) -> Any:
    made: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    if resource is not None:
        made["resource"] = resource
    if urn:
        made["fullUrl"] = urn
    return made


def send(base: str, kind: str, *entries: Any) -> requests.Response:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    return requests.post(base, json=bundle, timeout=10)


def total(base: str) -> int:
    count: int = requests.get(f"{base}/_history?_count=0", timeout=10).json()["total"]
    return count


def observation(subject: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": subject},
    }


def test_temporary_identities_become_references(base: str) -> None:
    answer = send(
        base,
        "transaction",
        entry("POST", "Observation", observation(PATIENT_URN)),
        entry(
            "POST",
            "Patient",
            {"resourceType": "Patient", "generalPractitioner": [{"reference": DOCTOR_URN}]},
            PATIENT_URN,
        ),
        entry("PUT", "Practitioner/doc", {"resourceType": "Practitioner", "id": "doc"}, DOCTOR_URN),
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body["type"] == "transaction-response"
    assert [one["response"]["status"] for one in body["entry"]] == ["201 Created"] * 3
    seen, patient, _ = (one["resource"] for one in body["entry"])
    assert seen["subject"]["reference"] == f"Patient/{patient['id']}"
    assert patient["generalPractitioner"] == [{"reference": "Practitioner/doc"}]
    assert body["entry"][0]["response"]["location"].endswith(f"/Observation/{seen['id']}/_history/1")
    assert body["entry"][0]["response"]["etag"] == 'W/"1"'
    assert requests.get(f"{base}/Patient/{patient['id']}", timeout=10).json() == patient


def test_conditional_create_finds_what_is_there(base: str) -> None:
    known = {"resourceType": "Patient", "id": "known", "identifier": [{"system": "urn:mrn", "value": "1"}]}
    requests.put(f"{base}/Patient/known", json=known, timeout=10)
    posted = entry("POST", "Patient", {**known}, PATIENT_URN, ifNoneExist="identifier=urn:mrn|1")
    body = send(base, "transaction", posted, entry("POST", "Observation", observation(PATIENT_URN))).json()
    assert [one["response"]["status"] for one in body["entry"]] == ["200 OK", "201 Created"]
    assert body["entry"][1]["resource"]["subject"]["reference"] == "Patient/known"


def test_conditional_references_find_exactly_one_or_fail_all(base: str) -> None:
    known = {"resourceType": "Patient", "id": "known", "identifier": [{"system": "urn:mrn", "value": "1"}]}
    requests.put(f"{base}/Patient/known", json=known, timeout=10)
    found = send(base, "transaction", entry("POST", "Observation", observation("Patient?identifier=urn:mrn|1"))).json()
    assert found["entry"][0]["resource"]["subject"]["reference"] == "Patient/known"
    missed = send(base, "transaction", entry("POST", "Observation", observation("Patient?identifier=urn:mrn|2")))
    assert missed.status_code == 412
    assert total(base) == 2


def test_a_transaction_is_all_or_nothing(running: launch.Running, base: str) -> None:
    answer = send(
        base,
        "transaction",
        entry("POST", "Patient", {"resourceType": "Patient"}),
        entry("PUT", "Patient/a", {"resourceType": "Patient", "id": "a"}),
        entry("PUT", "Patient/b", {"resourceType": "Patient", "id": "b", "gender": "x"}),
    )
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[2]"]
    assert total(base) == 0
    assert requests.get(f"{running.switchboard}/journal", timeout=10).json()[0]["committed"] is False
    assert requests.put(f"{base}/Patient/a", json={"resourceType": "Patient", "id": "a"}, timeout=10).status_code == 201


def test_work_is_done_in_the_order_of_the_standard(base: str) -> None:
    requests.put(f"{base}/Patient/old", json={"resourceType": "Patient", "id": "old", "active": True}, timeout=10)
    body = send(
        base,
        "transaction",
        entry("GET", "Patient?active=true"),
        entry("PUT", "Patient/x", {"resourceType": "Patient", "id": "x", "active": True}),
        entry("POST", "Patient", {"resourceType": "Patient", "active": True}),
        entry("DELETE", "Patient/old"),
    ).json()
    assert [one["response"]["status"] for one in body["entry"]] == [
        "200 OK",
        "201 Created",
        "201 Created",
        "204 No Content",
    ]
    assert body["entry"][0]["resource"]["total"] == 2
    methods = [one["request"]["method"] for one in requests.get(f"{base}/_history", timeout=10).json()["entry"]]
    assert methods == ["PUT", "POST", "DELETE", "PUT"]


def test_one_identity_twice_is_refused(base: str) -> None:
    twice = entry("PUT", "Patient/a", {"resourceType": "Patient", "id": "a"})
    assert send(base, "transaction", twice, twice).status_code == 400
    assert total(base) == 0


def test_if_match_in_a_transaction(base: str) -> None:
    content = {"resourceType": "Patient", "id": "a"}
    requests.put(f"{base}/Patient/a", json=content, timeout=10)
    assert send(base, "transaction", entry("PUT", "Patient/a", content, ifMatch='W/"9"')).status_code == 412
    assert send(base, "transaction", entry("PUT", "Patient/a", content, ifMatch='W/"1"')).status_code == 200


def test_entries_of_a_batch_stand_alone(base: str) -> None:
    body = send(
        base,
        "batch",
        entry("POST", "Patient", {"resourceType": "Patient", "gender": "x"}),
        entry("POST", "Patient", {"resourceType": "Patient"}),
        entry("GET", "Patient/nobody"),
        {"resource": {"resourceType": "Patient"}},
    ).json()
    assert body["type"] == "batch-response"
    assert [one["response"]["status"] for one in body["entry"]] == ["422", "201 Created", "404", "400"]
    assert body["entry"][0]["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert total(base) == 1


def test_other_bundles_are_refused(base: str) -> None:
    assert send(base, "collection").status_code == 400
    assert requests.post(base, json={"resourceType": "Patient"}, timeout=10).status_code == 400
    assert requests.post(base, data=b"{", timeout=10).status_code == 400
