"""Resolve: compare what changed with what may be the same, and keep clusters true to the evidence.

One transaction at a time decides about the records of one kind in a workspace, so two workers that meet the same
person at once end with one cluster. A batch touches the records that changed, those that a key brings together with
them, and the clusters of both: what it costs does not grow with the population.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_runner.infra.database import Database, Tx
from connector_runner.kernel.ids import new_ids
from connector_runner.resolution import evidence_store, link_store, population_store, store
from connector_runner.resolution.blocking import keys
from connector_runner.resolution.clusters import Clusters, Pair, clusters, pair
from connector_runner.resolution.evidence import judge
from connector_runner.resolution.identity import Identity, Kind, identity_of
from connector_runner.resolution.linking import changes_of, link_events
from connector_runner.resolution.population_store import Snapshot
from connector_runner.resolution.weights import shipped
from connector_runner.world.changes import EntityChange

KINDS: Final[tuple[Kind, ...]] = ("patient", "practitioner")
THRESHOLD: Final = 2.5
"""Bits from which on a pair links by itself: odds of 5.7 to 1 against all else that could explain it, and every pair of
the two clusters has a say. On records of known truth fewer than one cluster in a hundred then holds two people."""
BATCH: Final = 100
_CROWD: Final = 3
_SLACK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a batch did: records compared, pairs judged, links made and parted, and whether more wait."""

    compared: int = 0
    pairs: int = 0
    made: int = 0
    parted: int = 0
    more: bool = False

    def __bool__(self) -> bool:
        """Whether any cluster changed."""
        return self.made + self.parted > 0


def subscriber(tx: Tx, workspace_id: str, changes: Sequence[EntityChange]) -> None:
    """World's EntityChanged: ask for those of a kind that is resolved to be compared, in the same transaction."""
    for kind in KINDS:
        changed = [change.entity_id for change in changes if change.entity_type == kind]
        if changed:
            store.request(tx, workspace_id, kind, changed)


def resolve(database: Database, workspace_id: str, *, now: datetime, limit: int = BATCH) -> Resolved:
    """Compare one batch of each kind."""
    total = Resolved()
    for kind in KINDS:

        def work(tx: Tx, kind: Kind = kind) -> Resolved:
            return _resolve_kind(tx, workspace_id, kind, now, limit)

        done = database.retrying(workspace_id, work)
        total = Resolved(
            total.compared + done.compared,
            total.pairs + done.pairs,
            total.made + done.made,
            total.parted + done.parted,
            total.more or done.more,
        )
    return total


def work_off(
    database: Database, workspace_id: str, *, now: datetime, progress: Callable[[int], None] = lambda done: None
) -> Resolved:
    """Compare all that waits; then, where names became more or less common since, weigh every pair anew.

    ``progress`` is told how many records more were compared.
    """
    compared = made = parted = pairs = 0
    with database.begin(workspace_id) as tx:
        store.request_unseen(tx, workspace_id, KINDS)
    for settled in (False, True):
        more = True
        while more:
            done = resolve(database, workspace_id, now=now)
            compared, pairs = compared + done.compared, pairs + done.pairs
            made, parted, more = made + done.made, parted + done.parted, done.more
            progress(done.compared)
        if not settled:
            recount(database, workspace_id, now=now, slack=0.0)
    return Resolved(compared, pairs, made, parted)


def recount(database: Database, workspace_id: str, *, now: datetime, slack: float = _SLACK) -> list[str]:
    """Count how common names are, where a population changed by ``slack``; the kinds all of whose records wait then."""
    changed: list[str] = []
    for kind in KINDS:
        with database.begin(workspace_id) as tx:
            store.lock_kind(tx, workspace_id, kind)
            if population_store.count_again(tx, workspace_id, kind, now=now, slack=slack):
                store.request_all(tx, workspace_id, kind)
                changed.append(kind)
    return changed


def decide(
    tx: Tx, workspace_id: str, one: str, other: str, *, same: bool, actor: str, reason: str, now: datetime
) -> None:
    """Keep a person's word about two entities, which outranks the rules, and compare them anew."""
    label = next(new_ids())
    evidence_store.ensure_pair(tx, workspace_id, pair(one, other))
    link_store.add_label(tx, workspace_id, label, pair(one, other), same=same, actor=actor, reason=reason, now=now)
    for row in store.states(tx, workspace_id, [one, other]):
        store.request(tx, workspace_id, row["entity_type"], [row["entity_id"]])


def _resolve_kind(tx: Tx, workspace_id: str, kind: Kind, now: datetime, limit: int) -> Resolved:
    store.lock_kind(tx, workspace_id, kind)
    taken = store.take(tx, workspace_id, kind, limit)
    if not taken:
        return Resolved()
    people = _identify(tx, workspace_id, kind, taken)
    found = _judge(tx, workspace_id, kind, people, taken)
    made, parted = _cluster(tx, workspace_id, taken, now)
    return Resolved(len(taken), found, made, parted, more=len(taken) == limit)


def _identify(tx: Tx, workspace_id: str, kind: Kind, taken: Sequence[str]) -> list[Identity]:
    """What identifies the entities as they stand; one that is deleted or retracted identifies nobody."""
    stated = store.states(tx, workspace_id, taken)
    people = [
        identity_of(row["entity_id"], kind, row["state"] if row["status"] == "active" else {}, row["canonical_id"])
        for row in stated
    ]
    found_under = {person.record: sorted({store.token(kind, key) for key in keys(person)}) for person in people}
    gone = sorted(set(taken) - found_under.keys())
    if gone:
        store.forget(tx, workspace_id, gone)
    store.save_identities(tx, workspace_id, people, found_under)
    return people


def _judge(tx: Tx, workspace_id: str, kind: Kind, people: Sequence[Identity], taken: Sequence[str]) -> int:
    """Judge every pair that a key brings together; how many."""
    found_under = {person.record: {store.token(kind, key) for key in keys(person)} for person in people}
    holders = store.holders(tx, workspace_id, {value for tokens in found_under.values() for value in tokens})
    pairs = {
        pair(record, other)
        for record, tokens in found_under.items()
        for value in tokens
        if len(holders.get(value, ())) <= store.KEY_CAP
        for other in holders.get(value, ())
        if other != record
    }
    known = store.identities(tx, workspace_id, {record for two in pairs for record in two})
    known |= {person.record: person for person in people}
    population = population_store.load(tx, workspace_id, kind)
    _look_for_crowds(tx, workspace_id, kind, people, holders, known, population)
    weights = shipped()
    evidence = [judge(known[a], known[b], weights, population) for a, b in sorted(pairs) if a in known and b in known]
    evidence_store.replace_evidence(tx, workspace_id, taken, evidence)
    return len(evidence)


def _look_for_crowds(
    tx: Tx,
    workspace_id: str,
    kind: Kind,
    people: Sequence[Identity],
    holders: dict[int, list[str]],
    known: dict[str, Identity],
    population: Snapshot,
) -> None:
    """Find phones of too many people; whoever else has one that just became so is compared anew."""
    phones = {number: store.token(kind, f"p|{number[-7:]}") for person in people for number in person.phones}
    crowds: dict[int, str] = {}
    for number, value in phones.items():
        on_it = holders.get(value, ())
        names = {known[r].given[:3] for r in on_it if r in known and number in known[r].phones}
        if len(on_it) > store.KEY_CAP or len(names - {""}) > _CROWD:
            crowds[value] = number
    fresh = population_store.set_crowded(tx, workspace_id, crowds) if crowds else set()
    taken = {person.record for person in people}
    again = {record for value in fresh for record in holders.get(value, ())} - taken
    if again:
        store.request(tx, workspace_id, kind, again)
    crowded = population_store.crowded(tx, workspace_id, phones.values()) if phones else set()
    population.crowded = {number for number, value in phones.items() if value in crowded}


def _cluster(tx: Tx, workspace_id: str, taken: Sequence[str], now: datetime) -> tuple[int, int]:
    """Group anew whatever the evidence about these records reaches; how many links were made, how many parted."""
    component = set(taken)
    frontier = set(taken)
    while frontier:
        frontier = evidence_store.neighbours(tx, workspace_id, frontier, THRESHOLD) - component
        component |= frontier
    rows = evidence_store.evidence_among(tx, workspace_id, component)
    decided = evidence_store.decisions_among(tx, workspace_id, component)
    compared = [row for row in rows if row["held"] != evidence_store.NOT_COMPARED]
    grouped = group(component, [(row["one"], row["other"], row["bits"], row["veto"]) for row in compared], decided)
    made, parted = changes_of(rows, grouped)
    cleared = {(row["one"], row["other"]): False for row in rows if row["refused"]}
    evidence_store.mark_pairs(tx, workspace_id, made, parted, cleared | dict.fromkeys(grouped.refused, True))
    evidence_store.drop_lost(tx, workspace_id, component)
    sizes: dict[str, int] = {}
    for cluster in grouped.of.values():
        sizes[cluster] = sizes.get(cluster, 0) + 1
    joined = {record: cluster for record, cluster in grouped.of.items() if sizes[cluster] > 1}
    evidence_store.save_clusters(tx, workspace_id, joined, sorted(component - joined.keys()))
    if made or parted:
        link_store.add_link_events(tx, workspace_id, link_events(rows, made, parted, decided, now))
    return len(made), len(parted)


def group(
    records: set[str], evidence: Sequence[tuple[str, str, float, str | None]], decided: dict[Pair, bool]
) -> Clusters:
    """Clusters of ``records`` by their evidence (one, other, bits, veto) and what people decided."""
    return clusters(
        records,
        {(one, other): bits for one, other, bits, _ in evidence},
        threshold=THRESHOLD,
        must=frozenset(two for two, same in decided.items() if same),
        never=frozenset(two for two, same in decided.items() if not same)
        | frozenset((one, other) for one, other, _, veto in evidence if veto and not decided.get((one, other))),
    )
