"""Asking the sink before a write, at the pace that it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connector_runner.connectors.sinks import Capabilities, Found, Json, Outcome, Reply, Sink, Step
from connector_runner.kernel.errors import Forbidden
from connector_runner.outbound.lanes.outcomes import heed
from connector_runner.outbound.sinks.pacing import Pacer

NO_TIME = Reply(Outcome.REFUSED, "limiter")


class Unhurried:
    """A sink that may only be asked, each time on a grant and while the lane is held. It writes nothing."""

    def __init__(self, sink: Sink, pacer: Pacer, hold: Callable[[], bool]) -> None:
        self._sink, self._pacer, self._hold = sink, pacer, hold
        self.out_of_time = False

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self._sink.capabilities

    def read(self, ref: str) -> Reply:
        """The resource now; REFUSED when there was no grant in time."""
        return self._heeded(self._sink.read(ref)) if self._granted() else NO_TIME

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """The resource that carries our identifier."""
        return self._heeded(self._sink.find(resource_type, client_ref)) if self._granted() else NO_TIME

    def candidates(self, body: Json) -> Found:
        """Resources that could be the record of ``body``."""
        if not self._granted():
            return Found(NO_TIME)
        found = self._sink.candidates(body)
        self._heeded(found.reply)
        return found

    def check(self, body: Json, ref: str | None) -> Reply:
        """What the sink thinks of ``body``."""
        return self._heeded(self._sink.check(body, ref)) if self._granted() else NO_TIME

    def identified(self, body: Json, client_ref: str) -> Json:
        """The body with our identity in it."""
        return self._sink.identified(body, client_ref)

    def create(self, body: Json, client_ref: str) -> Reply:
        """Raises Forbidden."""
        raise Forbidden("a write goes through an intent")

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """Raises Forbidden."""
        raise Forbidden("a write goes through an intent")

    def transact(self, steps: Sequence[Step]) -> list[Reply]:
        """Raises Forbidden."""
        raise Forbidden("a write goes through an intent")

    def _heeded(self, reply: Reply) -> Reply:
        heed(self._pacer, reply)
        return reply

    def _granted(self) -> bool:
        if not self._hold() or not self._pacer.take():
            self.out_of_time = True
            return False
        self._pacer.use()
        return True
