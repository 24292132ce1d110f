"""SQL of what speaks for or against a patient: Consent records and marks, and which entities are that patient's.

A patient is everybody that counts as the same person: what hangs on one member's record holds for all. A record of
several patients, as an appointment of a group, is each one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector_runner.infra.database import Tx, execute, hot, id_array, once, one, rows
from connector_runner.policy import policies
from connector_runner.policy.consent import Statement
from connector_runner.policy.settings import PolicySettings
from connector_runner.world import reading

PATIENT = "patient"
CONSENT = "consent"
_WHOSE: Final = (PATIENT, "participant")
"""Under which records refer to whom they are about; several patients may come to one appointment."""

# Everything under which records refer to some people: their entities, all that are the same, the records that joined
# those, identifiers.
# Looked up one by one: joined, and planned while the tables were small, this would read all that a workspace has.
_NAMES: Final = (
    " found AS (SELECT DISTINCT coalesce(a.entity_id, b.record_id, t.target_id) AS id FROM told t"
    "  LEFT JOIN LATERAL (SELECT record_id FROM business_identifier"
    "   WHERE workspace_id = :ws AND token = t.target_id OFFSET 0) b ON true"
    "  LEFT JOIN LATERAL (SELECT entity_id FROM adopted_record"
    "   WHERE workspace_id = :ws AND record_id = coalesce(b.record_id, t.target_id) OFFSET 0) a ON true),"
    " people AS (SELECT id FROM found UNION SELECT o.entity_id FROM found f CROSS JOIN LATERAL"
    "  (SELECT cluster_id FROM cluster_member WHERE workspace_id = :ws AND entity_id = f.id OFFSET 0) c"
    "  CROSS JOIN LATERAL"
    "  (SELECT entity_id FROM cluster_member WHERE workspace_id = :ws AND cluster_id = c.cluster_id OFFSET 0) o),"
    " records AS (SELECT id FROM people UNION SELECT a.record_id FROM people p CROSS JOIN LATERAL"
    "  (SELECT record_id FROM adopted_record WHERE workspace_id = :ws AND entity_id = p.id OFFSET 0) a),"
    " names AS (SELECT id FROM records UNION SELECT b.token FROM records r CROSS JOIN LATERAL"
    "  (SELECT token FROM business_identifier WHERE workspace_id = :ws AND record_id = r.id OFFSET 0) b)"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a patient's record says that concerns all that is about the patient."""

    entity_id: str
    labels: tuple[str, ...]
    test_caller: bool


@dataclass(frozen=True, slots=True)
class _Said:
    consents: bool
    marks: bool
    policy: int


def policy(tx: Tx, workspace_id: str) -> PolicySettings:
    """What the workspace laid down."""
    return once(tx, "policy", lambda: policies.of_version(tx, workspace_id, _said(tx, workspace_id).policy))


def policy_version(tx: Tx, workspace_id: str) -> int:
    """The version of that; 0 where it laid down nothing."""
    return _said(tx, workspace_id).policy


def _said(tx: Tx, workspace_id: str) -> _Said:
    """Whether anybody in the workspace ever said anything that counts here: mostly, nobody did."""
    return once(tx, "consents", lambda: _ask(tx, workspace_id))


def _ask(tx: Tx, workspace_id: str) -> _Said:
    found = one(
        tx,
        hot(
            "SELECT EXISTS (SELECT 1 FROM patient_consent WHERE workspace_id = :ws) AS consents,"
            " EXISTS (SELECT 1 FROM patient_mark WHERE workspace_id = :ws) AS marks,"
            " coalesce((SELECT version FROM workspace_policy WHERE workspace_id = :ws), 0) AS policy"
        ),
        ws=workspace_id,
    )
    return _Said(False, False, 0) if found is None else _Said(found["consents"], found["marks"], int(found["policy"]))


def statements(
    tx: Tx, workspace_id: str, entity_id: str, entity_type: str, state: dict[str, Any] | None = None
) -> list[Statement]:
    """The Consent records of the patient whose record an entity is. ``state``: the entity's, where it is at hand."""
    if not _said(tx, workspace_id).consents:
        return []
    found = rows(
        tx,
        hot(
            _TOLD + _NAMES + " SELECT DISTINCT e.entity_id, e.state, e.confidence FROM names n CROSS JOIN LATERAL"
            " (SELECT consent_id FROM patient_consent WHERE workspace_id = :ws AND target_id = n.id OFFSET 0) c"
            " CROSS JOIN LATERAL (SELECT entity_id, state, confidence FROM projection"
            "  WHERE workspace_id = :ws AND entity_id = c.consent_id AND status = 'active' OFFSET 0) e"
            " ORDER BY e.entity_id"
        ),
        **_asked(tx, workspace_id, entity_id, entity_type, state),
    )
    return [Statement(row["state"], float(row["confidence"]), row["entity_id"]) for row in found]


def marks(
    tx: Tx, workspace_id: str, entity_id: str, entity_type: str, state: dict[str, Any] | None = None
) -> list[Mark]:
    """What the records of the same patient bear, of those that bear anything."""
    if not _said(tx, workspace_id).marks:
        return []
    found = rows(
        tx,
        hot(
            _TOLD + _NAMES + " SELECT m.entity_id, m.labels, m.test_caller FROM people p CROSS JOIN LATERAL"
            " (SELECT entity_id, labels, test_caller FROM patient_mark"
            "  WHERE workspace_id = :ws AND entity_id = p.id OFFSET 0) m ORDER BY m.entity_id"
        ),
        **_asked(tx, workspace_id, entity_id, entity_type, state),
    )
    return [Mark(row["entity_id"], tuple(row["labels"]), row["test_caller"]) for row in found]


def people(
    tx: Tx, workspace_id: str, entity_id: str, entity_type: str, state: dict[str, Any] | None = None
) -> list[str]:
    """The entities that are the patient whose record an entity is, in id order; those that have arrived."""
    found = rows(
        tx,
        hot(
            _TOLD + _NAMES + " SELECT e.entity_id FROM people p CROSS JOIN LATERAL (SELECT entity_id FROM entity"
            " WHERE workspace_id = :ws AND entity_id = p.id OFFSET 0) e ORDER BY e.entity_id"
        ),
        **_asked(tx, workspace_id, entity_id, entity_type, state),
    )
    return [row["entity_id"] for row in found]


_TOLD: Final = (
    "WITH told AS (SELECT unnest(CAST(:told AS uuid[])) AS target_id UNION SELECT CAST(:id AS uuid) WHERE :is_patient),"
)


def _asked(
    tx: Tx, workspace_id: str, entity_id: str, entity_type: str, state: dict[str, Any] | None
) -> Mapping[str, Any]:
    if state is None:
        told = reading.targets(tx, workspace_id, [entity_id], *_WHOSE).get(entity_id, [])
    else:
        told = reading.targets_in(workspace_id, state, *_WHOSE)
    return {"ws": workspace_id, "id": entity_id, "told": id_array(told), "is_patient": entity_type == PATIENT}


def follow(tx: Tx, workspace_id: str, consent_ids: Sequence[str]) -> list[str]:
    """Keep in step whom Consent records speak for; all that they speak for now or spoke for before."""
    names = {"ws": workspace_id, "ids": id_array(consent_ids)}
    before = rows(
        tx,
        "DELETE FROM patient_consent WHERE workspace_id = :ws AND consent_id = ANY(CAST(:ids AS uuid[]))"
        " RETURNING target_id",
        **names,
    )
    told = reading.targets(tx, workspace_id, consent_ids, PATIENT)
    pairs = [(target, consent) for consent, found in sorted(told.items()) for target in found]
    now = rows(
        tx,
        "INSERT INTO patient_consent (workspace_id, target_id, consent_id)"
        " SELECT :ws, t, c FROM unnest(CAST(:targets AS uuid[]), CAST(:consents AS uuid[])) x(t, c)"
        " RETURNING target_id",
        ws=workspace_id,
        targets=id_array(target for target, _ in pairs),
        consents=id_array(consent for _, consent in pairs),
    )
    return sorted({row["target_id"] for row in (*before, *now)})


def request_release_of_people(
    tx: Tx, workspace_id: str, targets: Sequence[str], entity_types: Sequence[str], prio: int
) -> int:
    """Ask for a look at every entity of some types that is a record of the people whom ``targets`` name; how many."""
    return execute(
        tx,
        "WITH told AS (SELECT target_id FROM unnest(CAST(:targets AS uuid[])) t(target_id)),"
        + _NAMES
        + " INSERT INTO pending_release AS p (workspace_id, entity_id, prio)"
        " SELECT e.workspace_id, e.entity_id, :prio FROM entity e WHERE e.workspace_id = :ws"
        "  AND e.entity_type = ANY(CAST(:types AS text[])) AND e.entity_id IN (SELECT id FROM people UNION"
        "   SELECT r.entity_id FROM relationship r JOIN names n ON r.workspace_id = :ws AND r.target_id = n.id"
        "   WHERE r.name = ANY(CAST(:whose AS text[])))"
        " ORDER BY e.entity_id"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET generation = p.generation + 1,"
        " prio = least(p.prio, excluded.prio)",
        ws=workspace_id,
        targets=id_array(targets),
        types=list(entity_types),
        whose=list(_WHOSE),
        prio=prio,
    )
