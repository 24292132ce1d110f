"""A write whose answer was lost, whose worker died, or who came too late: done once, or known to be unknown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.infra.database import Database, one, rows
from connector_runner.kernel.errors import Conflict
from connector_runner.outbound.lanes import intents
from connector_runner.outbound.lanes import store as lanes
from connector_runner.outbound.lanes.desk import SqlDesk
from connector_runner.outbound.lanes.lane import State
from connector_runner.outbound.lanes.lane_store import SqlLaneStore
from connector_runner.outbound.lanes.outcomes import Settler
from connector_runner.outbound.lanes.sweeping import sweep
from connector_runner.outbound.operating import logbook
from connector_runner.outbound.operating.undo_store import Selection
from connector_runner.outbound.planning.plans import Wanted
from connector_runner.world import reading
from tests.integration.outbound_stack import Clinic, System, a_patient, eventually

ROOT = Path(__file__).parents[2]
BOTH = {"entity_types": ["patient", "appointment"]}


def a_pair(clinic: Clinic, ehr: System, sink: System, **more: Any) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", sink, accept_from=["ehr"], **BOTH, **more)
    clinic.land("ehr", a_patient(meta={"lastUpdated": "2026-11-20T10:00:00Z"}))
    clinic.release()


def settle(clinic: Clinic, within_s: float = 10.0) -> None:
    """Sweep and drain until every lane is idle."""

    def idle() -> bool:
        sweep(clinic.database, hint_every_s=0)
        clinic.drain("store")
        return all(lane["state"] == "idle" for lane in clinic.lanes("store"))

    assert eventually(idle, within_s), [(lane["state"], lane["reason"]) for lane in clinic.lanes("store")]
    assert clinic.count("open_intent") == 0


@pytest.mark.parametrize("client_id", [True, False])
@pytest.mark.parametrize("kind", ["drop_answer", "reset"])
def test_a_lost_answer_is_looked_up_not_repeated(
    clinic: Clinic, ehr: System, store: System, kind: str, client_id: bool
) -> None:
    store.faults({"on": "PUT Patient", "kind": kind, "next": 1}, {"on": "POST Patient", "kind": kind, "next": 1})
    a_pair(clinic, ehr, store, client_id=client_id)
    assert clinic.drain("store").outcomes == {"unknown": 1}
    lane = clinic.lane("store")
    assert lane["state"] == "unknown"
    assert clinic.drain("store").outcomes == {}, "the quiet period is not over"
    settle(clinic)
    assert len(store.all("Patient")) == 1
    assert len(store.writes()) == (1 if kind == "drop_answer" else 2)
    assert clinic.lane("store")["sink_ref"] == f"Patient/{store.all('Patient')[0]['id']}"

    # What was read back counts as sent: the next change goes out as the smallest change of it.
    clinic.land("ehr", a_patient(phone="617-555-0777", meta={"lastUpdated": "2026-11-20T11:00:00Z"}))
    clinic.release()
    settle(clinic)
    assert store.all("Patient")[0]["telecom"][0]["value"] == "617-555-0777"


def test_a_lost_answer_to_an_update(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    settle(clinic)
    store.faults({"on": "PUT Patient", "kind": "drop_answer", "next": 1})
    clinic.land("ehr", a_patient(phone="617-555-0777", meta={"lastUpdated": "2026-11-20T11:00:00Z"}))
    clinic.release()
    assert clinic.drain("store").outcomes == {"unknown": 1}
    settle(clinic)
    assert len(store.writes()) == 2
    assert store.all("Patient")[0]["meta"]["versionId"] == "2"


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("kind", ["html", "empty", "hang"])
def test_an_answer_that_says_nothing_is_not_believed(
    clinic: Clinic, ehr: System, store: System, kind: str, commit: bool
) -> None:
    store.faults({"on": "PUT Patient", "kind": kind, "commit": commit, "next": 1})
    a_pair(clinic, ehr, store)
    assert clinic.drain("store").outcomes == {"unknown": 1}
    settle(clinic)
    assert len(store.writes()) == (1 if commit else 2)
    assert len(store.all("Patient")) == 1


def test_what_changed_before_a_create_is_repeated_is_written_over_what_the_first_one_made(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """The search lags, and the repeat meets the record that the first one made, later than what was said since."""
    store.faults({"on": "POST Patient", "kind": "drop_answer", "next": 1},
                 {"on": "GET Patient", "kind": "stale", "seconds": 60, "next": 1})  # fmt: skip
    a_pair(clinic, ehr, store, client_id=False)
    assert clinic.drain("store").outcomes == {"unknown": 1}
    clinic.land("ehr", a_patient(phone="617-555-0777", meta={"lastUpdated": "2026-11-20T11:00:00Z"}))
    clinic.release()
    settle(clinic)
    [patient] = store.all("Patient")
    assert [item["value"] for item in patient["telecom"]] == ["617-555-0777"]


@pytest.mark.parametrize("client_id", [True, False])
def test_a_lost_create_is_looked_up_as_it_was_sent_whatever_the_settings_say_by_then(
    clinic: Clinic, ehr: System, store: System, client_id: bool
) -> None:
    store.faults({"on": "* Patient", "kind": "drop_answer", "next": 1})
    a_pair(clinic, ehr, store, client_id=client_id)
    assert clinic.drain("store").outcomes == {"unknown": 1}
    clinic.source("store", store, accept_from=["ehr"], **BOTH, client_id=not client_id)
    settle(clinic)
    assert len(store.all("Patient")) == len(store.writes()) == 1
    assert clinic.lane("store")["sink_ref"] == f"Patient/{store.all('Patient')[0]['id']}"


def test_a_write_that_lands_late(clinic: Clinic, ehr: System, store: System) -> None:
    store.faults({"on": "POST Patient", "kind": "late", "seconds": 0.5, "next": 1})
    a_pair(clinic, ehr, store, client_id=False, quiet_period_s=1.5)
    clinic.drain("store")
    settle(clinic)
    assert len(store.all("Patient")) == 1
    assert [entry["method"] for entry in store.writes()] == ["POST"]


def test_an_unreachable_sink_costs_no_attempts(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store, breaker={"failures": 1})
    clinic.execute(
        "UPDATE data_source SET settings = jsonb_set(settings, '{base_url}', '\"http://127.0.0.1:9/fhir\"')"
        " WHERE name = 'store'"
    )
    assert clinic.drain("store").outcomes == {"not_sent": 1}
    assert (clinic.lane("store")["state"], clinic.lane("store")["attempts"]) == ("waiting", 0)
    assert clinic.count("open_intent") == 0
    assert clinic.drain("store").closed == "breaker"


def test_a_second_intent_on_a_lane_is_refused_by_the_database(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    lane, intent = claimed(clinic)
    with pytest.raises(Conflict), clinic.database.begin(clinic.workspace) as tx:
        intents.open_intent(tx, clinic.outbound.sealer, lane, intent, 1)


def test_who_lost_the_lease_changes_nothing_but_the_log(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    lane, intent = claimed(clinic)
    clinic.execute("UPDATE sync_lane SET lease_until = now() - interval '1 second'")
    assert sweep(clinic.database).reaped == 1
    assert clinic.lane("store")["state"] == "unknown"
    with clinic.database.begin(clinic.workspace) as tx:
        terms, _ = clinic.outbound.sinks.open(tx, clinic.workspace, clinic.ids["store"])
    logged = clinic.count("write_log")
    outbound = clinic.outbound
    own = SqlLaneStore(outbound.database, outbound.sealer, outbound.quarantine, clinic.workspace)
    desk = SqlDesk(outbound, clinic.workspace, terms)
    late = Settler(own, desk, terms, outbound.runtime.chance).write(
        lane, intent, Reply(Outcome.LANDED, ref=f"Patient/{lane.client_ref}", etag='W/"1"')
    )
    assert late.outcome == "fence_lost"
    assert clinic.count("write_log") == logged + 1
    assert clinic.count("open_intent") == 1
    assert clinic.lane("store")["sink_ref"] is None


def claimed(clinic: Clinic) -> tuple[Any, intents.Intent]:
    """A lane as a worker holds it that has committed its intent and not sent it."""
    outbound = clinic.outbound
    with clinic.database.begin(clinic.workspace) as tx:
        terms, sink = outbound.sinks.open(tx, clinic.workspace, clinic.ids["store"])
        lane = lanes.claim(tx, clinic.workspace, terms.sink_id, owner="me", lease_s=30)
        assert lane is not None
        view = reading.view(tx, clinic.workspace, lane.entity_id)
        assert view is not None
        plan = outbound.planner.plan(tx, clinic.workspace, terms, view, lane, clinic.ids)
        assert isinstance(plan, Wanted)
        body = outbound.planner.body(plan)
        assert isinstance(body, dict)
        intent = plan.creation(lane, sink.identified(body, lane.client_ref))
        intents.open_intent(tx, outbound.sealer, lane, intent, 0.2)
    return lane, intent


def test_a_lease_that_ended_before_the_intent_is_simply_ready(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    with clinic.database.begin(clinic.workspace) as tx:
        lane = lanes.claim(tx, clinic.workspace, clinic.ids["store"], owner="gone", lease_s=-1)
    assert lane is not None
    found = sweep(clinic.database, hint_every_s=0)
    assert found.reaped == 1
    assert clinic.ids["store"] in {sink.sink_id for sink in found.sinks}
    with clinic.database.begin(clinic.workspace) as tx:
        assert not lanes.give_back(tx, lane, State.IDLE, reason=None), "the dead worker's claim is void"
    settle(clinic)
    assert len(store.writes()) == 1


def test_bodies_in_the_log_are_sealed_and_it_is_append_only(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    settle(clinic)
    with clinic.database.begin(clinic.workspace) as tx:
        logged = rows(tx, "SELECT phase, sealed FROM write_log ORDER BY write_id")
        lane = one(tx, "SELECT last_sent FROM sync_lane")
        shown = logbook.entries(tx, clinic.workspace, Selection())
    assert [row["phase"] for row in logged] == ["intent", "outcome"]
    assert lane is not None
    for sealed in [*(row["sealed"] for row in logged), lane["last_sent"]]:
        assert b"Okafor" not in bytes(sealed)
    assert [(entry["operation"], entry["outcome"], entry["http_status"]) for entry in shown] == [
        ("create", "landed", 201)
    ]
    with pytest.raises(Exception, match="23001"):
        clinic.execute("UPDATE write_log SET outcome = 'landed'")


@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_at_any_moment_leave_each_resource_once(
    clinic: Clinic, ehr: System, store: System, database: Database, redis_url: str, seed: int
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH, client_id=False, quiet_period_s=0.5)
    clinic.land("ehr", *(a_patient(f"p{n}") for n in range(12)))
    clinic.release()
    store.faults({"on": "POST Patient", "kind": "slow", "seconds": 0.05})
    for step in range(3):
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.drain_process", database.url, redis_url, clinic.workspace,
             clinic.ids["store"]],
            cwd=ROOT,
        )  # fmt: skip
        time.sleep(1.1 + 0.07 * (3 * seed + step))
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    store.faults()
    clinic.execute("UPDATE sync_lane SET lease_until = now() WHERE state = 'leased'")
    clinic.execute("UPDATE open_intent SET resolve_after = now() + interval '0.5 second'")
    settle(clinic, 40)
    assert len(store.all("Patient")) == 12
    committed = [entry for entry in store.writes() if entry["committed"]]
    assert len(committed) == 12, "none was written twice"
