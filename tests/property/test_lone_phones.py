"""Records that are nothing but a phone join whom the phone belongs to, and never two whom somebody told apart."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.resolution.clusters import Pair
from connector_runner.resolution.grouping import Weighed, group
from connector_runner.resolution.guards import ONLY_PHONE

LONE = ["n1", "n2", "n3"]
OWNERS = ["n4", "n5"]
RECORDS = LONE + OWNERS
PAIRS = list(combinations(RECORDS, 2))
DECIDED = st.dictionaries(st.sampled_from(PAIRS), st.booleans(), max_size=4)
PHONED = st.frozensets(st.sampled_from([(lone, owner) for lone in LONE for owner in OWNERS]))


def grouped(phoned: frozenset[Pair], decided: dict[Pair, bool], owners: float) -> dict[str, str]:
    evidence = [Weighed(one, other, 1.0, None, ONLY_PHONE) for one, other in phoned]
    evidence.append(Weighed("n4", "n5", owners))
    return dict(group({name: name for name in RECORDS}, evidence, decided, threshold=2.5, lone=LONE).of)


@given(PHONED, DECIDED, st.sampled_from([-8.0, 9.0]))
def test_nobody_is_joined_to_whom_a_person_told_apart(
    phoned: frozenset[Pair], decided: dict[Pair, bool], owners: float
) -> None:
    of = grouped(phoned, decided, owners)
    assert not [two for two, same in decided.items() if not same and of[two[0]] == of[two[1]]]


def test_of_two_callers_who_are_two_neither_is_the_owner_of_their_phone() -> None:
    """The owner is one of them at most, and nothing says which."""
    phoned = frozenset({("n1", "n4"), ("n2", "n4")})
    assert len(set(grouped(phoned, {("n1", "n2"): False}, -8.0).values())) == len(RECORDS)
    of = grouped(phoned, {}, -8.0)
    assert {of[name] for name in ("n1", "n2", "n4")} == {"n1"}


def test_one_told_apart_from_the_owner_keeps_nobody_else_out() -> None:
    phoned = frozenset({("n1", "n4"), ("n2", "n4")})
    of = grouped(phoned, {("n1", "n4"): False, ("n1", "n2"): False}, -8.0)
    assert (of["n2"], of["n4"], of["n1"]) == ("n2", "n2", "n1")
