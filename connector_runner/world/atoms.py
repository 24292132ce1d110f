"""Fields as atoms: the smallest pieces that win, are withheld and are written whole.

A plain field is one atom. The elements of a keyed list (telecom, address, identifier) are atoms of their
own, named by their business key, so that two sources can each be right about one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector_runner.kernel import exact_json

# An automated verdict never overrides an authoritative value of these: the conflict goes to a person.
SAFETY_FIELDS = frozenset(
    {"name", "birth_date", "gender", "birth_sex", "identifier", "deceased", "code", "reaction", "criticality",
     "medication", "dosage"}
)  # fmt: skip


def _by_use(element: dict[str, Any], *, leading: str = "") -> tuple[str, str]:
    use = str(element.get("use") or "")
    spare = exact_json.digest(element).hex()[:12]
    slot = f"{leading}{use}"
    return (f"{slot}|{spare}" if use == "old" else slot), f"{slot}|{spare}"


def _telecom(element: dict[str, Any]) -> tuple[str, str]:
    slot = f"{element.get('system') or ''}|{element.get('use') or ''}"
    spare = f"{slot}|{element.get('value') or ''}"
    return (spare if element.get("use") == "old" else slot), spare


def _identifier(element: dict[str, Any]) -> tuple[str, str]:
    system = element.get("system") or f"type:{element.get('type') or ''}"
    key = f"{system}|{element.get('value') or ''}"
    return key, f"{key}|{exact_json.digest(element).hex()[:12]}"


def _label(element: dict[str, Any]) -> tuple[str, str]:
    key = f"{element.get('system') or ''}|{element.get('code') or ''}"
    return key, f"{key}|{exact_json.digest(element).hex()[:12]}"


def _opt_out(element: dict[str, Any]) -> tuple[str, str]:
    key = str(element.get("channel") or "")
    return key, f"{key}|{exact_json.digest(element).hex()[:12]}"


# field -> element -> (its slot, its name should the slot be taken by an earlier element of the same record)
KEYED: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "telecom": _telecom,
    "address": _by_use,
    "identifier": _identifier,
    "security_labels": _label,
    "opt_outs": _opt_out,
}


def field_of(atom: str) -> str:
    """The field that an atom belongs to."""
    return atom.partition("[")[0]


def split(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as atoms."""
    atoms: dict[str, Any] = {}
    for field, value in facts.items():
        key_of = KEYED.get(field)
        if key_of is None or not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            atoms[field] = value
            continue
        elements = value if len(value) == 1 else sorted(value, key=_rank)
        for element in elements:
            slot, spare = key_of(element)
            name = f"{field}[{slot}]"
            atoms[name if name not in atoms else f"{field}[{spare}]"] = element
    return atoms


def _rank(element: dict[str, Any]) -> int:
    rank = element.get("rank")
    return rank if isinstance(rank, int) else 1_000


def join(atoms: dict[str, Any]) -> dict[str, Any]:
    """Atoms as facts; lists come out in the order of their atoms' names, whatever the order in.

    Should somebody have said a keyed list as something else, the elements that others gave stand.
    """
    facts: dict[str, Any] = {}
    lists: dict[str, list[Any]] = {}
    for atom in sorted(atoms):
        field = field_of(atom)
        if field == atom:
            facts[field] = atoms[atom]
        else:
            lists.setdefault(field, []).append(atoms[atom])
    return facts | lists


def normalised(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts with their keyed lists in atom order: what the state of a single statement is."""
    for field in KEYED:  # for every record: a generator would cost three times as much
        value = facts.get(field)
        if type(value) is list and len(value) > 1:
            return join(split(facts))
    return facts
