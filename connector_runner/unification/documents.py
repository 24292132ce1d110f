"""YAML files of mappings with the line of every key, so that an error can say where it is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from connector_runner.kernel.errors import Misconfigured

Keys = tuple[Hashable, ...]
# The C parser gives the same marks and is several times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its name under the mappings folder, its content, and the line of each key path."""

    name: str
    data: dict[str, Any]
    lines: dict[Keys, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A key path in a document, for errors."""

    document: Document
    keys: Keys = ()

    def child(self, *keys: Hashable) -> Place:
        """The place of a member."""
        return Place(self.document, (*self.keys, *keys))

    def fail(self, message: str) -> NoReturn:
        """Raise Misconfigured (code ``mapping``) naming file, line and key."""
        keys = self.keys
        while keys and keys not in self.document.lines:
            keys = keys[:-1]
        line = self.document.lines.get(keys, 1)
        raise Misconfigured(message, code="mapping", where=f"{self.document.name}:{line}: {dotted(self.keys)}")


def dotted(keys: Keys) -> str:
    """A key path as people write it."""
    words = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return words.lstrip(".") or "(file)"


def read_document(path: Path, root: Path) -> Document:
    """Parse one YAML file.

    Raises Misconfigured (code ``mapping``) for what is no YAML, not a mapping, repeats a key, or uses anchors:
    sharing is what ``extends`` and vocabularies are for.
    """
    name = path.relative_to(root).as_posix()
    lines: dict[Keys, int] = {(): 1}
    loader = _Loader(path.read_bytes())
    try:
        node = loader.get_single_node()
        data = {} if node is None else _build(loader, node, (), Document(name, {}, lines), set())
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        what = getattr(exc, "problem", None) or "cannot be read"
        raise Misconfigured(f"not YAML: {what}", code="mapping", where=f"{name}:{line}: (file)") from None
    finally:
        loader.dispose()
    document = Document(name, data, lines)
    if not isinstance(data, dict) or not data:
        Place(document).fail("a mapping file holds keys and values")
    return document


def _build(loader: Any, node: yaml.Node, keys: Keys, document: Document, seen: set[int]) -> Any:
    document.lines.setdefault(keys, node.start_mark.line + 1)
    if id(node) in seen:
        Place(document, keys).fail("anchors are not used here: use extends or a vocabulary")
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_object(node)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*keys, index), document, seen) for index, item in enumerate(node.value)]
    built: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            Place(document, keys).fail("a key is one word")
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            key = key_node.value
        inner = (*keys, key)
        if key in built:
            document.lines[inner] = key_node.start_mark.line + 1
            Place(document, inner).fail("this key stands here twice")
        document.lines[inner] = key_node.start_mark.line + 1
        built[key] = _build(loader, value_node, inner, document, seen)
    return built
