"""Which status may follow which.

R4 defines the codes, and for requests and events a state machine; a step that it does not have is refused, since
it would rewrite what happened. Writes coalesce, so any number of steps at once is one change: what counts is that
the new status can be reached. Whatever is ``entered-in-error`` stays so, and anything may become it.
"""

from __future__ import annotations

from typing import Any, Final

ERROR: Final = "entered-in-error"
_Steps = dict[str, str]

# http://hl7.org/fhir/R4/valueset-appointmentstatus.html: `fulfilled`, `cancelled` end an appointment. A patient
# who comes late after all was no `noshow`.
_APPOINTMENT: Final[_Steps] = {
    "proposed": "pending booked waitlist cancelled",
    "pending": "proposed booked waitlist cancelled",
    "waitlist": "proposed pending booked cancelled",
    "booked": "pending waitlist arrived checked-in fulfilled cancelled noshow",
    "arrived": "booked checked-in fulfilled cancelled noshow",
    "checked-in": "arrived fulfilled cancelled noshow",
    "noshow": "arrived checked-in fulfilled cancelled",
    "fulfilled": "",
    "cancelled": "",
}
# http://hl7.org/fhir/R4/valueset-encounter-status.html: `cancelled` is "ended before it has begun"; the workflow
# is that of http://hl7.org/fhir/R4/encounter.html#status.
_ENCOUNTER: Final[_Steps] = {
    "planned": "arrived triaged in-progress cancelled",
    "arrived": "triaged in-progress finished cancelled",
    "triaged": "in-progress finished cancelled",
    "in-progress": "onleave finished",
    "onleave": "in-progress finished",
    "finished": "",
    "cancelled": "",
    "unknown": "planned arrived triaged in-progress onleave finished cancelled",
}
# http://hl7.org/fhir/R4/valueset-medicationrequest-status.html and the state machine of requests,
# http://hl7.org/fhir/R4/request.html#statemachine (`stopped` and `cancelled` are its `revoked`).
_MEDICATION_REQUEST: Final[_Steps] = {
    "draft": "active on-hold cancelled",
    "active": "on-hold completed stopped cancelled",
    "on-hold": "active completed stopped cancelled",
    "completed": "",
    "stopped": "",
    "cancelled": "",
    "unknown": "draft active on-hold completed stopped cancelled",
}


def _closed(steps: _Steps) -> dict[str, frozenset[str]]:
    """For each status, all that can be reached from it."""
    reached: dict[str, frozenset[str]] = {}
    for start in steps:
        seen: set[str] = {start, ERROR, "unknown"} if "unknown" in steps else {start, ERROR}
        todo = [start]
        while todo:
            for following in steps[todo.pop()].split():
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        reached[start] = frozenset(seen)
    reached[ERROR] = frozenset({ERROR})
    return reached


TRANSITIONS: Final = {
    "Appointment": _closed(_APPOINTMENT),
    "Encounter": _closed(_ENCOUNTER),
    "MedicationRequest": _closed(_MEDICATION_REQUEST),
}


def is_legal(resource_type: str, before: Any, after: Any) -> bool:
    """Whether a resource of this type may go from one status to the other; types without a table always may."""
    table = TRANSITIONS.get(resource_type)
    if table is None or before == after or type(before) is not str or before not in table:
        return True
    return type(after) is str and after in table[before]
