"""Rows of possible matches: evidence across clusters, and what people are being asked about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connector_runner.infra.database import Row, Tx, id_array, rows, tuples
from connector_runner.resolution.clusters import Pair
from connector_runner.resolution.evidence_store import EACH


def touching(tx: Tx, workspace_id: str, entity_ids: Sequence[str], least: float) -> list[Row]:
    """Evidence of ``least`` bits and more about these: ``one other bits veto held``."""
    kept = (
        "SELECT one, other, bits, veto, held FROM pair_evidence"
        " WHERE workspace_id = :ws AND {} = i.id AND bits >= :least AND veto IS NULL"
    )
    return rows(
        tx,
        f"SELECT DISTINCT p.* FROM {EACH} ({kept.format('one')} UNION ALL {kept.format('other')} OFFSET 0) p",
        ws=workspace_id,
        ids=id_array(entity_ids),
        least=least,
    )


def open_pairs(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> dict[Pair, str]:
    """The pairs of which people are being asked, of which one at least is among these, and for which reason."""
    wanted = "workspace_id = :ws AND {side} = ANY(CAST(:ids AS uuid[])) AND kind = 'match'"
    still = "AND status IN ('pending', 'in_progress')"
    kept = "SELECT entity_id, other_id, reason FROM review_item WHERE "
    found = tuples(
        tx,
        f"{kept}{wanted.format(side='entity_id')} {still} UNION {kept}{wanted.format(side='other_id')} {still}",
        ws=workspace_id,
        ids=id_array(entity_ids),
    )
    return {(one, other): reason for one, other, reason in found}


def called_different(tx: Tx, workspace_id: str, clusters: Iterable[str]) -> list[Pair]:
    """Pairs of members of these clusters (or of entities in none) that people last called different."""
    found = tuples(
        tx,
        "WITH members AS MATERIALIZED (SELECT entity_id FROM cluster_member WHERE workspace_id = :ws"
        "  AND cluster_id = ANY(CAST(:ids AS uuid[])) UNION SELECT unnest(CAST(:ids AS uuid[])))"
        " SELECT one, other FROM (SELECT DISTINCT ON (one, other) one, other, same FROM match_label"
        "  WHERE workspace_id = :ws AND one IN (SELECT entity_id FROM members)"
        "  ORDER BY one, other, at DESC, id DESC) l WHERE NOT same",
        ws=workspace_id,
        ids=id_array(sorted(set(clusters))),
    )
    return [(one, other) for one, other in found]
