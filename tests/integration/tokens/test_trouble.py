"""Tokens where something fails on the way: an answer that is lost, Postgres away, rows dropped in between."""

from __future__ import annotations

import time
from typing import Any

import pytest

from connector_runner.auth import token_store
from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.settings import parse
from connector_runner.connectors.sinks import Capabilities, Outcome
from connector_runner.infra.database import one
from connector_runner.kernel.errors import Forbidden, Unavailable
from tests.integration.tokens.bench import EXCHANGE, TokenBench, call


def test_a_token_server_that_does_not_answer_leaves_no_doubt_about_the_write(
    bench: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write was never sent: to call it unknown would quarantine it where nothing can be searched for."""
    monkeypatch.setattr("connector_runner.auth.minting.REQUEST_S", 0.3)
    auth = bench.smart()
    settings = parse(FHIRSettings, {"base_url": bench.system.base_url, "auth": auth})
    credential = bench.credential(auth, "write")
    opening = Opening(bench.http, str, open_credential=lambda *_: credential)
    sink = FHIRSink(FHIRClient(opening, settings), Capabilities())
    bench.behave(fault="slow", seconds=1.0)
    reply = sink.create({"resourceType": "Patient", "id": "one"}, "one")
    assert (reply.outcome, reply.code) == (Outcome.NOT_SENT, "token_server_failed")
    monkeypatch.setattr("connector_runner.auth.minting.REQUEST_S", 20.0)
    bench.behave(fault="")
    bench.change("retry_at = NULL")
    assert sink.create({"resourceType": "Patient", "id": "one"}, "one").outcome is Outcome.LANDED
    journal = call("GET", f"{bench.system.switchboard}/journal")
    assert [entry["method"] for entry in journal if entry["path"].endswith("Patient/one")] == ["PUT"]


def test_a_new_refresh_token_outlasts_a_postgres_that_is_away(
    bench: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server took the old one for good: with the new one lost, somebody would have to authorize again."""
    bench.register({"client_id": "app", "secret": "s", "refresh_token": "first", "scopes": "system/*.rs"})
    auth = {"kind": "refresh_token", "client_id": "app", "client_secret": "env:S", "refresh_token": "env:R"}
    keep, away = token_store.keep, [True, True]

    def breaks(*arguments: Any) -> bool:
        if away:
            away.pop()
            raise Unavailable("Postgres cannot be used now", code="database_unavailable")
        return keep(*arguments)

    monkeypatch.setattr(token_store, "keep", breaks)
    assert bench.token(bench.credential(auth, S="s", R="first"))
    bench.end_tokens()
    assert bench.token(bench.credential(auth, S="s", R="first"))
    assert [entry["status"] for entry in bench.asked] == [200, 200]


def test_a_row_that_is_dropped_after_it_was_seen_holds_nobody_up(
    bench: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.register({"client_id": "exchange", "secret": "s", "scopes": "system/*.rs"})
    auth = {**EXCHANGE, "exchange_url": f"{bench.system.origin}/auth/exchange"}

    def ask(user: str) -> str:
        return bench.token(bench.credential(auth, S="s"), ("user_id", user))

    ask("smith")
    bench.change("expires_at = now() - interval '2 hours', renew_at = now() - interval '2 hours', owner_until = NULL")
    claim, others = token_store.claim, ["doe"]

    def after_another(*arguments: Any, **how: Any) -> bool:
        if others:
            ask(others.pop())  # drops what is old
        return claim(*arguments, **how)

    monkeypatch.setattr(token_store, "claim", after_another)
    first = ask("smith")
    began = time.monotonic()
    assert ask("smith") == first, "the token is kept for the others"
    assert time.monotonic() - began < 5
    assert len(bench.asked) == 3


def test_what_is_known_of_refused_parameters_is_dropped_in_time(bench: TokenBench) -> None:
    bench.register({"client_id": "exchange", "secret": "s", "scopes": "system/*.rs"})
    auth = {**EXCHANGE, "exchange_url": f"{bench.system.origin}/auth/exchange"}
    for n in range(3):
        with pytest.raises(Forbidden):
            bench.token(bench.credential(auth, S="s"), ("user_id", f"unknown-{n}"))
    bench.change("retry_at = now() - interval '2 hours'")
    assert bench.token(bench.credential(auth, S="s"), ("user_id", "known"))
    with bench.database.begin(bench.workspace) as tx:
        found = one(tx, "SELECT count(*) AS n FROM access_token WHERE workspace_id = :ws", ws=bench.workspace)
    assert found == {"n": 1}
