"""HTML that cannot be broken out of: every text is escaped unless it was built here."""

from __future__ import annotations

from html import escape
from typing import Final

VOID: Final = frozenset({"meta", "link"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: str | None) -> Markup:
    """An element; children are escaped unless they are Markup.

    ``class_`` stands for ``class``, ``_`` for ``-``; an attribute that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: object) -> Markup:
    """Children one after the other, escaped unless they are Markup."""
    return Markup("".join(child if isinstance(child, Markup) else escape(str(child)) for child in children))
