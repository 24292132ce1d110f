"""What a probe finds, and what differs from what was found before. Pure.

A finding is one capability of one record type (of none: of the server as a whole). ``declared`` is what the
server's CapabilityStatement says, ``measured`` what its answers show; either may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, get_args, runtime_checkable

from connector_runner.connectors.fhir.profile import Measured, Strategy

YES: Final = "yes"
NO: Final = "no"

HONOURED: Final = "honoured"
IGNORED: Final = "ignored"
REFUSED: Final = "refused"
PRESENT: Final = "present"
ABSENT: Final = "absent"
UNKNOWN: Final = "unknown"
"""Asked, and the answers do not tell: an empty type, say."""

STRATEGY: Final = "strategy"


@dataclass(frozen=True, slots=True)
class Finding:
    """One capability of one record type. ``evidence`` are codes."""

    resource_type: str
    capability: str
    declared: str | None = None
    measured: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known(Finding):
    """A finding as it is kept; ``previous`` is what it was before it changed at ``changed_at``."""

    at: datetime | None = None
    previous: str | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """A capability that is not what it was."""

    resource_type: str
    capability: str
    before: str
    now: str


@runtime_checkable
class Probed(Protocol):
    """A source that can be probed."""

    def probe(self, resource_types: Iterable[str]) -> list[Finding]:
        """Ask the server what it can do; nothing is written there.

        Raises what ``Source.read`` raises when the server cannot be asked at all.
        """


def comparable(before: Finding, now: Finding) -> tuple[str | None, str | None]:
    """What was measured both times, or else what was declared both times."""
    told = (None, UNKNOWN)
    if before.measured in told or now.measured in told:
        unmeasured = before.measured in told and now.measured in told
        return (before.declared, now.declared) if unmeasured else (None, None)
    return before.measured, now.measured


def merged(known: Finding | None, found: Finding) -> Finding:
    """A finding with what was known: an answer that does not tell takes nothing back."""
    if known is None or found.measured != UNKNOWN or known.measured is None:
        return found
    return Finding(found.resource_type, found.capability, found.declared, known.measured, found.evidence)


def drift(known: Finding | None, found: Finding) -> Drift | None:
    """What changed for whoever relies on a capability; None for a first look, and for what cannot be told."""
    before, now = comparable(known, found) if known is not None else (None, None)
    if before is None or now is None or before == now:
        return None
    if found.capability.startswith("warning_"):
        return None
    return Drift(found.resource_type, found.capability, before, now)


def measured_of(findings: Iterable[Known]) -> dict[str, Measured]:
    """By record type, what a source is read by."""
    by_type: dict[str, dict[str, Known]] = {}
    for finding in findings:
        by_type.setdefault(finding.resource_type, {})[finding.capability] = finding
    made: dict[str, Measured] = {}
    for resource_type, found in by_type.items():
        chosen = found.get(STRATEGY)
        name = next((known for known in get_args(Strategy) if chosen is not None and known == chosen.measured), None)
        if chosen is None or name is None or chosen.at is None:
            continue
        verdicts: Mapping[str, str] = {name: one.measured for name, one in found.items() if one.measured is not None}
        made[resource_type] = Measured(name, chosen.evidence, chosen.at, verdicts)
    return made
