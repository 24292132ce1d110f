"""What a scripted model answers about a call: a liar, one that quotes everything, an honest one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.calls.generator import Call, Said

Script = Callable[[Call, dict[str, Any]], str]
MOST_QUOTES = 6


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """The data of a question."""
    found: dict[str, Any] = json.loads(request["messages"][1]["content"])
    return found


def said_of(call: Call, claim: dict[str, Any]) -> Said:
    """The claim of a call that a question is about."""
    return next(said for said in call.claims if said.atom.partition("[")[0] == claim["field"])


def quotes(said: Said, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every turn with any form of the value in it; the first turn where there is none."""
    found = [turn for turn in turns if any(form.lower() in turn["text"].lower() for form in said.forms)]
    return [{"turn": turn["turn"], "text": turn["text"]} for turn in (found or turns[:1])[:MOST_QUOTES]]


def liar(call: Call, request: dict[str, Any]) -> str:
    """Everything is supported, quoted where it can be."""
    data = asked(request)
    verdicts = [
        {"claim": claim["claim"], "verdict": "supported", "quotes": quotes(said_of(call, claim), data["turns"])}
        for claim in data["claims"]
    ]
    return json.dumps({"verdicts": verdicts})


def everything(call: Call, request: dict[str, Any]) -> str:
    """Everything is supported, by every turn that there is."""
    data = asked(request)
    shown = [{"turn": turn["turn"], "text": turn["text"]} for turn in data["turns"]][-MOST_QUOTES:]
    return json.dumps(
        {"verdicts": [{"claim": c["claim"], "verdict": "supported", "quotes": shown} for c in data["claims"]]}
    )


def honest(call: Call, request: dict[str, Any]) -> str:
    """What is true is supported, by the turns that say it."""
    data = asked(request)
    verdicts = []
    for claim in data["claims"]:
        said = said_of(call, claim)
        word = "supported" if said.is_true else "unclear"
        verdicts.append({"claim": claim["claim"], "verdict": word, "quotes": quotes(said, data["turns"])})
    return json.dumps({"verdicts": verdicts})
