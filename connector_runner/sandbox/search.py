"""Search parameters: from a query to a test of each version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .dates import Interval, interval
from .messages import Pairs
from .outcomes import FhirError
from .search_index import DATES, REFERENCES, STRINGS, TOKENS
from .store import Store, Version

Test = Callable[[Version], bool]

_PREFIXED = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb)?(.*)", re.DOTALL)
_RESULT = frozenset(["_sort", "_count", "_total", "_summary", "_format", "_pretty", "_elements"])
_SORTS: dict[str, Callable[[Version], Any]] = {
    "_lastUpdated": lambda version: version.seq,
    "_id": lambda version: version.id,
    "date": lambda version: version.index.get("date", ((0, 0),))[0],
    "birthdate": lambda version: version.index.get("birthdate", ((0, 0),))[0],
    "family": lambda version: version.index.get("family", ("",))[0],
}
_MODIFIERS = {"token": {"not", "missing"}, "string": {"exact", "contains", "missing"}}
DEFAULT_COUNT = 20


@dataclass(slots=True)
class Search:
    """A query that was understood. ``used`` are the parameters that count, ``ignored`` the names of the others."""

    resource_type: str
    tests: list[Test] = field(default_factory=list)
    sorts: list[tuple[Callable[[Version], Any], bool]] = field(default_factory=list)
    count: int = DEFAULT_COUNT
    used: Pairs = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    hints: dict[str, Any] = field(default_factory=dict)

    def rows(self, store: Store, seq: int) -> list[Version]:
        """Matches as of ``seq``, in order."""
        found = [
            version
            for version in store.as_of(self.resource_type, self._candidates(store), seq)
            if all(test(version) for test in self.tests)
        ]
        for key, descending in reversed(self.sorts):
            found.sort(key=key, reverse=descending)
        return found

    def _candidates(self, store: Store) -> Iterable[str]:
        # Each of these is at least every match: a resource that once had a value stays listed under it.
        if "_id" in self.hints:
            return list(self.hints["_id"])
        for parameter in ("identifier", "patient"):
            if parameter in self.hints:
                values = self.hints[parameter]
                return dict.fromkeys(
                    one for value in values for one in store.ids_found_by(self.resource_type, parameter, value)
                )
        if "_lastUpdated" in self.hints:
            return store.ids_updated_since(self.resource_type, self.hints["_lastUpdated"])
        return store.ids(self.resource_type)


def parse_search(resource_type: str, pairs: Pairs, *, strict: bool, most: int) -> Search:
    """Understand a query; ``FhirError`` 400 for a bad value, and for an unknown parameter when ``strict``."""
    search = Search(resource_type)
    for name, value in pairs:
        if value == "" or name in ("_format", "_pretty"):
            continue
        if name in _RESULT:
            _result(search, name, value, most)
        else:
            parameter, _, modifier = name.partition(":")
            test = _test(search, parameter, modifier, value)
            if test is None:
                if strict:
                    raise FhirError(400, f"unknown search parameter {name!r}", code="not-supported")
                search.ignored.append(name)
                continue
            search.tests.append(test)
        search.used.append((name, value))
    if not search.sorts:
        search.sorts.append((_SORTS["_lastUpdated"], False))
    return search


def _result(search: Search, name: str, value: str, most: int) -> None:
    if name == "_count":
        if not value.isdigit():
            raise FhirError(400, "_count is not a whole number", code="value")
        search.count = min(int(value), most)
    elif name == "_summary" and value == "count":
        search.count = 0
    elif name == "_sort":
        for key in value.split(","):
            column = key.removeprefix("-")
            if column not in _SORTS:
                raise FhirError(400, f"cannot sort by {column!r}", code="not-supported")
            search.sorts.append((_SORTS[column], key.startswith("-")))


def _test(search: Search, parameter: str, modifier: str, value: str) -> Test | None:
    if parameter == "_id":
        ids = set(_alternatives(value))
        search.hints["_id"] = [one for one in search.hints.get("_id", list(ids)) if one in ids]
        return lambda version: version.id in ids
    if parameter == "_lastUpdated":
        return _last_updated(search, value)
    kind = _kind(parameter)
    if kind is None:
        return None
    if modifier and modifier not in _MODIFIERS.get(kind, {"missing"}) and kind != "reference":
        raise FhirError(400, f"modifier {modifier!r} is not supported for {parameter!r}", code="not-supported")
    if modifier == "missing":
        wanted = value == "true"
        return lambda version: (parameter not in version.index) == wanted
    if kind == "token":
        return _token(search, parameter, modifier, value)
    if kind == "reference":
        return _reference(search, parameter, modifier, value)
    if kind == "string":
        return _string(parameter, modifier, value)
    return _any_date(parameter, value)


def _kind(parameter: str) -> str | None:
    for kind, names in (("token", TOKENS), ("reference", REFERENCES), ("string", STRINGS), ("date", DATES)):
        if parameter in names:
            return kind
    return None


def _alternatives(value: str, mark: str = ",") -> list[str]:
    parts = re.split(rf"(?<!\\){re.escape(mark)}", value)
    return parts if mark == "|" else [part for part in parts if part]


def _plain(value: str) -> str:
    return re.sub(r"\\([\\,$|])", r"\1", value)


def _token(search: Search, parameter: str, modifier: str, value: str) -> Test:
    wanted: list[tuple[bool, str | None, str]] = []
    for alternative in _alternatives(value):
        parts = _alternatives(alternative, "|")
        if len(parts) > 2:
            raise FhirError(400, f"bad token for {parameter!r}", code="value")
        system = _plain(parts[0]) or None if len(parts) == 2 else None
        code = _plain(parts[-1])
        wanted.append((len(parts) == 2, system, code.lower() if parameter in ("phone", "email", "telecom") else code))
    if parameter == "identifier" and not modifier and all(code for _, _, code in wanted):
        search.hints.setdefault("identifier", [code for _, _, code in wanted])

    def matches(version: Version) -> bool:
        found = any(
            (not exact or system == one_system) and (code in ("", one_code))
            for one_system, one_code in version.index.get(parameter, ())
            for exact, system, code in wanted
        )
        return found != (modifier == "not")

    return matches


def _reference(search: Search, parameter: str, modifier: str, value: str) -> Test:
    implied = {"patient": "Patient", "practitioner": "Practitioner", "encounter": "Encounter", "location": "Location"}
    wanted = set()
    for alternative in _alternatives(value):
        target = "/".join(_plain(alternative).split("/")[-2:])
        kind = modifier or implied.get(parameter)
        wanted.add(f"{kind}/{target}" if kind and "/" not in target else target)
    if parameter == "patient":
        search.hints.setdefault("patient", sorted(wanted))

    def matches(version: Version) -> bool:
        return any(one in wanted or one.rpartition("/")[2] in wanted for one in version.index.get(parameter, ()))

    return matches


def _string(parameter: str, modifier: str, value: str) -> Test:
    wanted = [_plain(one).lower() for one in _alternatives(value)]
    if modifier == "exact":
        return lambda version: any(one in wanted for one in version.index.get(parameter, ()))
    if modifier == "contains":
        return lambda version: any(part in one for one in version.index.get(parameter, ()) for part in wanted)
    return lambda version: any(one.startswith(part) for one in version.index.get(parameter, ()) for part in wanted)


def _any_date(parameter: str, value: str) -> Test:
    tests = [_prefixed(parameter, one) for one in _alternatives(value)]
    return lambda version: any(
        compare(span, wanted) for span in version.index.get(parameter, ()) for compare, wanted in tests
    )


def _last_updated(search: Search, value: str) -> Test:
    tests = [_prefixed("_lastUpdated", one) for one in _alternatives(value)]
    if len(tests) == 1:
        prefix = (_PREFIXED.fullmatch(value) or [None, None])[1]
        start, end = tests[0][1]
        since = {"ge": start, "gt": end, "sa": end, "eq": start, None: start}.get(prefix)
        if since is not None:
            search.hints["_lastUpdated"] = max(since, search.hints.get("_lastUpdated", since))

    def matches(version: Version) -> bool:
        moment = (version.updated_ms, version.updated_ms + 1)
        return any(compare(moment, wanted) for compare, wanted in tests)

    return matches


_COMPARISONS: dict[str, Callable[[Interval, Interval], bool]] = {
    "eq": lambda span, wanted: wanted[0] <= span[0] and span[1] <= wanted[1],
    "ne": lambda span, wanted: not (wanted[0] <= span[0] and span[1] <= wanted[1]),
    "gt": lambda span, wanted: span[1] > wanted[1],
    "lt": lambda span, wanted: span[0] < wanted[0],
    "ge": lambda span, wanted: span[1] > wanted[1] or wanted[0] <= span[0] < wanted[1],
    "le": lambda span, wanted: span[0] < wanted[0] or wanted[0] < span[1] <= wanted[1],
    "sa": lambda span, wanted: span[0] >= wanted[1],
    "eb": lambda span, wanted: span[1] <= wanted[0],
}


def _prefixed(parameter: str, value: str) -> tuple[Callable[[Interval, Interval], bool], Interval]:
    found = _PREFIXED.fullmatch(value)
    assert found is not None
    # A "+" that was not encoded in a URL arrives as a space; say so rather than guess.
    try:
        wanted = interval(found[2])
    except ValueError:
        raise FhirError(400, f"bad date for {parameter!r}", code="value") from None
    return _COMPARISONS[found[1] or "eq"], wanted
