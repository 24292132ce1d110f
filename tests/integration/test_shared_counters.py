"""What each process counts is summed in Redis, once, and shown by whoever is scraped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from connector_runner.infra import metrics
from connector_runner.infra.shared_counters import KEY, SharedCounters

ROOT = Path(__file__).parents[2]
COUNTS = """
import sys
from redis import Redis
from connector_runner.infra import metrics
from connector_runner.infra.shared_counters import SharedCounters
metrics.WRITES.labels(sink="store", outcome="before").inc()
counters = SharedCounters(Redis.from_url(sys.argv[1]))
for number in range(3):
    metrics.WRITES.labels(sink="store", outcome="landed").inc()
    metrics.WRITE_SECONDS.labels(sink="store").observe(0.3)
    assert counters.tell(at_once=True)
assert counters.tell(at_once=True)
"""
FORKS = """
import os, sys
from redis import Redis
from connector_runner.infra import metrics
from connector_runner.infra.shared_counters import SharedCounters
metrics.WRITES.labels(sink="forked", outcome="landed").inc(5)
child = os.fork()
if child:
    sys.exit(os.waitpid(child, 0)[1])
counters = SharedCounters(Redis.from_url(sys.argv[1]))
metrics.WRITES.labels(sink="forked", outcome="landed").inc()
sys.exit(not counters.tell(at_once=True))
"""


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return Redis.from_url(redis_url)


def shown(counters: SharedCounters) -> dict[str, float]:
    lines = metrics.expose(counters.sums()).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_two_processes_are_scraped_as_one(redis: Redis, redis_url: str) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", COUNTS, redis_url], cwd=ROOT) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    found = shown(SharedCounters(redis))
    assert found['connector_runner_writes_total{outcome="landed",sink="store"}'] == 6
    assert 'connector_runner_writes_total{outcome="before",sink="store"}' not in found, "another's, as before a fork"
    seconds = "connector_runner_write_seconds"
    assert found[f'{seconds}_count{{sink="store"}}'] == 6
    assert found[f'{seconds}_sum{{sink="store"}}'] == pytest.approx(1.8)
    buckets = [(name, value) for name, value in found.items() if name.startswith(f"{seconds}_bucket")]
    assert [value for _, value in buckets] == sorted(value for _, value in buckets), "by their bounds"
    assert buckets[-1] == (f'{seconds}_bucket{{le="+Inf",sink="store"}}', 6)
    assert "connector_runner_lanes" in metrics.expose([]).decode(), "gauges are this process's"


def test_what_was_counted_while_redis_was_away_is_told_once_it_is_back(redis: Redis) -> None:
    counters = SharedCounters(Redis(port=9, socket_connect_timeout=0.2))
    metrics.WRITES.labels(sink="away", outcome="landed").inc()
    assert not counters.tell(at_once=True)
    with pytest.raises(RedisError):
        counters.sums()
    counters._redis = redis
    metrics.WRITES.labels(sink="away", outcome="landed").inc()
    for _ in range(2):
        assert counters.tell(at_once=True)
    assert shown(counters)['connector_runner_writes_total{outcome="landed",sink="away"}'] == 2


def test_it_is_told_now_and_then_and_not_with_every_task(redis: Redis) -> None:
    counters = SharedCounters(redis)
    metrics.WRITES.labels(sink="often", outcome="landed").inc()
    assert counters.tell()
    assert not redis.exists(KEY)


def test_a_child_of_a_worker_tells_what_it_counted_itself(redis: Redis, redis_url: str) -> None:
    subprocess.run([sys.executable, "-c", FORKS, redis_url], cwd=ROOT, check=True, timeout=120)
    assert shown(SharedCounters(redis))['connector_runner_writes_total{outcome="landed",sink="forked"}'] == 1
