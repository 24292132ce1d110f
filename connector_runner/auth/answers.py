"""What the answer to a token request means: a token, or an error that says what somebody has to mend.

The server's own words are looked through for what they are about and never repeated: they may quote what was sent.
RFC 6749 (sections 5.1 and 5.2) has the forms; that servers mix up 400 and 401, send web pages, and leave
``error_description`` null is seen in the field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from connector_runner.infra.http import Answer
from connector_runner.kernel.errors import Misconfigured, RateLimited, RunnerError, Unavailable

SKEW_S: Final = 30.0
"""Clocks that are further apart are worth a word."""
DEFAULT_LIFE_S: Final = 120.0
"""Of a token whose answer does not say; settings may state another."""
NO_EXPIRY: Final = "no_expiry"
_MOST_LIFE_S: Final = 86400.0
_PASSING: Final = frozenset({408, 425, 429})
_MOST_WAIT_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What was sent, for words about the answer. ``skew_s``: the server's clock less ours, None when not told."""

    where: str
    client: str = ""
    kid: str = ""
    asserted: bool = False
    refreshed: bool = False
    skew_s: float | None = None


def skew_of(answer: Answer, now: datetime) -> float | None:
    """The server's clock less ours, from the Date header (a whole second); None without one."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date") or "")
    except (ValueError, OverflowError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - now).total_seconds()


def retry_after_s(answer: Answer, now: datetime) -> float | None:
    """Seconds to wait as the answer states them (RFC 9110, section 10.2.3); None when it does not."""
    text = (answer.headers.get("Retry-After") or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = (moment - now).total_seconds() - (skew_of(answer, now) or 0.0)
    return min(max(seconds, 0.0), _MOST_WAIT_S) if math.isfinite(seconds) else None


def document_of(answer: Answer) -> dict[str, Any] | None:
    """The JSON object of an answer; None when it is something else."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def at(document: Any, path: str) -> Any:
    """What stands at a dotted path; None when nothing does."""
    for step in path.split("."):
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def life_s(value: Any, stated: float | None) -> tuple[float, tuple[str, ...]]:
    """A token's life from what the answer says of it, else as ``stated``; with a note where nobody says."""
    try:
        seconds = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isfinite(seconds) and seconds > 0:
        return min(seconds, _MOST_LIFE_S), ()
    return (stated, ()) if stated is not None else (DEFAULT_LIFE_S, (NO_EXPIRY,))


def token_at(document: Mapping[str, Any], path: str, where: str) -> str:
    """The token of a successful answer. Raises Misconfigured (``token_missing``)."""
    token = at(document, path)
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,65536}", token):
        raise Misconfigured(
            f"the token server answered without a usable {path}; check the address that tokens are asked at",
            code="token_missing",
            where=where,
        )
    return token


def checked(answer: Answer, asked: Asked, now: datetime) -> dict[str, Any]:
    """The document of a successful answer. Raises the error that any other answer stands for."""
    document = document_of(answer)
    if answer.status in (200, 201) and document is not None and not isinstance(document.get("error"), str):
        return document
    raise failure(answer, document, asked, now)


def failure(answer: Answer, document: dict[str, Any] | None, asked: Asked, now: datetime) -> RunnerError:
    """The error that a refusal stands for: TryAgain for 408, 425, 429 and 5xx, else Misconfigured."""
    status, where = answer.status, asked.where
    if status == 429:
        wait = retry_after_s(answer, now)
        return RateLimited(
            "the token server asks to slow down", code="token_rate_limited", where=where, retry_after_s=wait
        )
    if 300 <= status < 400:
        return _wrong_address(f"the token server answers {status}, a redirect, which is not followed", asked)
    error = document.get("error") if document is not None else None
    if status in _PASSING or status >= 500 or error in ("temporarily_unavailable", "server_error"):
        wait = retry_after_s(answer, now)
        return Unavailable(
            f"the token server answers {status}", code="token_server_failed", where=where, retry_after_s=wait
        )
    if document is None:
        page = answer.body.lstrip()[:1] == b"<"
        said = f"{'a web page' if page else 'no JSON'} (status {status})"
        return _wrong_address(f"the token address answers with {said}, not OAuth", asked, code="token_not_oauth")
    if not isinstance(error, str):
        if status in (404, 405):
            return _wrong_address(f"the token server answers {status}", asked)
        error = "invalid_client" if status in (401, 403) else "invalid_request"
    description = document.get("error_description")
    return _refused(error, description.lower() if isinstance(description, str) else "", status, asked)


def _wrong_address(what: str, asked: Asked, *, code: str = "token_address") -> Misconfigured:
    return Misconfigured(f"{what}; check auth.token_url, or what the server publishes", code=code, where=asked.where)


_FIXES: Final[Mapping[str, tuple[str, str]]] = {
    "invalid_scope": (
        "unknown_scope",
        "the token server knows none of these scopes, or not for this client: correct auth.scopes, or widen the"
        " client's registration",
    ),
    "unauthorized_client": (
        "client_not_allowed",
        "the client may not ask for tokens in this way: have its registration activated for this site and grant",
    ),
    "unsupported_grant_type": (
        "grant_not_supported",
        "the token server does not support this way of asking: use another auth.kind, or another token_url",
    ),
    "invalid_grant": (
        "grant_ended",
        "the refresh token does not hold any more (used, withdrawn or expired): authorize again and put the new one"
        " where auth.refresh_token refers to",
    ),
    "invalid_target": ("token_request_refused", "the token server does not know the stated audience or resource"),
}
# Looked for in this order in the description of invalid_client, invalid_request and (for assertions) invalid_grant.
_ABOUT: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "jwks_unreachable",
        re.compile(
            r"(jwks?(_ur[il])?|key ?set|keys)\b.{0,60}"
            r"\b(fetch|retriev|load|unreachable|time|unavailable|resolv|download|reach)"
            r"|(fetch|retriev|load|resolv|download|reach)\w*\b.{0,40}(jwks?|key ?set|keys)"
        ),
    ),
    ("assertion_replayed", re.compile(r"\bjti\b|replay|already (been )?used|reuse")),
    (
        "registration_ended",
        re.compile(
            r"(client|registration|app|application)\b(?!.{0,20}(assertion|jwt|token)).{0,40}"
            r"\b(expired|disabled|inactive|deactivated|revoked|suspended)"
            r"|(expired|disabled|inactive|revoked)\b.{0,20}\b(client|registration|app|application)\b(?!.?(assertion|jwt))"
        ),
    ),
    ("client_unknown", re.compile(r"(unknown|no such|not found|unregistered|unrecognized).{0,20}client|client.{0,20}"
                                  r"(not found|unknown|not registered|does not exist)")),
    ("wrong_audience", re.compile(r"\baud\b|audience")),
    (
        "clock_skew",
        re.compile(r"\b(exp|nbf|iat)\b|expir|not yet|in the (future|past)|clock|too (old|long|far)|lifetime"),
    ),
    ("wrong_key", re.compile(r"signature|\bkid\b|\bkey\b|verif|\balg(orithm)?\b")),
)  # fmt: skip


def _refused(error: str, description: str, status: int, asked: Asked) -> Misconfigured:
    about = ""
    if error in ("invalid_client", "invalid_request") or (error == "invalid_grant" and not asked.refreshed):
        about = next((code for code, pattern in _ABOUT if pattern.search(description)), "")
    if about == "clock_skew" and asked.skew_s is not None and abs(asked.skew_s) > SKEW_S:
        return _skewed(asked)
    if about:
        return Misconfigured(_about(about, asked), code=about, where=asked.where)
    if error == "invalid_grant" and not asked.refreshed:
        error = "invalid_client"
    if error in _FIXES:
        code, fix = _FIXES[error]
        return Misconfigured(fix, code=code, where=asked.where)
    if error == "invalid_client":
        return Misconfigured(_nobody_says(asked), code="client_refused", where=asked.where)
    return Misconfigured(
        f"the token server refuses the request as malformed (status {status}): check auth.kind and its parameters"
        " against the server's documentation",
        code="token_request_refused",
        where=asked.where,
    )


def _skewed(asked: Asked) -> Misconfigured:
    apart = asked.skew_s or 0.0
    said = f"{abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'}"
    return Misconfigured(
        f"the token server refuses the assertion, and this machine's clock is {said} the server's: synchronise it",
        code="clock_skew",
        where=asked.where,
    )


def _about(code: str, asked: Asked) -> str:
    key = f"key {asked.kid}" if asked.kid else "the key"
    client = f"client {asked.client}" if asked.client else "the client"
    return {
        "jwks_unreachable": "the token server could not fetch our public keys: make the registered key-set address"
        f" reachable for it, serving {key}",
        "assertion_replayed": "the token server says that the assertion was used before, though each is made anew:"
        " look for something that repeats requests on the way",
        "registration_ended": f"the registration of {client} has ended or is switched off: renew it at the vendor",
        "client_unknown": f"the token server does not know {client}: check auth.client_id, and that this site"
        " activated it",
        "wrong_audience": "the token server expects another audience: set auth.audience to the one it documents",
        "clock_skew": "the token server finds the assertion out of its time: check the clocks of this machine and of"
        " the server",
        "wrong_key": f"the token server cannot verify what {key} signed: register its public half, of the same"
        " algorithm, for this client",
    }[code]


def _nobody_says(asked: Asked) -> str:
    client = f"client {asked.client}" if asked.client else "the client"
    if not asked.asserted:
        return f"the token server refuses {client}: check auth.client_id and the secret that auth refers to"
    apart = "" if asked.skew_s is None else f"; its clock and ours are {abs(asked.skew_s):.0f} s apart"
    return (
        f"the token server refuses {client} without saying why: check that it is registered and active, that key"
        f" {asked.kid} is in the key set that the server reads, and the audience{apart}"
    )
