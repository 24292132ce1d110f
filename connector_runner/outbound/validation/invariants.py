"""Constraints of R4 that a value can break though its shape is right; keys are those of the standard.

Each is on the page of its type below http://hl7.org/fhir/R4/ (appointment.html, datatypes.html, ...).
``x-…`` are ours: what R4 says in words only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from connector_runner.outbound.validation.moments import in_order
from connector_runner.outbound.validation.ucum import SYSTEM as UCUM
from connector_runner.outbound.validation.ucum import is_unit

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Invariant:
    """``holds`` over an object of its class; ``at`` is the place below the object that a person should look at."""

    key: str
    at: str
    holds: Callable[[Json], bool]
    message: str


def _ordered(first: str, second: str) -> Callable[[Json], bool]:
    return lambda value: in_order(value.get(first), value.get(second))


def _needs(one: str, other: str) -> Callable[[Json], bool]:
    """Where the first is, the second is too."""
    return lambda value: one not in value or other in value


def _any(*names: str) -> Callable[[Json], bool]:
    return lambda value: any(name in value for name in names)


def _unit_known(value: Json) -> bool:
    return value.get("system") != UCUM or "code" not in value or (type(value["code"]) is str and is_unit(value["code"]))


def _low_high(value: Json) -> bool:
    low, high = value.get("low"), value.get("high")
    if type(low) is not dict or type(high) is not dict or low.get("code") != high.get("code"):
        return True
    first, second = low.get("value"), high.get("value")
    if isinstance(first, str | bool | list | dict) or isinstance(second, str | bool | list | dict):
        return True
    return first is None or second is None or bool(first <= second)


def _timed_status(value: Json) -> bool:
    has_times = "start" in value and "end" in value
    return has_times or value.get("status") in ("proposed", "cancelled", "waitlist")


def _both_times(value: Json) -> bool:
    return ("start" in value) == ("end" in value)


def _cancelled_status(value: Json) -> bool:
    return "cancelationReason" not in value or value.get("status") in ("cancelled", "noshow")


def _has_value(value: Json) -> bool:
    return not ("dataAbsentReason" in value and any(name.startswith("value") for name in value))


def _not_negative(name: str) -> Callable[[Json], bool]:
    return lambda value: type(value.get(name)) is not int or value[name] >= 0


def _positive(name: str) -> Callable[[Json], bool]:
    return lambda value: type(value.get(name)) is not int or value[name] > 0


def _deceased_after_birth(value: Json) -> bool:
    return in_order(value.get("birthDate"), value.get("deceasedDateTime"))


_QUANTITY: Final = (
    Invariant("qty-3", ".code", _needs("code", "system"), "a unit's code without its system"),
    Invariant("x-ucum", ".code", _unit_known, "a code that is no unit of UCUM as known here"),
)
INVARIANTS: Final[dict[str, tuple[Invariant, ...]]] = {
    "Quantity": _QUANTITY,
    "Age": _QUANTITY,
    "Duration": _QUANTITY,
    "Count": _QUANTITY,
    "Distance": _QUANTITY,
    "Range": (Invariant("rng-2", "", _low_high, "a range whose low is above its high"),),
    "Period": (Invariant("per-1", "", _ordered("start", "end"), "a period that ends before it starts"),),
    "ContactPoint": (Invariant("cpt-2", ".system", _needs("value", "system"), "a contact point without system"),),
    "Attachment": (Invariant("att-1", ".contentType", _needs("data", "contentType"), "data of no content type"),),
    "TimingRepeat": (
        Invariant("tim-1", ".durationUnit", _needs("duration", "durationUnit"), "a duration without unit"),
        Invariant("tim-2", ".periodUnit", _needs("period", "periodUnit"), "a period without unit"),
        Invariant("tim-6", ".duration", _needs("durationMax", "duration"), "durationMax without duration"),
        Invariant("tim-7", ".period", _needs("periodMax", "period"), "periodMax without period"),
        Invariant("tim-9", ".when", _needs("offset", "when"), "an offset from nothing"),
        Invariant("x-count", ".count", _positive("count"), "a count below one"),
        Invariant("x-frequency", ".frequency", _positive("frequency"), "a frequency below one"),
    ),
    "Patient": (Invariant("x-deceased", ".deceasedDateTime", _deceased_after_birth, "a death before the birth"),),
    "PatientContact": (
        Invariant("pat-1", "", _any("name", "telecom", "address", "organization"), "a contact without any details"),
    ),
    "Organization": (Invariant("org-1", "", _any("identifier", "name"), "neither a name nor an identifier"),),
    "Appointment": (
        Invariant("app-2", ".start", _both_times, "start without end, or end without start"),
        Invariant("app-3", ".start", _timed_status, "a status that needs start and end"),
        Invariant("app-4", ".cancelationReason", _cancelled_status, "a reason to cancel what is not cancelled"),
        Invariant("x-order", ".end", _ordered("start", "end"), "it ends before it starts"),
        Invariant("x-minutes", ".minutesDuration", _positive("minutesDuration"), "a duration below one minute"),
        Invariant("x-priority", ".priority", _not_negative("priority"), "a negative priority"),
    ),
    "AppointmentParticipant": (
        Invariant("app-1", "", _any("type", "actor"), "a participant with neither a type nor an actor"),
    ),
    "Slot": (Invariant("x-order", ".end", _ordered("start", "end"), "it ends before it starts"),),
    "Observation": (Invariant("obs-6", ".dataAbsentReason", _has_value, "a value, and a reason why there is none"),),
    "ObservationComponent": (
        Invariant("x-obs-6", ".dataAbsentReason", _has_value, "a value, and a reason why there is none"),
    ),
    "ObservationReferenceRange": (
        Invariant("obs-3", "", _any("low", "high", "text"), "a reference range that says nothing"),
    ),
}
