"""Whoever is killed while a link is made or taken back, the command or a worker: both systems end as they would have.

The seed is printed; ``DRILL_SEED=n DRILL_ROUNDS=n make test ARGS="-k merging_killed"`` runs another, or more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector_runner.infra.database import Database, execute
from tests.acceptance.stack import Stack, a_stack, ehr_settings, store_settings, wait_for

SEED = int(os.environ.get("DRILL_SEED", "20261123"))
EHR, STORE = "ehr:Patient:p1", "store:Patient:c1"
KINDS = ("Patient", "Appointment")
OWN = (("ehr", "Patient/p1"), ("store", "Patient/c1"))
"""The records that are written when the two become one, and when they part: no system is told its own word again."""
COMMANDS = ("before_commit:1", "after_commit:1", "before_commit:2", "after_commit:2")
WORKERS = ("before_request:1", "after_request:1", "before_request:2", "after_request:2")
ROUNDS = int(os.environ.get("DRILL_ROUNDS", "1"))


def person(record_id: str, family: str, born: str, **telecom: str) -> dict[str, Any]:
    """Two of these are nobody's idea of the same."""
    return {
        "resourceType": "Patient",
        "id": record_id,
        "identifier": [{"system": f"urn:{record_id}", "value": record_id.upper()}],
        "name": [{"use": "official", "family": family, "given": ["Ada"]}],
        "birthDate": born,
        "telecom": [{"system": system, "use": "home", "value": value} for system, value in telecom.items()],
    }


VISIT = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "booked",
    "start": "2027-12-01T09:00:00Z",
    "end": "2027-12-01T09:20:00Z",
    "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
}


class Drill:
    """Two people in two systems, and a worker that dies."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ehr, self.store = stack.sandbox("ehr", "--patients", "0"), stack.sandbox("store")
        ehr = ehr_settings(self.ehr.fhir, cadence_s=3600)
        ehr["settings"]["sink"]["accept_from"] = ["store"]
        store = store_settings(self.store.fhir, polled=KINDS)
        store["settings"]["sink"]["entity_types"] = ["patient", "appointment"]
        for name in KINDS:
            store["settings"]["resources"][name]["cadence_s"] = 3600
        self.ehr.put("fhir/Patient/p1", person("p1", "Okafor", "1982-03-04", phone="617-555-0101"))
        self.ehr.put("fhir/Appointment/a1", VISIT)
        self.store.put("fhir/Patient/c1", person("c1", "Lindqvist", "1951-11-23", email="c1@example.org"))
        for document in (ehr, store):
            stack.cli("source", "apply", stack.write("source.json", document))
        stack.start("beat")
        stack.start("worker", "--pool", "cpu")
        self.settle(lambda: [len(each) for each in self.held().values()] == [3, 3])

    def held(self) -> dict[str, dict[str, Any]]:
        """What both systems hold, but for the stamps."""
        return {
            name: {
                f"{kind}/{each['id']}": {field: value for field, value in each.items() if field != "meta"}
                for kind in KINDS
                for each in system.every(kind)
            }
            for name, system in (("ehr", self.ehr), ("store", self.store))
        }

    def one(self) -> bool:
        """Whether each of the two is told in their own system what is known of the other."""
        held = self.held()
        return all(len(held[system][ref]["telecom"]) == 2 for system, ref in OWN)

    def settle(self, there: Callable[[], bool]) -> None:
        """Let an ordinary worker do what is left, read back what both systems hold, and do what follows of that."""
        worker = self.stack.start("worker", "--pool", "io")
        wait_for("the systems to be as they should", there)
        self.stack.settled()
        seen = self.polls()
        for name in ("ehr", "store"):
            self.stack.cli("source", "sync", name, "--full")
        wait_for("the polls", lambda: not seen & self.polls())
        self.stack.settled()
        assert there(), "it stays so"
        self.stack.end(worker)

    def polls(self) -> set[tuple[str, str, str]]:
        """When both systems were last read."""
        return {
            (name, each["resource_type"], each["last_ok_at"])
            for name in ("ehr", "store")
            for each in self.stack.cli("source", "show", name)["resources"]
            if each["resource_type"] in KINDS
        }

    def dies(self, point: str, *command: str) -> None:
        """Run a worker, or a command, until it dies at the point; the leases that it leaves are over."""
        token = self.stack.folder / "token"
        token.touch()
        process = self.stack.start(*(command or ("worker", "--pool", "io")), crash_at=f"{point}:{token}")
        process.wait(240)
        assert process.returncode == -9, f"{point} was not come to"
        self.stack.end(process)
        workspace = self.stack.cli("workspace", "list")["workspaces"][0]["workspace_id"]
        database = Database(self.stack.services.services.database_url)
        with database.begin(workspace) as tx:
            execute(tx, "UPDATE sync_lane SET lease_until = clock_timestamp() WHERE state = 'leased'")
        database.dispose()

    def say(self, verb: str, *, killed: str | None = None) -> None:
        """A person's word, by a command that may be killed; then it is given again."""
        command = ("link", verb, EHR, STORE, "--reason", "seen")
        if killed is not None:
            self.dies(killed, *command)
        self.stack.cli(*command)


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    print(f"DRILL_SEED={SEED}")
    with a_stack(tmp_path) as stack:
        yield Drill(stack)


@pytest.mark.slow
def test_whoever_is_killed_while_a_link_is_made_or_taken_back_nothing_is_left_half_done(drill: Drill) -> None:
    before, dice = drill.held(), random.Random(SEED)
    for _ in range(ROUNDS):
        drill.say("make", killed=dice.choice(COMMANDS))
        drill.dies(dice.choice(WORKERS))
        drill.settle(drill.one)
        drill.say("revert", killed=dice.choice(COMMANDS))
        drill.dies(dice.choice(WORKERS))
        drill.settle(lambda: drill.held() == before)
    drill.say("make")
    drill.dies("after_request:2")
    drill.say("revert")
    drill.settle(lambda: drill.held() == before)
