"""What follows from the replies to a transaction, lane by lane."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes.intents import CREATE, UPDATE, Intent
from connector_runner.outbound.lanes.lane import Lane, State
from connector_runner.outbound.lanes.outcomes import Settler
from connector_runner.outbound.lanes.transacted import Transacted
from connector_runner.outbound.ports import Desk, LaneStore
from tests.simulation.memory_store import MemoryLaneStore


@dataclass
class Told:
    """A desk that hears what landed and what was refused."""

    landings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    arrivals: list[str] = field(default_factory=list)

    def landed(self, tx: Any, lane: Lane, intent: Intent, ref: str, body: Any) -> None:
        self.landings.append(lane.entity_type)

    def arrived(self, tx: Any, lanes: Any) -> None:
        self.arrivals += [lane.entity_type for lane in lanes]

    def refused(self, tx: Any, lane: Lane, intent: Intent, code: str) -> bool:
        self.refusals.append(lane.entity_type)
        return False

    def carries(self, found: Any, intent: Intent) -> bool:
        return True


class Sent:
    """A patient to be made and an appointment to be changed, sent together."""

    def __init__(self) -> None:
        self.now, self.sink, self.desk = 100.0, new_id(), Told()
        self.store = MemoryLaneStore(new_id(), lambda: self.now)
        terms = SinkTerms(self.sink, "ehr", "fhir_r4", {"patient": 0.8}, quiet_period_s=5.0)
        store, desk = cast(LaneStore, self.store), cast(Desk, self.desk)
        settler = Settler(store, desk, terms, random.Random(1))
        self.transacted = Transacted(store, settler, terms)
        patient, appointment = new_id(), new_id()
        with self.store.begin() as tx:
            tx.want(self.sink, patient)
            tx.want(self.sink, appointment, about=patient, sink_ref="Appointment/1", delay_s=-1.0)
            second = tx.claim(self.sink, owner="me", lease_s=30.0)
            first = tx.claim(self.sink, owner="me", lease_s=30.0)
            assert first is not None
            assert second is not None
            self.sent = [(first, intent_of(first, CREATE)), (second, intent_of(second, UPDATE))]
            for lane, intent in self.sent:
                tx.open_intent(lane, intent, 20.0)

    def settle(self, *replies: Reply) -> list[str]:
        return [each.outcome for each in self.transacted.settle(self.sent, replies)]

    def lanes(self) -> list[tuple[State, str | None, int, bool]]:
        """Patient and appointment: state, reason, attempts, whether an intent is open."""
        tables = self.store.tables
        rows = [tables.lanes[lane.lane_id].lane for lane, _ in self.sent]
        return [(row.state, row.reason, row.attempts, row.lane_id in tables.intents) for row in rows]


@pytest.fixture
def sent() -> Sent:
    return Sent()


def intent_of(lane: Lane, operation: str) -> Intent:
    kind = lane.entity_type.title()
    return Intent(
        intent_id=new_id(), operation=operation, resource_type=kind, target=lane.sink_ref, body={"resourceType": kind},
        before=None if operation == CREATE else {"resourceType": kind}, precondition=None, idempotency_key="k",
        desired_hash=b"h", revision=1, mapping_version="m@1", changed=(), atoms=(), created_by_us=operation == CREATE,
    )  # fmt: skip


def both(outcome: Outcome, entry: int) -> list[Reply]:
    """``entry`` failed with ``outcome``, the other one was undone."""
    undone = Reply(Outcome.UNDONE, "code", 422, entry=entry)
    return [Reply(outcome, "code", 422, entry=entry) if place == entry else undone for place in range(2)]


def test_all_landed_and_who_refers_is_settled_first(sent: Sent) -> None:
    reply = Reply(Outcome.LANDED, status=200, etag='W/"1"')
    sent.settle(replace(reply, ref="Patient/1"), replace(reply, ref="Appointment/1"))
    assert sent.desk.landings == ["appointment", "patient"], "nobody is woken for what is settled here"
    assert [(state, opened) for state, _, _, opened in sent.lanes()] == [(State.IDLE, False)] * 2


def test_the_step_that_failed_is_refused_and_the_other_ready_at_once(sent: Sent) -> None:
    assert sent.settle(*both(Outcome.POISON, 1)) == ["quarantined", "undone"]
    assert sent.lanes() == [(State.READY, "undone", 0, False), (State.QUARANTINED, "code", 1, False)]
    assert sent.desk.refusals == ["appointment"]


def test_a_conflict_may_be_with_this_very_transaction_so_all_is_looked_at(sent: Sent) -> None:
    """A proxy repeats a request: the first made the patient, the second met the first."""
    sent.settle(*both(Outcome.CONFLICT, 1))
    # The attempt is counted when it is looked for.
    assert sent.lanes() == [(State.UNKNOWN, "undone", 0, True), (State.UNKNOWN, "conflict", 0, True)]
    with sent.store.begin() as tx:
        assert tx.due_count(sent.sink, 10) == 1, "the patient after the quiet period, the appointment at once"


def test_a_lost_answer_is_one_fault_of_the_sink_and_two_writes_to_look_for(sent: Sent) -> None:
    reply = Reply(Outcome.UNKNOWN, "answer_lost")
    assert sent.settle(reply, reply) == ["unknown", "unknown"]
    assert [(state, opened) for state, _, _, opened in sent.lanes()] == [(State.UNKNOWN, True)] * 2
    assert sent.store.tables.sinks[sent.sink].breaker.in_a_row == 1
    with sent.store.begin() as tx:
        assert tx.due_count(sent.sink, 10) == 0
        sent.now += 5.0
    with sent.store.begin() as tx:
        assert tx.due_count(sent.sink, 10) == 2


@pytest.mark.parametrize(
    "outcome", [Outcome.POISON, Outcome.DUPLICATES, Outcome.FORBIDDEN, Outcome.ABSENT, Outcome.GONE]
)
def test_a_refusal_that_names_no_step_splits_it(sent: Sent, outcome: Outcome) -> None:
    reply = Reply(outcome, "code", 422)
    sent.settle(reply, reply)
    assert sent.lanes() == [(State.READY, "split", 1, False)] * 2
    with sent.store.begin() as tx:
        entities = [lane.entity_id for lane, _ in sent.sent]
        assert tx.join(sent.sink, entities, referring=False, owner="me", lease_s=1.0, limit=20) == []


@pytest.mark.parametrize(
    ("outcome", "closed"),
    [(Outcome.REFUSED, None), (Outcome.NOT_SENT, None), (Outcome.AUTH, "paused"), (Outcome.QUOTA, "quota")],
)
def test_what_did_nothing_closes_the_sink_once_and_is_no_attempt(
    sent: Sent, outcome: Outcome, closed: str | None
) -> None:
    reply = Reply(outcome, "code", 429, retry_after_s=7.0)
    assert sent.settle(reply, reply) == [str(outcome)] * 2
    assert sent.lanes() == [(State.READY, str(outcome), 0, False)] * 2
    with sent.store.begin() as tx:
        assert tx.sink_state(sent.sink).closed == closed
        assert tx.due_count(sent.sink, 10) == 0
    faults = sent.store.tables.sinks[sent.sink].breaker.in_a_row if sent.sink in sent.store.tables.sinks else 0
    assert faults == (1 if outcome is Outcome.NOT_SENT else 0)


def test_an_answer_that_says_yes_and_no_is_taken_at_its_word_entry_by_entry(sent: Sent) -> None:
    """No FHIR transaction, but some servers answer so."""
    sent.settle(Reply(Outcome.LANDED, status=201, ref="Patient/1"), Reply(Outcome.POISON, "code", 422))
    assert [state for state, *_ in sent.lanes()] == [State.IDLE, State.QUARANTINED]


def test_who_lost_the_claim_changes_nothing(sent: Sent) -> None:
    with sent.store.begin() as tx:
        sent.now += 31.0
    with sent.store.begin() as tx:
        tx.reap(10)
    reply = Reply(Outcome.POISON, "code", 422)
    assert sent.settle(reply, reply) == ["fence_lost", "fence_lost"]
    assert [(state, opened) for state, _, _, opened in sent.lanes()] == [(State.UNKNOWN, True)] * 2
