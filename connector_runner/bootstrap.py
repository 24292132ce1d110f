"""The one place that builds things: settings in, a Runner out."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import redis

from connector_runner.infra import migrations
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.embedded import ensure_services, known_urls, sandbox_hosts
from connector_runner.infra.http import HTTP
from connector_runner.infra.llm import LanguageModel
from connector_runner.infra.logging import get_logger
from connector_runner.infra.queue import REVIEW, Publisher
from connector_runner.infra.sealing import Sealer, installation_key
from connector_runner.infra.shared_counters import SharedCounters
from connector_runner.intake.landing import Intake
from connector_runner.intake.read_gate import Gates
from connector_runner.intake.read_memory import ReadMemory
from connector_runner.kernel.errors import Misconfigured, Unavailable
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.lanes import store as lanes
from connector_runner.outbound.releasing.regrouping import subscriber as sinks_hear
from connector_runner.outbound.releasing.release import subscriber as request_release
from connector_runner.outbound.sinks.directory import DirectorySinks
from connector_runner.outbound.sinks.pace_memory import SqlMemory
from connector_runner.outbound.translating.deciding import Deciding
from connector_runner.resilience.limiter import Limiter
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.resolution.answering import MatchHandler
from connector_runner.resolution.service import subscriber as request_resolution
from connector_runner.review.deciding import EventsHandler
from connector_runner.review.items import EVENTS, MATCH
from connector_runner.review.judge.case import Judge
from connector_runner.review.judge.judging import open_judge
from connector_runner.review.loop import BATCH, Loop
from connector_runner.review.noting import Subscriber as ReviewSubscriber
from connector_runner.review.queue import Handlers
from connector_runner.settings import Settings
from connector_runner.unification.loader import MappingSet, load_mappings
from connector_runner.world.service import World

log = get_logger(__name__)

SCHEMA_WAIT_S = 120.0
_LEAST_CONNECTIONS = 5


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where Postgres and Redis are."""

    database_url: str
    redis_url: str


def addresses(settings: Settings, *, start: bool = False) -> Addresses:
    """Postgres and Redis as the environment names them, else the embedded ones of this home.

    ``start`` starts those that do not run. Raises Misconfigured when there are none.
    """
    if start:
        services = ensure_services(settings)
        return Addresses(services.database_url, services.redis_url)
    database_url, redis_url = known_urls(settings)
    if database_url is None or redis_url is None:
        missing = "DATABASE_URL" if database_url is None else "REDIS_URL"
        raise Misconfigured(
            "nothing is running: start the product with `connector-runner up`, its servers with"
            " `connector-runner services up`, or set this variable",
            code="no_services",
            where=missing,
        )
    return Addresses(database_url, redis_url)


@dataclass(frozen=True)
class Runner:
    """What one process works with, each part made when first asked for.

    Postgres, HTTP and the sealer may be used after a fork; make a Runner of a child's own all the same.
    """

    settings: Settings
    addresses: Addresses

    @cached_property
    def database(self) -> Database:
        """Postgres. Each thread finds a connection kept: to open one costs more than most transactions."""
        return Database(self.addresses.database_url, pool_size=max(self.settings.io_threads, _LEAST_CONNECTIONS))

    @cached_property
    def redis(self) -> redis.Redis:
        """Redis, with short timeouts: nobody waits long for what may be lost."""
        return redis.Redis.from_url(
            self.addresses.redis_url, socket_timeout=2, socket_connect_timeout=1, health_check_interval=25
        )

    @cached_property
    def counters(self) -> SharedCounters:
        """What this process counts, for whoever is scraped."""
        return SharedCounters(self.redis)

    @cached_property
    def http(self) -> HTTP:
        """The way out, also to the simulated systems that run beside this installation."""
        return HTTP(self.settings, allow=sandbox_hosts(self.settings.home))

    @cached_property
    def sealer(self) -> Sealer:
        """Encryption under the keys of workspaces."""
        return Sealer(installation_key(self.settings))

    @cached_property
    def quarantine(self) -> Quarantine:
        """What could not be used."""
        return Quarantine(self.sealer)

    @cached_property
    def mappings(self) -> MappingSet:
        """Mapping rules, read and checked once."""
        return load_mappings(self.settings.mappings)

    @cached_property
    def world(self) -> World:
        """The world model, with those who listen to it."""
        return World(subscribers=(request_release, request_resolution, ReviewSubscriber(self._hint_review)))

    def resolved(self, tx: Tx, workspace_id: str, compared: Sequence[str], regrouped: Sequence[str]) -> None:
        """An EntitiesResolved: what follows for sinks and for review."""
        sinks_hear(tx, workspace_id, compared, regrouped)
        ReviewSubscriber(self._hint_review).resolved(tx, workspace_id, compared, regrouped)

    def _hint_review(self, workspace_id: str) -> None:
        self.publisher.hint(REVIEW, workspace_id=workspace_id)

    @cached_property
    def review(self) -> Loop:
        """Has it judged, and puts the rest before people."""
        # Who waits for a model waits for one round of questions: there are no more in a batch.
        at_once = BATCH if self.settings.llm_base_url is None else self.settings.llm_share
        return Loop(self.database, self.world, self.sealer, self.judge, at_once)

    @cached_property
    def answers(self) -> EventsHandler:
        """What people's answers about events mean."""
        return EventsHandler(self.world, self.mappings, self.sealer)

    @cached_property
    def answer_handlers(self) -> Handlers:
        """Who carries out the answers to each kind of item."""
        return {EVENTS: self.answers, MATCH: MatchHandler()}

    @cached_property
    def limiter(self) -> Limiter:
        """What sinks take, and sources whose quota reads and writes share."""
        return Limiter(self.addresses.redis_url, SqlMemory(self.database))

    @cached_property
    def gates(self) -> Gates:
        """What each request that reads a source goes through."""

        def writing(workspace_id: str, sink_id: str) -> list[tuple[str, float]]:
            with self.database.begin(workspace_id) as tx:
                return lanes.in_flight(tx, workspace_id, sink_id)

        reads = Limiter(self.addresses.redis_url, ReadMemory(self.database))
        return Gates(reads, self.limiter, writing)

    @cached_property
    def intake(self) -> Intake:
        """Lands pages of records."""
        return Intake(self.world, self.mappings, self.quarantine)

    @cached_property
    def outbound(self) -> Outbound:
        """What is written to sinks."""
        return Outbound(
            database=self.database,
            world=self.world,
            mappings=self.mappings,
            sealer=self.sealer,
            quarantine=self.quarantine,
            limiter=self.limiter,
            sinks=DirectorySinks(self.database, self.http, self.sealer, self.limiter),
        )

    @cached_property
    def deciding(self) -> Deciding:
        """Codes for what rules alone do not translate."""
        return Deciding(
            database=self.database,
            sealer=self.sealer,
            quarantine=self.quarantine,
            vocabularies=self.mappings.vocabularies,
            open_model=lambda: LanguageModel.of(self.settings, self.http),
        )

    @cached_property
    def judge(self) -> Judge:
        """Judges claims that were heard."""
        return open_judge(self.settings, self.http, self.database)

    @cached_property
    def publisher(self) -> Publisher:
        """Sends hints."""
        return Publisher(self.addresses.redis_url)


# Parsed records make hundreds of thousands of objects and no cycles. With Python's 700 the collector walks them
# again and again, for a sixth of the CPU of an import; with this a page is done before it looks.
_COLLECT_AFTER = 200_000


def build(settings: Settings, *, start: bool = False) -> Runner:
    """A Runner of this installation; nothing is connected yet.

    Raises Misconfigured when there is no Postgres or Redis to use (see ``addresses``).
    """
    collect_rarely()
    return Runner(settings, addresses(settings, start=start))


def collect_rarely() -> None:
    """Have the garbage collector of this process look for cycles as rarely as suits what it does."""
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


def ready(runner: Runner, *, wait_s: float = SCHEMA_WAIT_S) -> Runner:
    """Check what must hold before any work is done, waiting for Postgres and for its schema.

    Raises Misconfigured for a role that could read past row-level security or another installation's key,
    Unavailable when Postgres or the schema of this release is not there in time.
    """
    _wait_for_schema(runner, time.monotonic() + wait_s)
    runner.database.check_role()
    with runner.database.sweep() as tx:
        runner.sealer.check_installation(tx)
    _warn_of_eviction(runner)
    return runner


def _wait_for_schema(runner: Runner, deadline: float) -> None:
    told = False
    while not migrations.is_current(runner.addresses.database_url):
        if time.monotonic() > deadline:
            raise Unavailable(
                "Postgres cannot be reached, or has not the schema of this release; run `connector-runner migrate`",
                code="schema_not_current",
                where="DATABASE_URL",
            )
        if not told:
            log.info("schema.waiting")
            told = True
        time.sleep(0.5)


def _warn_of_eviction(runner: Runner) -> None:
    try:
        policy = runner.redis.config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.RedisError as error:
        log.warning("redis.policy_unknown", code=type(error).__name__)
        return
    if policy not in (None, "noeviction"):
        log.warning("redis.evicts", policy=policy, advice="set maxmemory-policy to noeviction")
