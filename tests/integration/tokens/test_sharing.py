"""One token for all workers: had once, renewed before it ends, and kept where nobody reads it."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.auth import token_store
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from tests.integration.tokens.bench import TokenBench, call, race


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


def test_fifty_workers_in_five_processes_make_one_request(bench: TokenBench, database_url: str) -> None:
    auth = bench.smart()
    bench.behave(fault="slow", seconds=0.5)
    spawn = multiprocessing.get_context("spawn")
    out: Any = spawn.Queue()
    given = (database_url, bench.workspace, bench.source_id, bench.system.base_url, auth, out)
    processes = [spawn.Process(target=race, args=given) for _ in range(5)]
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
        bench.behave(life_s=3)
        auth = {"kind": "smart_backend", "client_id": "runner", "scopes": ["system/*.rs"]}
        credential = bench.credential(auth)
        kids, rotated_at, ends = [], None, utc_now() + timedelta(seconds=10)
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
