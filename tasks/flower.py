"""Flower with all of our queues on its page; by itself it lists only those it has heard of lately."""

from __future__ import annotations

import logging
import sys
import time

from connector_runner.infra.logging import configure, get_logger
from connector_runner.infra.queue import QUEUES_OF_POOL, sink_queue
from connector_runner.kernel.errors import RunnerError
from connector_runner.observability import store
from connector_runner.settings import Settings
from tasks.app import app
from tasks.process import runner

log = get_logger(__name__)

CONNECTIONS = 20
"""It asks every worker several things at once; with a worker's four connections it waits for itself."""
_KEEP_S = 5.0
_known: list[str] = []
_known_at = float("-inf")


def queue_names() -> list[str]:
    """Every queue that there is, sinks included; the last known ones while Postgres cannot be asked."""
    global _known, _known_at
    if time.monotonic() - _known_at > _KEEP_S:
        fixed = [name for names in QUEUES_OF_POOL.values() for name in names]
        try:
            with runner().database.sweep() as tx:
                _known = fixed + [sink_queue(sink.workspace_slug, sink.name) for sink in store.sinks(tx)]
        except RunnerError as error:
            log.warning("flower.queues_kept", code=error.code)
            _known = _known or fixed
        _known_at = time.monotonic()
    return sorted(_known)


def _show_all_queues() -> None:
    from flower.views import BaseHandler

    if not hasattr(BaseHandler, "get_active_queue_names"):
        log.warning("flower.plain", advice="this Flower lists queues in another way; some may be missing")
        return
    BaseHandler.get_active_queue_names = lambda _handler: queue_names()


def main() -> None:
    """Run Flower until it is told to stop."""
    _show_all_queues()
    app.conf.broker_pool_limit = CONNECTIONS
    app.start(["flower", *sys.argv[1:]])


if __name__ == "__main__":
    configure(Settings().log_level)
    logging.getLogger("tornado.access").propagate = False
    main()
