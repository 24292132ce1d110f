"""What an agent may rely on, and whether a patient is to be reached, told claim by claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.observability.agent_view import doubt
from connector_runner.observability.policies import closed_channels
from connector_runner.world.fold import Claim, Settled

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def said(value: Any = "female", confidence: float = 1.0, *, day: int = 0, **more: Any) -> Claim:
    return Claim(
        **{
            "atom": "gender", "value": value, "event_id": f"event-{day}", "source": "connector_runner",
            "source_system": "ehr", "data_source_id": None, "record_key": None, "mapping_version": None,
            "confidence": confidence, "since": START + timedelta(days=day), "ingested_at": START, **more,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "atom", "conflict", "why"),
    [
        (said(), "gender", None, None),
        (said(confidence=0.95, verdict="human"), "gender", None, None),
        (said(confidence=0.85, verdict="automated"), "gender", None, None),
        (said(confidence=0.85, verdict="automated"), "gender", "safety", "conflict"),
        (said(confidence=0.9), "gender", None, "not_reviewed"),
        (said(confidence=0.7), "gender", None, "not_reviewed"),
        (said(confidence=0.5), "gender", None, "not_reviewed"),
        (said(confidence=0.5, verdict="human"), "gender", None, "not_reviewed"),
        (said(confidence=0.0, verdict="human"), "gender", None, "rejected"),
    ],
)
def test_what_may_be_relied_on(claim: Claim, atom: str, conflict: str | None, why: str | None) -> None:
    assert doubt("patient", atom, claim, conflict, NOW) == why


def test_what_cannot_be_is_not_relied_on_whoever_says_so() -> None:
    assert doubt("patient", "birth_date", said("2031-01-01"), None, NOW) is not None
    assert doubt("patient", "birth_date", said("1982-03-04"), None, NOW) is None


NO_CALLS = {"channel": "phone", "opted_out": True}
CALLS = {"channel": "phone", "opted_out": False}


@pytest.mark.parametrize(
    ("claims", "closed"),
    [
        ([said(NO_CALLS)], True),
        ([said(CALLS)], False),
        ([said(CALLS, day=0), said(NO_CALLS, 0.3, day=1)], True),
        ([said(CALLS, day=2), said(NO_CALLS, 0.3, day=1)], False),
        ([said(NO_CALLS, day=1), said(CALLS, 0.5, day=2)], True),
        ([said(NO_CALLS, 0.0, day=1)], False),
        ([said(CALLS, day=1), said(NO_CALLS, 0.3, day=1)], True),
    ],
)
def test_a_refusal_counts_however_faintly_it_was_heard(claims: list[Claim], closed: bool) -> None:
    settled = Settled(claims[0], tuple(claims[1:]))
    assert list(closed_channels({"opt_outs[phone]": settled, "gender": Settled(said(), ())})) == (
        ["phone"] if closed else []
    )


@pytest.mark.parametrize(
    ("channel", "closed"),
    [("sms", "sms"), ("Text", "sms"), ("voice", "phone"), (" PHONE ", "phone"), ("e-mail", "email"), ("all", "all"),
     ("whatsapp", "all"), ("", "all"), (None, "all")],
)  # fmt: skip
def test_who_names_no_channel_that_is_known_means_every_one(channel: str | None, closed: str) -> None:
    out = {"channel": channel, "opted_out": True}
    assert list(closed_channels({f"opt_outs[{channel}]": Settled(said(out), ())})) == [closed]
    unsaid = {"channel": channel}
    assert list(closed_channels({f"opt_outs[{channel}]": Settled(said(unsaid, 0.3), ())})) == [closed]


def test_a_channel_is_opened_again_under_whatever_word_it_was_closed() -> None:
    call = Settled(said({"channel": "call", "opted_out": True}, 0.5, day=1), ())
    assert list(closed_channels({"opt_outs[call]": call, "opt_outs[phone]": Settled(said(CALLS, day=2), ())})) == []
    assert list(closed_channels({"opt_outs[call]": call, "opt_outs[phone]": Settled(said(CALLS), ())})) == ["phone"]
