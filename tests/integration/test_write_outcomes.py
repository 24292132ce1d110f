"""What the engine does with each kind of answer, on the real store and a simulated system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from connector_runner.connectors.sinks import Json, Outcome, Pace, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.outbound.sinks import sink_state
from connector_runner.outbound.sinks.directory import Sinks
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import PATIENTS, phones
from tests.integration.test_unknown_writes import settle

Answer = Callable[[Json], Reply | None]


@dataclass
class Moody:
    """A sink that answers some writes itself, and passes on the others."""

    inner: Sink
    answers: list[Answer]

    def create(self, body: Json, client_ref: str) -> Reply:
        return self._own(body) or self.inner.create(body, client_ref)

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        return self._own(body) or self.inner.update(ref, body, etag, before=before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _own(self, body: Json) -> Reply | None:
        for answer in list(self.answers):
            reply = answer(body)
            if reply is not None:
                return reply
        return None


@dataclass
class MoodySinks:
    """Every sink is moody."""

    inner: Sinks
    answers: list[Answer] = field(default_factory=list)

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        return self.inner.terms(tx, workspace_id)

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        terms, sink = self.inner.open(tx, workspace_id, sink_id)
        return terms, cast(Sink, Moody(sink, self.answers))


def at(hour: int, record_id: str = "p1", **more: Any) -> dict[str, Any]:
    return a_patient(record_id, meta={"lastUpdated": f"2026-11-20T{hour}:00:00Z"}, **more)


def a_pair(clinic: Clinic, ehr: System, store: System, *patients: dict[str, Any], **sink: Any) -> list[Answer]:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS, **sink)
    moody = MoodySinks(clinic.outbound.sinks)
    clinic.outbound = replace(clinic.outbound, sinks=moody)
    clinic.land("ehr", *(patients or (at(10),)))
    clinic.release()
    return moody.answers


def state_of(clinic: Clinic) -> sink_state.SinkState:
    with clinic.database.begin(clinic.workspace) as tx:
        return sink_state.state(tx, clinic.workspace, clinic.ids["store"])


def born(day: str) -> Callable[[Json], bool]:
    return lambda body: body.get("birthDate") == day


def test_what_a_policy_forbids_is_put_aside_and_the_sink_goes_on(clinic: Clinic, ehr: System, store: System) -> None:
    answers = a_pair(clinic, ehr, store, at(10, "p1", birthDate="1901-01-01"), at(10, "p2"), at(10, "p3"))
    closed = born("1901-01-01")
    answers.append(lambda body: Reply(Outcome.FORBIDDEN, "http_403_suppressed", 403) if closed(body) else None)
    done = clinic.flow("store")
    assert done.outcomes == {"quarantined": 1, "landed": 2}
    stuck = [lane for lane in clinic.lanes("store") if lane["state"] == "quarantined"]
    assert [lane["reason"] for lane in stuck] == ["http_403_suppressed"]
    assert state_of(clinic).closed is None


@pytest.mark.parametrize("told", ["retry_after", "headers", "nothing"])
def test_an_allowance_that_is_used_up_closes_the_sink_until_it_is_renewed(
    clinic: Clinic, ehr: System, store: System, told: str
) -> None:
    answers = a_pair(clinic, ehr, store, at(10, "p1"), at(10, "p2"))
    reply = Reply(
        Outcome.QUOTA,
        "quota",
        429,
        retry_after_s=900.0 if told == "retry_after" else None,
        pace=Pace(1000, 0, 900.0) if told == "headers" else None,
    )
    answers.append(lambda _: reply)
    assert clinic.drain("store").outcomes["quota"] >= 1
    state = state_of(clinic)
    assert state.closed == "quota"
    assert state.wait_s == pytest.approx(900 if told != "nothing" else 3600, abs=30)
    assert all(lane["attempts"] == 0 for lane in clinic.lanes("store") if lane["state"] != "idle")
    assert clinic.count("open_intent") == 0
    assert clinic.drain("store").closed == "quota"


def test_a_record_that_is_gone_from_the_sink_is_a_case_for_a_person(clinic: Clinic, ehr: System, store: System) -> None:
    answers = a_pair(clinic, ehr, store)
    clinic.flow("store")
    answers.append(lambda _: Reply(Outcome.ABSENT, "http_404", 404))
    clinic.land("ehr", at(11, gender="male"))
    assert clinic.flow("store").outcomes["quarantined"] == 1
    assert clinic.lane("store")["reason"] == "http_404"
    assert clinic.count("open_intent") == 0


def test_what_is_known_is_not_read_again(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    clinic.flow("store")
    clinic.land("ehr", at(11, gender="male"))
    clinic.flow("store")
    assert [entry["method"] for entry in store.journal()] == ["PUT", "PUT"]


def test_after_a_lost_answer_another_body_waits_too(clinic: Clinic, ehr: System, store: System) -> None:
    """It may overtake the first one, which would then be the last word."""
    a_pair(clinic, ehr, store, quiet_period_s=1.0)
    store.faults({"on": "PUT Patient", "kind": "late", "seconds": 0.6, "next": 1})
    assert clinic.drain("store").outcomes == {"unknown": 1}
    clinic.land("ehr", at(11, gender="male"))
    clinic.release()
    assert clinic.drain("store").outcomes == {}
    settle(clinic)
    assert store.all("Patient")[0]["gender"] == "male"
    assert [entry["resource"] for entry in store.writes() if entry["committed"]]
    assert store.all("Patient")[0]["meta"]["versionId"] == "2"


@pytest.mark.parametrize("client_id", [True, False])
def test_anothers_edit_of_what_we_made_but_never_heard_of_is_kept(
    clinic: Clinic, ehr: System, store: System, client_id: bool
) -> None:
    """What is found after a lost answer is not all ours."""
    a_pair(clinic, ehr, store, client_id=client_id)
    store.faults({"on": f"{'PUT' if client_id else 'POST'} Patient", "kind": "drop_answer", "next": 1})
    assert clinic.drain("store").outcomes == {"unknown": 1}
    [made] = store.all("Patient")
    store.put({**made, "telecom": [{"system": "phone", "use": "home", "value": "617-555-0999"}]})
    settle(clinic)
    clinic.flow("store")
    assert phones(store.all("Patient")[0]) == ["617-555-0999"]
    lane = clinic.lane("store")
    assert (lane["state"], [item["code"] for item in lane["withheld"]]) == ("idle", ["sink_newer"])

    clinic.land("ehr", at(11, gender="male"))
    clinic.flow("store")
    [now] = store.all("Patient")
    assert (now["gender"], phones(now)) == ("male", ["617-555-0999"])


def test_a_conflict_with_our_own_write_is_no_conflict(clinic: Clinic, ehr: System, store: System) -> None:
    """A proxy repeats the request: the first one lands, and the answer is the second one's."""
    answers = a_pair(clinic, ehr, store)
    clinic.flow("store")
    ref = f"Patient/{clinic.lane('store')['client_ref']}"

    def twice(body: Json) -> Reply | None:
        answers.clear()
        store.put({**body, "id": ref.split("/")[1]})
        return Reply(Outcome.CONFLICT, "http_412", 412)

    answers.append(twice)
    clinic.land("ehr", at(11, gender="male"))
    done = clinic.flow("store")
    assert (done.outcomes["conflict"], done.outcomes["landed"]) == (1, 1)
    assert store.get(ref)["meta"]["versionId"] == "2"
    # The other's edit of another field comes later than what we learn next, and is no edit of ours.
    clinic.land("ehr", at(12, gender="other"))
    store.put({**store.get(ref), "maritalStatus": {"text": "theirs"}})
    clinic.flow("store")
    now = store.get(ref)
    assert (now["gender"], now["maritalStatus"]) == ("other", {"text": "theirs"})


def test_a_page_in_the_place_of_the_sink_says_nothing_of_its_records(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Whatever stands before the sink answers 404 with a page while it is away: nobody was removed there."""
    a_pair(clinic, ehr, store)
    clinic.flow("store")
    store.faults({"on": "* *", "kind": "html", "status": 404})
    clinic.land("ehr", a_patient(phone="617-555-0777", meta={"lastUpdated": "2026-11-20T11:00:00Z"}))
    clinic.flow("store")
    lane = clinic.lane("store")
    assert (lane["state"], lane["reason"], clinic.count("quarantine")) == ("ready", "auth", 0)
    store.faults()
    with clinic.database.begin(clinic.workspace) as tx:
        sink_state.resume(tx, clinic.workspace, clinic.ids["store"])
    clinic.flow("store")
    assert phones(store.all("Patient")[0]) == ["617-555-0777"]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_sink_that_drops_our_identity_makes_nothing_more_unless_that_is_accepted(
    clinic: Clinic, ehr: System, store: System, allowed: bool
) -> None:
    answers = a_pair(clinic, ehr, store, allow_possible_duplicates=allowed)
    made = {**a_patient("7"), "meta": {"versionId": "1"}}
    answers.append(lambda _: Reply(Outcome.LANDED, "", 201, "Patient/7", body=made, cause="identity_dropped"))
    clinic.flow("store")
    assert (clinic.lane("store")["state"], clinic.lane("store")["sink_ref"]) == ("idle", "Patient/7")
    state = state_of(clinic)
    assert (state.closed, state.paused) == ((None, False) if allowed else ("paused", True))
