"""Looking at lanes and the write log, and what an operator does with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connector_runner.audit import log as audit
from connector_runner.connectors.sinks import Json, Outcome
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.errors import BadRecord, Misconfigured, RunnerError
from connector_runner.outbound import sink_state, sink_store, status_store, store
from connector_runner.outbound.choosing import public_name
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gates import GateFacts, verdicts
from connector_runner.outbound.lanes import Lane, State, client_ref, lane_id
from connector_runner.outbound.planning import IN_STEP, Nothing, Wait, Wanted
from connector_runner.world import reading
from connector_runner.world.fold import Settled


def lanes_by_state(tx: Tx, workspace_id: str) -> list[dict[str, Any]]:
    """Per sink: ``name``, ``lanes`` (state -> count), ``synced``, ``pending``, ``failed``, and why it stands still."""
    sinks = status_store.sinks(tx, workspace_id)
    counts = status_store.lane_counts(tx, workspace_id)
    answer = []
    for sink in sinks:
        states = {str(state): 0 for state in State}
        synced = 0
        for row in counts:
            if row["sink_id"] == sink["data_source_id"]:
                states[row["state"]] += row["lanes"]
                synced += row["synced"]
        answer.append(
            {
                "name": sink["name"],
                "sink_id": sink["data_source_id"],
                "enabled": sink["sink_enabled"] and sink["enabled"],
                "paused_reason": sink["sink_paused_reason"],
                "breaker_until": sink["breaker_until"],
                "lanes": states,
                "synced": synced,
                "pending": sum(states[s] for s in ("ready", "leased", "waiting", "unknown")),
                "failed": states["quarantined"],
            }
        )
    return answer


def lanes(
    tx: Tx, workspace_id: str, *, sink: str | None = None, state: str | None = None, limit: int = 100
) -> list[Row]:
    """Lanes one by one: where each is and why; names and codes, no values."""
    return status_store.lanes(tx, workspace_id, sink=sink, state=state, limit=limit)


def lanes_of_entity(tx: Tx, workspace_id: str, entity_id: str) -> list[Row]:
    """The lanes of one entity, by sink."""
    return status_store.lanes_of_entity(tx, workspace_id, entity_id)


def write_log(
    tx: Tx,
    workspace_id: str,
    *,
    sink: str | None = None,
    entity_id: str | None = None,
    mapping_version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> list[Row]:
    """What was written, the latest first: outcomes, and intents that have none yet. Bodies stay sealed."""
    return status_store.write_log(
        tx,
        workspace_id,
        sink=sink,
        entity_id=entity_id,
        mapping_version=mapping_version,
        since=since,
        until=until,
        limit=limit,
    )


def retry(outbound: Outbound, workspace_id: str, *, lane_ids: list[str] | None, sink: str | None, actor: str) -> int:
    """Put quarantined, unknown or paused lanes back: all of ``sink``, or those named; how many. Audited.

    One with an intent open is read back, not sent again. A sink that was paused is tried at once.
    """

    def work(tx: Tx) -> int:
        moved = status_store.put_back(tx, workspace_id, lane_ids=lane_ids, sink=sink)
        for sink_id in sorted({row["sink_id"] for row in moved}):
            sink_state.resume(tx, workspace_id, sink_id)
        if sink is not None:
            for row in sink_store.enabled_sinks(tx, workspace_id):
                if row["name"] == sink:
                    sink_state.resume(tx, workspace_id, row["data_source_id"])
        ids = [row["lane_id"] for row in moved]
        audit.append(
            tx,
            workspace_id,
            actor=actor,
            action="outbound.retry",
            object=sink or "lanes",
            detail={"lanes": ids[:100], "count": len(ids)},
            now=outbound.clock(),
        )
        sink_store.request_release(tx, workspace_id, [row["entity_id"] for row in moved])
        return len(moved)

    return outbound.database.retrying(workspace_id, work)


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be sent to a sink for an entity now. ``request`` holds PHI; nothing is sent.

    ``gates``: per atom its claims in order, each with the word of every gate, without values.
    """

    sink: str
    entity_id: str
    lane: str | None
    action: str
    reason: str | None
    detail: str | None
    request: Json | None
    gates: dict[str, list[dict[str, Any]]]
    withheld: list[dict[str, str]] = field(default_factory=list)


def preview(outbound: Outbound, workspace_id: str, name: str, sink_name: str) -> Preview:
    """Decide as the drain would, reading the sink's resource if there is one, and show the request.

    Raises BadRecord (``unknown_entity``) or Misconfigured (``no_such_sink``), and what the read meets.
    """
    with outbound.database.begin(workspace_id) as tx:
        view = reading.view(tx, workspace_id, name)
        if view is None:
            raise BadRecord("there is no such entity in this workspace", code="unknown_entity", where=name)
        terms = next((t for t in outbound.sinks.terms(tx, workspace_id) if t.name == sink_name), None)
        if terms is None:
            raise Misconfigured("there is no such sink that is enabled", code="no_such_sink", where=sink_name)
        lane = store.lane_of(tx, terms.sink_id, view.entity_id)
        sources = sink_store.source_ids(tx, workspace_id)
        plan = outbound.planner.plan(tx, workspace_id, terms, view, lane, sources)
        _, sink = outbound.sinks.open(tx, workspace_id, terms.sink_id)
        covered = view.entity_type in terms.entity_types
        facts = (
            outbound.planner.gate_facts(tx, workspace_id, terms, view.entity_id, view.entity_type) if covered else None
        )
    gates = {} if facts is None else _gates(view.folded.atoms, facts)
    shown = (terms.name, view.entity_id, str(lane.state) if lane else None)
    if isinstance(plan, Nothing):
        return Preview(*shown, "none", plan.reason, plan.detail, None, gates, _shown(plan))
    if isinstance(plan, Wait):
        return Preview(*shown, "wait", "dependency", plan.detail, None, gates, _shown(plan))
    pretended = lane or _lane_to_be(workspace_id, terms, view)
    if plan.ref is None:
        body = outbound.planner.body(plan)
        if isinstance(body, Nothing):
            return Preview(*shown, "none", body.reason, body.detail, None, gates, _shown(plan))
        identified = sink.identified(body, pretended.client_ref)
        return Preview(*shown, "create", None, None, {"body": identified}, gates, _shown(plan))
    reply = sink.read(plan.ref)
    if reply.outcome is not Outcome.LANDED or reply.body is None:
        raise RunnerError("the sink's resource cannot be read now", code=reply.code or str(reply.outcome))
    change = outbound.planner.change(plan, pretended, terms, reply.body, reply.etag)
    if isinstance(change, Nothing):
        return Preview(*shown, "none", IN_STEP, None, None, gates, _shown(change))
    request = {"target": plan.ref, "if_match": reply.etag, "body": change.body}
    return Preview(*shown, "update", None, None, request, gates, _shown(plan))


def _lane_to_be(workspace_id: str, terms: SinkTerms, view: reading.EntityView) -> Lane:
    return Lane(
        workspace_id=workspace_id,
        sink_id=terms.sink_id,
        lane_id=lane_id(terms.sink_id, view.entity_id),
        entity_id=view.entity_id,
        entity_type=view.entity_type,
        state=State.IDLE,
        fence=0,
        attempts=0,
        client_ref=client_ref(terms.sink_id, view.entity_id),
        desired_revision=view.revision,
        synced_revision=0,
        synced_hash=None,
        last_sent=None,
        sink_ref=None,
        sink_etag=None,
        reason=None,
        wanted_at=None,
    )


def _shown(plan: Nothing | Wait | Wanted) -> list[dict[str, str]]:
    return [{"atom": item.atom, "code": item.code} for item in dict.fromkeys(plan.withheld)]


def _gates(atoms: dict[str, Settled], facts: GateFacts) -> dict[str, list[dict[str, Any]]]:
    answer: dict[str, list[dict[str, Any]]] = {}
    for atom, settled in sorted(atoms.items()):
        claims = (settled.winner, *settled.losers)
        about = facts.about(atom, claims)
        answer.setdefault(public_name(atom), []).extend(
            {
                "event_id": claim.event_id,
                "source": claim.source,
                "source_system": claim.source_system,
                "confidence": claim.confidence,
                "gates": verdicts(claim, about),
            }
            for claim in claims
        )
    return answer
