"""Asks a FHIR server what it can do: its CapabilityStatement, and a few canary queries for each record type.

Nothing is written there. About ten small requests for a type.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final

from connector_runner.connectors.base import SourceRecord
from connector_runner.connectors.fhir.client import FHIRClient, outcome_codes, read_failure
from connector_runner.connectors.fhir.outcomes import warnings
from connector_runner.connectors.fhir.paging import parse_page, read_resource
from connector_runner.connectors.fhir.profile import Profile, Roster, Strategy
from connector_runner.connectors.fhir.strategies.last_updated import MARGIN
from connector_runner.connectors.fhir.walk import LAST_UPDATED
from connector_runner.connectors.fhir.window import instant
from connector_runner.connectors.probing import judging, statement
from connector_runner.connectors.probing.deciding import decide
from connector_runner.connectors.probing.findings import ABSENT, HONOURED, IGNORED, PRESENT, REFUSED, UNKNOWN, Finding
from connector_runner.connectors.probing.judging import Shown, Verdict
from connector_runner.connectors.probing.statement import Declared, Statement
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock
from connector_runner.kernel.errors import BadRecord, Unavailable

_FAR: Final = "2999-01-01"
_FEW: Final = 2
_MANY: Final = 50
_OF_ONE_TYPE: Final = frozenset({"http_500", "not_json", "not_a_bundle"})
"""What may be wrong with one record type while the others can be asked."""

Pairs = list[tuple[str, str]]


class FHIRProbe:
    """One look at a server."""

    def __init__(
        self,
        client: FHIRClient,
        profile: Profile,
        roster: Roster | None,
        able: Callable[[str], Collection[Strategy]],
        clock: Clock,
    ) -> None:
        self._client, self._profile, self._roster, self._able, self._clock = client, profile, roster, able, clock

    def run(self, document: dict[str, object], resource_types: Iterable[str]) -> list[Finding]:
        """What a server with this CapabilityStatement can do. Raises what a read raises when it cannot be asked.

        A record type that alone cannot be asked has no strategy among the findings.
        """
        stated = statement.read(document)
        found = statement.findings_of_server(stated)
        asked, failed = list(resource_types), list[Unavailable]()
        for resource_type in asked:
            try:
                found += _Type(self, stated, resource_type).run()
            except Unavailable as error:
                if error.code not in _OF_ONE_TYPE:
                    raise
                failed.append(error)
                found.append(Finding(resource_type, "whole", None, UNKNOWN, (error.code,)))
        if failed and len(failed) == len(asked):
            raise failed[0]
        return found

    def ask(self, resource_type: str, path: str, params: Pairs) -> Shown:
        """One query. Raises when the answer is about the connection and not about the query."""
        answer = self._client.request("GET", path, params=params)
        if answer.status in judging.REFUSES:
            return Shown(answer.status, codes=outcome_codes(answer.body))
        if answer.status != 200:
            raise read_failure(answer, path, self._clock())
        page = parse_page(answer.body, resource_type, place=path)
        return Shown(200, page.records, frozenset(warnings(page.entries)), page.self_link, page.next_link)


class _Type:
    """One record type."""

    def __init__(self, probe: FHIRProbe, stated: Statement, resource_type: str) -> None:
        self._probe, self._type = probe, resource_type
        self._profile = probe._profile
        self._declared = stated.of(resource_type) or Declared()
        self._found = {
            finding.capability: finding
            for finding in statement.findings_of_type(resource_type, stated.of(resource_type))
        }
        self._base: Pairs = list(self._profile.sets(resource_type)[0])
        self._patient = self._first_patient()
        self._plain = Shown(0)

    def run(self) -> list[Finding]:
        self._find_rows()
        self._note_patient()
        if self._plain.status == 200:
            self._note_stamps()
            self._note_filters()
            self._note_paging()
            self._note_direct_read()
        self._note_history()
        chosen = decide(self._profile, self._type, self._found, able=self._probe._able(self._type))
        return [*self._found.values(), chosen]

    def _first_patient(self) -> str | None:
        roster = self._probe._roster
        known = roster.patients(None, 1) if roster is not None else []
        return known[0] if known else None

    def _search(self, *more: tuple[str, str], count: int = _FEW) -> Shown:
        return self._probe.ask(self._type, self._type, [("_count", str(count)), *self._base, *more])

    def _note(self, capability: str, verdict: Verdict, declared: str | None = None) -> None:
        known = self._found.get(capability)
        said = declared if declared is not None or known is None else known.declared
        self._found[capability] = Finding(self._type, capability, said, verdict.measured, verdict.evidence)

    def _find_rows(self) -> None:
        """A search without a filter; one for a patient where the server wants that."""
        self._plain = self._search()
        for code in sorted(self._plain.warnings - self._profile.quiet_codes):
            self._note(f"warning_{code}", Verdict(PRESENT))
        if not self._plain.refused:
            self._note("whole", Verdict(HONOURED))
            return
        self._note("whole", judging.refusal(self._plain))
        if self._patient is not None:
            self._base.append((self._profile.patient_parameter(self._type), self._patient))
            self._plain = self._search()

    def _note_patient(self) -> None:
        parameter = self._profile.patient_parameter(self._type)
        declared = self._declared.searches_by(parameter)
        if self._patient is None:
            self._note("patient", Verdict(UNKNOWN, ("no_known_patient",)), declared)
            return
        wanted = (parameter, self._patient)
        shown = self._plain if wanted in self._base else self._search(wanted)
        self._note("patient", judging.of_patient(shown, self._patient), declared)

    def _note_stamps(self) -> None:
        records = self._plain.records
        for capability, held in (
            ("stamp", [record.last_updated is not None for record in records]),
            ("version_id", [record.version is not None for record in records]),
        ):
            if records:
                self._note(capability, Verdict(PRESENT if all(held) else ABSENT))

    def _note_filters(self) -> None:
        warned = self._profile.ignored_warning
        declared = self._declared.searches_by(LAST_UPDATED)
        shown = self._search((LAST_UPDATED, f"ge{_FAR}T00:00:00Z"))
        verdict = judging.of_impossible(self._plain, shown, LAST_UPDATED, warned)
        stamped = self._stamped()
        if verdict.measured == HONOURED and stamped is not None:
            record_id, bound = stamped
            bounded = judging.of_bound(self._search((LAST_UPDATED, f"ge{instant(bound)}")), bound, record_id)
            verdict = Verdict(bounded.measured, (*verdict.evidence, *bounded.evidence))
            if verdict.measured == HONOURED and self._loses(record_id, bound):
                verdict = Verdict(IGNORED, (*verdict.evidence, "known_row_missing"))
        if verdict.measured in (HONOURED, UNKNOWN) and self._of_patient and self._alone().refused:
            verdict = Verdict(REFUSED, (*verdict.evidence, "needs_patient"))
        self._note("last_updated", verdict, declared)
        if verdict.measured == HONOURED:
            rising, falling = (self._search(("_sort", f"{sign}{LAST_UPDATED}")) for sign in ("", "-"))
            self._note("sort", judging.of_sort(rising, falling), self._declared.searches_by("_sort"))
        date = self._profile.date(self._type) or ("date" if "date" in self._declared.parameters else None)
        if date is not None:
            shown = self._search((date, f"ge{_FAR}"))
            self._note(
                "date", judging.of_impossible(self._plain, shown, date, warned), self._declared.searches_by(date)
            )

    def _loses(self, record_id: str, stamp: datetime) -> bool:
        """Whether a search around its own stamp leaves a record out that has it still: one that takes a bound for a
        time of another zone, or for an instant, would never show what changes in between."""
        bounds = [("ge", stamp - MARGIN), ("lt", stamp + MARGIN)]
        shown = self._search(*((LAST_UPDATED, f"{prefix}{instant(bound)}") for prefix, bound in bounds), count=_MANY)
        if not judging.leaves_out(shown, record_id):
            return False
        answer = self._probe._client.request("GET", f"{self._type}/{record_id}")
        try:
            return (
                answer.status == 200 and read_resource(exact_json.loads(answer.body), self._type).last_updated == stamp
            )
        except BadRecord:
            return False

    @property
    def _of_patient(self) -> bool:
        """Whether searches name a patient, since the server refuses them otherwise."""
        return any(name == self._profile.patient_parameter(self._type) for name, _ in self._base)

    def _alone(self) -> Shown:
        """A search by stamp as polling makes it, for no patient in particular."""
        parameters = [*self._profile.sets(self._type)[0], (LAST_UPDATED, f"ge{_FAR}T00:00:00Z")]
        return self._probe.ask(self._type, self._type, [("_count", str(_FEW)), *parameters])

    def _stamped(self) -> tuple[str, datetime] | None:
        known = [(record.last_updated, record) for record in self._plain.records if record.last_updated is not None]
        if not known:
            return None
        stamp, record = max(known, key=lambda one: one[0])
        return record.record_id, stamp

    def _note_paging(self) -> None:
        """``_count`` is a ceiling, and a ``next`` link leads to other records (R4, http.html#paging)."""
        shown = self._search(count=1)
        if shown.refused:
            self._note("count", judging.refusal(shown))
            return
        if len(shown.records) > 1:
            self._note("count", Verdict(IGNORED, ("more_rows_than_asked",)))
        elif shown.records:
            several = shown.next_link is not None or len(self._plain.records) > 1
            self._note("count", Verdict(HONOURED) if several else Verdict(UNKNOWN, ("one_row",)))
        if shown.next_link is None:
            self._note("paging", Verdict(UNKNOWN, ("one_page",)))
            return
        following = self._probe.ask(self._type, shown.next_link, [])
        if following.refused:
            self._note("paging", judging.refusal(following))
            return
        repeated = {one.record_id for one in shown.records} & {one.record_id for one in following.records}
        self._note("paging", Verdict(IGNORED, ("same_rows_again",)) if repeated else Verdict(HONOURED))

    def _note_direct_read(self) -> None:
        record = next(iter(self._plain.records), None)
        if record is None:
            return
        answer = self._probe._client.request("GET", f"{self._type}/{record.record_id}")
        if answer.status != 200:
            self._note("read", Verdict(REFUSED, (f"http_{answer.status}",)))
            return
        self._note("read", Verdict(HONOURED))
        self._note("etag", Verdict(PRESENT if answer.headers.get("ETag") else ABSENT))
        self._note("id", judging.of_ids(self._by_id(record), record.record_id), self._declared.searches_by("_id"))

    def _by_id(self, record: SourceRecord) -> Shown:
        # Some take no other result parameter beside _id.
        count: Pairs = [("_count", "2")] if self._profile.count_with_id else []
        return self._probe.ask(self._type, self._type, [*count, *self._base, ("_id", record.record_id)])

    def _note_history(self) -> None:
        declared = self._found.get("history")
        if declared is None or declared.declared != "yes":
            return
        answer = self._probe._client.request("GET", f"{self._type}/_history", params=[("_count", "1")])
        if answer.status in judging.REFUSES:
            self._note("history", Verdict(REFUSED, (f"http_{answer.status}",)))
        elif answer.status == 200:
            self._note("history", Verdict(HONOURED))
        else:
            raise read_failure(answer, f"{self._type}/_history", self._probe._clock())
