"""A sink that is out of order for hours: nobody is put aside for it, and all goes once it works again."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.outbound.lanes import outcomes
from connector_runner.outbound.lanes.lane import MAX_ATTEMPTS
from connector_runner.outbound.sinks import sink_state
from tests.integration.outbound_stack import Clinic, System, a_patient

FAILING = {"kind": "status", "status": 500, "rate": 1.0}
HUNG_UP = {"kind": "reset", "rate": 1.0}


def a_pair(clinic: Clinic, ehr: System, store: System, *records: str, **sink: Any) -> None:
    """Patients that are ready for the store."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient"], **sink)
    clinic.land("ehr", *(at(10, record) for record in records))
    clinic.release()


def at(hour: int, record_id: str = "p1", **more: Any) -> dict[str, Any]:
    return a_patient(record_id, meta={"lastUpdated": f"2026-11-20T{hour}:00:00Z"}, **more)


def later(clinic: Clinic) -> None:
    """One drain when the pause of the breaker, every backoff and every quiet period are over."""
    clinic.execute(
        "UPDATE data_source SET sink_breaker_until = NULL, sink_breaker_failures = 0, sink_breaker_recent = 0,"
        " sink_breaker_opens = 0, sink_next_wake_at = NULL"
    )
    clinic.execute("UPDATE open_intent SET resolve_after = now()")
    clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state IN ('ready', 'unknown')")
    clinic.drain("store")


def healed(clinic: Clinic, store: System) -> None:
    """The sink works again, and what was tried is tried once more."""
    store.faults()
    later(clinic)
    later(clinic)


def put_aside(clinic: Clinic) -> list[tuple[str, str]]:
    return [(lane["reason"], lane["reason_detail"]) for lane in clinic.lanes("store") if lane["state"] == "quarantined"]


@pytest.mark.parametrize("fault", [FAILING, HUNG_UP], ids=["answers 500", "hangs up"])
@pytest.mark.parametrize("verb", ["create", "update"])
def test_writes_that_fail_while_reads_work_put_nobody_aside(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch, verb: str, fault: dict[str, Any]
) -> None:
    a_pair(clinic, ehr, store, "p1", "p2")
    if verb == "update":
        clinic.flow("store")
        # By the time that attempts are spent, that was long ago.
        monkeypatch.setattr(outcomes, "_MEANWHILE_S", 0.0)
    store.faults({"on": "PUT Patient", **fault})
    clinic.land("ehr", at(11, "p1", gender="male"), at(11, "p2", gender="male"))
    clinic.release()
    for _ in range(MAX_ATTEMPTS + 2):
        later(clinic)
        later(clinic)
    assert put_aside(clinic) == []
    healed(clinic, store)
    assert [lane["state"] for lane in clinic.lanes("store")] == ["idle", "idle"]
    assert [patient["gender"] for patient in store.all("Patient")] == ["male", "male"]


def test_under_an_id_of_the_sinks_choosing_nothing_is_made_again_for_ever(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """It may be there each time and not be found: a sink can commit, and then answer 500."""
    a_pair(clinic, ehr, store, "p1", client_id=False)
    store.faults({"on": "POST Patient", **FAILING})
    for _ in range(MAX_ATTEMPTS + 2):
        later(clinic)
        later(clinic)
    assert [reason for reason, _ in put_aside(clinic)] == ["attempts"]
    assert len(store.writes()) == MAX_ATTEMPTS


def test_a_write_and_its_read_back_are_one_attempt(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store, "p1")
    store.faults({"on": "PUT Patient", **FAILING})
    for cycle in (1, 2, 3):
        later(clinic)
        assert clinic.lane("store")["state"] == "unknown"
        later(clinic)
        lane = clinic.lane("store")
        assert (lane["state"], lane["reason"], lane["attempts"]) == ("ready", "absent", cycle)


@pytest.mark.parametrize(("fault", "waits"), [(FAILING, True), (HUNG_UP, False)], ids=["answers 500", "hangs up"])
def test_what_was_answered_with_a_fault_waits_before_it_goes_again(
    clinic: Clinic, ehr: System, store: System, fault: dict[str, Any], waits: bool
) -> None:
    """Where the answer was lost, the read-back is all that there is to wait for."""
    a_pair(clinic, ehr, store, "p1")
    store.faults({"on": "PUT Patient", **fault})
    later(clinic)
    assert clinic.lane("store")["state"] == "unknown"
    clinic.execute("UPDATE open_intent SET resolve_after = now()")
    clinic.execute("UPDATE sync_lane SET due_at = now()")
    again = clinic.drain("store")
    assert again.outcomes == ({"absent": 1} if waits else {"absent": 1, "unknown": 1})


def test_that_reads_work_says_nothing_of_writes(clinic: Clinic, ehr: System, store: System) -> None:
    """Only a write shuts the breaker again."""
    a_pair(clinic, ehr, store, "p1")
    store.faults({"on": "PUT Patient", **FAILING})
    clinic.drain("store")
    clinic.execute("UPDATE open_intent SET resolve_after = now()")
    clinic.execute("UPDATE sync_lane SET due_at = now()")
    assert clinic.drain("store").outcomes == {"absent": 1}
    with clinic.database.begin(clinic.workspace) as tx:
        assert sink_state.state(tx, clinic.workspace, clinic.ids["store"]).failures == 1


def test_a_record_that_alone_makes_the_sink_fail_is_put_aside(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store, "p1")
    store.faults({"on": "PUT Patient", **FAILING})
    for _ in range(MAX_ATTEMPTS):
        later(clinic)
        later(clinic)
    assert put_aside(clinic) == []
    store.faults()
    clinic.execute("UPDATE sync_lane SET state = 'waiting', due_at = now() + interval '1 hour'")
    clinic.land("ehr", at(10, "p2"))
    clinic.flow("store")
    store.faults({"on": "PUT Patient", **FAILING})
    clinic.execute("UPDATE sync_lane SET state = 'ready', due_at = now() WHERE state = 'waiting'")
    later(clinic)
    later(clinic)
    assert put_aside(clinic) == [("attempts", f"absent after {MAX_ATTEMPTS} attempts")]


def test_reads_that_fail_for_hours_before_an_update_put_nobody_aside(
    clinic: Clinic, ehr: System, store: System
) -> None:
    a_pair(clinic, ehr, store, "p1", capabilities={"if_match": "none"})
    clinic.flow("store")
    store.faults({"on": "GET Patient", **FAILING})
    clinic.land("ehr", at(11, gender="male"))
    clinic.release()
    for _ in range(MAX_ATTEMPTS + 2):
        later(clinic)
    assert (clinic.lane("store")["state"], clinic.lane("store")["reason"]) == ("ready", "not_read")

    # Where others land meanwhile, it is this record that cannot be read.
    store.faults()
    clinic.execute("UPDATE sync_lane SET state = 'waiting', due_at = now() + interval '1 hour'")
    clinic.land("ehr", at(10, "p2"))
    clinic.flow("store")
    store.faults({"on": "GET Patient", **FAILING})
    clinic.execute("UPDATE sync_lane SET state = 'ready' WHERE state = 'waiting'")
    later(clinic)
    assert put_aside(clinic) == [("attempts", f"not_read after {MAX_ATTEMPTS} attempts")]


def test_read_backs_that_fail_for_hours_leave_a_write_its_attempts(clinic: Clinic, ehr: System, store: System) -> None:
    """When the sink works again others are quicker, and whoever was being looked for has yet to be written."""
    a_pair(clinic, ehr, store, "p1")
    store.faults({"on": "* *", **FAILING})
    for _ in range(MAX_ATTEMPTS + 2):
        later(clinic)
    assert clinic.lane("store")["state"] == "unknown"
    store.faults()
    clinic.execute("UPDATE sync_lane SET state = 'paused'")
    clinic.land("ehr", at(10, "p2"))
    clinic.flow("store")
    clinic.execute("UPDATE sync_lane SET state = 'unknown' WHERE state = 'paused'")
    healed(clinic, store)
    assert [lane["state"] for lane in clinic.lanes("store")] == ["idle", "idle"]
    assert len(store.all("Patient")) == 2
