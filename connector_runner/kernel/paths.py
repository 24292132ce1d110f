"""Dot-paths: ``telecom[system=phone].value``, ``name[0].given[1]``, ``period.start``.

A step is a key, optionally followed by one list index or one first-match filter. A step over a list
without either takes its first element, as FHIR lists mostly hold one. Inside a filter a list matches
when any of its elements does: ``category[coding.code=laboratory]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connector_runner.kernel.errors import Misconfigured

Getter = Callable[[Any], Any]
_PARTS = re.compile(r"[^.\[\]]*\[[^\]]*\]|[^.\[\]]+")
_STEP = re.compile(r"(?P<key>[A-Za-z_][\w-]*)?(?:\[(?:(?P<index>\d+)|(?P<field>[\w.-]+)=(?P<value>[^\]]+))\])?")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path: a key, then at most one of a list index and a filter (field path, wanted text)."""

    key: str | None
    index: int | None = None
    field: str | None = None
    wanted: str | None = None


def parse_path(path: str) -> tuple[Step, ...]:
    """The steps of ``path``.

    Raises Misconfigured (code ``path``) when it cannot be read.
    """
    parts = _PARTS.findall(path)
    if not parts or ".".join(parts) != path:
        raise Misconfigured(f"not a dot-path: {path!r}", code="path")
    steps = []
    for part in parts:
        match = _STEP.fullmatch(part)
        if match is None:
            raise Misconfigured(f"not a dot-path: {path!r}, at {part!r}", code="path")
        index = match["index"]
        steps.append(Step(match["key"], None if index is None else int(index), match["field"], match["value"]))
    return tuple(steps)


def compile_path(path: str) -> Getter:
    """A function from a JSON value to what stands at ``path``, or None.

    Raises Misconfigured (code ``path``) when the path cannot be read.
    """
    steps = parse_path(path)
    walkers = tuple(_walker(step) for step in steps)
    if len(walkers) == 1:
        return walkers[0]
    first, *others = walkers
    rest = tuple(others)

    def get(value: Any) -> Any:
        value = first(value)
        for walk in rest:
            if value is None:
                return None
            value = walk(value)
        return value

    return get


def _walker(step: Step) -> Getter:
    key = step.key
    if step.index is not None:
        return _at(key, step.index)
    if step.field is not None and step.wanted is not None:
        return _matching(key, tuple(step.field.split(".")), step.wanted)

    def walk(value: Any) -> Any:
        if type(value) is list:
            value = value[0] if value else None
        return value.get(key) if type(value) is dict else None

    return walk


def _list_at(value: Any, key: str | None) -> list[Any] | None:
    if key is not None:
        if type(value) is list:
            value = value[0] if value else None
        value = value.get(key) if type(value) is dict else None
    return value if type(value) is list else None


def _at(key: str | None, index: int) -> Getter:
    def walk(value: Any) -> Any:
        items = _list_at(value, key)
        return items[index] if items is not None and index < len(items) else None

    return walk


def _matching(key: str | None, fields: tuple[str, ...], wanted: str) -> Getter:
    matches = _matcher(fields, wanted)

    def walk(value: Any) -> Any:
        for item in _list_at(value, key) or ():
            if matches(item):
                return item
        return None

    return walk


def _matcher(fields: tuple[str, ...], wanted: str) -> Callable[[Any], bool]:
    """Whether ``wanted`` stands anywhere behind ``fields``: a list on the way stands for each of its items."""
    if not fields:
        inner, key = None, ""
    else:
        inner, key = _matcher(fields[1:], wanted), fields[0]

    def matches(value: Any) -> bool:
        if type(value) is list:
            return any(map(matches, value))
        if inner is None:
            return (value if type(value) is str else _scalar_text(value)) == wanted
        return type(value) is dict and inner(value.get(key))

    return matches


def _scalar_text(value: Any) -> str | None:
    """A JSON scalar as its JSON text; None for null and for objects."""
    if value is None or type(value) is dict:
        return None
    if type(value) is bool:
        return "true" if value else "false"
    return str(value)
