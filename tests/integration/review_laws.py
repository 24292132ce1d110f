"""What must be so of a review whenever all has settled, found out from the world itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from connector_runner.infra.database import Tx, rows
from connector_runner.kernel import exact_json
from connector_runner.policy import policies
from connector_runner.review import policy_store
from connector_runner.review.items import Item
from connector_runner.review.waiving import is_waived
from connector_runner.world import reading
from connector_runner.world.atoms import SAFETY_FIELDS, field_of
from connector_runner.world.confidence import AUTHORITATIVE, HIGH, NONE, confidence_class
from connector_runner.world.fold import Claim
from connector_runner.world.reading import EntityView

Pair = tuple[str, str]
"""An event and one of its atoms."""
Beliefs = dict[str, tuple[tuple[str, ...], str]]
"""Entity -> who it is one with, and what holds and how far it is believed."""


def everything_is_before_a_person_once(
    tx: Tx, workspace_id: str, asked: Sequence[tuple[Item, Pair]], stale: Collection[Pair]
) -> None:
    """Each claim that is to be looked at is asked in one open item, and nothing is that nobody may decide.

    ``stale`` was asked, and nobody answered in time.
    """
    policy, rules = policy_store.load(tx, workspace_id), policies.current(tx, workspace_id)
    views = {view.entity_id: view for view in _all(tx)}
    waits = Counter(pair for _, pair in asked)
    for entity, view in views.items():
        for pair, claim in _undecided(view).items():
            nobody = policy.looked_at_by(view.entity_type, claim.source, claim.source_system) == "nobody"
            if not nobody and not is_waived(rules, view.entity_type, field_of(claim.atom), claim):
                assert waits[pair] == 1 or pair in stale, f"{short([pair])} of {entity[-4:]} waits {waits[pair]} times"
    assert not [pair for pair, times in waits.items() if times > 1], "it is asked once"
    for item, pair in asked:
        assert item.entity_id in views, f"{short([pair])}: who it is about is there no more"
        assert pair in _decidable(views[item.entity_id]), f"nobody may decide {short([pair])}"


def everybody_heard(before: Beliefs, after: Beliefs, told: Collection[str]) -> None:
    """Of whom something else is believed, of them the sinks heard, or of one that they are one with."""
    for entity, (members, belief) in after.items():
        if entity in before and before[entity][1] != belief:
            assert {*members, *before[entity][0]} & {*told}, f"nobody heard of {entity[-4:]}"


def beliefs(tx: Tx) -> Beliefs:
    """What is believed of everybody."""
    return {view.entity_id: (view.members, _belief(view)) for view in _all(tx)}


def short(pairs: Sequence[Pair]) -> list[str]:
    """Pairs as they are told of."""
    return [f"{event[-4:]}.{atom}" for event, atom in pairs]


def _all(tx: Tx) -> list[EntityView]:
    return reading.views(tx, [row["entity_id"] for row in rows(tx, "SELECT entity_id FROM entity")])


def _claims(view: EntityView) -> list[tuple[Claim, list[Claim]]]:
    """Each claim that counts, with all those of its atom."""
    every = [[settled.winner, *settled.losers] for settled in view.folded.atoms.values()]
    return [(claim, claims) for claims in every for claim in claims]


def _undecided(view: EntityView) -> dict[Pair, Claim]:
    """What was said of the entity itself, and waits for a verdict, or for a person where a judge's does not count."""
    own = {event.id for event in view.events if event.entity_id == view.entity_id}
    found = {}
    for claim, claims in _claims(view):
        against = [c for c in claims if c.confidence >= AUTHORITATIVE and not c.echo and c.value != claim.value]
        disputed = claim.verdict == "automated" and field_of(claim.atom) in SAFETY_FIELDS and against
        doubtful = claim.verdict is None and NONE < confidence_class(claim.confidence) < HIGH
        if claim.event_id in own and not claim.echo and (doubtful or disputed):
            found[claim.event_id, claim.atom] = claim
    return found


def _decidable(view: EntityView) -> set[Pair]:
    return {
        (claim.event_id, claim.atom)
        for claim, _ in _claims(view)
        if not claim.echo and claim.verdict != "human" and confidence_class(claim.confidence) != NONE
    }


def _belief(view: EntityView) -> str:
    winners = {atom: settled.winner for atom, settled in view.folded.atoms.items()}
    return exact_json.dumps([(a, w.value, w.confidence, w.event_id) for a, w in sorted(winners.items())])
