"""What a delivery says about its subscription: that it lives, how far its events are known, and what is missing."""

from __future__ import annotations

from datetime import datetime, timedelta

from connector_runner.connectors.push import Notification, PushSettings
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.intake.push import subscription_store as store
from connector_runner.intake.push.numbers import Numbers
from connector_runner.intake.push.subscription_store import Scope, Subscription

log = get_logger(__name__)


def hear(tx: Tx, scope: Scope, said: Notification, settings: PushSettings, now: datetime) -> Subscription | None:
    """Note a notification on its subscription; None where it names none and none can be meant.

    A gap is looked after once its grace is over. Of a subscription that we did not make a row is kept as well, for
    its numbers.
    """
    found = _subscription(tx, scope, said)
    if found is None:
        return None
    store.notified(tx, scope, found.name, said.status, now)
    numbers = [event.number for event in said.events if event.number is not None]
    after = found.numbers.heard(said.kind, numbers, said.total, ours=found.ours)
    if after != found.numbers:
        store.count(tx, scope, found.name, after, now)
    if after.restarts > found.numbers.restarts:
        log.info("push.subscription_restarted", data_source_id=scope.data_source_id)
    if after.gap and found.gap_since is None:
        store.look_by(tx, scope, now + timedelta(seconds=settings.gap_grace_s))
    elif said.status in ("error", "off"):
        store.look_by(tx, scope, now)
    return found


def hear_status(tx: Tx, scope: Scope, name: str, said: Notification, now: datetime) -> None:
    """Note how many events the server says that there were."""
    found = store.held(tx, scope, name=name)
    if found is not None:
        after = found.numbers.heard("status", (), said.total, ours=found.ours)
        if after != found.numbers:
            store.count(tx, scope, name, after, now)


def restarts(tx: Tx, scope: Scope, said: Notification) -> int:
    """How often the count of a notification's subscription began anew."""
    found = _subscription(tx, scope, said)
    return found.numbers.restarts if found is not None else 0


def _subscription(tx: Tx, scope: Scope, said: Notification) -> Subscription | None:
    if not said.subscription:
        # A rest-hook of R4 says nothing of itself; only by the record's type can it be told which one it was.
        types = {event.resource_type for event in said.events}
        return store.held(tx, scope, name=types.pop()) if len(types) == 1 else None
    found = store.held(tx, scope, remote_id=said.subscription)
    if found is None:
        store.add(tx, scope, said.subscription, ours=False, remote_id=said.subscription)
        found = store.held(tx, scope, remote_id=said.subscription)
    return found


def caught_up(tx: Tx, scope: Scope, subscription: Subscription, now: datetime) -> Numbers:
    """What was missing of a subscription is found another way."""
    after = subscription.numbers.caught_up()
    store.count(tx, scope, subscription.name, after, now, caught_up=True)
    return after
