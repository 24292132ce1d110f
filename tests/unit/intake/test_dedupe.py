"""What is new: the counterexamples that break comparing with any known, or only by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.intake.content import content_hash
from connector_runner.intake.dedupe import DELETED_HASH, Known, Novelty, Place, Sighting, place
from connector_runner.kernel import exact_json

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def day(n: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)


def arrive(*sightings: Sighting, numeric: bool = False) -> list[Place]:
    """Where each lands, each remembered unless it brought nothing."""
    history: list[Known] = []
    places = []
    for s in sightings:
        where = place(s, history, numeric_versions=numeric)
        places.append(where)
        if where.novelty is not Novelty.NOTHING:
            history.append(
                Known(where.n, s.version, s.last_updated, where.era, where.order_at, where.order_version,
                      s.content_hash, s.deleted, s.direct, where.out_of_order, s.batch_id, None)
            )  # fmt: skip
    return places


def novelties(*sightings: Sighting, numeric: bool = False) -> list[str]:
    return [where.novelty.value for where in arrive(*sightings, numeric=numeric)]


def undated(content: bytes, batch: str | None = None) -> Sighting:
    return Sighting(content, None, None, batch_id=batch)


def dated(content: bytes, n: int, **more: Any) -> Sighting:
    return Sighting(content, None, day(n), **more)


def test_the_same_again_is_nothing() -> None:
    assert novelties(undated(A), undated(A)) == ["content", "nothing"]


def test_a_record_that_went_back_is_three_events() -> None:
    assert novelties(undated(A), undated(B), undated(A)) == ["content"] * 3
    assert novelties(dated(A, 1), dated(B, 2), dated(A, 3)) == ["content"] * 3


def test_a_new_stamp_on_the_same_content_is_no_event() -> None:
    assert novelties(dated(A, 1), dated(A, 2), dated(A, 2)) == ["content", "stamp", "nothing"]


def test_a_known_version_that_comes_again_late_is_nothing() -> None:
    assert novelties(dated(A, 1), dated(B, 2), dated(A, 1)) == ["content", "content", "nothing"]


def test_an_older_version_that_arrives_late_is_stored_out_of_order() -> None:
    late = arrive(dated(B, 2), dated(A, 1))[1]
    assert (late.novelty, late.out_of_order) == (Novelty.CONTENT, True)


def test_a_tie_with_other_content_is_the_newer() -> None:
    second = arrive(dated(A, 1), dated(B, 1))[1]
    assert (second.novelty, second.out_of_order) == (Novelty.CONTENT, False)


def test_a_record_that_went_back_under_one_stamp_is_three_events() -> None:
    """Stamps of a day, and no version: what is read now is what is so now."""
    assert novelties(dated(A, 1), dated(B, 1), dated(A, 1), dated(A, 1)) == ["content"] * 3 + ["nothing"]


def test_a_version_that_is_known_says_nothing_under_the_stamp_of_the_next() -> None:
    first, second = Sighting(A, "1", day(1)), Sighting(B, "2", day(1))
    assert novelties(first, second, first) == ["content", "content", "nothing"]


def test_a_file_that_holds_a_record_twice_under_one_stamp_says_nothing_the_second_time() -> None:
    first = [dated(A, 1, batch_id="i1"), dated(B, 1, batch_id="i1")]
    again = [dated(A, 1, batch_id="i2"), dated(B, 1, batch_id="i2")]
    assert novelties(*first, *again) == ["content", "content", "nothing", "nothing"]


def test_what_has_no_stamp_comes_after_what_has() -> None:
    second = arrive(dated(A, 1), undated(B))[1]
    assert (second.novelty, second.out_of_order, second.order_at) == (Novelty.CONTENT, False, day(1))


def test_versions_order_only_where_declared_numeric() -> None:
    ten, nine = Sighting(A, "10", day(1)), Sighting(B, "9", day(2))
    assert arrive(ten, nine)[1].out_of_order is False
    assert arrive(ten, nine, numeric=True)[1].out_of_order is True


def test_files_that_hold_one_record_twice_say_nothing_new_the_second_time() -> None:
    first, again = [undated(A, "i1"), undated(B, "i1")], [undated(A, "i2"), undated(B, "i2")]
    assert novelties(*first, *again) == ["content", "content", "nothing", "nothing"]


def test_three_imports_that_go_there_and_back_are_three_events() -> None:
    assert novelties(undated(A, "i1"), undated(B, "i2"), undated(A, "i3")) == ["content"] * 3


def test_an_older_direct_read_is_noted_once_and_believed_twice_in_a_row() -> None:
    places = arrive(dated(A, 1), dated(B, 2), dated(A, 1, direct=True), dated(A, 1, direct=True))
    assert [where.novelty.value for where in places] == ["content", "content", "stamp", "rollback"]
    assert (places[2].out_of_order, places[3].era, places[3].out_of_order) == (True, 1, False)


def test_a_delete_of_what_was_never_seen_is_nothing() -> None:
    assert novelties(Sighting(C, None, None, deleted=True)) == ["nothing"]


def test_a_delete_counts_once_and_a_return_is_new() -> None:
    gone = Sighting(C, None, None, deleted=True)
    assert novelties(undated(A), gone, gone, undated(A)) == ["content", "content", "nothing", "content"]


@pytest.mark.parametrize(
    "change",
    [
        {"meta": {"versionId": "2", "lastUpdated": "2026-01-02T00:00:00Z"}},
        {"meta": {"versionId": "3"}, "text": {"status": "generated", "div": "<div/>"}},
    ],
)
def test_stamps_and_generated_narrative_are_not_content(change: dict[str, Any]) -> None:
    plain = {"resourceType": "Patient", "id": "1"}
    assert content_hash(plain | change) == content_hash(plain)


@pytest.mark.parametrize(
    "change",
    [
        {"meta": {"security": [{"code": "R"}]}},
        {"extension": [{"url": "urn:x", "valueString": "y"}]},
        {"text": {"status": "additional", "div": "<div>allergic</div>"}},
    ],
)
def test_security_extensions_and_written_narrative_are_content(change: dict[str, Any]) -> None:
    plain = {"resourceType": "Patient", "id": "1"}
    assert content_hash(plain | change) != content_hash(plain)


def test_a_number_token_is_content() -> None:
    one, two = (exact_json.loads(f'{{"dose": {token}}}') for token in ("1.0", "1.00"))
    assert content_hash(one) != content_hash(two)


MISSING = Sighting(DELETED_HASH, None, None, deleted=True)


def test_what_was_found_missing_and_shows_again_as_it_was_is_news_once() -> None:
    assert novelties(dated(A, 1), MISSING, dated(A, 1), dated(A, 1)) == ["content", "content", "content", "nothing"]


def test_a_file_brings_nothing_back_that_was_found_missing() -> None:
    assert novelties(dated(A, 1), MISSING, dated(A, 1, batch_id="f")) == ["content", "content", "nothing"]


def test_an_older_version_does_not_bring_a_missing_record_back() -> None:
    places = arrive(dated(A, 1), dated(B, 2), MISSING, dated(A, 1), dated(A, 1))
    assert [where.novelty.value for where in places] == ["content", "content", "content", "nothing", "nothing"]


def test_a_delete_counts_where_versions_are_numbers() -> None:
    assert not arrive(Sighting(A, "5", day(1)), MISSING, numeric=True)[-1].out_of_order


def test_a_version_too_long_for_a_number_is_no_number() -> None:
    assert arrive(Sighting(A, "9" * 30, day(1)), numeric=True)[0].order_version is None
