"""A window over a byte stream as text, and a scanner that finds where a JSON value ends without parsing it.

Bytes that are not UTF-8 become lone surrogates (``surrogateescape``), so that one bad entry can be told from
its neighbours and its bytes can be given back.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

READ_BYTES = 256 * 1024

# Up to the next bracket, or to a string that does not end here. Only single characters are repeated possessively,
# and every character has one way to match, so it is linear in time; a possessive group would be shorter, but
# matches wrongly in Python before 3.11.5 (CPython gh-106052).
_IN_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*', re.DOTALL)
_TO_BRACKET = re.compile(rf'[^"{{}}\[\]]*+(?:"{_IN_STRING.pattern}"[^"{{}}\[\]]*+)*', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")


class TextWindow:
    """The part of a stream that is being looked at: ``text`` from ``pos`` on is unread."""

    def __init__(self, read: Callable[[int], bytes], *, at_byte: int = 0) -> None:
        """``read(n)`` answers up to about n bytes, none at the end; it stands at ``at_byte`` already."""
        self.text = ""
        self.pos = 0
        self.ended = False
        self._read = read
        self._base = at_byte
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        if at_byte == 0:
            while not self.text and self.fill():
                pass
            if self.text.startswith("\ufeff"):
                self.pos = 1

    def fill(self) -> bool:
        """Drop what was read and take in more, at least doubling what is held; False at the end."""
        if self.ended:
            return False
        self._base = self.byte_at(self.pos)
        rest = self.text[self.pos :]
        self.pos = 0
        data = self._read(max(READ_BYTES, len(rest)))
        self.ended = not data
        self.text = rest + self._decoder.decode(data, self.ended)
        return not self.ended

    def byte_at(self, index: int) -> int:
        """The byte of the stream at which the character ``index`` of ``text`` begins."""
        return self._base + len(self.text[:index].encode("utf-8", "surrogateescape"))

    def peek(self) -> str:
        """The next character that is not white space, now at ``pos``; empty at the end."""
        while True:
            space = _SPACE.match(self.text, self.pos)
            self.pos = space.end() if space else self.pos
            if self.pos < len(self.text):
                return self.text[self.pos]
            if not self.fill() and self.pos >= len(self.text):
                return ""


class Skipper:
    """Finds the end of one JSON value, fed piece by piece; knows strings and brackets only."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str, start: int) -> int | None:
        """The index after the value, or None when all of ``text`` belongs to it."""
        pos = start
        if self._escaped:
            pos, self._escaped = pos + 1, False
        while pos < len(text):
            if self._in_string:
                pos = self._through_string(text, pos)
                if self._in_string:
                    return None
                continue
            match = _TO_BRACKET.match(text, pos)
            pos = match.end() if match else pos
            if pos >= len(text):
                return None
            char = text[pos]
            pos += 1
            if char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return pos
        return None

    def _through_string(self, text: str, pos: int) -> int:
        match = _IN_STRING.match(text, pos)
        pos = match.end() if match else pos
        if pos < len(text) and text[pos] == '"':
            self._in_string = False
            return pos + 1
        self._escaped = pos < len(text)  # a lone backslash at the end
        return len(text)


def end_of_value(text: str, start: int) -> int | None:
    """The index after the object or array that begins at ``start``, or None when it does not end in ``text``."""
    return Skipper().feed(text, start)
