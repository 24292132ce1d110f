"""The strategy ``bulk`` as polling meets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connector_runner.connectors.base import Page
from connector_runner.connectors.exports import ExportDue


class ExportFeed:
    """Has no pages: an export runs for minutes or hours on the server, as a job of its own."""

    def changed(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """Raises ExportDue, whose ``where`` is the record type."""
        raise ExportDue("this record type is read by a bulk export", where=resource_type)
