"""What an entity has to say to one sink: per atom the best claim that the gates let through.

The sink's own word takes part: where it outranks every eligible claim, the atom is left alone. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import parse_canonical_id
from connector_runner.outbound.gating.gates import CONFLICT, SAME_SYSTEM, GateFacts, external_system, first_closed
from connector_runner.outbound.lanes.lane import Withheld
from connector_runner.world.atoms import field_of
from connector_runner.world.confidence import NONE, confidence_class
from connector_runner.world.fold import Claim, Settled

NOT_OWNED: Final = "not_owned"
OUR_IDENTIFIER: Final = "identifier[urn:connector-runner:"

ORIGIN_NOT_ACCEPTED: Final = "origin_not_accepted"
RECORD_NOT_SEEN: Final = "record_not_seen"

HeldBack = Mapping[tuple[str, bytes], str]
"""(atom, digest of a value) -> why that value is not to be sent to a sink again, though the gates let it pass."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``chosen``: atom -> the claim to be written. ``own``: atom -> what the sink was last seen to hold.

    ``kept`` are atoms in which the sink's own word wins; ``theirs``: those of ``own`` that it did not have from us ->
    the event that says so.
    """

    chosen: dict[str, Claim]
    own: dict[str, Any]
    kept: frozenset[str]
    withheld: tuple[Withheld, ...] = field(default=())
    theirs: Mapping[str, str] = field(default_factory=dict)

    def contradicted(self) -> dict[str, str]:
        """Where the sink was seen to say otherwise of its own accord, and has the worse claim: atom -> the event."""
        return {atom: self.theirs[atom] for atom in self.differing() if atom in self.theirs}

    def agreed(self) -> list[str]:
        """Atoms of which the sink was seen to say of its own accord what others say better."""
        return [atom for atom, claim in self.chosen.items() if atom in self.theirs and _holds(self.own, atom, claim)]

    def differing(self) -> list[str]:
        """Atoms whose chosen value is not what the sink was last seen to hold."""
        return [atom for atom, claim in self.chosen.items() if not _holds(self.own, atom, claim)]


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of an atom mean the same: how a number was typed does not count."""
    if isinstance(one, dict) and isinstance(other, dict) and ("raw" in one or "raw" in other):
        return {k: v for k, v in one.items() if k != "raw"} == {k: v for k, v in other.items() if k != "raw"}
    return bool(one == other)


def choose(
    atoms: Mapping[str, Settled],
    terms: SinkTerms,
    facts: GateFacts,
    fields: Container[str],
    *,
    owned: Container[str] | None = None,
    held_back: HeldBack | None = None,
    records: Container[str] | None = None,
) -> Choice:
    """Choose per atom among the winner and the losers, best first.

    ``records``: keys of the entity's own source records; of those that it is one with, the sink may have others (None:
    it has not).
    ``fields`` are those that the mapping writes, ``owned`` those that are ours to write there (None: all). An atom
    whose best value is ``held_back`` is left alone, and no lesser value is sent in its place.
    """
    chosen: dict[str, Claim] = {}
    own: dict[str, Any] = {}
    kept: set[str] = set()
    theirs: dict[str, str] = {}
    withheld: list[Withheld] = []
    for atom, settled in sorted(atoms.items()):
        if field_of(atom) not in fields or atom.startswith(OUR_IDENTIFIER):
            continue
        claims = (settled.winner, *settled.losers)
        for claim in claims:
            if claim.data_source_id == terms.sink_id and atom not in own and _of(claim, records):
                own[atom] = claim.value
                if not claim.echo:
                    theirs[atom] = claim.event_id
        if settled.conflict:
            withheld.append(Withheld(public_name(atom), CONFLICT))
            continue
        claims = tuple(claim for claim in claims if _asserted(claim, claims))
        if not claims:
            continue
        winner, code = _best(claims, facts.about(atom, claims))
        ours = owned is None or field_of(atom) in owned
        if code is not None and ours:
            withheld.append(Withheld(public_name(atom), code))
        if winner is None:
            continue
        if external_system(winner) == terms.name:
            kept.add(atom)
        elif not ours:
            # Nobody misses another system's word on what is not ours to write; an agent's or a person's they do.
            if external_system(winner) is None and not _holds(own, atom, winner):
                withheld.append(Withheld(public_name(atom), NOT_OWNED))
        elif held_back and (barred := held_back.get((atom, exact_json.digest(winner.value)))) is not None:
            withheld.append(Withheld(public_name(atom), barred))
        else:
            chosen[atom] = winner
    return Choice(chosen, own, frozenset(kept), tuple(withheld), theirs)


def _of(claim: Claim, records: Container[str] | None) -> bool:
    return records is None or claim.record_key in records


def _holds(own: Mapping[str, Any], atom: str, claim: Claim) -> bool:
    """Whether the sink was last seen to hold what a claim says."""
    return atom in own and same_value(own[atom], claim.value)


def still_said(settled: Settled | None, value: Any) -> bool:
    """Whether anybody's own word is still ``value``, whatever the gates make of it; a rejected word is nobody's."""
    return settled is not None and any(
        not claim.echo and confidence_class(claim.confidence) != NONE and same_value(claim.value, value)
        for claim in (settled.winner, *settled.losers)
    )


def _asserted(claim: Claim, claims: tuple[Claim, ...]) -> bool:
    """Whether anybody but an echo says so: what was withdrawn at its origin does not live on in a copy of ours."""
    return not claim.echo or any(not other.echo and same_value(other.value, claim.value) for other in claims)


def _best(claims: tuple[Claim, ...], facts: GateFacts) -> tuple[Claim | None, str | None]:
    """The best claim that is eligible or the sink's own, and why a better one was passed over."""
    passed: str | None = None
    for claim in claims:
        if confidence_class(claim.confidence) == NONE:
            continue
        code = first_closed(claim, facts)
        if code is None or code == SAME_SYSTEM:
            return _original(claim, claims), passed
        passed = passed or code
    return None, passed


def _original(claim: Claim, claims: tuple[Claim, ...]) -> Claim:
    """For a value that came back to us, the claim that first made it."""
    if not claim.echo:
        return claim
    mark = (claim.source, claim.source_system)
    same = (
        other
        for other in claims
        if not other.echo and (other.source, other.source_system) == mark and same_value(other.value, claim.value)
    )
    return next(same, claim)


def public_name(atom: str) -> str:
    """An atom's name without whatever of its key is a value: ``telecom[phone|home]``, ``identifier[system]``."""
    name, bracket, key = atom.partition("[")
    if not bracket:
        return name
    parts = key.removesuffix("]").split("|")
    kept = {"telecom": 2, "address": 1, "identifier": 1}.get(name, 0)
    return f"{name}[{'|'.join(parts[:kept])}]" if kept else name


def home_of(canonical_id: str, sources: Mapping[str, str]) -> str | None:
    """The data source whose record an entity is; None for one of an agent's or a person's own making."""
    try:
        home = parse_canonical_id(canonical_id)[0]
    except BadRecord:
        return None
    return home if home in sources else None


def may_create(canonical_id: str, terms: SinkTerms, sources: Mapping[str, str]) -> str | None:
    """Why an entity without a record in the sink must not be created there; None when it may.

    An entity of an agent's own making may go anywhere. One that is a record of an external system goes only
    where that system's word is accepted, and never back to that system. ``sources``: name -> data source id.
    """
    home = home_of(canonical_id, sources)
    if home is None:
        return None
    if home == terms.name:
        return RECORD_NOT_SEEN
    return None if home in terms.accept_from else ORIGIN_NOT_ACCEPTED


def record_in(sink_id: str, records: Mapping[str, str], *, except_id: str) -> str | None:
    """``Type/id`` of the entity's record in the sink: the first by name should there be several.

    The record that we make ourselves (``except_id``) is not one until its lane knows that it landed.
    """
    for key in sorted(records):
        if records[key] == sink_id:
            _, kind, record = parse_canonical_id(key)
            if record != except_id:
                return f"{kind}/{record}"
    return None
