"""Whether a sink may have somebody of whom we have not heard: nobody is made where not all was read yet. Pure."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.unification.loader import record_name

SINK_NOT_READ: Final = "sink_not_read"
"""The sink is polled for records of this type, and was not read to its end yet: it may have the person."""


def lacking(terms: SinkTerms, resource_type: str) -> str | None:
    """The polled record type of which all has to be read before a record of ``resource_type`` is made there; or None.

    For entities of a kind that is compared: once all was read, they are held against all of it first.
    """
    made = record_name(resource_type)
    return next((name for name in sorted(terms.unread) if record_name(name) == made), None)
