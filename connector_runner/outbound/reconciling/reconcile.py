"""Reconciliation: finds every entity whose sinks may not say what they should, whatever hint was lost.

A walk goes over the entities that a sink takes, in slices, and compares what release last looked at with what there
is. It reads no record, sends nothing and writes to no lane's content: it asks for a release, behind what is fresh.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from connector_runner.infra.database import Database, Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import counter
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes.lane import RECONCILE
from connector_runner.outbound.reconciling import reconcile_store
from connector_runner.outbound.reconciling.reconcile_marks import terms_marks
from connector_runner.outbound.reconciling.reconcile_store import NO_ID, Walk
from connector_runner.outbound.releasing import release_store as sink_store

EVERY_S: Final = 300.0
LATE_S: Final = 60.0
"""So long after it was due, work that nobody took was not hinted, or its hint was lost over and over."""
LONGEST_LEASE_S: Final = 3600.0
_LEASE_S: Final = 120.0
_STRETCH: Final = 5000
_MOST_WAITING: Final = 20_000
"""With so many entities waiting for release, a walk stops asking for more, and comes back later."""
_COME_BACK_S: Final = 10.0
_LIMIT: Final = 500

FOUND = counter("reconcile_found", "What reconciliation found to be looked at again", ("sink", "reason"))

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DueSink:
    """A sink whose walk, or whose sample, is due; the slug and the name make its queue."""

    workspace_id: str
    slug: str
    sink_id: str
    name: str
    walk: bool
    sample: bool


@dataclass(slots=True)
class Reconciled:
    """What a slice did. ``found`` counts by reason; ``more``: the walk goes on. The others say what is to be hinted."""

    looked: int = 0
    found: Counter[str] = field(default_factory=Counter)
    more: bool = False
    release: bool = False
    drain: bool = False


def find(database: Database) -> list[DueSink]:
    """Every sink whose walk or sample is due; a sink that is new gets a walk."""
    with database.sweep() as tx:
        unknown = reconcile_store.know_sinks(tx)
    for row in unknown:
        with database.begin(row["workspace_id"]) as tx:
            reconcile_store.add_walk(tx, row["workspace_id"], row["sink_id"])
    with database.sweep() as tx:
        return [DueSink(**row) for row in reconcile_store.due(tx, _LIMIT)]


def reconcile(
    outbound: Outbound,
    workspace_id: str,
    sink_id: str,
    owner: str,
    *,
    slice_s: float = 5.0,
    every_s: float = EVERY_S,
    stretch: int = _STRETCH,
) -> Reconciled:
    """Walk on for at most ``slice_s`` seconds, if the walk is due and nobody else is on it.

    ``every_s`` is from the begin of one walk to that of the next; ``stretch`` how many entities a transaction reads.
    """
    done = Reconciled()
    until = time.monotonic() + slice_s
    with outbound.database.begin(workspace_id) as tx:
        walk = reconcile_store.claim(tx, workspace_id, sink_id, owner, _LEASE_S)
    if walk is None:
        return done
    with outbound.database.begin(workspace_id) as tx:
        _stands_still(tx, workspace_id, sink_id, done)
    step = _Step(outbound, workspace_id, sink_id, walk, every_s, stretch)
    place: tuple[str, str] | None = (walk.entity_type, walk.after_id)
    while place is not None:
        place, looked, found = outbound.database.retrying(workspace_id, partial(step, place=place))
        done.looked += looked
        done.found.update(found)
        if place is not None and time.monotonic() > until:
            with outbound.database.begin(workspace_id) as tx:
                reconcile_store.let_go(tx, workspace_id, sink_id, walk, 0.0)
            done.more = True
            break
    done.release = done.release or bool(done.found.keys() & _ASKED)
    _tell(outbound, workspace_id, sink_id, done)
    return done


_ASKED: Final = frozenset({"never_looked_at", "changed", "other_terms", "lane_behind", "time_passed"})


def _stands_still(tx: Tx, workspace_id: str, sink_id: str, done: Reconciled) -> None:
    """Leases without end, lanes and releases that nobody takes."""
    endless = reconcile_store.end_endless_leases(tx, workspace_id, sink_id, LONGEST_LEASE_S)
    late = reconcile_store.overdue_lanes(tx, workspace_id, sink_id, LATE_S, _LIMIT)
    if endless:
        done.found["endless_lease"] = endless
    if late:
        done.found["overdue_lane"] = late
    done.drain = late > 0
    if reconcile_store.pending(tx, workspace_id, LATE_S, 1)["late"]:
        done.found["release_late"] = 1
        done.release = True


def _tell(outbound: Outbound, workspace_id: str, sink_id: str, done: Reconciled) -> None:
    if not done.found:
        return
    with outbound.database.begin(workspace_id) as tx:
        name = next((t.name for t in outbound.sinks.terms(tx, workspace_id) if t.sink_id == sink_id), "")
    for reason, count in done.found.items():
        FOUND.labels(sink=name, reason=reason).inc(count)
    log.info("reconciled", sink=name, sink_id=sink_id, looked=done.looked, **done.found)


Stepped = tuple[tuple[str, str] | None, int, Counter[str]]


@dataclass(frozen=True, slots=True)
class _Step:
    """One stretch of a walk: from a place to the next, None where the walk stops for now; looked at; found."""

    outbound: Outbound
    workspace_id: str
    sink_id: str
    walk: Walk
    every_s: float
    stretch: int

    def __call__(self, tx: Tx, place: tuple[str, str]) -> Stepped:
        all_terms = self.outbound.sinks.terms(tx, self.workspace_id)
        types = sorted({kind for terms in all_terms if terms.sink_id == self.sink_id for kind in terms.entity_types})
        kind = next((each for each in types if each >= place[0]), None)
        if kind is None:
            reconcile_store.finish(tx, self.workspace_id, self.sink_id, self.walk, self.every_s)
            return None, 0, Counter()
        if reconcile_store.pending(tx, self.workspace_id, LATE_S, _MOST_WAITING)["waiting"] >= _MOST_WAITING:
            reconcile_store.let_go(tx, self.workspace_id, self.sink_id, self.walk, _COME_BACK_S)
            return None, 0, Counter()
        after = place[1] if kind == place[0] else NO_ID
        mark = terms_marks(all_terms, self.outbound.mappings)[kind]
        part = reconcile_store.look(tx, self.workspace_id, self.sink_id, kind, after, mark, self.stretch)
        if part.behind:
            asked = [entity_id for entity_id, _ in part.behind]
            sink_store.request_release(tx, self.workspace_id, asked, prio=RECONCILE)
        # A type that is done is left behind: its name with a blank sorts after it and before any other.
        onward = (kind, part.last_id) if part.last_id and part.looked == self.stretch else (kind + " ", NO_ID)
        ours = reconcile_store.go_on(
            tx,
            self.workspace_id,
            self.sink_id,
            self.walk,
            entity_type=onward[0],
            after_id=onward[1],
            looked=part.looked,
            asked=len(part.behind),
        )
        return (onward if ours else None), part.looked, Counter(reason for _, reason in part.behind)
