"""Clusters are a pure function of the evidence of pairs: no order, no chains, no veto passed over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.resolution.clusters import APART, UNSEEN, Pair, clusters, pair
from connector_runner.resolution.grouping import Weighed, group
from connector_runner.resolution.guards import ONLY_PHONE

RECORDS = [f"r{number}" for number in range(8)]
PAIRS = list(combinations(RECORDS, 2))
THRESHOLD = 3.5
KEPT_FROM = 0.0
SCORES = st.sampled_from([APART, -20.0, -8.0, -3.0, -0.5, 0.5, 2.0, 3.5, 4.0, 4.0, 9.0, 30.0])
EVIDENCE = st.dictionaries(st.sampled_from(PAIRS), SCORES)
ALL_EVIDENCE = st.fixed_dictionaries(dict.fromkeys(PAIRS, SCORES))
SOME = st.frozensets(st.sampled_from(PAIRS), max_size=3)
CHANCE = st.randoms(use_true_random=False)


def vetoes(bits: dict[Pair, float]) -> frozenset[Pair]:
    return frozenset(two for two, score in bits.items() if score == APART)


def clipped(score: float) -> float:
    return max(-8.0, min(12.0, score))


@given(EVIDENCE, SOME, SOME, CHANCE)
def test_any_order_of_evidence_gives_the_same_clusters(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair], chance: random.Random
) -> None:
    shuffled = list(bits.items())
    chance.shuffle(shuffled)
    records = list(RECORDS)
    chance.shuffle(records)
    expected = clusters(RECORDS, bits, threshold=THRESHOLD, must=must, never=never)
    assert clusters(records, dict(shuffled), threshold=THRESHOLD, must=must, never=never) == expected


@given(EVIDENCE, SOME, SOME)
def test_no_cluster_holds_a_pair_that_may_never_be(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair]
) -> None:
    found = clusters(RECORDS, bits, threshold=THRESHOLD, must=must, never=never)
    assert not [two for two in never | vetoes(bits) if found.of[two[0]] == found.of[two[1]]]


@given(ALL_EVIDENCE, SOME, SOME, CHANCE)
def test_evidence_that_is_not_kept_tells_all_the_same(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair], chance: random.Random
) -> None:
    """Whether a pair's evidence was kept or is weighed when it is needed: what links nobody parts people either way."""
    kept = {two: score for two, score in bits.items() if score >= KEPT_FROM or chance.random() < 0.3}
    whole = clusters(RECORDS, bits, threshold=THRESHOLD, must=must, never=never)
    assert clusters(RECORDS, kept, threshold=THRESHOLD, must=must, never=never, weigh=bits.__getitem__) == whole


@given(ALL_EVIDENCE)
def test_the_members_of_a_cluster_as_a_whole_speak_for_it(bits: dict[Pair, float]) -> None:
    found = clusters(RECORDS, bits, threshold=THRESHOLD)
    members: dict[str, list[str]] = {}
    for record, cluster in found.of.items():
        members.setdefault(cluster, []).append(record)
    for together in members.values():
        assert sum(clipped(bits[pair(*two)]) for two in combinations(together, 2)) >= 0


@given(EVIDENCE, SOME, SOME)
def test_every_link_is_kept_or_refused_and_clusters_hold_by_links_alone(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair]
) -> None:
    found = clusters(RECORDS, bits, threshold=THRESHOLD, must=must, never=never)
    wanted = must | {two for two, score in bits.items() if score >= THRESHOLD}
    assert set(found.links) <= wanted
    assert set(found.refused) == {two for two in wanted if found.of[two[0]] != found.of[two[1]]}
    assert len(found.links) == len(RECORDS) - len(set(found.of.values())), "links are a forest"
    reached = clusters(RECORDS, dict.fromkeys(found.links, 9.0), threshold=THRESHOLD, weigh=lambda _: 9.0)
    assert reached.of == found.of
    assert all(found.of[record] == min(r for r in RECORDS if found.of[r] == found.of[record]) for record in RECORDS)


def components(wanted: Iterable[Pair]) -> list[list[str]]:
    of = {record: {record} for record in RECORDS}
    for one, other in wanted:
        both = of[one] | of[other]
        of.update(dict.fromkeys(both, both))
    return [sorted(found) for found in {id(found): found for found in of.values()}.values()]


@given(ALL_EVIDENCE, SOME, SOME)
def test_each_component_by_itself_gives_what_all_together_give(
    bits: dict[Pair, float], must: frozenset[Pair], never: frozenset[Pair]
) -> None:
    """So what a batch does not reach need not be grouped anew."""
    whole = clusters(RECORDS, bits, threshold=THRESHOLD, must=must, never=never)
    apart: dict[str, str] = {}
    for records in components(must | {two for two, score in bits.items() if score >= THRESHOLD}):
        inside = set(combinations(records, 2))
        some = clusters(
            records,
            {two: bits[two] for two in inside},
            threshold=THRESHOLD,
            must=must & inside,
            never=never & inside,
        )
        apart |= some.of
    assert apart == whole.of


@given(EVIDENCE, st.sampled_from(PAIRS))
def test_taking_a_link_back_and_saying_so_again_leaves_no_trace(bits: dict[Pair, float], reverted: Pair) -> None:
    before = clusters(RECORDS, bits, threshold=THRESHOLD)
    without = clusters(RECORDS, bits, threshold=THRESHOLD, never=frozenset({reverted}))
    assert without.of[reverted[0]] != without.of[reverted[1]]
    if before.of[reverted[0]] != before.of[reverted[1]]:
        assert without.of == before.of, "who was not one with the other is not moved by a word that they are two"


HELD = st.sampled_from([None, None, "given_name", ONLY_PHONE])
WEIGHED = st.fixed_dictionaries({two: st.tuples(SCORES, HELD) for two in PAIRS})
DECIDED = st.dictionaries(st.sampled_from(PAIRS), st.booleans(), max_size=3)


def weighed(found: dict[Pair, tuple[float, str | None]], named: Callable[[str], str]) -> dict[Pair, Weighed]:
    of: dict[Pair, Weighed] = {}
    for two, (bits, held) in found.items():
        one, other = pair(named(two[0]), named(two[1]))
        veto = "ssn" if bits == APART else None
        of[one, other] = Weighed(one, other, -99.0 if veto else bits, veto, None if veto else held)
    return of


@given(WEIGHED, DECIDED, st.frozensets(st.sampled_from(RECORDS), max_size=2), CHANCE)
def test_entities_by_other_ids_end_in_the_same_clusters(
    found: dict[Pair, tuple[float, str | None]], said: dict[Pair, bool], lone: frozenset[str], chance: random.Random
) -> None:
    """Ids are made by each workspace; and of the evidence some is kept, and some weighed as it is needed."""

    def grouped(ids: list[str]) -> set[frozenset[str]]:
        entity = dict(zip(RECORDS, ids, strict=True))
        evidence = weighed(found, entity.__getitem__)
        kept = [e for e in evidence.values() if e.bits >= KEPT_FROM or e.held == ONLY_PHONE or chance.random() < 0.3]
        chance.shuffle(kept)
        decided = {pair(entity[a], entity[b]): same for (a, b), same in said.items()}
        name_of = {of: name for name, of in entity.items()}
        result = group(
            name_of,
            kept,
            decided,
            threshold=THRESHOLD,
            lone=[entity[record] for record in lone],
            weigh=lambda two: evidence[two],
        )
        for two, same in decided.items():
            assert same or result.of[two[0]] != result.of[two[1]]
        for e in evidence.values():
            assert decided.get((e.one, e.other)) or not e.veto or result.of[e.one] != result.of[e.other]
        return {frozenset(name_of[e] for e in result.of if result.of[e] == cluster) for cluster in result.of.values()}

    ids = [f"e{number}" for number in range(len(RECORDS))]
    expected = grouped(ids)
    chance.shuffle(ids)
    assert grouped(ids) == expected


@given(EVIDENCE)
def test_components_apart_do_not_touch_one_another(bits: dict[Pair, float]) -> None:
    whole = clusters(RECORDS, bits, threshold=THRESHOLD)
    far = {("x1", "x2"): 9.0, ("x2", "x3"): 9.0}
    more = clusters([*RECORDS, "x1", "x2", "x3"], bits | far, threshold=THRESHOLD)
    assert {record: more.of[record] for record in RECORDS} == whole.of


def test_no_chain_joins_two_that_speak_against_each_other() -> None:
    """A is like B and B like C, but A and C contradict one another: the better link holds, the other is refused."""
    found = clusters("abc", {("a", "b"): 6.0, ("b", "c"): 5.0, ("a", "c"): -20.0}, threshold=THRESHOLD)
    assert found.of == {"a": "a", "b": "a", "c": "c"}
    assert found.refused == (("b", "c"),)


def test_what_no_key_brought_together_speaks_against_a_chain_too() -> None:
    bits = {("a", "b"): 6.0, ("b", "c"): 5.0}
    assert len(set(clusters("abc", bits, threshold=THRESHOLD, weigh=lambda _: -20.0).of.values())) == 2
    assert len(set(clusters("abc", bits, threshold=THRESHOLD, weigh=lambda _: UNSEEN).of.values())) == 1


def test_nothing_is_weighed_but_for_a_join() -> None:
    """Of ten that a chain of links joins, and of ten strangers beside them."""
    asked: list[Pair] = []

    def weigh(two: Pair) -> float:
        asked.append(two)
        return 1.0

    names = [f"a{number}" for number in range(10)]
    links = dict.fromkeys(pairwise(names), 9.0)
    clusters([*names, *(f"z{number}" for number in range(10))], links, threshold=THRESHOLD, weigh=weigh)
    assert len(asked) == len(set(asked)) == 45 - 9


def test_two_weak_doubts_do_not_part_what_strong_evidence_joins() -> None:
    found = clusters("abc", {("a", "b"): 9.0, ("b", "c"): 9.0, ("a", "c"): -1.0}, threshold=THRESHOLD)
    assert set(found.of.values()) == {"a"}


def test_a_person_outranks_the_rules() -> None:
    joined = clusters("ab", {("a", "b"): -20.0}, threshold=THRESHOLD, must=frozenset({("a", "b")}))
    apart = clusters("ab", {("a", "b"): 30.0}, threshold=THRESHOLD, never=frozenset({("a", "b")}))
    assert (joined.of["b"], apart.of["b"]) == ("a", "b")
    assert pair("b", "a") == ("a", "b")


def test_who_was_refused_first_and_joined_later_is_no_question() -> None:
    """The group of r0 will not have r6, until r5 is one of them, which is like it."""
    bits = dict.fromkeys((("r0", "r4"), ("r0", "r6"), ("r4", "r5"), ("r5", "r6")), 3.5)
    bits |= {("r1", "r4"): 4.0, ("r0", "r5"): -0.5}
    found = clusters(RECORDS, bits, threshold=THRESHOLD)
    assert {found.of[record] for record in ("r0", "r1", "r4", "r5", "r6")} == {"r0"}
    assert found.refused == ()
