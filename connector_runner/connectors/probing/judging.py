"""What the answer to a canary query shows. Pure.

A canary asks for what cannot be: records changed in the far future, dates that are not. A server that heeds the
filter gives nothing; one that gives rows has ignored it, however it answers otherwise. That nothing came proves
something only where there is something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from connector_runner.connectors.base import SourceRecord
from connector_runner.connectors.fhir.paging import split
from connector_runner.connectors.fhir.strategies.last_updated import MARGIN
from connector_runner.connectors.probing.findings import HONOURED, IGNORED, REFUSED, UNKNOWN

REFUSES = frozenset({400, 403, 404, 405, 422, 501})


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer: its status, its records, the codes of its warnings, and the query that the server says it ran."""

    status: int
    records: tuple[SourceRecord, ...] = ()
    warnings: frozenset[str] = frozenset()
    self_link: str | None = None
    next_link: str | None = None
    codes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the server does not take the query."""
        return self.status in REFUSES

    def echoes(self, name: str) -> bool | None:
        """Whether the server says that it searched by a parameter; None when it does not say what it ran."""
        query = split(self.self_link or "").query
        if not query:
            return None
        return any(key.partition(":")[0].lower() == name.lower() for key, _ in parse_qsl(query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is measured, and the codes that show it."""

    measured: str
    evidence: tuple[str, ...] = ()


def refusal(shown: Shown) -> Verdict:
    """The verdict of a query that the server does not take."""
    return Verdict(REFUSED, (f"http_{shown.status}", *shown.codes[:3]))


def of_impossible(plain: Shown, impossible: Shown, name: str, ignored_warning: frozenset[str]) -> Verdict:
    """Whether a filter is heeded, by a query for what cannot be beside one without the filter."""
    if impossible.refused:
        return refusal(impossible)
    if impossible.records:
        return Verdict(IGNORED, ("rows_that_cannot_be",))
    warned = sorted(impossible.warnings & ignored_warning)
    if warned:
        return Verdict(IGNORED, tuple(f"warning_{code}" for code in warned))
    echoed = impossible.echoes(name)
    said = () if echoed is None else ("in_self_link",) if echoed else ("not_in_self_link",)
    if not plain.records:
        return Verdict(UNKNOWN, ("nothing_to_filter", *said))
    return Verdict(HONOURED, ("nothing_from_the_future", *said))


def of_bound(bounded: Shown, bound: datetime, record_id: str) -> Verdict:
    """Whether a lower bound that is the stamp of a known record gives that one, and none that is older."""
    if bounded.refused:
        return refusal(bounded)
    stamps = [record.last_updated for record in bounded.records if record.last_updated is not None]
    # As polls take it: indexes are cut to seconds, and lag behind.
    if any(bound - stamp > MARGIN for stamp in stamps):
        return Verdict(IGNORED, ("rows_before_bound",))
    if record_id not in {record.record_id for record in bounded.records} and bounded.next_link is None:
        return Verdict(HONOURED, ("boundary_excluded",))
    return Verdict(HONOURED, ("bound_kept",))


def leaves_out(shown: Shown, record_id: str) -> bool:
    """Whether an answer shows all that it found, and not this record."""
    complete = shown.status == 200 and shown.next_link is None
    return complete and record_id not in {record.record_id for record in shown.records}


def of_sort(rising: Shown, falling: Shown) -> Verdict:
    """Whether an order is heeded, by the first record of it and of its reverse."""
    for shown in (rising, falling):
        if shown.refused:
            return refusal(shown)
    first = [shown.records[0].last_updated if shown.records else None for shown in (rising, falling)]
    if first[0] is None or first[1] is None:
        return Verdict(UNKNOWN, ("no_stamps",))
    if first[0] < first[1]:
        return Verdict(HONOURED, ("order_reversed",))
    same = rising.records[0].record_id == falling.records[0].record_id
    if same and rising.next_link is not None:
        return Verdict(IGNORED, ("order_not_reversed",))
    return Verdict(UNKNOWN if first[0] == first[1] else IGNORED, ("one_stamp",) if same else ("order_not_reversed",))


def of_ids(shown: Shown, wanted: str) -> Verdict:
    """Whether a search for one id gives that record alone."""
    if shown.refused:
        return refusal(shown)
    ids = {record.record_id for record in shown.records}
    if ids - {wanted}:
        return Verdict(IGNORED, ("other_records",))
    return Verdict(HONOURED if ids else UNKNOWN, ("found",) if ids else ("not_found",))


def of_patient(shown: Shown, patient: str) -> Verdict:
    """Whether a search for one patient gives only what is about that one."""
    if shown.refused:
        return refusal(shown)
    if not shown.records:
        return Verdict(UNKNOWN, ("nothing_of_patient",))
    wanted = f"Patient/{patient}"
    for record in shown.records:
        said = _patients(record)
        if said and not any(reference.partition("/_history")[0].endswith(wanted) for reference in said):
            return Verdict(IGNORED, ("other_patients",))
    return Verdict(HONOURED, ("found",))


def _patients(record: SourceRecord) -> list[str]:
    """The patients that a record refers to; a Patient is about itself."""
    if record.resource_type == "Patient":
        return [f"Patient/{record.record_id}"]
    body = record.body or {}
    held = [body.get(key) for key in ("patient", "subject", "beneficiary", "for")]
    participants = body.get("participant")
    if isinstance(participants, list):
        held += [item.get("actor") for item in participants if isinstance(item, dict)]
    found = [item["reference"] for item in held if isinstance(item, dict) and isinstance(item.get("reference"), str)]
    return [reference for reference in found if "Patient/" in reference]
