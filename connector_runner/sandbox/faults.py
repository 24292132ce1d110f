"""Faults to order: what goes wrong, with which requests, and how often."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

KINDS = frozenset(
    """drop_answer status hang slow stale reset html empty late wrong_etag redirect error_in_200 no_id infinite_body
    entry_fails expired_token""".split()  # noqa: SIM905 - a list of words
)
_METHODS = frozenset(["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
_NUMBERS = ("retry_after", "seconds", "rate")


@dataclass(slots=True)
class Fault:
    """One fault. It happens to each request that ``on`` names, or to the ``next`` n, or to a share ``rate``.

    - ``drop_answer``: the write is committed, then the connection closes without an answer
    - ``reset``: the connection closes before anything is committed
    - ``late``: the connection closes at once and the write is committed ``seconds`` later
    - ``hang``: no answer until the client closes, or for 120 s; committed when ``commit``
    - ``slow``: works, ``seconds`` later, whether the client still listens or not
    - ``status``: an error of ``status``, with Retry-After when ``retry_after``, with the issue ``code`` and a place
      ``where`` when they are given
    - ``expired_token``: 401 that says that the token has expired
    - ``html``, ``empty``: a page of a proxy (``status`` 502), no body at all (200); committed when ``commit``
    - ``redirect``: to a private address (``status`` 307); ``error_in_200``: an error under ``status`` 200;
      ``infinite_body``: a body without end; each committed when ``commit``
    - ``wrong_etag``: done, and answered with the ETag of another version
    - ``no_id``: done, and answered without id, Location or ETag
    - ``entry_fails``: refuses a transaction for its entry number ``entry`` (from 0); without one, it does not say which
    - ``stale``: searches answer as of ``seconds`` ago (5), reads the version before the current one, or as of
      ``seconds`` ago where that is given
    """

    on: str
    kind: str
    status: int | None = None
    retry_after: float | None = None
    seconds: float | None = None
    rate: float | None = None
    next: int | None = None
    commit: bool = False
    code: str | None = None
    where: str | None = None
    entry: int | None = None
    hits: int = 0

    def hits_on(self, method: str, path: str) -> bool:
        """Whether it is meant for a request to ``path``, relative to the FHIR base."""
        wanted_method, _, wanted = self.on.partition(" ")
        if method == "POST" and path.endswith("/_search"):
            # A search by POST is a reading: "POST Patient" means to create one.
            method, path = ("POST", path) if "_search" in wanted else ("GET", path)
        if wanted_method not in ("*", method):
            return False
        wanted = wanted.strip().removeprefix("/fhir").strip("/")
        if wanted in ("", "*"):
            return wanted == "*" or path == ""
        return fnmatchcase(path, wanted) or path.startswith(wanted + "/") or fnmatchcase(path, wanted + "/*")

    def as_json(self) -> dict[str, Any]:
        """As it was ordered, with ``hits`` so far and ``next`` still to come."""
        return {key: value for key, value in asdict(self).items() if value is not None and value is not False}


class Faults:
    """The faults in force, tried in order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._faults: list[Fault] = []

    def replace(self, orders: Any) -> None:
        """Put ``orders`` in place of all; ``ValueError`` says what is wrong with them."""
        if not isinstance(orders, list):
            raise ValueError("a list of faults is wanted")
        self._faults = [_fault(order) for order in orders]

    def as_json(self) -> list[dict[str, Any]]:
        """Those in force, and those that are used up."""
        return [fault.as_json() for fault in self._faults]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that happens to this request; counts it."""
        for fault in self._faults:
            if fault.next == 0 or not fault.hits_on(method, path):
                continue
            if fault.rate is not None and self._random.random() >= fault.rate:
                continue
            if fault.next is not None:
                fault.next -= 1
            fault.hits += 1
            return fault
        return None


def _fault(order: Any) -> Fault:
    if not isinstance(order, dict):
        raise ValueError("a fault is an object")
    unknown = order.keys() - {name for name in Fault.__dataclass_fields__ if name != "hits"} - {"hits"}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    if order.get("kind") not in KINDS:
        raise ValueError(f"kind is one of {', '.join(sorted(KINDS))}")
    if not isinstance(order.get("on"), str) or order["on"].partition(" ")[0] not in _METHODS:
        raise ValueError('on is a method, or *, and a path or type, such as "POST Patient"')
    for name in _NUMBERS:
        value = order.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ValueError(f"{name} is a number")
    for name in ("status", "next", "entry"):
        if not isinstance(order.get(name, 0), int):
            raise ValueError(f"{name} is a whole number")
    for name in ("code", "where"):
        if not isinstance(order.get(name, ""), str):
            raise ValueError(f"{name} is a text")
    if order["kind"] == "status" and not 200 <= order.get("status", 503) <= 599:
        raise ValueError("status is an HTTP status")
    return Fault(**{**order, "hits": 0})
