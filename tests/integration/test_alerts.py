"""Alerts: one for each change, however many notice it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from connector_runner.infra.database import Database, after_commit
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import utc_now
from connector_runner.resilience import alerts
from connector_runner.resilience.quarantine import Quarantine
from tests.integration.clinic import PARTNER, Clinic

NOW = utc_now()


@pytest.fixture
def clinic(database: Database, workspace: str) -> Clinic:
    return Clinic(database, Quarantine(Sealer(b"k" * 32)), workspace)


def test_what_goes_on_is_told_once_and_what_begins_anew_is_told_anew(clinic: Clinic) -> None:
    source = clinic.apply(PARTNER)
    key = (clinic.workspace, source.data_source_id, "health")
    with clinic.database.begin(clinic.workspace) as tx:
        assert alerts.raise_once(tx, *key, "http_503", now=NOW, detail="the server answers 503")
        assert not alerts.raise_once(tx, *key, "unreachable", now=NOW)
        assert alerts.raise_once(tx, *key, "http_503", now=NOW, subject="Patient")
        assert alerts.end(tx, *key, now=NOW + timedelta(minutes=1))
        assert not alerts.end(tx, *key, now=NOW + timedelta(minutes=2))
        assert alerts.raise_once(tx, *key, "unreachable", now=NOW + timedelta(minutes=3))
        shown = alerts.listing(tx, clinic.workspace)
        everything = alerts.listing(tx, clinic.workspace, ended=True)
    assert [(row["source"], row["subject"], row["code"], row["ended_at"]) for row in shown] == [
        ("partner", "", "unreachable", None),
        ("partner", "Patient", "http_503", None),
    ]
    assert len(everything) == 3


def test_one_about_the_workspace_names_no_source(clinic: Clinic) -> None:
    source = clinic.apply(PARTNER)
    key = (clinic.workspace, None, "review")
    with clinic.database.begin(clinic.workspace) as tx:
        assert alerts.raise_once(tx, clinic.workspace, source.data_source_id, "review", "other", now=NOW)
        assert alerts.raise_once(tx, *key, "wrong", now=NOW, subject="contact")
        assert not alerts.raise_once(tx, *key, "wrong", now=NOW, subject="contact")
        assert [row["source"] for row in alerts.listing(tx, clinic.workspace) if row["subject"]] == [""]
        assert not alerts.end(tx, *key, now=NOW)
        assert alerts.end(tx, *key, now=NOW, subject="contact")
        assert [row["source"] for row in alerts.listing(tx, clinic.workspace)] == ["partner"]


@pytest.mark.parametrize("about", ["source", "workspace"])
def test_many_who_notice_at_once_make_one_alert_and_one_end(clinic: Clinic, about: str) -> None:
    source = clinic.apply(PARTNER).data_source_id if about == "source" else None
    together = threading.Barrier(8)

    def notice(way: str) -> bool:
        together.wait(10)
        with clinic.database.begin(clinic.workspace) as tx:
            key = (clinic.workspace, source, "health")
            if way == "raise":
                return alerts.raise_once(tx, *key, "http_503", now=NOW)
            return alerts.end(tx, *key, now=NOW)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(notice, ["raise"] * 8)) == 1
        assert sum(pool.map(notice, ["end"] * 8)) == 1


def test_what_was_rolled_back_is_not_told(clinic: Clinic) -> None:
    source = clinic.apply(PARTNER)
    told: list[str] = []

    def fail() -> None:
        with clinic.database.begin(clinic.workspace) as tx:
            alerts.raise_once(tx, clinic.workspace, source.data_source_id, "health", "http_503", now=NOW)
            after_commit(tx, lambda: told.append("never"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with clinic.database.begin(clinic.workspace) as tx:
        after_commit(tx, lambda: told.append("once"))
        assert alerts.listing(tx, clinic.workspace) == []
        assert told == []
    assert told == ["once"]
