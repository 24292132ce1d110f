"""Rows of the report: people's latest word about each pair with its evidence, and what was counted on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connector_runner.infra.database import Tx, one, rows, tuples
from connector_runner.resolution.linking import rule_of
from connector_runner.resolution.reporting import Labelled


def labels(tx: Tx, workspace_id: str, kind: str) -> list[Labelled]:
    """What people last said of each pair of a kind; of a pair that nothing had brought together, no evidence."""
    found = rows(
        tx,
        "SELECT l.same, l.bits, l.rule AS held, p.levels, p.weights FROM (SELECT DISTINCT ON (one, other) *"
        "  FROM match_label WHERE workspace_id = :ws ORDER BY one, other, at DESC, id DESC) l"
        " JOIN entity e ON e.workspace_id = :ws AND e.entity_id = l.one AND e.entity_type = :kind"
        " LEFT JOIN pair_evidence p ON p.workspace_id = :ws AND p.one = l.one AND p.other = l.other",
        ws=workspace_id,
        kind=kind,
    )
    return [
        Labelled(
            row["same"],
            row["bits"] if row["bits"] is not None else -20.0,
            row["held"],
            rule_of(row["levels"] or {}, row["weights"] or {}),
        )
        for row in found
    ]


def links(tx: Tx, workspace_id: str, kind: str) -> Iterable[tuple[str, int]]:
    """(rule, or method where there is none; count) of the links that hold clusters together now."""
    return tuples(
        tx,
        "SELECT coalesce(l.rule, l.method), count(*) FROM pair_evidence p"
        " JOIN entity e ON e.workspace_id = :ws AND e.entity_id = p.one AND e.entity_type = :kind"
        " CROSS JOIN LATERAL (SELECT rule, method FROM link_event l WHERE l.workspace_id = :ws AND l.one = p.one"
        "  AND l.other = p.other AND l.action = 'made' ORDER BY at DESC, id DESC LIMIT 1) l"
        " WHERE p.workspace_id = :ws AND p.linked GROUP BY 1 ORDER BY 1",
        ws=workspace_id,
        kind=kind,
    )


def counts(tx: Tx, workspace_id: str, kind: str) -> dict[str, Any]:
    """Records compared, those that may never match, say nothing or wait, and questions that wait for people.

    ``capped_keys`` and ``crowded_phones`` are of all kinds: keys that too many records have to bring them together,
    and phones of too many people to tell one.
    """
    found = one(
        tx,
        "SELECT (SELECT count(*) FROM identity WHERE workspace_id = :ws AND kind = :kind) AS records,"
        " (SELECT count(*) FROM identity WHERE workspace_id = :ws AND kind = :kind AND body ? 'never') AS never_match,"
        " (SELECT count(*) FROM identity i WHERE workspace_id = :ws AND kind = :kind AND NOT body ? 'never'"
        "  AND NOT body ?| ARRAY['given', 'family', 'phones', 'emails'] AND NOT (kind = 'location' AND body ? 'street')"
        "  AND coalesce(jsonb_array_length(body->'identifiers'), 0) < 2)"
        "  AS nothing_to_compare,"
        " (SELECT count(*) FROM pending_resolution WHERE workspace_id = :ws AND kind = :kind) AS waiting,"
        " (SELECT count(*) FROM review_item WHERE workspace_id = :ws AND kind = 'match' AND entity_type = :kind"
        "  AND status IN ('pending', 'in_progress')) AS possible_matches,"
        " (SELECT count(*) FROM capped_key WHERE workspace_id = :ws) AS capped_keys,"
        " (SELECT count(*) FROM crowded_phone WHERE workspace_id = :ws) AS crowded_phones",
        ws=workspace_id,
        kind=kind,
    )
    return dict(found or {})
