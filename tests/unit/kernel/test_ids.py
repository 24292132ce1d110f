"""Ids of events: one at a time and many at once."""

from __future__ import annotations

import uuid
from itertools import islice

from connector_runner.kernel.ids import is_uuid, new_id, new_ids


def test_ids_made_together_rise_and_are_of_version_7() -> None:
    made = list(islice(new_ids(), 5000))
    assert made == sorted(set(made))
    assert len(made) == 5000
    parsed = [uuid.UUID(text) for text in made]
    assert all(is_uuid(text) for text in made)
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert {one.int >> 80 for one in parsed} == {parsed[0].int >> 80}


def test_two_draws_share_no_id() -> None:
    assert not set(islice(new_ids(), 1000)) & {*islice(new_ids(), 1000), new_id()}


def test_ids_made_together_are_of_the_time_they_were_made_in() -> None:
    before = uuid.UUID(new_id()).int >> 80
    one = uuid.UUID(next(new_ids())).int >> 80
    assert before <= one <= uuid.UUID(new_id()).int >> 80
