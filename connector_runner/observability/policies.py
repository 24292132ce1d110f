"""May this be read, contacted, written: the answer of policy, with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors import directory
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord, Misconfigured
from connector_runner.outbound.gating import consent_store
from connector_runner.outbound.gating.consenting import LABELS, codes_of, facts_of
from connector_runner.outbound.gating.marking import emails, numbers
from connector_runner.outbound.sinks.directory import terms_of
from connector_runner.policy import deciding
from connector_runner.policy.asking import Action, Answer, Asked, Channel, Refused
from connector_runner.policy.consent import NOBODYS, TRUSTED, Mode
from connector_runner.policy.deciding import Facts, OptOut
from connector_runner.policy.labels import marks
from connector_runner.policy.purposes import CODE_OF, Purpose
from connector_runner.unification.loader import MappingSet
from connector_runner.world import reading
from connector_runner.world.fold import Claim, Settled
from connector_runner.world.reading import EntityView

OPT_OUTS: Final = "opt_outs"
AGENT: Final = "agent"
# What people call the ways to reach them.
_CALLED: Final[dict[str, str]] = {
    "phone": "phone", "call": "phone", "calls": "phone", "voice": "phone", "telephone": "phone",
    "sms": "sms", "text": "sms", "texts": "sms", "email": "email", "e-mail": "email",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of an entity. ``purpose`` None: the sink's, else to treat, or to reach a patient."""

    action: Action
    purpose: Purpose | None = None
    sink: str | None = None
    channel: Channel | None = None


def check(tx: Tx, mappings: MappingSet, workspace_id: str, name: str, asked: Question, now: datetime) -> dict[str, Any]:
    """Whether it may be, or every reason against it. To write needs a sink.

    Raises BadRecord (``unknown_entity``), Misconfigured (``no_such_sink``, ``sink``).
    """
    view = reading.view(tx, workspace_id, name)
    if view is None:
        raise BadRecord("there is no such entity", code="unknown_entity", where=name)
    terms = _terms(tx, workspace_id, asked)
    purpose = asked.purpose or (terms.purpose if terms else "outreach" if asked.action == "contact" else "treatment")
    answer = answered(tx, mappings, workspace_id, view, asked, purpose, terms, now)
    return {
        "entity_id": view.entity_id,
        "entity_type": view.entity_type,
        "action": asked.action,
        "purpose": purpose,
        "sink": asked.sink,
        "channel": asked.channel,
        "allowed": answer.allowed,
        "refused": [shown(each) for each in answer.refused],
        "fields": {field: shown(each) for field, each in sorted(answer.fields.items())},
        "changes_at": answer.changes_at,
        "policy_version": consent_store.policy_version(tx, workspace_id),
    }


def shown(refused: Refused) -> dict[str, Any]:
    """A reason as it is shown."""
    return {"code": refused.code, "rests_on": list(refused.rests_on)}


def answered(
    tx: Tx,
    mappings: MappingSet,
    workspace_id: str,
    view: EntityView,
    asked: Question,
    purpose: Purpose,
    terms: SinkTerms | None,
    now: datetime,
) -> Answer:
    """What policy says, over all records of the patient whose record this is."""
    policy = consent_store.policy(tx, workspace_id)
    facts = facts_of(tx, workspace_id, view.entity_id, view.entity_type, view.now)
    if asked.action == "contact":
        facts = _reaching(tx, workspace_id, view, facts)
    mapping = mappings.outbound(terms.system if terms else "fhir_r4", view.entity_type)
    question = Asked(
        view.entity_type,
        mapping.resource_type if mapping else view.entity_type,
        asked.sink or AGENT,
        CODE_OF[purpose],
        asked.action,
        asked.channel,
        labels=marks(view.now.get(LABELS)) | frozenset(facts.labelled),
        codes=codes_of(view.now),
    )
    return deciding.decide(
        question, facts, policy, _mode(asked, terms, view, policy.consent.read, policy.consent.contact), now
    )


def _mode(asked: Question, terms: SinkTerms | None, view: EntityView, read: Mode, contact: Mode) -> Mode:
    if view.entity_type in NOBODYS:
        return "none"
    if asked.action == "write":
        return terms.consent if terms is not None else "opt_out"
    return read if asked.action == "read" else contact


def _terms(tx: Tx, workspace_id: str, asked: Question) -> SinkTerms | None:
    if asked.sink is None:
        if asked.action == "write":
            raise Misconfigured("to write needs a sink", code="sink", where="--sink")
        return None
    try:
        return terms_of(directory.load(tx, workspace_id, asked.sink))
    except Misconfigured:
        raise Misconfigured("there is no such sink", code="no_such_sink", where=asked.sink) from None


def _reaching(tx: Tx, workspace_id: str, view: EntityView, facts: Facts) -> Facts:
    """With how the patient is reached, and what was said against that on any record of the same person."""
    people = consent_store.people(tx, workspace_id, view.entity_id, view.entity_type, view.now)
    views = reading.views(tx, people, together=False)
    out = [OptOut(channel, each.entity_id) for each in views for channel in closed_channels(each.folded.atoms)]
    telecom = [each.state.get("telecom") for each in views]
    return Facts(
        facts.statements,
        tuple(out),
        facts.testers,
        facts.labelled,
        frozenset().union(*map(numbers, telecom)),
        frozenset().union(*map(emails, telecom)),
    )


def closed_channels(atoms: dict[str, Settled]) -> Sequence[str]:
    """Channels that are closed: a refusal counts however faintly it was heard, until a later word that is trusted.

    Whoever named no channel that is known, or did not say that they are open to it, meant every one.
    """
    said: dict[str, list[Claim]] = {}
    for atom, settled in atoms.items():
        if atom.startswith(f"{OPT_OUTS}["):
            for claim in (settled.winner, *settled.losers):
                said.setdefault(_channel(claim), []).append(claim)
    return [channel for channel, claims in sorted(said.items()) if _is_closed(claims)]


def _channel(claim: Claim) -> str:
    named = str(claim.value.get("channel") or "").strip().lower()
    return _CALLED.get(named, deciding.EVERY_CHANNEL)


def _is_closed(claims: Sequence[Claim]) -> bool:
    lifted = [claim.since for claim in claims if _is_open(claim) and claim.confidence >= TRUSTED]
    refused = [claim.since for claim in claims if not _is_open(claim) and claim.confidence > 0]
    return bool(refused) and (not lifted or max(refused) >= max(lifted))


def _is_open(claim: Claim) -> bool:
    return claim.value.get("opted_out") is False
