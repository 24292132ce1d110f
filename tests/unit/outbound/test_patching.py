"""Only what changed is changed; whatever else a resource holds stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.outbound.planning.patching import patch

HOME = {"system": "phone", "use": "home", "value": "1"}
WORK = {"system": "phone", "use": "work", "value": "2"}
MAIL = {"system": "email", "value": "a@example.org"}


def change(current: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    kept = repr((current, before, after))
    result = patch(current, before, after)
    assert repr((current, before, after)) == kept, "arguments stay as they are"
    return result


def test_no_difference_changes_nothing() -> None:
    current = {"id": "1", "gender": "female", "photo": [1]}
    assert change(current, {"gender": "male"}, {"gender": "male"}) == current


def test_a_value_is_replaced_added_and_taken_away() -> None:
    current = {"id": "1", "gender": "female", "birthDate": "1982", "theirs": 1}
    before, after = {"gender": "female", "birthDate": "1982"}, {"gender": "other", "active": True}
    assert change(current, before, after) == {"id": "1", "gender": "other", "active": True, "theirs": 1}


def test_a_changed_element_keeps_its_place_and_what_is_theirs() -> None:
    current = {"telecom": [{**MAIL, "rank": 1}, {**HOME, "id": "t1", "extension": [{"url": "u"}]}, WORK]}
    before = {"telecom": [MAIL, HOME, WORK]}
    after = {"telecom": [{**HOME, "value": "9"}, MAIL, WORK]}
    assert change(current, before, after) == {
        "telecom": [{**MAIL, "rank": 1}, {**HOME, "value": "9", "id": "t1", "extension": [{"url": "u"}]}, WORK]
    }


def test_elements_come_and_go() -> None:
    current = {"telecom": [HOME, {"system": "pager", "value": "theirs"}, WORK]}
    before = {"telecom": [HOME, WORK]}
    assert change(current, before, {"telecom": [WORK, MAIL]})["telecom"] == [*current["telecom"][1:], MAIL]
    assert change(current, before, {"telecom": [HOME, WORK, MAIL]})["telecom"] == [*current["telecom"], MAIL]
    assert change(current, before, {"telecom": [HOME]})["telecom"] == current["telecom"][:2]


def test_an_element_that_is_there_already_is_not_added_twice() -> None:
    assert change({"telecom": [HOME, MAIL]}, {"telecom": [HOME]}, {"telecom": [HOME, MAIL]})["telecom"] == [HOME, MAIL]


def test_a_name_is_written_whole() -> None:
    current = {"name": [{"use": "official", "family": "Okafor", "text": "Ada Okafor", "id": "n1"}]}
    before = {"name": [{"use": "official", "family": "Okafor", "text": "Ada Okafor"}]}
    after = {"name": [{"use": "official", "family": "Mensah"}]}
    assert change(current, before, after) == {"name": [{"use": "official", "family": "Mensah", "id": "n1"}]}


@pytest.mark.parametrize("current", [{"telecom": HOME}, {"telecom": "odd"}, {}])
def test_another_shape_in_the_sink_is_replaced(current: dict[str, Any]) -> None:
    assert change(current, {}, {"telecom": [HOME]}) == {"telecom": [HOME]}


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
resources = st.dictionaries(st.sampled_from("pqr"), values, max_size=3)


@given(resources, resources)
def test_what_holds_only_ours_becomes_what_we_want(before: dict[str, Any], after: dict[str, Any]) -> None:
    result = patch(before, before, after)
    assert set(result) == set(after)
    assert all(result[key] == after[key] for key in after if not isinstance(after[key], list | dict))
    assert patch(before, before, before) == before


@given(resources, resources, st.dictionaries(st.sampled_from("theirs"), values, max_size=3))
def test_what_is_theirs_stays(before: dict[str, Any], after: dict[str, Any], theirs: dict[str, Any]) -> None:
    theirs = {f"their_{key}": value for key, value in theirs.items()}
    assert patch({**before, **theirs}, before, after).items() >= theirs.items()
