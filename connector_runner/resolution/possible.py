"""Possible matches: whom to ask a person about, one question for two clusters, and how an answer is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Tx
from connector_runner.resolution import evidence_store, possible_store
from connector_runner.resolution.clusters import Pair, pair
from connector_runner.resolution.grouping import Weighed
from connector_runner.resolution.thresholds import Thresholds
from connector_runner.review import items

REASON: Final = "possible_match"
REFUSED: Final = "refused_join"
_URGENT: Final = 50
_USUAL: Final = 70
"""As urgent as what is said of who somebody is (``review.categories``), and behind an allergy or a medication."""


def questions(
    found: Iterable[Weighed], cluster_of: Mapping[str, str], apart: Iterable[Pair], bounds: Thresholds
) -> dict[Pair, Weighed]:
    """The pairs to ask about: the likeliest between any two clusters of which nobody said that they are two.

    ``cluster_of`` tells the cluster of each entity, itself for one that is in none; ``apart`` are pairs that a person
    called different.
    """
    said = {pair(cluster_of.get(a, a), cluster_of.get(b, b)) for a, b in apart}
    best: dict[Pair, tuple[tuple[float, str, str], Weighed]] = {}
    for e in found:
        between = pair(cluster_of.get(e.one, e.one), cluster_of.get(e.other, e.other))
        if between[0] == between[1] or between in said or e.veto or not bounds.is_possible(e.bits, e.held):
            continue
        rank = (e.bits, e.one, e.other)
        if between not in best or rank > best[between][0]:
            best[between] = rank, e
    return {(e.one, e.other): e for _, e in best.values()}


def follow(
    tx: Tx,
    workspace_id: str,
    kind: str,
    component: Sequence[str],
    of: Mapping[str, str],
    bounds: Thresholds,
    now: datetime,
) -> None:
    """Ask about the possible matches of these entities, and withdraw questions that are settled.

    What others ask about two who are one, as that a sink has them twice, is settled once they are two.
    """
    least = min(bounds.possible, bounds.held)
    found = [Weighed(**row) for row in possible_store.touching(tx, workspace_id, component, least)]
    asked = possible_store.open_pairs(tx, workspace_id, component)
    if not found and not asked:
        return
    outside = {entity for two in (*((e.one, e.other) for e in found), *asked) for entity in two} - of.keys()
    clusters = {**evidence_store.clusters_of(tx, workspace_id, outside), **of}
    across = [e for e in found if clusters.get(e.one, e.one) != clusters.get(e.other, e.other)]
    apart = possible_store.called_different(tx, workspace_id, clusters.values()) if across else []
    unknown = {entity for two in apart for entity in two} - clusters.keys()
    clusters |= evidence_store.clusters_of(tx, workspace_id, unknown) if unknown else {}
    wanted = questions(across, clusters, apart, bounds)
    ours = {two for two, reason in asked.items() if reason in (REASON, REFUSED)}
    parted = {two for two in asked if clusters.get(two[0], two[0]) != clusters.get(two[1], two[1])}
    for one, other in sorted((ours - wanted.keys()) | (parted - ours)):
        items.withdraw(tx, workspace_id, kind=items.MATCH, entity_id=one, other_id=other, now=now)
    for two in sorted(wanted.keys() - ours):
        _ask(tx, workspace_id, kind, wanted[two], wanted[two].held is None and wanted[two].bits >= bounds.link, now)


def _ask(tx: Tx, workspace_id: str, kind: str, e: Weighed, refused: bool, now: datetime) -> None:
    items.ask(
        tx,
        workspace_id,
        kind=items.MATCH,
        entity_id=e.one,
        other_id=e.other,
        entity_type=kind,
        reason=REFUSED if refused else REASON,
        priority=_URGENT if refused else _USUAL,
        category="identity",
        analysis={"bits": round(e.bits, 1), "held": e.held},
        now=now,
    )
