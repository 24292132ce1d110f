"""Resolve: compare what changed with what may be the same, and keep clusters true to the evidence.

One transaction at a time decides about the records of one kind in a workspace, so two workers that meet the same
person at once end with one cluster. A batch touches the records that changed, those that a key brings together with
them, and the clusters of both: what it costs does not grow with the population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_runner.audit import log as audit
from connector_runner.infra.database import Database, Row, Tx
from connector_runner.kernel.errors import BadRecord, Conflict
from connector_runner.kernel.ids import new_ids
from connector_runner.resolution import crowds, evidence_store, key_store, link_store, population_store, store
from connector_runner.resolution.blocking import meet
from connector_runner.resolution.clustering import regroup
from connector_runner.resolution.clusters import Pair, pair
from connector_runner.resolution.crowds import Met
from connector_runner.resolution.identity import Identity, Kind, identity_of
from connector_runner.resolution.judging import Judging
from connector_runner.resolution.store import Saved
from connector_runner.resolution.thresholds import SMALLEST, Thresholds, thresholds
from connector_runner.world import reading
from connector_runner.world.changes import EntitiesResolved, EntityChange, nobody
from connector_runner.world.store import adopted

KINDS: Final[tuple[Kind, ...]] = ("patient", "practitioner", "location")
BATCH: Final = 100
ALONG: Final = 3
"""So many times a batch are taken along at most, of those who wait and are met by it."""
_FIRST: Final = "00000000-0000-0000-0000-000000000000"
ONE_ALREADY: Final = "both names are of one entity already"
NOT_BY_A_LINK: Final = (
    "both names are of one entity: one record was adopted by the other, which no link holds together; take back what it"
    " was sent (outbound undo --entity … --since …), and have its own system put right what it says of another person"
)
OTHER_KIND: Final = f"only two records of one type can be the same, and only of these: {', '.join(KINDS)}"
SLACK: Final = 0.1
"""A population is counted anew when it changed by such a share, between the exact counts of an export."""
RECENT_KEYS: Final = 20_000
"""Recent keys are shelved once there are more, and for each record more than RECENT_KEYS_EACH: a tenth of all."""
RECENT_KEYS_EACH: Final = 2
SHELVED_AT_ONCE: Final = 20_000
SHELVED_A_TURN: Final = 1_000_000
"""Keys in one transaction, about 0.2 s, and in one turn, about 10 s."""


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


def thresholds_of(kind: str, size: int) -> Thresholds:
    """The thresholds of a population; only patients are so many that strangers are met who are alike."""
    return thresholds(size) if kind == "patient" else SMALLEST


def resolve(
    database: Database, workspace_id: str, *, now: datetime, limit: int = BATCH, tell: EntitiesResolved = nobody
) -> Resolved:
    """Compare one batch of each kind."""
    total = Resolved()
    for kind in KINDS:

        def work(tx: Tx, kind: Kind = kind) -> Resolved:
            return _resolve_kind(tx, workspace_id, kind, now, limit, tell)

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
    database: Database,
    workspace_id: str,
    *,
    now: datetime,
    progress: Callable[[int], None] = lambda done: None,
    tell: EntitiesResolved = nobody,
) -> Resolved:
    """Compare all that waits, by how common names and phones are once all of it is known.

    ``progress`` is told how many records more were compared.
    """
    compared = made = parted = pairs = 0
    with database.begin(workspace_id) as tx:
        store.request_unseen(tx, workspace_id, KINDS)
    for kind in KINDS:
        identify(database, workspace_id, kind)
    recount(database, workspace_id, now=now, slack=0.0)
    more = True
    while more:
        done = resolve(database, workspace_id, now=now, tell=tell)
        compared, pairs = compared + done.compared, pairs + done.pairs
        made, parted, more = made + done.made, parted + done.parted, done.more
        progress(done.compared)
    return Resolved(compared, pairs, made, parted)


def identify(database: Database, workspace_id: str, kind: Kind) -> None:
    """Read off what identifies those who wait, and compare nobody yet.

    Where many wait, how common their names are is counted next, and nobody is weighed by what it was before.
    """

    last = _FIRST

    def work(tx: Tx) -> list[str]:
        store.lock_kind(tx, workspace_id, kind)
        found = store.take_unidentified(tx, workspace_id, kind, BATCH, last)
        if found:
            _identify(tx, workspace_id, kind, dict.fromkeys(found, False), {})
        return found

    while found := database.retrying(workspace_id, work):
        last = found[-1]


def workspaces(database: Database) -> list[str]:
    """Ids of the workspaces whose names are counted."""
    with database.sweep() as tx:
        return store.workspaces(tx)


def recount(database: Database, workspace_id: str, *, now: datetime, slack: float = SLACK) -> int:
    """Count how common names are, where a population changed by ``slack``; how many records wait for it."""
    waiting = 0
    for kind in KINDS:

        def work(tx: Tx, kind: Kind = kind) -> int:
            store.lock_kind(tx, workspace_id, kind)
            return population_store.count_again(tx, workspace_id, kind, now=now, slack=slack)

        waiting += database.retrying(workspace_id, work)
    return waiting


def shelve(database: Database, workspace_id: str, *, turn: int = 0) -> bool:
    """Put keys that came lately to all the others, where they have become many; whether more are left for a next turn.

    Every ``turn`` but the first goes on with what is left, however few.
    """
    if not turn and not database.retrying(workspace_id, lambda tx: _many_recent_keys(tx, workspace_id)):
        return False
    start = key_store.LOWEST
    for _ in range(SHELVED_A_TURN // SHELVED_AT_ONCE):
        last = _shelve_some(database, workspace_id, start)
        if last is None:
            return False
        start = last
    return True


def _shelve_some(database: Database, workspace_id: str, start: int) -> int | None:
    """A key that stands in both tables, for whatever reason, must not hold up all the others for ever."""
    try:
        with database.begin(workspace_id) as tx:
            return key_store.shelve(tx, workspace_id, start, SHELVED_AT_ONCE)
    except Conflict:
        return database.retrying(
            workspace_id, lambda tx: key_store.shelve(tx, workspace_id, start, SHELVED_AT_ONCE, doubled=True)
        )


def _many_recent_keys(tx: Tx, workspace_id: str) -> bool:
    many = max(RECENT_KEYS, RECENT_KEYS_EACH * population_store.records(tx, workspace_id))
    return key_store.recent(tx, workspace_id, many + 1) > many


def decide(
    tx: Tx, workspace_id: str, one: str, other: str, *, same: bool, actor: str, reason: str, now: datetime
) -> None:
    """Keep a person's word about two entities, which outranks the rules, and compare them anew.

    A record that was adopted stands for its adopter. Raises BadRecord: ``one_entity`` where both are one record, or
    one was adopted by the other (no link holds them together, so none can be made or taken back), and ``other_kind``
    where two are called the same that are of different types, or of one that is not resolved.
    """
    for kind in sorted(link_store.types_of(tx, workspace_id, _adopters(tx, one, other)).intersection(KINDS)):
        # Nobody adopts the record of one for the other meanwhile: that is not taken back by a word that comes after it.
        store.lock_kind(tx, workspace_id, kind)
    one, other = _adopters(tx, one, other)
    if one == other:
        raise BadRecord(ONE_ALREADY if same else NOT_BY_A_LINK, code="one_entity", where=one)
    types = link_store.types_of(tx, workspace_id, (one, other))
    if same and (len(types) > 1 or not types <= set(KINDS)):
        raise BadRecord(OTHER_KIND, code="other_kind", where=one)
    label = next(new_ids())
    # First, as a batch takes who waits before it writes about them: the other way round they could wait for each other.
    for known_as, entity in sorted(store.kinds_of(tx, workspace_id, [one, other], KINDS)):
        store.request(tx, workspace_id, known_as, [entity])
    for kind in KINDS:
        _weigh(tx, workspace_id, kind, pair(one, other))
    evidence_store.ensure_pair(tx, workspace_id, pair(one, other))
    link_store.add_label(tx, workspace_id, label, pair(one, other), same=same, actor=actor, reason=reason, now=now)
    action = "link.same" if same else "link.different"
    detail = {"other": other, "label": label}
    audit.append(tx, workspace_id, actor=actor, action=action, object=one, detail=detail, now=now)


def _adopters(tx: Tx, one: str, other: str) -> tuple[str, str]:
    holders = adopted(tx, [one, other])
    return holders.get(one, one), holders.get(other, other)


def _weigh(tx: Tx, workspace_id: str, kind: Kind, two: Pair) -> None:
    """Keep what speaks for a pair that a person speaks of, where both are of a kind and a key brings them together."""
    people = store.identities(tx, workspace_id, two, kind)
    if len(people) == len(two) and meet(people[two[0]], people[two[1]]):
        for evidence in Judging(tx, workspace_id, kind, people).against((), [two], [two]):
            evidence_store.keep(tx, workspace_id, evidence)


def _resolve_kind(tx: Tx, workspace_id: str, kind: Kind, now: datetime, limit: int, tell: EntitiesResolved) -> Resolved:
    store.lock_kind(tx, workspace_id, kind)
    taken = store.take(tx, workspace_id, kind, limit)
    if not taken:
        return Resolved()
    more = len(taken) == limit
    found_under, met = _identify(tx, workspace_id, kind, taken, {})
    # A newcomer held against what one who waits was before a change, or left to its turn, is made twice in sinks.
    company = set().union(*met.held_by.values()).difference(taken)
    along = store.take_along(tx, workspace_id, kind, company, ALONG * limit)
    if along:
        found_under, met = _identify(tx, workspace_id, kind, along, found_under)
        taken |= along
    people = {person.record: person for person in found_under}
    missing = sorted(taken.keys() - people.keys())
    about = sorted(taken.keys() - (store.of_other_kind(tx, workspace_id, kind, missing) if missing else set()))
    spoken = _spoken_of_adopters(tx, workspace_id, missing) if missing else set()
    judging = Judging(tx, workspace_id, kind, people, crowds.among(kind, people.values(), met.crowded))
    pairs, left = _judge(tx, workspace_id, kind, judging, people.keys(), met, about)
    bounds = thresholds_of(kind, judging.size)
    regrouped = regroup(tx, workspace_id, kind, spoken.union(about, left), judging, bounds, now)
    tell(tx, workspace_id, sorted(taken), regrouped.entities)
    return Resolved(len(taken), pairs, regrouped.made, regrouped.parted, more)


def _spoken_of_adopters(tx: Tx, workspace_id: str, gone: Sequence[str]) -> set[str]:
    """Let what people said of records that are not there any more be said of who adopted them; of whom it is."""
    pairs = link_store.carry_labels_over(tx, workspace_id, gone, new_ids())
    for two in sorted(pairs):
        evidence_store.ensure_pair(tx, workspace_id, two)
    return {entity for two in pairs for entity in two}


def _identify(
    tx: Tx, workspace_id: str, kind: Kind, taken: Mapping[str, bool], known: Mapping[Identity, Sequence[int]]
) -> tuple[dict[Identity, Sequence[int]], Met]:
    """Who those are that were taken (see store.take), and who is ``known``, with the keys under which each is found.

    Those who changed are read as they stand, and what is stored of them brought up to date: one that is not there, or
    of another kind, is forgotten. Also whom all the keys bring together.
    """
    changed = sorted(entity for entity, identified in taken.items() if not identified)
    others = store.found_under(tx, workspace_id, taken.keys() - set(changed), kind) if len(changed) < len(taken) else {}
    read = list(_who_they_are(tx, workspace_id, kind, store.states(tx, workspace_id, changed, kind))) if changed else []
    found_under = {person: key_store.tokens(person) for person in read}
    saved = store.save_identities(tx, workspace_id, kind, found_under) if read else Saved()
    gone = sorted(set(changed) - {person.record for person in read})
    if gone:
        saved += store.forget(tx, workspace_id, gone, kind)
    if saved.more:
        population_store.grow(tx, workspace_id, kind, saved.more)
    found: dict[Identity, Sequence[int]] = {**found_under, **others, **known}
    met = crowds.follow(tx, workspace_id, kind, read, saved, {value for tokens in found.values() for value in tokens})
    return found, met


def _who_they_are(tx: Tx, workspace_id: str, kind: Kind, stored: Sequence[Row]) -> Iterator[Identity]:
    """What identifies entities as they stand: one that is retracted nothing; one whose system deleted it, in place of
    which other record it said last to be, or which in its own: systems delete what they merged.
    """
    gone = [row["entity_id"] for row in stored if row["status"] == "deleted"]
    links = reading.last_said(tx, workspace_id, gone, "link") if gone else {}
    for row in stored:
        state = row["state"] if row["status"] == "active" else {"link": links.get(row["entity_id"])}
        yield identity_of(row["entity_id"], kind, state, row["canonical_id"])


def _judge(
    tx: Tx, workspace_id: str, kind: Kind, judging: Judging, people: Set[str], met: Met, taken: Sequence[str]
) -> tuple[int, set[str]]:
    """Judge every pair that a key brings together; how many, and whom else evidence that went was about.

    Of a pair that no key brings together now, and of which the other waits still, the other's turn decides: both may
    have come to be found by other keys.
    """
    pairs = key_store.brought_together(met.held_by, people)
    before = evidence_store.evidence_of(tx, workspace_id, taken)
    apart = {record for two in before.keys() - pairs for record in two}.difference(taken)
    if apart and (waiting := store.waiting_among(tx, workspace_id, kind, apart)):
        before = {two: kept for two, kept in before.items() if two in pairs or waiting.isdisjoint(two)}
    evidence = judging.against({record for two in pairs for record in two} - people, sorted(pairs), before)
    left = evidence_store.replace_evidence(tx, workspace_id, before, evidence)
    return len(pairs), {record for two in left for record in two}
