"""The lane engine's store over Postgres: ``ports.LaneStore`` for one workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from connector_runner.connectors.sinks import Json, Reply
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.outbound.lanes import intent_store, intents, joining_store, several_store, store, sweep_store
from connector_runner.outbound.lanes.intents import Confirmed, Intent
from connector_runner.outbound.lanes.lane import Lane, State, Withheld
from connector_runner.outbound.ports import LaneTx
from connector_runner.outbound.sinks import sink_state
from connector_runner.outbound.sinks.sink_state import SinkState
from connector_runner.resilience.quarantine import Quarantine

STAGE: Final = "outbound"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SqlLaneStore:
    """Opens transactions. Safe to share between threads."""

    database: Database
    sealer: Sealer
    quarantine: Quarantine
    workspace_id: str
    clock: Clock = utc_now

    @contextmanager
    def begin(self) -> Iterator[LaneTx]:
        """A transaction; raises Unavailable when Postgres cannot be reached."""
        with self.database.begin(self.workspace_id) as tx:
            yield self.over(tx)

    def retrying(self, work: Callable[[LaneTx], T]) -> T:
        """Run ``work`` in a transaction, again where another one wrote the same rows first."""
        return self.database.retrying(self.workspace_id, lambda tx: work(self.over(tx)))

    def over(self, tx: Tx) -> SqlLaneTx:
        """The port's verbs in a transaction that is open already."""
        return SqlLaneTx(tx, self)


@dataclass(frozen=True, slots=True)
class SqlLaneTx:
    """A transaction; each verb is one or two statements of ``store``."""

    tx: Tx
    of: SqlLaneStore

    def claim(self, sink_id: str, *, owner: str, lease_s: float) -> Lane | None:
        """See the port."""
        return store.claim(self.tx, self.of.workspace_id, sink_id, owner=owner, lease_s=lease_s)

    def claim_more(self, sink_id: str, *, owner: str, lease_s: float, limit: int) -> list[Lane]:
        """See the port."""
        return several_store.claim_more(
            self.tx, self.of.workspace_id, sink_id, owner=owner, lease_s=lease_s, limit=limit
        )

    def join(
        self, sink_id: str, entity_ids: Sequence[str], *, referring: bool, owner: str, lease_s: float, limit: int
    ) -> list[Lane]:
        """See the port."""
        return joining_store.join(
            self.tx,
            self.of.workspace_id,
            sink_id,
            entity_ids,
            referring=referring,
            owner=owner,
            lease_s=lease_s,
            limit=limit,
        )

    def lock(self, lane: Lane) -> bool:
        """See the port."""
        return store.lock_lane(self.tx, lane)

    def lock_all(self, lanes: Sequence[Lane]) -> set[str]:
        """See the port."""
        return several_store.lock(self.tx, lanes)

    def extend_all(self, lanes: Sequence[Lane], lease_s: float) -> set[str]:
        """See the port."""
        return several_store.extend(self.tx, lanes, lease_s)

    def extend(self, lane: Lane, lease_s: float) -> bool:
        """See the port."""
        return store.extend_lease(self.tx, lane, lease_s)

    def give_back(
        self,
        lane: Lane,
        to: State,
        *,
        reason: str | None,
        detail: str | None = None,
        delay_s: float = 0.0,
        counts: bool = True,
        status: int | None = None,
        withheld: Sequence[Withheld] | None = None,
        forget_version: bool = False,
    ) -> bool:
        """See the port."""
        return store.give_back(
            self.tx,
            lane,
            to,
            reason=reason,
            detail=detail,
            delay_s=delay_s,
            counts=counts,
            status=status,
            withheld=withheld,
            forget_version=forget_version,
        )

    def confirm(
        self,
        lane: Lane,
        *,
        reason: str,
        synced_hash: bytes | None,
        revision: int,
        confirmed: Confirmed | None,
        sink_ref: str | None,
        sink_etag: str | None,
        status: int | None,
        again: bool = False,
        withheld: Sequence[Withheld] | None = None,
        seen: Json | None = None,
        closing: str | None = None,
        locked: bool = False,
    ) -> bool:
        """See the port."""
        if seen is not None:
            known = intents.open_confirmed(self.tx, self.of.sealer, lane)
            confirmed = Confirmed(seen, known.atoms, known.created_by_us) if known else Confirmed(seen, (), False)
        sealed = (
            lane.last_sent if confirmed is None else intents.seal_confirmed(self.tx, self.of.sealer, lane, confirmed)
        )
        ours = store.confirm(
            self.tx,
            lane,
            reason=reason,
            synced_hash=synced_hash,
            revision=revision,
            last_sent=sealed,
            sink_ref=sink_ref,
            sink_etag=sink_etag,
            status=status,
            again=again,
            withheld=withheld,
            unasked=locked,
        )
        if ours and closing is not None:
            intent_store.close_unasked(self.tx, lane, closing)
        return ours

    def open_intent(self, lane: Lane, intent: Intent, quiet_s: float) -> None:
        """See the port."""
        intents.open_intent(self.tx, self.of.sealer, lane, intent, quiet_s)

    def close_intent(self, lane: Lane, intent_id: str) -> bool:
        """See the port."""
        return intent_store.close_intent(self.tx, lane, intent_id)

    def resolve_later(self, lane: Lane, intent_id: str, quiet_s: float) -> None:
        """See the port."""
        intent_store.resolve_later(self.tx, lane, intent_id, quiet_s)

    def find_intent(self, lane: Lane) -> tuple[Intent, float] | None:
        """See the port."""
        return intents.find_intent(self.tx, self.of.sealer, lane)

    def answered(self, lane: Lane, intent_id: str) -> list[tuple[int | None, str]]:
        """See the port."""
        return intent_store.answered(self.tx, lane.lane_id, intent_id)

    def log_outcome(self, lane: Lane, intent: Intent, outcome: str, reply: Reply | None, code: str) -> None:
        """See the port."""
        intents.log_outcome(self.tx, self.of.sealer, lane, intent, outcome, reply, code)

    def more_desired(self, lane: Lane) -> bool:
        """See the port."""
        return store.more_desired(self.tx, lane)

    def set_aside(
        self, lane: Lane, code: str, message: str, *, sink: str, body: Json | None = None, status: int | None = None
    ) -> bool:
        """See the port; what was sent is kept sealed."""
        ours = store.give_back(self.tx, lane, State.QUARANTINED, reason=code, detail=message, status=status)
        if ours:
            self.of.quarantine.put(
                self.tx,
                self.of.workspace_id,
                stage=STAGE,
                subject=lane.lane_id,
                code=code,
                message=message,
                data_source_id=lane.sink_id,
                body=None if body is None else exact_json.dumps(body).encode(),
                context={"lane_id": lane.lane_id, "entity_id": lane.entity_id, "sink": sink, "status": status},
                now=self.of.clock(),
            )
        return ours

    def settled(self, lane: Lane) -> None:
        """See the port."""
        self.of.quarantine.settle_unasked(self.tx, self.of.workspace_id, STAGE, lane.lane_id)

    def others_landed(self, lane: Lane, within_s: float) -> bool:
        """See the port."""
        return store.others_landed(self.tx, lane, within_s)

    def in_flight(self, sink_id: str) -> list[tuple[str, float]]:
        """See the port."""
        return store.in_flight(self.tx, self.of.workspace_id, sink_id)

    def due_count(self, sink_id: str, limit: int) -> int:
        """See the port."""
        return store.due_count(self.tx, self.of.workspace_id, sink_id, limit)

    def sink_state(self, sink_id: str) -> SinkState:
        """See the port."""
        return sink_state.state(self.tx, self.of.workspace_id, sink_id)

    def pause(self, sink_id: str, code: str, for_s: float) -> None:
        """See the port."""
        sink_state.pause(self.tx, self.of.workspace_id, sink_id, code, for_s)

    def fail(self, sink_id: str) -> float:
        """See the port."""
        return sink_state.fail(self.tx, self.of.workspace_id, sink_id)

    def works(self, sink_id: str) -> bool:
        """See the port."""
        return sink_state.works(self.tx, self.of.workspace_id, sink_id)

    def reap(self, limit: int) -> int:
        """See the port."""
        return sweep_store.end_expired(self.tx, self.of.workspace_id, limit)
