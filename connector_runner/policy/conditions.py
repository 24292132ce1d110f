"""The conditions of a Consent provision, compared with what is asked. Pure. After FHIR R4, consent.html."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Final

from connector_runner.kernel.clock import parse_instant
from connector_runner.policy import purposes
from connector_runner.policy.asking import Action, Asked
from connector_runner.policy.labels import code_of

# consentaction: collect, access, use, disclose, correct (R4, valueset-consent-action.html).
_ACTIONS: Final = frozenset({"collect", "access", "use", "disclose", "correct"})
_DONE_BY: Final[dict[Action, frozenset[str]]] = {
    "write": frozenset({"disclose", "access", "use", "correct"}),
    "read": frozenset({"access", "use"}),
    "contact": frozenset({"use"}),
}

# v3-ParticipationType (custodian, author, who entered, informed or transcribed) and extra-security-role-type: roles of
# who holds or made the data, or is the patient; consent-example-notAuthor.html.
_NO_RECIPIENTS: Final = frozenset({"cst", "aut", "ent", "inf", "trans", "datasubject"})


class Met(IntEnum):
    """Whether a condition is met. ``UNTOLD``: we are not told enough; ``UNREADABLE``: it says what we cannot read."""

    NO = 0
    YES = 1
    UNTOLD = 2
    UNREADABLE = 3


def applies(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    """All conditions of a provision together: one that is not met rules it out, whatever the others are."""
    found = [condition(node, asked, now) for condition in _CONDITIONS]
    return Met.NO if Met.NO in found else max(found)


def _while(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    return _period(node, now)


def _period(node: Mapping[str, Any], now: datetime) -> Met:
    period = node.get("period")
    if period is None:
        return Met.YES
    if not isinstance(period, Mapping) or not all(
        period.get(name) is None or moment(period[name]) is not None for name in ("start", "end")
    ):
        return Met.UNREADABLE
    return Met.YES if within(period, now) else Met.NO


def _purpose(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    return _any(node.get("purpose"), lambda code: purposes.covers(code, asked.purpose), purposes.known)


def _class(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    kinds = {asked.entity_type.lower(), asked.resource_type.lower()}
    return _any(node.get("class"), lambda code: code in kinds, lambda code: True)


def _action(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    done = _DONE_BY[asked.action]
    return _any(node.get("action"), lambda code: code in done, lambda code: code in _ACTIONS)


def _any(codes: Any, meant: Callable[[str], bool], known: Callable[[str], bool]) -> Met:
    """Whether nothing is asked for, or one code is meant. A code may be the last part of a profile's address."""
    if codes is None or codes == []:
        return Met.YES
    found = codes_in(codes)
    if any(meant(code) for code in found):
        return Met.YES
    return Met.NO if found and all(known(code) for code in found) else Met.UNREADABLE


def _actor(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    """Whether it is about the recipient: it names nobody, only a role, or the system by its name.

    Whose data it is, or who wrote it, is not known here.
    """
    actors = node.get("actor")
    found = objects(actors)
    if not found:
        return Met.YES if not actors else Met.UNREADABLE
    if any(asked.recipient.lower() in _names(each["reference"]) for each in found if _is_named(each)):
        return Met.YES
    getting = [each for each in found if not _roles(each) or not _NO_RECIPIENTS.issuperset(_roles(each))]
    if any(_is_named(each) for each in getting):
        return Met.NO
    return Met.YES if getting else Met.UNTOLD


def _is_named(actor: Mapping[str, Any]) -> bool:
    return isinstance(actor.get("reference"), Mapping)


def _roles(actor: Mapping[str, Any]) -> list[str]:
    return codes_in(actor.get("role"))


def _names(reference: Mapping[str, Any]) -> set[str]:
    identifier = reference.get("identifier")
    texts = [
        reference.get("display"),
        str(reference.get("ref") or reference.get("reference") or "").replace("/", ":").rsplit(":", 1)[-1],
        identifier.get("value") if isinstance(identifier, Mapping) else None,
    ]
    return {text.lower() for text in texts if isinstance(text, str) and text}


def _label(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    labels = None if asked.labels is None else {code_of(mark).lower() for mark in asked.labels}
    return _told(node.get("securityLabel"), labels)


def _code(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    codes = None if asked.codes is None else {code.lower() for code in asked.codes}
    return _told(node.get("code"), codes)


def _told(wanted: Any, told: set[str] | None) -> Met:
    if wanted is None or wanted == []:
        return Met.YES
    found = codes_in(wanted)
    if not found:
        return Met.UNREADABLE
    if told is None:
        return Met.UNTOLD
    return Met.YES if not told.isdisjoint(found) else Met.NO


def _data(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    """``instance`` names the very records; what is related to a record is not known here."""
    data = node.get("data")
    if data is None or data == []:
        return Met.YES
    if asked.refs is None or any(item.get("meaning") != "instance" for item in objects(data)):
        return Met.UNTOLD
    refs = {str(reference.get("ref")) for item in objects(data) for reference in objects(item.get("reference"))}
    return Met.YES if not refs.isdisjoint(asked.refs) else Met.NO


def _data_period(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    return Met.UNTOLD if node.get("dataPeriod") else Met.YES


def _modified(node: Mapping[str, Any], asked: Asked, now: datetime) -> Met:
    """A modifier extension changes what an element means (R4, extensibility.html#modifierExtension)."""
    return Met.UNREADABLE if node.get("modifierExtension") else Met.YES


_NARROWING: Final = ("actor", "action", "securityLabel", "purpose", "class", "code", "data", "dataPeriod")
_CONDITIONS: Final = (
    _while, _purpose, _class, _action, _actor, _label, _code, _data, _data_period, _modified,
)  # fmt: skip


def narrowed(node: Mapping[str, Any]) -> bool:
    """Whether a provision is about less than everything, beside when it holds."""
    return any(node.get(name) for name in _NARROWING)


def in_force(node: Mapping[str, Any], now: datetime) -> bool:
    """Whether a provision's time may be now."""
    return _period(node, now) is not Met.NO


def codes_in(codes: Any) -> list[str]:
    """The codes of codings, concepts or lists of them, small, each without the address before it."""
    found = [str(code.get("code") or "").lower() for item in objects(codes) for code in _codings(item)]
    return [code.rsplit("/", 1)[-1] for code in found if code]


def _codings(item: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return objects(item.get("coding")) or objects(item.get("codings")) or [item]


def within(period: Mapping[str, Any], now: datetime) -> bool:
    """Whether a moment lies in a period; what bound there is none of, or none that can be read, does not bound it."""
    start, end = moment(period.get("start")), moment(period.get("end"), last=True)
    return (start is None or start <= now) and (end is None or now < end)


def moment(text: Any, *, last: bool = False) -> datetime | None:
    """A FHIR date or time; a day, month or year is its first moment in UTC, or with ``last`` the end of it."""
    if not isinstance(text, str):
        return None
    exact = parse_instant(text)
    if exact is not None:
        return exact
    parts = text.split("-")
    if len(parts) > 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    year, month, day = ([int(part) for part in parts] + [1, 1])[:3]
    try:
        begun = datetime(year, month, day, tzinfo=UTC)
        if not last:
            return begun
        if len(parts) == 3:
            return begun + timedelta(days=1)
        return (
            datetime(year + 1, 1, 1, tzinfo=UTC) if len(parts) == 1 or month == 12 else begun.replace(month=month + 1)
        )
    except (ValueError, OverflowError):
        return None


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects in what may be one or a list of them."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Mapping)]
