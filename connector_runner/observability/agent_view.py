"""An entity as an agent may rely on it: what is verified, what is not and why, and what is not for these eyes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.observability import policies
from connector_runner.observability.policies import Question
from connector_runner.outbound.gating.choosing import public_name
from connector_runner.policy.purposes import Purpose
from connector_runner.review.judge import checks
from connector_runner.unification.loader import MappingSet
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, join
from connector_runner.world.confidence import AUTHORITATIVE, HIGH, NONE, confidence_class
from connector_runner.world.fold import Claim, Settled
from connector_runner.world.reading import EntityView

CONFLICT: Final = "conflict"
NOT_REVIEWED: Final = "not_reviewed"
REJECTED: Final = "rejected"
HIDDEN: Final = frozenset({"security_labels"})


def show(tx: Tx, mappings: MappingSet, workspace_id: str, name: str, purpose: Purpose, now: datetime) -> dict[str, Any]:
    """The entity with the records that are the same. ``state`` holds what is authoritative and passes the checks, or
    was reviewed; ``unverified`` the rest, each with ``why``; ``withheld`` what policy keeps back, without its value.

    Holds PHI: note the read. Raises BadRecord (``unknown_entity``).
    """
    view = reading.view(tx, workspace_id, name)
    if view is None:
        raise BadRecord("there is no such entity", code="unknown_entity", where=name)
    answer = policies.answered(tx, mappings, workspace_id, view, Question("read", purpose), purpose, None, now)
    found = {
        "view": "agent",
        "purpose": purpose,
        "id": view.entity_id,
        "workspace_id": workspace_id,
        "entity_type": view.entity_type,
        "canonical_id": view.canonical_id,
        "record_status": view.folded.status,
        "revision": view.revision,
        "members": list(view.members),
        "allowed": answer.allowed,
        "refused": [policies.shown(each) for each in answer.refused],
    }
    if not answer.allowed:
        return found | {"state": {}, "provenance": {}, "unverified": [], "withheld": []}
    kept = {atom: settled for atom, settled in view.folded.atoms.items() if field_of(atom) not in HIDDEN}
    forbidden = sorted({field_of(atom) for atom in kept} & answer.fields.keys())
    kept = {atom: settled for atom, settled in kept.items() if field_of(atom) not in forbidden}
    return (
        found
        | _sorted_out(view, kept, now)
        | {"withheld": [{"field": name, **policies.shown(answer.fields[name])} for name in forbidden]}
    )


def _sorted_out(view: EntityView, atoms: dict[str, Settled], now: datetime) -> dict[str, Any]:
    relied: dict[str, Claim] = {}
    unverified = []
    for atom, settled in sorted(atoms.items()):
        why = doubt(view.entity_type, atom, settled.winner, settled.conflict, now)
        if why is not None:
            unverified.append(_doubted(atom, settled.winner, why))
        claim = _reliable(view.entity_type, atom, (settled.winner, *settled.losers), settled.conflict, now)
        if claim is not None:
            relied[atom] = claim
    return {
        "state": join({atom: claim.value for atom, claim in relied.items()}),
        "provenance": {atom: _known(claim) for atom, claim in relied.items()},
        "unverified": unverified,
    }


def _reliable(
    entity_type: str, atom: str, claims: Iterable[Claim], conflict: str | None, now: datetime
) -> Claim | None:
    """The best word that may be relied on."""
    return next((claim for claim in claims if doubt(entity_type, atom, claim, conflict, now) is None), None)


def doubt(entity_type: str, atom: str, claim: Claim, conflict: str | None, now: datetime) -> str | None:
    """Why a claim is not to be relied on; None when it is authoritative and well formed, or was reviewed."""
    kind = confidence_class(claim.confidence)
    if kind == NONE:
        return REJECTED
    if conflict is not None:
        return CONFLICT
    if claim.verdict is not None and kind == HIGH:
        return None
    if claim.confidence < AUTHORITATIVE:
        return NOT_REVIEWED
    return checks.malformed(entity_type, atom, claim.value, now)


def _doubted(atom: str, claim: Claim, why: str) -> dict[str, Any]:
    return {"field": public_name(atom), "value": claim.value, "why": why, **_known(claim)}


def _known(claim: Claim) -> dict[str, Any]:
    return {
        "event_id": claim.event_id,
        "source": claim.source,
        "source_system": claim.source_system,
        "confidence": claim.confidence,
        "verdict": claim.verdict,
    }
