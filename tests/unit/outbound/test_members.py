"""Of several entities that are one, who is made in a sink, and which records are shown as made twice."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from connector_runner.connectors.terms import SinkTerms
from connector_runner.outbound.lanes.lane import HELD_AS_MEMBER, MADE_AS_MEMBER, client_ref
from connector_runner.outbound.planning.members import DUPLICATE_IN_SINK, MEMBER_UNDER_WAY, There, creates, duplicates
from connector_runner.outbound.planning.plans import Nothing, Wait
from connector_runner.world.fold import Folded
from connector_runner.world.reading import EntityView, Member

SINK = "00000000-0000-7000-8000-0000000000aa"
IDS = [f"00000000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3)]
SOURCES = {"ehr": "ehr-id", "crm": SINK, "lab": "lab-id"}
TERMS = SinkTerms(SINK, "crm", "fhir_r4", {"patient": 0.8}, accept_from=frozenset({"ehr"}))


def a_member(entity_id: str, canonical: str = "voice:Person:v", **more: Any) -> Member:
    return Member(**{"entity_id": entity_id, "canonical_id": canonical, "revision": 1, "status": "active",
                     "records": {}, **more})  # fmt: skip


def seen_as(members: list[Member], entity_id: str) -> EntityView:
    me = next(member for member in members if member.entity_id == entity_id)
    others = tuple(member for member in members if member.entity_id != entity_id)
    return EntityView(entity_id, "patient", me.canonical_id, 1, Folded({}, "active"), (), me.records, others=others)


def makers(members: list[Member], lanes: dict[str, There] | None = None) -> list[str]:
    found = [
        m.entity_id for m in members if creates(seen_as(members, m.entity_id), TERMS, SOURCES, lanes or {}) is None
    ]
    return found


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_one_is_made_whatever_the_order(order: tuple[int, ...]) -> None:
    members = [a_member(IDS[n]) for n in order]
    assert makers(members) == [IDS[0]]


def test_one_that_may_not_be_made_there_leaves_it_to_the_next() -> None:
    members = [a_member(IDS[0], "lab:Patient:1"), a_member(IDS[1], "ehr:Patient:1"), a_member(IDS[2])]
    kept = creates(seen_as(members, IDS[2]), TERMS, SOURCES, {})
    assert kept == Nothing(MADE_AS_MEMBER)
    assert creates(seen_as(members, IDS[1]), TERMS, SOURCES, {}) is None


def test_nobody_is_made_where_a_member_has_a_record() -> None:
    there = a_member(IDS[2], "crm:Patient:9", records={"crm:Patient:9": SINK})
    members = [a_member(IDS[0]), a_member(IDS[1]), there]
    for entity in IDS[:2]:
        assert creates(seen_as(members, entity), TERMS, SOURCES, {}) == Nothing(HELD_AS_MEMBER)
    gone = [a_member(IDS[0]), a_member(IDS[1]), a_member(IDS[2], records=there.records, status="deleted")]
    assert makers(gone)[:1] == [IDS[0]]


def test_a_record_of_ours_counts_once_its_lane_knows_that_it_landed() -> None:
    ours = {f"crm:Patient:{client_ref(SINK, IDS[1])}": SINK}
    members = [a_member(IDS[0]), a_member(IDS[1], records=ours)]
    under_way = creates(seen_as(members, IDS[0]), TERMS, SOURCES, {IDS[1]: There(None, True)})
    assert under_way == Wait("record", reason=MEMBER_UNDER_WAY, on=(IDS[1],))
    landed = {IDS[1]: There(f"Patient/{client_ref(SINK, IDS[1])}", False)}
    assert creates(seen_as(members, IDS[0]), TERMS, SOURCES, landed) == Nothing(HELD_AS_MEMBER)


def test_two_records_of_one_person_in_a_sink_are_shown() -> None:
    members = [a_member(IDS[0], records={"crm:Patient:8": SINK}), a_member(IDS[1], records={"crm:Patient:9": SINK})]
    view = seen_as(members, IDS[0])
    assert [item.code for item in duplicates(view, SINK, "Patient/8", {})] == [DUPLICATE_IN_SINK]
    assert duplicates(view, IDS[2], "Patient/8", {}) == ()
