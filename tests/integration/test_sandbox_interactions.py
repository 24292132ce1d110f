"""The simulated systems' REST interactions, over HTTP against a real process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from connector_runner.sandbox import launch

MRN = "https://clinic.example/mrn"


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def base(running: launch.Running) -> str:
    requests.post(f"{running.switchboard}/reset", timeout=10)
    return running.base_url


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": "Ito", "given": ["Aya"]}], **more}


def create(base: str, resource: dict[str, Any], **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{base}/{resource['resourceType']}", json=resource, headers=named, timeout=10)


def issue_code(answer: requests.Response) -> str:
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    code: str = body["issue"][0]["code"]
    return code


def test_create_read_and_version(base: str) -> None:
    made = create(base, patient(id="ignored", meta={"tag": [{"code": "kept"}]}))
    assert made.status_code == 201
    assert made.headers["ETag"] == 'W/"1"'
    resource = made.json()
    assert resource["id"] != "ignored"
    assert resource["meta"]["versionId"] == "1"
    assert resource["meta"]["tag"] == [{"code": "kept"}]
    assert made.headers["Location"] == f"{base}/Patient/{resource['id']}/_history/1"
    read = requests.get(f"{base}/Patient/{resource['id']}", timeout=10)
    assert (read.status_code, read.json()) == (200, resource)
    assert read.headers["Last-Modified"].endswith("GMT")
    assert read.headers["Content-Type"].startswith("application/fhir+json")
    assert requests.get(made.headers["Location"], timeout=10).json() == resource
    assert requests.get(f"{base}/Patient/{resource['id']}/_history/9", timeout=10).status_code == 404


def test_decimals_keep_their_digits(base: str) -> None:
    body = b"""{"resourceType":"Observation","status":"final","code":{"text":"x"},
        "valueQuantity":{"value":1.50,"unit":"mg"}}"""
    made = requests.post(
        f"{base}/Observation", data=body, headers={"Content-Type": "application/fhir+json"}, timeout=10
    )
    assert b'"value":1.50,' in made.content


def test_put_creates_updates_and_brings_back(base: str) -> None:
    url = f"{base}/Patient/mine-1"
    assert requests.put(url, json=patient(id="mine-1"), timeout=10).status_code == 201
    updated = requests.put(url, json=patient(id="mine-1", gender="female"), timeout=10)
    assert (updated.status_code, updated.headers["ETag"]) == (200, 'W/"2"')
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.put(url, json=patient(id="mine-1"), timeout=10).status_code == 201
    history = requests.get(f"{url}/_history", timeout=10).json()
    assert [entry["request"]["method"] for entry in history["entry"]] == ["PUT", "DELETE", "PUT", "PUT"]
    assert "resource" not in history["entry"][1]
    assert history["total"] == 4


def test_unknown_is_404_and_deleted_is_410(base: str) -> None:
    unknown = requests.get(f"{base}/Patient/nobody", timeout=10)
    assert (unknown.status_code, issue_code(unknown)) == (404, "not-found")
    resource_id = create(base, patient()).json()["id"]
    url = f"{base}/Patient/{resource_id}"
    assert requests.delete(url, timeout=10).status_code == 204
    gone = requests.get(url, timeout=10)
    assert (gone.status_code, issue_code(gone)) == (410, "deleted")
    assert requests.get(f"{url}/_history/1", timeout=10).status_code == 200
    assert requests.get(f"{url}/_history/2", timeout=10).status_code == 410
    assert requests.delete(url, timeout=10).status_code == 204
    found = requests.get(f"{base}/Patient?_id={resource_id}", timeout=10).json()
    assert found["total"] == 0


def test_if_match_guards_update_patch_and_delete(base: str) -> None:
    resource_id = create(base, patient()).json()["id"]
    url = f"{base}/Patient/{resource_id}"
    update = patient(id=resource_id, active=True)
    assert requests.put(url, json=update, headers={"If-Match": 'W/"1"'}, timeout=10).status_code == 200
    stale = requests.put(url, json=update, headers={"If-Match": 'W/"1"'}, timeout=10)
    assert (stale.status_code, issue_code(stale)) == (412, "conflict")
    patch = {"Content-Type": "application/json-patch+json", "If-Match": 'W/"1"'}
    assert requests.patch(url, data=b"[]", headers=patch, timeout=10).status_code == 412
    assert requests.delete(url, headers={"If-Match": 'W/"1"'}, timeout=10).status_code == 412
    assert requests.delete(url, headers={"If-Match": 'W/"2"'}, timeout=10).status_code == 204
    absent = requests.put(f"{base}/Patient/new", json=patient(id="new"), headers={"If-Match": 'W/"1"'}, timeout=10)
    assert absent.status_code == 412


def test_of_many_writers_with_one_version_one_wins(base: str) -> None:
    resource_id = create(base, patient()).json()["id"]

    def write(number: int) -> int:
        body = patient(id=resource_id, multipleBirthInteger=number)
        headers = {"If-Match": 'W/"1"'}
        return requests.put(f"{base}/Patient/{resource_id}", json=body, headers=headers, timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(write, range(1, 9)))
    assert statuses == [200] + [412] * 7


def test_if_none_exist(base: str) -> None:
    identified = patient(identifier=[{"system": MRN, "value": "7"}])
    condition = f"identifier={MRN}|7"
    first = create(base, identified, If_None_Exist=condition)
    again = create(base, identified, If_None_Exist=condition)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["meta"]["versionId"] == "1"
    create(base, identified)
    assert create(base, identified, If_None_Exist=condition).status_code == 412


def test_conditional_update_and_delete(base: str) -> None:
    identified = patient(identifier=[{"system": MRN, "value": "8"}])
    url = f"{base}/Patient?identifier={MRN}|8"
    assert requests.put(url, json=identified, timeout=10).status_code == 201
    assert requests.put(url, json=identified, timeout=10).headers["ETag"] == 'W/"2"'
    assert requests.put(url, json={**identified, "id": "other"}, timeout=10).status_code == 400
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(f"{base}/Patient", timeout=10).json()["total"] == 0


def test_if_none_match_answers_304(base: str) -> None:
    made = create(base, patient())
    url = f"{base}/Patient/{made.json()['id']}"
    same = requests.get(url, headers={"If-None-Match": made.headers["ETag"]}, timeout=10)
    assert (same.status_code, same.content) == (304, b"")
    assert requests.get(url, headers={"If-None-Match": 'W/"9"'}, timeout=10).status_code == 200


def test_prefer_governs_the_body(base: str) -> None:
    minimal = create(base, patient(), Prefer="return=minimal")
    assert (minimal.status_code, minimal.content) == (201, b"")
    assert "Location" in minimal.headers
    told = create(base, patient(), Prefer="return=OperationOutcome")
    assert told.json()["resourceType"] == "OperationOutcome"


def test_json_patch(base: str) -> None:
    resource_id = create(base, patient(gender="male")).json()["id"]
    url, headers = f"{base}/Patient/{resource_id}", {"Content-Type": "application/json-patch+json"}
    operations = (
        '[{"op":"test","path":"/gender","value":"male"},{"op":"replace","path":"/gender","value":"female"},'
        '{"op":"add","path":"/name/0/given/-","value":"Rin"},{"op":"remove","path":"/name/0/family"}]'
    )
    changed = requests.patch(url, data=operations, headers=headers, timeout=10)
    assert changed.status_code == 200
    assert changed.json()["name"] == [{"given": ["Aya", "Rin"]}]
    assert changed.json()["meta"]["versionId"] == "2"
    refused = requests.patch(url, data=operations, headers=headers, timeout=10)
    assert refused.status_code == 422
    assert requests.get(url, timeout=10).json() == changed.json()
    assert requests.patch(url, json=[], timeout=10).status_code == 415


@pytest.mark.parametrize(
    ("resource", "where"),
    [
        ({"resourceType": "Patient", "gender": "woman"}, "Patient.gender"),
        ({"resourceType": "Patient", "birthDate": "1982-13-45"}, "Patient.birthDate"),
        ({"resourceType": "Patient", "name": {"family": "Ito"}}, "Patient.name"),
        ({"resourceType": "Patient", "phone": "1"}, "Patient.phone"),
        ({"resourceType": "Patient", "telecom": []}, "Patient.telecom"),
        ({"resourceType": "Observation", "status": "final"}, "Observation.code"),
    ],
)
def test_content_that_is_not_r4_is_refused(base: str, resource: dict[str, Any], where: str) -> None:
    refused = create(base, resource)
    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == [where]
    told = requests.post(f"{base}/{resource['resourceType']}/$validate", json=resource, timeout=10)
    assert told.status_code == 200
    assert told.json()["issue"][0]["severity"] == "error"
    assert requests.get(f"{base}/_history", timeout=10).json()["total"] == 0


def test_refusals_carry_an_outcome(base: str) -> None:
    headers = {"Content-Type": "application/fhir+json"}
    answers = {
        400: requests.post(f"{base}/Patient", data=b"{", headers=headers, timeout=10),
        404: requests.get(f"{base}/Patients", timeout=10),
        405: requests.patch(f"{base}/Patient", timeout=10),
        415: requests.post(f"{base}/Patient", data=b"<a/>", headers={"Content-Type": "application/xml"}, timeout=10),
    }
    assert {status: answer.status_code for status, answer in answers.items()} == {s: s for s in answers}
    assert all(issue_code(answer) for answer in answers.values())
    other_id = requests.put(f"{base}/Patient/a", json=patient(id="b"), timeout=10)
    assert (other_id.status_code, issue_code(other_id)) == (400, "value")
    assert create(base, {"resourceType": "Patient"}).status_code == 201
    mismatch = requests.post(f"{base}/Practitioner", json=patient(), timeout=10)
    assert mismatch.status_code == 400


def test_a_system_may_refuse_ids_of_clients(running: launch.Running, base: str) -> None:
    behaviour = requests.put(f"{running.switchboard}/behaviour", json={"client_ids": False}, timeout=10)
    assert behaviour.json()["client_ids"] is False
    assert requests.put(f"{base}/Patient/x", json=patient(id="x"), timeout=10).status_code == 405


def test_metadata(base: str) -> None:
    statement = requests.get(f"{base}/metadata", timeout=10).json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    types = {resource["type"] for resource in statement["rest"][0]["resource"]}
    assert {"Patient", "Appointment", "Coverage"} <= types


def test_versions_are_dated_strictly_one_after_another(base: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create(base, patient()).json(), range(80)))
    moments = [resource["meta"]["lastUpdated"] for resource in made]
    assert len(set(moments)) == 80
    history = requests.get(f"{base}/_history?_count=100", timeout=10).json()
    newest_first = [entry["resource"]["meta"]["lastUpdated"] for entry in history["entry"]]
    assert newest_first == sorted(moments, reverse=True)
