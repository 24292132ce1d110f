"""Keep the stored clusters true to the evidence about some records, and tell what became of links by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Row, Tx
from connector_runner.resolution import evidence_store, link_store, possible, store
from connector_runner.resolution.clusters import Clusters
from connector_runner.resolution.grouping import Weighed, group
from connector_runner.resolution.guards import ONLY_PHONE
from connector_runner.resolution.judging import Judging
from connector_runner.resolution.linking import changes_of, link_events
from connector_runner.resolution.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Regrouped:
    """How many links were made, how many parted, and who may be in another cluster for it."""

    made: int
    parted: int
    entities: Sequence[str]


def regroup(
    tx: Tx, workspace_id: str, kind: str, taken: Iterable[str], judging: Judging, bounds: Thresholds, now: datetime
) -> Regrouped:
    """Group anew whatever the evidence about these records reaches, and ask people about what it leaves open."""
    component = set(taken)
    frontier = set(component)
    while frontier:
        frontier = evidence_store.neighbours(tx, workspace_id, frontier, bounds.link) - component
        component |= frontier
    names = store.canonical_ids(tx, workspace_id, component)
    rows = evidence_store.evidence_among(tx, workspace_id, component)
    decided = evidence_store.decisions_among(tx, workspace_id, component)
    compared = [
        Weighed(row["one"], row["other"], row["bits"], row["veto"], row["held"])
        for row in rows
        if row["held"] != evidence_store.NOT_COMPARED
    ]
    phoned = {entity for e in compared if e.held == ONLY_PHONE for entity in (e.one, e.other)}
    lone = store.only_phones(tx, workspace_id, phoned) if phoned else set()
    grouped = group(names, compared, decided, threshold=bounds.link, lone=lone, weigh=judging.among(names))
    made, parted = changes_of(rows, grouped)
    if made or parted:
        features = evidence_store.features_of(tx, workspace_id, [*made, *parted])
        link_store.add_link_events(tx, workspace_id, link_events(features, made, parted, decided, now))
    _mark(tx, workspace_id, rows, grouped, component)
    sizes = Counter(grouped.of.values())
    joined = {record: cluster for record, cluster in grouped.of.items() if sizes[cluster] > 1}
    evidence_store.save_clusters(tx, workspace_id, joined, sorted(component - joined.keys()))
    alone = {record: record for record in component - joined.keys()}
    possible.follow(tx, workspace_id, kind, sorted(component), alone | joined, bounds, now)
    return Regrouped(len(made), len(parted), sorted(component) if made or parted else [])


def _mark(tx: Tx, workspace_id: str, rows: Sequence[Row], grouped: Clusters, component: Iterable[str]) -> None:
    """Note on each pair whether it holds a cluster together, and whether it was refused: it may have been before."""
    made, parted = changes_of(rows, grouped)
    refused = set(grouped.refused)
    before = {(row["one"], row["other"]) for row in rows if row["refused"]}
    marks = {two: (False, two in refused) for two in {*parted, *(before ^ refused)}}
    marks |= dict.fromkeys(made, (True, False))
    if marks:
        evidence_store.mark_pairs(tx, workspace_id, marks)
    if parted:
        evidence_store.drop_lost(tx, workspace_id, component)
