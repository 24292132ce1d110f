"""SQL of consent: which Consent records speak for a patient, and which entities are that patient's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector_runner.infra.database import Tx, execute, hot, id_array, once, one, rows
from connector_runner.policy.consent import Statement
from connector_runner.world import reading

PATIENT = "patient"
CONSENT = "consent"

# Everything under which records refer to some people: their entities, the records that joined those, identifiers.
# Looked up one by one: joined, and planned while the tables were small, this would read all that a workspace has.
_NAMES = (
    " people AS (SELECT DISTINCT coalesce(a.entity_id, b.record_id, t.target_id) AS id FROM told t"
    "  LEFT JOIN LATERAL (SELECT record_id FROM business_identifier"
    "   WHERE workspace_id = :ws AND token = t.target_id OFFSET 0) b ON true"
    "  LEFT JOIN LATERAL (SELECT entity_id FROM adopted_record"
    "   WHERE workspace_id = :ws AND record_id = coalesce(b.record_id, t.target_id) OFFSET 0) a ON true),"
    " records AS (SELECT id FROM people UNION SELECT a.record_id FROM people p CROSS JOIN LATERAL"
    "  (SELECT record_id FROM adopted_record WHERE workspace_id = :ws AND entity_id = p.id OFFSET 0) a),"
    " names AS (SELECT id FROM records UNION SELECT b.token FROM records r CROSS JOIN LATERAL"
    "  (SELECT token FROM business_identifier WHERE workspace_id = :ws AND record_id = r.id OFFSET 0) b)"
)


def statements(
    tx: Tx, workspace_id: str, entity_id: str, entity_type: str, state: dict[str, Any] | None = None
) -> list[Statement]:
    """The Consent records of the patient whose record an entity is. ``state``: the entity's, where it is at hand."""
    if not once(tx, "consents", lambda: _any(tx, workspace_id)):
        return []
    if state is None:
        told = reading.targets(tx, workspace_id, [entity_id], PATIENT).get(entity_id, [])
    else:
        told = reading.targets_in(workspace_id, state, PATIENT)
    found = rows(
        tx,
        hot(
            "WITH told AS (SELECT unnest(CAST(:told AS uuid[])) AS target_id"
            "  UNION SELECT CAST(:id AS uuid) WHERE :is_patient),"
            + _NAMES
            + " SELECT DISTINCT e.entity_id, e.state, e.confidence FROM names n CROSS JOIN LATERAL"
            " (SELECT consent_id FROM patient_consent WHERE workspace_id = :ws AND target_id = n.id OFFSET 0) c"
            " CROSS JOIN LATERAL (SELECT entity_id, state, confidence FROM projection"
            "  WHERE workspace_id = :ws AND entity_id = c.consent_id AND status = 'active' OFFSET 0) e"
            " ORDER BY e.entity_id"
        ),
        ws=workspace_id,
        id=entity_id,
        told=id_array(told),
        is_patient=entity_type == PATIENT,
    )
    return [Statement(row["state"], float(row["confidence"])) for row in found]


def _any(tx: Tx, workspace_id: str) -> bool:
    """Whether anybody in the workspace ever said anything about consent."""
    found = one(tx, hot("SELECT 1 AS told FROM patient_consent WHERE workspace_id = :ws LIMIT 1"), ws=workspace_id)
    return found is not None


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
        "   WHERE r.name = 'patient')"
        " ORDER BY e.entity_id"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET generation = p.generation + 1,"
        " prio = least(p.prio, excluded.prio)",
        ws=workspace_id,
        targets=id_array(targets),
        types=list(entity_types),
        prio=prio,
    )
