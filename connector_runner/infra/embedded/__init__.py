"""Real Postgres and Redis of one installation's own, for when the environment names none.

    services = ensure_services(settings)      # started, or found running; DATABASE_URL / REDIS_URL win
    stop_services(settings.home)

The servers outlive whoever started them: a stack that is killed finds them again, with their data. They
listen on 127.0.0.1 only, on ports chosen once, behind random passwords kept in the home folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from connector_runner.infra.embedded.home import Home
from connector_runner.infra.embedded.postgres import EmbeddedPostgres
from connector_runner.infra.embedded.redis import EmbeddedRedis
from connector_runner.infra.embedded.server import Server
from connector_runner.settings import Settings

__all__ = [
    "POSTGRES",
    "REDIS",
    "Services",
    "admin_url",
    "ensure",
    "ensure_services",
    "erase_services",
    "find_services",
    "known_urls",
    "published_stack",
    "publishing_stack",
    "restart_postgres",
    "restart_redis",
    "sandbox_hosts",
    "stop_services",
]

POSTGRES, REDIS = "postgres", "redis"


@dataclass(frozen=True)
class Services:
    """Where the two servers are.

    ``database_url`` is that of a plain role, which owns its database and obeys row-level security.
    ``started`` names those that the call which made this value had to start.
    """

    database_url: str
    redis_url: str
    started: frozenset[str] = frozenset()


def ensure_services(settings: Settings) -> Services:
    """The services of this installation, started if need be; calling it again is cheap and harmless.

    Raises Misconfigured when there is nothing to start them with, Unavailable when one does not start.
    """
    return ensure(settings.home, settings.database_url, settings.redis_url)


def ensure(home: Path, database_url: str | None = None, redis_url: str | None = None) -> Services:
    """``ensure_services`` without settings: a URL that is given is used as it is, the other is embedded."""
    started: set[str] = set()
    if database_url is None:
        postgres = EmbeddedPostgres(Home(home))
        if postgres.ensure():
            started.add(POSTGRES)
        database_url = postgres.url()
    if redis_url is None:
        redis = EmbeddedRedis(Home(home))
        if redis.ensure():
            started.add(REDIS)
        redis_url = redis.url()
    return Services(database_url, redis_url, frozenset(started))


def find_services(home: Path) -> Services | None:
    """The embedded services under ``home`` when both run and answer."""
    database_url, redis_url = (
        _running_url(EmbeddedPostgres(Home(home))),
        _running_url(EmbeddedRedis(Home(home))),
    )
    return Services(database_url, redis_url) if database_url and redis_url else None


def known_urls(settings: Settings) -> tuple[str | None, str | None]:
    """Database and Redis: as the environment gives them, else embedded and running, else None."""
    home = Home(settings.home)
    return (
        settings.database_url or _running_url(EmbeddedPostgres(home)),
        settings.redis_url or _running_url(EmbeddedRedis(home)),
    )


def admin_url(home: Path) -> str:
    """URL of the embedded Postgres' superuser; for making databases and roles, never for the product's data.

    Raises Misconfigured when no embedded Postgres was ever set up here.
    """
    return EmbeddedPostgres(Home(home)).admin_url()


def stop_services(home: Path, kinds: Iterable[str] = (POSTGRES, REDIS)) -> None:
    """Stop the embedded services that run under ``home``; their data stays."""
    for server in _servers(home, kinds):
        server.stop()


def erase_services(home: Path) -> None:
    """Stop the embedded services under ``home`` and delete their data and passwords for good."""
    servers = _servers(home, (POSTGRES, REDIS))
    for server in servers:
        server.stop()
    for server in servers:
        server.erase()
    Home(home).forget()


def restart_postgres(home: Path, *, immediate: bool = True) -> None:
    """Restart on the same port; ``immediate`` drops every connection, without a checkpoint, like a crash."""
    EmbeddedPostgres(Home(home)).restart(abrupt=immediate)


def restart_redis(home: Path, *, wipe: bool = False) -> None:
    """Restart on the same port; with ``wipe`` it comes back empty, as a Redis without persistence does."""
    EmbeddedRedis(Home(home)).restart(wipe=wipe)


def publishing_stack(home: Path, urls: dict[str, object]) -> AbstractContextManager[None]:
    """Let other processes of this installation see ``urls`` for as long as this one is inside the block."""
    return Home(home).publishing(urls)


def published_stack(home: Path) -> dict[str, object]:
    """What a running process of this installation publishes; empty when it is gone, however it ended."""
    return Home(home).published()


def sandbox_hosts(home: Path) -> list[str]:
    """``host:port`` of each simulated system that a running process of this installation publishes."""
    found = published_stack(home).get("sandbox")
    return [urlsplit(str(url)).netloc for url in found.values()] if isinstance(found, dict) else []


def _servers(home: Path, kinds: Iterable[str]) -> list[Server]:
    makers: dict[str, type[Server]] = {POSTGRES: EmbeddedPostgres, REDIS: EmbeddedRedis}
    return [makers[kind](Home(home)) for kind in kinds]


def _running_url(server: Server) -> str | None:
    return server.url() if server.ready() else None
