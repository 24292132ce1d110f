"""What a CapabilityStatement declares (R4, capabilitystatement.html). Pure, and lenient: real ones leave much out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connector_runner.connectors.probing.findings import NO, YES, Finding

_WRITES = {"create": "create", "update": "update", "patch": "patch"}
_READS = {"read": "read", "search": "search-type", "history": "history-type", "vread": "vread"}


@dataclass(frozen=True, slots=True)
class Declared:
    """One record type as declared. ``parameters`` are in lower case: servers differ in it."""

    interactions: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()
    fields: dict[str, Any] = field(default_factory=dict)

    def searches_by(self, name: str) -> str | None:
        """Whether a search parameter is declared; None where no parameter is declared at all."""
        if not self.parameters:
            return None
        return YES if name.lower() in self.parameters else NO


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole statement, by record type."""

    version: str
    types: dict[str, Declared]
    interactions: frozenset[str]
    operations: frozenset[str]

    def of(self, resource_type: str) -> Declared | None:
        """One record type; None when the statement does not name it."""
        return self.types.get(resource_type)


def read(document: dict[str, Any]) -> Statement:
    """Take a statement apart."""
    types: dict[str, Declared] = {}
    interactions: set[str] = set()
    operations: set[str] = set()
    common: set[str] = set()
    for rest in _dicts(document.get("rest")):
        interactions |= _codes(rest, "interaction", "code")
        operations |= _codes(rest, "operation", "name")
        common |= {name.lower() for name in _codes(rest, "searchParam", "name")}
        for resource in _dicts(rest.get("resource")):
            if isinstance(resource.get("type"), str):
                types[resource["type"]] = _declared(resource, common)
    version = document.get("fhirVersion")
    return Statement(version if isinstance(version, str) else "", types, frozenset(interactions), frozenset(operations))


def _declared(resource: dict[str, Any], common: set[str]) -> Declared:
    names = {name.lower() for name in _codes(resource, "searchParam", "name")}
    simple = {key: value for key, value in resource.items() if isinstance(value, (bool, str))}
    return Declared(
        frozenset(_codes(resource, "interaction", "code")),
        frozenset(names | common) if names else frozenset(),
        frozenset(_codes(resource, "operation", "name")),
        simple,
    )


def findings_of_server(statement: Statement) -> list[Finding]:
    """What is declared of the server as a whole."""
    operations = statement.operations | {
        name for kind in ("Patient", "Group") if (declared := statement.of(kind)) for name in declared.operations
    }
    exports = any(name.lstrip("$").endswith("export") for name in operations)
    subscription = statement.of("Subscription")
    offered = subscription is not None and (not subscription.interactions or "create" in subscription.interactions)
    return [
        Finding("", "export", YES if exports else NO),
        Finding("", "subscription", YES if offered else NO),
        Finding("", "transaction", _said(statement.interactions, "transaction")),
        Finding("", "batch", _said(statement.interactions, "batch")),
        *(Finding("", name, _together(statement, name)) for name in ("client_id", "conditional_create", "if_match")),
    ]


def _together(statement: Statement, capability: str) -> str | None:
    """What all types that can be created declare alike; None where they differ, or do not say."""
    said = {
        finding.declared
        for name, declared in statement.types.items()
        if "create" in declared.interactions
        for finding in findings_of_type(name, declared)
        if finding.capability == capability
    }
    return said.pop() if len(said) == 1 else None


def findings_of_type(resource_type: str, declared: Declared | None) -> list[Finding]:
    """What is declared of one record type, what concerns writing included; nothing where it is not named."""
    if declared is None:
        return []
    said, fields = declared.interactions, declared.fields
    made = [Finding(resource_type, name, _said(said, code)) for name, code in {**_READS, **_WRITES}.items()]
    made += [
        Finding(resource_type, name, _flag(fields.get(key)))
        for name, key in (("client_id", "updateCreate"), ("conditional_create", "conditionalCreate"))
    ]
    versioning = fields.get("versioning")
    if isinstance(versioning, str):
        made.append(Finding(resource_type, "if_match", YES if versioning == "versioned-update" else NO))
    checks = any(name.lstrip("$") == "validate" for name in declared.operations)
    return [*made, Finding(resource_type, "validate", YES if checks else None)]


def _said(codes: frozenset[str], code: str) -> str | None:
    """Yes or no; nothing where the statement lists none of the kind."""
    if not codes:
        return None
    return YES if code in codes else NO


def _flag(stated: Any) -> str | None:
    return None if not isinstance(stated, bool) else YES if stated else NO


def _codes(parent: dict[str, Any], key: str, name: str) -> set[str]:
    return {item[name] for item in _dicts(parent.get(key)) if isinstance(item.get(name), str)}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
