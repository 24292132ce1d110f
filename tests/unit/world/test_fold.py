"""The laws of the fold, each with the case that a naive fold gets wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import EARLIEST
from connector_runner.world.events import RecordVersion, SentValue, StoredEvent
from connector_runner.world.fold import fold

T0 = datetime(2026, 1, 1, tzinfo=UTC)
_serial = count(1)


def at(days: float) -> datetime:
    return T0 + timedelta(days=days)


def an_event(facts: dict[str, Any], *, day: float = 0, confidence: float = 1.0, **more: Any) -> StoredEvent:
    return StoredEvent(
        **{
            "id": f"e{next(_serial):04}",
            "entity_id": "E",
            "entity_type": "patient",
            "event_type": "patient.updated",
            "facts": facts,
            "snapshot": False,
            "source": "voice_agent",
            "source_system": None,
            "data_source_id": None,
            "record_id": None,
            "record_key": None,
            "mapping_version": None,
            "confidence": confidence,
            "supersedes": None,
            "effective_at": None,
            "as_of": None,
            "ingested_at": at(day),
            "actor": None,
            **more,
        }
    )


def a_version(
    event: StoredEvent | None,
    n: int,
    updated: float | None,
    *,
    record: str = "R",
    seen: float = 100,
    **more: Any,
) -> RecordVersion:
    moment = None if updated is None else at(updated)
    return RecordVersion(
        record_id=record,
        n=n,
        entity_id="E",
        data_source_id="S",
        content_hash=b"",
        order_at=moment or EARLIEST,
        seen_at=at(seen),
        event_id=None if event is None else event.id,
        last_updated=moment,
        **more,
    )


def a_record(
    *contents: tuple[float | None, dict[str, Any]], record: str = "R"
) -> tuple[list[StoredEvent], list[RecordVersion]]:
    """A source record's history: (day of lastUpdated, facts) in the order of arrival."""
    events, versions = [], []
    for n, (day, facts) in enumerate(contents, 1):
        event = an_event(facts, snapshot=True, record_id=record, record_key=f"ehr:Patient:{record}",
                         source="connector_runner", source_system="ehr", day=100)  # fmt: skip
        events.append(event)
        versions.append(a_version(event, n, day, record=record))
    return events, versions


def phone(value: str, use: str = "home") -> dict[str, Any]:
    return {"system": "phone", "use": use, "value": value}


def a_verdict(about: StoredEvent, confidence: float, kind: str, *, day: float = 50, **more: Any) -> StoredEvent:
    return an_event(
        {"about": about.id, "kind": kind, **more}, event_type="review.approved", source="review",
        confidence=confidence, day=day,
    )  # fmt: skip


def test_a_dropped_telecom_is_withdrawn() -> None:
    events, versions = a_record((1, {"telecom": [phone("1"), phone("2", "work")]}), (2, {"telecom": [phone("1")]}))
    assert fold(events, versions).state == {"telecom": [phone("1")]}


def test_withdrawal_takes_back_only_what_that_record_said() -> None:
    events, versions = a_record((1, {"language": "es", "gender": "female"}), (2, {"gender": "female"}))
    voice = an_event({"language": "fr"}, confidence=0.5)
    assert fold([*events, voice], versions).state == {"gender": "female", "language": "fr"}


def test_a_partial_event_is_silent_on_what_it_omits() -> None:
    first, second = an_event({"language": "es", "gender": "male"}), an_event({"gender": "female"}, day=1)
    assert fold([first, second], []).state == {"language": "es", "gender": "female"}


def test_an_old_copy_that_is_sent_again_does_not_beat_a_newer_verified_capture() -> None:
    events, versions = a_record((1, {"telecom": [phone("old")], "active": True}))
    again, moved = a_record((40, {"telecom": [phone("old")], "active": False}))
    moved = [a_version(again[0], 2, 40)]
    voice = an_event({"telecom": [phone("new")]}, day=20, confidence=0.85)
    state = fold([*events, *again, voice], [*versions, *moved]).state
    assert state == {"telecom": [phone("new")], "active": False}


def test_a_newer_phone_of_the_ehr_beats_an_older_verified_one() -> None:
    events, versions = a_record((1, {"telecom": [phone("a")]}), (30, {"telecom": [phone("b")]}))
    voice = an_event({"telecom": [phone("c")]}, day=20, confidence=0.85)
    assert fold([*events, voice], versions).state == {"telecom": [phone("b")]}


def test_a_higher_class_beats_a_later_word() -> None:
    events, versions = a_record((1, {"gender": "female"}))
    voice = an_event({"gender": "male"}, day=90, confidence=0.5)
    settled = fold([*events, voice], versions).atoms["gender"]
    assert (settled.winner.value, [claim.value for claim in settled.losers]) == ("female", ["male"])


def test_a_record_that_went_back_holds_its_value_since_it_went_back() -> None:
    events, versions = a_record((1, {"gender": "a"}), (2, {"gender": "b"}), (3, {"gender": "a"}))
    winner = fold(events, versions).atoms["gender"].winner
    assert (winner.value, winner.since) == ("a", at(3))


def test_a_late_older_version_changes_no_state_and_can_only_lengthen_a_run() -> None:
    events, versions = a_record((5, {"gender": "a"}), (1, {"gender": "a", "language": "x"}))
    winner = fold(events, versions).atoms["gender"].winner
    assert fold(events, versions).state == {"gender": "a"}
    assert winner.since == at(1)


def test_a_repeat_under_an_old_content_is_placed_by_its_stamp_not_by_its_event() -> None:
    """A at 1, A again at 3 (no event of its own), then B of 2 arrives late: the state is A."""
    events, versions = a_record((1, {"gender": "a"}))
    late, _ = a_record((2, {"gender": "b"}))
    history = [*versions, a_version(events[0], 2, 3), a_version(late[0], 3, 2)]
    assert fold([*events, *late], history).state == {"gender": "a"}


def test_without_a_source_clock_a_value_loses_to_any_dated_one_of_its_class() -> None:
    undated, versions = a_record((None, {"gender": "old"}))
    voice = an_event({"gender": "new"}, day=-400, confidence=0.85)
    assert fold([*undated, voice], versions).state == {"gender": "new"}


def test_a_clock_that_runs_ahead_counts_as_the_time_of_ingestion() -> None:
    events, versions = a_record((9_000, {"gender": "a"}))
    assert fold(events, versions).atoms["gender"].winner.since == at(100)


def test_a_rejected_value_holds_nothing() -> None:
    voice = an_event({"gender": "a", "language": "x"}, confidence=0.5)
    verdict = a_verdict(voice, 0.0, "human", fields=["gender"])
    assert fold([voice, verdict], []).state == {"language": "x"}


def test_a_human_verdict_outranks_a_later_automated_one() -> None:
    voice = an_event({"gender": "a"}, confidence=0.5)
    human, automated = a_verdict(voice, 0.0, "human", day=1), a_verdict(voice, 0.85, "automated", day=2)
    assert fold([voice, human, automated], []).state == {}
    assert fold([automated, human, voice], []).state == {}


def test_an_automated_verdict_never_overrides_an_authoritative_safety_field() -> None:
    events, versions = a_record((1, {"birth_date": "1980-01-01", "language": "en"}))
    voice = an_event({"birth_date": "1981-01-01", "language": "es"}, day=20, confidence=0.5)
    folded = fold([*events, voice, a_verdict(voice, 0.85, "automated")], versions)
    assert folded.state == {"birth_date": "1980-01-01", "language": "es"}
    assert folded.atoms["birth_date"].conflict == "automated_verdict_against_authoritative"


def test_a_human_verdict_may_override_an_authoritative_safety_field() -> None:
    events, versions = a_record((1, {"birth_date": "1980-01-01"}))
    voice = an_event({"birth_date": "1981-01-01"}, day=20, confidence=0.5)
    assert fold([*events, voice, a_verdict(voice, 0.95, "human")], versions).state == {"birth_date": "1981-01-01"}


def test_an_atom_is_written_whole() -> None:
    """A name's parts never mix: one source's given name beside another's family name is nobody's name."""
    events, versions = a_record((1, {"name": {"family": "Okafor", "given": ["Ada"]}}))
    voice = an_event({"name": {"given": ["Adaeze"]}}, day=20, confidence=0.85)
    assert fold([*events, voice], versions).state == {"name": {"given": ["Adaeze"]}}


def test_an_echo_keeps_the_confidence_origin_and_time_of_its_cause() -> None:
    voice = an_event({"telecom": [phone("new")]}, day=20, confidence=0.85)
    events, versions = a_record((1, {"telecom": [phone("old")]}), (25, {"telecom": [phone("new")]}))
    sent = sent_back(voice, "telecom[phone|home]", phone("new"), day=22)
    with_echo = fold([*events, voice], versions, [sent]).atoms["telecom[phone|home]"].winner
    assert (with_echo.event_id, with_echo.confidence, with_echo.since) == (voice.id, 0.85, at(20))
    without = fold([*events, voice], versions).atoms["telecom[phone|home]"].winner
    assert without.confidence == 1.0, "unrecognised, the echo would have laundered 0.85 into 1.0"


def test_a_value_set_again_after_another_is_the_records_own_word() -> None:
    voice = an_event({"gender": "a"}, day=1, confidence=0.85)
    events, versions = a_record((5, {"gender": "a"}), (6, {"gender": "b"}), (7, {"gender": "a"}))
    winner = fold([*events, voice], versions, [sent_back(voice, "gender", "a", day=4)]).atoms["gender"].winner
    assert (winner.confidence, winner.since, winner.echo) == (1.0, at(7), False)


def test_the_records_own_word_put_back_by_us_is_as_old_as_it_was_and_no_copy() -> None:
    """We wrote over it and undid that: the record said nothing anew, so a newer one wins, and it still counts."""
    voice = an_event({"gender": "ours"}, day=20, confidence=0.85)
    events, versions = a_record((1, {"gender": "theirs"}), (25, {"gender": "ours"}), (30, {"gender": "theirs"}))
    restored = SentValue("R", "gender", exact_json.digest("theirs"), events[0].id, "connector_runner", "ehr", 1.0,
                         at(1), at(101))  # fmt: skip
    settled = fold([*events, voice], versions, [restored]).atoms["gender"]
    assert (settled.winner.value, settled.losers[0].value) == ("ours", "theirs")
    assert (settled.losers[0].since, settled.losers[0].echo) == (at(1), False)
    assert fold(events, versions, [restored]).state == {"gender": "theirs"}
    naive = fold([*events, voice], versions).atoms["gender"].winner
    assert naive.value == "theirs", "unrecognised, our own undo would count as their word"


def test_a_record_that_was_lent_a_word_thousands_of_times_says_its_own_again() -> None:
    """Years of a member's words were sent there, one over the other, and each was read back."""
    days = range(1, 3001)
    events, _ = a_record((0, {"gender": "own"}), *((day, {"gender": f"lent {day}"}) for day in days))
    versions = [a_version(event, n, n, seen=n + 0.5) for n, event in enumerate(events)]
    sent = [
        SentValue("R", "gender", exact_json.digest(f"lent {day}"), f"of another {day}", "manual", None, 1.0, at(day),
                  at(day))
        for day in days
    ]  # fmt: skip
    winner = fold(events, versions, sent).atoms["gender"].winner
    assert (winner.value, winner.since) == ("own", at(0))


def sent_back(cause: StoredEvent, atom: str, value: Any, *, day: float) -> SentValue:
    return SentValue("R", atom, exact_json.digest(value), cause.id, cause.source, None, cause.confidence,
                     cause.ingested_at, at(day))  # fmt: skip


def test_a_superseded_event_says_nothing() -> None:
    first = an_event({"gender": "a", "language": "x"})
    second = an_event({"gender": "b"}, supersedes=first.id)
    assert fold([first, second], []).state == {"gender": "b"}


def test_a_deleted_record_says_nothing_and_marks_its_entity() -> None:
    events, versions = a_record((1, {"gender": "a"}))
    gone = a_version(None, 2, 2, deleted=True)
    folded = fold(events, [*versions, gone])
    assert (folded.state, folded.status) == ({}, "deleted")


def test_a_record_that_reappears_counts_again() -> None:
    events, versions = a_record((1, {"gender": "a"}), (3, {"gender": "b"}))
    gone = a_version(None, 3, 2, deleted=True)
    folded = fold(events, [*versions, gone])
    assert (folded.state, folded.status) == ({"gender": "b"}, "active")


def test_identifiers_of_two_records_stand_side_by_side() -> None:
    ehr, versions = a_record((1, {"identifier": [{"system": "urn:a", "value": "1"}]}))
    crm, more = a_record((2, {"identifier": [{"system": "urn:b", "value": "2"}]}), record="Q")
    state = fold([*ehr, *crm], [*versions, *more]).state
    assert state == {"identifier": [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}]}


def test_a_copy_of_ours_does_not_outlive_what_it_copied() -> None:
    """The EHR drops a phone; our copy in another system still has it until that is written, and says nothing."""
    ehr, versions = a_record((1, {"telecom": [phone("1")], "active": True}), (9, {"active": True}))
    copy, more = a_record((2, {"telecom": [phone("1")]}), record="COPY")
    sent = SentValue("COPY", "telecom[phone|home]", exact_json.digest(phone("1")), ehr[0].id, "connector_runner",
                     "ehr", 1.0, at(1), at(2))  # fmt: skip
    assert fold([*ehr, *copy], [*versions, *more], [sent]).state == {"active": True}
    assert "telecom" in fold([*ehr, *copy], [*versions, *more]).state, "without the rule the copy keeps it alive"


def test_a_copy_of_ours_does_not_keep_a_deleted_entity_alive() -> None:
    own, versions = a_record((1, {"gender": "a"}), record="E")
    copy, more = a_record((2, {"gender": "a"}), record="COPY")
    gone = a_version(None, 2, 5, record="E", deleted=True)
    assert fold([*own, *copy], [*versions, gone, *more]).status == "deleted"


def test_a_correction_replaces_what_it_corrects() -> None:
    said = an_event({"gender": "male", "language": "es"}, confidence=0.5)
    corrected = an_event({"gender": "female"}, day=1, confidence=0.5, supersedes=said.id)
    assert fold([said, corrected], ()).state == {"gender": "female"}


def test_a_rejected_correction_replaces_nothing() -> None:
    said = an_event({"gender": "male", "language": "es"}, confidence=0.5)
    corrected = an_event({"gender": "female"}, day=1, confidence=0.5, supersedes=said.id)
    rejected = a_verdict(corrected, 0.0, "human", day=2)
    assert fold([said, corrected, rejected], ()).state == {"gender": "male", "language": "es"}


def test_a_doubtful_word_does_not_replace_one_that_a_person_stands_by() -> None:
    said = an_event({"language": "es"}, confidence=0.5)
    approved = a_verdict(said, 0.95, "human", day=1)
    doubtful = an_event({"gender": "female"}, day=2, confidence=0.3, supersedes=said.id)
    assert fold([said, approved, doubtful], ()).state == {"language": "es", "gender": "female"}


def test_a_list_that_somebody_said_as_a_text_does_not_break_the_fold() -> None:
    right = an_event({"telecom": [{"system": "phone", "use": "home", "value": "+16175550101"}]})
    wrong = an_event({"telecom": "617-555-0199"}, day=1, confidence=0.5)
    assert fold([right, wrong], ()).state["telecom"] == right.facts["telecom"]


def test_a_record_that_was_replaced_says_of_itself_alone_that_it_is_out_of_use() -> None:
    link = [{"other": {"ref": "ehr:Patient:2"}, "type": "replaced-by"}]
    gone = an_event({"active": False, "link": link}, day=2, entity_id="A")
    there = an_event({"birth_date": "1982-03-04"}, entity_id="B")
    both = fold([gone, there], [])
    assert "active" not in both.state
    assert both.replaced == {"A"}
    assert fold([gone], []).state["active"] is False
    left = an_event({"active": False}, day=2, entity_id="A")
    assert fold([left, there], []).state["active"] is False, "who left the practice did so under every record"


def merged(word: str, *, day: int) -> list[StoredEvent]:
    """One chart of a system in place of another, by the word of either; the old one is as of ``day``."""
    old, kept = "ehr:Patient:1", "ehr:Patient:2"
    link = [{"other": {"ref": kept if word == "replaced-by" else old}, "type": word}]
    nobody = {"name": {"family": "Doe", "given": ["John"]}, "gender": "male", "active": False}
    ada = {"name": {"family": "Okafor", "given": ["Ada"]}, "birth_date": "1982-03-04"}
    source = {"source": "ehr", "data_source_id": "1", "snapshot": False}
    gone = an_event(nobody | ({"link": link} if word == "replaced-by" else {}), day=day, entity_id="A",
                    record_id="A", record_key=old, **source)  # fmt: skip
    there = an_event(ada | ({"link": link} if word == "replaces" else {}), day=1, entity_id="B",
                     record_id="B", record_key=kept, **source)  # fmt: skip
    return [gone, there]


@pytest.mark.parametrize("word", ["replaced-by", "replaces"])
def test_a_record_that_was_replaced_says_only_what_the_one_in_its_place_does_not(word: str) -> None:
    """John Doe was merged into Ada's chart: whatever is younger, her name is hers, and she is there."""
    both = fold(merged(word, day=5), [])
    assert both.replaced == {"A"}
    assert both.state["name"]["family"] == "Okafor"
    assert "active" not in both.state
    assert both.state["gender"] == "male", "her chart says nothing of it"


def test_a_rejected_word_of_the_one_in_its_place_silences_nobody() -> None:
    gone, there = merged("replaced-by", day=5)
    rejected = a_verdict(there, 0.0, "human", fields=["name"])
    assert fold([gone, there, rejected], []).state["name"]["family"] == "Doe", "else nobody says a name any more"


def test_a_rejected_link_replaces_nothing() -> None:
    gone, there = merged("replaced-by", day=5)
    both = fold([gone, there, a_verdict(gone, 0.0, "human", fields=["link"])], [])
    assert both.replaced == frozenset()
    assert both.state["name"]["family"] == "Doe", "it is the younger"


def test_what_a_person_stands_by_counts_though_its_record_was_replaced() -> None:
    gone, there = merged("replaced-by", day=5)
    approved = a_verdict(gone, 0.95, "human", fields=["name"])
    assert fold([gone, there, approved], []).state["name"]["family"] == "Doe"


def test_a_record_of_another_system_is_not_replaced_along_with_its_entitys_own() -> None:
    """The entity has adopted a record of the CRM, which has another one of the person as well."""
    gone, there = merged("replaced-by", day=5)
    crm = {"source": "crm", "data_source_id": "2", "snapshot": False}
    adopted = an_event({"birth_date": "1982-03-05"}, day=9, entity_id="A", record_id="C", record_key="crm:c:1", **crm)
    other = an_event({"birth_date": "1890-01-01"}, day=2, entity_id="D", record_id="D", record_key="crm:c:2", **crm)
    assert fold([gone, there, adopted, other], []).state["birth_date"] == "1982-03-05"


def test_only_one_in_its_place_that_is_there_replaces_a_record() -> None:
    gone, _ = merged("replaced-by", day=5)
    third = an_event({"name": {"family": "Obi", "given": ["Ada"]}}, day=1, entity_id="F", record_id="F",
                     record_key="ehr:Patient:3", source="ehr", data_source_id="1")  # fmt: skip
    assert fold([gone, third], []).state["name"]["family"] == "Doe"


def test_another_systems_word_stands_against_a_record_that_was_replaced() -> None:
    crm = an_event({"name": {"family": "Obi", "given": ["Ada"]}}, day=0, source="crm", data_source_id="2",
                   record_id="C", record_key="crm:contact:1", snapshot=False)  # fmt: skip
    alone = [merged("replaced-by", day=5)[0], crm]
    assert fold(alone, []).state["name"]["family"] == "Doe", "nobody of its own system says otherwise"
