"""What a vendor's FHIR server needs beyond the standard, and what a probe found one server to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from connector_runner.connectors.base import Page

Strategy = Literal["last_updated", "date_window", "changed_feed", "roster", "bulk", "whole"]
"""How what changed is found: by the server's stamp, by re-reading a range of clinical dates, from a feed of the
vendor, patient by patient, by a bulk export, or by reading everything and comparing."""

Parameters = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """How a vendor's server is read. Mappings are by record type; the key ``""`` stands for all others.

    ``strategies`` are those to choose from, preferred first. ``parameters`` are sets of search parameters without
    one of which a search is refused; several sets are searched one after the other. ``caps`` are the most rows
    that a search gives, however many there are: one that reaches its cap is narrowed, never trusted. ``dates`` is
    the date parameter by which a type is windowed and narrowed; ``window_days`` how far back and ahead of today.
    ``patient_parameters`` is what a roster searches by.

    Codes are those of OperationOutcomes: ``ignored_warning`` say that a parameter was ignored, ``partial_warning``
    that not everything is shown, ``cap_codes`` that there were too many rows, ``expired_codes`` that the link to a
    page is valid no more, ``quiet_codes`` nothing worth a note (that there are no matches, say), ``spoilt_codes`` that
    a search fails for one of the records that it finds.

    ``count_with_id``: whether ``_count`` may stand beside ``_id``. ``lossy_pages``: pages shift while they are
    read, so the same id may be on two, and another on none. ``conflict_statuses`` answer a stale version on a
    write. ``token_in_quota``: requests for tokens count against the quota.
    """

    vendor: str = ""
    strategies: Mapping[str, tuple[Strategy, ...]] = field(
        default_factory=lambda: {"": ("last_updated", "bulk", "whole", "roster")}
    )
    parameters: Mapping[str, tuple[Parameters, ...]] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    window_days: tuple[int, int] = (30, 365)
    patient_parameters: Mapping[str, str] = field(default_factory=lambda: {"": "patient", "Patient": "_id"})
    count_with_id: bool = True
    ignored_warning: frozenset[str] = frozenset()
    partial_warning: frozenset[str] = frozenset()
    cap_codes: frozenset[str] = frozenset()
    expired_codes: frozenset[str] = frozenset()
    quiet_codes: frozenset[str] = frozenset()
    spoilt_codes: frozenset[str] = frozenset()
    conflict_statuses: frozenset[int] = frozenset({412})
    token_in_quota: bool = False
    lossy_pages: bool = False

    def order(self, resource_type: str) -> tuple[Strategy, ...]:
        """The strategies for a type, preferred first."""
        return self.strategies.get(resource_type) or self.strategies.get("") or ("whole",)

    def sets(self, resource_type: str) -> tuple[Parameters, ...]:
        """The parameter sets to search a type with, one after the other; one empty set where none is mandatory."""
        return self.parameters.get(resource_type) or self.parameters.get("") or ((),)

    def cap(self, resource_type: str) -> int | None:
        """The most rows that a search of a type gives."""
        return self.caps.get(resource_type, self.caps.get(""))

    def date(self, resource_type: str) -> str | None:
        """The date parameter of a type."""
        return self.dates.get(resource_type)

    def patient_parameter(self, resource_type: str) -> str:
        """What a type is searched by for one patient."""
        return self.patient_parameters.get(resource_type) or self.patient_parameters.get("") or "patient"


PLAIN: Final = Profile()
"""A server that does what R4 says."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a probe found of one record type of one server: the strategy to read it by, and why, in codes.

    ``verdicts`` are by capability (see connectors/probing): ``honoured``, ``ignored``, ``refused`` and so on.
    """

    strategy: Strategy
    evidence: tuple[str, ...]
    at: datetime
    verdicts: Mapping[str, str] = field(default_factory=dict)


class Roster(Protocol):
    """The patients that a source is known to have."""

    def patients(self, after: str | None, limit: int) -> list[str]:
        """Their ids in the source, in the order of ids, from behind ``after``."""


class ChangedFeed(Protocol):
    """A way of reading that is not a search: a vendor's list of what changed, or a bulk export."""

    def changed(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """Pages of what changed since ``cursor``; the cursor of each is true once that page has landed.

        ``cursor`` is empty at first; ``full`` in it asks for everything. Raises what ``Source.pages`` raises.
        """
