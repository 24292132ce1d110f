"""Which status may follow which: every pair of every table."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from connector_runner.outbound.validation import Rules, check
from connector_runner.outbound.validation.bindings import bindings
from connector_runner.outbound.validation.transitions import TRANSITIONS, is_legal

ORDER_OF_LIFE = {
    "Appointment": ["proposed", "pending", "booked", "arrived", "checked-in", "fulfilled"],
    "Encounter": ["planned", "arrived", "triaged", "in-progress", "finished"],
    "MedicationRequest": ["draft", "active", "on-hold", "active", "completed"],
}
REFUSED = {
    "Appointment": [
        ("cancelled", "booked"), ("fulfilled", "booked"), ("fulfilled", "cancelled"), ("cancelled", "fulfilled"),
        ("booked", "proposed-again"), ("entered-in-error", "booked"),
    ],
    "Encounter": [
        ("finished", "in-progress"), ("cancelled", "planned"), ("in-progress", "cancelled"), ("onleave", "planned"),
        ("in-progress", "planned"), ("entered-in-error", "finished"),
    ],
    "MedicationRequest": [
        ("completed", "active"), ("stopped", "active"), ("cancelled", "on-hold"), ("active", "draft"),
        ("entered-in-error", "active"), ("completed", "stopped"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("resource_type", TRANSITIONS)
def test_the_table_knows_every_code_of_the_value_set(resource_type: str) -> None:
    codes = bindings().codes[f"{resource_type}.status"]
    assert codes - {"unknown"} <= set(TRANSITIONS[resource_type])
    for reachable in TRANSITIONS[resource_type].values():
        assert reachable <= codes


@pytest.mark.parametrize("resource_type", TRANSITIONS)
def test_a_life_goes_forward_in_any_number_of_steps_at_once(resource_type: str) -> None:
    life = ORDER_OF_LIFE[resource_type]
    assert all(is_legal(resource_type, before, after) for before, after in pairwise(life))
    assert is_legal(resource_type, life[0], life[-1])
    assert not is_legal(resource_type, life[-1], life[0])


@pytest.mark.parametrize(
    ("resource_type", "before", "after"), [(kind, *pair) for kind, pairs in REFUSED.items() for pair in pairs]
)
def test_what_happened_is_not_rewritten(resource_type: str, before: str, after: str) -> None:
    assert not is_legal(resource_type, before, after)


@pytest.mark.parametrize("resource_type", TRANSITIONS)
def test_anything_may_have_been_an_error_and_stays_one(resource_type: str) -> None:
    for status in TRANSITIONS[resource_type]:
        assert is_legal(resource_type, status, "entered-in-error")
    assert TRANSITIONS[resource_type]["entered-in-error"] == {"entered-in-error"}


def test_a_type_without_a_table_and_a_status_that_the_table_does_not_know_are_free() -> None:
    assert is_legal("Task", "completed", "draft")
    assert is_legal("Appointment", "vendor-special", "booked")
    assert is_legal("Appointment", None, "booked")
    assert is_legal("Appointment", ["booked"], "booked")
    assert not is_legal("Appointment", "booked", ["booked"])


def test_the_check_refuses_a_step_but_not_where_a_write_is_taken_back() -> None:
    actor = {"actor": {"reference": "Patient/1"}, "status": "accepted"}
    before = {"resourceType": "Appointment", "id": "a", "status": "cancelled", "participant": [actor]}
    body = {**before, "status": "booked", "start": "2026-01-01T09:00:00Z", "end": "2026-01-01T09:10:00Z"}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    [problem] = check(body, before=before, now=now)
    assert (problem.path, problem.code) == ("Appointment.status", "status_transition")
    rules = Rules(transitions=False)
    assert check(body, before=before, now=now, rules=rules) == ()
