"""Where a FHIR server says that tokens are had, and how.

SMART App Launch 2.2 ("Conformance"): ``.well-known/smart-configuration`` below the FHIR base. Older servers say it in
their CapabilityStatement, in the extension ``oauth-uris`` of ``rest.security``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from connector_runner.auth.answers import document_of
from connector_runner.infra.http import HTTP, Answer
from connector_runner.kernel.errors import Misconfigured, TryAgain, Unavailable

OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_TIMEOUT_S: Final = 10.0
_MOST_BYTES: Final = 16 * 1024 * 1024
_PASSING: Final = frozenset({408, 425, 429})


def discover(http: HTTP, base_url: str, certificate: tuple[str, str] | None = None) -> dict[str, Any]:
    """``token_url``, ``capabilities`` and ``algorithms`` (for signing) as the server states them.

    Raises Misconfigured (``no_token_url``, ``token_url_plain``) when it states no usable address, TryAgain when it
    cannot be asked.
    """
    passing: TryAgain | None = None
    for read, path, accept in (
        (_from_configuration, ".well-known/smart-configuration", "application/json"),
        (_from_capabilities, "metadata", "application/fhir+json, application/json"),
    ):
        try:
            answer = http.request(
                "GET",
                f"{base_url}/{path}",
                headers={"Accept": accept},
                timeout_s=_TIMEOUT_S,
                deadline_s=_TIMEOUT_S,
                max_bytes=_MOST_BYTES,
                certificate=certificate,
            )
        except TryAgain as error:
            passing = passing or error
            continue
        found = read(answer)
        if found is not None:
            return _checked(found, base_url)
        if answer.status in _PASSING or answer.status >= 500:
            words = f"the server answers {answer.status} when asked where tokens are had"
            passing = passing or Unavailable(words, code="discovery_failed", where=path)
    if passing is not None:
        raise passing
    raise Misconfigured(
        "the server does not say where tokens are had: state auth.token_url",
        code="no_token_url",
        where="auth.token_url",
    )


def _from_configuration(answer: Answer) -> dict[str, Any] | None:
    document = document_of(answer) if answer.status == 200 else None
    if document is None or not isinstance(document.get("token_endpoint"), str):
        return None
    return {
        "token_url": document["token_endpoint"],
        "capabilities": _texts(document.get("capabilities")),
        "algorithms": _texts(document.get("token_endpoint_auth_signing_alg_values_supported")),
    }


def _from_capabilities(answer: Answer) -> dict[str, Any] | None:
    document = document_of(answer) if answer.status == 200 else None
    for rest in _objects((document or {}).get("rest")):
        security = rest.get("security")
        for extension in _objects(security.get("extension") if isinstance(security, Mapping) else None):
            if extension.get("url") != OAUTH_URIS:
                continue
            for part in _objects(extension.get("extension")):
                if part.get("url") == "token" and isinstance(part.get("valueUri"), str):
                    return {"token_url": part["valueUri"], "capabilities": [], "algorithms": []}
    return None


def _checked(found: dict[str, Any], base_url: str) -> dict[str, Any]:
    where = "auth.token_url"
    try:
        parts = urlsplit(found["token_url"])
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        usable = False
    if not usable:
        raise Misconfigured("the server states a token address that is none", code="no_token_url", where=where)
    if urlsplit(base_url).scheme == "https" and parts.scheme != "https":
        raise Misconfigured(
            "the server states a token address without TLS, which nothing secret may go to",
            code="token_url_plain",
            where=where,
        )
    return found


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
