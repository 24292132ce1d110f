"""The FHIR source against a simulated EHR with a seeded population, while that keeps changing."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.settings import parse
from connector_runner.infra.http import HTTP
from connector_runner.sandbox import launch
from connector_runner.settings import Settings


@pytest.fixture(scope="module")
def ehr() -> Iterator[launch.Running]:
    with launch.start("ehr", patients=20) as system:
        yield system


@pytest.fixture
def source(ehr: launch.Running) -> FHIRSource:
    typed = parse(FHIRSettings, {"base_url": ehr.base_url, "page_size": 25})
    return FHIRSource(FHIRClient(Opening(HTTP(Settings(http_allow=("127.0.0.1",))), str), typed))


def switchboard(ehr: launch.Running, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    request = urllib.request.Request(f"{ehr.switchboard}/{path}", data, method=method)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
        return json.loads(answer.read())


TYPES = ["Patient", "Observation", "Appointment", "Encounter", "Practitioner", "Coverage", "MedicationRequest"]


@pytest.mark.parametrize("resource_type", TYPES)
def test_every_record_of_every_type_is_read(ehr: launch.Running, source: FHIRSource, resource_type: str) -> None:
    pages = list(source.pages(resource_type, {}, full=True))
    records = [record for page in pages for record in page.records]
    assert {record.resource_type for record in records} == {resource_type}
    assert len({record.record_id for record in records}) == len(records)
    assert not [bad for page in pages for bad in page.bad]
    assert all(record.version and record.last_updated for record in records)
    assert len(records) > 5


def test_what_changes_while_it_is_read_is_found(ehr: launch.Running, source: FHIRSource) -> None:
    """Changes and deletes between pages: after one more window our copy is the server's."""
    copy: dict[str, tuple[str, str | None]] = {}
    cursor: dict[str, Any] = {}

    def window(*, changes: int) -> None:
        nonlocal cursor
        for page in source.pages("Observation", cursor, full=False):
            copy.update({record.record_id: (record.raw.decode(), record.version) for record in page.records})
            cursor = page.cursor
            if changes:
                switchboard(ehr, "change", {"n": changes})
        for page in source.deletions("Observation", cursor):
            for record in page.records:
                copy.pop(record.record_id, None)
            cursor = page.cursor

    for changes in (15, 15, 0):
        window(changes=changes)
    truth = {
        record.record_id: (record.raw.decode(), record.version)
        for page in source.pages("Observation", {}, full=True)
        for record in page.records
    }
    assert copy == truth
