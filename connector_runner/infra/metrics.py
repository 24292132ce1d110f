"""Counters and gauges for Prometheus, in a registry of our own.

Labels are names that an operator chose (a source, a sink, a queue) or words of ours (an outcome, a code).
An id or a value from a record is never one: ``counter``, ``gauge`` and ``histogram`` refuse other label names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

REGISTRY: Final = CollectorRegistry()
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
LABELS: Final = frozenset(
    {
        "workspace", "source", "sink", "queue", "task", "outcome", "code", "reason", "stage", "state",
        "resource_type", "entity_type", "method", "kind", "status",
    }
)  # fmt: skip
_PREFIX = "connector_runner_"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


def _checked(labels: Sequence[str]) -> Sequence[str]:
    unknown = sorted(set(labels) - LABELS)
    if unknown:
        raise ValueError(f"not a label of ours: {', '.join(unknown)}")
    return labels


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """A counter ``connector_runner_<name>_total``. Raises ValueError for a label outside LABELS or a taken name."""
    return Counter(_PREFIX + name, documentation, _checked(labels), registry=REGISTRY)


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge ``connector_runner_<name>``. Raises as ``counter`` does."""
    return Gauge(_PREFIX + name, documentation, _checked(labels), registry=REGISTRY)


def histogram(name: str, documentation: str, labels: Sequence[str] = ()) -> Histogram:
    """A histogram of seconds ``connector_runner_<name>``. Raises as ``counter`` does."""
    return Histogram(_PREFIX + name, documentation, _checked(labels), registry=REGISTRY, buckets=_SECONDS)


class _Shown(Collector):
    """The gauges of this process, and what was counted elsewhere."""

    def __init__(self, counted: Iterable[Metric]) -> None:
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        yield from (metric for metric in REGISTRY.collect() if metric.type == "gauge")
        yield from self._counted


def expose(counted: Iterable[Metric] | None = None) -> bytes:
    """The text that a scrape gets; send it as CONTENT_TYPE. ``counted`` are counters in place of this process's own."""
    if counted is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    registry.register(_Shown(counted))
    return generate_latest(registry)


POLLS: Final = counter("polls", "Polls of a source's resource", ("source", "outcome"))
POLL_SECONDS: Final = histogram("poll_seconds", "Duration of a poll", ("source",))
QUARANTINED: Final = counter("quarantined", "Times that something went into quarantine", ("stage", "code"))
WRITES: Final = counter("writes", "Writes to a sink, by outcome", ("sink", "outcome"))
WRITE_SECONDS: Final = histogram("write_seconds", "Duration of a write to a sink", ("sink",))
SYNC_SECONDS: Final = histogram("sync_seconds", "From an event to its confirmed write", ("sink",))
LIMITER: Final = counter("limiter_answers", "Answers of the rate limiter", ("sink", "reason"))
ALERTS: Final = counter("alerts", "Alerts raised and ended", ("kind", "outcome"))
READ_LIMITER: Final = counter("read_limiter_answers", "Answers of the limiter of reads", ("source", "reason"))
TASKS: Final = counter("tasks", "Tasks run, by outcome", ("task", "outcome"))
TASK_SECONDS: Final = histogram("task_seconds", "Duration of a task", ("task",))
HINTS: Final = counter("hints", "Hints published", ("queue", "outcome"))
HTTP_REQUESTS: Final = counter("http_requests", "Requests sent, by outcome", ("method", "outcome"))
LANES: Final = gauge("lanes", "Sync lanes, by state", ("sink", "state"))
SOURCE_HEALTHY: Final = gauge("source_healthy", "1 when the source is healthy", ("source",))
QUARANTINE_OPEN: Final = gauge("quarantine_open", "Entries open in quarantine", ("workspace",))
