"""Registered clients, and their public keys: given at registration, or read from an address and kept for a while."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

_MAX_AGE = re.compile(r"max-age=(\d{1,9})")
_FETCH_S = 3.0


class KeysUnreachable(Exception):
    """The client's key set cannot be read."""


@dataclass(slots=True)
class Client:
    """What is known of a client. ``ended``: its registration has expired. ``refresh_token`` is good for one use."""

    client_id: str
    scopes: str = ""
    jwks_url: str = ""
    jwks: dict[str, Any] = field(default_factory=dict)
    secret: str = ""
    refresh_token: str = ""
    ended: bool = False


@dataclass(slots=True)
class KeySets:
    """Key sets of addresses, kept as long as their Cache-Control says, and never read anew before."""

    kept: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def of(self, client: Client) -> list[dict[str, Any]]:
        """The client's public keys. May take seconds. Raises KeysUnreachable."""
        if not client.jwks_url:
            return list(client.jwks.get("keys", []))
        known = self.kept.get(client.jwks_url)
        if known is not None and time.monotonic() < known[0]:
            return list(known[1]["keys"])
        try:
            with urllib.request.urlopen(client.jwks_url, timeout=_FETCH_S) as answer:  # noqa: S310 - a registered address
                document = json.loads(answer.read())
                age = _MAX_AGE.search(answer.headers.get("Cache-Control") or "")
            keys = list(document["keys"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise KeysUnreachable(client.jwks_url) from exc
        if any("d" in key for key in keys):
            raise KeysUnreachable("a private key is among them")
        self.kept[client.jwks_url] = (time.monotonic() + (int(age[1]) if age else 0), document)
        return keys
