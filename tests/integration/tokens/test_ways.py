"""Each way of asking for a token: discovery, scopes, secrets, refresh, JSON, exchange, service account."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from connector_runner.kernel.errors import Forbidden, Misconfigured, RateLimited
from tests.integration.tokens.bench import AUTH, EXCHANGE, TokenBench


@pytest.mark.parametrize(("told", "noted"), [(0, ["no_expiry"]), (-1, [])])
def test_a_token_without_expiry_lives_shortly_and_is_noted(bench: TokenBench, told: int, noted: list[str]) -> None:
    bench.behave(told_s=told)
    bench.token(bench.credential(bench.smart()))
    (row,) = bench.shown()
    assert row["notes"] == noted
    life = (row["expires_at"] - row["issued_at"]).total_seconds()
    assert life == pytest.approx(115 if noted else 295, abs=1)
    renewed = (row["renew_at"] - row["issued_at"]).total_seconds()
    assert 0.75 <= renewed / (120 if noted else 300) <= 0.8


@pytest.mark.parametrize("discovery", ["well-known", "metadata"])
def test_where_tokens_are_had_is_found_and_kept(bench: TokenBench, discovery: str) -> None:
    auth = bench.smart()
    bench.behave(discovery=discovery)
    bench.token(bench.credential(auth))
    bench.behave(discovery="none")
    bench.end_tokens()
    bench.token(bench.credential(auth))
    bench.end_tokens()
    bench.change("discovered_at = now() - interval '2 hours'")
    with pytest.raises(Misconfigured) as caught:
        bench.token(bench.credential(auth))
    assert caught.value.code == "no_token_url"


@pytest.mark.parametrize(
    ("permissions", "asked"),
    [("v1", "system/Patient.read"), ("v2", "system/Patient.rs"), ("v1 v2", "system/Patient.rs")],
)
def test_scopes_are_asked_in_the_version_that_the_server_states(
    bench: TokenBench, permissions: str, asked: str
) -> None:
    auth = {**bench.smart(scopes="system/*.cruds"), "scopes": []}
    bench.behave(permissions=permissions, strict_scopes=True)
    bench.token(bench.credential(auth, types=("Patient",)))
    assert bench.shown()[0]["asked"] == asked


def test_a_narrower_grant_takes_single_types_away(bench: TokenBench) -> None:
    auth = {**bench.smart(scopes="system/Patient.rs"), "scopes": ["system/Patient.rs", "system/Observation.rs"]}
    credential = bench.credential(auth)
    bench.token(credential)
    assert credential.grants("Patient", "s")
    assert not credential.grants("Observation", "s")
    assert bench.shown()[0]["notes"] == ["scope_narrowed"]


def test_client_secrets_go_as_basic_or_in_the_form(bench: TokenBench) -> None:
    bench.register({"client_id": "a/b c", "secret": "s:e%cret", "scopes": "system/*.rs"})
    for method in ("basic", "post"):
        auth = {"kind": "client_credentials", "client_id": "a/b c", "client_secret": "env:S", "method": method}
        assert bench.token(bench.credential({**auth, "scopes": "system/*.rs"}, S="s:e%cret"))
    assert [entry["status"] for entry in bench.asked] == [200, 200]


def test_a_refresh_token_is_used_once_and_its_successor_kept(bench: TokenBench) -> None:
    bench.register({"client_id": "app", "secret": "s", "refresh_token": "first", "scopes": "system/*.rs"})
    auth = {"kind": "refresh_token", "client_id": "app", "client_secret": "env:S", "refresh_token": "env:R"}
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: bench.token(bench.credential(auth, S="s", R="first")), range(20)))
    for direction in ("read", "write", "read"):
        bench.end_tokens()
        assert bench.token(bench.credential(auth, direction, S="s", R="first"))  # type: ignore[arg-type]
    assert [entry["status"] for entry in bench.asked] == [200] * 4
    bench.register({"client_id": "app", "secret": "s", "refresh_token": "again", "scopes": "system/*.rs"})
    bench.end_tokens()
    with pytest.raises(Misconfigured) as caught:
        bench.token(bench.credential(auth, S="s", R="first"))
    assert caught.value.code == "grant_ended"
    assert bench.token(bench.credential(auth, S="s", R="again")), "a new grant counts at once"


def test_json_for_a_token(bench: TokenBench) -> None:
    bench.register({"client_id": "app", "secret": "s", "scopes": "system/*.rs"})
    auth = {
        "kind": "json_token_exchange", "token_url": f"{bench.system.origin}/auth/json", "client_id": "app",
        "client_secret": "env:S", "token_path": "data.token", "expires_in_path": "data.ttl",
    }  # fmt: skip
    assert bench.token(bench.credential(auth, S="s"))
    bench.end_tokens()
    with pytest.raises(Misconfigured) as caught:
        bench.token(bench.credential(auth, S="wrong"))
    assert caught.value.code == "client_refused"


def test_one_token_for_each_set_of_parameters(bench: TokenBench) -> None:
    bench.register({"client_id": "exchange", "secret": "s{}", "scopes": "system/*.rs"})
    auth = {**EXCHANGE, "exchange_url": f"{bench.system.origin}/auth/exchange"}

    def ask(user: str) -> str:
        params = [("user_id", user), ("active", "true")]
        headers: dict[str, str] = {}
        bench.credential(auth, S="s{}").apply(headers, params)
        assert params == [("active", "true")], "what only the exchange wants is taken off"
        return headers["Authorization"]

    with ThreadPoolExecutor(30) as pool:
        tokens = list(pool.map(ask, ["smith-jane", "doe-john", "roe-ann"] * 10))
    assert len(set(tokens)) == 3
    assert len(bench.asked) == 3
    kept = bench.everything_kept()
    assert not any(name in kept for name in ("smith", "doe-john", "roe-ann"))


def test_refused_parameters_are_a_matter_of_one_record(bench: TokenBench) -> None:
    bench.register({"client_id": "exchange", "secret": "s", "scopes": "system/*.rs"})
    auth = {**EXCHANGE, "exchange_url": f"{bench.system.origin}/auth/exchange"}
    for _ in range(3):
        with pytest.raises(Forbidden) as refused:
            bench.token(bench.credential(auth, S="s"), ("user_id", "unknown-1"))
        assert refused.value.code == "exchange_parameters_refused"
    assert bench.token(bench.credential(auth, S="s"), ("user_id", "known"))
    assert len(bench.asked) == 2
    for params in ((), (("user_id", "a"), ("user_id", "b"))):
        with pytest.raises(Misconfigured, match="user_id") as caught:
            bench.token(bench.credential(auth, S="s"), *params)
        assert caught.value.code == "exchange_parameter_missing"
    with pytest.raises(Misconfigured) as caught:
        bench.token(bench.credential(auth, S="s"), ("user_id", "a\r\nX-Admin: 1"))
    assert caught.value.code == "exchange_parameter_value"


def test_a_private_address_is_refused_when_it_is_called(bench: TokenBench) -> None:
    from connector_runner.auth.minting import Site
    from connector_runner.auth.opening import Credentials
    from connector_runner.infra.http import HTTP
    from connector_runner.settings import Settings

    guarded = Credentials(bench.database, HTTP(Settings()), bench.sealer)
    auth = AUTH.validate_python({**EXCHANGE, "exchange_url": f"{bench.system.origin}/auth/exchange"})
    opened = guarded.opener(Site(bench.workspace, bench.source_id), lambda _: "s")(auth, "read")
    with pytest.raises(Misconfigured) as caught:
        bench.token(opened, ("user_id", "1"))
    assert caught.value.code == "address_refused"
    assert bench.asked == []


def test_token_requests_go_through_the_passage_that_they_are_given(bench: TokenBench) -> None:
    from connector_runner.auth.minting import Site
    from connector_runner.auth.opening import Credentials

    auth = AUTH.validate_python(bench.smart())
    passed: list[int] = []

    def passage(send: Any) -> Any:
        if not passed:
            passed.append(0)
            raise RateLimited("not its turn", code="read_paced", retry_after_s=1)
        passed.append(1)
        return send()

    credentials = Credentials(bench.database, bench.http, bench.sealer)
    site = Site(bench.workspace, bench.source_id, bench.system.base_url)
    opened = credentials.opener(site, str, passage=passage)(auth, "read")
    with pytest.raises(RateLimited):
        bench.token(opened)
    assert bench.shown()[0]["failure_code"] is None, "to wait for a turn is no failure"
    assert bench.token(opened)
    assert passed == [0, 1]


def test_google_service_account(bench: TokenBench) -> None:
    from connector_runner.auth.assertions import new_private_key

    file = {"client_email": "a@b.iam", "private_key": new_private_key("RS384"), "private_key_id": "g1"}
    sent: list[str] = []

    def request(method: str, url: str, **how: Any) -> Any:
        from connector_runner.infra.http import Answer

        sent.append(how["data"].decode())
        return Answer(200, {}, b'{"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}', url)

    bench.http.request = request  # type: ignore[method-assign]
    assert (
        bench.token(bench.credential({"kind": "google_service_account", "credentials": "env:F"}, F=json.dumps(file)))
        == "ya29"
    )
    from urllib.parse import parse_qs

    from jose import jwt

    form = parse_qs(sent[0])
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claims = jwt.get_unverified_claims(form["assertion"][0])
    assert claims["iss"] == "a@b.iam"
    assert claims["aud"] == "https://oauth2.googleapis.com/token"
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(form["assertion"][0])["alg"] == "RS256"
