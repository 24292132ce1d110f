"""HTTP/1.1 as bytes (RFC 9112): how a request begins, and how an answer does.

What the standard library does here with its parser of mails costs more than all else that a request does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.parser import Parser
from http.client import HTTPException, HTTPMessage, IncompleteRead, InvalidURL, LineTooLong
from io import BufferedReader
from typing import Final

Fields = list[tuple[str, str]]
"""Names and values of headers, in their order."""

_MOST_LINE: Final = 65_536
_MOST_LINES: Final = 100
"""As many, and as long ones, as the standard library takes."""
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*?)[ \t]*\r?\n")
_FOLD: Final = re.compile(r"[ \t]*\r?\n[ \t]+")
_NO_TARGET: Final = re.compile(r"[\x00-\x20\x7f]")
_METHOD: Final = re.compile(r"[A-Z]+")


def head_of(method: str, target: str, headers: Mapping[str, str], host: str, length: int | None) -> bytes:
    """The head of a request. Names and values are checked already; ``length`` of a body, where no header says it.

    Raises InvalidURL for a target that would end the line early, ValueError for such a method.
    """
    if _NO_TARGET.search(target):
        raise InvalidURL("the target holds a space or a control character")
    if not _METHOD.fullmatch(method):
        raise ValueError("a method is a word in capitals")
    told = {name.lower() for name in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in told:
        lines.append(f"Host: {host}")
    if length is not None and "content-length" not in told:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def host_of(host: str, port: int | None, default_port: int) -> str:
    """The Host header (RFC 9112, section 3.2)."""
    try:
        host.encode("ascii")
    except UnicodeEncodeError:
        host = host.encode("idna").decode("ascii")
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if port in (None, default_port) else f"{host}:{port}"


def read_headers(stream: BufferedReader) -> Fields:
    """The fields of an answer's head, up to the empty line.

    Raises IncompleteRead where the end of the connection cuts it short, LineTooLong, HTTPException.
    """
    lines: list[bytes] = []
    while (line := stream.readline(_MOST_LINE + 1)) not in (b"\r\n", b"\n"):
        if len(line) > _MOST_LINE:
            raise LineTooLong("header line")
        if not line.endswith(b"\n"):
            raise IncompleteRead(b"")
        lines.append(line)
        if len(lines) > _MOST_LINES:
            raise HTTPException("got more than 100 headers")
    found: Fields = []
    for line in lines:
        field = _FIELD.fullmatch(line.decode("iso-8859-1"))
        if field is None:
            return _lenient(lines)
        found.append((field[1], field[2]))
    return found


def _lenient(lines: list[bytes]) -> Fields:
    """As the standard library reads what is not as it should be: folded lines, spaces in names."""
    text = b"".join([*lines, b"\r\n"]).decode("iso-8859-1")
    message = Parser(_class=HTTPMessage).parsestr(text)
    return [(name, _FOLD.sub(" ", value)) for name, value in message.items()]
