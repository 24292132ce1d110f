"""What is due, found in the work tables of all workspaces: the hints that a sweep sends.

It makes up for every hint that was lost, and for a beat that is silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

from connector_runner.infra.database import Database, Tx
from connector_runner.infra.queue import (
    DRAIN,
    EXPORT,
    IMPORT,
    POLL,
    PROJECT,
    RECEIVE,
    RELEASE,
    RESOLVE,
    REVIEW,
    SUBSCRIBE,
    TRANSLATE,
    Hint,
    sink_queue,
)
from connector_runner.intake import polling
from connector_runner.intake.bulk import running as exports
from connector_runner.intake.imports import running as imports
from connector_runner.intake.push import subscribing
from connector_runner.intake.push import working as pushed
from connector_runner.observability import store
from connector_runner.outbound.lanes import sweeping
from connector_runner.outbound.translating import translation_store
from connector_runner.resolution import store as resolution_store
from connector_runner.review import pending_store as review_store

LIMIT = 500
POLLS = 64
"""Who polls goes on with what is overdue: more hints would only find it done."""
HINT_AGAIN_S = 1.0


def find(database: Database, *, now: datetime) -> list[Hint]:
    """The hints for everything that is due at ``now``, at most ``LIMIT`` of a kind.

    Leases that ended without an outcome are taken back on the way.
    """
    outbound = sweeping.sweep(database, hint_every_s=HINT_AGAIN_S)
    hints = [Hint.of(RELEASE, workspace_id=workspace_id) for workspace_id in outbound.releases]
    for sink in outbound.sinks:
        queue = sink_queue(sink.slug, sink.name)
        hints.append(Hint.of(DRAIN, queue=queue, workspace_id=sink.workspace_id, sink_id=sink.sink_id))
    with database.sweep() as tx:
        polled = (_polls(tx, now), _exports(tx, now), _imports(tx, now), _pushes(tx, now))
        made_of_it = (_folds(tx), _translations(tx), _resolutions(tx), _reviews(tx))
        return [*hints, *chain.from_iterable((*polled, *made_of_it))]


def _polls(tx: Tx, now: datetime) -> Iterator[Hint]:
    for row in polling.overdue(tx, now, POLLS):
        yield Hint.of(POLL, **{name: str(row[name]) for name in ("workspace_id", "data_source_id", "resource_type")})


def _imports(tx: Tx, now: datetime) -> Iterator[Hint]:
    for workspace_id, import_id in imports.overdue(tx, now, LIMIT):
        yield Hint.of(IMPORT, workspace_id=workspace_id, import_id=import_id)


def _exports(tx: Tx, now: datetime) -> Iterator[Hint]:
    for workspace_id, export_id in exports.overdue(tx, now, LIMIT):
        yield Hint.of(EXPORT, workspace_id=workspace_id, export_id=export_id)


def _pushes(tx: Tx, now: datetime) -> Iterator[Hint]:
    for task, found in ((RECEIVE, pushed.overdue(tx, now, LIMIT)), (SUBSCRIBE, subscribing.overdue(tx, now, LIMIT))):
        for workspace_id, data_source_id in found:
            yield Hint.of(task, workspace_id=workspace_id, data_source_id=data_source_id)


def _folds(tx: Tx) -> Iterator[Hint]:
    for workspace_id in store.workspaces_with_dirty(tx):
        yield Hint.of(PROJECT, workspace_id=workspace_id)


def _translations(tx: Tx) -> Iterator[Hint]:
    for workspace_id in translation_store.workspaces_due(tx):
        yield Hint.of(TRANSLATE, workspace_id=workspace_id)


def _resolutions(tx: Tx) -> Iterator[Hint]:
    for workspace_id in resolution_store.workspaces_waiting(tx):
        yield Hint.of(RESOLVE, workspace_id=workspace_id)


def _reviews(tx: Tx) -> Iterator[Hint]:
    for workspace_id in review_store.workspaces_due(tx):
        yield Hint.of(REVIEW, workspace_id=workspace_id)
