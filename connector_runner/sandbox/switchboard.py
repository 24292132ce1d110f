"""``/_sandbox``: what a test sees and turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from .messages import Answer, Pairs, json_answer
from .outcomes import FhirError
from .system import System, vars_of

Handler = Callable[[Any], Any]


class Switchboard:
    """Answers requests to ``/_sandbox``; they are neither journalled nor subject to faults."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "journal"): self._journal,
            ("GET", "faults"): lambda _: self._system.faults.as_json(),
            ("PUT", "faults"): self._put_faults,
            ("GET", "limits"): lambda _: self._limits(),
            ("PUT", "limits"): self._put_limits,
            ("GET", "behaviour"): lambda _: self._behaviour(),
            ("PUT", "behaviour"): self._put_behaviour,
            ("GET", "vendor"): lambda _: self._system.quirks.settings,
            ("PUT", "vendor"): self._put_vendor,
            ("GET", "authorization"): lambda _: self._system.authorization.seen(),
            ("PUT", "authorization"): self._system.authorization.behave,
            ("PUT", "clients"): self._system.authorization.register,
            ("POST", "revoke"): lambda _: {"revoked": self._system.authorization.revoke()},
            ("GET", "resources"): self._resources,
            ("GET", "subscriptions"): lambda _: self._system.subscriptions.as_json(),
            ("PUT", "subscriptions"): lambda wanted: self._system.subscriptions.change(wanted),
            ("GET", "records"): self._records,
            ("PUT", "records"): self._put_records,
            ("POST", "delete"): self._delete,
            ("POST", "reset"): self._reset,
            ("POST", "change"): self._change,
            ("POST", "life"): self._life,
        }

    def answer(self, method: str, path: str, pairs: Pairs, body: bytes) -> Answer:
        """Do what is asked; 400 says what was wrong with the question."""
        name = path.removeprefix("/_sandbox").strip("/")
        handler = self._handlers.get((method, name))
        if handler is None:
            offered = [f"{verb} /_sandbox/{what}" for verb, what in self._handlers]
            return _plain(200 if not name and method == "GET" else 404, {"offered": offered})
        try:
            if method == "GET":
                argument: Any = dict(pairs)
            else:
                argument = orjson.loads(body) if body.strip() else {}
            return _plain(200, handler(argument))
        except (ValueError, TypeError, KeyError, FhirError) as error:
            return _plain(400, {"error": str(error)})

    def _journal(self, query: dict[str, str]) -> Any:
        return self._system.journal.since(int(query.get("since", "0")))

    def _put_faults(self, orders: Any) -> Any:
        self._system.faults.replace(orders["faults"] if isinstance(orders, dict) else orders)
        return self._system.faults.as_json()

    def _limits(self) -> Any:
        return {"rate": self._system.limit.rate, "burst": self._system.limit.burst}

    def _put_limits(self, wanted: dict[str, Any]) -> Any:
        self._system.limit.change(float(wanted.get("rate", 0)), float(wanted.get("burst", 1)))
        return self._limits()

    def _behaviour(self) -> Any:
        return {**vars_of(self._system.behaviour), "clock_resolution_ms": self._system.store.resolution_ms}

    def _put_behaviour(self, wanted: dict[str, Any]) -> Any:
        known = self._behaviour()
        for name, value in wanted.items():
            if name not in known or type(value) is not type(known[name]):
                raise ValueError(f"{name}: unknown, or of the wrong type")
        if wanted.get("paging", "snapshot") not in ("snapshot", "offset"):
            raise ValueError("paging is snapshot or offset")
        for name, value in wanted.items():
            if name == "clock_resolution_ms":
                self._system.store.resolution_ms = max(1, value)
            else:
                setattr(self._system.behaviour, name, value)
        return self._behaviour()

    def _put_vendor(self, wanted: dict[str, Any]) -> Any:
        known = self._system.quirks.settings
        for name, value in wanted.items():
            if name not in known or type(value) is not type(known[name]):
                raise ValueError(f"{name}: unknown, or of the wrong type")
        known.update(wanted)
        return known

    def _resources(self, query: dict[str, str]) -> Any:
        counts = self._system.store.counts()
        wanted = query.get("type")
        return {wanted: counts.get(wanted, 0)} if wanted else counts

    def _records(self, query: dict[str, str]) -> Any:
        """What there is of a type, as it is kept: a vendor's quirks are not in it."""
        return [version.resource() for version in self._system.store.live(query["type"])]

    def _put_records(self, resources: list[dict[str, Any]]) -> Any:
        """Written by the people who work with the system; what its API would take does not matter."""
        for resource in resources:
            self._system.store.put(resource["resourceType"], resource["id"], resource, "PUT")
        return [version.reference for version in self._system.store.commit()]

    def _delete(self, wanted: dict[str, str]) -> Any:
        resource_type, _, resource_id = wanted["resource"].partition("/")
        if self._system.store.current(resource_type, resource_id) is None:
            raise ValueError("there is no such resource")
        self._system.store.delete(resource_type, resource_id)
        return [version.reference for version in self._system.store.commit()]

    def _reset(self, wanted: dict[str, Any]) -> Any:
        self._system.reset(empty=bool(wanted.get("empty", False)))
        return self._system.store.counts()

    def _change(self, wanted: dict[str, Any]) -> Any:
        return self._system.life.change(int(wanted.get("n", 1)))

    def _life(self, wanted: dict[str, Any]) -> Any:
        every_s = float(wanted["every"])
        self._system.life.every(every_s)
        return {"every": every_s}


def _plain(status: int, body: Any) -> Answer:
    answer = json_answer(status, body)
    answer.content_type = "application/json"
    return answer
