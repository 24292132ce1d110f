"""One record in, its facts out: the hot path of the pipeline."""

from __future__ import annotations

from typing import Any

from connector_runner.kernel.errors import BadRecord
from connector_runner.unification.documents import Document, Place
from connector_runner.unification.model import Mapped, MappingContext
from connector_runner.unification.rules import (
    FieldNode,
    RuleCompiler,
    Targets,
    Vocabularies,
    entity_types_of,
    path_getter,
    source_paths,
    transform_of,
)
from connector_runner.unification.run import Run, json_type
from connector_runner.unification.transforms import TRANSFORMS


class Mapping:
    """The compiled mapping of one kind of record of one system.

    ``version`` is ``<system>/<record>@<declared>+<digest>`` and goes on every event made.
    """

    def __init__(
        self,
        version: str,
        document: Document,
        header: dict[str, Any],
        fields: list[FieldNode],
        vocabularies: Vocabularies,
        targets: Targets | None = None,
    ) -> None:
        at = Place(document)
        compiler = RuleCompiler(TRANSFORMS, vocabularies, targets)
        self.version = version
        self.resource_type: str | None = header.get("resource_type")
        self.field_names = tuple(name for name, *_ in fields)
        self.transforms = {name: transform_of(node) for name, node, _ in fields}
        self.entity_types = entity_types_of(header["entity_type"])
        self._id = path_getter(header["id"], at.child("id"))
        self._id_path: str = header["id"]
        updated = header.get("updated")
        self._updated = path_getter(updated, at.child("updated")) if updated else None
        self._entity_type = compiler.cases(header["entity_type"], at.child("entity_type"))
        self._event: str | None = header.get("event")
        self._confidence = compiler.cases(header.get("confidence"), at.child("confidence"))
        retracted = header.get("retracted")
        self._retracted = compiler.condition(retracted, at.child("retracted")) if retracted else None
        self._effective: list[str] = header.get("effective_at", [])
        for index, name in enumerate(self._effective):
            if name not in self.field_names:
                at.child("effective_at", index).fail(f"there is no field {name!r}")
        self._required = tuple(name for name, node, _ in fields if node.get("required"))
        self._fields = compiler.fields(fields)
        self._sources = {name: source_paths(node) for name, node, _ in fields}

    def updated(self, resource: dict[str, Any]) -> str | None:
        """When the source says that it last changed the record, as it is written there; None where it does not say."""
        found = None if self._updated is None else self._updated(resource)
        return found if type(found) is str else None

    def sources(self, field: str) -> tuple[str, ...]:
        """The paths in a record from which a field is taken, the first that holds something counting."""
        return self._sources.get(field, ())

    def map(self, resource: Any, context: MappingContext) -> Mapped:
        """The facts of ``resource``; what is wrong with a value leaves that value out and is a problem.

        Raises BadRecord when there is nothing to map: not an object (``not_an_object``), another type of
        resource (``resource_type``), no id (``no_id``), a required field missing (``missing_field``).
        """
        if type(resource) is not dict:
            raise BadRecord(f"expected an object, found {json_type(resource)}", code="not_an_object")
        if self.resource_type is not None and resource.get("resourceType") != self.resource_type:
            raise BadRecord(f"expected a {self.resource_type}", code="resource_type", where="resourceType")
        record_id = self._id(resource)
        if not record_id or type(record_id) not in (str, int):
            raise BadRecord("a record needs an id", code="no_id", where=self._id_path)
        run = Run(context, resource)
        facts = self._fields(resource, run)
        if self.resource_type is not None:
            _label(facts, resource.get("meta"))
        for name in self._required:
            if name not in facts:
                raise BadRecord("a required field is missing or invalid", code="missing_field", where=name)
        entity_type = self._entity_type(resource)
        return Mapped(
            entity_type,
            self._event or f"{entity_type}.updated",
            facts,
            self._confidence(resource),
            self.version,
            self._effective_at(facts),
            self._retracted is not None and self._retracted(resource),
            tuple(run.problems),
        )

    def _effective_at(self, facts: dict[str, Any]) -> str | None:
        for name in self._effective:
            value = facts.get(name)
            if type(value) is dict:
                value = value.get("start") or value.get("end")
            if type(value) is str:
                return value
        return None


def _label(facts: dict[str, Any], meta: Any) -> None:
    """The security labels of a resource (R4, security-labels.html), whatever else its mapping takes of it."""
    found = meta.get("security") if type(meta) is dict else None
    if found:
        items = found if type(found) is list else [found]
        facts["security_labels"] = [
            {name: item[name] for name in ("system", "code") if type(item.get(name)) is str}
            for item in items
            if type(item) is dict
        ] or [{}]
