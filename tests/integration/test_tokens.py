"""Tokens of a strict authorization server: had once, shared, renewed, and what is said when they cannot be had."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.auth import token_store
from connector_runner.infra.database import Database
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Forbidden, Misconfigured, RateLimited, TryAgain, Unavailable
from connector_runner.sandbox import launch
from tests.integration.token_bench import TokenBench, call, http

KEY = b"k" * 32


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store", auth="smart") as system:
        yield system


@pytest.fixture
def bench(database: Database, workspace: str, running: launch.Running) -> Iterator[TokenBench]:
    way_out = http()
    yield TokenBench(database, Sealer(KEY), way_out, workspace, running)
    way_out.close()


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_strict_server_takes_our_assertions(bench: TokenBench, algorithm: str) -> None:
    auth = bench.smart(algorithm=algorithm)
    token = bench.token(bench.credential(auth))
    answer = call("GET", f"{bench.system.base_url}/Patient", headers={"Authorization": f"Bearer {token}"})
    assert answer["resourceType"] == "Bundle"
    bench.end_tokens()
    assert bench.token(bench.credential(auth)) != token
    assert [entry["status"] for entry in bench.asked] == [200, 200]


def test_the_server_of_these_tests_refuses_a_replayed_assertion(bench: TokenBench) -> None:
    auth = bench.smart()
    sent: list[bytes] = []
    send = bench.http.request

    def twice(method: str, url: str, **how: Any) -> Any:
        if method == "POST":
            sent.append(how["data"])
            send(method, url, **how)
        return send(method, url, **how)

    bench.http.request = twice  # type: ignore[method-assign]
    with pytest.raises(Misconfigured) as caught:
        bench.token(bench.credential(auth))
    assert caught.value.code == "assertion_replayed"
    assert sent


def test_all_workers_share_one_token(bench: TokenBench) -> None:
    auth = bench.smart()
    tokens = {bench.token(bench.credential(auth)) for _ in range(5)}
    assert len(tokens) == 1
    assert len(bench.asked) == 1


def test_fifty_threads_that_race_one_expired_token_make_one_request(bench: TokenBench) -> None:
    auth = bench.smart()
    bench.token(bench.credential(auth))
    bench.end_tokens()
    bench.behave(fault="slow", seconds=0.3)
    start = threading.Barrier(50)

    def work(_: int) -> str:
        credential = bench.credential(auth)
        start.wait()
        return bench.token(credential)

    with ThreadPoolExecutor(50) as pool:
        tokens = set(pool.map(work, range(50)))
    assert len(tokens) == 1
    assert len(bench.asked) == 2


def test_of_those_who_all_saw_that_there_is_no_token_one_asks(
    bench: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = bench.smart()
    bench.behave(fault="slow", seconds=0.3)
    seen, look, first = threading.Barrier(10), token_store.look, threading.local()

    def together(*arguments: Any) -> Any:
        row = look(*arguments)
        if not hasattr(first, "over"):
            first.over = True
            seen.wait()
        return row

    monkeypatch.setattr(token_store, "look", together)
    with ThreadPoolExecutor(10) as pool:
        tokens = set(pool.map(lambda _: bench.token(bench.credential(auth)), range(10)))
    assert (len(tokens), len(bench.asked)) == (1, 1)


def test_who_comes_to_ask_after_another_was_refused_does_not(
    bench: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = bench.smart(ended=True)
    seen, refused, claim = threading.Barrier(2), threading.Event(), token_store.claim

    def in_turn(*arguments: Any, **how: Any) -> bool:
        if not refused.is_set() and seen.wait() == 0:
            refused.wait(10)
        return claim(*arguments, **how)

    def work(_: int) -> str:
        with pytest.raises(Misconfigured) as caught:
            bench.token(bench.credential(auth))
        refused.set()
        return caught.value.code

    monkeypatch.setattr(token_store, "claim", in_turn)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == ["registration_ended"] * 2
    assert len(bench.asked) == 1


def test_fifty_threads_whose_token_the_server_dropped_make_one_request(bench: TokenBench) -> None:
    auth = bench.smart()
    credentials = [bench.credential(auth) for _ in range(50)]
    for credential in credentials:
        bench.token(credential)
    bench.revoke()
    start = threading.Barrier(50)

    def work(n: int) -> str:
        start.wait()
        bench.token(credentials[n])
        assert credentials[n].renew()
        return bench.token(credentials[n])

    with ThreadPoolExecutor(50) as pool:
        tokens = set(pool.map(work, range(50)))
    assert len(tokens) == 1
    assert len(bench.asked) == 2


def _race(url: str, workspace: str, source_id: str, base_url: str, auth: dict[str, Any], out: Any) -> None:
    """One process of several, each with ten workers."""
    from connector_runner.auth.minting import Site
    from connector_runner.auth.opening import Credentials
    from tests.integration.token_bench import AUTH

    database = Database(url, pool_size=10)
    credentials = Credentials(database, http(), Sealer(KEY))

    def work(_: int) -> str:
        opened = credentials.opener(Site(workspace, source_id, base_url), str)(AUTH.validate_python(auth), "read")
        headers: dict[str, str] = {}
        opened.apply(headers, [])
        return headers["Authorization"]

    with ThreadPoolExecutor(10) as pool:
        out.put(sorted(set(pool.map(work, range(10)))))


def test_fifty_workers_in_five_processes_make_one_request(bench: TokenBench, database_url: str) -> None:
    auth = bench.smart()
    bench.behave(fault="slow", seconds=0.5)
    spawn = multiprocessing.get_context("spawn")
    out: Any = spawn.Queue()
    given = (database_url, bench.workspace, bench.source_id, bench.system.base_url, auth, out)
    processes = [spawn.Process(target=_race, args=given) for _ in range(5)]
    for process in processes:
        process.start()
    tokens = [out.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(30)
    assert len({token for found in tokens for token in found}) == 1
    assert len(bench.asked) == 1


def test_fifty_workers_that_are_refused_make_one_request(bench: TokenBench) -> None:
    auth = bench.smart(ended=True)
    start = threading.Barrier(50)

    def work(_: int) -> str:
        credential = bench.credential(auth)
        start.wait()
        with pytest.raises(Misconfigured) as caught:
            bench.token(credential)
        return caught.value.code

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(work, range(50))) == {"registration_ended"}
    assert len(bench.asked) == 1


def test_a_token_is_renewed_before_it_ends_and_used_meanwhile(bench: TokenBench) -> None:
    auth = bench.smart()
    first = bench.token(bench.credential(auth))
    bench.end_tokens(renew_only=True)
    bench.behave(fault="slow", seconds=1)
    with ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(lambda: bench.token(bench.credential(auth)))
        while len(bench.asked) < 2:
            pass
        assert bench.token(bench.credential(auth)) == first
        assert renewing.result() != first
    bench.behave(fault="status", status=503)
    second = bench.token(bench.credential(auth))
    bench.end_tokens(renew_only=True)
    assert bench.token(bench.credential(auth)) == second, "a token that holds is used while another cannot be had"
    assert bench.shown()[0]["failure_code"] == "token_server_failed"


def test_a_fresh_token_that_is_refused_is_not_renewed_over_and_over(bench: TokenBench) -> None:
    credential = bench.credential(bench.smart())
    bench.token(credential)
    assert credential.renew()
    bench.token(credential)
    assert [credential.renew() for _ in range(5)] == [False] * 5
    assert len(bench.asked) == 2


def test_what_a_worker_that_died_was_at_is_taken_over(bench: TokenBench) -> None:
    auth = bench.smart()
    first = bench.token(bench.credential(auth))
    bench.change("owner = 'gone', owner_until = now() + interval '1 second', expires_at = now(), renew_at = now()")
    assert bench.token(bench.credential(auth)) != first
    assert len(bench.asked) == 2


def test_nothing_of_a_token_can_be_read_in_the_table(bench: TokenBench) -> None:
    token = bench.token(bench.credential(bench.smart()))
    assert token not in bench.everything_kept()


def test_rotation_in_the_middle_of_a_poll_loses_nothing(bench: TokenBench) -> None:
    from connector_runner.auth import client_keys

    cache = timedelta(seconds=2)
    with bench.database.begin(bench.workspace) as tx:
        client_keys.add(tx, bench.workspace, bench.sealer, actor="test", now=utc_now(), cache_life=cache)
    with bench.published(max_age=2) as url:
        bench.register({"client_id": "runner", "scopes": "system/*.rs", "jwks_url": url})
        bench.behave(life_s=1)
        auth = {"kind": "smart_backend", "client_id": "runner", "scopes": ["system/*.rs"]}
        credential = bench.credential(auth)
        kids, rotated_at, ends = [], None, utc_now() + timedelta(seconds=7)
        while utc_now() < ends:
            headers = {"Authorization": f"Bearer {bench.token(credential)}"}
            assert call("GET", f"{bench.system.base_url}/Patient", headers=headers)["resourceType"] == "Bundle"
            kids = [entry["kid"] for entry in bench.asked]
            if rotated_at is None and len(kids) == 2:
                rotated_at = utc_now()
                with bench.database.begin(bench.workspace) as tx:
                    client_keys.rotate(
                        tx, bench.workspace, bench.sealer, actor="test", now=rotated_at, cache_life=cache,
                        algorithm="ES384",
                    )  # fmt: skip
        assert len(dict.fromkeys(kids)) == 2, "both keys have signed"
        assert kids == sorted(kids, key=kids.index)
        assert {entry["status"] for entry in bench.asked} == {200}


FAILURES = {
    "wrong_key": ({"jwks": {"keys": []}}, {}, "wrong_key", "register its public half"),
    "registration_ended": ({"ended": True}, {}, "registration_ended", "renew it at the vendor"),
    "null_description": ({"ended": True}, {"words": False}, "client_refused", "without saying why"),
    "four_hundred_for_401": ({"ended": True}, {"refusal_status": 400}, "registration_ended", "renew it at the vendor"),
    "unknown_scope": ({"scopes": "system/Patient.rs"}, {"strict_scopes": True}, "unknown_scope", "auth.scopes"),
    "no_scope_left": ({}, {"grant": "system/Basic.rs"}, "scope_refused", "granted none"),
    "jwks_down": ({"jwks_url": "http://127.0.0.1:9/jwks.json"}, {}, "jwks_unreachable", "key-set address"),
    "html": ({}, {"fault": "html"}, "token_not_oauth", "a web page"),
    "html_error": ({}, {"fault": "html_error"}, "token_not_oauth", "a web page"),
    "moved": ({}, {"fault": "status", "status": 307}, "token_address", "redirect"),
    "no_token": ({}, {"fault": "no_token"}, "token_missing", "without a usable access_token"),
    "other_type": ({}, {"fault": "mac"}, "token_type", "other than bearer"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_each_fault_has_a_code_and_says_what_to_mend(bench: TokenBench, case: str) -> None:
    client, conduct, code, words = FAILURES[case]
    auth = {**bench.smart(**client), "scopes": ["system/Patient.rs", "system/Observation.rs"]}  # type: ignore[arg-type]
    bench.behave(**conduct)
    for _ in range(4):
        with pytest.raises(Misconfigured, match=words) as caught:
            bench.token(bench.credential(auth))
        assert caught.value.code == code
    assert len(bench.asked) == 1, "no storm"
    (row,) = bench.shown()
    assert (row["failure_code"], row["failures"]) == (code, 1)
    assert words in row["failure_text"]


def test_what_mends_a_fault_is_tried_at_once(bench: TokenBench) -> None:
    bench.register({"client_id": "app", "secret": "right", "scopes": "system/*.rs"})
    auth = {"kind": "client_credentials", "client_id": "app", "client_secret": "env:S", "scopes": "system/*.rs"}
    for _ in range(3):
        with pytest.raises(Misconfigured) as caught:
            bench.token(bench.credential(auth, S="wrong"))
        assert caught.value.code == "client_refused"
    assert bench.token(bench.credential(auth, S="right"))
    assert [entry["status"] for entry in bench.asked] == [401, 200]


@pytest.mark.parametrize("conduct", [{"status": 503}, {"status": 500}, {"status": 429}])
def test_passing_faults_are_waited_out_by_all_workers(bench: TokenBench, conduct: dict[str, int]) -> None:
    auth = bench.smart()
    bench.behave(fault="status", next=2, **conduct)
    for attempt in (1, 2):
        for worker in range(3):
            with pytest.raises(TryAgain) as caught:
                bench.token(bench.credential(auth))
            if worker:
                assert isinstance(caught.value, Unavailable)
                assert caught.value.retry_after_s is not None
        assert len(bench.asked) == attempt
        bench.end_pauses()
    assert bench.token(bench.credential(auth))


@pytest.mark.parametrize("ahead_s", [-900, 900])
def test_clocks_that_differ_are_learned_and_told_of(bench: TokenBench, ahead_s: float) -> None:
    auth = bench.smart()
    bench.behave(clock_s=ahead_s)
    assert bench.token(bench.credential(auth))
    assert [entry["status"] for entry in bench.asked] == [401, 200]
    (row,) = bench.shown()
    assert row["clock_offset_s"] == pytest.approx(ahead_s, abs=3)
    assert "clock_skew" in row["notes"]
    bench.end_tokens()
    assert bench.token(bench.credential(auth))
    assert len(bench.asked) == 3, "what was learned is used at once"


def test_what_is_refused_by_the_right_clock_too_is_not_blamed_on_ours(bench: TokenBench) -> None:
    auth = bench.smart(ended=True)
    bench.behave(clock_s=900, words=False)
    with pytest.raises(Misconfigured, match=r"(899|900) s apart") as caught:
        bench.token(bench.credential(auth))
    assert caught.value.code == "client_refused"
    assert len(bench.asked) == 2


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


EXCHANGE = {
    "kind": "bearer_token_exchange", "exchange_secret": "env:S", "exchange_secret_format": "{secret}",
    "exchange_expires_in_field": "expires_in",
    "exchange_param_headers": [{"header_name": "X-User", "param_name": "user_id"}],
}  # fmt: skip


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
    from tests.integration.token_bench import AUTH

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
    from tests.integration.token_bench import AUTH

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
