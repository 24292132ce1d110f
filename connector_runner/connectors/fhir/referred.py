"""A roster that begins with patients whom somebody named, for servers that have no listing of patients."""

from __future__ import annotations

from collections.abc import Iterable

from connector_runner.connectors.fhir.profile import Roster
from connector_runner.kernel.ids import canonical_id


class Referred:
    """The patients that the source is known to have, and those named in its settings."""

    def __init__(self, known: Roster | None, named: Iterable[str]) -> None:
        self._known = known
        self._named = {_place(one): one for one in named}

    def patients(self, after: str | None, limit: int) -> list[str]:
        """In the order of the known ones, which is that of percent-encoded ids."""
        begin = "" if after is None else _place(after)
        known = self._known.patients(after, limit) if self._known is not None else []
        both = {_place(one): one for one in known} | {key: one for key, one in self._named.items() if key > begin}
        return [both[key] for key in sorted(both)][:limit]


def _place(patient: str) -> str:
    return canonical_id("s", "Patient", patient)
