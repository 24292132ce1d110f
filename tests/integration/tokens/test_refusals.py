"""What is said, and how long is waited, when a token cannot be had."""

from __future__ import annotations

import pytest

from connector_runner.kernel.errors import Misconfigured, TryAgain, Unavailable
from tests.integration.tokens.bench import TokenBench

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
