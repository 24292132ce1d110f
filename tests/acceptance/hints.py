"""The hints that a running product sends itself, for drills that repeat them or lose them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from connector_runner.infra.queue import (
    DRAIN,
    POLL,
    QUEUE_OF,
    RECONCILE_SINK,
    RELEASE,
    SAMPLE,
    SWEEP,
    Hint,
    configuration,
    sink_queue,
)
from tests.acceptance.drill_clinic import RESOURCES
from tests.acceptance.drills import Clinic


def hints(clinic: Clinic) -> list[Hint]:
    """Each hint that moves a word of the EHR to a sink, and those that look whether one was forgotten."""
    workspace = clinic.workspace_id
    sources = {
        row["name"]: str(row["data_source_id"]) for row in clinic.query("SELECT name, data_source_id FROM data_source")
    }
    found = [Hint.of(SWEEP), Hint.of(RELEASE, workspace_id=workspace)]
    for kind in RESOURCES:
        found.append(Hint.of(POLL, workspace_id=workspace, data_source_id=sources["ehr"], resource_type=kind))
    for name, sink_id in sources.items():
        queue, ids = sink_queue("demo", name), {"workspace_id": workspace, "sink_id": sink_id}
        found += [Hint.of(DRAIN, queue=queue, **ids), Hint.of(SAMPLE, queue=queue, **ids)]
        found.append(Hint.of(RECONCILE_SINK, **ids))
    return found


def queue_of(hint: Hint) -> str:
    """Where a hint waits."""
    return hint.queue or QUEUE_OF[hint.task]


@contextmanager
def hinting(clinic: Clinic) -> Iterator[Celery]:
    """Sends messages as they are, where the product would notice that the same one waits already."""
    app = Celery("connector_runner.drills", set_as_current=False)
    app.conf.update(configuration(clinic.stack.services.services.redis_url))
    try:
        yield app
    finally:
        app.close()
