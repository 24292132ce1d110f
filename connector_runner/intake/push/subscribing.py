"""Keep the subscriptions of a source: created, renewed before they end, asked for again when the server gave them up.

A server never brings one back by itself, and says nothing when it drops one; so each is looked at every so often, and
at once when it has been silent for longer than its heartbeat. What is missing of its events is asked for, once; what
the server cannot tell is found by a poll of the record type.
"""

from __future__ import annotations

import secrets as randomness
from datetime import datetime, timedelta
from typing import Any, Final, cast

from connector_runner.audit import log as audit
from connector_runner.connectors import directory
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.push import Kept, PushSettings, Subscriptions, SubscriptionSettings, Wanted
from connector_runner.infra import secrets
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.opening import Deps, open_source
from connector_runner.intake.push import asking, hearing, push_store
from connector_runner.intake.push import subscription_store as store
from connector_runner.intake.push.push_store import New
from connector_runner.intake.push.receiving import bound, seal_content
from connector_runner.intake.push.secret_rotation import OVERLAP, drop_old, own_secret, rotate
from connector_runner.intake.push.subscription_store import Scope, Subscription
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord, Misconfigured, RunnerError, TryAgain
from connector_runner.kernel.ids import new_id
from connector_runner.resilience import alerts
from connector_runner.resilience.retry import Backoff

LOOK_S: Final = 300.0
"""How often the server is asked how a subscription is that says nothing wrong."""
ASKED_S: Final = 5.0
"""So soon a subscription that was asked for is looked at: by then the server has made up its mind."""
SECRET_SPREADS_S: Final = 4.0
"""By then every web process knows a new secret; a handshake before that would be refused."""
SILENCE: Final = 1.5
"""Heartbeats of silence that a subscription is allowed."""
ANSWER_S: Final = 30.0
"""For so long an answer to what was asked for may be on its way."""
LEASE_S: Final = 120.0
SUBSCRIPTION: Final = "subscription"
"""The kind of alert: a subscription cannot be kept, or the server gives it up again and again."""
TOLD_AFTER: Final = 3
BACKOFF: Final = Backoff(10, 900, floor=0.5)


def keep(deps: Deps, workspace_id: str, data_source_id: str, *, now: datetime) -> list[str]:
    """Look after a source's subscriptions, if that is due; the record types that are to be polled now.

    What fails for one is noted on it and tried again later. Raises Unavailable when Postgres cannot be used.
    """
    scope = Scope(workspace_id, data_source_id)
    with deps.database.begin(workspace_id) as tx:
        if not store.take_turn(tx, scope, now=now, until=now + timedelta(seconds=LEASE_S)):
            return []
        source = directory.load(tx, workspace_id, data_source_id)
        made = _make_secret(deps, tx, source, now)
        push_store.forget(tx, workspace_id, now)
    due_at = now + timedelta(seconds=SECRET_SPREADS_S)
    keeper = _Keeper(deps, source, scope, now)
    try:
        if not made:
            due_at = keeper.go()
    finally:
        with deps.database.begin(workspace_id) as tx:
            store.end_turn(tx, scope, due_at)
            gapped = [one for one in store.all_of(tx, scope) if one.gap_since and one.asked_at is None]
            if gapped:
                store.look_by(tx, scope, now + timedelta(seconds=keeper.grace_s))
    return sorted(keeper.polls)


def rotate_secret(
    tx: Tx,
    sealer: Sealer,
    source: DataSource,
    *,
    actor: str,
    now: datetime,
    name: str | None = None,
    value: str | None = None,
    overlap: timedelta = OVERLAP,
) -> datetime:
    """As ``secret_rotation.rotate``; subscriptions are told once every web process takes the new secret."""
    until = rotate(tx, sealer, source, actor=actor, now=now, name=name, value=value, overlap=overlap)
    store.look_by(tx, Scope(source.workspace_id, source.data_source_id), now + timedelta(seconds=SECRET_SPREADS_S))
    return until


def _make_secret(deps: Deps, tx: Tx, source: DataSource, now: datetime) -> bool:
    """Make the secret that servers send us, unless there is one; whether it is new."""
    settings, name = source.settings.push, own_secret(source.data_source_id)
    drop_old(tx, source.workspace_id, secrets.names(tx, source.workspace_id), now)
    if settings is None or not settings.subscribe or name in secrets.names(tx, source.workspace_id):
        return False
    secrets.store(tx, source.workspace_id, deps.sealer, name, randomness.token_urlsafe(32), now=now)
    audit.append(
        tx, source.workspace_id, actor="connector_runner", action="push.secret_made",
        object=f"data_source/{source.data_source_id}", detail={}, now=now,
    )  # fmt: skip
    return True


class _Keeper:
    """One round over the subscriptions of a source."""

    def __init__(self, deps: Deps, source: DataSource, scope: Scope, now: datetime) -> None:
        self.deps, self.source, self.scope, self.now = deps, source, scope, now
        self.polls: set[str] = set()
        self._due_at = now + timedelta(seconds=60)
        self._server: Subscriptions | None = None

    @property
    def _ids(self) -> tuple[str, str]:
        return self.scope.workspace_id, self.scope.data_source_id

    @property
    def grace_s(self) -> float:
        """How long a missing event number may be late."""
        return self.source.settings.push.gap_grace_s if self.source.settings.push is not None else 0.0

    def go(self) -> datetime:
        """Look after each; when to come again."""
        settings = self.source.settings.push
        wanted: dict[str, SubscriptionSettings] = dict(settings.subscribe) if settings and self.source.enabled else {}
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            for name in wanted:
                store.add(tx, self.scope, name, ours=True)
            known = store.all_of(tx, self.scope)
        for one in known:
            try:
                if settings is not None and one.name in wanted:
                    self._keep(one, self._wanted(settings, one.name, wanted[one.name]))
                elif one.ours:
                    self._end(one)
                else:
                    self._close_gap(one)
            except (RunnerError, BadRecord) as error:
                if error.code == "database_unavailable":
                    raise
                self._failed(one, error.code)
        return self._due_at

    def _server_of(self) -> Subscriptions:
        if self._server is None:
            found = getattr(open_source(self.deps, self.source), "subscriptions", None)
            if found is None:
                raise Misconfigured("this type of source has no subscriptions", code="no_subscriptions")
            self._server = cast(Subscriptions, found)
        return self._server

    def _wanted(self, settings: PushSettings, name: str, one: SubscriptionSettings) -> Wanted:
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            reference = f"secret:{own_secret(self.source.data_source_id)}"
            secret = secrets.resolve(reference, tx, self.scope.workspace_id, self.deps.sealer)
            slug = store.slug(tx, self.scope)
        return Wanted(
            name,
            one,
            f"{str(settings.public_url).rstrip('/')}/hooks/{slug}/{self.source.name}/{name}",
            settings.header or "Authorization",
            f"{settings.prefix}{secret}",
            self.now + timedelta(seconds=one.lifetime_s),
        )

    def _keep(self, one: Subscription, wanted: Wanted) -> None:
        """Bring one subscription to what is wanted, and find what it did not tell."""
        digest = _digest(wanted)
        if one.failures and one.looked_at is not None:
            again = one.looked_at + timedelta(seconds=BACKOFF.bound_s(one.failures))
            if again > self.now:
                self._by(again)
                return
        if one.remote_id is None:
            self._kept(one, self._asked_for(wanted), wanted, digest)
        elif one.wanted != digest or self._ends_soon(one, wanted) or one.status in ("error", "off"):
            self._renew(one, one.remote_id, wanted, digest)
        elif self._is_due(one, wanted.settings):
            self._look(one, one.remote_id, wanted, digest)
        self._close_gap(one)
        asked = one.remote_id is None or one.status == "requested"
        self._by(self.now + timedelta(seconds=ASKED_S if asked else self._every_s(wanted.settings)))

    def _asked_for(self, wanted: Wanted) -> Kept:
        """One that is there already, brought to what is wanted now: it may send the secret of an earlier life."""
        there = self._server_of().find(wanted)
        found = self._server_of().renew(there.remote_id, wanted) if there is not None else None
        return found or self._server_of().create(wanted)

    def _ends_soon(self, one: Subscription, wanted: Wanted) -> bool:
        left = timedelta(seconds=wanted.settings.lifetime_s / 4)
        return one.ends_at is not None and one.ends_at - self.now <= left

    def _every_s(self, settings: SubscriptionSettings) -> float:
        heartbeat = settings.heartbeat_s if settings.topic is not None else None
        ending = settings.lifetime_s / 8
        return min(LOOK_S, ending, heartbeat * SILENCE if heartbeat else LOOK_S)

    def _is_due(self, one: Subscription, settings: SubscriptionSettings) -> bool:
        """Whether it is silent for longer than it should be, or was not looked at for long."""
        looked = one.looked_at or self.now - timedelta(days=1)
        if one.status == "requested":
            return self.now - looked >= timedelta(seconds=ASKED_S)
        heartbeat = settings.heartbeat_s if settings.topic is not None else None
        if heartbeat is not None:
            heard = max(looked, one.notified_at or looked)
            if self.now - heard > timedelta(seconds=heartbeat * SILENCE):
                return True
        return self.now - looked >= timedelta(seconds=LOOK_S)

    def _kept(self, one: Subscription, found: Kept, wanted: Wanted, digest: bytes) -> None:
        """What was asked for. From before it was active nothing is told, so the record type is polled as well."""
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            store.kept(tx, self.scope, one.name, found, digest, wanted.until, self.now)
            store.drop_stranger(tx, self.scope, found.remote_id)
        self._poll(one.name, missed=False)

    def _renew(self, one: Subscription, remote_id: str, wanted: Wanted, digest: bytes) -> None:
        lost = one.status in ("error", "off")
        found = self._server_of().renew(remote_id, wanted)
        if found is None:
            with self.deps.database.begin(self.scope.workspace_id) as tx:
                store.lost(tx, self.scope, one.name)
            found, lost = self._server_of().create(wanted), True
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            store.kept(tx, self.scope, one.name, found, digest, wanted.until, self.now)
        if lost:
            self._poll(one.name)

    def _look(self, one: Subscription, remote_id: str, wanted: Wanted, digest: bytes) -> None:
        """Ask how it is: by ``$status`` where that is offered and its events count, else by reading it."""
        server = self._server_of()
        said = server.count(remote_id) if wanted.settings.topic is not None else None
        if said is not None:
            with self.deps.database.begin(self.scope.workspace_id) as tx:
                hearing.hear_status(tx, self.scope, one.name, said, self.now)
            status = said.status
        else:
            found = server.look(remote_id)
            status = found.status if found is not None else "off"
            if wanted.settings.topic is not None:
                self._poll(one.name)  # silent, and nothing tells how many events there were
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            store.looked(tx, self.scope, one.name, self.now, status)
            if status == "active":
                alerts.end(tx, *self._ids, SUBSCRIPTION, now=self.now, subject=one.name)
        if status in ("error", "off"):
            self._poll(one.name)
            self._failed(one, f"subscription_{status}")
            if not one.failures:  # once at once; when that was of no use, later and later
                self._renew(one, remote_id, wanted, digest)

    def _close_gap(self, one: Subscription) -> None:
        """Ask for the events that are missing; when that was of no use, poll."""
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            found = store.held(tx, self.scope, name=one.name)
        if found is None or not found.numbers.gap:
            return
        late = found.gap_since is not None and self.now - found.gap_since >= timedelta(seconds=self.grace_s)
        if found.asked_at is not None:
            waited = self.now - found.asked_at >= timedelta(seconds=ANSWER_S)
            if waited:
                self._give_up_gap(found)
            else:
                self._by(found.asked_at + timedelta(seconds=ANSWER_S))
        elif late:
            self._ask(found)
        elif found.gap_since is not None:
            self._by(found.gap_since + timedelta(seconds=self.grace_s))

    def _ask(self, one: Subscription) -> None:
        since, until = one.numbers.contiguous + 1, one.numbers.highest
        try:
            body = self._server_of().events(one.remote_id or one.name, since, until)
        except TryAgain:
            raise
        except RunnerError:
            body = None
        if body is None:
            self._give_up_gap(one)
            return
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            self._store(tx, body)
            store.asked(tx, self.scope, one.name, self.now)
        self._by(self.now + timedelta(seconds=ANSWER_S))

    def _store(self, tx: Tx, body: bytes) -> None:
        """What the server answers to ``$events`` is worked off like what it sends."""
        workspace_id, source_id = self.scope.workspace_id, self.scope.data_source_id
        key = self.deps.sealer.keyed_digest(workspace_id, f"push|{source_id}", f"events {new_id()}")
        sealed = self.deps.sealer.seal(tx, workspace_id, seal_content("GET", "", body), bound(source_id, key))
        push_store.keep(tx, workspace_id, [New(source_id, key, sealed)])

    def _give_up_gap(self, one: Subscription) -> None:
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            hearing.caught_up(tx, self.scope, one, self.now)
        self._poll(one.name if one.ours else None)

    def _poll(self, resource_type: str | None, *, missed: bool = True) -> None:
        """Make a record type due now; None: every one that is polled."""
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            asking.poll(tx, self.scope, resource_type, self.now, missed=missed)
        self.polls |= {resource_type} if resource_type else set(self.source.settings.resources)

    def _end(self, one: Subscription) -> None:
        """It is not wanted any more."""
        if one.remote_id is not None:
            self._server_of().remove(one.remote_id)
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            store.drop(tx, self.scope, one.name)

    def _failed(self, one: Subscription, code: str) -> None:
        with self.deps.database.begin(self.scope.workspace_id) as tx:
            store.failed(tx, self.scope, one.name, code, self.now)
            if one.failures + 1 >= TOLD_AFTER:
                alerts.raise_once(tx, *self._ids, SUBSCRIPTION, code, now=self.now, subject=one.name)
        self._by(self.now + timedelta(seconds=BACKOFF.pause_s(one.failures + 1)))

    def _by(self, moment: datetime) -> None:
        self._due_at = min(self._due_at, max(moment, self.now + timedelta(seconds=1)))


def _digest(wanted: Wanted) -> bytes:
    """Stands for all that is wanted but the time when it ends."""
    said: dict[str, Any] = wanted.settings.model_dump(mode="json")
    return exact_json.digest(
        [wanted.resource_type, wanted.endpoint, wanted.header, wanted.secret, exact_json.dumps(said)]
    )


def overdue(tx: Tx, now: datetime, limit: int = 500) -> list[tuple[str, str]]:
    """In a sweep: workspace and id of sources whose subscriptions are to be looked after."""
    return store.sources_due(tx, now, limit)


def shown(tx: Tx, workspace_id: str, data_source_id: str) -> list[dict[str, Any]]:
    """For people: how each subscription of a source is. ``missing`` are events that were not heard of yet."""
    return [dict(row) for row in store.shown(tx, Scope(workspace_id, data_source_id))]
