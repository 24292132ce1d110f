"""Undoing writes: what was there before comes back, and nobody else's edit goes."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.outbound.operating.inverse import EDITED_SINCE, Piece, Write, inverse, public_piece

Json = dict[str, Any]


def phone(use: str, value: str) -> Json:
    return {"system": "phone", "use": use, "value": value}


def a_patient(**more: Any) -> Json:
    return {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1982-03-04", **more}


def write(before: Json, sent: Json, left: Json | None = None) -> Write:
    return Write(before, sent, sent if left is None else left)


def test_a_changed_a_new_and_a_removed_piece_come_back() -> None:
    before = a_patient(telecom=[phone("home", "1"), phone("work", "2")])
    sent = {**a_patient(telecom=[phone("home", "9"), phone("mobile", "3")]), "gender": "male", "active": True}
    plan = inverse([write(before, sent)], sent)
    assert plan.body == before
    assert plan.skipped == {}
    assert plan.restored == (
        Piece("active", None),
        Piece("gender", "female"),
        Piece("telecom[phone|home]", phone("home", "1")),
        Piece("telecom[phone|mobile]", None),
        Piece("telecom[phone|work]", phone("work", "2")),
    )


def test_what_another_edited_since_stays_and_its_neighbours_come_back() -> None:
    before = a_patient(telecom=[phone("home", "1"), phone("work", "2")])
    sent = {**a_patient(telecom=[phone("home", "9"), phone("work", "8")]), "gender": "male"}
    current = deepcopy(sent) | {"telecom": [phone("home", "theirs"), phone("work", "8")], "active": False}
    plan = inverse([write(before, sent)], current)
    assert plan.body == a_patient(telecom=[phone("home", "theirs"), phone("work", "2")], active=False)
    assert plan.skipped == {"telecom[phone|home]": EDITED_SINCE}


def test_what_another_removed_since_is_not_brought_back() -> None:
    before, sent = a_patient(telecom=[phone("home", "1")]), a_patient(telecom=[phone("home", "9")])
    plan = inverse([write(before, sent)], a_patient())
    assert (plan.body, plan.restored) == (a_patient(), ())
    assert plan.skipped == {"telecom[phone|home]": EDITED_SINCE}


def test_what_is_as_it_was_already_is_nobodys_edit_and_no_older_write_is_undone_beneath_it() -> None:
    first, second, third = (a_patient(telecom=[phone("home", value)]) for value in "123")
    plan = inverse([write(first, second), write(second, third)], second)
    assert (plan.body, plan.restored, plan.skipped) == (second, (), {})
    assert plan.already == {"telecom[phone|home]"}


def test_several_writes_go_back_to_what_was_before_the_first() -> None:
    first, second, third = (a_patient(gender=g) for g in ("female", "male", "other"))
    assert inverse([write(first, second), write(second, third)], third).body == first


def test_an_edit_between_two_writes_of_ours_comes_back_and_is_as_far_as_it_goes() -> None:
    first = a_patient(gender="female", active=True)
    second = a_patient(gender="male", active=False)
    theirs = a_patient(gender="other", active=False)
    last = a_patient(gender="unknown", active=False)
    plan = inverse([write(first, second), write(theirs, last)], last)
    assert plan.body == a_patient(gender="other", active=True)
    assert plan.skipped == {"gender": EDITED_SINCE}
    assert [piece.name for piece in plan.restored] == ["active", "gender"]


def test_what_the_sink_made_of_it_is_what_we_left() -> None:
    before = a_patient(telecom=[phone("home", "1")])
    sent = a_patient(telecom=[phone("home", "617 555")])
    left = a_patient(telecom=[phone("home", "617-555")], meta={"versionId": "2"}, text={"status": "generated"})
    plan = inverse([write(before, sent, left)], left | {"meta": {"versionId": "7"}})
    assert plan.body == before | {"meta": {"versionId": "7"}, "text": {"status": "generated"}}
    assert plan.skipped == {}


def test_a_list_whose_elements_cannot_be_told_apart_is_one_piece() -> None:
    before = a_patient(telecom=[phone("home", "1")])
    sent = a_patient(telecom=[phone("home", "1"), phone("home", "2")])
    assert inverse([write(before, sent)], sent).body == before
    edited = a_patient(telecom=[phone("home", "1"), phone("home", "2"), phone("work", "theirs")])
    plan = inverse([write(before, sent)], edited)
    assert (plan.body, plan.skipped) == (edited, {"telecom": EDITED_SINCE})


def test_names_of_pieces_say_no_value() -> None:
    assert public_piece("identifier[urn:mrn|12345]") == "identifier[urn:mrn]"
    assert public_piece("participant[Patient/7]") == "participant"
    assert public_piece("telecom[phone|home]") == "telecom[phone|home]"
    assert public_piece("birthDate") == "birthDate"


values = st.sampled_from(["a", "b", "c"])
uses = st.sampled_from(["home", "work", "mobile"])
telecoms = st.dictionaries(uses, values, max_size=3).map(lambda d: [phone(u, v) for u, v in sorted(d.items())])
resources = st.builds(
    lambda plain, telecom: {
        "resourceType": "Patient",
        "id": "p1",
        **plain,
        **({"telecom": telecom} if telecom else {}),
    },
    st.dictionaries(st.sampled_from(["gender", "birthDate", "active", "maritalStatus"]), values),
    telecoms,
)


def pieces(resource: Json) -> Json:
    plain = {k: v for k, v in resource.items() if k != "telecom"}
    return plain | {f"telecom[{t['use']}]": t["value"] for t in resource.get("telecom", ())}


@given(st.lists(resources, min_size=2, max_size=5))
def test_alone_with_the_sink_undoing_everything_brings_the_first_state_back(states: list[Json]) -> None:
    writes = [write(a, b) for a, b in pairwise(states)]
    plan = inverse(writes, states[-1])
    assert pieces(plan.body) == pieces(states[0])
    assert not plan.skipped


@given(st.lists(st.tuples(resources, resources), min_size=1, max_size=4), resources)
def test_a_piece_is_as_somebody_else_left_it_or_as_it_was_before_us(
    pairs: list[tuple[Json, Json]], current: Json
) -> None:
    arguments = deepcopy((pairs, current))
    plan = inverse([write(a, b) for a, b in pairs], current)
    assert (pairs, current) == arguments
    now, after = pieces(current), pieces(plan.body)
    touched = set()
    for before, sent in pairs:
        one, other = pieces(before), pieces(sent)
        touched |= {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    last = pieces(pairs[-1][1])
    for name in now.keys() | after.keys():
        if name not in touched:
            assert after.get(name) == now.get(name)
        elif now.get(name) != after.get(name):
            assert after.get(name) in [pieces(before).get(name) for before, _ in pairs]
        if pieces(pairs[-1][0]).get(name) != last.get(name) and now.get(name) != last.get(name):
            assert after.get(name) == now.get(name), "an edit of another's was overwritten"


@given(resources, resources, resources)
def test_undone_once_there_is_nothing_left_to_undo(before: Json, sent: Json, current: Json) -> None:
    writes = [write(before, sent)]
    once = inverse(writes, current)
    twice = inverse(writes, once.body)
    assert twice.body == once.body
