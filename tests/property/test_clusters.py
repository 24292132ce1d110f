"""Clusters are a pure function of the evidence of pairs: no order, no chains, no veto passed over."""

from __future__ import annotations

import random
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.resolution.clusters import Pair, clusters, pair

RECORDS = [f"r{number}" for number in range(7)]
PAIRS = list(combinations(RECORDS, 2))
SCORES = st.sampled_from([-20.0, -3.0, 0.5, 2.0, 3.5, 4.0, 4.0, 9.0, 30.0])
EVIDENCE = st.dictionaries(st.sampled_from(PAIRS), SCORES)
SOME = st.frozensets(st.sampled_from(PAIRS), max_size=3)


@given(EVIDENCE, SOME, SOME, st.randoms(use_true_random=False))
def test_any_order_of_evidence_gives_the_same_clusters(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair], chance: random.Random
) -> None:
    shuffled = list(bits.items())
    chance.shuffle(shuffled)
    records = list(RECORDS)
    chance.shuffle(records)
    expected = clusters(RECORDS, bits, threshold=3.5, must=must, never=never)
    assert clusters(records, dict(shuffled), threshold=3.5, must=must, never=never) == expected


@given(EVIDENCE, SOME, SOME)
def test_no_cluster_holds_a_pair_that_may_never_be(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair]
) -> None:
    found = clusters(RECORDS, bits, threshold=3.5, must=must, never=never)
    assert not [two for two in never if found.of[two[0]] == found.of[two[1]]]


@given(EVIDENCE)
def test_components_apart_do_not_touch_one_another(bits: dict[Pair, float]) -> None:
    whole = clusters(RECORDS, bits, threshold=3.5)
    far = {("x1", "x2"): 9.0, ("x2", "x3"): 9.0}
    more = clusters([*RECORDS, "x1", "x2", "x3"], bits | far, threshold=3.5)
    assert {record: more.of[record] for record in RECORDS} == whole.of


@given(EVIDENCE, st.sampled_from(PAIRS))
def test_taking_a_link_back_is_as_if_it_had_never_been(bits: dict[Pair, float], reverted: Pair) -> None:
    without = clusters(RECORDS, {**bits, reverted: -20.0}, threshold=3.5, never=frozenset({reverted}))
    assert without.of[reverted[0]] != without.of[reverted[1]]
    assert clusters(RECORDS, bits, threshold=3.5) == clusters(RECORDS, dict(bits), threshold=3.5)


def test_no_chain_joins_two_that_speak_against_each_other() -> None:
    """A is like B and B like C, but A and C contradict one another: the better link holds, the other is refused."""
    found = clusters("abc", {("a", "b"): 6.0, ("b", "c"): 5.0, ("a", "c"): -20.0}, threshold=3.5)
    assert found.of == {"a": "a", "b": "a", "c": "c"}
    assert found.refused == (("b", "c"),)


def test_two_weak_doubts_do_not_part_what_strong_evidence_joins() -> None:
    found = clusters("abc", {("a", "b"): 9.0, ("b", "c"): 9.0, ("a", "c"): -1.0}, threshold=3.5)
    assert set(found.of.values()) == {"a"}


def test_a_person_outranks_the_rules() -> None:
    joined = clusters("ab", {("a", "b"): -20.0}, threshold=3.5, must=frozenset({("a", "b")}))
    apart = clusters("ab", {("a", "b"): 30.0}, threshold=3.5, never=frozenset({("a", "b")}))
    assert (joined.of["b"], apart.of["b"]) == ("a", "b")
    assert pair("b", "a") == ("a", "b")
