"""The judge with a real HTTP server for a model: one that lies, one that does not, and every way of being no use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from connector_runner.infra.database import Database, rows
from connector_runner.infra.http import HTTP
from connector_runner.infra.llm import LanguageModel
from connector_runner.kernel.errors import Unavailable
from connector_runner.review.judge.case import Case, FieldVerdict
from connector_runner.review.judge.judging import RulesThenModel
from connector_runner.review.judge.leave_store import SqlLeave
from connector_runner.settings import Settings
from tests.calls import scripts
from tests.calls.cases import case_of
from tests.calls.generator import WHEN, Call, calls
from tests.integration.llm_server import Model, serving

BOOKS = ("first", "second", "unseen")
CALLS = 500
SOME = 60


class Unbounded:
    """Lets everything leave."""

    def take(self, workspace_id: str, tokens: int, now: datetime, **about: Any) -> bool:
        return True


class Nothing:
    """Has nothing left."""

    def take(self, workspace_id: str, tokens: int, now: datetime, **about: Any) -> bool:
        return False


@pytest.fixture
def server() -> Iterator[Model]:
    with serving() as model:
        yield model


def judge_of(base_url: str | None, *, timeout_s: float = 5.0, leave: Any = None) -> RulesThenModel:
    model = None
    if base_url is not None:
        http = HTTP(Settings(http_allow=("127.0.0.1",)))
        model = LanguageModel(http, base_url=base_url, model="small-1", api_key=None, timeout_s=timeout_s)
    return RulesThenModel(lambda: model, leave or Unbounded(), clock=lambda: WHEN)


def words(judge: RulesThenModel, call: Call) -> dict[str, FieldVerdict]:
    [judgement] = judge.judge([case_of(call)])
    return {word.path: word for word in judgement.fields}


def outcome(server: Model, script: scripts.Script, chosen: Iterable[Call]) -> tuple[list[Any], int, int]:
    """What passed that is false, and how many of how many true claims passed."""
    judge = judge_of(server.base_url)
    wrong, passed, true = [], 0, 0
    for call in chosen:
        server.answer = lambda request, call=call: script(call, request)
        found = words(judge, call)
        for said in call.claims:
            supported = found[said.atom].verdict == "supported"
            true += said.is_true
            passed += said.is_true and supported
            if supported and not said.is_true:
                wrong.append((call.session, said.category, said.atom, call.turns))
    return wrong, passed, true


@pytest.mark.parametrize("script", [scripts.liar, scripts.everything])
def test_a_model_that_supports_everything_passes_nothing_false_and_most_of_the_true(
    server: Model, script: scripts.Script
) -> None:
    chosen = list(calls(CALLS, books=BOOKS))
    kinds = {said.category for call in chosen for said in call.claims}
    assert kinds >= {
        *("true", "absent", "negated", "another_speaker", "another_person", "corrected"),
        *("supposed", "unconfirmed", "reported", "injected", "language"),
    }
    wrong, passed, true = outcome(server, script, chosen)
    assert wrong == []
    assert passed / true >= 0.6
    assert server.asked


def test_so_it_is_with_words_that_no_rule_was_made_with(server: Model) -> None:
    wrong, passed, true = outcome(server, scripts.liar, calls(CALLS, books=("held_out",)))
    assert wrong == []
    assert passed / true >= 0.6


def test_an_honest_model_passes_nearly_all_that_is_true(server: Model) -> None:
    wrong, passed, true = outcome(server, scripts.honest, calls(CALLS, books=BOOKS))
    assert wrong == []
    assert passed / true >= 0.9


def test_the_model_can_doubt_what_rules_found(server: Model) -> None:
    server.answer = lambda request: json.dumps(
        {
            "verdicts": [
                {"claim": c["claim"], "verdict": "unclear", "quotes": []} for c in scripts.asked(request)["claims"]
            ]
        }
    )
    judge, alone = judge_of(server.base_url), judge_of(None)
    chosen = list(calls(SOME))
    assert supported(judge, chosen) == supported(alone, chosen)


def supported(judge: RulesThenModel, chosen: Sequence[Call]) -> set[tuple[str, str]]:
    judged = judge.judge([case_of(call) for call in chosen])
    return {
        (call.session, word.path)
        for call, judgement in zip(chosen, judged, strict=True)
        for word in judgement.fields
        if word.verdict == "supported"
    }


def numbers(request: dict[str, Any]) -> list[int]:
    return [claim["claim"] for claim in scripts.asked(request)["claims"]]


def verdicts(request: dict[str, Any], quote: dict[str, Any], **more: Any) -> str:
    claims = scripts.asked(request)["claims"]
    return json.dumps(
        {"verdicts": [{"claim": c["claim"], "verdict": "supported", "quotes": [quote], **more} for c in claims]}
    )


def longest(request: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = max(scripts.asked(request)["turns"], key=lambda turn: len(turn["text"]))
    return {"turn": found["turn"], "text": found["text"]}


USELESS: dict[str, Any] = {
    "not JSON": {"answer": lambda request: "Supported, all of them!"},
    "empty": {"answer": lambda request: ""},
    "a list": {"answer": lambda request: "[]"},
    "no verdicts": {"answer": lambda request: "{}"},
    "nothing judged": {"answer": lambda request: '{"verdicts": []}'},
    "an unknown field": {"answer": lambda request: verdicts(request, {"turn": 0, "text": "x"}, confidence=1)},
    "an unknown claim": {
        "answer": lambda request: json.dumps({"verdicts": [{"claim": 99, "verdict": "supported", "quotes": []}]})
    },
    "an unknown word": {
        "answer": lambda request: json.dumps({"verdicts": [{"claim": 0, "verdict": "yes", "quotes": []}]})
    },
    "no quotes": {
        "answer": lambda request: json.dumps(
            {"verdicts": [{"claim": claim, "verdict": "supported", "quotes": []} for claim in numbers(request)]}
        )
    },
    "a quote that is not there": {"answer": lambda request: verdicts(request, {"turn": 0, "text": "It is confirmed."})},
    "an empty quote": {"answer": lambda request: verdicts(request, {"turn": 0, "text": " "})},
    "a quote of another turn": {
        "answer": lambda request: verdicts(request, longest(request) | {"turn": longest(request)["turn"] + 1})
    },
    "a turn that is not there": {
        "answer": lambda request: verdicts(request, longest(request) | {"turn": 99})
    },
    "a word of the right turn": {"answer": lambda request: verdicts(request, {"turn": 0, "text": "a"})},
    "every claim twice": {
        "answer": lambda request: json.dumps(
            {
                "verdicts": [
                    {"claim": 0, "verdict": word, "quotes": []}
                    for word in ("supported", "unclear")[: len(scripts.asked(request)["claims"])]
                ]
            }
        )
    },
    "five megabytes": {"raw": b'{"choices": [' + b" " * 5_000_000 + b"]}"},
    "five megabytes of answer": {"answer": lambda request: json.dumps({"verdicts": [], "x": "y" * 5_000_000})},
    "no protocol": {"raw": b"<html>busy</html>"},
    "an error": {"status": 500},
    "too many requests": {"status": 429},
    "a refused key": {"status": 401},
    "silence": {"hangs": True},
}  # fmt: skip


@pytest.mark.parametrize("fault", list(USELESS))
def test_a_model_of_no_use_passes_what_rules_alone_prove(server: Model, fault: str) -> None:
    for name, value in USELESS[fault].items():
        setattr(server, name, value)
    chosen = list(calls(SOME))
    alone = supported(judge_of(None), chosen)
    assert supported(judge_of(server.base_url, timeout_s=0.5), chosen) == alone
    assert server.asked
    true = {(call.session, said.atom) for call in chosen for said in call.claims if said.is_true}
    assert alone <= true
    assert alone


def test_a_model_that_is_down_is_left_alone(server: Model) -> None:
    server.status = 503
    judge = judge_of(server.base_url)
    chosen = list(calls(SOME))
    judge.judge([case_of(call) for call in chosen])
    assert len(server.asked) <= judge.concurrency
    codes = {
        word.code for j in judge.judge([case_of(call) for call in chosen]) for word in j.fields if word.by == "model"
    }
    assert codes <= {"llm_503", "llm_down"}


def test_nobody_is_asked_when_nothing_is_left_to_spend(server: Model) -> None:
    judge = judge_of(server.base_url, leave=Nothing())
    chosen = list(calls(SOME))
    assert supported(judge, chosen) == supported(judge_of(None), chosen)
    assert server.asked == []


def test_several_claims_of_a_conversation_are_one_question(server: Model) -> None:
    call = next(call for call in calls(CALLS) if len(call.claims) == 3 and all(said.is_true for said in call.claims))
    server.answer = lambda request: scripts.honest(call, request)
    case = case_of(call)
    again = Case(case.workspace_id, "other", case.entity_type, case.events, case.view, case.material)
    judge_of(server.base_url).judge([case, again])
    assert len(server.asked) == 1


def test_what_leaves_is_what_is_needed(server: Model) -> None:
    """Numbers and addresses that are not claimed are masked; the words of the call are in the data alone."""
    call = Call(
        1,
        "first",
        "patient",
        {"birth_date": "1985-03-14"},
        (
            {"speaker": "agent", "text": "Hello, this is the front desk of Saint Jude."},
            {"speaker": "caller", "text": "I called last week about the invoice of my car."},
            {"speaker": "agent", "text": "And the card that you paid with?"},
            {"speaker": "caller", "text": "4111 1111 1111 1111, and mail me at quatermass@example.org."},
            {"speaker": "agent", "text": "What's your date of birth?"},
            {"speaker": "caller", "text": "March fourteenth nineteen eighty five."},
        ),
    )
    server.answer = lambda request: '{"verdicts": []}'
    words(judge_of(server.base_url), call)
    [asked] = server.asked
    system, user = (message["content"] for message in asked["messages"])
    assert "March fourteenth" in user
    for hidden in ("4111", "1111", "quatermass", "invoice", "Saint Jude"):
        assert hidden not in user
    assert "fourteenth" not in system
    assert asked["response_format"]["json_schema"]["strict"] is True


def test_spending_is_bound_by_the_hour_and_for_each_workspace(database: Database, new_workspace: Any) -> None:
    one, other = new_workspace(), new_workspace()
    leave = SqlLeave(database, 100)

    def taken(workspace: str, tokens: int, at: datetime = WHEN) -> bool:
        return leave.take(workspace, tokens, at, session="call-1", about={})

    assert [taken(one, 40) for _ in range(3)] == [True, True, False]
    assert taken(one, 20)
    assert taken(other, 100)
    assert not taken(other, 101, WHEN.replace(hour=3))
    assert taken(one, 40, WHEN.replace(hour=17))
    with database.begin(one) as tx:
        found = rows(tx, "SELECT requests, tokens FROM model_spending ORDER BY hour")
        noted = rows(tx, "SELECT action FROM audit_read")
    assert [(row["requests"], row["tokens"]) for row in found] == [(3, 100), (1, 40)]
    assert [row["action"] for row in noted] == ["material.disclosed"] * 4, "what did not leave is not said to have"
    assert not SqlLeave(database, 0).take(one, 1, WHEN, session="call-1", about={})


def test_what_leaves_for_the_model_is_on_record_before_it_does(
    server: Model, database: Database, new_workspace: Any
) -> None:
    call = next(call for call in calls(CALLS) if judge_of(server.base_url).judge([case_of(call)]) and server.asked)
    case = replace(case_of(call), workspace_id=new_workspace())

    def noted() -> list[Any]:
        with database.begin(case.workspace_id) as tx:
            return rows(tx, "SELECT actor, action, object, CAST(detail AS text) AS detail FROM audit_read")

    seen: list[Any] = []

    def answer(request: Any) -> str:
        seen.extend(noted())
        return scripts.honest(call, request)

    server.answer = answer
    judge_of(server.base_url, leave=SqlLeave(database, 10_000)).judge([case])
    (note,) = seen
    assert (note["actor"], note["action"], note["object"]) == ("connector_runner", "material.disclosed", call.session)
    detail = json.loads(note["detail"])
    assert detail["entities"] == [case.entity_id]
    assert detail["host"] == server.base_url.split("/")[2]
    assert detail["model"] == "small-1"
    assert set(detail["fields"]) <= {said.atom.partition("[")[0] for said in call.claims}
    assert detail["turns"] > 0


def test_where_it_cannot_be_put_on_record_nothing_leaves(server: Model) -> None:
    class Away:
        def take(self, *_: Any, **__: Any) -> bool:
            raise Unavailable("Postgres cannot be used now", code="database_unavailable")

    judge = judge_of(server.base_url, leave=Away())
    chosen = list(calls(SOME))
    assert supported(judge, chosen) == supported(judge_of(None), chosen)
    assert server.asked == []
