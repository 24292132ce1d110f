"""The JSON Patch (RFC 6902) that turns one document into another. Pure.

What is replaced or removed is tested first, so that a patch never lands on another version than the one it was
made for, also where the other side checks no precondition. The test is of the value itself, for that is all
that two documents have in common.
"""

from __future__ import annotations

from typing import Any

from connector_runner.kernel import exact_json

Operation = dict[str, Any]


def difference(before: dict[str, Any], after: dict[str, Any], *, tested: bool) -> list[Operation]:
    """The operations, in an order in which each path is true when its turn comes; none when nothing differs.

    ``tested``: with a ``test`` before whatever takes a value away.
    """
    return _objects("", before, after, tested)


def _objects(path: str, before: dict[str, Any], after: dict[str, Any], tested: bool) -> list[Operation]:
    done: list[Operation] = []
    for key in sorted(before.keys() | after.keys()):
        here = f"{path}/{_escaped(key)}"
        if key not in after:
            done += _taken(here, before[key], tested, {"op": "remove", "path": here})
        elif key not in before:
            done.append({"op": "add", "path": here, "value": after[key]})
        else:
            done += _values(here, before[key], after[key], tested)
    return done


def _values(path: str, before: Any, after: Any, tested: bool) -> list[Operation]:
    if isinstance(before, dict) and isinstance(after, dict):
        return _objects(path, before, after, tested)
    if isinstance(before, list) and isinstance(after, list) and len(before) <= len(after):
        done: list[Operation] = []
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            done += _values(f"{path}/{index}", one, other, tested)
        return done + [{"op": "add", "path": f"{path}/-", "value": item} for item in after[len(before) :]]
    if _same(before, after):
        return []
    # A list that lost elements is replaced whole: which index meant which element is not for a path to say.
    return _taken(path, before, tested, {"op": "replace", "path": path, "value": after})


def _taken(path: str, before: Any, tested: bool, operation: Operation) -> list[Operation]:
    return [{"op": "test", "path": path, "value": before}, operation] if tested else [operation]


def _same(one: Any, other: Any) -> bool:
    # By text: 1.0 and 1.00 are different doses, and True is not 1.
    return exact_json.dumps(one) == exact_json.dumps(other)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
