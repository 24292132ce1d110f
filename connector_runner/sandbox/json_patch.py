"""JSON Patch (RFC 6902)."""

from __future__ import annotations

import copy
from typing import Any

from .outcomes import FhirError


def patched(document: Any, operations: Any) -> Any:
    """A changed copy; ``FhirError`` 400 for a bad patch and 422 for one that does not fit."""
    if not isinstance(operations, list):
        raise FhirError(400, "a JSON Patch is a list of operations", code="structure")
    document = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise FhirError(400, "an operation has an op and a path", code="structure")
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    name, path = operation.get("op"), _steps(operation["path"])
    if name in ("add", "replace", "test") and "value" not in operation:
        raise FhirError(400, f"{name!r} needs a value", code="structure")
    if name == "test":
        if not _same(_get(document, path), operation["value"]):
            raise FhirError(422, "a test of the patch failed")
        return document
    if name == "add":
        return _add(document, path, operation["value"])
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        _get(document, path)
        return _add(_remove(document, path), path, operation["value"]) if path else operation["value"]
    if name in ("move", "copy"):
        source = _steps(operation.get("from", ""))
        value = copy.deepcopy(_get(document, source))
        return _add(_remove(document, source) if name == "move" else document, path, value)
    raise FhirError(400, "unknown patch operation", code="structure")


def _steps(path: Any) -> list[str]:
    if path == "":
        return []
    if not isinstance(path, str) or not path.startswith("/"):
        raise FhirError(400, "a path begins with a slash", code="structure")
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _same(left: Any, right: Any) -> bool:
    return (type(left) is type(right) and bool(left == right)) or (
        _is_number(left) and _is_number(right) and left == right
    )


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool | str | list | dict | None)


def _child(container: Any, step: str) -> Any:
    if isinstance(container, dict) and step in container:
        return container[step]
    if isinstance(container, list) and step.isdigit() and int(step) < len(container):
        return container[int(step)]
    raise FhirError(422, "the patch names a place that is not there")


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        document = _child(document, step)
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    container, step = _get(document, path[:-1]), path[-1]
    if isinstance(container, dict):
        container[step] = value
    elif isinstance(container, list) and (step == "-" or (step.isdigit() and int(step) <= len(container))):
        container.insert(len(container) if step == "-" else int(step), value)
    else:
        raise FhirError(422, "the patch names a place that is not there")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise FhirError(422, "the whole resource cannot be removed by a patch")
    container, step = _get(document, path[:-1]), path[-1]
    _child(container, step)
    del container[int(step) if isinstance(container, list) else step]
    return document
