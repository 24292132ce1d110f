"""Faults, limits, journal, changes and crashes of the simulated systems, against a real process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connector_runner.sandbox import launch

PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}]}
FIND = "identifier=urn:mrn|1"


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("ehr", patients=12) as system:
        yield system


@pytest.fixture
def board(running: launch.Running) -> str:
    requests.post(f"{running.switchboard}/reset", json={"empty": True}, timeout=10)
    return running.switchboard


def order(board: str, *faults: dict[str, Any]) -> None:
    requests.put(f"{board}/faults", json=list(faults), timeout=10).raise_for_status()


def journal(board: str, since: int = 0) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = requests.get(f"{board}/journal?since={since}", timeout=10).json()
    return entries


def post(base: str, timeout_s: float = 10) -> requests.Response:
    return requests.post(f"{base}/Patient", json=PATIENT, timeout=timeout_s)


def matches(base: str) -> int:
    total: int = requests.get(f"{base}/Patient?{FIND}", timeout=10).json()["total"]
    return total


def eventually(true: Callable[[], bool], within_s: float = 5) -> bool:
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_journal_tells_what_arrived_and_what_came_of_it(running: launch.Running, board: str) -> None:
    before = time.time()
    resource = post(running.base_url).json()
    requests.get(f"{running.base_url}/Patient?_count=3", timeout=10)
    requests.get(f"{running.base_url}/Patient/nobody", timeout=10)
    first, second, third = journal(board)
    assert before <= first["time"] <= second["time"] <= time.time()
    reference = f"Patient/{resource['id']}"
    assert (
        first.items()
        >= {
            "method": "POST",
            "path": "/fhir/Patient",
            "resource": reference,
            "status": 201,
            "committed": True,
            "fault": None,
            "resources": [reference],
        }.items()
    )
    assert (second["path"], second["resource"], second["committed"]) == ("/fhir/Patient?_count=3", "Patient", False)
    assert (third["resource"], third["status"]) == ("Patient/nobody", 404)
    assert [entry["seq"] for entry in journal(board, since=second["seq"])] == [third["seq"]]


def test_drop_answer_commits_and_says_nothing(running: launch.Running, board: str) -> None:
    order(board, {"on": "POST Patient", "kind": "drop_answer", "next": 1})
    with pytest.raises(requests.ConnectionError):
        post(running.base_url)
    (entry,) = journal(board)
    assert (entry["status"], entry["committed"], entry["fault"]) == (None, True, "drop_answer")
    assert matches(running.base_url) == 1
    assert post(running.base_url).status_code == 201


def test_reset_commits_nothing(running: launch.Running, board: str) -> None:
    order(board, {"on": "* *", "kind": "reset", "next": 1})
    with pytest.raises(requests.ConnectionError):
        post(running.base_url)
    assert journal(board)[0]["committed"] is False
    assert matches(running.base_url) == 0


def test_status_with_retry_after_for_the_next_n(running: launch.Running, board: str) -> None:
    order(board, {"on": "POST Patient", "kind": "status", "status": 503, "retry_after": 2, "next": 2})
    first, second, third = (post(running.base_url) for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"]) == (503, "2")
    assert first.json()["issue"][0]["code"] == "transient"
    assert (second.status_code, third.status_code) == (503, 201)
    assert requests.get(f"{board}/faults", timeout=10).json()[0].items() >= {"next": 0, "hits": 2}.items()
    assert [entry["committed"] for entry in journal(board)] == [False, False, True]


def test_a_share_of_requests_fails(running: launch.Running, board: str) -> None:
    order(board, {"on": "POST Patient", "kind": "status", "status": 500, "rate": 0.5})
    statuses = [post(running.base_url).status_code for _ in range(60)]
    assert 10 < statuses.count(500) < 50


def test_faults_hit_only_what_they_name(running: launch.Running, board: str) -> None:
    base = running.base_url
    requests.put(f"{base}/Patient/a", json={**PATIENT, "id": "a"}, timeout=10)
    order(board, {"on": "POST Patient", "kind": "status"})
    assert requests.post(f"{base}/Patient/_search", data={}, timeout=10).status_code == 200
    assert requests.get(f"{base}/Patient", timeout=10).status_code == 200
    assert requests.post(f"{base}/Organization", json={"resourceType": "Organization", "name": "x"}, timeout=10).ok
    order(board, {"on": "GET Patient", "kind": "status"})
    assert requests.get(f"{base}/Patient/a", timeout=10).status_code == 503
    assert requests.get(f"{base}/Patient?_id=a", timeout=10).status_code == 503
    assert requests.post(f"{base}/Patient/_search", data={}, timeout=10).status_code == 503
    assert requests.get(f"{base}/PatientX", timeout=10).status_code == 404
    order(board, {"on": "POST /", "kind": "status"})
    assert post(base).status_code == 201
    assert requests.post(base, json={}, timeout=10).status_code == 503
    order(board, {"on": "* Org*", "kind": "status"})
    assert requests.get(f"{base}/Organization/x", timeout=10).status_code == 503
    assert requests.get(f"{base}/Patient/a", timeout=10).status_code == 200


def test_slow_works_even_if_the_client_gave_up(running: launch.Running, board: str) -> None:
    order(board, {"on": "POST Patient", "kind": "slow", "seconds": 0.5})
    started = time.monotonic()
    assert post(running.base_url).status_code == 201
    assert time.monotonic() - started >= 0.5
    with pytest.raises(requests.Timeout):
        post(running.base_url, timeout_s=0.1)
    assert matches(running.base_url) == 1
    assert eventually(lambda: matches(running.base_url) == 2)


def test_what_is_under_way_at_a_reset_does_not_land_after_it(running: launch.Running, board: str) -> None:
    order(
        board,
        {"on": "POST Patient", "kind": "slow", "seconds": 0.4, "next": 1},
        {"on": "POST Patient", "kind": "late", "seconds": 0.4, "next": 1},
    )
    with pytest.raises(requests.Timeout):
        post(running.base_url, timeout_s=0.1)
    with pytest.raises(requests.ConnectionError):
        post(running.base_url)
    requests.post(f"{board}/reset", json={"empty": True}, timeout=10)
    time.sleep(0.6)
    assert matches(running.base_url) == 0


def test_hang_never_answers(running: launch.Running, board: str) -> None:
    order(board, {"on": "POST Patient", "kind": "hang", "next": 1})
    with pytest.raises(requests.Timeout):
        post(running.base_url, timeout_s=0.3)
    assert matches(running.base_url) == 0
    assert journal(board)[0].items() >= {"status": None, "committed": False, "fault": "hang"}.items()


def test_late_lands_after_the_answer_was_lost(running: launch.Running, board: str) -> None:
    order(board, {"on": "POST Patient", "kind": "late", "seconds": 0.6, "next": 1})
    with pytest.raises(requests.ConnectionError):
        post(running.base_url)
    assert matches(running.base_url) == 0
    assert journal(board)[0]["committed"] is False
    assert eventually(lambda: matches(running.base_url) == 1)
    assert journal(board)[0]["committed"] is True


def test_stale_reads_show_the_version_before(running: launch.Running, board: str) -> None:
    url = f"{running.base_url}/Patient/a"
    requests.put(url, json={**PATIENT, "id": "a"}, timeout=10)
    order(board, {"on": "GET Patient", "kind": "stale"})
    assert requests.get(url, timeout=10).status_code == 404
    assert matches(running.base_url) == 0
    requests.put(url, json={**PATIENT, "id": "a", "active": True}, timeout=10)
    assert requests.get(url, timeout=10).headers["ETag"] == 'W/"1"'
    order(board)
    assert requests.get(url, timeout=10).headers["ETag"] == 'W/"2"'


def test_pages_of_a_proxy_and_empty_answers(running: launch.Running, board: str) -> None:
    order(
        board,
        {"on": "POST Patient", "kind": "html", "next": 1},
        {"on": "POST Patient", "kind": "empty", "next": 1, "commit": True},
    )
    page = post(running.base_url)
    assert (page.status_code, page.headers["Content-Type"].partition(";")[0]) == (502, "text/html")
    empty = post(running.base_url)
    assert (empty.status_code, empty.content) == (200, b"")
    assert [entry["committed"] for entry in journal(board)] == [False, True]
    assert matches(running.base_url) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "POST Patient", "kind": "explode"},
        {"on": "SHOUT Patient", "kind": "reset"},
        {"kind": "reset"},
        {"on": "* *", "kind": "slow", "seconds": "long"},
        {"on": "* *", "kind": "reset", "nexxt": 1},
    ],
)
def test_orders_that_mean_nothing_are_refused(board: str, fault: dict[str, Any]) -> None:
    answer = requests.put(f"{board}/faults", json=[fault], timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert requests.get(f"{board}/faults", timeout=10).json() == []


def test_overshoot_is_answered_429(running: launch.Running, board: str) -> None:
    requests.put(f"{board}/limits", json={"rate": 1, "burst": 3}, timeout=10)
    answers = [post(running.base_url) for _ in range(6)]
    assert [answer.status_code for answer in answers[:3]] == [201] * 3
    assert answers[-1].status_code == 429
    assert answers[-1].headers["Retry-After"] == "1"
    assert journal(board)[-1]["fault"] == "limit"
    time.sleep(1.1)
    assert post(running.base_url).status_code == 201


def test_changes_on_demand_are_what_they_say(running: launch.Running, board: str) -> None:
    seeded = requests.post(f"{board}/reset", timeout=10).json()
    assert seeded["Patient"] == 12
    changes = requests.post(f"{board}/change", json={"n": 60}, timeout=10).json()
    assert len(changes) == 60
    assert {change["change"] for change in changes} >= {"phone", "address", "appointment_status", "new_observation"}
    history = requests.get(f"{running.base_url}/_history?_count=60", timeout=10).json()["entry"]
    assert [entry["request"]["method"] for entry in reversed(history)] == [change["method"] for change in changes]
    for change in changes:
        last = changes[-1 - next(i for i, c in enumerate(reversed(changes)) if c["resource"] == change["resource"])]
        answer = requests.get(f"{running.base_url}/{change['resource']}", timeout=10)
        assert answer.status_code == (410 if last["method"] == "DELETE" else 200)
    assert requests.post(f"{board}/reset", timeout=10).json() == seeded


def test_life_goes_on_by_itself_until_stopped(running: launch.Running, board: str) -> None:
    requests.post(f"{board}/reset", timeout=10)

    def writes() -> int:
        total: int = requests.get(f"{running.base_url}/_history?_count=0", timeout=10).json()["total"]
        return total

    before = writes()
    requests.post(f"{board}/life", json={"every": 0.02}, timeout=10)
    assert eventually(lambda: writes() >= before + 5)
    requests.post(f"{board}/life", json={"every": 0}, timeout=10)
    stopped = writes()
    time.sleep(0.2)
    assert writes() == stopped


def test_an_empty_system_has_no_life(running: launch.Running, board: str) -> None:
    assert requests.post(f"{board}/change", json={"n": 3}, timeout=10).json() == []
    assert requests.get(f"{board}/resources", timeout=10).json() == {}


def test_life_leaves_alone_what_it_does_not_understand(running: launch.Running, board: str) -> None:
    requests.put(f"{board}/behaviour", json={"strict": False}, timeout=10)
    odd = {"resourceType": "Patient", "id": "odd", "telecom": "none", "address": 7, "name": [None]}
    assert requests.put(f"{running.base_url}/Patient/odd", json=odd, timeout=10).status_code == 201
    odd = {"resourceType": "Appointment", "id": "odd", "status": 7, "participant": "me"}
    assert requests.put(f"{running.base_url}/Appointment/odd", json=odd, timeout=10).status_code == 201
    answer = requests.post(f"{board}/change", json={"n": 40}, timeout=20)
    assert answer.status_code == 200


def test_what_was_answered_outlives_a_crash(tmp_path: Path) -> None:
    with launch.start("ehr", patients=3, state=tmp_path) as first:
        seeded = requests.get(f"{first.switchboard}/resources", timeout=10).json()
        made = post(first.base_url).json()
        order(first.switchboard, {"on": "POST Patient", "kind": "drop_answer"})
        with pytest.raises(requests.ConnectionError):
            post(first.base_url)
        requests.delete(f"{first.base_url}/Patient/{made['id']}", timeout=10)
        entries = journal(first.switchboard)
        first.kill()
    with open(tmp_path / "commits.ndjson", "ab") as torn:
        torn.write(b'{"commit":[["Patient","torn')
    with launch.start("ehr", patients=3, state=tmp_path) as second:
        assert journal(second.switchboard) == entries
        assert requests.get(f"{second.base_url}/Patient/{made['id']}", timeout=10).status_code == 410
        assert requests.get(f"{second.base_url}/Patient/{made['id']}/_history/1", timeout=10).json() == made
        now = requests.get(f"{second.switchboard}/resources", timeout=10).json()
        assert now == {**seeded, "Patient": seeded["Patient"] + 1}
        later = post(second.base_url).json()
        assert later["meta"]["lastUpdated"] > made["meta"]["lastUpdated"]
        assert journal(second.switchboard)[-1]["seq"] > entries[-1]["seq"]
        second.kill()
    with launch.start("ehr", patients=3, state=tmp_path) as third:
        assert requests.get(f"{third.base_url}/Patient/{later['id']}", timeout=10).json() == later


def test_a_system_that_cannot_start_says_so(running: launch.Running) -> None:
    with pytest.raises(launch.NotStarted):
        launch.start("store", running.port, timeout_s=20)


def test_a_system_that_asks_for_a_token_takes_no_other(running: launch.Running, board: str) -> None:
    requests.put(f"{board}/behaviour", json={"token": "second"}, timeout=10).raise_for_status()
    for given in ({}, {"Authorization": "Bearer first"}):
        answer = requests.post(f"{running.base_url}/Patient", json=PATIENT, headers=given, timeout=10)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (401, "expired")
    named = {"Authorization": "Bearer second"}
    assert requests.get(f"{running.base_url}/Patient?{FIND}", headers=named, timeout=10).json()["total"] == 0
    assert requests.post(f"{running.base_url}/Patient", json=PATIENT, headers=named, timeout=10).status_code == 201
