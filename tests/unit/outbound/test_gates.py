"""Which claims may leave for which sink, and which of them is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel import exact_json
from connector_runner.outbound.gating.choosing import choose, may_create, public_name, record_in, still_said
from connector_runner.outbound.gating.gates import GATES, GateFacts, first_closed, verdicts
from connector_runner.world.fold import Claim, Settled

START = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = SinkTerms("sink-id", "store", "fhir_r4", {"patient": 0.8}, accept_from=frozenset({"ehr"}))
FACTS = GateFacts.of(TERMS, "patient")
FIELDS = {"telecom", "gender", "identifier"}


def a_claim(
    value: Any = "female",
    *,
    source: str = "connector_runner",
    system: str | None = "ehr",
    confidence: float = 1.0,
    day: int = 0,
    **more: Any,
) -> Claim:
    ids = {"connector_runner": "ehr-id"}
    return Claim(
        **{
            "atom": "gender", "value": value, "event_id": f"event-{day}", "source": source, "source_system": system,
            "data_source_id": ids.get(source), "record_key": None, "mapping_version": None, "confidence": confidence,
            "since": START + timedelta(days=day), "ingested_at": START, **more,
        }
    )  # fmt: skip


def voice(value: Any = "male", confidence: float = 0.5, **more: Any) -> Claim:
    """As heard, or as judged where it is worth more (or nothing)."""
    word = None if confidence == 0.5 else "human" if confidence == 0.95 else "automated"
    return a_claim(
        value, **{"source": "voice_agent", "system": None, "confidence": confidence, "verdict": word, **more}
    )


def own(value: Any = "other", **more: Any) -> Claim:
    return a_claim(value, system="store", data_source_id="sink-id", **more)


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        (a_claim(), None),
        (a_claim(confidence=0.8), None),
        (a_claim(confidence=0.79), "below_threshold"),
        (a_claim(system="crm"), "source_not_accepted"),
        (a_claim(system="crm", confidence=0.5), "source_not_accepted"),
        (own(), "same_system"),
        (a_claim(source="fhir_import", system="ehr"), None),
        (a_claim(source="fhir_import", system="partner"), "source_not_accepted"),
        (a_claim(source="browser", system="ehr", confidence=0.7), "below_threshold"),
        (a_claim(source="connector_runner", system=None), "source_not_accepted"),
        (voice(), "below_threshold"),
        (voice(confidence=0.85), None),
        (voice(confidence=0.95, source_system="crm"), None),
        (a_claim(source="manual", system=None), None),
        (a_claim(source="somebody_new", system=None, confidence=0.5), "below_threshold"),
        (a_claim(source="somebody_new", system="crm", confidence=0.9), "source_not_accepted"),
    ],
)
def test_gates(claim: Claim, code: str | None) -> None:
    assert first_closed(claim, FACTS) == code
    assert [name for name, _ in GATES] == list(verdicts(claim, FACTS))


# Per gate: what of a claim and of the facts opens it, what closes it, and the reason.
OPEN_AND_CLOSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "source_eligibility": ({"accept_from": frozenset({"crm"})}, {"accept_from": frozenset()}, "source_not_accepted"),
    "confidence": ({"threshold": 0.4}, {"threshold": 0.6}, "below_threshold"),
    "automated_review": ({"verdict": "automated"}, {"verdict": None}, "not_reviewed"),
    "human_review": ({"human_review": False}, {"human_review": True}, "needs_human_review"),
    "consent": ({"consent": None}, {"consent": "consent_withdrawn"}, "consent_withdrawn"),
}


@pytest.mark.parametrize("closed", [c for n in range(6) for c in combinations(OPEN_AND_CLOSED, n)])
def test_of_any_gates_that_are_closed_the_first_names_the_reason(closed: tuple[str, ...]) -> None:
    set_to = {k: v for name, (is_open, is_closed, _) in OPEN_AND_CLOSED.items()
              for k, v in (is_closed if name in closed else is_open).items()}  # fmt: skip
    claim = a_claim(source="somebody_new", system="crm", confidence=0.5, verdict=set_to.pop("verdict"))
    facts = GateFacts(sink="store", **set_to)
    expected = {name: OPEN_AND_CLOSED[name][2] if name in closed else "open" for name in OPEN_AND_CLOSED}
    assert verdicts(claim, facts) == expected
    assert first_closed(claim, facts) == next((OPEN_AND_CLOSED[n][2] for n in OPEN_AND_CLOSED if n in closed), None)
    assert list(OPEN_AND_CLOSED) == [name for name, _ in GATES]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5])
def test_no_threshold_is_so_low_that_what_was_only_heard_may_leave(threshold: float) -> None:
    facts = replace(FACTS, threshold=threshold)
    assert first_closed(voice(), facts) == "not_reviewed"
    assert first_closed(a_claim(source="forms", system=None, confidence=0.5), facts) == "not_reviewed"
    assert first_closed(voice(verdict="automated"), facts) is None


def test_what_was_rejected_never_leaves() -> None:
    facts = replace(FACTS, threshold=0.0)
    assert first_closed(a_claim(confidence=0.0, verdict="human"), facts) == "rejected"
    assert first_closed(a_claim(confidence=0.0), facts) == "rejected"


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        (voice(confidence=0.85), "needs_human_review"),
        (voice(confidence=0.95), None),
        (a_claim(), None),
        (a_claim(confidence=0.9), "needs_human_review"),
        (a_claim(source="manual", system=None), None),
        (a_claim(confidence=0.85, verdict="automated"), "needs_human_review"),
    ],
)
def test_where_a_person_must_sign(claim: Claim, code: str | None) -> None:
    assert first_closed(claim, replace(FACTS, human_review=True)) == code


def test_which_types_a_person_signs_is_said_by_the_sink() -> None:
    terms = replace(TERMS, entity_types={"patient": 0.8, "appointment": 0.8}, human_review=frozenset({"appointment"}))
    assert GateFacts.of(terms, "appointment").human_review
    assert not GateFacts.of(terms, "patient").human_review


def chosen(*claims: Claim, atom: str = "gender", conflict: str | None = None, **more: Any) -> Any:
    facts = more.pop("facts", FACTS)
    return choose({atom: Settled(claims[0], claims[1:], conflict)}, TERMS, facts, FIELDS, **more)


def test_an_automated_verdict_does_not_stand_against_a_system_of_record_that_the_sink_does_not_hear() -> None:
    claims = (a_claim("other", system="crm", day=5), voice("male", 0.85, day=3), own("female"))
    choice = chosen(*claims)
    assert (choice.chosen, choice.kept) == ({}, {"gender"})
    assert [w.code for w in choice.withheld] == ["source_not_accepted"]
    human = (claims[0], voice("male", 0.95, day=3), own("female"))
    assert chosen(*human).chosen["gender"].value == "male"
    agreed = (a_claim("male", system="crm", day=5), voice("male", 0.85, day=3))
    assert chosen(*agreed).chosen["gender"].value == "male"


def test_fields_of_others_are_not_written_and_only_our_own_word_is_reported() -> None:
    theirs = chosen(a_claim(), owned={"telecom"})
    assert (theirs.chosen, theirs.withheld) == ({}, ())
    choice = chosen(voice(confidence=0.95), own("female", day=-1), owned={"telecom"})
    assert (choice.chosen, [w.code for w in choice.withheld]) == ({}, ["not_owned"])
    assert chosen(voice("male", 0.95, day=1), own("male"), owned={"telecom"}).withheld == ()
    assert chosen(voice(), own("female", day=-1), owned={"telecom"}).withheld == ()
    assert chosen(a_claim(), owned={"gender"}).chosen["gender"].value == "female"


def test_a_value_that_was_undone_is_left_alone_until_there_is_another() -> None:
    held = {("gender", exact_json.digest("female")): "undone"}
    choice = chosen(a_claim("female", day=1), voice("male", 0.85), held_back=held)
    assert (choice.chosen, [w.code for w in choice.withheld]) == ({}, ["undone"])
    assert chosen(a_claim("other", day=2), a_claim("female"), held_back=held).chosen["gender"].value == "other"


def test_what_is_still_said_is_told_from_what_was_withdrawn() -> None:
    winner, loser = a_claim("other"), voice("male", 0.5)
    assert still_said(Settled(winner, (loser,)), "male")
    assert not still_said(Settled(winner, (voice("male", 0.0),)), "male")
    assert not still_said(Settled(winner, (a_claim("male", echo=True),)), "male")
    assert not still_said(None, "male")


def test_an_ineligible_winner_gives_way_to_the_best_eligible_claim() -> None:
    choice = chosen(voice("male", 0.95, day=3), a_claim("female"))
    assert choice.chosen["gender"].value == "male"
    choice = chosen(a_claim("other", system="crm", day=3), a_claim("female"))
    assert choice.chosen["gender"].value == "female"
    assert [(w.atom, w.code) for w in choice.withheld] == [("gender", "source_not_accepted")]


def test_where_the_sinks_own_word_wins_the_atom_is_left_alone() -> None:
    choice = chosen(own("other", day=5), a_claim("female"))
    assert (choice.chosen, choice.kept, choice.own) == ({}, {"gender"}, {"gender": "other"})


def test_an_older_word_of_the_sink_gives_way() -> None:
    choice = chosen(a_claim("female", day=5), own("other"))
    assert choice.chosen["gender"].value == "female"
    assert choice.differing() == ["gender"]


def test_a_rejected_claim_is_never_chosen() -> None:
    assert chosen(a_claim(system="crm"), voice(confidence=0.0, day=9)).chosen == {}


def test_a_conflict_is_withheld_whole() -> None:
    choice = chosen(a_claim(), voice(confidence=0.85), conflict="automated_verdict_against_authoritative")
    assert (choice.chosen, [w.code for w in choice.withheld]) == ({}, ["conflict"])


def test_an_echo_alone_does_not_keep_a_value_alive() -> None:
    echo = a_claim("female", data_source_id="sink-id", echo=True)
    assert chosen(echo).chosen == {}
    assert chosen(echo, a_claim("female")).differing() == []


def test_fields_that_are_not_written_there_and_our_own_identifier_stay_out() -> None:
    assert chosen(a_claim(), atom="race").chosen == {}
    assert chosen(a_claim({"value": "x"}), atom="identifier[urn:connector-runner:entity|x]").chosen == {}


def test_names_of_atoms_show_no_values() -> None:
    assert public_name("identifier[urn:mrn|12345]") == "identifier[urn:mrn]"
    assert public_name("telecom[phone|home|+16175550101]") == "telecom[phone|home]"
    assert public_name("address[home|3f2a]") == "address[home]"
    assert public_name("birth_date") == "birth_date"


def test_typing_of_a_number_is_no_difference() -> None:
    value = {"system": "phone", "value": "+16175550101"}
    mine = a_claim({**value, "raw": "617-555-0101"}, atom="telecom[phone|]", day=2)
    theirs = own({**value, "raw": "(617) 555 0101"}, atom="telecom[phone|]")
    assert chosen(mine, theirs, atom="telecom[phone|]").differing() == []


@pytest.mark.parametrize(
    ("home", "code"),
    [
        ("voice_agent:Patient:1", None),
        ("ehr:Patient:1", None),
        ("crm:Patient:1", "origin_not_accepted"),
        ("store:Patient:1", "record_not_seen"),
        ("nonsense", None),
    ],
)
def test_where_an_entity_may_be_created(home: str, code: str | None) -> None:
    assert may_create(home, TERMS, {"ehr": "1", "crm": "2", "store": "sink-id"}) == code


def test_the_record_that_we_are_making_is_not_there_yet() -> None:
    records = {"store:Patient:mine": "sink-id", "ehr:Patient:9": "ehr-id"}
    assert record_in("sink-id", records, except_id="mine") is None
    assert record_in("sink-id", records, except_id="another") == "Patient/mine"


def test_a_copy_of_ours_is_no_witness_of_what_its_source_withdrew() -> None:
    copy = a_claim("female", echo=True, day=1)
    assert chosen(copy, voice("male")).chosen == {}
    assert chosen(copy, voice("male"), a_claim("female")).chosen["gender"].value == "female"
