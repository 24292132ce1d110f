"""Checks that need no transcript: is a value well-formed, and what do others say of it. Pure, with a code for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from connector_runner.review.judge.claims import pieces
from connector_runner.unification.dates import is_date, is_date_time
from connector_runner.unification.phones import normalise_phone
from connector_runner.world.atoms import SAFETY_FIELDS, field_of
from connector_runner.world.confidence import CONVERSATION, REVIEWED, ceiling
from connector_runner.world.events import StoredEvent
from connector_runner.world.fold import Claim, Folded

OLDEST_YEARS: Final = 125
"""Nobody alive is older; the oldest age that has been verified is 122."""
_MAIL = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
_ZIP = re.compile(r"\d{5}(?:-?\d{4})?")
_TELECOM_SYSTEMS: Final = frozenset({"phone", "fax", "email", "pager", "url", "sms", "other"})
_TELECOM_USES: Final = frozenset({"home", "work", "temp", "old", "mobile"})
_ADDRESS_USES: Final = frozenset({"home", "work", "temp", "old", "billing"})
_CODES: Final[Mapping[str, frozenset[str]]] = {
    "gender": frozenset({"male", "female", "other", "unknown"}),
    "criticality": frozenset({"low", "high", "unable-to-assess"}),
}
_APPOINTMENT_STATES: Final = frozenset(
    {"proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error", "checked-in",
     "waitlist"}
)  # fmt: skip

_FORM: Final = "forms"
_CONVERSATION: Final = "conversation"


def malformed(entity_type: str, atom: str, value: Any, now: datetime) -> str | None:
    """A code for a value that cannot be right, whoever said it; None for one that may be.

    Code lists are those of FHIR R4: administrative-gender, contact-point-system and -use, address-use,
    allergy-intolerance-criticality, appointmentstatus.
    """
    field = field_of(atom)
    check = _CHECKS.get(field)
    if check is not None:
        return check(value, now)
    if field in _CODES:
        return None if value in _CODES[field] else "unknown_code"
    if field == "status" and entity_type == "appointment":
        return None if value in _APPOINTMENT_STATES else "unknown_code"
    return None


def _birth_date(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str) or not is_date(value):
        return "not_a_date"
    if value > now.date().isoformat():
        return "in_the_future"
    return "too_long_ago" if int(value[:4]) < now.year - OLDEST_YEARS else None


def _moment(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str) or not is_date_time(value):
        return "not_a_date"
    day = date.fromisoformat(value[:10]) if len(value) >= 10 else None
    return "out_of_range" if day is not None and abs(day.year - now.year) > 5 else None


def _telecom(value: Any, now: datetime) -> str | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("value"), str):
        return "wrong_type"
    system = value.get("system")
    if system not in _TELECOM_SYSTEMS or value.get("use") not in {None, *_TELECOM_USES}:
        return "unknown_code"
    if system in ("phone", "fax", "sms", "pager") and normalise_phone(value["value"]) is None:
        return "not_a_number"
    return "not_an_address" if system == "email" and not _MAIL.fullmatch(value["value"]) else None


def _address(value: Any, now: datetime) -> str | None:
    if not isinstance(value, Mapping):
        return "wrong_type"
    if value.get("use") not in {None, *_ADDRESS_USES}:
        return "unknown_code"
    home = value.get("country") in (None, "US", "USA")
    code = value.get("postal_code")
    return "not_a_postal_code" if home and code is not None and not _ZIP.fullmatch(str(code)) else None


def _name(value: Any, now: datetime) -> str | None:
    if not isinstance(value, Mapping):
        return "wrong_type"
    parts = [value.get("family"), value.get("text"), *(value.get("given") or [])]
    said = [part for part in parts if part is not None]
    if not said or not all(isinstance(part, str) and part.strip() for part in said):
        return "wrong_type"
    return (
        "not_a_name"
        if any(character.isdigit() or character in "@<>{}" for part in said for character in part)
        else None
    )


_CHECKS: Final[Mapping[str, Callable[[Any, datetime], str | None]]] = {
    "birth_date": _birth_date,
    "start": _moment,
    "end": _moment,
    "telecom": _telecom,
    "address": _address,
    "name": _name,
}


def against_authority(entity_type: str, atom: str, value: Any, event: StoredEvent, folded: Folded) -> str | None:
    """``against_authority`` where something at 0.8 or more says otherwise of a safety field; None where nothing does.

    Of the other fields the newer may well be right.
    """
    if field_of(atom) not in SAFETY_FIELDS:
        return None
    known = [claim for claim in _others(atom, event, folded) if claim.confidence >= REVIEWED]
    if known and not any(_alike(entity_type, atom, claim.value, value) for claim in known):
        return "against_authority"
    return None


def agreement(entity_type: str, atom: str, value: Any, event: StoredEvent, folded: Folded) -> str | None:
    """Who else says exactly the same: ``agrees_with_authority`` (0.8 or more), ``second_source``, or None.

    A second source counts where it is another kind of source that cannot have it of ours, is worth at least as much,
    and the field is no safety field.
    """
    alike = [claim for claim in _others(atom, event, folded) if _alike(entity_type, atom, claim.value, value)]
    if any(claim.confidence >= REVIEWED and claim.verdict != "automated" for claim in alike):
        return "agrees_with_authority"
    if field_of(atom) in SAFETY_FIELDS:
        return None
    if any(_independent(claim, event) for claim in alike):
        return "second_source"
    return None


def _independent(claim: Claim, event: StoredEvent) -> bool:
    """Whether a claim is no copy of what an event says, nor the event of the claim.

    Who is not known may well have it of the conversation. A form shows what is known when it is sent out, so that it
    bears out only what was said after it came in.
    """
    if claim.confidence < event.confidence or event.confidence <= 0:
        return False
    ours, theirs = _channel(event.source), _channel(claim.source)
    if ours == theirs:
        return False
    if _FORM in (ours, theirs):
        form, other = (event, claim) if ours == _FORM else (claim, event)
        return _CONVERSATION not in (ours, theirs) or form.ingested_at < other.ingested_at
    return True


def _channel(source: str) -> str:
    if source == _FORM:
        return _FORM
    return _CONVERSATION if ceiling(source) <= CONVERSATION else source


def _others(atom: str, event: StoredEvent, folded: Folded) -> Iterable[Claim]:
    settled = folded.atoms.get(atom)
    if settled is None:
        return ()
    return [
        claim
        for claim in (settled.winner, *settled.losers)
        if claim.event_id != event.id and not claim.echo and claim.confidence > 0
    ]


def _alike(entity_type: str, atom: str, known: Any, value: Any) -> bool:
    if known == value:
        return True
    ours = pieces(entity_type, atom, value)
    return ours is not None and ours == pieces(entity_type, atom, known)
