"""The simulated CRM: an API that is not FHIR, with its own ids, external ids, merges and allowance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connector_runner.sandbox import launch

ADA = {"lastName": "Okafor", "firstName": "Ada", "externalId": "e1", "email": "ada@example.org"}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("crm") as system:
        yield system


@pytest.fixture
def api(running: launch.Running) -> str:
    requests.post(f"{running.switchboard}/reset", json={}, timeout=10).raise_for_status()
    return running.base_url


def ask(method: str, url: str, body: Any = None, **headers: str) -> requests.Response:
    return requests.request(method, url, json=body, headers=headers, timeout=10)


def code_of(answer: requests.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_contact_is_made_read_changed_merged_and_deleted(api: str) -> None:
    made = ask("POST", f"{api}/contacts", ADA)
    assert made.status_code == 201
    contact = made.json()
    assert contact.items() >= {"id": "1", "version": 1, **ADA}.items()
    assert "resourceType" not in contact
    assert "meta" not in contact
    url = f"{api}/contacts/{contact['id']}"
    assert ask("GET", url).json() == contact
    address = {"city": "Boston", "state": "MA"}
    merged = ask("PATCH", url, {"email": None, "address": address}).json()
    assert merged["address"] == address
    assert "email" not in merged
    assert ask("PATCH", url, {"address": {"state": None}}).json()["address"] == {"city": "Boston"}
    replaced = ask("PUT", url, {"lastName": "Obi"}).json()
    assert replaced.items() >= {"lastName": "Obi", "externalId": "e1", "version": 4}.items()
    assert "address" not in replaced
    assert "firstName" not in replaced
    assert ask("DELETE", url).status_code == 204
    assert ask("GET", url).status_code == 410
    assert ask("GET", f"{api}/contacts/99").status_code == 404


def test_by_external_id_a_put_makes_or_replaces(api: str) -> None:
    url = f"{api}/contacts/by-external-id/e7"
    assert ask("GET", url).status_code == 404
    first, second = ask("PUT", url, {"lastName": "A"}), ask("PUT", url, {"lastName": "B"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert ask("GET", url).json()["lastName"] == "B"
    assert ask("PATCH", url, {"firstName": "C"}).json().items() >= {"lastName": "B", "firstName": "C"}.items()
    assert code_of(ask("PUT", url, {"lastName": "B", "externalId": "other"})) == "BAD_REQUEST"
    taken = ask("POST", f"{api}/contacts", {"lastName": "D", "externalId": "e7"})
    assert (taken.status_code, code_of(taken)) == (409, "EXISTS")


def test_an_idempotency_key_makes_one_record(api: str) -> None:
    def post(key: str) -> requests.Response:
        return requests.post(f"{api}/contacts", json={"lastName": "A"}, headers={"Idempotency-Key": key}, timeout=10)

    first, again, other = post("k1"), post("k1"), post("k2")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert "_key" not in first.json()


def test_versions_are_heeded_where_there_are_any(running: launch.Running, api: str) -> None:
    made = ask("POST", f"{api}/contacts", ADA)
    assert made.headers["ETag"] == '"v1"'
    url = f"{api}/contacts/1"
    assert ask("PUT", url, {"lastName": "B"}, **{"If-Match": '"v1"'}).status_code == 200
    assert ask("PUT", url, {"lastName": "C"}, **{"If-Match": '"v1"'}).status_code == 412
    assert ask("GET", url).json()["lastName"] == "B"
    requests.put(f"{running.switchboard}/behaviour", json={"etags": False}, timeout=10).raise_for_status()
    assert "ETag" not in ask("GET", url).headers
    assert ask("PUT", url, {"lastName": "C"}, **{"If-Match": '"v1"'}).status_code == 200


def test_lists_are_searched_and_paged(api: str) -> None:
    for number in range(5):
        ask("POST", f"{api}/contacts", {"lastName": f"N{number % 2}", "externalId": f"x{number}"})
    assert [c["id"] for c in ask("GET", f"{api}/contacts?lastName=n0").json()["results"]] == ["1", "3", "5"]
    assert [c["id"] for c in ask("GET", f"{api}/contacts?externalId=x3").json()["results"]] == ["4"]
    page = ask("GET", f"{api}/contacts?limit=2").json()
    rest = ask("GET", f"{api}/contacts?limit=9&after={page['paging']['next']['after']}").json()
    assert [c["id"] for c in page["results"] + rest["results"]] == ["1", "2", "3", "4", "5"]
    assert "paging" not in rest


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"firstName": "Ada"}, 422, "REQUIRED"),
        ({"lastName": 3}, 422, "VALIDATION"),
        ({"lastName": "A", "birthDate": "1/2/1990"}, 422, "VALIDATION"),
        ({"lastName": "A", "shoeSize": "9"}, 400, "UNKNOWN_FIELD"),
        ({"lastName": "A", "address": {"moon": "x"}}, 422, "VALIDATION"),
        ([], 400, "SYNTAX"),
    ],
)
def test_what_is_refused(api: str, body: Any, status: int, code: str) -> None:
    answer = ask("POST", f"{api}/contacts", body)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert ask("GET", f"{api}/contacts").json() == {"results": []}


def test_an_activity_is_of_a_contact(api: str) -> None:
    contact = ask("POST", f"{api}/contacts", ADA).json()
    activity = {"kind": "appointment", "contactId": contact["id"], "startsAt": "2026-12-01T09:00:00Z"}
    assert ask("POST", f"{api}/activities", activity).status_code == 201
    refused = ask("POST", f"{api}/activities", {**activity, "contactId": "99"})
    assert (refused.status_code, code_of(refused)) == (422, "NO_SUCH_CONTACT")


def test_the_allowance_is_in_the_headers_and_kept(running: launch.Running, api: str) -> None:
    assert "X-RateLimit-Limit" not in ask("GET", f"{api}/contacts").headers
    limits = {"rate": 1, "burst": 2}
    requests.put(f"{running.switchboard}/limits", json=limits, timeout=10).raise_for_status()
    first, _, third = (ask("GET", f"{api}/contacts") for _ in range(3))
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("2", "1")
    assert (third.status_code, code_of(third), third.headers["X-RateLimit-Remaining"]) == (429, "RATE_LIMIT", "0")
    assert int(third.headers["Retry-After"]) >= 1
    assert int(third.headers["X-RateLimit-Reset"]) >= 1


def test_the_journal_and_the_faults_are_those_of_every_system(running: launch.Running, api: str) -> None:
    faults = [{"on": "PUT contacts/by-external-id", "kind": "drop_answer", "next": 1}]
    requests.put(f"{running.switchboard}/faults", json=faults, timeout=10).raise_for_status()
    with pytest.raises(requests.ConnectionError):
        ask("PUT", f"{api}/contacts/by-external-id/e1", {"lastName": "A"})
    assert ask("PUT", f"{api}/contacts/by-external-id/e1", {"lastName": "A"}).status_code == 200
    journal = requests.get(f"{running.switchboard}/journal", timeout=10).json()
    assert [(e["status"], e["committed"], e["fault"], e["resource"]) for e in journal] == [
        (None, True, "drop_answer", "Contact/1"),
        (200, True, None, "Contact/1"),
    ]
    status = [{"on": "POST contacts", "kind": "status", "status": 503, "retry_after": 4, "next": 1}]
    requests.put(f"{running.switchboard}/faults", json=status, timeout=10).raise_for_status()
    refused = ask("POST", f"{api}/contacts", ADA)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "4")
    assert "error" in refused.json()


def test_a_killed_crm_comes_back_with_its_records(tmp_path: Path) -> None:
    with launch.start("crm", state=tmp_path) as first:
        ask("PUT", f"{first.base_url}/contacts/by-external-id/e1", {"lastName": "A"}).raise_for_status()
        first.kill()
    with launch.start("crm", state=tmp_path) as second:
        again = ask("PUT", f"{second.base_url}/contacts/by-external-id/e1", {"lastName": "B"})
        assert (again.status_code, again.json()["id"]) == (200, "1")
        assert ask("POST", f"{second.base_url}/contacts", {"lastName": "C"}).json()["id"] == "2"
