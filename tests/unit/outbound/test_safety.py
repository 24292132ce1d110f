"""Safe to replay: yes or no, and why, for each way in which a lane can stand."""

from __future__ import annotations

import pytest

from connector_runner.outbound.lanes.lane import State
from connector_runner.outbound.operating.safety import Standing, replay_safety


@pytest.mark.parametrize(
    ("lane", "safe", "code"),
    [
        (None, True, "nothing_sent"),
        (Standing(State.IDLE, "landed", written=True, has_record=True), True, "compared"),
        (Standing(State.WAITING, "dependency"), True, "same_identity"),
        (Standing(State.READY, has_record=True), True, "compared"),
        (Standing(State.LEASED), False, "under_way"),
        (Standing(State.LEASED, open_intent=True), False, "under_way"),
        (Standing(State.UNKNOWN, "unknown", open_intent=True), True, "read_back"),
        (Standing(State.PAUSED, "auth", open_intent=True), True, "read_back"),
        (Standing(State.QUARANTINED, "http_422"), True, "not_landed"),
        (Standing(State.QUARANTINED, "attempts", open_intent=True), True, "read_back"),
        (Standing(State.QUARANTINED, "multiple_matches"), False, "multiple_matches"),
        (Standing(State.QUARANTINED, "possible_duplicate"), False, "possible_duplicate"),
        (Standing(State.QUARANTINED, "missing_in_sink", written=True), False, "missing_in_sink"),
        (Standing(State.QUARANTINED, "http_410_gone"), False, "missing_in_sink"),
        (Standing(State.IDLE, "undone", written=True, holds_back=True), False, "undone"),
        (Standing(State.READY, undo_asked=True, holds_back=True), False, "undo_first"),
        (Standing(State.READY, at_least_once=True), False, "possible_duplicates"),
        (Standing(State.IDLE, "landed", at_least_once=True, written=True, has_record=True), True, "compared"),
    ],
)
def test_each_standing_has_its_answer(lane: Standing | None, safe: bool, code: str) -> None:
    answer = replay_safety(lane)
    assert (answer.safe, answer.code) == (safe, code)
    assert answer.because
