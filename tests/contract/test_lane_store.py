"""What every lane store promises: the one over Postgres, under virtual time, and the simulator's in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from connector_runner.connectors.sinks import Outcome, Reply
from connector_runner.kernel.errors import Conflict
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes.intents import Confirmed
from connector_runner.outbound.lanes.lane import Lane, State, client_ref
from tests.contract.lane_bench import Bench, bench, intent_of, virtual

__all__ = ["bench", "virtual"]


def test_a_lane_is_claimed_by_one(bench: Bench) -> None:
    entity = bench.want()
    lane = bench.claim()
    assert lane is not None
    assert (lane.entity_id, lane.state, lane.fence, lane.attempts, lane.owner) == (entity, State.LEASED, 1, 1, "me")
    assert lane.client_ref == client_ref(bench.sink, entity)
    assert not lane.open_intent
    assert bench.claim() is None


def test_first_unknown_then_by_priority_then_by_age(bench: Bench) -> None:
    asked = bench.claimed()
    bench.do("give_back", asked, State.UNKNOWN, reason="unknown", delay_s=5.0)
    bench.pass_(1)
    old = bench.want(prio=20)
    bench.pass_(1)
    urgent = bench.want(prio=10)
    young = bench.want(prio=20)
    bench.pass_(3)
    order = [bench.claim() for _ in range(4)]
    assert [lane.entity_id if lane else None for lane in order] == [asked.entity_id, urgent, old, young]
    assert bench.claim() is None


def test_nothing_is_claimed_before_it_is_due(bench: Bench) -> None:
    bench.want(delay_s=10)
    assert bench.claim() is None
    assert bench.do("due_count", bench.sink, 5) == 0
    bench.pass_(10)
    assert bench.do("due_count", bench.sink, 5) == 1
    assert bench.claim() is not None


def test_due_lanes_are_counted_up_to_a_limit(bench: Bench) -> None:
    for _ in range(3):
        bench.want()
    assert bench.do("due_count", bench.sink, 2) == 2


@pytest.mark.parametrize(
    "verb",
    [
        lambda bench, lane: bench.do("lock", lane),
        lambda bench, lane: bench.do("extend", lane, 5.0),
        lambda bench, lane: bench.do("give_back", lane, State.IDLE, reason=None),
        lambda bench, lane: bench.do("set_aside", lane, "poison", "no", sink="store"),
        lambda bench, lane: bench.confirm(lane),
    ],
)
def test_who_lost_the_claim_changes_nothing(bench: Bench, verb: Callable[[Bench, Lane], bool]) -> None:
    mine = bench.claimed()
    assert verb(bench, replace(mine, fence=mine.fence + 1)) is False
    bench.pass_(11)
    assert bench.do("reap", 10) == 1
    assert verb(bench, mine) is False, "the lease was ended"
    theirs = bench.claim("another")
    assert theirs is not None
    assert theirs.fence == mine.fence + 1
    assert verb(bench, mine) is False, "another one has it"
    assert verb(bench, theirs) is True


def test_a_lease_that_is_held_longer_is_not_reaped(bench: Bench) -> None:
    lane = bench.claimed()
    bench.pass_(9)
    assert bench.do("extend", lane, 10.0)
    bench.pass_(9)
    assert bench.do("reap", 10) == 0
    bench.pass_(2)
    assert bench.do("reap", 10) == 1


def test_a_reaped_lane_is_ready_or_unknown_by_whether_something_may_have_been_sent(bench: Bench) -> None:
    nothing, sent = bench.claimed(), bench.claimed()
    bench.do("open_intent", sent, intent_of(sent), 30.0)
    bench.pass_(11)
    assert bench.do("reap", 10) == 2
    ready = bench.claim()
    assert ready is not None
    assert (ready.entity_id, ready.reason) == (nothing.entity_id, "lease_expired")
    assert bench.claim() is None, "the other one waits for its quiet period"
    bench.pass_(19)
    unknown = bench.claim()
    assert unknown is not None
    assert (unknown.entity_id, unknown.open_intent, unknown.reason) == (sent.entity_id, True, "unknown")


def test_one_intent_at_most_is_open_on_a_lane(bench: Bench) -> None:
    lane = bench.claimed()
    first = intent_of(lane)
    bench.do("open_intent", lane, first, 5.0)
    with pytest.raises(Conflict):
        bench.do("open_intent", lane, intent_of(lane), 5.0)
    found, early_s = bench.do("find_intent", lane)
    assert (found, early_s) == (first, pytest.approx(5.0))
    assert not bench.do("close_intent", lane, new_id())
    assert bench.do("close_intent", lane, first.intent_id)
    assert not bench.do("close_intent", lane, first.intent_id)
    assert bench.do("find_intent", lane) is None
    second = intent_of(lane)
    bench.do("open_intent", lane, second, 5.0)
    assert not bench.confirm(replace(lane, fence=lane.fence - 1), closing=second.intent_id)
    assert bench.do("find_intent", lane) is not None
    assert bench.confirm(lane, closing=second.intent_id)
    assert bench.do("find_intent", lane) is None


def test_what_left_an_outcome_open_is_known_by_the_intent(bench: Bench) -> None:
    lane = bench.claimed()
    first, second = intent_of(lane), intent_of(lane)
    assert bench.do("answered", lane, first.intent_id) == []
    bench.do("log_outcome", lane, first, "unknown", Reply(Outcome.UNKNOWN, "no_id", 201), "no_id")
    bench.do("log_outcome", lane, first, "absent", Reply(Outcome.ABSENT, "no_match", 200), "no_match")
    bench.do("log_outcome", lane, second, "unknown", None, "answer_lost")
    assert bench.do("answered", lane, first.intent_id) == [(201, "no_id")]
    assert bench.do("answered", lane, second.intent_id) == [(None, "answer_lost")]


def test_the_quiet_period_runs_from_when_the_answer_was_lost(bench: Bench) -> None:
    lane = bench.claimed()
    intent = intent_of(lane)
    bench.do("open_intent", lane, intent, 5.0)
    bench.pass_(4)
    bench.do("resolve_later", lane, intent.intent_id, 5.0)
    bench.do("resolve_later", lane, new_id(), 50.0)
    assert bench.do("find_intent", lane)[1] == pytest.approx(5.0)
    bench.pass_(6)
    assert bench.do("find_intent", lane)[1] == 0


def test_what_is_undone_never_was(bench: Bench) -> None:
    lane = bench.claimed()

    def fail() -> None:
        with bench.store.begin() as tx:
            tx.open_intent(lane, intent_of(lane), 5.0)
            tx.give_back(lane, State.IDLE, reason=None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert bench.do("find_intent", lane) is None
    assert bench.do("lock", lane)


@pytest.mark.parametrize("to", [State.READY, State.WAITING, State.UNKNOWN, State.QUARANTINED, State.IDLE])
def test_given_back(bench: Bench, to: State) -> None:
    lane = bench.claimed()
    assert bench.do("give_back", lane, to, reason="why", delay_s=3.0)
    assert bench.do("states") == [to]
    assert bench.claim() is None
    bench.pass_(3)
    again = bench.claim()
    assert (again is not None) == (to in (State.READY, State.WAITING, State.UNKNOWN))
    if again is not None:
        assert (again.attempts, again.reason) == (2, "why")


def test_whether_more_is_desired_by_now(bench: Bench) -> None:
    lane = bench.claimed()
    assert not bench.do("more_desired", lane)
    bench.do("want", bench.sink, lane.entity_id)
    assert bench.do("more_desired", lane)
    assert not bench.do("more_desired", replace(lane, fence=lane.fence - 1)), "who lost the claim decides nothing"


def test_what_was_no_attempt_is_not_counted(bench: Bench) -> None:
    lane = bench.claimed()
    bench.do("give_back", lane, State.READY, reason=None, counts=False)
    again = bench.claim()
    assert again is not None
    assert again.attempts == 1


def test_an_illegal_move_is_refused(bench: Bench) -> None:
    lane = bench.claimed()
    with pytest.raises(ValueError, match="never moves"):
        bench.do("give_back", lane, State.LEASED, reason=None)


def test_what_landed_is_remembered(bench: Bench) -> None:
    lane = bench.claimed()
    bench.do("give_back", lane, State.READY, reason=None)
    lane = bench.claim()
    assert lane is not None
    assert bench.confirm(lane)
    assert bench.do("states") == [State.IDLE]
    bench.want(lane.entity_id)
    again = bench.claim()
    assert again is not None
    assert (again.sink_ref, again.sink_etag, again.synced_hash, again.attempts) == ("Patient/1", 'W/"1"', b"h", 1)
    assert bench.do("known", again) == Confirmed({"language": "n1"}, ("language",), True)
    assert bench.confirm(again, confirmed=None, sink_ref=None, sink_etag=None, again=True)
    assert bench.do("known", bench.claim()) == Confirmed({"language": "n1"}, ("language",), True)


def test_what_was_seen_is_known_and_no_more_of_it_ours(bench: Bench) -> None:
    lane = bench.claimed()
    bench.confirm(lane, confirmed=None, seen={"language": "x"}, again=True)
    lane = bench.claim()
    assert lane is not None
    assert bench.do("known", lane) == Confirmed({"language": "x"}, (), False)
    bench.confirm(lane, again=True)
    lane = bench.claim()
    assert lane is not None
    bench.confirm(lane, confirmed=None, seen={"language": "y"}, again=True)
    lane = bench.claim()
    assert bench.do("known", lane) == Confirmed({"language": "y"}, ("language",), True)


@pytest.mark.parametrize("ends", ["confirm", "give_back"])
def test_what_changed_meanwhile_makes_it_ready_again(bench: Bench, ends: str) -> None:
    lane = bench.claimed()
    bench.want(lane.entity_id)
    assert bench.do("states") == [State.LEASED]
    if ends == "confirm":
        bench.confirm(lane)
    else:
        bench.do("give_back", lane, State.IDLE, reason="in_step")
    assert bench.do("states") == [State.READY]


def test_a_version_can_be_forgotten(bench: Bench) -> None:
    lane = bench.claimed()
    bench.confirm(lane, again=True)
    lane = bench.claim()
    assert lane is not None
    bench.do("give_back", lane, State.READY, reason="conflict", forget_version=True)
    again = bench.claim()
    assert again is not None
    assert (again.sink_ref, again.sink_etag) == ("Patient/1", None)


@pytest.mark.parametrize("state", [State.IDLE, State.WAITING, State.UNKNOWN, State.QUARANTINED])
def test_wanting_more_wakes_only_what_rests(bench: Bench, state: State) -> None:
    lane = bench.claimed()
    bench.do("give_back", lane, state, reason=None, delay_s=100.0)
    bench.want(lane.entity_id)
    assert bench.do("states") == [State.READY if state in (State.IDLE, State.WAITING) else state]
    again = bench.claim()
    assert (again is not None) == (state in (State.IDLE, State.WAITING))


def test_others_that_landed_lately(bench: Bench) -> None:
    one, other = bench.claimed(), bench.claimed()
    bench.do("log_outcome", one, intent_of(one), "landed", None, "")
    assert bench.do("others_landed", other, 60.0)
    assert not bench.do("others_landed", one, 60.0), "its own does not count"
    bench.pass_(61)
    assert not bench.do("others_landed", other, 60.0)


def test_who_holds_leases(bench: Bench) -> None:
    bench.claimed()
    bench.pass_(4)
    bench.want()
    bench.claim("another", 2.0)
    assert sorted(bench.do("in_flight", bench.sink)) == [("another", pytest.approx(2.0)), ("me", pytest.approx(6.0))]
    bench.pass_(3)
    assert [owner for owner, _ in bench.do("in_flight", bench.sink)] == ["me"]


def test_a_sink_that_is_paused_is_closed_for_a_time(bench: Bench) -> None:
    lane = bench.claimed()
    bench.do("give_back", lane, State.READY, reason="auth", delay_s=65.0)
    assert bench.do("sink_state", bench.sink).closed is None
    bench.do("pause", bench.sink, "http_401", 60.0)
    state = bench.do("sink_state", bench.sink)
    assert (state.closed, state.wait_s, state.paused) == ("paused", pytest.approx(60.0), True)
    bench.pass_(60)
    state = bench.do("sink_state", bench.sink)
    assert (state.closed, state.paused, state.mending) == (None, True, True)
    assert bench.claim() is None
    bench.do("works", bench.sink)
    assert not bench.do("sink_state", bench.sink).paused
    assert bench.claim() is not None, "who was refused with it may try at once"


def test_a_sink_that_fails_is_left_alone_until_one_request_may_try(bench: Bench) -> None:
    for _ in range(4):
        bench.do("fail", bench.sink)
        assert bench.do("sink_state", bench.sink).closed is None
    bench.do("fail", bench.sink)
    state = bench.do("sink_state", bench.sink)
    assert (state.closed, state.failures) == ("breaker", 5)
    bench.pass_(state.wait_s)
    state = bench.do("sink_state", bench.sink)
    assert (state.closed, state.half_open) == (None, True)
    assert bench.do("works", bench.sink) is True
    assert bench.do("sink_state", bench.sink).clean


def test_what_is_put_aside_waits_for_a_person(bench: Bench) -> None:
    lane = bench.claimed()
    bench.do("open_intent", lane, intent_of(lane), 5.0)
    assert bench.do("set_aside", lane, "http_422", "not accepted", sink="store", body={"a": 1}, status=422)
    assert bench.do("states") == [State.QUARANTINED]
    bench.pass_(100)
    assert bench.claim() is None
    assert bench.do("replay") == 1
    assert bench.do("states") == [State.UNKNOWN], "what may have been sent is read back"
    again = bench.claim()
    assert again is not None
    assert again.attempts == 1
