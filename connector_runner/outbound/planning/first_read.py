"""Whether a sink may have somebody of whom we know nothing, as not all of it was read and compared yet. Pure."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.unification.loader import record_name

SINK_NOT_READ: Final = "sink_not_read"
"""The sink is polled for records of this type, and not all it has was read and compared yet: it may have the person."""


def lacking(terms: SinkTerms, resource_type: str) -> str | None:
    """The polled record type of which all has to be known before a record of ``resource_type`` is made there, or None.

    Read, and compared: for entities of a kind that is.
    """
    made = record_name(resource_type)
    return next((name for name in sorted(terms.unread) if record_name(name) == made), None)
