"""Why an entity is as it is, here and in each sink, and whether that may be replayed: one answer for one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from connector_runner.connectors import directory
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.errors import BadRecord, Misconfigured
from connector_runner.observability import entities, explain_store
from connector_runner.observability.tracing import Tracer
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating.choosing import public_name
from connector_runner.outbound.lanes import intents, store
from connector_runner.outbound.lanes.lane import Lane, State
from connector_runner.outbound.operating import steps
from connector_runner.outbound.operating.preview import UNDO_FIRST, judged, to_undo
from connector_runner.outbound.operating.safety import Safety, Standing, replay_safety
from connector_runner.outbound.planning.plans import Plan, Wanted
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.outbound.releasing.release import goes_to
from connector_runner.outbound.sinks.directory import terms_of
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, split
from connector_runner.world.fold import VERDICT_PREFIX, Settled
from connector_runner.world.reading import EntityView

Verdicts = Mapping[str, list[dict[str, Any]]]


def explain(
    tx: Tx, outbound: Outbound, workspace_id: str, name: str, *, field: str | None = None, sink: str | None = None
) -> dict[str, Any]:
    """Per atom the winning claim, the losers and why, where each was said and what verdicts there are of it; per
    sink what the gates decide, what was last sent, and whether a replay is safe; the writes that this is a step of.
    Holds PHI: note the read.

    Raises BadRecord (``unknown_entity``, ``unknown_field``), Misconfigured (``no_such_sink``).
    """
    view = reading.view(tx, workspace_id, name)
    if view is None:
        raise BadRecord("there is no such entity", code="unknown_entity", where=name)
    chosen = {
        atom: settled
        for atom, settled in sorted(view.folded.atoms.items())
        if field is None or field in (atom, field_of(atom), public_name(atom))
    }
    if field is not None and not chosen:
        raise BadRecord("nobody says anything of this field", code="unknown_field", where=field)
    claims = [claim for settled in chosen.values() for claim in (settled.winner, *settled.losers)]
    tracer = Tracer(tx, outbound.mappings, explain_store.origins(tx, sorted({claim.event_id for claim in claims})))
    verdicts = _verdicts(view)
    sinks = _sinks(tx, outbound, workspace_id, view, chosen, sink)
    return {
        "id": view.entity_id,
        "canonical_id": view.canonical_id,
        "entity_type": view.entity_type,
        "status": view.folded.status,
        "revision": view.revision,
        "atoms": {atom: _explained(atom, settled, tracer, verdicts) for atom, settled in chosen.items()},
        "verdicts": [verdict for found in verdicts.values() for verdict in found],
        "sinks": sinks,
        "steps": [asdict(write) for write in steps.of_entity(tx, workspace_id, view.entity_id)],
        "safe_to_replay": _together({each["sink"]: each["safe_to_replay"] for each in sinks}),
    }


def _explained(atom: str, settled: Settled, tracer: Tracer, verdicts: Verdicts) -> dict[str, Any]:
    explained = entities.explained(settled)
    places = [settled.winner, *settled.losers]
    for shown, claim in zip([explained["winner"], *explained["losers"]], places, strict=True):
        shown["source_record"] = tracer.source_of(claim)
        shown["verdicts"] = [each for each in verdicts.get(claim.event_id, ()) if _about(each, atom)]
    return explained


def _about(verdict: dict[str, Any], atom: str) -> bool:
    fields = verdict.get("fields")
    return not fields or atom in fields or field_of(atom) in fields


def _verdicts(view: EntityView) -> Verdicts:
    """Verdicts by the event that they are about, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in view.events:
        if event.event_type.startswith(VERDICT_PREFIX):
            found.setdefault(str(event.facts.get("about")), []).append(
                {
                    "event_id": event.id,
                    "verdict": event.event_type.removeprefix(VERDICT_PREFIX),
                    "actor": event.actor,
                    "confidence": event.confidence,
                    "at": event.ingested_at,
                    **event.facts,
                }
            )
    return found


def _sinks(
    tx: Tx, outbound: Outbound, workspace_id: str, view: EntityView, atoms: Mapping[str, Settled], sink: str | None
) -> list[dict[str, Any]]:
    lanes = {row["sink"]: row for row in explain_store.lanes(tx, view.entity_id, sink)}
    last = explain_store.last_writes(tx, [row["lane_id"] for row in lanes.values()])
    covering = {
        terms.name: terms
        for terms in outbound.sinks.terms(tx, workspace_id)
        if sink in (None, terms.name) and (view.entity_type in terms.entity_types or terms.name in lanes)
    }
    names = sorted(lanes.keys() | covering.keys())
    if sink is not None and not names:
        _must_exist(tx, workspace_id, sink)
    sources = sink_store.source_ids(tx, workspace_id)
    answer = []
    for name in names:
        row = lanes.get(name)
        terms = covering.get(name) or _terms(tx, workspace_id, name)
        lane = store.lane_by_id(tx, row["lane_id"]) if row is not None else None
        answer.append(
            _sink(tx, outbound, workspace_id, view, atoms, terms, lane, sources)
            | {"sink": name, **_standing(row), "last_outcome": last.get(row["lane_id"]) if row else None}
            | {"safe_to_replay": asdict(_safety(lane, terms))}
        )
    return answer


def _must_exist(tx: Tx, workspace_id: str, sink: str) -> None:
    if _terms(tx, workspace_id, sink) is None:
        raise Misconfigured("there is no such sink", code="no_such_sink", where=sink)


def _terms(tx: Tx, workspace_id: str, name: str) -> SinkTerms | None:
    """The terms of a sink that may be switched off by now."""
    try:
        return terms_of(directory.load(tx, workspace_id, name))
    except Misconfigured:
        return None


_STANDING = (
    "lane_id", "state", "reason", "reason_detail", "withheld", "sink_ref", "sink_etag", "attempts", "last_status",
    "synced_at", "due_at", "open_intent",
)  # fmt: skip


def _standing(row: Row | None) -> dict[str, Any]:
    return {name: row[name] if row is not None else None for name in _STANDING}


def _sink(
    tx: Tx,
    outbound: Outbound,
    workspace_id: str,
    view: EntityView,
    atoms: Mapping[str, Settled],
    terms: SinkTerms | None,
    lane: Lane | None,
    sources: Mapping[str, str],
) -> dict[str, Any]:
    """What would be decided now, atom by atom, and what the sink was last sent."""
    if terms is None:
        return {"mapping_version": None, "decision": None, "atoms": {}}
    # Looking asks nobody for a code.
    planner = replace(outbound.planner, asks=False)
    plan = planner.plan(tx, workspace_id, terms, view, lane, sources)
    mapping = outbound.mappings.outbound(terms.system, view.entity_type)
    sent = _last_sent(tx, outbound, terms, lane)
    undone_first = to_undo(tx, workspace_id, terms, view, lane)
    gated = view.entity_type in terms.entity_types
    facts = outbound.planner.gate_facts(tx, workspace_id, terms, view) if gated else None
    return {
        "mapping_version": mapping.version if mapping is not None else None,
        "decision": _decision(plan, lane, undone_first),
        "atoms": {
            atom: {
                "decision": _decided(plan, atom),
                "gates": judged(atom, settled, facts) if facts is not None else [],
                "last_sent": sent.get(atom),
            }
            for atom, settled in atoms.items()
        },
    }


def _decision(plan: Plan, lane: Lane | None, undone_first: str | None) -> dict[str, str | None]:
    """``action`` is ``create``, ``update``, ``wait`` or ``none``, the last also where the sink has it all already."""
    if undone_first is not None:
        return {"action": "wait", "reason": UNDO_FIRST, "detail": undone_first}
    state, reason, detail, _ = goes_to(plan, lane)
    if state is State.READY:
        known = isinstance(plan, Wanted) and plan.ref is not None
        return {"action": "update" if known else "create", "reason": None, "detail": None}
    return {"action": "wait" if state is State.WAITING else "none", "reason": reason, "detail": detail}


def _decided(plan: Plan, atom: str) -> str:
    """``sent``, ``kept`` (the sink's own word wins), the code of what withholds it, or ``not_written``."""
    for item in plan.withheld:
        if item.atom == public_name(atom):
            return item.code
    if isinstance(plan, Wanted):
        if atom in plan.choice.chosen:
            return "sent"
        if atom in plan.choice.kept:
            return "kept"
        return "not_written"
    return plan.reason


def _last_sent(tx: Tx, outbound: Outbound, terms: SinkTerms, lane: Lane | None) -> dict[str, Any]:
    """What the sink was last confirmed to hold of ours, atom by atom."""
    confirmed = intents.open_confirmed(tx, outbound.sealer, lane) if lane is not None else None
    if confirmed is None:
        return {}
    try:
        held = split(outbound.planner.facts(terms, confirmed.body))
    except BadRecord:
        return {}  # what the sink holds cannot be read by its inbound mapping: then nothing can be said of atoms
    return {atom: held[atom] for atom in confirmed.atoms if atom in held}


def _safety(lane: Lane | None, terms: SinkTerms | None) -> Safety:
    if lane is None:
        return replay_safety(None)
    return replay_safety(
        Standing(
            State(lane.state),
            lane.reason,
            lane.open_intent,
            lane.last_sent is not None,
            lane.sink_ref is not None,
            terms is not None and terms.capabilities.at_least_once,
            lane.undo_asked,
            lane.holds_back,
        )
    )


def _together(by_sink: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Yes where every sink says so; else what the first that refuses says."""
    for name, safety in by_sink.items():
        if not safety["safe"]:
            return {**safety, "because": f"{name}: {safety['because']}"}
    if not by_sink:
        return asdict(replay_safety(None))
    return {"safe": True, "code": "all_safe", "because": "; ".join(f"{n}: {s['because']}" for n, s in by_sink.items())}
