"""An intent put before the layers of validation, with what its mapping and its sink's terms say of it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from connector_runner.connectors.terms import SinkTerms
from connector_runner.outbound.lanes.intents import CREATE, Intent
from connector_runner.outbound.operating.undo_store import MARK
from connector_runner.outbound.validation import Problem, Rules, check
from connector_runner.unification.loader import MappingSet
from connector_runner.unification.outbound import OutboundMapping


def problems_of(mappings: MappingSet, terms: SinkTerms, intent: Intent, now: datetime) -> tuple[Problem, ...]:
    """What is wrong with an intent that is about to be opened, of the first layer that finds anything."""
    entity_type = intent.mapping_version.partition("@")[0].rpartition("/")[2]
    fhir = mappings.is_fhir(terms.system)
    creating = intent.operation == CREATE
    mapping = mappings.outbound(terms.system, entity_type)
    # Where the identity of a record goes that is not FHIR is its adapter's business.
    judged = mapping is not None and (fhir or not creating)
    rules = Rules(
        fhir=fhir,
        schema=mappings.schema(terms.system, entity_type),
        written=_written(mapping, terms.owns.get(entity_type)) if mapping is not None and judged else None,
        client_ref=intent.idempotency_key if creating and fhir else None,
        transitions=not intent.mapping_version.startswith(MARK),
    )
    return check(intent.body, before=intent.before, now=now, rules=rules)


@lru_cache(maxsize=1000)
def _written(mapping: OutboundMapping, owned: frozenset[str] | None) -> frozenset[str]:
    """The elements, at the top of a record, that are ours to write."""
    elements = (
        element for field, names in mapping.fields().items() if owned is None or field in owned for element in names
    )
    return frozenset(element.partition(".")[0].partition("[")[0] for element in elements)
