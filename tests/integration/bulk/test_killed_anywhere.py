"""An export whose process dies before or behind any of its transactions: nothing is lost, and nothing told twice."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from connector_runner.infra.database import Database, Tx
from connector_runner.intake.bulk import running
from tests.integration.bulk.stack import Clinic, Server

AT = (4, 9, 18, 26, 34, 48)
"""Transactions at which it dies: while the export is asked for, followed, fetched, landed."""


class Killed(BaseException):
    """The process is no more."""


class Death:
    """Comes at the so manieth transaction: before it, with all that was asked of the server, or right behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.behind, self.dead, self.on = 0, False, False, False
        begin = Database.begin
        death = self

        @contextmanager
        def begun(database: Database, workspace_id: str) -> Iterator[Tx]:
            if death.on:
                death.left -= 1
                death.strike(not death.behind)
            with begin(database, workspace_id) as tx:
                yield tx
            if death.on:
                death.strike(death.behind)

        monkeypatch.setattr(Database, "begin", begun)

    def strike(self, here: bool) -> None:
        if self.dead or (here and self.left <= 0):
            self.dead = True
            raise Killed

    @contextmanager
    def at(self, number: int, *, behind: bool) -> Iterator[None]:
        self.left, self.behind, self.dead, self.on = number, behind, False, True
        try:
            yield
        except Killed:
            pass
        finally:
            self.on = False

    @contextmanager
    def spared(self) -> Iterator[None]:
        """What the test does itself."""
        self.on = False
        yield
        self.on = True


def expire(clinic: Clinic) -> None:
    """The leases of who died are over."""
    clinic.run("UPDATE export_job SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
    clinic.run("UPDATE export_file SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
    clinic.run("UPDATE import_file SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")


def to_its_end(clinic: Clinic, export_id: str, number: int, death: Death | None = None) -> dict[str, Any]:
    """In one go, without the pauses."""
    looks = itertools.count()

    def hurry(standing: dict[str, Any]) -> None:
        assert next(looks) < 300, (number, standing)
        if death is not None and death.dead:
            raise Killed
        waiting = nullcontext() if death is None else death.spared()
        with waiting:
            clinic.hurry(export_id)

    return running.run_to_end(clinic.deps, clinic.workspace, export_id, told=hurry)


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_nothing_is_lost_or_told_twice(
    clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    server.behave(export_file_lines=5, export_looks=1, export_tells_running=True)
    server.patients(*range(max(AT) + 3))
    server.weights(1, 2, 3)
    clinic.apply(connections=1)
    clinic.export()
    death = Death(monkeypatch)
    soon = SimpleNamespace(monotonic=time.monotonic, sleep=lambda pause_s: time.sleep(min(pause_s, 0.01)))
    monkeypatch.setattr(running, "time", soon)
    before: dict[str, Any] = {}
    died: set[str] = set()
    for number in (n - behind for n in AT):
        server.put("Patient", "p0", name=[{"family": f"Quincy{number}"}])
        server.delete("Patient", f"p{number}")
        server.patients(1000 + number)
        events = {verb: clinic.events(verb) for verb in ("created", "updated", "deleted")}
        export_id = clinic.ask()
        with death.at(number, behind=behind):
            to_its_end(clinic, export_id, number, death)
        died.add(running.standing(clinic.deps, clinic.workspace, export_id)["state"])
        expire(clinic)
        outcome = to_its_end(clinic, export_id, number)
        assert (outcome["state"], outcome["complete"], outcome["quarantined"]) == ("completed", True, 0), number
        told = {verb: clinic.events(verb) - count for verb, count in events.items()}
        assert told == {"created": 1, "updated": 1, "deleted": 1}, number
        assert f"Patient:p{1000 + number}" in clinic.names(), number
        assert f"Patient:p{number}" not in clinic.names(), number
        assert outcome["since"] == before.get("next_since", outcome["since"]), number
        before = outcome
    assert died >= {"polling", "fetching"}
