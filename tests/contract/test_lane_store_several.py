"""What every lane store promises of lanes that are taken, held or made together."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.outbound.lanes.lane import State
from tests.contract.lane_bench import Bench, bench, intent_of, virtual

__all__ = ["bench", "virtual"]


def test_those_that_are_to_be_made_are_leased_by_one(bench: Bench) -> None:
    patient = bench.want()
    options: dict[str, Any] = {"referring": False, "owner": "me", "lease_s": 10.0, "limit": 20}
    [found] = bench.do("join", bench.sink, [patient], **options)
    assert (found.entity_id, found.fence, found.attempts) == (patient, 1, 1)
    assert bench.do("join", bench.sink, [patient], **options) == []
    assert bench.claim() is None
    bench.do("give_back", found, State.READY, reason=None, delay_s=5.0)
    assert bench.do("join", bench.sink, [patient], **options) == [], "not before it is due"


@pytest.mark.parametrize(
    ("reason", "joins"), [("dependency", True), ("translation_pending", False), ("split", False), ("auth", False)]
)
def test_who_waits_for_a_record_joins_it_before_it_is_due(bench: Bench, reason: str, joins: bool) -> None:
    patient = bench.want(delay_s=50.0)
    later = bench.claimed(about=patient)
    bench.do("give_back", later, State.WAITING, reason=reason, delay_s=300.0, counts=False)
    found = bench.do("join", bench.sink, [patient], referring=True, owner="me", lease_s=10.0, limit=20)
    assert [lane.entity_id for lane in found] == ([later.entity_id] if joins else [])
    if joins:
        assert (found[0].state, found[0].attempts, found[0].owner) == (State.LEASED, 1, "me")
        assert bench.do("lock", found[0])


def test_no_more_join_than_are_asked_for_and_none_with_an_open_intent(bench: Bench) -> None:
    patient = bench.want(delay_s=50.0)
    lane = bench.claimed(about=patient)
    bench.do("open_intent", lane, intent_of(lane), 0.0)
    bench.do("give_back", lane, State.UNKNOWN, reason="unknown")
    others = {bench.want(about=patient) for _ in range(5)}
    options: dict[str, Any] = {"referring": True, "owner": "me", "lease_s": 10.0}
    some = bench.do("join", bench.sink, [patient], limit=3, **options)
    rest = bench.do("join", bench.sink, [patient], limit=20, **options)
    assert (len(some), len(rest)) == (3, 2)
    assert {each.entity_id for each in [*some, *rest]} == others


def test_only_what_has_no_record_yet_is_leased_to_be_made(bench: Bench) -> None:
    there = bench.want(sink_ref="Patient/1")
    assert bench.do("join", bench.sink, [there], referring=False, owner="me", lease_s=10.0, limit=20) == []


def test_more_are_claimed_by_priority_and_by_nobody_twice(bench: Bench) -> None:
    asked = bench.claimed()
    bench.do("give_back", asked, State.UNKNOWN, reason="unknown", delay_s=0.0)
    late, urgent, young = bench.want(prio=30), bench.want(prio=10), bench.want(prio=20)
    bench.want(prio=10, delay_s=60)
    bench.pass_(1)
    first = bench.do("claim_more", bench.sink, owner="me", lease_s=10.0, limit=2)
    assert {lane.entity_id for lane in first} == {urgent, young}
    assert {(lane.state, lane.fence, lane.owner) for lane in first} == {(State.LEASED, 1, "me")}
    rest = bench.do("claim_more", bench.sink, owner="another", lease_s=10.0, limit=5)
    assert [lane.entity_id for lane in rest] == [late]
    assert bench.do("claim_more", bench.sink, owner="me", lease_s=10.0, limit=5) == []


def test_of_several_only_those_that_are_ours_are_held(bench: Bench) -> None:
    kept, lost = bench.claimed(), bench.claimed()
    bench.do("give_back", lost, State.READY, reason=None)
    again = bench.claim()
    assert again is not None
    assert again.lane_id == lost.lane_id
    assert bench.do("lock_all", [kept, lost]) == {kept.lane_id}
    assert bench.do("extend_all", [lost, kept], 1000.0) == {kept.lane_id}
    bench.pass_(500)
    assert bench.do("reap", 10) == 1
    assert bench.do("lock_all", [kept, again]) == {kept.lane_id}


def test_what_is_locked_is_confirmed_all_the_same(bench: Bench) -> None:
    lane = bench.claimed()
    assert bench.do("lock_all", [lane]) == {lane.lane_id}
    assert bench.confirm(lane, locked=True)
    assert bench.do("lock_all", [lane]) == set()
