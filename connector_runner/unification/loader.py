"""The mappings folder, read and checked whole at start-up.

inbound/<system>/<record>.yaml           outbound/<system>/<entity_type>.yaml
inbound/<system>/system.yaml             what a system without its own file for a record falls back to
outbound/<system>/schema/<entity_type>.json: what is sent there, where it is not FHIR
vocab/<name>.yaml                        schema.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as ReadOnly
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from connector_runner.kernel.errors import Misconfigured
from connector_runner.unification.documents import Document, Place, read_document
from connector_runner.unification.engine import Mapping
from connector_runner.unification.outbound import OutboundMapping
from connector_runner.unification.rules import FieldNode, Targets, as_rule, as_translation
from connector_runner.unification.vocabularies import Vocabulary, vocabulary

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
SYSTEM_FILE = "system"
FHIR_SYSTEM = "fhir_r4"
Found = TypeVar("Found")


@lru_cache(maxsize=1024)
def record_name(record: str) -> str:
    """The file name of a record: ``MedicationRequest`` and ``medication_request`` both answer the latter."""
    return _HUMP.sub("_", record).lower()


class MappingSet:
    """All mappings of the installation."""

    def __init__(
        self,
        inbound: ReadOnly[tuple[str, str], Mapping],
        outbound: ReadOnly[tuple[str, str], OutboundMapping],
        parents: ReadOnly[tuple[str, str], str],
        schemas: ReadOnly[tuple[str, str], str] | None = None,
        fhir_systems: frozenset[str] = frozenset({FHIR_SYSTEM}),
        vocabularies: ReadOnly[str, Vocabulary] | None = None,
    ) -> None:
        self._inbound = inbound
        self._outbound = outbound
        self._parents = parents
        self._schemas = schemas or {}
        self._fhir_systems = fhir_systems
        self.vocabularies: ReadOnly[str, Vocabulary] = vocabularies or {}

    def inbound(self, system: str, record: str) -> Mapping | None:
        """The mapping of a record of ``system``, or of the system it extends; None when there is none."""
        return _find(self._inbound, self._parents, ("inbound", system), record_name(record))

    def untyped(self, system: str) -> tuple[str, Mapping] | None:
        """What a record of ``system`` is taken for that names no type: the one kind of record that needs none there."""
        found = [
            (record, mapping)
            for (named, record), mapping in sorted(self._inbound.items())
            if named == system and mapping.resource_type is None
        ]
        return found[0] if len(found) == 1 else None

    def outbound(self, system: str, entity_type: str) -> OutboundMapping | None:
        """The mapping of an entity type to ``system``, or to the system it extends; None when there is none."""
        return _find(self._outbound, self._parents, ("outbound", system), entity_type)

    def schema(self, system: str, entity_type: str) -> str | None:
        """The text of the JSON Schema of what is sent to ``system``, or to the system it extends."""
        return _find(self._schemas, self._parents, ("outbound", system), entity_type)

    def is_fhir(self, system: str) -> bool:
        """Whether what is sent to ``system`` is FHIR R4: it is that system, or a mapping of it extends one."""
        step: str | None = system
        while step is not None:
            if step in self._fhir_systems:
                return True
            step = self._parents.get(("outbound", step))
        return False

    def systems(self) -> set[str]:
        """The systems that have any mapping, inbound or outbound."""
        return {system for system, _ in (*self._inbound, *self._outbound)} | {name for _, name in self._parents}

    def inbound_records(self) -> list[tuple[str, str]]:
        """Every (system, record) that has an inbound file of its own."""
        return sorted(self._inbound)

    def outbound_types(self) -> list[tuple[str, str]]:
        """Every (system, entity type) that has an outbound file of its own."""
        return sorted(self._outbound)


def _find(
    mappings: ReadOnly[tuple[str, str], Found],
    parents: ReadOnly[tuple[str, str], str],
    start: tuple[str, str],
    name: str,
) -> Found | None:
    """The mapping of the nearest system up the line of parents."""
    direction, system = start
    step: str | None = system
    while step is not None:
        found = mappings.get((step, name))
        if found is not None:
            return found
        step = parents.get((direction, step))
    return None


def load_mappings(root: Path) -> MappingSet:
    """Read, check and compile everything under ``root``.

    Raises Misconfigured (code ``mapping``) naming file, line and key of the first fault.
    """
    return _Loading(root).load()


class _Loading:
    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            schema = json.loads((root / "schema.json").read_bytes())
        except (OSError, ValueError):
            raise Misconfigured("cannot be read", code="mapping", where="schema.json") from None
        self._validators = {
            kind: Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]})
            for kind in ("inbound", "outbound", "vocabulary", "system")
        }
        self._vocabularies: dict[str, dict[str, Any]] = {}
        self._targets: dict[str, Vocabulary] = {}
        self._documents: dict[tuple[str, str, str], Document] = {}
        self._parents: dict[tuple[str, str], str] = {}

    def load(self) -> MappingSet:
        for path in sorted((self._root / "vocab").glob("*.yaml")):
            document = self._read(path, "vocabulary")
            self._vocabularies[path.stem] = document.data
            if "displays" in document.data:
                self._targets[path.stem] = vocabulary(path.stem, document.data, Place(document))
        for direction in ("inbound", "outbound"):
            for path in sorted((self._root / direction).glob("*/*.yaml")):
                if path.stem == SYSTEM_FILE:
                    self._parents[direction, path.parent.name] = self._read(path, "system").data["extends"]
                else:
                    self._documents[direction, path.parent.name, path.stem] = self._read(path, direction)
        self._check_parents()
        inbound: dict[tuple[str, str], Mapping] = {}
        outbound: dict[tuple[str, str], OutboundMapping] = {}
        for direction, system, name in self._documents:
            if direction == "inbound":
                inbound[system, name] = Mapping(*self._resolved(direction, system, name))
            else:
                version, _, header, fields, used, targets = self._resolved(direction, system, name)
                outbound[system, name] = OutboundMapping(version, header, fields, used, targets)
        fhir = {FHIR_SYSTEM} | {system for way, system, name in self._documents if self._from_fhir(way, system, name)}
        return MappingSet(inbound, outbound, self._parents, self._schemas(), frozenset(fhir), self._targets)

    def _from_fhir(self, direction: str, system: str, name: str) -> bool:
        chain = self._chain(direction, system, name)
        return direction == "outbound" and any(document.name.split("/")[1] == FHIR_SYSTEM for document in chain)

    def _schemas(self) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for path in sorted((self._root / "outbound").glob("*/schema/*.json")):
            name = path.relative_to(self._root).as_posix()
            try:
                text = path.read_text("utf-8")
                Draft202012Validator.check_schema(json.loads(text))
            except (OSError, ValueError):
                raise Misconfigured("cannot be read as JSON", code="mapping", where=f"{name}:1: (file)") from None
            except SchemaError as error:
                place = "/".join(str(step) for step in error.absolute_path)
                raise Misconfigured("not a JSON Schema", code="mapping", where=f"{name}:1: {place}") from None
            found[path.parent.parent.name, path.stem] = text
        return found

    def _read(self, path: Path, kind: str) -> Document:
        document = read_document(path, self._root)
        error = best_match(self._validators[kind].iter_errors(document.data))
        if error is not None:
            place = Place(document, tuple(error.absolute_path))
            if error.validator == "additionalProperties" and isinstance(error.instance, dict):
                known = error.schema.get("properties", {})
                place = place.child(next(key for key in error.instance if key not in known))
                place.fail(f"unknown key; known are {', '.join(sorted(known))}")
            place.fail(error.message)
        return document

    def _check_parents(self) -> None:
        systems = {(direction, system) for direction, system, _ in self._documents} | set(self._parents)
        for (direction, system), parent in self._parents.items():
            where = f"{direction}/{system}/{SYSTEM_FILE}.yaml:1: extends"
            if (direction, parent) not in systems:
                raise Misconfigured(f"there is no system {parent!r}", code="mapping", where=where)
            met = {system}
            step: str | None = parent
            while step is not None:
                if step in met:
                    raise Misconfigured("the systems extend each other in a circle", code="mapping", where=where)
                met.add(step)
                step = self._parents.get((direction, step))

    def _resolved(
        self, direction: str, system: str, name: str
    ) -> tuple[str, Document, dict[str, Any], list[FieldNode], dict[str, dict[str, Any]], Targets]:
        """A file with all it extends: version, itself, its header, its fields, the vocabularies of both kinds."""
        chain = self._chain(direction, system, name)
        header: dict[str, Any] = {"id": "id"}
        fields: dict[str, FieldNode] = {}
        for document in reversed(chain):
            at = Place(document, ("fields",))
            header.update((key, value) for key, value in document.data.items() if key != "fields")
            for field, node in document.data.get("fields", {}).items():
                if node is None:
                    fields.pop(field, None)
                else:
                    fields[field] = (field, as_rule(node), at.child(field))
        document = chain[0]
        needed = "entity_type" if direction == "inbound" else "resource_type"
        if needed not in header:
            Place(document).fail(f"`{needed}` is missing, here and in what this file extends")
        used = sorted({word for _, node, _ in fields.values() for word in _lookups(node)} & set(self._vocabularies))
        content = [[item.data for item in chain], [[word, self._vocabularies[word]] for word in used]]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        digest = blake2b(text.encode(), digest_size=4).hexdigest()
        version = f"{system}/{name}@{document.data['version']}+{digest}"
        return version, document, header, list(fields.values()), self._vocabularies, self._targets

    def _chain(self, direction: str, system: str, name: str) -> list[Document]:
        chain = [self._documents[direction, system, name]]
        while (parent := chain[-1].data.get("extends")) is not None:
            key = (direction, *parent.split("/", 1))
            document = self._documents.get(key)
            at = Place(chain[-1], ("extends",))
            if document is None:
                at.fail(f"there is no {direction} mapping {parent}")
            if document in chain:
                at.fail("the mappings extend each other in a circle")
            chain.append(document)
        return chain


def _lookups(node: Any) -> list[str]:
    """Every vocabulary that a rule names, however deep."""
    if isinstance(node, list):
        return [word for item in node for word in _lookups(item)]
    if not isinstance(node, dict):
        return []
    own = [node["lookup"]] if isinstance(node.get("lookup"), str) else []
    if isinstance(node.get("translate"), str | dict):
        own.append(str(as_translation(node["translate"]).get("vocabulary")))
    return own + [word for value in node.values() for word in _lookups(value)]
