"""The rolling sample: a few confirmed lanes are read back, and compared with what the sink confirmed.

It never writes to a sink. A value that the sink took and does not have is a silent reject, one that somebody else
put there a foreign edit: the next plan looks there first, and who is newer is decided where it always is. A
resource that is gone is put aside for a person, and never made again by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.metrics import counter
from connector_runner.kernel.clock import parse_instant
from connector_runner.kernel.errors import BadRecord, Misconfigured
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating.choosing import public_name, same_value
from connector_runner.outbound.lanes import intents, store
from connector_runner.outbound.lanes.intents import Confirmed
from connector_runner.outbound.lanes.lane import RECONCILE, Lane, State
from connector_runner.outbound.lanes.lane_store import STAGE
from connector_runner.outbound.reconciling import reconcile_store
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.sinks import sink_state
from connector_runner.outbound.sinks.pacing import Pacer, limit_of
from connector_runner.world import reading
from connector_runner.world.atoms import split

SAMPLE: Final = 20
VERIFIED: Final = "verified"
SILENT_REJECT: Final = "silent_reject"
FOREIGN_EDIT: Final = "foreign_edit"
MISSING_IN_SINK: Final = "missing_in_sink"
PASSED_OVER: Final = "passed_over"
MOVED: Final = "moved"

_MOST_NAMES: Final = 10
_NOT_NOW: Final = frozenset({"refused", "not_sent", "auth", "unknown", "quota"})
_VERSION = re.compile(r'(?:W/)?"(\d+)"')

READ_BACK = counter("sample_read_back", "Confirmed lanes read back, by what was found", ("sink", "outcome"))

log = get_logger(__name__)


@dataclass(slots=True)
class Sampled:
    """What a sample found, by outcome; ``closed``: why the sink was not asked."""

    outcomes: Counter[str] = field(default_factory=Counter)
    closed: str | None = None
    release: bool = False


def sample(
    outbound: Outbound, workspace_id: str, sink_id: str, owner: str, *, count: int, every_s: float, slice_s: float = 5.0
) -> Sampled:
    """Read back up to ``count`` lanes of a sink, if that is due, as far as its pace has room beside the writes."""
    done = Sampled()
    with outbound.database.begin(workspace_id) as tx:
        if not reconcile_store.take_sample_turn(tx, workspace_id, sink_id, every_s):
            return done
        state = sink_state.state(tx, workspace_id, sink_id)
        if state.closed or state.failures:
            done.closed = state.closed or "failing"
            return done
        try:
            terms, sink = outbound.sinks.open(tx, workspace_id, sink_id)
        except Misconfigured as exc:
            done.closed = exc.code
            return done
        chosen = reconcile_store.to_verify(tx, workspace_id, sink_id, count, terms.quiet_period_s)
    if not chosen:
        return done
    reader = _Reader(outbound, workspace_id, terms, sink)
    until = outbound.runtime.clock() + slice_s
    pacer = _pacer(outbound, workspace_id, terms, owner, until)
    try:
        for number, lane_id in enumerate(chosen):
            if (number and reader.writes_wait()) or outbound.runtime.clock() > until or not pacer.take():
                break
            outcome = reader.read_back(lane_id, pacer)
            done.outcomes[outcome] += 1
            READ_BACK.labels(sink=terms.name, outcome=outcome).inc()
            if outcome in _NOT_NOW:
                break
    finally:
        pacer.close()
    done.release = FOREIGN_EDIT in done.outcomes
    return done


def _pacer(outbound: Outbound, workspace_id: str, terms: SinkTerms, owner: str, until: float) -> Pacer:
    def in_flight() -> list[tuple[str, float]]:
        with outbound.database.begin(workspace_id) as tx:
            return store.in_flight(tx, workspace_id, terms.sink_id)

    limit = limit_of(terms)
    return Pacer(outbound.limiter, terms.sink_id, terms.name, limit, f"{owner}:{new_id()}", until, in_flight=in_flight)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads lanes of one sink back."""

    outbound: Outbound
    workspace_id: str
    terms: SinkTerms
    sink: Sink

    def writes_wait(self) -> bool:
        """Whether lanes are due: those go first."""
        with self.outbound.database.begin(self.workspace_id) as tx:
            return store.due_count(tx, self.workspace_id, self.terms.sink_id, 1) > 0

    def read_back(self, lane_id: str, pacer: Pacer) -> str:
        """Read one lane's resource and note what is found; the outcome, or the sink's word where it is not to be had.

        A grant must be in hand.
        """
        with self.outbound.database.begin(self.workspace_id) as tx:
            lane = store.lane_by_id(tx, lane_id)
            confirmed = intents.open_confirmed(tx, self.outbound.sealer, lane) if lane is not None else None
        if lane is None or confirmed is None or lane.sink_ref is None or lane.state is not State.IDLE:
            return MOVED
        if not pacer.take():
            return str(Outcome.REFUSED)
        pacer.use()
        reply = self.sink.read(lane.sink_ref)
        if reply.outcome is Outcome.REFUSED:
            pacer.cut(reply.retry_after_s)
        if str(reply.outcome) in _NOT_NOW:
            return str(reply.outcome)
        return self.outbound.database.retrying(self.workspace_id, lambda tx: self._note(tx, lane, confirmed, reply))

    def _note(self, tx: Tx, lane: Lane, confirmed: Confirmed, reply: Reply) -> str:
        if reply.outcome in (Outcome.ABSENT, Outcome.GONE):
            return self._missing(tx, lane)
        if reply.outcome is not Outcome.LANDED or reply.body is None:
            return self._found(tx, lane, PASSED_OVER, [])
        try:
            held = split(self.outbound.planner.facts(self.terms, reply.body))
            known = split(self.outbound.planner.facts(self.terms, confirmed.body))
        except BadRecord:
            return self._found(tx, lane, PASSED_OVER, [])
        lost = lost_atoms(confirmed.atoms, known, held, promised=lane.reason == "landed_otherwise")
        if lost:
            view = reading.view(tx, self.workspace_id, lane.entity_id)
            settled = view.folded.atoms if view is not None else {}
            # What a poll has told of already was decided there.
            lost = [
                a for a in lost if a not in settled or a not in held or not same_value(settled[a].winner.value, held[a])
            ]
        if not lost:
            return self._found(tx, lane, VERIFIED, [])
        code = SILENT_REJECT if never_became(reply, lane.sink_etag, confirmed.body) else FOREIGN_EDIT
        return self._found(tx, lane, code, lost)

    def _found(self, tx: Tx, lane: Lane, code: str, atoms: list[str]) -> str:
        before = reconcile_store.drift_of_lane(tx, self.workspace_id, lane.lane_id)
        if code in (VERIFIED, PASSED_OVER):
            kept = before if code == PASSED_OVER else None
            noted = reconcile_store.verified(tx, self.workspace_id, lane.lane_id, lane.fence, drift=kept)
            return code if noted else MOVED
        foreign = code == FOREIGN_EDIT
        detail = ", ".join(sorted({public_name(atom) for atom in atoms})[:_MOST_NAMES])
        if not reconcile_store.verified(
            tx, self.workspace_id, lane.lane_id, lane.fence, drift=code, detail=detail, forget=foreign
        ):
            return MOVED
        if foreign and before != code:
            sink_store.request_release(tx, self.workspace_id, [lane.entity_id], prio=RECONCILE)
        log.warning("drift", sink=self.terms.name, lane_id=lane.lane_id, code=code, fields=detail)
        return code

    def _missing(self, tx: Tx, lane: Lane) -> str:
        entity = reading.row(tx, self.workspace_id, lane.entity_id)
        if entity is None or entity["status"] != "active":
            # Nobody says that it should be there.
            return self._found(tx, lane, PASSED_OVER, [])
        words = "the sink confirmed this resource and no longer has it"
        if not reconcile_store.verified(
            tx,
            self.workspace_id,
            lane.lane_id,
            lane.fence,
            drift=MISSING_IN_SINK,
            detail=words,
            forget=True,
            aside=True,
        ):
            return MOVED
        self.outbound.quarantine.put(
            tx,
            self.workspace_id,
            stage=STAGE,
            subject=lane.lane_id,
            code=MISSING_IN_SINK,
            message=words,
            data_source_id=self.terms.sink_id,
            context={"lane_id": lane.lane_id, "entity_id": lane.entity_id, "sink": self.terms.name},
            now=self.outbound.clock(),
        )
        return MISSING_IN_SINK


def lost_atoms(
    ours: tuple[str, ...], known: Mapping[str, Any], held: Mapping[str, Any], *, promised: bool
) -> list[str]:
    """Atoms of ours that the sink confirmed (``known``) and now holds otherwise, or not at all (``held``).

    ``promised``: it answered 2xx with something else than was sent, so what its answer lacked it did not take.
    """
    return [
        atom
        for atom in ours
        if (atom in known and (atom not in held or not same_value(held[atom], known[atom])))
        or (promised and atom not in known and atom not in held)
    ]


def never_became(reply: Reply, confirmed_etag: str | None, confirmed: Json) -> bool:
    """Whether the resource is no newer than what was confirmed: then nobody edited it, our write did not take.

    Told by the sink's own clock (``meta.lastUpdated``), else by its versions. Where neither tells, somebody did.
    """
    now, then = _last_updated(reply.body or {}), _last_updated(confirmed)
    if now is not None and then is not None:
        return now <= then
    if reply.etag is not None and reply.etag == confirmed_etag:
        return True
    shown, told = _VERSION.fullmatch(reply.etag or ""), _VERSION.fullmatch(confirmed_etag or "")
    return shown is not None and told is not None and int(shown[1]) <= int(told[1])


def _last_updated(resource: Json) -> datetime | None:
    meta = resource.get("meta")
    text = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return parse_instant(text) if isinstance(text, str) else None
