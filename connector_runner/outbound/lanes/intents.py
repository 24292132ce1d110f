"""Intents: what is about to be sent, committed before it is sent, and sealed in the write log.

An intent holds everything that settling its outcome needs, so that whoever finds it open after a crash can
finish what it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from connector_runner.connectors.sinks import Json, Reply
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.lanes import intent_store
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.world.fold import Claim

CREATE: Final = "create"
UPDATE: Final = "update"


@dataclass(frozen=True, slots=True)
class SentClaim:
    """A claim as it is sent: whose value an atom is, without the value."""

    atom: str
    event_id: str
    source: str
    source_system: str | None
    confidence: float
    since: str

    @classmethod
    def of(cls, claim: Claim) -> SentClaim:
        """The claim that was chosen for an atom."""
        return cls(
            claim.atom, claim.event_id, claim.source, claim.source_system, claim.confidence, claim.since.isoformat()
        )


@dataclass(frozen=True, slots=True)
class Intent:
    """One write that is about to happen, or may have happened.

    ``changed`` are the claims that this write carries; ``atoms`` all that the sink holds of ours once it landed.
    ``desired_hash`` stands for what the entity had to say to the sink when so much was desired as ``revision`` says.
    """

    intent_id: str
    operation: str
    resource_type: str
    target: str | None
    body: Json
    before: Json | None
    precondition: str | None
    idempotency_key: str
    desired_hash: bytes
    revision: int
    mapping_version: str
    changed: tuple[SentClaim, ...]
    atoms: tuple[str, ...]
    created_by_us: bool

    @property
    def body_hash(self) -> bytes:
        """Stands for the body as sent."""
        return exact_json.digest(self.body)

    @property
    def causes(self) -> list[str]:
        """The events whose values are sent."""
        return sorted({claim.event_id for claim in self.changed})

    def to_json(self) -> Json:
        """Everything, for sealing."""
        return {
            "operation": self.operation,
            "resource_type": self.resource_type,
            "target": self.target,
            "body": self.body,
            "before": self.before,
            "precondition": self.precondition,
            "idempotency_key": self.idempotency_key,
            "desired_hash": self.desired_hash.hex(),
            "revision": self.revision,
            "mapping_version": self.mapping_version,
            "changed": [
                [c.atom, c.event_id, c.source, c.source_system, str(c.confidence), c.since] for c in self.changed
            ],
            "atoms": list(self.atoms),
            "created_by_us": self.created_by_us,
        }

    @classmethod
    def from_json(cls, intent_id: str, value: Json) -> Intent:
        """The intent that was sealed."""
        return cls(
            intent_id=intent_id,
            **{
                **value,
                "desired_hash": bytes.fromhex(value["desired_hash"]),
                "changed": tuple(SentClaim(a, e, s, y, float(c), t) for a, e, s, y, c, t in value["changed"]),
                "atoms": tuple(value["atoms"]),
            },
        )


def as_sent(found: Json, sent: Json) -> bool:
    """Whether a resource is word for word what was sent, but for what the sink itself says of it."""
    own = ("id", "meta")
    return len(found.keys() - own) == len(sent.keys() - own) and all(
        name in found and found[name] == value for name, value in sent.items() if name not in own
    )


def open_intent(tx: Tx, sealer: Sealer, lane: Lane, intent: Intent, quiet_period_s: float) -> None:
    """Write down what is about to be sent. Commit before sending.

    Raises Conflict (``concurrent_write``) when the lane has an intent open already.
    """
    body_hash = intent.body_hash
    intent_store.insert_intent(
        tx,
        lane,
        intent_id=intent.intent_id,
        operation=intent.operation,
        key=intent.idempotency_key,
        body_hash=body_hash,
        precondition=intent.precondition,
        quiet_period_s=quiet_period_s,
    )
    write_id = new_id()
    intent_store.insert_write(
        tx,
        lane,
        write_id=write_id,
        intent_id=intent.intent_id,
        phase="intent",
        operation=intent.operation,
        key=intent.idempotency_key,
        body_hash=body_hash,
        precondition=intent.precondition,
        mapping_version=intent.mapping_version,
        causes=intent.causes,
        sink_ref=intent.target,
        sealed=_seal(tx, sealer, lane.workspace_id, write_id, intent.to_json()),
    )


def log_outcome(
    tx: Tx, sealer: Sealer, lane: Lane, intent: Intent, outcome: str, reply: Reply | None, code: str
) -> None:
    """Write down what became of an intent, and the answer as it came."""
    write_id = new_id()
    raw = reply.raw if reply is not None else b""
    intent_store.insert_write(
        tx,
        lane,
        write_id=write_id,
        intent_id=intent.intent_id,
        phase="outcome",
        operation=intent.operation,
        key=intent.idempotency_key,
        body_hash=intent.body_hash,
        precondition=intent.precondition,
        mapping_version=intent.mapping_version,
        causes=intent.causes,
        outcome=outcome,
        code=code,
        http_status=reply.status if reply is not None else None,
        sink_ref=(reply.ref if reply is not None else None) or intent.target,
        sink_etag=reply.etag if reply is not None else None,
        sealed=sealer.seal(tx, lane.workspace_id, raw, _bound(write_id)) if raw else None,
    )


def find_intent(tx: Tx, sealer: Sealer, lane: Lane) -> tuple[Intent, float] | None:
    """The intent that is open on a lane and in how many seconds it may be looked for, or None.

    Raises BadRecord when its entry in the write log is missing or was altered.
    """
    row = intent_store.open_intent_of(tx, lane.lane_id)
    if row is None:
        return None
    logged = intent_store.intent_write(tx, lane.lane_id, row["intent_id"])
    if logged is None or logged["sealed"] is None:
        raise BadRecord("an open intent has no entry in the write log", code="write_log", where=lane.lane_id)
    plain = sealer.open(tx, lane.workspace_id, bytes(logged["sealed"]), _bound(logged["write_id"]))
    return Intent.from_json(row["intent_id"], exact_json.loads(plain)), float(row["early_s"])


def creates_of(tx: Tx, sealer: Sealer, lane: Lane) -> list[Intent]:
    """What was ever sent to make the lane's record, the latest first. Raises BadRecord (``sealed_broken``)."""
    return [
        Intent.from_json(
            row["intent_id"],
            exact_json.loads(sealer.open(tx, lane.workspace_id, bytes(row["sealed"]), _bound(row["write_id"]))),
        )
        for row in intent_store.creates_of(tx, lane.lane_id, CREATE)
    ]


def open_sealed(tx: Tx, sealer: Sealer, workspace_id: str, write_id: str, sealed: bytes | None) -> bytes | None:
    """What an entry of the write log keeps sealed: an intent as JSON, or an answer as it came. Note the read.

    Raises BadRecord (``sealed_broken``) when it was altered.
    """
    return None if sealed is None else sealer.open(tx, workspace_id, bytes(sealed), _bound(write_id))


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the sink was last known to hold: the whole resource, and which of its atoms are ours."""

    body: Json
    atoms: tuple[str, ...]
    created_by_us: bool


def seal_confirmed(tx: Tx, sealer: Sealer, lane: Lane, confirmed: Confirmed) -> bytes:
    """For the lane's row."""
    value: dict[str, Any] = {
        "body": confirmed.body,
        "atoms": list(confirmed.atoms),
        "created_by_us": confirmed.created_by_us,
    }
    return sealer.seal(tx, lane.workspace_id, exact_json.dumps(value).encode(), f"sync_lane|{lane.lane_id}")


def open_confirmed(tx: Tx, sealer: Sealer, lane: Lane) -> Confirmed | None:
    """What the lane's row says, or None when nothing was confirmed yet."""
    if lane.last_sent is None:
        return None
    value = exact_json.loads(sealer.open(tx, lane.workspace_id, lane.last_sent, f"sync_lane|{lane.lane_id}"))
    return Confirmed(value["body"], tuple(value["atoms"]), value["created_by_us"])


def _seal(tx: Tx, sealer: Sealer, workspace_id: str, write_id: str, value: Json) -> bytes:
    return sealer.seal(tx, workspace_id, exact_json.dumps(value).encode(), _bound(write_id))


def _bound(write_id: str) -> str:
    return f"write_log|{write_id}"
