"""How it all is: the query behind ``status`` and the landing page. Counts, names and codes; no record's content.

A workspace is

- ``degraded`` when something needs a person or a repair, and ``reasons`` says what: a source that is degraded or
  unhealthy, polls, releases or writes that nobody does, a sink that is paused or whose breaker is open, no Redis;
- ``starting`` when an enabled source was never polled yet, or when there is neither a source nor an event;
- ``healthy`` otherwise.

Open quarantine and failed lanes do not degrade it: they are trouble of single records, the others flow on, and
both are counted beside the status.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from connector_runner.audit import store as audit_store
from connector_runner.infra import schedule
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.queue import QUEUES_OF_POOL, Publisher, sink_queue
from connector_runner.intake.push import push_store
from connector_runner.observability import status_store, store
from connector_runner.observability.sealing_reads import ANCHORS_LATE_S
from connector_runner.observability.sealing_reads import LATE_S as SEALS_LATE_S
from connector_runner.resilience import alerts
from connector_runner.resilience.quarantine import Quarantine

PENDING: Final = ("ready", "leased", "waiting", "unknown", "paused")
POLLS_LATE_S: Final = 120.0
"""Beyond this a due poll that nobody took means that no worker takes polls."""
LANES_LATE_S: Final = 120.0
"""Beyond this a due write is a fault when no worker lives; when one does, the sink's rate may be what it waits for."""
PUSHES_LATE_S: Final = 600.0
"""Beyond this a delivery that is not worked off means that its source cannot be read, or that nobody reads it."""
RELEASES_LATE_S: Final = 600.0
"""Beyond this a change that no release looked at means that releases stand still, not that there are many."""

Document = dict[str, Any]


def status(tx: Tx, workspace_id: str, quarantine: Quarantine) -> Document:
    """Sources, sinks, events, entities and what waits, of the workspace of ``tx``.

    A sink's ``lanes`` has the states that hold a lane, and always ``idle``. Each lane counts once: ``synced`` (the
    sink holds it), ``pending`` (on its way), ``failed`` (quarantined) or ``held`` (never written: no gate let it
    through, or nothing had to be). ``*_s`` are seconds.
    """
    sources = status_store.sources(tx, workspace_id)
    lanes = status_store.lanes(tx, workspace_id)
    oldest = status_store.oldest_ready(tx, workspace_id)
    work = status_store.work(tx, workspace_id)
    events = status_store.event_total(tx, workspace_id)
    used = {lane["sink_id"] for lane in lanes}
    pushes = push_store.backlog(tx, workspace_id)
    unsealed, unsealed_s = audit_store.unsealed(tx, workspace_id)
    unanchored_s = audit_store.unanchored(tx, workspace_id)
    reasons = _reasons(sources, work) + _late_pushes(pushes) + _late_audit(unsealed_s, unanchored_s)
    return {
        "status": _verdict(sources, events, reasons),
        "reasons": reasons,
        "sources": [_source(row) for row in sources],
        "sinks": [_sink(row, lanes, oldest) for row in sources if row["sink_enabled"] or row["data_source_id"] in used],
        "events": {"total": events},
        "entities": status_store.entity_counts(tx, workspace_id),
        "quarantine": {"open": quarantine.count_open(tx, workspace_id)},
        "unmapped": status_store.unmapped(tx, workspace_id),
        "polls": {"late_s": round(max((row["late_s"] for row in sources if row["active"]), default=0.0), 1)},
        "pushes": [row | {"oldest_s": round(row["oldest_s"], 1)} for row in pushes],
        "release": {"pending": work["releases"], "oldest_s": round(work["release_s"], 1)},
        "folding": {"pending": work["folds"]},
        "imports": {"running": work["imports"]},
        "audit": {"unsealed": unsealed, "oldest_s": round(unsealed_s, 1), "unanchored_s": round(unanchored_s)},
        "alerts": [_alert(row) for row in alerts.listing(tx, workspace_id)],
    }


def of_workspace(database: Database, quarantine: Quarantine, workspace_id: str) -> Document:
    """``status`` in a transaction of its own. Raises Unavailable when Postgres cannot be asked."""
    with database.begin(workspace_id) as tx:
        return status(tx, workspace_id, quarantine)


def of_installation(database: Database, publisher: Publisher) -> Document:
    """Workers that gave a sign of life, and how many hints wait in each queue: None when Redis does not answer.

    Raises Unavailable when Postgres cannot be asked.
    """
    with database.sweep() as tx:
        nodes = schedule.nodes(tx)
        sinks = store.sinks(tx)
    names = [name for group in QUEUES_OF_POOL.values() for name in group]
    names += [sink_queue(sink.workspace_slug, sink.name) for sink in sinks]
    now = datetime.now(UTC)
    try:
        queues = publisher.depths(names)
    except RedisError:
        queues = None
    return {
        "workers": [
            {"node": row["node"], "kind": row["kind"], "seconds_ago": round((now - row["beat_at"]).total_seconds())}
            for row in nodes
        ],
        "queues": queues,
    }


def together(parts: Sequence[Document]) -> Document:
    """Several workspaces as one: counts added, the oldest of ages, lists joined, the worst status."""
    if len(parts) == 1:
        return parts[0]
    order = ("degraded", "starting", "healthy")
    joined: Document = {"status": min((part["status"] for part in parts), key=order.index, default="starting")}
    for name in ("reasons", "sources", "sinks", "unmapped", "pushes", "alerts"):
        joined[name] = [row for part in parts for row in part[name]]
    types = sorted({kind for part in parts for kind in part["entities"]})
    joined["entities"] = {kind: sum(part["entities"].get(kind, 0) for part in parts) for kind in types}
    for name, count in (("events", "total"), ("quarantine", "open"), ("folding", "pending"), ("imports", "running")):
        joined[name] = {count: sum(part[name][count] for part in parts)}
    joined["polls"] = {"late_s": max((part["polls"]["late_s"] for part in parts), default=0.0)}
    joined["audit"] = {
        "unsealed": sum(part["audit"]["unsealed"] for part in parts),
        "oldest_s": max((part["audit"]["oldest_s"] for part in parts), default=0.0),
        "unanchored_s": max((part["audit"]["unanchored_s"] for part in parts), default=0),
    }
    joined["release"] = {
        "pending": sum(part["release"]["pending"] for part in parts),
        "oldest_s": max((part["release"]["oldest_s"] for part in parts), default=0.0),
    }
    return joined


def with_installation(found: Document, installation: Document) -> Document:
    """``together``'s answer with workers and queues; degraded when Redis is silent, or due writes have no worker."""
    reasons: list[Document] = []
    if installation["queues"] is None:
        detail = "Redis does not answer: nothing is written to sinks"
        reasons.append({"code": "redis_unreachable", "detail": detail})
    if not installation["workers"]:
        detail = "writes are due and no worker gives a sign of life"
        reasons += [
            {"code": "no_worker", "sink": sink["name"], "detail": detail}
            for sink in found["sinks"]
            if (sink["oldest_ready_s"] or 0) > LANES_LATE_S and not sink["paused_reason"]
        ]
    joined = found | installation | {"reasons": [*found["reasons"], *reasons]}
    return joined | {"status": "degraded"} if reasons else joined


def _health(row: Document) -> str:
    """A source from which nothing is polled is healthy until something says otherwise."""
    unheard = row["health_status"] == "unknown" and row["enabled"] and not row["polled"]
    return "healthy" if unheard else str(row["health_status"])


def _reasons(sources: Sequence[Document], work: Document) -> list[Document]:
    found: list[Document] = []
    for row in sources:
        if not row["active"]:
            continue
        name = row["name"]
        if row["health_status"] in ("degraded", "unhealthy"):
            code = row["health_code"] or row["health_status"]
            found.append({"code": code, "source": name, "detail": row["health_detail"]})
        if row["read_breaker_until"]:
            detail = "the source failed several times in a row and is left alone for a while"
            found.append({"code": "source_breaker_open", "source": name, "detail": detail})
        if row["late_s"] > POLLS_LATE_S:
            detail = f"a poll has been due for {row['late_s']:.0f} s and no worker takes it"
            found.append({"code": "polls_late", "source": name, "detail": detail})
        if row["sink_enabled"] and row["sink_paused_reason"]:
            found.append({"code": "sink_paused", "sink": name, "detail": row["sink_paused_reason"]})
        if row["sink_enabled"] and row["sink_breaker_until"]:
            detail = "the sink failed several times in a row and is left alone for a while"
            found.append({"code": "sink_breaker_open", "sink": name, "detail": detail})
    if work["release_s"] > RELEASES_LATE_S and any(row["active"] for row in sources):
        detail = f"a change has waited for its release for {work['release_s']:.0f} s"
        found.append({"code": "releases_late", "detail": detail})
    return found


def _late_pushes(pushes: Sequence[Document]) -> list[Document]:
    return [
        {
            "code": "pushes_late",
            "source": row["source"],
            "detail": f"a delivery has waited for {row['oldest_s']:.0f} s for what it is about to be read",
        }
        for row in pushes
        if row["oldest_s"] > PUSHES_LATE_S
    ]


def _late_audit(unsealed_s: float, unanchored_s: float) -> list[Document]:
    found = []
    if unsealed_s > SEALS_LATE_S:
        detail = f"what was read or written has waited for {unsealed_s:.0f} s to be sealed into the audit log"
        found.append({"code": "audit_unsealed", "detail": detail})
    if unanchored_s > ANCHORS_LATE_S:
        detail = (
            f"the audit log was not anchored for {unanchored_s / 3600:.0f} h: no beat, or no worker, looks after it"
        )
        found.append({"code": "audit_unanchored", "detail": detail})
    return found


def _verdict(sources: Sequence[Document], events: int, reasons: Sequence[Document]) -> str:
    if reasons:
        return "degraded"
    enabled = [row for row in sources if row["enabled"]]
    unheard = any(row["polled"] and row["last_poll_at"] is None for row in enabled)
    return "starting" if unheard or not (enabled or events) else "healthy"


def _source(row: Document) -> Document:
    names = (
        "name", "source_type", "enabled", "health_status", "health_code", "health_detail", "health_since",
        "last_poll_at", "last_ok_at", "consecutive_errors", "event_count", "read_breaker_until",
    )  # fmt: skip
    shown = {name: row[name] for name in names}
    return shown | {"health_status": _health(row), "late_s": round(row["late_s"], 1) if row["active"] else 0.0}


def _alert(row: Document) -> Document:
    names = ("source", "kind", "subject", "code", "detail", "raised_at")
    return {name: row[name] for name in names}


def _sink(row: Document, lanes: Sequence[Document], oldest: dict[str, float]) -> Document:
    mine = {lane["state"]: lane for lane in lanes if lane["sink_id"] == row["data_source_id"]}
    states = {"idle": 0} | {state: lane["lanes"] for state, lane in sorted(mine.items())}
    synced = mine["idle"]["written"] if "idle" in mine else 0
    age = oldest.get(row["data_source_id"])
    return {
        "name": row["name"],
        "lanes": states,
        "synced": synced,
        "pending": sum(states.get(state, 0) for state in PENDING),
        "failed": states.get("quarantined", 0),
        "held": states["idle"] - synced,
        "paused_reason": row["sink_paused_reason"],
        "breaker_until": row["sink_breaker_until"],
        "oldest_ready_s": None if age is None else round(age, 1),
    }
