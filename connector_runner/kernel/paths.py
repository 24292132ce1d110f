"""Dot-paths: ``telecom[system=phone].value``, ``name[0].given[1]``, ``period.start``.

A step is a key, optionally followed by one list index or one first-match filter. A step over a list
without either takes its first element, as FHIR lists mostly hold one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from connector_runner.kernel.errors import Misconfigured

Getter = Callable[[Any], Any]
_STEP = re.compile(r"(?P<key>[A-Za-z_][\w-]*|\*)?(?:\[(?:(?P<index>\d+)|(?P<field>[\w.-]+)=(?P<value>[^\]]*))\])?")


def _split(path: str) -> list[str]:
    """Cut at the dots that stand outside brackets."""
    return re.findall(r"[^.\[\]]*\[[^\]]*\]|[^.\[\]]+", path)


def compile_path(path: str) -> Getter:
    """A function from a JSON value to what stands at ``path``, or None.

    Raises Misconfigured (code ``path``) when the path cannot be read.
    """
    steps: list[tuple[str | None, int | None, str | None, str | None]] = []
    parts = _split(path)
    if not parts or "".join(parts) != path.replace(".", "", path.count(".")) and ".".join(parts) != path:
        raise Misconfigured(f"not a dot-path: {path!r}", code="path")
    for part in parts:
        match = _STEP.fullmatch(part)
        if match is None or not part:
            raise Misconfigured(f"not a dot-path: {path!r}, at {part!r}", code="path")
        index = match["index"]
        steps.append((match["key"], int(index) if index is not None else None, match["field"], match["value"]))
    return _getter(steps)


def _getter(steps: list[tuple[str | None, int | None, str | None, str | None]]) -> Getter:
    if all(index is None and field is None for _, index, field, _ in steps):
        keys = [key for key, *_ in steps]
        if len(keys) == 1:
            only = keys[0]
            return lambda value: value.get(only) if isinstance(value, dict) else None

    def get(value: Any) -> Any:
        for key, index, field, wanted in steps:
            if key is not None:
                if isinstance(value, list):
                    value = value[0] if value else None
                value = value.get(key) if isinstance(value, dict) else None
            if index is not None:
                value = value[index] if isinstance(value, list) and index < len(value) else None
            elif field is not None:
                value = _first(value, field, wanted)
            if value is None:
                return None
        return value

    return get


def _first(value: Any, field: str, wanted: str | None) -> Any:
    keys = field.split(".")
    for item in value if isinstance(value, list) else ():
        found = item
        for key in keys:
            if isinstance(found, list):
                found = found[0] if found else None
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None and (found if isinstance(found, str) else str(found)) == wanted:
            return item
    return None
