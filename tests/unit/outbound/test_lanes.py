"""States of lanes, their moves, and the names that lanes give."""

from __future__ import annotations

import random

import pytest

from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel.ids import is_uuid, new_id
from connector_runner.outbound.lanes.lane import LEGAL, State, backoff_s, client_ref, lane_id, legal
from connector_runner.outbound.planning.dependencies import References, missing, rank, refs_in
from connector_runner.outbound.planning.dependency_store import Held
from connector_runner.unification.model import Dependency

TABLE = {
    "idle": "ready quarantined paused",
    "ready": "leased idle paused",
    "waiting": "leased ready idle paused",
    "leased": "idle ready waiting unknown quarantined paused",
    "unknown": "leased paused",
    "quarantined": "ready unknown paused",
    "paused": "ready unknown",
}


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("end", State)
def test_only_the_moves_of_the_table_are_legal(start: State, end: State) -> None:
    assert legal(start, end) == (end in TABLE[start].split())


def test_an_unknown_outcome_is_never_simply_sent_again() -> None:
    assert State.READY not in LEGAL[State.UNKNOWN]


def test_identities_are_for_ever_and_one_for_each() -> None:
    sink, other, entity = new_id(), new_id(), new_id()
    assert client_ref(sink, entity) == client_ref(sink, entity)
    assert len({client_ref(sink, entity), client_ref(other, entity), lane_id(sink, entity)}) == 3
    assert is_uuid(client_ref(sink, entity))


def test_backoff_grows_is_capped_and_never_nothing() -> None:
    chance = random.Random(7)
    for attempt in range(1, 40):
        waits = [backoff_s(attempt, chance) for _ in range(50)]
        assert min(waits) >= 0.2
        assert max(waits) <= min(3600, 5 * 2 ** (attempt - 1))


def test_types_are_written_after_those_that_they_refer_to() -> None:
    order = ["organization", "practitioner", "patient", "appointment", "encounter", "observation", "claim"]
    assert [rank(kind) for kind in order] == sorted({rank(kind) for kind in order})


def references(**held: Held) -> References:
    terms = SinkTerms("s", "store", "fhir_r4", {"patient": 0.8, "encounter": 0.8, "observation": 0.8})
    found = References.__new__(References)
    found._terms, found._found = terms, {f"ehr:X:{name}": value for name, value in held.items()}
    return found


def test_what_is_missing_is_waited_for_only_where_that_can_end() -> None:
    refs = references(
        there=Held("patient", "Patient/1"),
        coming=Held("patient", None),
        later=Held("observation", None),
        uncovered=Held("device", None),
        never=Held(None, None),
    )

    def of(name: str, *, required: bool = False) -> tuple[bool, bool]:
        lacking = missing(refs, "encounter", [Dependency("field", f"ehr:X:{name}", required)])
        return bool(lacking.waits_for), bool(lacking.left_out)

    assert of("there") == (False, False)
    assert of("coming") == (True, False)
    assert of("later") == of("uncovered") == of("never") == (False, True)
    assert of("never", required=True) == (True, False)
    assert refs.resolve("store:Patient:7") == "Patient/7", "a record of the sink itself is there"


def test_a_whole_comes_before_its_parts_unless_they_go_in_a_circle() -> None:
    refs = references(whole=Held("encounter", None), circle=Held("encounter", None, waits=True))

    def waits(name: str, field: str) -> bool:
        return bool(missing(refs, "encounter", [Dependency(field, f"ehr:X:{name}", False)]).waits_for)

    assert waits("whole", "part_of")
    assert not waits("circle", "part_of")
    assert not waits("whole", "based_on")


def test_references_are_found_however_deep() -> None:
    value = {"a": [{"ref": "x:Y:1"}, {"b": {"c": [{"ref": "x:Y:2", "display": "z"}]}}], "d": {"ref": 3}}
    assert refs_in(value) == {"x:Y:1", "x:Y:2"}
