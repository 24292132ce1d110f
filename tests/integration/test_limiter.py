"""The limiter on real Redis, and what a sink sees of it in its own journal."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from connector_runner.infra.database import Database
from connector_runner.kernel.ids import new_id
from connector_runner.resilience.limiter import Limit, Limiter
from tests.integration.outbound_stack import Clinic, System, a_patient, eventually

ROOT = Path(__file__).parents[2]
RATE, BURST = 10, 5


def overshoot(times: list[float], rate: float, burst: int) -> float:
    """By how many arrivals any sliding window was over ``burst + rate * its length``; negative is under."""
    return max(
        (last - first + 1) - (burst + rate * (times[last] - times[first]))
        for first in range(len(times))
        for last in range(first, len(times))
    )


@pytest.fixture
def limiter(redis_url: str) -> Limiter:
    return Limiter(redis_url)


def test_a_new_bucket_is_empty(limiter: Limiter) -> None:
    limit = Limit(per_second=10, burst=5, concurrency=2, slot_s=5)
    grant = limiter.acquire(new_id(), limit, "me", want=5)
    assert (grant.granted, grant.reason) == (0, "rate")
    assert 0 < grant.wait_s <= limit.interval_s


def test_a_flush_only_slows_down(limiter: Limiter, redis_url: str) -> None:
    sink, limit = new_id(), Limit(per_second=20, burst=5, concurrency=2, slot_s=5)
    granted: list[float] = []
    end = time.monotonic() + 1.5
    flushed = False
    while time.monotonic() < end:
        if not flushed and time.monotonic() > end - 0.7:
            redis.Redis.from_url(redis_url).flushdb()
            flushed = True
        grant = limiter.acquire(sink, limit, "me")
        if grant.granted:
            granted.append(time.monotonic())
        else:
            time.sleep(grant.wait_s)
    assert overshoot(granted, 20, limit.bucket) <= 0.1
    assert len(granted) > 20


def test_an_older_redis_does_not_grant_twice(limiter: Limiter, redis_url: str) -> None:
    sink, limit = new_id(), Limit(per_second=2, burst=5, concurrency=2, slot_s=5)
    client = redis.Redis.from_url(redis_url)
    key = f"cr:{{{sink}}}:limit"
    client.hset(key, "tat", "1")
    assert limiter.acquire(sink, limit, "me", want=5).granted == limit.bucket
    client.hset(key, "tat", "1")  # restarted from a snapshot
    assert limiter.acquire(sink, limit, "me", want=5).granted == 0


def test_slots_bound_what_is_in_flight_and_end_by_themselves(limiter: Limiter, redis_url: str) -> None:
    sink, limit = new_id(), Limit(per_second=1000, burst=50, concurrency=2, slot_s=0.3)
    redis.Redis.from_url(redis_url).hset(f"cr:{{{sink}}}:limit", "tat", "1")
    assert [limiter.acquire(sink, limit, holder).reason for holder in ("a", "b", "c")] == ["ok", "ok", "slots"]
    assert limiter.acquire(sink, limit, "a").reason == "ok", "who has a slot keeps it"
    limiter.release(sink, "b")
    assert limiter.acquire(sink, limit, "c").reason == "ok"
    assert eventually(lambda: limiter.acquire(sink, limit, "d").reason == "ok", 2)


def test_what_is_given_back_can_be_used(limiter: Limiter, redis_url: str) -> None:
    sink, limit = new_id(), Limit(per_second=1, burst=5, concurrency=1, slot_s=5)
    redis.Redis.from_url(redis_url).hset(f"cr:{{{sink}}}:limit", "tat", "1")
    assert limiter.acquire(sink, limit, "me", want=9).granted == limit.bucket
    assert limiter.acquire(sink, limit, "me").granted == 0
    limiter.refund(sink, limit, 2)
    assert limiter.acquire(sink, limit, "me", want=9).granted == 2


def test_a_cut_pauses_and_slows_down(limiter: Limiter, redis_url: str) -> None:
    sink, limit = new_id(), Limit(per_second=100, burst=10, concurrency=1, slot_s=5)
    redis.Redis.from_url(redis_url).hset(f"cr:{{{sink}}}:limit", "tat", "1")
    limiter.cut(sink, 0.4)
    limiter.cut(sink, 0.1)  # within the same second: one refusal among several at once
    paused = limiter.acquire(sink, limit, "me")
    assert paused.reason == "paused"
    assert 0.2 < paused.wait_s <= 0.4
    assert redis.Redis.from_url(redis_url).hget(f"cr:{{{sink}}}:limit", "factor") == b"500"
    time.sleep(paused.wait_s + 0.01)
    assert limiter.acquire(sink, limit, "me").granted == 1


def test_redis_down_is_closed() -> None:
    closed = Limiter("redis://127.0.0.1:9/0")
    limit = Limit(per_second=100, burst=10, concurrency=1, slot_s=5)
    assert closed.acquire("sink", limit, "me").reason == "closed"
    assert not closed.refund("sink", limit)
    assert not closed.cut("sink", 1)


def test_many_threads_at_once_never_exceed_the_bucket(limiter: Limiter) -> None:
    sink, limit = new_id(), Limit(per_second=50, burst=5, concurrency=8, slot_s=5)
    end = time.monotonic() + 2

    def ask(number: int) -> list[float]:
        granted = []
        while time.monotonic() < end:
            if limiter.acquire(sink, limit, f"t{number}").granted:
                granted.append(time.monotonic())
        return granted

    with ThreadPoolExecutor(8) as pool:
        times = sorted(time for part in pool.map(ask, range(8)) for time in part)
    # The time is taken after the answer came, so it may lag the grant by what a thread waits for its turn.
    assert overshoot(times, 50, limit.bucket) < limit.bucket
    assert 0.5 * 100 <= len(times) <= 100 + limit.bucket


@pytest.mark.parametrize("processes", [1, 4])
def test_a_sink_is_never_driven_over_its_limit(
    clinic: Clinic, ehr: System, store: System, database: Database, redis_url: str, processes: int
) -> None:
    clinic.source("ehr", ehr)
    limits = {"per_second": RATE, "burst": BURST, "concurrency": 2}
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient"], rate=limits)
    clinic.land("ehr", *(a_patient(f"p{n}") for n in range(120)))
    clinic.release()
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.drain_process", database.url, redis_url, clinic.workspace,
             clinic.ids["store"], "240"],
            cwd=ROOT,
        )
        for _ in range(processes)
    ]  # fmt: skip
    try:
        assert eventually(lambda: len(store.journal()) >= 120, 180)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    times = [entry["time"] for entry in store.journal()]
    assert all(entry["method"] == "PUT" and entry["status"] == 201 for entry in store.journal())
    per_second = (len(times) - 1) / (times[-1] - times[0])
    print(f"{processes} process(es): {per_second:.2f}/s, overshoot {overshoot(times, RATE, BURST):.2f}")
    assert overshoot(times, RATE, BURST) <= 0
