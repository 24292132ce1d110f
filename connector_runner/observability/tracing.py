"""From a value that holds back to the very place in the record that said it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector_runner.connectors.sinks import Json
from connector_runner.infra.database import Row, Tx
from connector_runner.intake import raw
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.paths import compile_path
from connector_runner.outbound.gating.choosing import same_value
from connector_runner.unification.engine import Mapping as InboundMapping
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.model import MappingContext
from connector_runner.world.atoms import field_of, split
from connector_runner.world.fold import Claim


class Tracer:
    """Finds places in records. Keeps the records that it has read; one for a question."""

    def __init__(self, tx: Tx, mappings: MappingSet, origins: Mapping[str, Row]) -> None:
        self._tx, self._mappings, self._origins = tx, mappings, origins
        self._bodies: dict[tuple[str, int], Any] = {}

    def source_of(self, claim: Claim) -> dict[str, Any] | None:
        """Source, record, raw page and position, the path in it, and which mapping read it.

        ``path`` is by today's mapping; ``mapping_current`` says whether that is the one which made the event. An
        event without a raw record was stated as facts: the path is then one into those.
        """
        origin = self._origins.get(claim.event_id)
        if origin is None:
            return None
        found = {
            "source": origin["source_name"],
            "record": origin["record_key"],
            "raw_id": origin["raw_id"],
            "raw_position": origin["raw_position"],
            "ingested_at": origin["ingested_at"],
            "actor": origin["actor"],
            "mapping_version": origin["mapping_version"],
        }
        if origin["raw_id"] is None:
            return found | {"path": _in_facts(origin["facts"], claim), "mapping_current": None}
        mapping = self._mappings.inbound(origin["system"] or "", origin["fhir_resource_type"] or "")
        body = self._body(origin)
        path = None
        if mapping is not None and isinstance(body, dict):
            context = MappingContext(origin["source_name"], base_url=origin["base_url"], region=origin["region"])
            path = locate(mapping, body, context, claim)
        current = mapping is not None and mapping.version == origin["mapping_version"]
        return found | {"path": path, "mapping_current": current}

    def _body(self, origin: Row) -> Any:
        key = (origin["raw_id"], origin["raw_position"])
        if key not in self._bodies:
            content = raw.read(self._tx, *key)
            self._bodies[key] = exact_json.loads(content) if content else None
        return self._bodies[key]


def locate(mapping: InboundMapping, resource: Json, context: MappingContext, claim: Claim) -> str | None:
    """The path of what a claim was taken from; of a list, the element that says it where one alone does."""
    for path in mapping.sources(field_of(claim.atom)):
        found = compile_path(path)(resource)
        if found is None:
            continue
        if isinstance(found, list) and path in resource:
            for index, element in enumerate(found):
                if _says(mapping, {**resource, path: [element]}, context, claim):
                    return f"{path}[{index}]"
        return path
    return None


def _says(mapping: InboundMapping, resource: Json, context: MappingContext, claim: Claim) -> bool:
    try:
        atoms = split(mapping.map(resource, context).facts)
    except BadRecord:
        return False
    return claim.atom in atoms and same_value(atoms[claim.atom], claim.value)


def _in_facts(facts: Json, claim: Claim) -> str | None:
    field = field_of(claim.atom)
    if field not in facts:
        return None
    value = facts[field]
    if field != claim.atom and isinstance(value, list):
        for index, element in enumerate(value):
            if same_value(element, claim.value):
                return f"facts.{field}[{index}]"
    return f"facts.{field}"
