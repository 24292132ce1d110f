"""What policy makes of an entity on its way to a sink, and when time alone may change that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from connector_runner.connectors.sinks import Json
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.outbound.gating import consent_store
from connector_runner.outbound.gating.gates import GateFacts
from connector_runner.policy import consent, labels
from connector_runner.policy.asking import Answer, Asked
from connector_runner.policy.deciding import Facts, decide
from connector_runner.policy.purposes import CODE_OF
from connector_runner.unification.loader import MappingSet
from connector_runner.world.reading import EntityView

LABELS = "security_labels"


def gate_facts(
    tx: Tx, mappings: MappingSet, workspace_id: str, terms: SinkTerms, view: EntityView, now: datetime
) -> GateFacts:
    """What the gates go by for an entity whose type the sink takes. Of its past, what policy says now."""
    entity_type = view.entity_type
    answer = _answer(tx, mappings, workspace_id, terms, view.entity_id, entity_type, view.now, now)
    facts = replace(
        GateFacts.of(terms, entity_type, answer.code),
        rests_on=answer.refused[0].rests_on if answer.refused else (),
        fields={name: refused.code for name, refused in answer.fields.items()},
        policy=consent_store.policy(tx, workspace_id),
        entity_type=entity_type,
    )
    if answer.allowed or answer.changes_at is None:
        return facts
    return replace(facts, again_in_s=(answer.changes_at - now).total_seconds())


def refusal(
    tx: Tx,
    mappings: MappingSet,
    workspace_id: str,
    terms: SinkTerms,
    entity_id: str,
    entity_type: str,
    state: Json,
    now: datetime,
    fields: Iterable[str] = (),
) -> str | None:
    """Why policy keeps an entity, or any of these fields of it, from a sink now."""
    answer = _answer(tx, mappings, workspace_id, terms, entity_id, entity_type, state, now)
    if answer.code is not None:
        return answer.code
    return next((answer.fields[name].code for name in fields if name in answer.fields), None)


def _answer(
    tx: Tx,
    mappings: MappingSet,
    workspace_id: str,
    terms: SinkTerms,
    entity_id: str,
    entity_type: str,
    state: Json,
    now: datetime,
) -> Answer:
    mapping = mappings.outbound(terms.system, entity_type)
    facts = facts_of(tx, workspace_id, entity_id, entity_type, state, consents=terms.consent != "none")
    asked = Asked(
        entity_type,
        mapping.resource_type if mapping else entity_type,
        terms.name,
        CODE_OF[terms.purpose],
        labels=frozenset(facts.labelled),
        codes=codes_of(state),
    )
    mode = terms.consent if _anybodys(entity_type, state) else "none"
    return decide(asked, facts, consent_store.policy(tx, workspace_id), mode, now)


def facts_of(
    tx: Tx, workspace_id: str, entity_id: str, entity_type: str, state: Json, *, consents: bool = True
) -> Facts:
    """What is known of the patient whose record an entity is, and the labels of the record itself.

    Without ``consents`` they are asked for only where a label may need one.
    """
    labelled: dict[str, tuple[str, ...]] = dict.fromkeys(labels.marks(state.get(LABELS)), (entity_id,))
    if not _anybodys(entity_type, state):
        return Facts(labelled=labelled)
    marks = consent_store.marks(tx, workspace_id, entity_id, entity_type, state)
    for mark in marks:
        for label in mark.labels:
            labelled[label] = tuple(dict.fromkeys((*labelled.get(label, ()), mark.entity_id)))
    needed = consents or bool(labelled)
    said = consent_store.statements(tx, workspace_id, entity_id, entity_type, state) if needed else []
    return Facts(
        statements=tuple(said),
        testers=tuple(mark.entity_id for mark in marks if mark.test_caller),
        labelled=labelled,
    )


def codes_of(state: Mapping[str, Any]) -> frozenset[str] | None:
    """The codes of what a record says; None where it says nothing in codes."""
    code = state.get("code")
    if not isinstance(code, Mapping):
        return None
    codings = code.get("codings") or code.get("coding") or [code]
    found = {str(each["code"]) for each in codings if isinstance(each, Mapping) and each.get("code")}
    return frozenset(found) or None


def _anybodys(entity_type: str, state: Mapping[str, Any]) -> bool:
    """Whether a record is a patient's own. The word about consent itself always goes."""
    if entity_type in consent.NOBODYS:
        return False
    return entity_type not in consent.SOMEBODYS_AT_TIMES or bool(state.get(consent_store.PATIENT))
