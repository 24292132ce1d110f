"""Streaming parse of JSON documents: Bundles by their entries, arrays by their elements, single resources.

Memory is bounded by one window and the largest resource allowed. Keys may come in any order. Damage is
confined: an entry that is not JSON is set aside with its bytes and reading goes on behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from connector_runner.intake.imports.items import Entry, Fault, Item, fault_of_text
from connector_runner.intake.imports.text import Skipper, TextWindow, end_of_value
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

_KEY = re.compile(r'[ \t\r\n]*"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"[ \t\r\n]*:[ \t\r\n]*')
_NEXT = re.compile(r"[ \t\r\n]*([,}])")
_EMPTY = re.compile(r"[ \t\r\n]*}")
_KEY_CUT = re.compile(r'[ \t\r\n]*(?:"[^"\\]*+(?:\\.[^"\\]*+)*(?:\\?|"[ \t\r\n]*))?\Z', re.DOTALL)
_NEXT_ENTRY = re.compile(r',[ \t\r\n]*(?=\{[ \t\r\n]*"(?:fullUrl|resource)"[ \t\r\n]*:)')
_BUNDLE_ELEMENT = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"(?:fullUrl|resource|request|response|search|link)"')
_TOKEN = 16  # characters: no JSON token other than a string or a number is longer
_TOO_LARGE = "too_large"
Reader = Callable[[str, int], tuple[Item, int]]


class _NotJSON(Exception):
    """Parsing stopped at ``at``; ``cut`` when all that is wrong may be that the text ends too soon."""

    def __init__(self, at: int, code: str, message: str, *, cut: bool) -> None:
        super().__init__(code)
        self.at, self.code, self.message, self.cut = at, code, message, cut

    def is_end(self, text: str) -> bool:
        """Whether ``text``, all that there is, is right as far as it goes."""
        rest = text[self.at :].strip()
        return (
            self.message.startswith(("Unterminated", "Invalid \\"))
            or any(word.startswith(rest) for word in ("true", "false", "null"))
            or _KEY_CUT.match(text, self.at) is not None
        )


def _scan(text: str, pos: int) -> tuple[Any, int]:
    try:
        return exact_json.scan(text, pos)
    except json.JSONDecodeError as error:
        cut = error.pos > len(text) - _TOKEN or error.msg.startswith("Unterminated string")
        raise _NotJSON(error.pos, "not_json", error.msg, cut=cut) from None
    except RecursionError:
        message = f"nested deeper than {exact_json.MAX_DEPTH} levels"
        raise _NotJSON(pos, "too_deep", message, cut=False) from None
    except ValueError:
        raise _NotJSON(pos, "not_json", "a number is not JSON", cut=False) from None


def _expected(what: str, text: str, pos: int) -> NoReturn:
    raise _NotJSON(pos, "not_json", f"Expecting {what}", cut=_KEY_CUT.match(text, pos) is not None)


def members(text: str, start: int) -> Iterator[tuple[str, Any, int, int]]:
    """The members of the object at ``start``: key, value, and where the value begins and ends.

    Raises _NotJSON. The closing brace stands at or after the last end; see ``_closing``.
    """
    pos = start + 1
    if _EMPTY.match(text, pos):
        return
    while True:
        key = _KEY.match(text, pos)
        if key is None:
            _expected("a property name", text, pos)
        value, end = _scan(text, key.end())
        yield key[1], value, key.end(), end
        after = _NEXT.match(text, end)
        if after is None:
            _expected("',' delimiter", text, end)
        if after[1] == "}":
            return
        pos = after.end()


def _closing(text: str, pos: int) -> int:
    match = _EMPTY.match(text, pos)
    if match is None:
        _expected("a closing brace", text, pos)
    return match.end()


class DocumentParser:
    """Parses one file of JSON documents; can be resumed behind any item with what ``checkpoint`` said."""

    def __init__(self, window: TextWindow, *, max_bytes: int, state: dict[str, Any] | None = None) -> None:
        state = state or {}
        self._window = window
        self._max = max_bytes
        self._mode: str = state.get("mode", "document")
        self._n: int = state.get("n", 0)
        self._document: int = state.get("document", 0)
        self._head: dict[str, str] = dict(state.get("head", {}))
        self._stopped = False

    @property
    def bundle_type(self) -> str | None:
        """``transaction``, ``history`` …, as far as it is known by now."""
        return self._head.get("type")

    def checkpoint(self) -> dict[str, Any]:
        """Where the last item ended; ``byte`` is where a stream to resume from has to begin."""
        return {
            "mode": self._mode,
            "n": self._n,
            "document": self._document,
            "head": dict(self._head),
            "byte": self._window.byte_at(self._window.pos),
        }

    def items(self) -> Iterator[list[Item]]:
        """All entries and faults in their order; each list ends where a checkpoint may be taken."""
        if self._mode in ("entry", "array"):
            yield from self._elements()
        if self._mode == "tail":
            yield from self._tail()
        while not self._stopped and (char := self._window.peek()):
            self._document += 1
            self._n, self._head = 0, {}
            if char == "[":
                self._window.pos += 1
                self._mode = "array"
                yield from self._elements()
            else:
                yield from self._whole_or_bundle()
                if self._mode == "entry":
                    yield from self._elements()
            if self._mode == "tail":
                yield from self._tail()

    # -- one top-level value

    def _whole_or_bundle(self) -> Iterator[list[Item]]:
        """A document that is no array: step into a Bundle's entries, or give the document out whole."""
        window = self._window
        if window.text[window.pos] == "{" and (inside := self._inside()) is not None:
            window.pos, self._mode = inside, "entry"
            return
        item = self._take(self._read_resource, "")
        if isinstance(item, Fault):
            self._stopped = item.code not in (_TOO_LARGE, "too_deep", "bad_text", "not_utf8")
            yield [item]
        elif not (isinstance(item.resource, dict) and item.resource.get("resourceType") == "Bundle"):
            yield [item]
        elif isinstance(item.resource.get("entry"), list):
            window.pos -= len(item.raw.decode())
            window.pos = self._find_entries(window.text, window.pos, certain=True) or window.pos
            self._mode = "entry"
        elif item.resource.get("entry") is not None:
            yield [Fault("entry", "wrong_type", "a Bundle's entry is a list", item.raw)]
        else:
            yield [Fault("", "empty_bundle", "the Bundle has no entries", notice=True)]

    def _inside(self) -> int | None:
        """As ``_find_entries`` of what stands at the window, with as much more of the text as it takes."""
        window = self._window
        while True:
            try:
                return self._find_entries(window.text, window.pos)
            except _NotJSON as problem:
                too_much = len(window.text) - window.pos > self._max
                if not problem.cut or too_much or not window.fill():
                    return None

    def _find_entries(self, text: str, start: int, *, certain: bool = False) -> int | None:
        """The index behind the bracket of a Bundle's entry list; None when the document is something else."""
        self._head = {}
        pos = start + 1
        while key := _KEY.match(text, pos):
            pos = key.end()
            if key[1] == "entry" and text[pos : pos + 1] == "[":
                if len(text) - pos < 64 and not self._window.ended and "]" not in text[pos:]:
                    raise _NotJSON(pos, "not_json", "", cut=True)
                if certain or self._head.get("resourceType") == "Bundle" or _BUNDLE_ELEMENT.match(text, pos + 1):
                    return pos + 1
            value, end = _scan(text, pos)
            self._note(key[1], value)
            if self._head.get("resourceType", "Bundle") != "Bundle":
                return None
            after = _NEXT.match(text, end)
            if after is None:
                _expected("',' delimiter", text, end)
            if after[1] == "}":
                return None
            pos = after.end()
        if _EMPTY.match(text, pos):
            return None
        _expected("a property name", text, pos)

    def _note(self, key: str, value: Any) -> None:
        if key in ("resourceType", "type") and isinstance(value, str):
            self._head[key] = value[:64]

    def _tail(self) -> Iterator[list[Item]]:
        """What follows the entries of a Bundle: its other members, read one at a time and let go."""
        window = self._window
        while char := window.peek():
            if char == "}":
                window.pos += 1
                self._mode = "document"
                if self._head.get("resourceType") != "Bundle":
                    message = "a document with entries says it is no Bundle; its entries were taken"
                    yield [Fault("resourceType", "not_a_bundle", message, notice=True)]
                return
            if char != ",":
                break
            item = self._take(self._read_member, "")
            if isinstance(item, Fault):
                self._stopped = True
                yield [item]
                return
        self._stopped = True
        yield [self._ends_early("" if window.peek() == "" else "Expecting ',' delimiter")]

    def _read_member(self, text: str, start: int) -> tuple[Item, int]:
        key = _KEY.match(text, start + 1)
        if key is None:
            _expected("a property name", text, start + 1)
        value, end = _scan(text, key.end())
        self._note(key[1], value)
        return Entry("", None, b""), end

    # -- elements of a list

    def _elements(self) -> Iterator[list[Item]]:
        read = self._read_entry if self._mode == "entry" else self._read_resource
        window = self._window
        behind_comma = self._n == 0
        while char := window.peek():
            if char == "]":
                window.pos += 1
                self._mode = "tail" if self._mode == "entry" else "document"
                return
            if char == ",":
                window.pos += 1
                if behind_comma:
                    yield [Fault(self._place(), "not_json", "a comma without a value", notice=True)]
                behind_comma = True
                continue
            if not behind_comma:
                yield [Fault(self._place(), "not_json", "a comma is missing before this one", notice=True)]
            item = self._take(read, self._place())
            behind_comma = False
            self._n += 1
            if self._stopped:
                yield [item]
                return
            yield [item]
        self._stopped = True
        yield [self._ends_early("")]

    def _place(self) -> str:
        place = f"entry[{self._n}]" if self._mode == "entry" else f"[{self._n}]"
        return place if self._document <= 1 else f"document {self._document} {place}"

    def _read_resource(self, text: str, start: int) -> tuple[Item, int]:
        value, end = _scan(text, start)
        place = self._place() if self._mode == "array" else ""
        return _checked(Entry(place, value, b""), text, start, end), end

    def _read_entry(self, text: str, start: int) -> tuple[Item, int]:
        place = self._place()
        if text[start] != "{":
            _, end = _scan(text, start)
            return fault_of_text(place, "wrong_type", "an entry is an object", text[start:end]), end
        entry = Entry(place, None, b"")
        end, begin, stop = start + 1, 0, 0
        for key, value, value_start, end in members(text, start):
            if key == "resource":
                entry.resource, begin, stop = value, value_start, end
            elif key == "fullUrl":
                entry.full_url = value if isinstance(value, str) else None
            elif key == "request":
                entry.request = value if isinstance(value, dict) else {}
            elif key == "response":
                entry.response = value if isinstance(value, dict) else None
            elif key == "search" and isinstance(value, dict):
                entry.search_mode = value.get("mode")
        end = _closing(text, end)
        return _checked(entry, text, begin, stop), end

    # -- taking one value out of the window, whatever its state

    def _take(self, read: Reader, place: str) -> Item:
        window = self._window
        while True:
            problem = None
            try:
                item, end = read(window.text, window.pos)
            except _NotJSON as error:
                problem = error
            else:
                if end - window.pos > self._max:
                    item = self._too_large(place, window.text[window.pos : end])
                if end < len(window.text) or window.ended:
                    window.pos = end
                    return item
            if problem is not None and (not problem.cut or window.ended):
                fault = self._set_aside(problem, place)
                if fault is not None:
                    return fault
            if len(window.text) - window.pos > self._max:
                return self._skip_large(place)
            if window.ended:
                self._stopped = True
                return self._ends_early("" if problem is None or problem.is_end(window.text) else problem.message)
            window.fill()

    def _set_aside(self, problem: _NotJSON, place: str) -> Fault | None:
        """Confine what is not JSON: up to its own closing bracket, or to where the next entry seems to begin."""
        window = self._window
        text, start = window.text, window.pos
        ends = [end_of_value(text, start)] if text[start] in "{[" else []
        if self._mode == "entry" and (marker := _NEXT_ENTRY.search(text, start + 1)):
            ends.append(marker.start())
        found = [end for end in ends if end is not None]
        if not found:
            return None
        where = f"at byte {window.byte_at(problem.at)}"
        end = min(found)
        window.pos = end
        message = f"not readable {where}: {problem.message}"
        return fault_of_text(place, problem.code, message, text[start:end], whole=True)

    def _too_large(self, place: str, text: str) -> Fault:
        return fault_of_text(place, _TOO_LARGE, f"a resource is larger than {self._max} bytes", text)

    def _skip_large(self, place: str) -> Item:
        window = self._window
        fault = self._too_large(place, window.text[window.pos : window.pos + 65_536])
        skipper = Skipper()
        while (end := skipper.feed(window.text, window.pos)) is None:
            window.pos = len(window.text)
            if not window.fill() and window.pos >= len(window.text):
                self._stopped = True
                return fault
        window.pos = end
        return fault

    def _ends_early(self, message: str) -> Fault:
        window = self._window
        at = window.byte_at(len(window.text) if not message else window.pos)
        rest = window.text[window.pos :]
        window.pos = len(window.text)
        if message:
            text = f"not readable from byte {at} on: {message}; what stands before was taken"
            return fault_of_text(self._place() if self._mode != "document" else "", "not_json", text, rest)
        text = f"the file ends early, at byte {at}; the complete entries were taken"
        return fault_of_text(self._place() if self._mode != "document" else "", "truncated", text, rest)


def _checked(entry: Entry, text: str, begin: int, stop: int) -> Item:
    """The entry with its resource's bytes, or a fault when these cannot be kept as text."""
    body = text[begin:stop]
    try:
        entry.raw = body.encode()
        if not body:
            return entry
        exact_json.check(body, entry.resource)
    except UnicodeEncodeError as error:
        at = len(body[: error.start].encode("utf-8", "surrogateescape"))
        return fault_of_text(entry.place, "not_utf8", f"not UTF-8 at byte {at} of the resource", body, whole=True)
    except BadRecord as error:
        return fault_of_text(entry.place, error.code, error.message, body, whole=True)
    return entry
