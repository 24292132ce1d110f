"""What is asked of a record type while it is being polled is not forgotten when that poll ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.infra.database import Database
from tests.contract.scripted import Query, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, deps_of


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


class Asking:
    """A server in whose answer to a search somebody asks for a poll of what is being polled."""

    def __init__(self, *stored: dict[str, Any]) -> None:
        self.stored = list(stored)
        self.clinic: Clinic | None = None
        self.full: bool | None = None

    def __call__(self, path: str, query: Query) -> tuple[int, Any]:
        if path != "Patient":
            return 404, {}
        if self.clinic is not None and self.full is not None:
            full, self.full = self.full, None
            clinic = self.clinic
            with clinic.deps.database.begin(clinic.workspace) as tx:
                directory.request_sync(tx, clinic.workspace, clinic.source.data_source_id, now=clinic.at, full=full)
        bound = query.get("_lastUpdated", ["ge"])[0].removeprefix("ge")
        return 200, bundle(*(row for row in self.stored if row["meta"]["lastUpdated"] >= bound))


def test_a_full_sync_that_is_asked_for_during_a_poll_follows_it(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        scripted.script = asking = Asking(*(patient(f"p{n}") for n in range(3)))
        asking.clinic = clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        asking.full = True
        assert clinic.poll().status == "done"
        scripted.asked.clear()
        assert clinic.poll(after_s=0.01).status == "done"
        assert all("_lastUpdated" not in query for path, query in scripted.asked if path == "Patient")
        assert clinic.poll(after_s=0.01).status == "not_due"


def test_a_poll_that_is_asked_for_during_a_poll_follows_it(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        scripted.script = asking = Asking(patient("p0"))
        asking.clinic = clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        asking.full = False
        assert clinic.poll().status == "done"
        assert clinic.poll(after_s=0.01).status == "done"
        assert clinic.poll(after_s=0.01).status == "not_due"


def test_what_is_asked_for_during_a_poll_that_fails_is_not_forgotten(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        asking = Asking(patient("p0"))
        scripted.script = asking
        asking.clinic = clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        asking.full = True

        def failing(path: str, query: Query) -> tuple[int, Any]:
            asking(path, query)
            return 500, {}

        scripted.script = failing
        assert clinic.poll().status == "failed"
        scripted.script = asking
        scripted.asked.clear()
        clinic.poll()
        assert scripted.asked[0][0] == "Patient"
        assert "_lastUpdated" not in scripted.asked[0][1]
