"""Keep in step what patients' records bear that concerns all that is about the patient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import phonenumbers

from connector_runner.infra.database import Tx
from connector_runner.outbound.gating import mark_store
from connector_runner.outbound.gating.consent_store import Mark
from connector_runner.policy import labels, policies
from connector_runner.policy.settings import PolicySettings
from connector_runner.unification.phones import DEFAULT_REGION, normalise_phone

_NO_NUMBERS: Final = frozenset({"email", "url"})
# What people put between digits; a number that begins with 00 is one with its country, dialled from Europe.
_BETWEEN: Final = re.compile(r"[^0-9A-Za-z+@():;.,/ -]")
_ABROAD: Final = re.compile(r"(?<![0-9])00(?=[1-9])")


def follow(tx: Tx, workspace_id: str, patient_ids: Sequence[str]) -> list[str]:
    """Note what these patients' records bear now; those of whom that is another than before."""
    found = mark_store.looked(tx, workspace_id, patient_ids)
    if not found:
        return []
    policy = policies.current(tx, workspace_id)
    changed = []
    for row in found:
        now = mark(policy, row["entity_id"], row["labels"], row["telecom"])
        if now != Mark(row["entity_id"], tuple(row["known_labels"] or ()), bool(row["test_caller"])):
            changed.append(now)
    mark_store.put(tx, workspace_id, changed)
    return [each.entity_id for each in changed]


def mark(policy: PolicySettings, entity_id: str, labelled: Any, telecom: Any) -> Mark:
    """What a record with these labels and numbers bears; a label that keeps nobody from anything is none."""
    bears = tuple(sorted(each for each in labels.marks(labelled) if labels.category(each) is not None))
    return Mark(entity_id, bears, not policy.tested.isdisjoint(numbers(telecom)))


def numbers(telecom: Any) -> frozenset[str]:
    """The telephone numbers among a patient's points of contact, in E.164, whoever wrote them down and however."""
    found = [value for system, value in _points(telecom) if system not in _NO_NUMBERS]
    return frozenset(number for value in found for number in numbers_in(value))


def emails(telecom: Any) -> frozenset[str]:
    """The e-mail addresses among a patient's points of contact."""
    return frozenset(value for system, value in _points(telecom) if system == "email")


def _points(telecom: Any) -> Iterator[tuple[Any, str]]:
    for item in telecom if isinstance(telecom, list) else ():
        if isinstance(item, dict) and item.get("value"):
            yield item.get("system"), str(item["value"])


@lru_cache(maxsize=4096)
def numbers_in(text: str) -> frozenset[str]:
    """The numbers in a text that is one, or has one or several beside other words (``617-555-0142 (home)``)."""
    number = normalise_phone(text)
    if number is not None:
        return frozenset({number[0]})
    plain = _ABROAD.sub("+", _BETWEEN.sub(" ", text))
    found = phonenumbers.PhoneNumberMatcher(plain, DEFAULT_REGION, leniency=phonenumbers.Leniency.POSSIBLE)
    return frozenset(phonenumbers.format_number(each.number, phonenumbers.PhoneNumberFormat.E164) for each in found)
