"""What release went by when it looked at an entity, as one number: other terms or mappings, another number. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from typing import Any, Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.kernel import exact_json
from connector_runner.unification.loader import MappingSet

HOW_AND_WHEN: Final = frozenset(
    {
        "base_url", "breaker", "burst", "calendar", "capabilities", "concurrency", "mark", "name", "per_day",
        "per_minute_fixed", "per_second", "quiet_period_s", "request_timeout_s", "unread",
    }
)  # fmt: skip
"""Terms that say how and when a sink is written to, never what: a change of these asks for no new look."""


def terms_marks(all_terms: Sequence[SinkTerms], mappings: MappingSet) -> dict[str, int]:
    """Entity type -> the mark of what decides about it: the terms of each sink that takes it, and their mappings."""
    marks: dict[str, int] = {}
    said = {terms.sink_id: _plain(_what(terms)) for terms in all_terms}
    for entity_type in {kind for terms in all_terms for kind in terms.entity_types}:
        parts: list[Any] = []
        for terms in sorted(all_terms, key=lambda each: each.sink_id):
            if entity_type in terms.entity_types:
                mapping = mappings.outbound(terms.system, entity_type)
                parts.append([said[terms.sink_id], mapping.version if mapping else None])
        marks[entity_type] = int.from_bytes(exact_json.digest([entity_type, parts])[:8], "big", signed=True)
    return marks


def _what(terms: SinkTerms) -> dict[str, Any]:
    return {
        field.name: getattr(terms, field.name) for field in dataclasses.fields(terms) if field.name not in HOW_AND_WHEN
    }


def _plain(value: Any) -> Any:
    """As JSON, the same for the same meaning: what has no order gets one, numbers are their shortest text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, Set):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    return str(value.value) if isinstance(value, Enum) else str(value)
