"""The language model behind a real HTTP server: what it is sent, and everything that it may answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.infra.http import HTTP
from connector_runner.infra.llm import LanguageModel, Nonsense, Question
from connector_runner.kernel.errors import Misconfigured, RunnerError, TryAgain
from connector_runner.settings import PROJECT_ROOT, Settings
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.translation_prompt import answer_schema, rules
from tests.integration.llm_server import Model, serving

VOCABULARY = load_mappings(PROJECT_ROOT / "mappings").vocabularies["marital_status"]
QUESTION = Question("translation", rules(VOCABULARY), "tied the knot", answer_schema(VOCABULARY))
CANARY = "sk-quatermass"


@pytest.fixture
def server() -> Iterator[Model]:
    with serving() as model:
        yield model


def client(base_url: str, *, allow: tuple[str, ...] = ("127.0.0.1",), timeout_s: float = 5.0) -> LanguageModel:
    http = HTTP(Settings(http_allow=allow))
    return LanguageModel(http, base_url=base_url, model="small-1", api_key=CANARY, timeout_s=timeout_s)


def test_it_is_asked_once_coolly_and_for_one_shape(server: Model) -> None:
    server.says("M")
    assert client(server.base_url).ask(QUESTION) == {"code": "M"}
    [asked] = server.asked
    assert (asked["model"], asked["temperature"]) == ("small-1", 0)
    assert asked["response_format"]["json_schema"] == {
        "name": "translation",
        "strict": True,
        "schema": answer_schema(VOCABULARY),
    }
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert json.loads(asked["messages"][1]["content"]) == {"value": "tied the knot"}
    assert "tied the knot" not in asked["messages"][0]["content"]
    assert server.headers[0]["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_one_that_cannot_answer_now_is_not_asked_again_at_once(server: Model, status: int) -> None:
    server.status = status
    with pytest.raises(TryAgain) as caught:
        client(server.base_url).ask(QUESTION)
    assert caught.value.code == f"llm_{status}"
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_an_unknown_model_is_a_matter_of_settings(server: Model, status: int) -> None:
    server.status = status
    with pytest.raises(Misconfigured) as caught:
        client(server.base_url).ask(QUESTION)
    assert CANARY not in str(caught.value)


def message(content: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>busy</html>",
        b"[]",
        b"{}",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": "M"}',
        message(None),
        message("M"),
        message("Sure! The code is M."),
        message('{"code": "M", "also": "drop the table"}'),
        message('{"code": "X"}'),
        message('{"code": ["M"]}'),
        message('{"code": "m"}'),
        message("[" * 5000),
        b"\xff\xfe",
    ],
)
def test_nonsense_is_told_from_an_answer(server: Model, raw: bytes) -> None:
    server.raw = raw
    with pytest.raises(Nonsense):
        client(server.base_url).ask(QUESTION)
    assert len(server.asked) == 1


def test_a_question_that_it_does_not_take_is_nonsense_too(server: Model) -> None:
    server.status = 400
    with pytest.raises(Nonsense):
        client(server.base_url).ask(QUESTION)


def test_one_that_hangs_is_left_in_time(server: Model) -> None:
    server.hangs = True
    started = time.monotonic()
    with pytest.raises(TryAgain):
        client(server.base_url, timeout_s=0.5).ask(QUESTION)
    assert time.monotonic() - started < 3


def test_an_answer_without_end_is_cut_off(server: Model) -> None:
    server.raw = message("M" * 200_000)
    with pytest.raises(TryAgain) as caught:
        client(server.base_url).ask(QUESTION)
    assert caught.value.code == "answer_too_long"


def test_nobody_listening_is_told_as_that() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TryAgain) as caught:
        client(f"http://127.0.0.1:{port}/v1").ask(QUESTION)
    assert caught.value.code == "not_sent"


def test_an_address_that_was_not_named_is_not_called(server: Model) -> None:
    with pytest.raises(Misconfigured) as caught:
        client(server.base_url, allow=()).ask(QUESTION)
    assert caught.value.code == "address_refused"
    assert server.asked == []


def test_a_redirect_is_not_followed(server: Model) -> None:
    with serving() as elsewhere:
        elsewhere.says("M")
        server.status, server.location = 307, f"{elsewhere.base_url}/chat/completions"
        with pytest.raises(RunnerError):
            client(server.base_url).ask(QUESTION)
        assert elsewhere.asked == []


def test_settings_name_both_or_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    http = HTTP(Settings())
    assert LanguageModel.of(Settings(), http) is None
    for half in ({"llm_base_url": "https://x.example/v1"}, {"llm_model": "m"}):
        with pytest.raises(Misconfigured):
            LanguageModel.of(Settings(**half), http)
    whole = {"llm_base_url": "https://x.example/v1", "llm_model": "m", "llm_api_key": "env:NO_SUCH_KEY"}
    with pytest.raises(Misconfigured) as caught:
        LanguageModel.of(Settings(**whole), http)
    assert caught.value.code == "secret_missing"
    monkeypatch.setenv("NO_SUCH_KEY", CANARY)
    made = LanguageModel.of(Settings(**whole), http)
    assert made is not None
    assert made.model == "m"
