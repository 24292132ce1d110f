"""Mapping rules compiled to closures, once, at start-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.paths import Getter, compile_path, parse_path
from connector_runner.unification.absence import says_absent, stated
from connector_runner.unification.documents import Place
from connector_runner.unification.run import Run, Transform
from connector_runner.unification.translation import Translated, translate_fact
from connector_runner.unification.vocabularies import Vocabulary

Rule = Callable[[dict[str, Any], Run], Any]
Condition = Callable[[Any], bool]
Fields = Callable[[dict[str, Any], Run], dict[str, Any]]
# name of the field, its rule as written, where that stands
FieldNode = tuple[str, dict[str, Any], Place]
Vocabularies = Mapping[str, Mapping[str, Any]]
Targets = Mapping[str, Vocabulary]
"""The vocabularies that values are translated to."""
# field, transform, key, and the other keys of a choice type that exclude this one
_Direct = tuple[str, Transform, str, frozenset[str]]

SOURCES = ("path", "paths", "choice", "const", "first")


class RuleCompiler:
    """Compiles rules against one registry of transforms and the vocabularies of the installation."""

    def __init__(
        self, transforms: Mapping[str, Transform], vocabularies: Vocabularies, targets: Targets | None = None
    ) -> None:
        self._transforms = transforms
        self._vocabularies = vocabularies
        self._targets = targets or {}

    def fields(self, nodes: Iterable[FieldNode]) -> Fields:
        """All fields of one object.

        Most rules take one key of the object. Those are kept by key, so that the work is proportional to what a
        record holds and not to what it could hold.
        """
        table: dict[str, _Direct] = {}
        rest: list[tuple[str, Rule]] = []
        for name, node, at in nodes:
            direct = self._direct(name, node, at)
            if direct and not any(key in table for key in direct):
                table.update(direct)
            else:
                rest.append((name, self.rule(node, at)))
        return _fields_of(table, tuple(rest))

    def rule(self, node: dict[str, Any], at: Place) -> Rule:
        """One rule, whatever its source."""
        source = self._source(node, at)
        if source == "first":
            rule = _first_of([self.rule(as_rule(item), at.child("first", i)) for i, item in enumerate(node["first"])])
        elif source == "const":
            constant = node["const"]

            def rule(obj: dict[str, Any], run: Run) -> Any:
                return constant

        elif source == "choice":
            rule = self._choice_rule(self._direct("", {**node, "when": None}, at) or {})
        elif source == "paths":
            rule = self._paths_rule(node, at)
        else:
            rule = self._path_rule(node, at)
        condition = node.get("when")
        return rule if condition is None else _only_when(self.condition(condition, at.child("when")), rule)

    def condition(self, node: dict[str, Any], at: Place) -> Condition:
        """``{path, equals | in | exists}`` or ``{not: condition}``."""
        if "not" in node:
            if len(node) > 1:
                at.fail("`not` stands alone")
            inner = self.condition(node["not"], at.child("not"))
            return lambda obj: not inner(obj)
        tests = [key for key in ("equals", "in", "exists") if key in node]
        if "path" not in node or len(tests) != 1:
            at.fail("a condition has a path and one of equals, in, exists")
        return _test(tests[0], node[tests[0]], path_getter(node["path"], at.child("path")))

    def cases(self, value: Any, at: Place) -> Callable[[Any], Any]:
        """A constant, or a list of ``{when, value}`` of which the first that holds counts."""
        if not isinstance(value, list):
            return lambda obj: value
        compiled: list[tuple[Condition | None, Any]] = []
        for index, case in enumerate(value):
            when = case.get("when")
            here = at.child(index)
            compiled.append((self.condition(when, here.child("when")) if when else None, case["value"]))
        if compiled[-1][0] is not None:
            at.fail("the last case has no `when`, so that there always is an answer")

        def choose(obj: Any) -> Any:
            for condition, answer in compiled:
                if condition is None or condition(obj):
                    return answer
            return None

        return choose

    def transform(self, node: dict[str, Any], at: Place) -> Transform:
        """What is done to the value found: ``transform`` or ``each``, then ``lookup``."""
        if "each" in node:
            if "transform" in node:
                at.child("transform").fail("`each` maps the elements itself: no transform beside it")
            inner = self.fields((name, as_rule(sub), at.child("each", name)) for name, sub in node["each"].items())
            step = _each(inner)
        else:
            step = self._named(node.get("transform", "text"), at.child("transform"))
        if "translate" in node:
            for key in ("lookup", "each", "else"):
                if key in node:
                    at.child(key).fail("`translate` stands in its place: not both")
            return self.translated(step, as_translation(node["translate"]), at)
        if "lookup" in node:
            return self._lookup(step, node, at)
        if "else" in node:
            at.child("else").fail("`else` belongs to a lookup")
        return step

    def translated(self, step: Transform, node: dict[str, Any], at: Place) -> Transform:
        """Inbound: what ``step`` found, with the code that its words mean where it has no code of its own."""
        vocabulary = self.target(node, at)
        for key in ("llm", "otherwise"):
            if key in node:
                at.child("translate", key).fail("inbound, values are translated by rules alone, or kept as they are")
        fuzzy = node.get("fuzzy")

        def one(value: Any) -> Any:
            if type(value) is dict and value.get("code"):
                return value
            found = translate_fact(value, vocabulary, fuzzy)
            return vocabulary.fact(found.code, value) if isinstance(found, Translated) else value

        def transform(value: Any, path: str, run: Run) -> Any:
            value = step(value, path, run)
            return [one(item) for item in value] if type(value) is list else None if value is None else one(value)

        return transform

    def target(self, node: dict[str, Any], at: Place) -> Vocabulary:
        """The vocabulary that a ``translate`` names."""
        name = node["vocabulary"]
        found = self._targets.get(name)
        if found is None:
            known = name in self._vocabularies
            at.child("translate").fail(
                f"vocabulary {name!r} has no `displays`: nothing can be translated to it"
                if known
                else f"there is no vocabulary {name!r}"
            )
        return found

    def _named(self, name: str, at: Place) -> Transform:
        if name not in self._transforms:
            at.fail(f"there is no transform {name!r}")
        return self._transforms[name]

    def _source(self, node: dict[str, Any], at: Place) -> str:
        named = [key for key in SOURCES if key in node]
        if len(named) != 1:
            at.fail(f"a rule has exactly one of {', '.join(SOURCES)}")
        return named[0]

    def _direct(self, name: str, node: dict[str, Any], at: Place) -> dict[str, _Direct] | None:
        """The rule by the key(s) it takes, or None when it is more than that."""
        if node.get("when") is not None:
            return None
        source = self._source(node, at)
        if source == "choice":
            if "of" not in node:
                at.fail("a choice says `of` which types")
            keys = {node["choice"] + suffix: suffix for suffix in node["of"]}
            return {
                key: (name, self._named(node["of"][suffix], at.child("of", suffix)), key, frozenset(keys) - {key})
                for key, suffix in keys.items()
            }
        if source == "path" and node["path"].replace("_", "").isalnum():
            return {node["path"]: (name, self.transform(node, at), node["path"], frozenset())}
        return None

    def _choice_rule(self, table: dict[str, _Direct]) -> Rule:
        inner = _fields_of(table, ())
        return lambda obj, run: inner(obj, run).get("")

    def _path_rule(self, node: dict[str, Any], at: Place) -> Rule:
        path = node["path"]
        get = path_getter(path, at.child("path"))
        step = self.transform(node, at)

        def rule(obj: dict[str, Any], run: Run) -> Any:
            value = get(obj)
            return None if value is None else step(value, path, run)

        return rule

    def _paths_rule(self, node: dict[str, Any], at: Place) -> Rule:
        getters = [path_getter(path, at.child("paths", i)) for i, path in enumerate(node["paths"])]
        step = self.transform(node, at)
        label = node["paths"][0]
        return lambda obj, run: step([get(obj) for get in getters], label, run)

    def _lookup(self, step: Transform, node: dict[str, Any], at: Place) -> Transform:
        name = node["lookup"]
        vocabulary = self._vocabularies.get(name)
        if vocabulary is None:
            at.child("lookup").fail(f"there is no vocabulary {name!r}")
        if "codes" not in vocabulary:
            at.child("lookup").fail(f"vocabulary {name!r} has no `codes` to look up")
        codes = vocabulary["codes"]
        default = vocabulary.get("default")
        otherwise = node.get("else", "report")

        def look(value: Any, path: str, run: Run) -> Any:
            found = codes.get(value, default) if type(value) is str else None
            if found is None:
                if otherwise == "keep":
                    return value
                if otherwise == "report":
                    run.problem(path, "unknown_code", f"no such code in vocabulary {name}")
            return found

        def transform(value: Any, path: str, run: Run) -> Any:
            value = step(value, path, run)
            if value is None:
                return None
            if type(value) is not list:
                return look(value, path, run)
            looked = [look(item, f"{path}[{index}]", run) for index, item in enumerate(value)]
            return [item for item in looked if item is not None] or None

        return transform


def as_rule(node: str | dict[str, Any]) -> dict[str, Any]:
    """A rule in full: a bare word is a path."""
    return {"path": node} if isinstance(node, str) else node


def as_translation(node: str | dict[str, Any]) -> dict[str, Any]:
    """A translation in full: a bare word is a vocabulary."""
    return {"vocabulary": node} if isinstance(node, str) else node


def transform_of(node: dict[str, Any]) -> str:
    """The name of what a rule makes: its transform, ``each`` for a list of objects, ``any`` for a choice of several."""
    if "each" in node:
        return "each"
    if "choice" in node or "first" in node or "const" in node or "translate" in node:
        return "any"
    return str(node.get("transform", "text"))


def entity_types_of(declared: Any) -> frozenset[str]:
    """The entity types that records of a mapping may become."""
    return frozenset(str(case["value"]) for case in declared) if isinstance(declared, list) else frozenset({declared})


def source_paths(node: str | dict[str, Any]) -> tuple[str, ...]:
    """The paths that a rule reads, in the order in which it tries them; none for a constant."""
    rule = as_rule(node)
    if "path" in rule:
        return (rule["path"],)
    if "paths" in rule:
        return tuple(rule["paths"])
    if "choice" in rule:
        return tuple(rule["choice"] + suffix for suffix in rule.get("of", {}))
    return tuple(path for inner in rule.get("first", ()) for path in source_paths(inner))


def path_getter(path: str, at: Place) -> Getter:
    """``compile_path`` whose error says where in the mapping the path stands."""
    try:
        parse_path(path)
    except Misconfigured as exc:
        at.fail(exc.message)
    return compile_path(path)


def _fields_of(table: dict[str, _Direct], rest: tuple[tuple[str, Rule], ...]) -> Fields:
    find = table.get

    def fields(obj: dict[str, Any], run: Run) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        quiet = len(run.problems)
        for key, value in obj.items():
            entry = find(key)
            if entry is None:
                if key[:1] == "_" and key[1:] in obj and says_absent(value):
                    del run.problems[quiet:]
                    return fields(stated(obj), run)
                continue
            name, transform, path, rivals = entry
            if rivals and not rivals.isdisjoint(obj):
                run.problem(path, "two_values", "a choice type holds one value, not several")
                continue
            fact = transform(value, path, run)
            if fact is not None:
                facts[name] = fact
        for name, rule in rest:
            fact = rule(obj, run)
            if fact is not None:
                facts[name] = fact
        return facts

    return fields


def _each(inner: Fields) -> Transform:
    def transform(value: Any, path: str, run: Run) -> list[dict[str, Any]] | None:
        if type(value) is not list:
            run.wrong_type(path, value, "a list")
            return None
        found = []
        outer = run.prefix
        base = f"{outer}.{path}" if outer else path
        for index, item in enumerate(value):
            if type(item) is not dict:
                run.wrong_type(f"{path}[{index}]", item, "an object")
                continue
            run.prefix = f"{base}[{index}]"
            facts = inner(item, run)
            run.prefix = outer
            if facts:
                found.append(facts)
        return found or None

    return transform


def _first_of(rules: list[Rule]) -> Rule:
    def rule(obj: dict[str, Any], run: Run) -> Any:
        for one in rules:
            fact = one(obj, run)
            if fact is not None:
                return fact
        return None

    return rule


def _only_when(condition: Condition, rule: Rule) -> Rule:
    return lambda obj, run: rule(obj, run) if condition(obj) else None


def _test(kind: str, wanted: Any, get: Getter) -> Condition:
    if kind == "exists":
        return lambda obj: (get(obj) is not None) is wanted
    # the type is part of equality: 1 is not true
    accepted = [(type(item), item) for item in (wanted if kind == "in" else [wanted])]

    def holds(obj: Any) -> bool:
        value = get(obj)
        found = type(value)
        for kind_, item in accepted:  # noqa: SIM110 - for every record: a generator would cost twice as much
            if found is kind_ and value == item:
                return True
        return False

    return holds
