"""What a patient's consent makes of an entity on its way to a sink, and when time alone may change that."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from connector_runner.connectors.sinks import Json
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.outbound.gating import consent_store
from connector_runner.outbound.gating.gates import GateFacts
from connector_runner.policy import consent
from connector_runner.policy.consent import Statement
from connector_runner.unification.loader import MappingSet
from connector_runner.world.reading import EntityView


def gate_facts(
    tx: Tx, mappings: MappingSet, workspace_id: str, terms: SinkTerms, view: EntityView, now: datetime
) -> GateFacts:
    """What the gates go by for an entity whose type the sink takes. Of its past, what its consent is now."""
    entity_type = view.entity_type
    about = _statements(tx, workspace_id, terms, view.entity_id, entity_type, view.now)
    refused = _refusal(about, mappings, terms, entity_type, now)
    facts = GateFacts.of(terms, entity_type, refused)
    changes = consent.next_change(about or (), now) if refused is not None else None
    return facts if changes is None else replace(facts, again_in_s=(changes - now).total_seconds())


def refusal(
    tx: Tx,
    mappings: MappingSet,
    workspace_id: str,
    terms: SinkTerms,
    entity_id: str,
    entity_type: str,
    state: Json,
    now: datetime,
) -> str | None:
    """Why the patient's consent keeps an entity from a sink now. The word about consent itself always goes."""
    about = _statements(tx, workspace_id, terms, entity_id, entity_type, state)
    return _refusal(about, mappings, terms, entity_type, now)


def _statements(
    tx: Tx, workspace_id: str, terms: SinkTerms, entity_id: str, entity_type: str, state: Json
) -> list[Statement] | None:
    """None where nobody's consent is asked."""
    if terms.consent == "none" or entity_type in consent.NOBODYS:
        return None
    if entity_type in consent.SOMEBODYS_AT_TIMES and not state.get(consent_store.PATIENT):
        return None
    return consent_store.statements(tx, workspace_id, entity_id, entity_type, state)


def _refusal(
    about: list[Statement] | None, mappings: MappingSet, terms: SinkTerms, entity_type: str, now: datetime
) -> str | None:
    if about is None:
        return None
    mapping = mappings.outbound(terms.system, entity_type)
    asked = consent.Disclosure(entity_type, mapping.resource_type if mapping else entity_type, terms.name)
    return consent.refusal(about, terms.consent, asked, now)
