"""The pace of requests for a sink's tokens, where they count against what the sink takes of us."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from connector_runner.connectors.gate import PACED
from connector_runner.connectors.rate_headers import retry_after_s
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.http import Answer
from connector_runner.infra.metrics import LIMITER
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import RateLimited
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.sinks.pacing import LONGEST_WAIT_S, limit_of
from connector_runner.resilience.limiter import InFlight, Limiter

_LEAST_WAIT_S = 0.001


class Passage:
    """Lets each request for a token through as one of those that the sink's limit allows.

    It takes no slot of the lanes', one of which waits for the token.
    """

    def __init__(
        self,
        limiter: Limiter,
        sink_id: str,
        terms: SinkTerms,
        *,
        in_flight: InFlight,
        sleep: Callable[[float], None] = time.sleep,
        clock: Clock = utc_now,
    ) -> None:
        self._limiter, self._sink_id, self._name = limiter, sink_id, terms.name
        limit = limit_of(terms)
        self._limit = replace(limit, concurrency=limit.concurrency + 1)
        self._in_flight, self._sleep, self._clock = in_flight, sleep, clock

    def __call__(self, send: Callable[[], Answer]) -> Answer:
        """Send one. Raises RateLimited (``read_paced``) with the seconds until its turn where that is long."""
        holder = new_id()
        try:
            self._turn(holder)
            answer = send()
        finally:
            self._limiter.release(self._sink_id, holder)
        if answer.status == 429:
            self._limiter.cut(self._sink_id, retry_after_s(answer.headers, self._clock()), self._limit)
        return answer

    def _turn(self, holder: str) -> None:
        give_up = time.monotonic() + LONGEST_WAIT_S
        while True:
            grant = self._limiter.acquire(self._sink_id, self._limit, holder, in_flight=self._in_flight)
            LIMITER.labels(sink=self._name, reason=grant.reason).inc()
            if grant.granted:
                return
            if grant.reason in ("slots", "closed") or time.monotonic() + grant.wait_s > give_up:
                raise RateLimited(
                    f"it is not yet the turn of a request to this sink ({grant.reason})",
                    code=PACED,
                    where=self._name,
                    retry_after_s=max(grant.wait_s, _LEAST_WAIT_S),
                )
            self._sleep(grant.wait_s + _LEAST_WAIT_S)
