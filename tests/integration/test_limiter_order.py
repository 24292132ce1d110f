"""Who goes behind others in one limit: reads beside writes."""

from __future__ import annotations

from dataclasses import replace

from connector_runner.resilience.limiter import Grant, Limit
from tests.limiter_clock import Timed

FIVE = Limit(per_second=1, burst=7, concurrency=2, slot_s=30)
ONE = Limit(per_second=1, burst=1, concurrency=1, slot_s=30)


def ask(timed: Timed, limit: Limit, holder: str) -> Grant:
    timed.at(timed.now)
    grant = timed.limiter.acquire(timed.sink, limit, holder)
    timed.limiter.release(timed.sink, holder)
    return grant


def filled(redis_url: str, limit: Limit) -> Timed:
    timed = Timed(redis_url, limit)
    timed.ask("first")
    timed.limiter.release(timed.sink, "first")
    timed.at(timed.now + 100)
    return timed


def count(timed: Timed, limit: Limit) -> int:
    granted = 0
    while ask(timed, limit, "me").granted:
        granted += 1
    return granted


def test_who_goes_behind_leaves_a_part_of_the_burst(redis_url: str) -> None:
    timed = filled(redis_url, FIVE)
    behind = replace(FIVE, behind=0.5)
    first = count(timed, behind)
    left = count(timed, FIVE)
    assert first < FIVE.bucket
    assert first + left == FIVE.bucket
    assert left >= FIVE.bucket // 2
    assert ask(timed, behind, "me").wait_s > ask(timed, FIVE, "me").wait_s


def test_of_a_bucket_of_one_it_gets_what_nobody_before_it_wants(redis_url: str) -> None:
    timed = filled(redis_url, ONE)
    behind = replace(ONE, behind=0.25)
    served = {"read": 0, "write": 0}
    for _ in range(400):
        timed.now += 0.05
        for who, limit in (("write", ONE), ("read", behind)):
            served[who] += ask(timed, limit, who).granted
    assert served["read"] == 0
    assert 18 <= served["write"] <= 20
    timed.now += 2
    assert ask(timed, behind, "read").granted == 1


def test_where_writes_leave_room_reads_get_it(redis_url: str) -> None:
    timed = filled(redis_url, ONE)
    behind = replace(ONE, behind=0.25)
    served = {"read": 0, "write": 0}
    for step in range(600):
        timed.now += 0.1
        served["read"] += ask(timed, behind, "read").granted
        if step % 30 == 0:
            timed.now = max(timed.now, timed.now + ask(timed, ONE, "write").wait_s)
            served["write"] += ask(timed, ONE, "write").granted
    assert served["write"] >= 15
    assert served["read"] >= 20


def test_it_leaves_a_part_of_a_quota(redis_url: str) -> None:
    limit = Limit(per_second=1000, burst=1000, concurrency=1, slot_s=30, per_minute_fixed=10)
    timed = filled(redis_url, limit)
    timed.at((timed.now // 60 + 2) * 60 + 20)
    assert count(timed, replace(limit, behind=0.3)) == 7
    assert count(timed, limit) == 3


def test_it_leaves_a_slot(redis_url: str) -> None:
    timed = filled(redis_url, FIVE)
    behind = replace(FIVE, behind=0.1)
    assert timed.limiter.acquire(timed.sink, behind, "read 1").granted
    assert timed.limiter.acquire(timed.sink, behind, "read 2").reason == "slots"
    assert timed.limiter.acquire(timed.sink, FIVE, "write").granted
