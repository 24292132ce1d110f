"""The sinks of a workspace: their terms, from the settings of data sources, and the open connection to one."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Final, Protocol

from connector_runner.auth.opening import Credentials
from connector_runner.connectors import directory, first_read_store, registry, terms_store
from connector_runner.connectors.base import DataSource, Opening, site_of
from connector_runner.connectors.probing import capability_store
from connector_runner.connectors.probing.narrowing import narrowed
from connector_runner.connectors.sinks import Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra import secrets
from connector_runner.infra.database import Database, Row, Tx
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import Misconfigured
from connector_runner.outbound.lanes import store as lanes
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.sinks import sink_state
from connector_runner.outbound.sinks.passage import Passage
from connector_runner.resilience.limiter import Limiter

_FRESH_S: Final = 2.0


class Sinks(Protocol):
    """What the outbound side needs to know of sinks."""

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        """Every sink that is switched on and set up right."""

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        """One sink, ready to be written to. Raises Misconfigured."""


class DirectorySinks:
    """Sinks as the directory of data sources has them. What is measured of them may be two seconds old."""

    def __init__(self, database: Database, http: HTTP, sealer: Sealer, limiter: Limiter) -> None:
        self._database = database
        self._http = http
        self._sealer = sealer
        self._limiter = limiter
        self._known: dict[str, tuple[float, list[Row], list[SinkTerms]]] = {}
        self._lock = threading.Lock()

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        """Sinks that are on. One whose settings cannot be read counts as off: its owner is told where it is polled.

        By the settings as they stand: who asks for a release once they changed must not meet what was known before.
        """
        now, enabled = time.monotonic(), sink_store.enabled_sinks(tx, workspace_id)
        with self._lock:
            known = self._known.get(workspace_id)
        if known is not None and now - known[0] < _FRESH_S and known[1] == enabled:
            return known[2]
        found: list[SinkTerms] = []
        unread = first_read_store.unread(tx, workspace_id)
        for row in enabled:
            try:
                terms = terms_of(load(tx, workspace_id, row["data_source_id"]))
                found.append(replace(terms, unread=unread.get(terms.sink_id, frozenset())))
            except Misconfigured as exc:
                sink_state.pause(tx, workspace_id, row["data_source_id"], exc.code, _FRESH_S)
        with self._lock:
            self._known[workspace_id] = (now, enabled, found)
        return found

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        """The sink with its write credential as a reference; the value is read when a request needs it."""
        # Before all that it stands for: who changes that meanwhile is found to have done so.
        mark = terms_store.mark(tx, workspace_id, sink_id)
        source = load(tx, workspace_id, sink_id)

        def reveal(reference: str) -> str:
            if not reference.startswith("secret:"):
                return secrets.resolve(reference)
            with self._database.begin(workspace_id) as own:
                return secrets.resolve(reference, own, workspace_id, self._sealer)

        unread = first_read_store.unread(tx, workspace_id).get(source.data_source_id, frozenset())
        terms = replace(terms_of(source), unread=unread, mark=mark)
        credentials = Credentials(self._database, self._http, self._sealer)
        passage = self._passage(terms) if source.settings.tokens_in_quota else None
        opened = credentials.opener(site_of(source), reveal, passage=passage)
        opening = Opening(self._http, reveal, open_credential=opened)
        sink = registry.open_sink(_with_write_timeout(source), opening)
        if sink.capabilities.at_least_once and not terms.allow_possible_duplicates:
            raise Misconfigured(
                "this sink cannot tell a repeated create from a new one; allow_possible_duplicates accepts that",
                code="possible_duplicates",
                where=source.name,
            )
        return terms, sink

    def _passage(self, terms: SinkTerms) -> Passage:
        """Counts requests for tokens with the writes."""

        def writing() -> list[tuple[str, float]]:
            with self._database.begin(terms.workspace_id) as tx:
                return lanes.in_flight(tx, terms.workspace_id, terms.sink_id)

        return Passage(self._limiter, terms.sink_id, terms, in_flight=writing)


def load(tx: Tx, workspace_id: str, name_or_id: str) -> DataSource:
    """A sink's data source, without what its server declares not to offer; what its settings state stays.

    Raises Misconfigured.
    """
    source = directory.load(tx, workspace_id, name_or_id)
    sink = source.settings.sink
    if sink is None:
        return source
    known = capability_store.matrix(tx, workspace_id, source.data_source_id)
    settings = source.settings.model_copy(update={"sink": narrowed(sink, known)})
    return replace(source, settings=settings)


def terms_of(source: DataSource) -> SinkTerms:
    """The terms in a data source's settings. Raises Misconfigured (``not_a_sink``) when it is none."""
    settings = source.settings
    sink = settings.sink
    if sink is None:
        raise Misconfigured("nothing is written to this data source", code="not_a_sink", where=source.name)
    types = {name: entity for name, entity in sink.entity_types.items() if entity.enabled}
    reviewed = {name for name, entity in types.items() if entity.human_review}
    return SinkTerms(
        sink_id=source.data_source_id,
        name=source.name,
        system=settings.mapping,
        entity_types={
            name: sink.threshold if entity.threshold is None else entity.threshold for name, entity in types.items()
        },
        accept_from=frozenset(sink.accept_from),
        depends={name: entity.depends for name, entity in types.items()},
        policies={name: entity.policy for name, entity in types.items()},
        per_second=sink.rate.per_second,
        burst=sink.rate.burst,
        concurrency=sink.rate.concurrency,
        quiet_period_s=sink.quiet_period_s,
        request_timeout_s=_request_timeout_s(source),
        client_id=settings.sink_capabilities.client_id,
        base_url=settings.base,
        region=settings.default_region,
        owns={name: frozenset(entity.owns) for name, entity in types.items() if entity.owns is not None},
        required={name: entity.required for name, entity in types.items() if entity.required},
        human_review=frozenset(reviewed | {name for name in sink.human_review if name in types}),
        consent=sink.consent,
        purpose=sink.purpose,
        allow_possible_duplicates=sink.allow_possible_duplicates,
        capabilities=settings.sink_capabilities,
        per_day=sink.rate.per_day,
        per_minute_fixed=sink.rate.per_minute_fixed,
        calendar=sink.windows.calendar(),
        breaker=sink.breaker.limits(),
        workspace_id=source.workspace_id,
    )


def _request_timeout_s(source: DataSource) -> float:
    """How long a request that writes may take: the sink's own time, else the connection's."""
    sink = source.settings.sink
    if sink is not None and sink.request_timeout_s is not None:
        return sink.request_timeout_s
    return float(getattr(source.settings, "request_timeout_s", 15.0))


def _with_write_timeout(source: DataSource) -> DataSource:
    """The source with the time that a write may take in place of the connection's, so that both mean the same."""
    if not hasattr(source.settings, "request_timeout_s"):
        return source
    settings = source.settings.model_copy(update={"request_timeout_s": _request_timeout_s(source)})
    return replace(source, settings=settings)
