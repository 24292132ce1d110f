"""Why a reading goes on otherwise than by the next link."""

from __future__ import annotations

from connector_runner.connectors.fhir.walk import Walk


class Narrow(Exception):
    """A search gives more rows than it shows."""


class Spoilt(Exception):
    """A search fails for one of its records, and is parted around it."""

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self.walk = walk


class Expired(Exception):
    """The link to a page is not valid any more."""


class TurnedBack(Exception):
    """The checkpoint is of a time that the server has not reached."""
