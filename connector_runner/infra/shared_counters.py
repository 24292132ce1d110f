"""The counters and histograms of all processes, summed in Redis: a worker has no address at which it could be scraped.

Each process adds what it counted since it last did, and whoever is scraped shows the sums. They begin at nothing with a
Redis that was emptied, which Prometheus takes for a restart. While Redis does not answer, what was counted is kept; of
what was sent when an answer was lost some may be counted twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from prometheus_client import Metric
from redis import Redis
from redis.exceptions import RedisError

from connector_runner.infra import metrics
from connector_runner.infra.logging import get_logger
from connector_runner.infra.queue import KEY_PREFIX

log = get_logger(__name__)

KEY: Final = f"{KEY_PREFIX}counters"
EVERY_S: Final = 5.0
_SUMMED: Final = ("counter", "histogram")

_Series = tuple[str, str, str, tuple[tuple[str, str], ...]]
"""Family, type, sample and labels."""


class SharedCounters:
    """What this process counts, added to the sums of all. One a process; threads share it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # What was counted before a fork is the parent's to tell.
        self._told = dict(_counted())
        self._due = time.monotonic() + EVERY_S
        self._lock = threading.Lock()

    def tell(self, *, at_once: bool = False) -> bool:
        """Add what was counted since, every EVERY_S at most unless ``at_once``; whether Redis has it all now."""
        if not at_once and time.monotonic() < self._due:
            return True
        with self._lock:
            self._due = time.monotonic() + EVERY_S
            now = dict(_counted())
            more = {series: value - self._told.get(series, 0.0) for series, value in now.items()}
            pipeline = self._redis.pipeline()
            for series, amount in more.items():
                if amount:
                    pipeline.hincrbyfloat(KEY, json.dumps(series), amount)
            try:
                pipeline.execute()
            except (RedisError, OSError) as error:
                log.warning("counters.kept", error=type(error).__name__)
                return False
            self._told = now
        return True

    def sums(self) -> list[Metric]:
        """The sums of all processes. Raises RedisError when Redis does not answer."""
        families: dict[tuple[str, str], list[tuple[str, dict[str, str], float]]] = defaultdict(list)
        for field, value in self._redis.hgetall(KEY).items():
            family, kind, sample, labels = json.loads(field)
            families[family, kind].append((sample, dict(labels), float(value)))
        known = {metric.name: metric.documentation for metric in metrics.REGISTRY.collect()}
        found = []
        for (family, kind), samples in sorted(families.items()):
            metric = Metric(family, known.get(family, ""), kind)
            for name, labels, total in sorted(samples, key=_in_order):
                metric.add_sample(name, labels, total)
            found.append(metric)
        return found


def _in_order(sample: tuple[str, dict[str, str], float]) -> tuple[str, list[tuple[str, str]], float]:
    """The buckets of a histogram by their bounds, as a scrape has them."""
    name, labels, _ = sample
    return name, sorted(item for item in labels.items() if item[0] != "le"), float(labels.get("le", 0))


def _counted() -> Iterator[tuple[_Series, float]]:
    for metric in metrics.REGISTRY.collect():
        if metric.type in _SUMMED:
            for sample in metric.samples:
                if not sample.name.endswith("_created"):
                    labels = tuple(sorted(sample.labels.items()))
                    yield (metric.name, metric.type, sample.name, labels), sample.value
