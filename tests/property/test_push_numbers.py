"""Event numbers of a subscription: delivered twice, in any order, or not at all, every missing one shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.intake.push.numbers import MOST_AHEAD, Numbers


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n), max_size=80))))
def test_what_is_known_is_what_was_heard(case: tuple[int, list[int]]) -> None:
    total, heard = case
    numbers = Numbers()
    for one in heard:
        numbers = numbers.heard("event", [one], None, ours=True)
    numbers = numbers.heard("heartbeat", [], total, ours=True)
    missing = sorted(set(range(1, total + 1)) - set(heard))
    assert numbers.highest == total
    assert numbers.contiguous == (missing[0] - 1 if missing else total)
    assert numbers.gap == bool(missing)
    assert numbers.ahead == {n for n in heard if missing and n > missing[0]}


@given(st.permutations(list(range(1, 30))))
def test_the_order_does_not_matter(order: list[int]) -> None:
    numbers = Numbers()
    for one in order:
        numbers = numbers.heard("event", [one], max(order), ours=True)
    assert (numbers.contiguous, numbers.ahead, numbers.gap) == (29, frozenset(), False)


def test_the_first_event_of_our_own_is_number_one() -> None:
    assert Numbers().heard("event", [2], None, ours=True).gap
    assert not Numbers().heard("event", [2], None, ours=False).gap, "one that was there before us began earlier"
    assert not Numbers().heard("heartbeat", [], 7, ours=False).gap


def test_a_handshake_with_fewer_events_begins_anew() -> None:
    numbers = Numbers().heard("event", [1, 2, 3], 3, ours=True)
    again = numbers.heard("handshake", [], 0, ours=True)
    assert (again.highest, again.contiguous, again.restarts) == (0, 0, 1)
    assert numbers.heard("event", [1], 1, ours=True) == numbers, "a late repeat is no restart"


def test_what_was_caught_up_with_is_known() -> None:
    numbers = Numbers().heard("event", [5], None, ours=True).caught_up()
    assert (numbers.contiguous, numbers.gap) == (5, False)


def test_no_more_numbers_are_kept_than_are_of_use() -> None:
    numbers = Numbers().heard("event", range(2, 5000), None, ours=True)
    assert len(numbers.ahead) == MOST_AHEAD
    assert numbers.gap
