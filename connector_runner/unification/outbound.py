"""Entity state in, the part of a FHIR resource that we own out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from connector_runner.kernel.errors import BadRecord, NotYet
from connector_runner.kernel.paths import Step, parse_path
from connector_runner.unification import columns
from connector_runner.unification.choices import SUFFIXES, choose
from connector_runner.unification.documents import Place
from connector_runner.unification.model import Ask, Dependency, OutboundContext, nothing_decided
from connector_runner.unification.participants import (
    appointment_participants,
    encounter_locations,
    encounter_participants,
)
from connector_runner.unification.renderers import RENDERERS, RenderRun
from connector_runner.unification.rules import (
    FieldNode,
    Fields,
    Rule,
    RuleCompiler,
    Targets,
    Vocabularies,
    as_rule,
    as_translation,
    path_getter,
)
from connector_runner.unification.run import Run, Transform
from connector_runner.unification.translation import Translated, is_of, texts_of, translate_fact

ELEMENT_TRANSFORMS: dict[str, Transform] = {
    **RENDERERS,
    "appointment_participants": appointment_participants,
    "encounter_participants": encounter_participants,
    "encounter_locations": encounter_locations,
    **columns.OUTBOUND,
}
CHOICE_MARK = "[x]"
WITHHOLD, WAIT, FAIL, KEEP = "withhold", "wait", "fail", "keep"
_Place = Callable[[dict[str, Any], Any], None]


class ElementCompiler(RuleCompiler):
    """Compiles rules whose names are places in the resource to be written."""

    def fields(self, nodes: Iterable[FieldNode]) -> Fields:
        """All elements of one object."""
        compiled: list[tuple[str, _Place, Rule, bool]] = []
        for name, node, at in nodes:
            if name.endswith(CHOICE_MARK):
                rule, place = self._choice_element(node, at), _put_choice(name.removesuffix(CHOICE_MARK))
            else:
                rule, place = self.rule(node, at), _target(name, at)
            compiled.append((name, place, rule, bool(node.get("required"))))

        def fields(obj: dict[str, Any], run: Run) -> dict[str, Any]:
            resource: dict[str, Any] = {}
            for name, place, rule, required in compiled:
                value = rule(obj, run)
                if value is not None:
                    place(resource, value)
                elif required:
                    _refuse(name, run)
            return resource

        return fields

    def translated(self, step: Transform, node: dict[str, Any], at: Place) -> Transform:
        """Outbound: the code of the target that a fact means, then ``step``; an element without one is left out."""
        vocabulary = self.target(node, at)
        fuzzy, llm, otherwise = node.get("fuzzy"), bool(node.get("llm")), str(node.get("otherwise", WITHHOLD))

        def one(value: Any, path: str, run: Run) -> Any:
            if is_of(value, vocabulary):
                return value
            found = translate_fact(value, vocabulary, fuzzy)
            if isinstance(found, Translated):
                return vocabulary.fact(found.code, value)
            texts = texts_of(value)
            if not texts or not isinstance(run, RenderRun):
                return None
            code = run.decided(vocabulary.name, texts[0])
            if code in vocabulary.displays:
                return vocabulary.fact(str(code), value)
            candidates = tuple((candidate.code, candidate.score) for candidate in found.candidates)
            run.untranslated.append(
                Ask(path, vocabulary.name, vocabulary.version, texts[0], candidates, llm, otherwise)
            )
            return value if otherwise == KEEP else None

        def transform(value: Any, path: str, run: Run) -> Any:
            if isinstance(run, RenderRun) and not run.recodes(path):
                return step(value, path, run)
            if type(value) is list:
                kept = [found for found in (one(item, path, run) for item in value) if found is not None]
                return step(kept, path, run) if kept else None
            value = one(value, path, run)
            return None if value is None else step(value, path, run)

        return transform

    def _choice_element(self, node: dict[str, Any], at: Place) -> Rule:
        if "translate" in node:
            at.child("translate").fail("a choice element is not translated")
        allowed = tuple(node.get("as", ()))
        unknown = set(allowed) - SUFFIXES
        if not allowed or unknown:
            at.fail(f"a choice element says `as` which types; known are {', '.join(sorted(SUFFIXES))}")
        path = node.get("path")
        if path is None:
            at.fail("a choice element takes a path")
        get = path_getter(path, at.child("path"))
        return lambda obj, run: choose(get(obj), allowed, path, run)


def _refuse(name: str, run: Run) -> None:
    if isinstance(run, RenderRun) and run.unresolved:
        raise NotYet(f"waits for {run.unresolved[-1]}", code="dependency", where=name)
    raise BadRecord("a required element has no value", code="missing_field", where=name)


def _put_choice(base: str) -> _Place:
    def place(resource: dict[str, Any], value: Any) -> None:
        suffix, rendered = value
        resource[base + suffix] = rendered

    return place


def _target(name: str, at: Place) -> _Place:
    """Where a value goes: ``key``, ``key.key``, or an element of a list: ``extension[url=…]``, then a key."""
    steps = parse_path(name)
    if any(step.key is None or step.index is not None for step in steps):
        at.fail("an element is named by keys and filters")

    def place(resource: dict[str, Any], value: Any) -> None:
        for step in steps[:-1]:
            resource = _enter(resource, step)
        last = steps[-1]
        if last.field is None:
            resource[last.key or ""] = value
        else:
            _enter(resource, last).update(value if type(value) is dict else {"value": value})

    return place


def _enter(resource: dict[str, Any], step: Step) -> dict[str, Any]:
    key = step.key or ""
    inner: dict[str, Any]
    if step.field is None:
        inner = resource.setdefault(key, {})
    else:
        items = resource.setdefault(key, [])
        inner = next((item for item in items if item.get(step.field) == step.wanted), {})
        if not inner:
            inner[step.field] = step.wanted
            items.append(inner)
    return inner


class OutboundMapping:
    """The compiled mapping of one entity type to one system."""

    def __init__(
        self,
        version: str,
        header: dict[str, Any],
        fields: list[FieldNode],
        vocabularies: Vocabularies,
        targets: Targets | None = None,
    ) -> None:
        self.version = version
        self.resource_type: str = header["resource_type"]
        compiler = ElementCompiler(ELEMENT_TRANSFORMS, vocabularies, targets)
        self._fields = compiler.fields(fields)
        translating = [node for node in fields if _translates(*node)]
        self._translating = compiler.fields(_unrequired(translating)) if translating else None
        self._owned: dict[str, tuple[str, ...]] = {}
        self._required: set[str] = set()
        self._needs: list[tuple[str, ...]] = []
        for name, node, _ in fields:
            elements = _elements(name, node)
            if node.get("required"):
                self._needs.append(tuple(dict.fromkeys(_paths(node))))
            for path in _paths(node):
                self._owned[path] = tuple(dict.fromkeys((*self._owned.get(path, ()), *elements)))
                if node.get("required"):
                    self._required.add(path)

    def fields(self) -> dict[str, tuple[str, ...]]:
        """For each field of the state, the FHIR elements that it is written to."""
        return dict(self._owned)

    def needs(self) -> list[tuple[str, ...]]:
        """What a resource cannot be made without: of each group, one field of the state at least."""
        return list(self._needs)

    def render(self, state: dict[str, Any], context: OutboundContext) -> dict[str, Any]:
        """The resource without id, holding only what the state says.

        A reference to a record that the sink lacks is left out, or keeps its display. Raises NotYet (code
        ``dependency``) where a required element refers to such a record, BadRecord (``missing_field``) where a
        required element has no value at all.
        """
        return {"resourceType": self.resource_type, **self._fields(state, RenderRun(context, state))}

    def untranslated(
        self, state: dict[str, Any], decided: Callable[[str, str], str | None] = nothing_decided
    ) -> tuple[Ask, ...]:
        """The texts in ``state`` that rules alone cannot translate and for which nothing was decided."""
        if self._translating is None:
            return ()
        run = RenderRun(OutboundContext(_unresolved, decided), state)
        self._translating(state, run)
        return tuple(dict.fromkeys(run.untranslated))

    def recodes(self, state: dict[str, Any], decided: Callable[[str, str], str | None] = nothing_decided) -> bool:
        """Whether translation changes what is written for ``state``."""
        if self._translating is None:
            return False
        contexts = (OutboundContext(_unresolved, decided), OutboundContext(_unresolved, decided, frozenset()))
        coded, said = (self._translating(state, RenderRun(context, state)) for context in contexts)
        return coded != said

    def dependencies(self, state: dict[str, Any]) -> list[Dependency]:
        """The records that ``state`` refers to in the fields that are written."""
        found: dict[tuple[str, str], Dependency] = {}
        for field in self._owned:
            for canonical in _refs(state.get(field)):
                found[field, canonical] = Dependency(field, canonical, field in self._required)
        return list(found.values())


def _unresolved(canonical: str) -> str | None:
    return None


def _translates(name: str, node: dict[str, Any], at: Place) -> bool:
    """Whether a rule translates anything; one that must not be left out does not say to leave it out."""
    own = node.get("translate")
    if own is not None and node.get("required") and as_translation(own).get("otherwise", WITHHOLD) == WITHHOLD:
        at.child("translate").fail("a required element cannot be withheld: say `otherwise: wait`, `fail` or `keep`")
    inner = [*(as_rule(rule) for rule in node.get("first", ())), *(as_rule(r) for r in node.get("each", {}).values())]
    return own is not None or any(_translates(name, rule, at) for rule in inner)


def _unrequired(nodes: Iterable[FieldNode]) -> Iterator[FieldNode]:
    for name, node, at in nodes:
        yield name, {key: value for key, value in node.items() if key != "required"}, at


def _elements(name: str, node: dict[str, Any]) -> tuple[str, ...]:
    if name.endswith(CHOICE_MARK):
        return tuple(name.removesuffix(CHOICE_MARK) + suffix for suffix in node.get("as", ()))
    return (name,)


def _paths(node: dict[str, Any]) -> Iterator[str]:
    """The state fields that a rule reads."""
    for path in (*node.get("paths", ()), *([node["path"]] if "path" in node else ())):
        yield parse_path(path)[0].key or path
    for inner in node.get("first", ()):
        yield from _paths(as_rule(inner))


def _refs(value: Any) -> Iterator[str]:
    if type(value) is dict:
        if type(value.get("ref")) is str:
            yield value["ref"]
        value = list(value.values())
    if type(value) is list:
        for item in value:
            yield from _refs(item)
