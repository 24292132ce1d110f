"""Deletes that a feed tells of among its records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.connectors.base import Page, SourceRecord
from connector_runner.infra.database import Database
from connector_runner.intake import slice as slicing
from connector_runner.kernel import exact_json
from tests.contract.scripted import patient
from tests.integration.polled import Clinic, deps_of


class Feed:
    """A source whose pages are those of ``told``, one poll after the other; its window has no name, as feeds' have."""

    def __init__(self) -> None:
        self.told: list[tuple[SourceRecord, ...]] = []

    def pages(self, resource_type: str, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        yield Page(self.told.pop(0), (), {"n": len(self.told)}, True)

    def deletions(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        yield from ()

    def read(self, resource_type: str, record_id: str) -> SourceRecord | None:
        return None


def alive(record_id: str, stamp: str | None = None) -> SourceRecord:
    body = patient(record_id, stamp)
    return SourceRecord("Patient", record_id, exact_json.dumps(body).encode(), body)


def gone(record_id: str) -> SourceRecord:
    return SourceRecord("Patient", record_id, b"", None, deleted=True)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    made = Feed()
    monkeypatch.setattr(slicing, "open_source", lambda *given, **how: made)
    return made


@pytest.fixture
def clinic(database: Database, redis_url: str, workspace: str, feed: Feed) -> Iterator[Clinic]:
    resources = {"Patient": {"cadence_s": 30, "full_sync_every_s": None}}
    with deps_of(database, redis_url) as deps:
        yield Clinic(deps, workspace, "http://127.0.0.1:9/fhir", resources=resources)


def test_each_heap_of_deletes_waits_for_a_person_on_its_own(clinic: Clinic, feed: Feed) -> None:
    names = [f"p{n:02}" for n in range(30)]
    feed.told = [
        tuple(alive(name) for name in names),
        tuple(gone(name) for name in names[:10]),
        tuple(gone(name) for name in names[10:20]),
    ]
    for _ in range(3):
        clinic.poll()
    parked = [entry["context"]["ids"] for entry in clinic.quarantine]
    assert sorted(parked) == [names[:10], names[10:20]]
    assert clinic.alive == set(names)


def test_of_a_record_that_is_told_of_twice_the_last_word_counts(clinic: Clinic, feed: Feed) -> None:
    feed.told = [
        (alive("a"),),
        (alive("new"), gone("new"), gone("a"), alive("a", "2026-02-01T00:00:00Z"), alive("b")),
    ]
    clinic.poll()
    clinic.poll()
    assert clinic.alive == {"a", "b"}
