"""Keep in step what patients' records bear that concerns all that is about the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from connector_runner.infra.database import Tx
from connector_runner.outbound.gating import mark_store
from connector_runner.outbound.gating.consent_store import Mark
from connector_runner.policy import labels, policies
from connector_runner.policy.settings import PolicySettings
from connector_runner.unification.phones import normalise_phone

_NUMBERS: Final = frozenset({"phone", "sms", "fax", "pager"})


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
    return Mark(entity_id, bears, not policy.tested.isdisjoint(points(telecom, *_NUMBERS)))


def points(telecom: Any, *systems: str) -> frozenset[str]:
    """The values of a patient's points of contact of some kinds."""
    items = telecom if isinstance(telecom, list) else []
    found = [item for item in items if isinstance(item, dict) and item.get("system") in systems and item.get("value")]
    return frozenset(_point(str(item["system"]), str(item["value"])) for item in found)


def _point(system: str, value: str) -> str:
    """A number in E.164, whoever wrote it down and however; an address as it is."""
    number = normalise_phone(value) if system in _NUMBERS else None
    return value if number is None else number[0]
