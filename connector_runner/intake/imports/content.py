"""A file's content as a stream of bytes: unpacked when it is gzip, recognised by what it begins with."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from connector_runner.intake.imports.documents import DocumentParser
from connector_runner.intake.imports.ndjson import LineParser
from connector_runner.intake.imports.text import TextWindow
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

Opener = Callable[[], BinaryIO]
Parser = DocumentParser | LineParser

LINES: Final = "lines"
DOCUMENTS: Final = "documents"
_HEAD = 64 * 1024
_GZIP = b"\x1f\x8b"
_LINE_SUFFIXES = (".ndjson", ".jsonl")


class Content:
    """The unpacked bytes of one file, from any place on. Damage of the packing ends the stream."""

    def __init__(self, opener: Opener) -> None:
        """``opener`` answers the file from its first byte on, anew each time."""
        self._open = opener
        self.damage: str | None = None

    def head(self) -> bytes:
        """The first bytes."""
        with self._open() as raw:
            return self._unpacked(raw).read(_HEAD)

    def from_byte(self, at: int, raw: BinaryIO) -> Callable[[int], bytes]:
        """A reader that begins at the unpacked byte ``at`` of ``raw``, which the caller closes."""
        self.damage = None
        stream = self._unpacked(raw)
        stream.skip(at)
        return stream.read

    def open(self) -> BinaryIO:
        """The packed file, from its first byte on."""
        return self._open()

    def _unpacked(self, raw: BinaryIO) -> _Stream:
        begin = raw.read(2)
        raw.seek(0)
        return _Stream(gzip.GzipFile(fileobj=raw) if begin == _GZIP else raw, self)


class _Stream:
    def __init__(self, source: Any, content: Content) -> None:
        self._source = source
        self._content = content

    def read(self, size: int) -> bytes:
        if self._content.damage is not None:
            return b""
        try:
            return bytes(self._source.read(size))
        except EOFError:
            self._content.damage = "the compressed data ends early"
        except (zlib.error, gzip.BadGzipFile):
            self._content.damage = "the compressed data is damaged"
        return b""

    def skip(self, size: int) -> None:
        if not isinstance(self._source, gzip.GzipFile):
            self._source.seek(size)
            return
        while size > 0 and (data := self.read(min(size, _HEAD * 4))):
            size -= len(data)


def recognise(name: str, head: bytes) -> str:
    """Whether a file that begins with ``head`` is LINES or DOCUMENTS.

    Raises BadRecord (``unsupported_format``, ``empty_file``) for what cannot be read.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    lower = name.lower().removesuffix(".gz")
    if not text and lower.endswith(_LINE_SUFFIXES):
        return LINES  # an export without a record of that type
    if not text:
        raise BadRecord("the file is empty", code="empty_file")
    if text.startswith(b"PK\x03\x04"):
        raise BadRecord("zip archives are not read: unpack it first", code="unsupported_format")
    if lower.endswith((".csv", ".tsv")):
        raise BadRecord("CSV files are not read yet: FHIR JSON and NDJSON are", code="unsupported_format")
    if text[:1] == b"<":
        raise BadRecord("XML is not read: FHIR JSON and NDJSON are", code="unsupported_format")
    if lower.endswith(_LINE_SUFFIXES):
        return LINES
    first, newline, rest = text.partition(b"\n")
    if newline and rest.lstrip()[:1] == b"{":
        try:
            exact_json.loads(first)
        except BadRecord:
            return DOCUMENTS
        return LINES
    return DOCUMENTS


def parser_for(
    kind: str, read: Callable[[int], bytes], *, max_bytes: int, state: dict[str, Any] | None, unparsed: bool = False
) -> Parser:
    """The parser of a recognised file; ``read`` stands at the state's ``byte``, ``unparsed`` is LineParser's."""
    if kind == LINES:
        return LineParser(read, max_bytes=max_bytes, state=state, unparsed=unparsed)
    at = state["byte"] if state else 0
    return DocumentParser(TextWindow(read, at_byte=at), max_bytes=max_bytes, state=state)
