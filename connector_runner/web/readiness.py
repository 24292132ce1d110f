"""Whether this process could serve now: Postgres answers and has the schema of this release, Redis answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from connector_runner.bootstrap import Addresses
from connector_runner.infra import migrations
from connector_runner.infra.database import Database
from connector_runner.kernel.errors import Unavailable

TIMEOUT_S: Final = 4.0
OK: Final = "ok"
NO_ANSWER: Final = "no_answer"
UNREACHABLE: Final = "unreachable"

Answers = dict[str, str]


class _Probe:
    """One check. It never runs twice at once, so a server that hangs costs one thread however often we are asked."""

    def __init__(self, names: tuple[str, ...], check: Callable[[], Answers]) -> None:
        self.names = names
        self._check = check
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"ready-{names[0]}")
        self._running: Future[Answers] | None = None

    async def answers(self) -> Answers:
        if self._running is None or self._running.done():
            self._running = self._executor.submit(self._check)
        done, _ = await asyncio.wait({asyncio.wrap_future(self._running)}, timeout=TIMEOUT_S)
        return done.pop().result() if done else dict.fromkeys(self.names, NO_ANSWER)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class Readiness:
    """Asks Postgres and Redis side by side and answers within four seconds."""

    def __init__(self, addresses: Addresses, database: Database) -> None:
        self._redis = redis.Redis.from_url(
            addresses.redis_url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1)
        )
        self._probes = (
            _Probe(("postgres", "schema"), lambda: _postgres(addresses, database)),
            _Probe(("redis",), lambda: {"redis": OK if self._redis_answers() else UNREACHABLE}),
        )

    async def checks(self) -> Answers:
        """For ``postgres``, ``schema``, ``redis``: ``ok``, ``unreachable``, ``no_answer`` or ``not_current``."""
        found: Answers = {}
        for answers in await asyncio.gather(*(probe.answers() for probe in self._probes)):
            found |= answers
        return found

    def _redis_answers(self) -> bool:
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def close(self) -> None:
        """Let go of threads and connections."""
        for probe in self._probes:
            probe.close()
        self._redis.close()


def _postgres(addresses: Addresses, database: Database) -> Answers:
    try:
        with database.sweep():
            pass  # opening it is the question: a connection from the pool, and a statement
    except Unavailable:
        return {"postgres": UNREACHABLE, "schema": NO_ANSWER}
    return {"postgres": OK, "schema": OK if migrations.is_current(addresses.database_url) else "not_current"}
