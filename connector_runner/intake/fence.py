"""What one claimed poll writes: only while its lease is its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from connector_runner.connectors import store
from connector_runner.connectors.store import Claim
from connector_runner.infra.database import Database, Tx
from connector_runner.intake import schedule
from connector_runner.intake.landing import Landed
from connector_runner.kernel.errors import Conflict
from connector_runner.resilience.retry import Backoff

_ATTEMPTS = 5
_AGAIN = Backoff(base_s=0.05, cap_s=1)


class FenceLost(Conflict):
    """Rolls the transaction back: another worker holds this record type now."""

    default_code = "lease_lost"


class Fence:
    """The lease of one record type, and the transactions that hold it."""

    def __init__(self, database: Database, claim: Claim, now: datetime) -> None:
        """``now``: when the slice begins."""
        self.claim = claim
        self.lease_s = schedule.MIN_LEASE_S
        self._database = database
        self._started, self._clock = now, time.monotonic()
        self._held_at = 0.0

    @property
    def now(self) -> datetime:
        """The instant at which the slice began, plus what has passed since."""
        return self._started + timedelta(seconds=self.spent_s)

    @property
    def spent_s(self) -> float:
        """Seconds since the slice began."""
        return time.monotonic() - self._clock

    def renew(self) -> None:
        """Extend the lease, unless that was done lately; raises FenceLost."""
        if self.spent_s - self._held_at < self.lease_s / 4:
            return
        with self._database.begin(self.claim.workspace_id) as tx:
            self.hold(tx)

    def hold(self, tx: Tx) -> None:
        """Lock the claimed row and extend the lease; raises FenceLost."""
        if not store.hold(tx, self.claim, self.now + timedelta(seconds=self.lease_s)):
            raise FenceLost("another worker polls this record type now")
        self._held_at = self.spent_s

    def begin(self, tx: Tx, lease_s: float) -> None:
        """Extend a lease that was taken in this same transaction to what the source needs."""
        self.lease_s = lease_s
        if lease_s > schedule.MIN_LEASE_S:
            store.lengthen(tx, self.claim, self.now + timedelta(seconds=lease_s))
        self._held_at = self.spent_s

    def move(self, tx: Tx, cursor: dict[str, Any]) -> None:
        """Move the cursor; raises FenceLost."""
        if not store.move(tx, self.claim, cursor):
            raise FenceLost("another worker polls this record type now")

    def write(self, work: Callable[[Tx], Landed]) -> Landed:
        """Run ``work`` in one transaction that holds the fence; begin again when another writer came first."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._database.begin(self.claim.workspace_id) as tx:
                    self.hold(tx)
                    return work(tx)
            except FenceLost:
                raise
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(_AGAIN.pause_s(attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")
