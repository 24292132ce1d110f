"""One mapping of one record while it runs: its context, and the problems met."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector_runner.unification.model import MappingContext, Problem

Transform = Callable[[Any, str, "Run"], Any]


class Run:
    """Handed to every transform.

    A transform takes (value, path, run), answers the fact, or None for nothing to say, and reports what it
    leaves out with ``problem``. ``prefix`` places the paths of an element of a list that is mapped one by one.
    """

    __slots__ = ("_contained", "context", "prefix", "problems", "resource", "source")

    def __init__(self, context: MappingContext, resource: dict[str, Any]) -> None:
        self.context = context
        self.source = context.source
        self.resource = resource
        self.problems: list[Problem] = []
        self.prefix = ""
        self._contained: dict[str, dict[str, Any]] | None = None

    def problem(self, path: str, code: str, message: str) -> None:
        """Note that what stands at ``path`` is left out."""
        self.problems.append(Problem(f"{self.prefix}.{path}" if self.prefix else path, code, message))

    def wrong_type(self, path: str, value: Any, wanted: str) -> None:
        """Note that ``path`` holds something other than ``wanted``."""
        self.problem(path, "wrong_type", f"expected {wanted}, found {json_type(value)}")

    def contained(self, local_id: str) -> dict[str, Any] | None:
        """The contained resource that ``#local_id`` names."""
        if self._contained is None:
            self._contained = {}
            items = self.resource.get("contained")
            for item in items if type(items) is list else ():
                if type(item) is dict and type(item.get("id")) is str:
                    self._contained[item["id"].removeprefix("#")] = item
        return self._contained.get(local_id)


def json_type(value: Any) -> str:
    """The JSON name of a value's type, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "a number"
