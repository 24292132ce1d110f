"""Rows of evidence: what speaks for each pair that a key brought together, and which clusters came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from connector_runner.infra.database import Row, Tx, execute, id_array, rows, tuples
from connector_runner.kernel import exact_json
from connector_runner.resolution.clusters import Pair
from connector_runner.resolution.evidence import Evidence
from connector_runner.resolution.guards import ONLY_PHONE

_JOINS = f"(bits >= :t AND held IS NULL OR linked OR held = '{ONLY_PHONE}')"
NOT_COMPARED = "not_compared"
"""Held evidence of a pair that no key brings together any more, and that is kept while it is linked still."""
LEAST_KEPT: Final = 0.0
"""Bits of evidence that is kept: far fewer than a link or a question needs, whatever the size of the population."""
CLUSTERS_PAGE: Final = 50_000
"""Some megabytes; of a table that was just filled the planner reads all of it for each page."""
EACH: Final = "unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
"""Has an index looked up for each of ``:ids``: for all of them at once the planner may read all of a workspace, of
which it knows nothing while it is new. It takes the right index where others do not begin with the workspace too."""
IN_CLUSTER: Final = (
    "SELECT n.entity_id FROM (SELECT cluster_id FROM cluster_member"
    "  WHERE workspace_id = :ws AND entity_id = i.id OFFSET 0) m"
    " CROSS JOIN LATERAL (SELECT entity_id FROM cluster_member"
    "  WHERE workspace_id = :ws AND cluster_id = m.cluster_id OFFSET 0) n"
)
_SPOKEN_OF: Final = (
    "(p.linked OR EXISTS (SELECT 1 FROM match_label l"
    " WHERE l.workspace_id = :ws AND l.one = p.one AND l.other = p.other))"
)


def replace_evidence(
    tx: Tx, workspace_id: str, before: Mapping[Pair, bool], found: Sequence[Evidence]
) -> Collection[Pair]:
    """Let ``found`` be all the evidence there is about the entities of which there was ``before`` (see evidence_of).

    The pairs of which there is none any more.

    Evidence that links nobody and asks no question is not kept: it is weighed anew where it matters (see grouping).
    What was linked stays marked so, and is kept with what people spoke of, whatever it comes to.
    """
    kept = [e for e in found if e.bits >= LEAST_KEPT or e.held == ONLY_PHONE or before.get((e.one, e.other))]
    left = before.keys() - {(e.one, e.other) for e in kept}
    if left:
        _leave(tx, workspace_id, sorted(left))
    if kept:
        _keep(tx, workspace_id, kept)
    return left


def keep(tx: Tx, workspace_id: str, evidence: Evidence) -> None:
    """Keep the evidence of a pair that a person speaks of, whatever it comes to."""
    _keep(tx, workspace_id, [evidence])


def evidence_of(tx: Tx, workspace_id: str, about: Sequence[str]) -> dict[Pair, bool]:
    """Pair -> whether it is linked or a person spoke of it, of all evidence kept about some entities."""
    kept = "SELECT one, other, linked FROM pair_evidence WHERE workspace_id = :ws AND {} = i.id"
    found = tuples(
        tx,
        f"SELECT p.one, p.other, {_SPOKEN_OF} FROM {EACH}"
        f" ({kept.format('one')} UNION ALL {kept.format('other')} OFFSET 0) p",
        ws=workspace_id,
        ids=id_array(about),
    )
    return {(one, other): spoken for one, other, spoken in found}


def _leave(tx: Tx, workspace_id: str, pairs: Sequence[Pair]) -> None:
    """Drop the evidence of pairs that no key brings together any more, or mark it so where it has to be kept."""
    execute(
        tx,
        "WITH stale AS MATERIALIZED (SELECT unnest(CAST(:ones AS uuid[])) AS one,"
        "  unnest(CAST(:others AS uuid[])) AS other),"
        " gone AS (DELETE FROM pair_evidence p USING stale s WHERE p.workspace_id = :ws AND p.one = s.one"
        f"  AND p.other = s.other AND NOT {_SPOKEN_OF})"
        " UPDATE pair_evidence p SET bits = -20, held = :lost, veto = NULL FROM stale s"
        f" WHERE p.workspace_id = :ws AND p.one = s.one AND p.other = s.other AND {_SPOKEN_OF}",
        ws=workspace_id,
        ones=id_array(two[0] for two in pairs),
        others=id_array(two[1] for two in pairs),
        lost=NOT_COMPARED,
    )


def _keep(tx: Tx, workspace_id: str, found: Sequence[Evidence]) -> None:
    execute(
        tx,
        "INSERT INTO pair_evidence AS p (workspace_id, one, other, bits, levels, weights, veto, held, version)"
        " SELECT :ws, one, other, bits, levels, weights, veto, held, version"
        "  FROM jsonb_to_recordset(CAST(:found AS jsonb)) AS f (one uuid, other uuid, bits double precision,"
        "  levels jsonb, weights jsonb, veto text, held text, version text) ORDER BY one, other"
        " ON CONFLICT (workspace_id, one, other) DO UPDATE SET bits = excluded.bits, levels = excluded.levels,"
        "  weights = excluded.weights, veto = excluded.veto, held = excluded.held, version = excluded.version"
        "  WHERE (p.bits, p.levels, p.version) <> (excluded.bits, excluded.levels, excluded.version)"
        "   OR (p.veto, p.held) IS DISTINCT FROM (excluded.veto, excluded.held)",
        ws=workspace_id,
        found=exact_json.dumps(
            [
                {
                    "one": e.one, "other": e.other, "bits": e.bits, "levels": e.levels, "weights": dict(e.weights),
                    "veto": e.veto, "held": e.held, "version": e.version,
                }
                for e in found
            ]
        ),
    )  # fmt: skip


def ensure_pair(tx: Tx, workspace_id: str, two: Pair) -> None:
    """Have a row for a pair that a person speaks of, though nothing brought it together."""
    execute(
        tx,
        "INSERT INTO pair_evidence (workspace_id, one, other, bits, levels, weights, held, version)"
        " VALUES (:ws, :one, :other, -20, '{}', '{}', :lost, '') ON CONFLICT DO NOTHING",
        ws=workspace_id,
        one=two[0],
        other=two[1],
        lost=NOT_COMPARED,
    )


def drop_lost(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> None:
    """Drop what was kept for a link's sake alone, of pairs that are linked no more and of which nobody spoke."""
    execute(
        tx,
        "DELETE FROM pair_evidence p WHERE p.workspace_id = :ws AND p.one = ANY(CAST(:ids AS uuid[])) AND NOT p.linked"
        " AND (p.held = :lost OR p.bits < :least AND p.held IS DISTINCT FROM :phone)"
        " AND NOT EXISTS (SELECT 1 FROM match_label l"
        "  WHERE l.workspace_id = :ws AND l.one = p.one AND l.other = p.other)",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
        lost=NOT_COMPARED,
        least=LEAST_KEPT,
        phone=ONLY_PHONE,
    )


def neighbours(tx: Tx, workspace_id: str, entity_ids: Iterable[str], threshold: float) -> set[str]:
    """Whom evidence of ``threshold`` bits or a person's word joins to these, and who is in a cluster with them."""
    found = rows(
        tx,
        f"SELECT p.id FROM {EACH} ("
        f"SELECT other AS id FROM pair_evidence WHERE workspace_id = :ws AND one = i.id AND {_JOINS}"
        f" UNION ALL SELECT one FROM pair_evidence WHERE workspace_id = :ws AND other = i.id AND {_JOINS}"
        f" UNION ALL {IN_CLUSTER} OFFSET 0) p"
        " UNION ALL SELECT other FROM match_label WHERE workspace_id = :ws AND one = ANY(CAST(:ids AS uuid[]))"
        " UNION ALL SELECT one FROM match_label WHERE workspace_id = :ws AND other = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
        t=threshold,
    )
    return {row["id"] for row in found}


def evidence_among(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> list[Row]:
    """What all evidence of pairs of which both are among these comes to."""
    return rows(
        tx,
        "SELECT one, other, bits, veto, held, linked, refused FROM pair_evidence"
        " WHERE workspace_id = :ws AND one = ANY(CAST(:ids AS uuid[])) AND other = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )


def features_of(tx: Tx, workspace_id: str, pairs: Sequence[Pair]) -> list[Row]:
    """The evidence of these pairs with its levels and weights."""
    return rows(
        tx,
        "SELECT p.one, p.other, bits, levels, weights, veto, held, version FROM unnest(CAST(:ones AS uuid[]),"
        " CAST(:others AS uuid[])) AS t (one, other) JOIN pair_evidence p"
        " ON p.workspace_id = :ws AND p.one = t.one AND p.other = t.other",
        ws=workspace_id,
        ones=id_array(two[0] for two in pairs),
        others=id_array(two[1] for two in pairs),
    )


def decisions_among(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[Pair, bool]:
    """What people last said of pairs among these: the same, or not."""
    found = rows(
        tx,
        "SELECT DISTINCT ON (one, other) one, other, same FROM match_label WHERE workspace_id = :ws"
        " AND one = ANY(CAST(:ids AS uuid[])) AND other = ANY(CAST(:ids AS uuid[]))"
        " ORDER BY one, other, at DESC, id DESC",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {(row["one"], row["other"]): row["same"] for row in found}


def mark_pairs(tx: Tx, workspace_id: str, marks: Mapping[Pair, tuple[bool, bool]]) -> None:
    """Note of pairs whether they hold clusters together now, and whether they were refused."""
    changes = [(*two, *how) for two, how in sorted(marks.items())]
    execute(
        tx,
        "UPDATE pair_evidence p SET linked = c.linked, refused = c.refused"
        " FROM (SELECT unnest(CAST(:ones AS uuid[])) AS one, unnest(CAST(:others AS uuid[])) AS other,"
        "  unnest(CAST(:linked AS boolean[])) AS linked, unnest(CAST(:refused AS boolean[])) AS refused) c"
        " WHERE p.workspace_id = :ws AND p.one = c.one AND p.other = c.other",
        ws=workspace_id,
        ones=id_array(change[0] for change in changes),
        others=id_array(change[1] for change in changes),
        linked=[change[2] for change in changes],
        refused=[change[3] for change in changes],
    )


def save_clusters(tx: Tx, workspace_id: str, of: Mapping[str, str], alone: Sequence[str]) -> None:
    """Keep the clusters of these entities; those ``alone`` are in none."""
    execute(
        tx,
        "DELETE FROM cluster_member WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(alone),
    )
    execute(
        tx,
        "INSERT INTO cluster_member AS m (workspace_id, entity_id, cluster_id)"
        " SELECT :ws, unnest(CAST(:ids AS uuid[])), unnest(CAST(:clusters AS uuid[]))"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET cluster_id = excluded.cluster_id"
        " WHERE m.cluster_id <> excluded.cluster_id",
        ws=workspace_id,
        ids=id_array(of),
        clusters=id_array(of.values()),
    )


def clusters_of(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[str, str]:
    """Entity -> its cluster, of those that are in one."""
    found = rows(
        tx,
        "SELECT entity_id, cluster_id FROM cluster_member WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"]: row["cluster_id"] for row in found}


def together(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[str, set[str]]:
    """Entity -> all that are one with it, itself among them, of those that are in a cluster."""
    found = rows(
        tx,
        f"SELECT i.id AS entity_id, c.entity_id AS other FROM {EACH} ({IN_CLUSTER} OFFSET 0) c",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    clusters: dict[str, set[str]] = {}
    for row in found:
        clusters.setdefault(row["entity_id"], set()).add(row["other"])
    return clusters


def members(tx: Tx, workspace_id: str, entity_id: str) -> list[Row]:
    """All entities in the cluster of one, itself among them, with their canonical ids."""
    return rows(
        tx,
        "SELECT n.entity_id, e.canonical_id FROM cluster_member m JOIN cluster_member n"
        " ON n.workspace_id = m.workspace_id AND n.cluster_id = m.cluster_id"
        " JOIN entity e ON e.workspace_id = n.workspace_id AND e.entity_id = n.entity_id"
        " WHERE m.workspace_id = :ws AND m.entity_id = :id ORDER BY e.canonical_id",
        ws=workspace_id,
        id=entity_id,
    )


def clusters_after(
    tx: Tx, workspace_id: str, entity_type: str, after: str, limit: int = CLUSTERS_PAGE
) -> list[tuple[str, str]]:
    """(canonical id, cluster or own entity id) of entities of a type that are there, in the order of canonical ids.

    Up to ``limit`` of those that come after one; fewer at the end.
    """
    found = tuples(
        tx,
        "SELECT e.canonical_id, coalesce(m.cluster_id, e.entity_id) FROM (SELECT canonical_id, entity_id FROM entity"
        '  WHERE workspace_id = :ws AND entity_type = :type AND canonical_id COLLATE "C" > :after'
        '  ORDER BY canonical_id COLLATE "C" LIMIT :n) e LEFT JOIN LATERAL'
        "  (SELECT cluster_id FROM cluster_member WHERE workspace_id = :ws AND entity_id = e.entity_id OFFSET 0) m"
        ' ON true ORDER BY e.canonical_id COLLATE "C"',
        ws=workspace_id,
        type=entity_type,
        after=after,
        n=limit,
    )
    return [(canonical, cluster) for canonical, cluster in found]


def every_cluster(tx: Tx, workspace_id: str, entity_type: str) -> Iterator[tuple[str, str]]:
    """What ``clusters_after`` tells, of all entities of a type; read page by page."""
    after = ""
    while page := clusters_after(tx, workspace_id, entity_type, after):
        yield from page
        after = page[-1][0]
