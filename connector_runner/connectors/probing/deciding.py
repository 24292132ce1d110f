"""Which strategy a record type is read by, from what was declared and measured and what its vendor prefers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connector_runner.connectors.fhir.profile import Profile, Strategy
from connector_runner.connectors.probing.findings import (
    ABSENT,
    HONOURED,
    IGNORED,
    NO,
    REFUSED,
    STRATEGY,
    UNKNOWN,
    Finding,
)

_FAILS = frozenset({IGNORED, REFUSED, ABSENT})


def decide(
    profile: Profile, resource_type: str, found: Mapping[str, Finding], *, able: Collection[Strategy]
) -> Finding:
    """The first strategy of the profile that nothing speaks against, with what spoke against those before it."""
    against: list[str] = []
    order = [name for name in profile.order(resource_type) if name in able]
    for name in order:
        objection = _objection(name, profile, resource_type, found)
        if objection is None:
            return Finding(resource_type, STRATEGY, None, name, tuple(against))
        against.append(f"{name}:{objection}")
    fallback: Strategy = order[-1] if order else "whole"
    return Finding(resource_type, STRATEGY, None, fallback, (*against, "none_left"))


def _objection(name: Strategy, profile: Profile, resource_type: str, found: Mapping[str, Finding]) -> str | None:
    if name == "last_updated":
        return _stamp_objection(found)
    if name == "date_window":
        return None if profile.date(resource_type) is not None else "no_date_parameter"
    if name == "roster":
        return _failed(found, "patient")
    if name == "whole":
        return _failed(found, "whole")
    return None


def _stamp_objection(found: Mapping[str, Finding]) -> str | None:
    """Filtering by stamps needs a filter that works, and stamps to go on from."""
    failed = _failed(found, "last_updated") or _failed(found, "stamp")
    if failed is not None:
        return failed
    filtered = found.get("last_updated")
    measured = filtered.measured if filtered is not None else None
    if measured == HONOURED:
        return None
    # Nothing was there to be filtered: what is declared has to do, and polling watches it.
    declared = filtered.declared if filtered is not None else None
    return "not_declared" if measured in (None, UNKNOWN) and declared == NO else None


def _failed(found: Mapping[str, Finding], capability: str) -> str | None:
    finding = found.get(capability)
    return finding.measured if finding is not None and finding.measured in _FAILS else None
