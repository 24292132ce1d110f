"""Which claims may leave for which sink, and which of them is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.connectors.terms import SinkTerms
from connector_runner.outbound.choosing import choose, may_create, public_name, record_in
from connector_runner.outbound.gates import first_closed, verdicts
from connector_runner.world.fold import Claim, Settled

START = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = SinkTerms("sink-id", "store", "fhir_r4", {"patient": 0.8}, accept_from=frozenset({"ehr"}))
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
    return a_claim(value, source="voice_agent", system=None, confidence=confidence, **more)


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
    assert first_closed(claim, TERMS, "patient") == code
    assert set(verdicts(claim, TERMS, "patient")) == {"source_eligibility", "confidence"}


def chosen(*claims: Claim, atom: str = "gender", conflict: str | None = None) -> Any:
    return choose({atom: Settled(claims[0], claims[1:], conflict)}, TERMS, "patient", FIELDS)


def test_an_ineligible_winner_gives_way_to_the_best_eligible_claim() -> None:
    choice = chosen(voice("male", 0.85, day=3), a_claim("female"))
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
    assert may_create(home, {}, TERMS, {"ehr": "1", "crm": "2", "store": "sink-id"}) == code


def test_the_record_that_we_are_making_is_not_there_yet() -> None:
    records = {"store:Patient:mine": "sink-id", "ehr:Patient:9": "ehr-id"}
    assert record_in("sink-id", records, except_id="mine") is None
    assert record_in("sink-id", records, except_id="another") == "Patient/mine"


def test_a_copy_of_ours_is_no_witness_of_what_its_source_withdrew() -> None:
    copy = a_claim("female", echo=True, day=1)
    assert chosen(copy, voice("male")).chosen == {}
    assert chosen(copy, voice("male"), a_claim("female")).chosen["gender"].value == "female"
