"""What token servers answer in the field, and the one code and fix that each comes to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.auth import answers
from connector_runner.auth.answers import Asked
from connector_runner.infra.http import Answer
from connector_runner.kernel.errors import Misconfigured, RateLimited, RunnerError, Unavailable

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ASKED = Asked("auth", client="runner", kid="k1", asserted=True)


def answer(status: int, body: Any, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, headers, raw, "https://x")


def refused(status: int, body: Any, asked: Asked = ASKED, **headers: str) -> RunnerError:
    with pytest.raises(RunnerError) as caught:
        answers.checked(answer(status, body, **headers), asked, NOW)
    return caught.value


@pytest.mark.parametrize(
    ("description", "code"),
    [
        (None, "client_refused"),
        ("", "client_refused"),
        ("Invalid JWT signature.", "wrong_key"),
        ("no applicable key found in the JSON Web Key Set", "wrong_key"),
        ("Unable to retrieve JWKS from the registered URI", "jwks_unreachable"),
        ("jwks_uri could not be fetched", "jwks_unreachable"),
        ("The key set download timed out", "jwks_unreachable"),
        ("Client registration has expired", "registration_ended"),
        ("The application is disabled for this tenant", "registration_ended"),
        ("client assertion has expired", "clock_skew"),
        ("exp must be no more than five minutes in the future", "clock_skew"),
        ("JWT not yet valid", "clock_skew"),
        ("jti has already been used", "assertion_replayed"),
        ("aud does not match", "wrong_audience"),
        ("client not found", "client_unknown"),
        ("client authentication failed", "client_refused"),
    ],
)
@pytest.mark.parametrize("status", [400, 401])
def test_an_invalid_client_for_each_reason(status: int, description: str | None, code: str) -> None:
    error = refused(status, {"error": "invalid_client", "error_description": description})
    assert isinstance(error, Misconfigured)
    assert error.code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("invalid_scope", "unknown_scope"),
        ("unauthorized_client", "client_not_allowed"),
        ("unsupported_grant_type", "grant_not_supported"),
        ("invalid_request", "token_request_refused"),
        ("invalid_target", "token_request_refused"),
        ("a thing of their own", "token_request_refused"),
        ("invalid_grant", "client_refused"),
    ],
)
def test_each_error_of_the_standard(error: str, code: str) -> None:
    assert refused(400, {"error": error, "error_description": None}).code == code


def test_a_spent_refresh_token() -> None:
    found = refused(400, {"error": "invalid_grant"}, Asked("auth", refreshed=True))
    assert (found.code, isinstance(found, Misconfigured)) == ("grant_ended", True)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (429, {}, RateLimited, "token_rate_limited"),
        (503, b"<html>", Unavailable, "token_server_failed"),
        (500, {"error": "server_error"}, Unavailable, "token_server_failed"),
        (400, {"error": "temporarily_unavailable"}, Unavailable, "token_server_failed"),
        (302, b"", Misconfigured, "token_address"),
        (404, {"message": "x"}, Misconfigured, "token_address"),
        (405, {"message": "x"}, Misconfigured, "token_address"),
        (404, b"<html>not here</html>", Misconfigured, "token_not_oauth"),
        (200, b"<!doctype html>", Misconfigured, "token_not_oauth"),
        (200, b"", Misconfigured, "token_not_oauth"),
        (200, [1], Misconfigured, "token_not_oauth"),
        (200, {"error": "invalid_scope"}, Misconfigured, "unknown_scope"),
        (403, {"message": "x"}, Misconfigured, "client_refused"),
        (400, {"resourceType": "OperationOutcome"}, Misconfigured, "token_request_refused"),
    ],
)
def test_answers_of_other_forms(status: int, body: Any, kind: type[RunnerError], code: str) -> None:
    error = refused(status, body)
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("Wed, 04 Mar 2026 12:00:30 GMT", 30.0), ("x", None), ("-1", 0.0)]
)
def test_a_stated_wait_is_kept(text: str, seconds: float | None) -> None:
    error = refused(429, {}, **{"Retry-After": text})
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == seconds


def test_nothing_that_a_server_said_is_repeated() -> None:
    canary = "Quatermass, MRN 4711, expired signature key fetch jwks"
    for error in ("invalid_client", "invalid_scope", "invalid_grant", canary):
        assert "Quatermass" not in str(refused(400, {"error": error, "error_description": canary}))


@pytest.mark.parametrize(
    ("value", "stated", "life", "notes"),
    [
        (300, None, 300.0, ()),
        ("300", None, 300.0, ()),
        (300.5, 60.0, 300.5, ()),
        (None, None, answers.DEFAULT_LIFE_S, (answers.NO_EXPIRY,)),
        (None, 900.0, 900.0, ()),
        (0, None, answers.DEFAULT_LIFE_S, (answers.NO_EXPIRY,)),
        (-5, None, answers.DEFAULT_LIFE_S, (answers.NO_EXPIRY,)),
        (True, None, answers.DEFAULT_LIFE_S, (answers.NO_EXPIRY,)),
        ("soon", None, answers.DEFAULT_LIFE_S, (answers.NO_EXPIRY,)),
        ("nan", None, answers.DEFAULT_LIFE_S, (answers.NO_EXPIRY,)),
        (10**9, None, 86400.0, ()),
    ],
)
def test_how_long_a_token_lives(value: Any, stated: float | None, life: float, notes: tuple[str, ...]) -> None:
    assert answers.life_s(value, stated) == (life, notes)


@pytest.mark.parametrize("token", [None, "", 5, "a\r\nb", "a b", "ü"])
def test_what_cannot_stand_in_a_header_is_no_token(token: Any) -> None:
    with pytest.raises(Misconfigured) as caught:
        answers.token_at({"access_token": token}, "access_token", "auth")
    assert caught.value.code == "token_missing"


@pytest.mark.parametrize(("date", "skew"), [("Wed, 04 Mar 2026 12:15:00 GMT", 900.0), ("never", None), ("", None)])
def test_the_servers_clock_is_read_from_its_answers(date: str, skew: float | None) -> None:
    assert answers.skew_of(answer(401, {}, Date=date), NOW) == skew
