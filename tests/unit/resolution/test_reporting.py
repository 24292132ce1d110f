"""What labels bear out about links, and what they do not."""

from __future__ import annotations

import pytest

from connector_runner.resolution.reporting import Labelled, Share, bound, groups, labels_needed


def test_the_interval_is_wilsons() -> None:
    """Of 8 in 10: 0.490 to 0.943 (Wilson 1927; as in Brown, Cai and DasGupta 2001)."""
    low, high = Share(8, 10).interval
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert Share(0, 0).interval == (0.0, 1.0)
    assert Share(0, 10).interval[0] == 0.0


def test_pairs_are_told_by_rule_and_band() -> None:
    labels = [
        Labelled(True, 5.0),
        Labelled(False, 5.5),
        Labelled(True, 5.0, held="given_name"),
        Labelled(True, 12.0, rule="phone"),
    ]
    found = {(g.rule, g.band): (g.precision, g.recall) for g in groups(labels)}
    assert found == {
        ("score", "4 to 6"): (Share(1, 2), Share(1, 3)),
        ("given_name", "4 to 6"): (Share(1, 1), Share(1, 3)),
        ("phone", "10 to 15"): (Share(1, 1), Share(1, 3)),
    }


def test_the_bound_is_met_where_labels_bear_it_out() -> None:
    sure = [Labelled(True, 8.0)] * 500
    doubtful = [Labelled(number % 2 == 0, 3.0) for number in range(40)]
    met = bound([*doubtful, *sure])
    assert met.bits == 8.0
    assert met.precision == Share(500, 500)
    assert met.recall == Share(500, 520)


@pytest.mark.parametrize("number", [0, 1, 380])
def test_a_few_labels_bear_nothing_out(number: int) -> None:
    met = bound([Labelled(True, 8.0)] * number)
    assert (met.bits, met.needed) == (None, 381)
    assert bound([Labelled(True, 8.0)] * 381).bits == 8.0
    assert labels_needed(0.0001) == 38413


def test_held_pairs_say_nothing_of_what_links_by_itself() -> None:
    assert bound([Labelled(True, 9.0, held="given_name")] * 1000).bits is None


def test_pairs_of_one_score_are_taken_together() -> None:
    """A threshold between equal scores is none."""
    labels = [Labelled(True, 8.0)] * 400 + [Labelled(False, 8.0)] * 40
    assert bound(labels).bits is None
