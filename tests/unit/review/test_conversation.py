"""Conversations as they are handed in, and transcripts of every form."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.kernel.errors import BadRecord
from connector_runner.review import transcript
from connector_runner.review.conversation import heard

SAID = [("agent", "Hello."), ("caller", "Hi.\nIt's me."), ("other", "Who is it?")]


@pytest.mark.parametrize(
    "body",
    [
        "Agent: Hello.\nCaller: Hi.\nIt's me.\nNurse: Who is it?",
        "[00:01] AI: Hello.\n[00:03] Customer: Hi.\nIt's me.\n\nNurse: Who is it?\n",
        [
            {"speaker": "agent", "text": "Hello."},
            {"speaker": "caller", "text": "Hi."},
            {"speaker": "caller", "text": "It's me."},
            {"speaker": "mother", "text": "Who is it?"},
        ],
        {
            "turns": [
                {"agent_transcript": "Hello.", "user_transcript": "Hi."},
                {"agent_transcript": None, "user_transcript": "It's me."},
                {"role": "background", "content": "Who is it?"},
            ]
        },
    ],
)
def test_every_form_says_the_same(body: Any) -> None:
    found = transcript.read("s", body)
    assert [(turn.speaker, found.said(turn)) for turn in found.turns] == SAID
    assert found.text == "\n".join(words for _, words in SAID)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (7, "transcript"),
        (None, "transcript"),
        ({}, "transcript"),
        ([7], "transcript.0"),
        ([{"text": "x"}], "transcript.0.speaker"),
        ([{"speaker": "agent", "text": 7}], "transcript.0.text"),
    ],
)
def test_what_is_no_transcript_is_named(body: Any, where: str) -> None:
    with pytest.raises(BadRecord) as caught:
        transcript.read("s", body)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("body", "speakers"),
    [
        ("AGENT (Amy): Hello.\nCALLER: Hi.\nCALLER (Bob): It's me.", ["agent", "caller", "other"]),
        ("**Agent:** Hello.\n**Patient:** Hi.\nPatient's mother: It's me.", ["agent", "caller", "other"]),
        ("(0:02) Agent: Hello.\n- Caller 1: Hi.\n- Caller 2: It's me.", ["agent", "caller", "other"]),
        ("Agent [00:02]: Hello.\nPatient: Hi.\nVOICE IN THE BACKGROUND: It's me.", ["agent", "caller", "other"]),
        ([{"speaker": "caller_1", "text": "Hi."}, {"speaker": "caller_2", "text": "It's me."}], ["caller", "other"]),
        ("Caller: I'm free\nat 10:30, or\nat 9:15.", ["caller"]),
    ],
)
def test_whoever_is_named_speaks_and_a_second_caller_is_another(body: Any, speakers: list[str]) -> None:
    assert [turn.speaker for turn in transcript.read("s", body).turns] == speakers


def test_nobody_says_where_the_words_of_a_text_without_speakers_come_from() -> None:
    found = transcript.read("s", "My number is 555-201-3344.")
    assert [turn.speaker for turn in found.turns] == ["other"]


def test_events_of_a_conversation_bear_its_name() -> None:
    found = heard({"session": "call-1", "transcript": [], "events": [{"source": "voice_agent"}]})
    assert (found.session, found.transcript, found.events) == (
        "call-1",
        [],
        [{"source": "voice_agent", "correlation_id": "call-1"}],
    )
    assert heard([{"source": "forms"}]).events == [{"source": "forms"}]


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"transcript": "x", "events": []}, "session"),
        ({"session": 7, "events": []}, "session"),
        ({"session": "x" * 257, "events": []}, "session"),
        ({"session": "a", "events": {}}, "events"),
        ({"session": "a", "event": []}, "event"),
        ({"session": "a", "events": [{"correlation_id": "b"}]}, "events.0"),
    ],
)
def test_what_a_conversation_may_not_say_is_named(document: Any, where: str) -> None:
    with pytest.raises(BadRecord) as caught:
        heard(document)
    assert caught.value.where == where
