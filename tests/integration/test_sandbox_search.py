"""Search, history and paging of the simulated systems, over HTTP against a real process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connector_runner.sandbox import launch

STRICT = {"Prefer": "handling=strict"}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def base(running: launch.Running) -> str:
    requests.post(f"{running.switchboard}/reset", timeout=10)
    return running.base_url


def put(base: str, resource_type: str, resource_id: str, **content: Any) -> dict[str, Any]:
    body = {"resourceType": resource_type, "id": resource_id, **content}
    answer = requests.put(f"{base}/{resource_type}/{resource_id}", json=body, timeout=10)
    answer.raise_for_status()
    written: dict[str, Any] = answer.json()
    return written


def ids(base: str, resource_type: str, **query: str | list[str]) -> list[str]:
    answer = requests.get(f"{base}/{resource_type}", params=query, headers=STRICT, timeout=10)
    answer.raise_for_status()
    return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]


def pages(url: str, between: Any = None) -> Iterator[dict[str, Any]]:
    following: str | None = url
    while following:
        answer = requests.get(following, timeout=10)
        answer.raise_for_status()
        page = answer.json()
        yield page
        following = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
        if between:
            between()


@pytest.fixture
def people(base: str) -> str:
    put(
        base,
        "Patient",
        "ana",
        identifier=[{"system": "urn:mrn", "value": "1"}],
        name=[{"family": "Núñez", "given": ["Ana", "Lucía"]}],
        birthDate="1980-05-17",
        gender="female",
        active=True,
        telecom=[{"system": "phone", "value": "617-555-0101"}, {"system": "email", "value": "Ana@Example.com"}],
        address=[{"city": "Boston", "state": "MA"}],
    )
    put(
        base,
        "Patient",
        "bo",
        identifier=[{"system": "urn:other", "value": "1"}, {"value": "b,2"}],
        name=[{"family": "Nunn", "given": ["Bo"]}],
        birthDate="1980-06-01",
        gender="male",
    )
    return base


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"_id": "ana,nobody"}, ["ana"]),
        ({"identifier": "1"}, ["ana", "bo"]),
        ({"identifier": "urn:mrn|1"}, ["ana"]),
        ({"identifier": "urn:mrn|"}, ["ana"]),
        ({"identifier": "|b\\,2"}, ["bo"]),
        ({"identifier": "urn:mrn|1,|b\\,2"}, ["ana", "bo"]),
        ({"identifier": ["urn:mrn|1", "urn:other|1"]}, []),
        ({"name": "luc"}, ["ana"]),
        ({"family": "nu"}, ["bo"]),
        ({"family": "nú,nunn"}, ["ana", "bo"]),
        ({"given:exact": "Bo"}, ["bo"]),
        ({"name:contains": "UNN"}, ["bo"]),
        ({"birthdate": "1980-05"}, ["ana"]),
        ({"birthdate": "1980"}, ["ana", "bo"]),
        ({"birthdate": "ge1980-05-18"}, ["bo"]),
        ({"birthdate": ["ge1980-01-01", "lt1980-06-01"]}, ["ana"]),
        ({"birthdate": "ne1980-05-17"}, ["bo"]),
        ({"phone": "617-555-0101"}, ["ana"]),
        ({"email": "ana@example.COM"}, ["ana"]),
        ({"gender": "male"}, ["bo"]),
        ({"gender:not": "male"}, ["ana"]),
        ({"active": "true"}, ["ana"]),
        ({"active:missing": "true"}, ["bo"]),
        ({"address-city": "boston"}, ["ana"]),
    ],
)
def test_patients_are_found_by(people: str, query: dict[str, str], expected: list[str]) -> None:
    assert ids(people, "Patient", **query) == expected


def test_clinical_records_are_found_by_patient_status_and_date(people: str) -> None:
    for number, (who, status, day) in enumerate(
        [("ana", "booked", "03"), ("bo", "booked", "04"), ("ana", "noshow", "05")]
    ):
        put(
            people,
            "Appointment",
            f"a{number}",
            status=status,
            start=f"2026-03-{day}T10:00:00Z",
            end=f"2026-03-{day}T10:30:00Z",
            participant=[{"actor": {"reference": f"Patient/{who}"}, "status": "accepted"}],
        )
    put(people, "Observation", "o", status="final", code={"text": "x"}, subject={"reference": "Patient/ana"})
    put(people, "Coverage", "c", status="active", beneficiary={"reference": "Patient/ana"}, payor=[{"display": "x"}])
    assert ids(people, "Appointment", patient="ana") == ["a0", "a2"]
    assert ids(people, "Appointment", patient="Patient/ana", status="booked") == ["a0"]
    assert ids(people, "Appointment", date=["ge2026-03-04", "lt2026-03-05"]) == ["a1"]
    assert ids(people, "Appointment", date="2026-03", _sort="-date") == ["a2", "a1", "a0"]
    assert ids(people, "Observation", subject="Patient/ana") == ["o"]
    assert ids(people, "Coverage", patient="ana") == ["c"]
    put(people, "Observation", "o", status="final", code={"text": "x"}, subject={"reference": "Patient/bo"})
    assert ids(people, "Observation", patient="ana") == []


def test_last_updated_windows_and_order(base: str) -> None:
    moments = [put(base, "Patient", f"p{number}")["meta"]["lastUpdated"] for number in range(5)]
    assert ids(base, "Patient", _lastUpdated=f"ge{moments[2]}") == ["p2", "p3", "p4"]
    assert ids(base, "Patient", _lastUpdated=f"gt{moments[2]}") == ["p3", "p4"]
    assert ids(base, "Patient", _lastUpdated=[f"ge{moments[1]}", f"lt{moments[3]}"]) == ["p1", "p2"]
    assert ids(base, "Patient", _lastUpdated=f"le{moments[1]}") == ["p0", "p1"]
    assert ids(base, "Patient", _lastUpdated=f"eq{moments[1]}") == ["p1"]
    assert "p1" not in ids(base, "Patient", _lastUpdated=f"ne{moments[1]}")
    put(base, "Patient", "p0")
    assert ids(base, "Patient", _sort="_lastUpdated") == ["p1", "p2", "p3", "p4", "p0"]
    assert ids(base, "Patient", _sort="-_lastUpdated")[0] == "p0"
    assert ids(base, "Patient", _sort="-_id") == ["p4", "p3", "p2", "p1", "p0"]


def test_many_rows_may_share_a_moment_when_the_clock_is_coarse(running: launch.Running, base: str) -> None:
    requests.put(f"{running.switchboard}/behaviour", json={"clock_resolution_ms": 3_600_000}, timeout=10)
    moments = {put(base, "Patient", f"p{number}")["meta"]["lastUpdated"] for number in range(6)}
    assert len(moments) <= 2
    assert ids(base, "Patient", _lastUpdated=f"ge{min(moments)}", _sort="_lastUpdated") == [f"p{n}" for n in range(6)]


def test_search_by_post(people: str) -> None:
    answer = requests.post(f"{people}/Patient/_search", data={"family": "Nunn"}, timeout=10)
    assert [entry["resource"]["id"] for entry in answer.json()["entry"]] == ["bo"]


def test_unknown_parameters_are_ignored_and_said_or_refused_when_strict(people: str) -> None:
    lenient = requests.get(f"{people}/Patient?shoe=9&family=Nunn", timeout=10).json()
    assert lenient["total"] == 1
    assert "shoe" not in lenient["link"][0]["url"]
    assert [entry["search"]["mode"] for entry in lenient["entry"]] == ["match", "outcome"]
    assert requests.get(f"{people}/Patient?shoe=9", headers=STRICT, timeout=10).status_code == 400


@pytest.mark.parametrize(
    "query", ["birthdate=1980-13", "_lastUpdated=ge2026-01-01T00:00:00+00:00", "_count=x", "_sort=shoe"]
)
def test_bad_values_are_refused(people: str, query: str) -> None:
    answer = requests.get(f"{people}/Patient?{query}", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_count_only(people: str) -> None:
    answer = requests.get(f"{people}/Patient?_count=0", timeout=10).json()
    assert (answer["total"], "entry" in answer) == (2, False)


def test_pages_stay_as_they_were_whatever_is_written_meanwhile(base: str) -> None:
    for number in range(25):
        put(base, "Patient", f"p{number:02d}", gender="other")
    writes = iter(range(25))

    def disturb() -> None:
        number = next(writes)
        put(base, "Patient", f"new{number}", gender="other")
        put(base, "Patient", f"p{number:02d}", gender="unknown")
        put(base, "Patient", f"p{24 - number:02d}", gender="other", active=True)
        requests.delete(f"{base}/Patient/p{10 + number}", timeout=10)

    url = f"{base}/Patient?_count=4&gender=other&_sort=_lastUpdated"
    found = [entry["resource"]["id"] for page in pages(url, disturb) for entry in page["entry"]]
    assert found == [f"p{number:02d}" for number in range(25)]


def test_offset_paging_may_lose_rows(running: launch.Running, base: str) -> None:
    for number in range(8):
        put(base, "Patient", f"p{number}")
    requests.put(f"{running.switchboard}/behaviour", json={"paging": "offset"}, timeout=10)
    walk = pages(f"{base}/Patient?_count=4&_sort=_lastUpdated")
    next(walk)
    requests.delete(f"{base}/Patient/p0", timeout=10)
    assert [entry["resource"]["id"] for entry in next(walk)["entry"]] == ["p5", "p6", "p7"]


def test_pages_after_a_reset_are_gone_and_foreign_ones_are_refused(running: launch.Running, base: str) -> None:
    for number in range(3):
        put(base, "Patient", f"p{number}")
    page = requests.get(f"{base}/Patient?_count=1", timeout=10).json()
    following = page["link"][1]["url"]
    assert requests.get(following, timeout=10).status_code == 200
    requests.post(f"{running.switchboard}/reset", timeout=10)
    assert requests.get(following, timeout=10).status_code == 410
    assert requests.get(f"{base}/Patient?_cursor=nonsense", timeout=10).status_code == 400


def test_pages_outlive_a_crash(tmp_path: Path) -> None:
    with launch.start("store", state=tmp_path) as first:
        for number in range(6):
            put(first.base_url, "Patient", f"p{number}")
        page = requests.get(f"{first.base_url}/Patient?_count=3&_sort=_id", timeout=10).json()
        first.kill()
        with launch.start("store", first.port, state=tmp_path):
            rest = [entry["resource"]["id"] for p in pages(page["link"][1]["url"]) for entry in p["entry"]]
    assert rest == ["p3", "p4", "p5"]


def test_history_of_type_and_system_by_pages_and_since(base: str) -> None:
    put(base, "Patient", "p")
    put(base, "Organization", "o", name="x")
    since = put(base, "Patient", "p", active=True)["meta"]["lastUpdated"]
    requests.delete(f"{base}/Patient/p", timeout=10)
    everything = [entry for page in pages(f"{base}/_history?_count=1") for entry in page["entry"]]
    assert [(e["request"]["method"], e["request"]["url"]) for e in everything] == [
        ("DELETE", "Patient/p"),
        ("PUT", "Patient/p"),
        ("PUT", "Organization/o"),
        ("PUT", "Patient/p"),
    ]
    assert [entry["response"]["status"] for entry in everything] == ["204", "200", "201", "201"]
    assert requests.get(f"{base}/Patient/_history", timeout=10).json()["total"] == 3
    recent = requests.get(f"{base}/_history", params={"_since": since}, timeout=10).json()
    assert [entry["request"]["method"] for entry in recent["entry"]] == ["DELETE", "PUT"]
