"""Lanes in memory and in SQL, behind one bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes.intents import CREATE, Confirmed, Intent
from connector_runner.outbound.lanes.lane import Lane
from tests.simulation.memory_store import MemoryLaneStore
from tests.simulation.sql_store import VirtualDatabase, lane_store


@dataclass
class Bench:
    """A store with one sink, and the time."""

    store: Any
    sink: str
    now: list[float]

    def pass_(self, seconds: float) -> None:
        self.now[0] += seconds

    def want(self, entity_id: str | None = None, **options: Any) -> str:
        entity_id = entity_id or new_id()
        with self.store.begin() as tx:
            tx.want(self.sink, entity_id, **options)
        return entity_id

    def claim(self, owner: str = "me", lease_s: float = 10.0) -> Lane | None:
        with self.store.begin() as tx:
            found: Lane | None = tx.claim(self.sink, owner=owner, lease_s=lease_s)
            return found

    def claimed(self, **options: Any) -> Lane:
        self.want(**options)
        lane = self.claim()
        assert lane is not None
        return lane

    def do(self, verb: str, *arguments: Any, **options: Any) -> Any:
        with self.store.begin() as tx:
            return getattr(tx, verb)(*arguments, **options)

    def confirm(self, lane: Lane, **more: Any) -> Any:
        given = {
            "reason": "landed",
            "synced_hash": b"h",
            "revision": lane.desired_revision,
            "confirmed": Confirmed({"language": "n1"}, ("language",), True),
            "sink_ref": "Patient/1",
            "sink_etag": 'W/"1"',
            "status": 201,
        }
        return self.do("confirm", lane, **{**given, **more})


def intent_of(lane: Lane) -> Intent:
    return Intent(
        intent_id=new_id(),
        operation=CREATE,
        resource_type="Patient",
        target=None,
        body={"resourceType": "Patient", "language": "n1"},
        before=None,
        precondition=None,
        idempotency_key=lane.client_ref,
        desired_hash=b"\x01\x02",
        revision=lane.desired_revision,
        mapping_version="m@1",
        changed=(),
        atoms=("language",),
        created_by_us=True,
    )


@pytest.fixture(scope="module")
def virtual(new_database: Callable[[], str]) -> Iterator[VirtualDatabase]:
    database = VirtualDatabase(new_database())
    database.prepare()
    yield database
    database.dispose()


@pytest.fixture(params=["memory", "sql"])
def bench(request: pytest.FixtureRequest) -> Bench:
    now, workspace, sink = [100.0], new_id(), new_id()
    if request.param == "memory":
        return Bench(MemoryLaneStore(workspace, lambda: now[0]), sink, now)
    return Bench(lane_store(request.getfixturevalue("virtual"), workspace, sink, lambda: now[0]), sink, now)
