"""What would be sent to a sink for an entity now, decided as the drain decides, with the sink's resource read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord, Misconfigured, NotYet, RunnerError
from connector_runner.outbound.engine import Outbound
from connector_runner.outbound.gating.choosing import public_name
from connector_runner.outbound.gating.gates import GateFacts, verdicts
from connector_runner.outbound.lanes import store
from connector_runner.outbound.lanes.intents import Intent
from connector_runner.outbound.lanes.lane import Lane, State, client_ref, lane_id
from connector_runner.outbound.operating import parting, undo_store
from connector_runner.outbound.operating.looking import Looker
from connector_runner.outbound.operating.rehearsal import rehearsed
from connector_runner.outbound.planning import duplicate_search
from connector_runner.outbound.planning.checking import problems_of
from connector_runner.outbound.planning.plans import IN_STEP, Nothing, Wait, Wanted, with_ref
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.world import reading
from connector_runner.world.fold import Settled
from connector_runner.world.reading import EntityView

UNDO_FIRST: Final = "undo_first"
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be sent to a sink for an entity now. ``request`` holds PHI; nothing is sent.

    ``action``: ``create``, ``update``, ``none`` or ``wait``, with ``reason`` and ``detail`` for the last two; with a
    ``request`` all the same where validation is what stops it.
    ``gates``: per atom its claims in order, each with the word of every gate, without values. ``withheld``: atoms
    that are not sent, and why. ``target`` is the sink's resource as it was read now: its ref and version.
    """

    sink: str
    entity_id: str
    lane: str | None
    action: str
    reason: str | None = None
    detail: str | None = None
    target: dict[str, str | None] | None = None
    mapping_version: str | None = None
    request: dict[str, Any] | None = None
    changes: tuple[str, ...] = ()
    gates: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    withheld: list[dict[str, str]] = field(default_factory=list)


def preview(outbound: Outbound, workspace_id: str, name: str, sink_name: str) -> Preview:
    """Decide as the drain would, and show the request.

    Raises BadRecord (``unknown_entity``), Misconfigured (``no_such_sink``), RateLimited (``sink_pace``), and
    RunnerError with the sink's code where its resource cannot be read.
    """
    with outbound.database.begin(workspace_id) as tx:
        view, terms = _named(tx, outbound, workspace_id, name, sink_name)
        lane = store.lane_of(tx, terms.sink_id, view.entity_id)
        sources = sink_store.source_ids(tx, workspace_id)
        plan = replace(outbound.planner, asks=False).plan(tx, workspace_id, terms, view, lane, sources)
        gates = gates_of(tx, outbound, workspace_id, terms, view)
        undone_first = to_undo(tx, workspace_id, terms, view, lane)
        _, sink = outbound.sinks.open(tx, workspace_id, terms.sink_id)
    shown = Preview(terms.name, view.entity_id, str(lane.state) if lane else None, "none", gates=gates)
    shown = replace(shown, withheld=_withheld(plan))
    if undone_first is not None:
        return replace(shown, action="wait", reason=UNDO_FIRST, detail=undone_first)
    if isinstance(plan, Nothing):
        return replace(shown, reason=plan.reason, detail=plan.detail)
    if isinstance(plan, Wait):
        return replace(shown, action="wait", reason=plan.reason, detail=plan.detail)
    shown = replace(shown, mapping_version=plan.mapping.version)
    return _rehearsed(outbound, workspace_id, terms, sink, lane or _lane_to_be(workspace_id, terms, view), plan, shown)


def to_undo(tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView, lane: Lane | None) -> str | None:
    """What a lane takes back before it says anything: the id of the undo, ``parted`` for one that is not asked yet."""
    if lane is None:
        return None
    asked = undo_store.open_request(tx, lane.lane_id) if lane.undo_asked else None
    if asked is not None:
        return str(asked["undo_id"])
    return parting.PARTED if parting.owed(tx, workspace_id, terms, view, lane) else None


def _named(tx: Tx, outbound: Outbound, workspace_id: str, name: str, sink_name: str) -> tuple[EntityView, SinkTerms]:
    view = reading.view(tx, workspace_id, name)
    if view is None:
        raise BadRecord("there is no such entity in this workspace", code="unknown_entity", where=name)
    terms = next((each for each in outbound.sinks.terms(tx, workspace_id) if each.name == sink_name), None)
    if terms is None:
        raise Misconfigured("there is no such sink that is enabled", code="no_such_sink", where=sink_name)
    return view, terms


def _rehearsed(
    outbound: Outbound, workspace_id: str, terms: SinkTerms, sink: Sink, lane: Lane, plan: Wanted, shown: Preview
) -> Preview:
    try:
        intent: Intent | Nothing | None = _creation(outbound, sink, lane, plan) if plan.ref is None else None
        if isinstance(intent, Intent):
            same = _same(outbound, workspace_id, terms, sink, lane, intent)
            plan = plan if same is None else with_ref(plan, same)
        if plan.ref is not None:
            current, etag = _current(outbound, workspace_id, terms, sink, plan.ref)
            shown = replace(shown, target={"ref": plan.ref, "etag": etag})
            intent = outbound.planner.change(plan, lane, terms, current, etag)
    except (BadRecord, NotYet) as error:
        return replace(shown, reason=error.code, detail=error.where)
    if not isinstance(intent, Intent):
        stopped = intent or Nothing(IN_STEP)
        return replace(shown, reason=stopped.reason, detail=stopped.detail, withheld=_withheld(stopped))
    with outbound.database.begin(workspace_id) as tx:
        request = rehearsed(tx, workspace_id, terms.sink_id, intent, lane.client_ref)
    shown = _judged(outbound, terms, intent, shown)
    return replace(
        shown,
        request=None if request is None else asdict(request),
        changes=tuple(public_name(claim.atom) for claim in intent.changed),
    )


def _same(
    outbound: Outbound, workspace_id: str, terms: SinkTerms, sink: Sink, lane: Lane, intent: Intent
) -> str | None:
    """The sink's own record of whom a create is about, as the drain would find it; nothing is adopted."""
    found = duplicate_search.look(
        outbound, workspace_id, terms, lane, intent, Looker(outbound, workspace_id, terms, sink)
    )
    if isinstance(found, Reply):
        raise RunnerError("the sink cannot be searched now", code=found.code or str(found.outcome), where=terms.name)
    return found.ref


def _judged(outbound: Outbound, terms: SinkTerms, intent: Intent, preview: Preview) -> Preview:
    """What the layers of validation make of it; the sink's own is not asked."""
    problems = problems_of(outbound.mappings, terms, intent, outbound.clock())
    if not problems:
        return replace(preview, action=intent.operation)
    final = [problem for problem in problems if not problem.wait]
    shown = final or problems
    detail = "; ".join(f"{problem.path}: {problem.code}" for problem in shown[:_SHOWN])
    return replace(preview, action="none" if final else "wait", reason=shown[0].reason, detail=detail)


def _current(outbound: Outbound, workspace_id: str, terms: SinkTerms, sink: Sink, ref: str) -> tuple[Json, str | None]:
    reply = Looker(outbound, workspace_id, terms, sink).read(ref)
    if reply.outcome is not Outcome.LANDED or reply.body is None:
        code = reply.code or str(reply.outcome)
        raise RunnerError("the sink's resource cannot be read now", code=code, where=terms.name)
    return reply.body, reply.etag


def _creation(outbound: Outbound, sink: Sink, lane: Lane, plan: Wanted) -> Intent | Nothing:
    body = outbound.planner.body(plan)
    if isinstance(body, Nothing):
        return body
    return plan.creation(lane, sink.identified(body, lane.client_ref))


def gates_of(
    tx: Tx, outbound: Outbound, workspace_id: str, terms: SinkTerms, view: EntityView
) -> dict[str, list[dict[str, Any]]]:
    """Per atom what each gate of a sink says of each of its claims, the best first; codes, no values."""
    if view.entity_type not in terms.entity_types:
        return {}
    facts = outbound.planner.gate_facts(tx, workspace_id, terms, view)
    answer: dict[str, list[dict[str, Any]]] = {}
    for atom, settled in sorted(view.folded.atoms.items()):
        answer.setdefault(public_name(atom), []).extend(judged(atom, settled, facts))
    return answer


def judged(atom: str, settled: Settled, facts: GateFacts) -> list[dict[str, Any]]:
    """What each gate says of the claims of one atom."""
    claims = (settled.winner, *settled.losers)
    about = facts.about(atom, claims)
    return [
        {
            "event_id": claim.event_id,
            "source": claim.source,
            "source_system": claim.source_system,
            "confidence": claim.confidence,
            "gates": verdicts(claim, about),
        }
        for claim in claims
    ]


def _lane_to_be(workspace_id: str, terms: SinkTerms, view: EntityView) -> Lane:
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
        desired_revision=0,
        synced_revision=0,
        synced_hash=None,
        last_sent=None,
        sink_ref=None,
        sink_etag=None,
        reason=None,
        wanted_at=None,
    )


def _withheld(plan: Nothing | Wait | Wanted) -> list[dict[str, str]]:
    return [{"atom": item.atom, "code": item.code} for item in dict.fromkeys(plan.withheld)]
