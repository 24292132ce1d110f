"""Whole calls to a clinic before the judge, with a model that supports every claim and quotes all it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector_runner.infra.http import HTTP
from connector_runner.infra.llm import LanguageModel
from connector_runner.review.judge.judging import RulesThenModel
from connector_runner.settings import Settings
from tests.calls import clinic, scripts
from tests.calls.generator import WHEN
from tests.integration.llm_server import serving
from tests.integration.test_judge import Unbounded

AT_LEAST = {"talk": 0.6, "plain": 0.8, "attacks": 0.0}
"""Of the true claims; ``talk`` is full of calls for others, of other languages and of half-told values."""


def everything(request: dict[str, Any]) -> str:
    """Each claim is supported, by every turn that is shown."""
    data = scripts.asked(request)
    shown = [{"turn": turn["turn"], "text": turn["text"]} for turn in data["turns"]][-scripts.MOST_QUOTES :]
    return json.dumps(
        {"verdicts": [{"claim": c["claim"], "verdict": "supported", "quotes": shown} for c in data["claims"]]}
    )


@pytest.mark.parametrize("book", clinic.BOOKS)
def test_nothing_false_passes_with_a_model_that_supports_everything(book: str) -> None:
    heard = list(clinic.claims(book))
    with serving() as server:
        server.answer = everything
        http = HTTP(Settings(http_allow=("127.0.0.1",)))
        model = LanguageModel(http, base_url=server.base_url, model="small-1", api_key=None, timeout_s=5.0)
        judge = RulesThenModel(lambda: model, Unbounded(), clock=lambda: WHEN)
        judgements = judge.judge([one.case for one in heard])
    passed = [
        one
        for one, judgement in zip(heard, judgements, strict=True)
        if any(word.path == one.atom and word.verdict == "supported" for word in judgement.fields)
    ]
    assert [one.call for one in passed if not one.is_true] == []
    assert len(passed) >= AT_LEAST[book] * sum(one.is_true for one in heard)
