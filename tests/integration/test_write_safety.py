"""What must not be sent: the word of a worker that slept, what was withdrawn meanwhile, the same again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import redis

from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes import store as lanes
from connector_runner.outbound.lanes import writing
from connector_runner.outbound.lanes.desk import SqlDesk
from connector_runner.outbound.lanes.lane import BACKFILL, RECONCILE
from connector_runner.outbound.lanes.outcomes import PAUSE_S
from connector_runner.outbound.lanes.sweeping import reap
from connector_runner.outbound.planning.planner import Planner
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.sinks import sink_state
from connector_runner.outbound.sinks.directory import Sinks
from connector_runner.outbound.sinks.pacing import Pacer
from connector_runner.resilience.limiter import Limit
from connector_runner.world.reading import EntityView
from tests.integration.outbound_stack import Clinic, System, a_patient, once_planned
from tests.integration.test_drain import PATIENTS, phones, spoken


def at(hour: int, **more: Any) -> dict[str, Any]:
    return a_patient(meta={"lastUpdated": f"2026-11-20T{hour}:00:00Z"}, **more)


def a_pair(clinic: Clinic, ehr: System, store: System, *patients: dict[str, Any]) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", *(patients or (at(10),)))
    clinic.release()


def test_who_slept_between_intent_and_request_does_not_send(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(clinic, ehr, store)
    take = Pacer.take
    slept: list[bool] = []

    def sleepy(pacer: Pacer) -> bool:
        if clinic.count("open_intent") and not slept:
            slept.append(True)
            # Frozen past its lease: others look, find nothing, and write what is true by now.
            clinic.execute("UPDATE sync_lane SET lease_until = now() - interval '1 second'")
            clinic.execute("UPDATE open_intent SET resolve_after = now()")
            reap(clinic.database)
            clinic.land("ehr", at(11, phone="617-555-0777"))
            clinic.flow("store")
            time.sleep(writing.SEND_WITHIN_S + 0.1)
        return take(pacer)

    monkeypatch.setattr(Pacer, "take", sleepy)
    clinic.drain("store")
    assert slept
    assert phones(store.all("Patient")[0]) == ["617-555-0777"]
    assert store.all("Patient")[0]["meta"]["versionId"] == "1"
    assert clinic.count("open_intent") == 0
    assert clinic.lane("store")["state"] == "idle"


def test_a_verdict_that_falls_after_planning_still_counts(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(clinic, ehr, store)
    clinic.flow("store")
    event = spoken(clinic)
    clinic.judge(event)
    clinic.release()
    once_planned(monkeypatch, lambda: clinic.judge(event, approve=False))
    done = clinic.flow("store")
    assert done.outcomes["outdated"] == 1
    assert len(store.writes()) == 1
    assert phones(store.all("Patient")[0]) == ["617-555-0101"]


@dataclass
class Deaf:
    """A sink that says yes and leaves out phone numbers, as many a real one does with what it does not keep."""

    inner: Sink
    forbidden: frozenset[str] = frozenset()

    def create(self, body: Json, client_ref: str) -> Reply:
        if body.get("birthDate") in self.forbidden:
            return Reply(Outcome.AUTH, "http_403_forbidden", 403)
        return self.inner.create(self._heard(body), client_ref)

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        return self.inner.update(ref, self._heard(body), etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @staticmethod
    def _heard(body: Json) -> Json:
        return {key: value for key, value in body.items() if key != "telecom"}


@dataclass
class DeafSinks:
    """Every sink is deaf."""

    inner: Sinks
    forbidden: frozenset[str] = frozenset()

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        return self.inner.terms(tx, workspace_id)

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        terms, sink = self.inner.open(tx, workspace_id, sink_id)
        return terms, cast(Sink, Deaf(sink, self.forbidden))


def test_what_a_sink_does_not_keep_is_not_sent_for_ever(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    clinic.outbound = replace(clinic.outbound, sinks=DeafSinks(clinic.outbound.sinks))
    clinic.flow("store")
    clinic.flow("store")
    assert len(store.writes()) == 1
    assert (clinic.lane("store")["state"], clinic.lane("store")["reason"]) == ("idle", "landed_otherwise")
    clinic.land("ehr", at(11, gender="male"))
    clinic.flow("store")
    assert len(store.writes()) == 2, "what changes is sent again, once"
    assert store.all("Patient")[0]["gender"] == "male"


def test_a_record_that_is_refused_does_not_hold_up_the_others(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store, a_patient("p1", birthDate="1901-01-01"), *(a_patient(f"p{n}") for n in (2, 3)))
    clinic.execute("UPDATE sync_lane SET prio = 0 WHERE entity_id IN (SELECT entity_id FROM entity"
                   " WHERE canonical_id = 'ehr:Patient:p1')")  # fmt: skip
    clinic.outbound = replace(clinic.outbound, sinks=DeafSinks(clinic.outbound.sinks, frozenset({"1901-01-01"})))
    for _ in range(3):
        clinic.drain("store")
        # The pause goes by.
        with clinic.database.begin(clinic.workspace) as tx:
            sink_state.pause(tx, clinic.workspace, clinic.ids["store"], "auth", 0.0)
        clinic.drain("store")
        clinic.execute("UPDATE sync_lane SET due_at = due_at - :by * interval '1 second'", by=PAUSE_S + 5)
    assert sorted(lane["state"] for lane in clinic.lanes("store")) == ["idle", "idle", "quarantined"]
    assert len(store.all("Patient")) == 2
    assert clinic.drain("store").closed is None


def test_lost_slots_are_counted_anew_before_anything_is_granted(
    clinic: Clinic, ehr: System, store: System, redis_url: str
) -> None:
    a_pair(clinic, ehr, store)
    sink, limit = clinic.ids["store"], Limit(per_second=500, burst=100, concurrency=1, slot_s=5)
    with clinic.database.begin(clinic.workspace) as tx:
        lane = lanes.claim(tx, clinic.workspace, sink, owner="first", lease_s=1.5)
        assert lane is not None

    def in_flight() -> list[tuple[str, float]]:
        with clinic.database.begin(clinic.workspace) as tx:
            return lanes.in_flight(tx, clinic.workspace, sink)

    redis.Redis.from_url(redis_url).flushdb()
    limiter = clinic.outbound.limiter
    assert limiter.acquire(sink, limit, "second", in_flight=in_flight).reason == "slots"
    assert limiter.acquire(sink, limit, "first", in_flight=in_flight).reason != "slots", "who has it keeps it"
    limiter.release(sink, "first")
    assert limiter.acquire(sink, limit, "second", in_flight=in_flight).reason != "slots"


def test_a_grant_given_back_late_does_not_fill_the_bucket_over_its_brim(clinic: Clinic, redis_url: str) -> None:
    sink, limit = new_id(), Limit(per_second=5, burst=5, concurrency=2, slot_s=5)
    redis.Redis.from_url(redis_url).hset(f"cr:{{{sink}}}:limit", "tat", "1")
    limiter = clinic.outbound.limiter
    assert limiter.acquire(sink, limit, "a").granted == 1
    time.sleep(0.5)
    assert limiter.acquire(sink, limit, "b", want=9).granted == limit.bucket
    limiter.refund(sink, limit, age_s=0.5)
    assert limiter.acquire(sink, limit, "b", want=9).granted == 0


def test_a_resource_that_is_still_the_old_version_was_not_written(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(clinic, ehr, store)
    clinic.flow("store")
    # As with a mapping that cannot read back what changed.
    monkeypatch.setattr(SqlDesk, "carries", lambda *_: True)
    store.faults({"on": "PUT Patient", "kind": "reset", "next": 1})
    clinic.land("ehr", at(11, phone="617-555-0777"))
    assert clinic.flow("store").outcomes["unknown"] == 1
    clinic.execute("UPDATE open_intent SET resolve_after = now()")
    clinic.execute("UPDATE sync_lane SET due_at = now()")
    clinic.flow("store")
    assert phones(store.all("Patient")[0]) == ["617-555-0777"]


@pytest.mark.parametrize("stage", ["release", "drain"])
def test_one_entity_that_makes_us_fail_holds_up_no_other(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The naive loop rolls its claim back and meets the same entity first, for ever."""
    plan = Planner.plan
    poisoned: list[str] = []

    def failing(planner: Planner, tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView, *rest: Any) -> Any:
        if view.canonical_id == "ehr:Patient:1":
            poisoned.append(view.entity_id)
            raise ZeroDivisionError("a fault of ours")
        return plan(planner, tx, workspace_id, terms, view, *rest)

    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient("1"), a_patient("2"))
    if stage == "release":
        monkeypatch.setattr(Planner, "plan", failing)
    clinic.release()
    monkeypatch.setattr(Planner, "plan", failing)
    clinic.flow("store")
    assert poisoned
    assert len(store.all("Patient")) == 1
    assert clinic.count("quarantine") == 1


def test_an_agents_word_that_had_to_wait_loses_its_place_to_nobody(clinic: Clinic, ehr: System, store: System) -> None:
    """Neither to what systems say, nor because a reconciliation looked at it meanwhile."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient", "appointment"])
    times = {"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z"}
    said = clinic.say(entity_type="appointment", confidence=0.5, facts={**times, "patient": {"ref": "ehr:Patient:p1"}})
    event = said.events[0]
    clinic.judge(event["id"])
    clinic.release()
    assert (clinic.lane("store", "appointment")["state"], clinic.lane("store", "appointment")["prio"]) == (
        "waiting",
        14,
    )
    with clinic.database.begin(clinic.workspace) as tx:
        sink_store.request_release(tx, clinic.workspace, [event["entity_id"]], prio=RECONCILE)
    clinic.release()
    assert clinic.lane("store", "appointment")["prio"] == 14
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    assert len(store.all("Appointment")) == 1


def test_what_an_agents_word_waits_for_is_not_left_behind(clinic: Clinic, ehr: System, store: System) -> None:
    """A patient among thousands that are sent behind what is fresh, until somebody books for them."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient", "appointment"])
    clinic.land("ehr", a_patient("p1"), a_patient("p2"))
    clinic.execute("UPDATE pending_release SET prio = :prio", prio=BACKFILL)
    clinic.release()
    assert {lane["prio"] for lane in clinic.lanes("store")} == {43}
    times = {"status": "booked", "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z"}
    said = clinic.say(entity_type="appointment", confidence=0.5, facts={**times, "patient": {"ref": "ehr:Patient:p1"}})
    clinic.judge(said.events[0]["id"])
    clinic.release()
    assert sorted((lane["entity_type"], lane["prio"]) for lane in clinic.lanes("store")) == [
        ("appointment", 14), ("patient", 13), ("patient", 43)]  # fmt: skip
    assert clinic.count("pending_release") == 0
