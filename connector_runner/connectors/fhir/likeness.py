"""Whether a record of an EHR is the one that was sent to it, where it keeps no number of ours. Pure.

An EHR keeps a record in its own words: other capitals and spaces, its own labels for codes, times in its own zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector_runner.kernel.clock import parse_instant

_BEGINS: Final = ("start", "effectiveDateTime", "effectiveInstant", "onsetDateTime", "authoredOn", "authored", "date")
_LABELS: Final = {"display": "code", "text": "coding"}
"""What a label is, by what it labels: what stands beside it says all that is meant."""


def says_all(found: Any, sent: Any) -> bool:
    """Whether a record says everything that was sent, whatever it says besides. References by their last two steps."""
    if isinstance(sent, dict):
        return isinstance(found, dict) and all(
            key in found and says_all(found[key], value)
            for key, value in sent.items()
            if not (key in _LABELS and sent.get(_LABELS[key]))
        )
    if isinstance(sent, list):
        return isinstance(found, list) and all(any(says_all(item, wanted) for item in found) for wanted in sent)
    if isinstance(sent, str) and isinstance(found, str):
        return _same_text(found, sent)
    return bool(found == sent)


def may_be(found: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Whether a record that says something else is of the same thing at the same instant (a day has several)."""
    moments = [(found.get(name), sent[name]) for name in _BEGINS if isinstance(sent.get(name), str)]
    if not moments or any(parse_instant(value) is None for _, value in moments):
        return False
    same = all(isinstance(held, str) and _same_text(held, value) for held, value in moments)
    code = sent.get("code")
    return same and (code is None or says_all(found.get("code"), code))


def _same_text(one: str, other: str) -> bool:
    if "/" in other and " " not in other:
        return one.split("/")[-2:] == other.split("/")[-2:]
    moment = parse_instant(other)
    if moment is not None:
        return parse_instant(one) == moment
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
