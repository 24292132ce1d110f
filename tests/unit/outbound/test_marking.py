"""What a patient's record bears: the numbers of test callers, however they were written down."""

from __future__ import annotations

import pytest

from connector_runner.outbound.gating.marking import emails, mark, numbers
from connector_runner.policy.settings import PolicySettings

POLICY = PolicySettings.model_validate({"test_callers": ["+16175550142"]})
WRITTEN = [
    "617-555-0142", "617.555.0142", "617-555-0142 (home)", "tel:+1-617-555-0142", "617\u00b7555\u00b70142",
    "001 617 555 0142", "617 555 0199 / 617 555 0142", "6175550142;ext=5", "\uff16\uff11\uff17-555-0142",
    "sip:+16175550142@example.org", "(617)555\u20130142", "1_617_555_0142",
]  # fmt: skip


@pytest.mark.parametrize("system", ["phone", "sms", "other", None])
@pytest.mark.parametrize("value", WRITTEN)
def test_a_number_is_known_however_it_is_written(value: str, system: str | None) -> None:
    point = {"value": value} | ({"system": system} if system else {})
    assert mark(POLICY, "p1", None, [point]).test_caller


@pytest.mark.parametrize("value", ["617-555-0143", "617-555-0143 (ask for 555-0142)", "0142", "nobody", ""])
def test_another_number_is_another(value: str) -> None:
    assert not mark(POLICY, "p1", None, [{"system": "phone", "value": value}]).test_caller


def test_points_of_contact_are_told_apart() -> None:
    telecom = [
        {"system": "email", "value": "ada.6175550142@example.org"},
        {"system": "phone", "value": "617-555-0199"},
        {"system": "url", "value": "https://example.org/6175550142"},
        "x",
        {"system": "phone"},
    ]
    assert numbers(telecom) == {"+16175550199"}
    assert emails(telecom) == {"ada.6175550142@example.org"}
    assert numbers(None) == emails({"system": "phone"}) == frozenset()
