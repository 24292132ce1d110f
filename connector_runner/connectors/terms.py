"""The terms of a sink: what its owner agreed with us on what goes there, how fast, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from connector_runner.connectors.sinks import Capabilities
from connector_runner.policy.purposes import Purpose
from connector_runner.resilience.breaker import BreakerLimits
from connector_runner.resilience.calendar import Calendar

Consent = Literal["none", "required", "opt_out"]
"""Whether a patient's consent to sharing is asked for: never, given in advance, or unless refused."""


@dataclass(frozen=True, slots=True)
class SinkTerms:
    """What is to be known of a sink without opening it. ``entity_types``: type -> its confidence threshold.

    ``depends``, ``policies``, ``required`` and ``owns`` are by entity type: types that must be in the sink first,
    ``latest`` or ``ordered``, fields without which nothing is sent, and the only fields that we write (no entry:
    all that the mapping renders). ``human_review`` are entity types of which a person approves each write. ``purpose``
    is what the sink uses records for, as consent and labels ask.

    ``per_second``, ``burst`` and ``concurrency`` (requests in flight) are promised of any moment, ``per_day`` of the
    calendar day in the zone of ``calendar``, ``per_minute_fixed`` of each minute of the wall clock.
    ``quiet_period_s`` is how long a request whose answer was lost may still land. ``capabilities`` are those that
    the settings state over the usual ones; the open sink knows its own. ``unread`` are record types that are polled
    from the same system and of which not all was read and compared yet. ``mark`` stands for what the terms were read
    from: while a sink has the same mark, these are its terms.
    """

    sink_id: str
    name: str
    system: str
    entity_types: Mapping[str, float]
    accept_from: frozenset[str] = field(default_factory=frozenset)
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    per_second: float = 10.0
    burst: int = 5
    concurrency: int = 2
    quiet_period_s: float = 5.0
    request_timeout_s: float = 15.0
    client_id: bool = True
    base_url: str | None = None
    region: str = "US"
    owns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    human_review: frozenset[str] = field(default_factory=frozenset)
    consent: Consent = "opt_out"
    purpose: Purpose = "treatment"
    allow_possible_duplicates: bool = False
    capabilities: Capabilities = field(default_factory=Capabilities)
    per_day: int | None = None
    per_minute_fixed: int | None = None
    calendar: Calendar = field(default_factory=Calendar)
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    unread: frozenset[str] = frozenset()
    workspace_id: str = ""
    mark: str = ""
