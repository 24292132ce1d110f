"""Rows in COPY's text format (PostgreSQL manual, COPY, File Formats)."""

from __future__ import annotations

from collections.abc import Sequence

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_LINES_A_READ = 64
"""How much a COPY is handed at a time: about 64 KiB of what lands most."""


def copy_text(value: object) -> str:
    """One field."""
    if value is None:
        return "\\N"
    if value is True:
        return "t"
    if value is False:
        return "f"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    text = value if isinstance(value, str) else str(value)
    # Most texts need no escape, and to ask costs a tenth of ``translate``.
    return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)


def copy_json(text: str) -> str:
    """JSON text as a field: it has no control characters."""
    return text.replace("\\", "\\\\")


class Lines:
    """Lines as a file that is read some at a time.

    All of a page in one text would be memory that the system hands out, and clears, anew for every page.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines, self._next = lines, 0

    def read(self, _size: int) -> bytes:
        """The next lines; none at the end."""
        some = self._lines[self._next : self._next + _LINES_A_READ]
        self._next += len(some)
        return "\n".join([*some, ""]).encode()
