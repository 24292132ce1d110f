"""Celery's way to Redis, mended so that a worker outlives a restart of it.

A channel whose connection is gone is still asked to acknowledge what was delivered through it, and to put back
what was not. Kombu's then fails for want of an address (AttributeError), which Celery takes for a fault of the
worker: the process ends. As an error of the connection, which it is, it is met by connecting again. The hints in
question come back by their visibility timeout; what they told of is found by the sweep long before.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(kombu_redis.Channel):
    """A channel that says so when its connection is gone."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection of this channel was closed")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]


class Transport(kombu_redis.Transport):
    """Redis with such channels."""

    Channel = Channel


def install() -> None:
    """Make it what ``redis://`` and ``rediss://`` mean to Celery; the scheme still decides about TLS."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "tasks.broker:Transport"
