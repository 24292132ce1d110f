"""The resource server's side: whether a token lets a request pass, and where tokens are had."""

from __future__ import annotations

import json
import time
from typing import Any

from ..fhir_json import loads
from ..messages import Answer, Request
from ..outcomes import FhirError
from . import scopes
from .server import Authorization, Issued

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
WELL_KNOWN = ".well-known/smart-configuration"
_ON_ONE = {"GET": "r", "HEAD": "r", "PUT": "u", "PATCH": "u", "DELETE": "d"}
_ON_TYPE = {"GET": "s", "HEAD": "s", "POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d"}


def is_open(request: Request) -> bool:
    """Whether a request needs no token (SMART App Launch 2.2, "Conformance")."""
    return request.path.endswith(("metadata", WELL_KNOWN))


def configuration(authorization: Authorization, origin: str) -> Answer:
    """The SMART configuration; 404 where this server has none."""
    if authorization.conduct.discovery != "well-known":
        raise FhirError(404, "there is no such document")
    document = {
        "issuer": origin,
        "token_endpoint": f"{origin}/auth/token",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": [
            "client-confidential-asymmetric",
            *(f"permission-{version}" for version in authorization.conduct.permissions.split()),
        ],
    }
    return Answer(200, json.dumps(document).encode(), content_type="application/json")


def with_addresses(statement: dict[str, Any], origin: str) -> dict[str, Any]:
    """A CapabilityStatement that says where tokens are had."""
    part = {"url": "token", "valueUri": f"{origin}/auth/token"}
    statement["rest"][0]["security"] = {"extension": [{"url": OAUTH_URIS, "extension": [part]}]}
    return statement


def granted_access(authorization: Authorization, request: Request) -> None:
    """Let a request pass; ``FhirError`` 401 without a token that holds, 403 where its scopes do not reach."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    held = authorization.tokens.get(token) if kind.lower() == "bearer" else None
    if held is None or held.until < time.time():
        raise FhirError(401, "the token is missing, unknown or has expired", code="login")
    for resource_type, letter in _accesses(request):
        if not scopes.covers(held.scope, resource_type, letter):
            raise FhirError(403, "the token's scopes do not reach so far", code="forbidden")


def _accesses(request: Request) -> list[tuple[str, str]]:
    if request.path == "" and request.method == "POST":
        entries = loads(request.body).get("entry", []) if request.body else []
        inner = [entry.get("request", {}) for entry in entries if isinstance(entry, dict)]
        return [found for each in inner if (found := _access(each.get("method", ""), each.get("url", "")))]
    found = _access(request.method, request.path)
    return [found] if found else []


def _access(method: str, path: str) -> tuple[str, str] | None:
    first, *rest = path.partition("?")[0].strip("/").split("/")
    if not first[:1].isupper():
        return None
    if not rest or rest[0] in ("_search", "_history"):
        letter = "s" if rest else _ON_TYPE.get(method)
    elif rest[0].startswith("$"):
        letter = "c" if rest[0] == "$validate" else "s"
    else:
        letter = _ON_ONE.get(method)
    return (first, letter) if letter else None


__all__ = ["Issued", "configuration", "granted_access", "is_open", "with_addresses"]
