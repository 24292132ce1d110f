"""What an export is asked for, as a query and as a Parameters resource. Pure.

Bulk Data Access IG: versions 1 to 3 take GET with comma lists, version 2 adds POST of Parameters, version 4 takes POST
only and no comma lists, so that Parameters repeat here what a query lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector_runner.connectors.fhir.bulk.settings import Scope
from connector_runner.kernel import exact_json


@dataclass(frozen=True, slots=True)
class Export:
    """One export of a server. Without ``types`` of all, without ``since`` everything; of ``patients`` only."""

    scope: Scope
    group: str = ""
    types: tuple[str, ...] = ()
    type_filters: tuple[str, ...] = ()
    since: datetime | None = None
    patients: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Below the server's base."""
        return {"system": "$export", "patient": "Patient/$export", "group": f"Group/{self.group}/$export"}[self.scope]

    @property
    def needs_post(self) -> bool:
        """Whether a query cannot say it: patients are named in Parameters only."""
        return bool(self.patients)

    def query(self) -> list[tuple[str, str]]:
        """For GET."""
        pairs: list[tuple[str, str]] = []
        if self.since is not None:
            pairs.append(("_since", _instant(self.since)))
        if self.types:
            pairs.append(("_type", ",".join(self.types)))
        if self.type_filters:
            pairs.append(("_typeFilter", ",".join(self.type_filters)))
        return pairs

    def parameters(self) -> bytes:
        """For POST."""
        said: list[dict[str, Any]] = []
        if self.since is not None:
            said.append({"name": "_since", "valueInstant": _instant(self.since)})
        said += [{"name": "_type", "valueString": name} for name in self.types]
        said += [{"name": "_typeFilter", "valueString": text} for text in self.type_filters]
        said += [{"name": "patient", "valueReference": {"reference": f"Patient/{one}"}} for one in self.patients]
        return exact_json.dumps({"resourceType": "Parameters", "parameter": said}).encode()


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
