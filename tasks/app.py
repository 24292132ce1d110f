"""The Celery app. Importing it is light: settings are read when the broker is first needed."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from connector_runner.infra.logging import configure
from connector_runner.infra.queue import configuration
from connector_runner.settings import Settings
from tasks import broker

MODULES = (
    "tasks.anchor_audit",
    "tasks.bulk",
    "tasks.drain",
    "tasks.heartbeat",
    "tasks.imports",
    "tasks.poll",
    "tasks.probe",
    "tasks.project",
    "tasks.receive",
    "tasks.reconcile",
    "tasks.refresh_config",
    "tasks.release",
    "tasks.resolve",
    "tasks.review",
    "tasks.seal_reads",
    "tasks.sweep",
    "tasks.translate",
)


def _configuration() -> dict[str, Any]:
    from connector_runner.bootstrap import addresses

    settings = Settings()
    return configuration(addresses(settings).redis_url) | {
        "task_time_limit": 300,  # the prefork pool only; threads end by their slice
        "worker_soft_shutdown_timeout": 20,
        # By what they hold, not by what they did: while one is replaced, a hint that was given to it waits for seconds.
        "worker_max_memory_per_child": 600_000,
        "beat_scheduler": "tasks.scheduler:PostgresScheduler",
    }


# A line or two for each hint, of which there are many and most find nothing to do.
_CHATTY = ("celery.worker.strategy", "celery.worker.request", "celery.app.trace")

broker.install()
app = Celery("connector_runner", include=list(MODULES))
app.add_defaults(_configuration)
app.steps["worker"].add("tasks.minding:MindingStep")


@setup_logging.connect
def _log_as_the_rest_does(**_: object) -> None:
    """Celery's own logs pass the same redaction."""
    configure(Settings().log_level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
