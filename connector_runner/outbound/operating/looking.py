"""A look at a resource of a sink for a person: a real read, at the sink's own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from connector_runner.connectors.sinks import Capabilities, Found, Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel.errors import RateLimited
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes import store
from connector_runner.outbound.sinks.pacing import Pacer, limit_of

T = TypeVar("T")

PATIENCE_S: Final = 10.0
"""So long a person waits for a grant of the limiter; the lanes of the sink go on meanwhile."""


class Looker:
    """Reads of one sink, each with a grant. Not safe to share between threads."""

    def __init__(self, outbound: Outbound, workspace_id: str, terms: SinkTerms, sink: Sink) -> None:
        self._outbound, self._workspace_id, self._terms, self._sink = outbound, workspace_id, terms, sink

    @property
    def capabilities(self) -> Capabilities:
        """What the sink can do."""
        return self._sink.capabilities

    def read(self, ref: str) -> Reply:
        """The resource now, or why it cannot be told.

        Raises RateLimited (``sink_pace``) when the limiter grants nothing in time: it is closed, or the sink asked
        for a pause.
        """
        return self._asked(lambda: ((reply := self._sink.read(ref)), reply))

    def candidates(self, body: Json) -> Found:
        """Resources that could be the record of ``body``. Raises as ``read`` does."""
        return self._asked(lambda: ((found := self._sink.candidates(body)), found.reply))

    def _asked(self, ask: Callable[[], tuple[T, Reply]]) -> T:
        """One request on one grant."""
        pacer = self._pacer()
        try:
            if not pacer.take():
                raise RateLimited(
                    "the sink's pace leaves no room for a read now",
                    code="sink_pace",
                    where=self._terms.name,
                    retry_after_s=pacer.wait_s,
                )
            pacer.use()
            answer, reply = ask()
            if reply.outcome is Outcome.REFUSED:
                pacer.cut(reply.retry_after_s)
            return answer
        finally:
            pacer.close()

    def _pacer(self) -> Pacer:
        terms = self._terms
        limit = limit_of(terms)
        holder, until = f"look:{new_id()}", time.monotonic() + PATIENCE_S
        return Pacer(self._outbound.limiter, terms.sink_id, terms.name, limit, holder, until, in_flight=self._in_flight)

    def _in_flight(self) -> list[tuple[str, float]]:
        with self._outbound.database.begin(self._workspace_id) as tx:
            return store.in_flight(tx, self._workspace_id, self._terms.sink_id)
