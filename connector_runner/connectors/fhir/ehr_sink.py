"""Writing to an EHR that takes some record types, chooses ids itself and has no conditional create.

Nothing is sent that the vendor does not take. After a create whose answer was lost the record is searched for: by our
identifier where the type can be searched by one, else among the records of its patient. One that
bears our identifier is ours; where none does, one that says everything that we sent is taken for ours, since no
vendor promises to keep an identifier that it did not give (and a second record would say nothing new). One of the same
thing at the same instant that says something else is put before a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from connector_runner.connectors.fhir import searching
from connector_runner.connectors.fhir.answers import about, version_of
from connector_runner.connectors.fhir.likeness import may_be, says_all
from connector_runner.connectors.fhir.sink import IDENTIFIER_SYSTEM, Client, FHIRSink
from connector_runner.connectors.sinks import (
    NOT_SEARCHABLE,
    POSSIBLE_DUPLICATE,
    Capabilities,
    Found,
    Json,
    Outcome,
    Reply,
    Step,
)
from connector_runner.kernel.clock import Clock, utc_now

_OURS_ALONE: Final = frozenset({"id", "meta", "identifier", "text", "implicitRules"})
_MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Offers:
    """What a vendor takes, by record type. ``identified``: those that a search for an identifier alone finds.

    ``search`` are further parameters without which a patient's records are not searched, with the path of their value
    in the record (``category.coding.code``).
    """

    create: frozenset[str] = frozenset()
    update: frozenset[str] = frozenset()
    patch: frozenset[str] = frozenset()
    identified: frozenset[str] = frozenset({"Patient"})
    search: tuple[tuple[str, str, str], ...] = ()


class EHRSink(FHIRSink):
    """The outbound side of an EHR."""

    def __init__(
        self,
        client: Client,
        capabilities: Capabilities,
        offers: Offers,
        *,
        vendor: str,
        search_by: Literal["POST", "GET"] = "POST",
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(client, capabilities, vendor=vendor, search_by=search_by, clock=clock)
        self._offers = offers

    def create(self, body: Json, client_ref: str) -> Reply:
        """``POST``; POISON (``not_offered``) without a request where the vendor has no create of the type."""
        if body["resourceType"] not in self._offers.create:
            return _not_offered(body)
        return super().create(body, client_ref)

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """``PATCH`` or ``PUT``, whichever the vendor has for the type; POISON (``not_offered``) where neither."""
        kind = str(body["resourceType"])
        if kind in self._offers.patch and before is not None:
            return super().update(ref, body, etag, before=before)
        if kind in self._offers.update:
            return super().update(ref, body, etag)
        return _not_offered(body)

    def transact(self, steps: Sequence[Step]) -> list[Reply]:
        """Raises Misconfigured where the settings state no transactions, as is usual."""
        unoffered = [step for step in steps if step.body["resourceType"] not in self._takes(step.operation)]
        if unoffered:
            return [_not_offered(step.body) for step in steps]
        return super().transact(steps)

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """By our identifier; ABSENT with cause ``not_searchable`` for types that are searched by patient only."""
        if resource_type not in self._offers.identified:
            return Reply(Outcome.ABSENT, NOT_SEARCHABLE, cause=NOT_SEARCHABLE)
        return super().find(resource_type, client_ref)

    def find_created(self, body: Json, client_ref: str) -> Reply:
        """The record that a create of ``body`` made: by our identifier, else among those of its patient."""
        if body["resourceType"] in self._offers.identified:
            return super().find(str(body["resourceType"]), client_ref)
        asked = self._question(body)
        if asked is None:
            return Reply(Outcome.UNKNOWN, "nothing_to_search_by", cause="nothing_to_search_by")
        answer = self._call("GET", str(body["resourceType"]), params=asked, purpose="search")
        if answer.outcome is not Outcome.LANDED:
            return answer
        listed = [item for item in searching.resources_of(answer.body) if _is_kind(item, body)]
        found = [item for item in listed if client_ref in searching.numbers(item, IDENTIFIER_SYSTEM)]
        sent = {key: value for key, value in body.items() if key not in _OURS_ALONE}
        found = found or [item for item in listed if says_all(item, sent)]
        if len(found) > 1:
            return Reply(Outcome.DUPLICATES, "multiple_matches", answer.status, pace=answer.pace)
        alike = next((item for item in listed if may_be(item, sent)), None) if not found else None
        if alike is not None:
            # Neither sent again nor taken for ours: the vendor may have altered what it was sent.
            return Reply(Outcome.DUPLICATES, POSSIBLE_DUPLICATE, answer.status, about(alike), pace=answer.pace)
        if not found:
            told = searching.has_more(answer.body)
            return replace(
                answer,
                outcome=Outcome.UNKNOWN if told else Outcome.ABSENT,
                code="more_pages" if told else "no_match",
                cause="more_pages" if told else "no_match",
                ref=None,
                etag=None,
                body=None,
            )
        shown = found[0]
        return replace(answer, ref=about(shown), etag=version_of({}, shown), body=shown)

    def candidates(self, body: Json) -> Found:
        """As others do for people; other records are searched for among those of their patient."""
        if body["resourceType"] in self._offers.identified:
            return super().candidates(body)
        reply = self.find_created(body, "")
        if reply.outcome is Outcome.LANDED and reply.body is not None:
            return Found(reply, (reply.body,))
        if reply.cause == "nothing_to_search_by":
            reply = replace(reply, outcome=Outcome.ABSENT)
        return Found(reply)

    def _found_by_number(self, kind: str) -> bool:
        return kind in self._offers.identified

    def _takes(self, operation: str) -> frozenset[str]:
        return self._offers.create if operation == "create" else self._offers.update | self._offers.patch

    def _question(self, body: Json) -> list[tuple[str, str]] | None:
        """The search for the records of the patient whom ``body`` is about; None when it names none."""
        patient = _patient(body)
        if patient is None:
            return None
        asked = [("patient", patient), ("_count", str(_MOST))]
        for kind, parameter, path in self._offers.search:
            if kind == body["resourceType"]:
                value = next(iter(_at(body, path.split("."))), None)
                if value is None:
                    return None
                asked.append((parameter, str(value)))
        return asked


def _is_kind(item: Any, body: Json) -> bool:
    return isinstance(item, dict) and item.get("resourceType") == body["resourceType"] and about(item) is not None


def _patient(body: Json) -> str | None:
    held = [body.get(key) for key in ("subject", "patient", "beneficiary")]
    participants = body.get("participant")
    held += [
        one.get("actor") for one in (participants if isinstance(participants, list) else ()) if isinstance(one, dict)
    ]
    for reference in held:
        text = reference.get("reference") if isinstance(reference, dict) else None
        if isinstance(text, str) and text.split("/")[-2:-1] == ["Patient"]:
            return text.rsplit("/", 1)[-1]
    return None


def _at(value: Any, path: Sequence[str]) -> Iterable[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


def _not_offered(body: Json) -> Reply:
    return Reply(Outcome.POISON, "not_offered", cause="not_offered", where=str(body["resourceType"]))
