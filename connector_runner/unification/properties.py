"""Records whose values are all flat texts, as a CRM's properties are: dates in whatever form, addresses in columns."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connector_runner.unification.columns import address_columns
from connector_runner.unification.datatypes import Fact
from connector_runner.unification.dates import is_date
from connector_runner.unification.primitives import text
from connector_runner.unification.references import relative_id
from connector_runner.unification.run import Run, Transform
from connector_runner.unification.us_dates import iso_date

NPI_SYSTEM: Final = "http://hl7.org/fhir/sid/us-npi"
_MILLISECONDS = re.compile(r"-?\d{6,14}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CHANNELS: Final = ("email", "phone", "sms")
_NO: Final = frozenset({"false", "no", "0"})
_COLUMNS: Final = ("street", "city", "state", "postalCode", "country")


def property_date(value: Any, path: str, run: Run) -> str | None:
    """A day as ``YYYY-MM-DD``, ``MM/DD/YYYY`` or milliseconds since 1970 at midnight UTC, all of which HubSpot gives.

    Source: HubSpot developer documentation, CRM properties, ``date`` and ``datetime``.
    """
    if type(value) not in (str, int):
        run.wrong_type(path, value, "a date")
        return None
    written = str(value).strip()
    if not written:
        return None
    if is_date(written):
        return written
    found = iso_date(written) or _day_of(written)
    if found is None:
        run.problem(path, "invalid_date", "not a date that exists, as YYYY-MM-DD, MM/DD/YYYY or milliseconds")
    return found


def _day_of(written: str) -> str | None:
    if not _MILLISECONDS.fullmatch(written):
        return None
    try:
        return (_EPOCH + timedelta(milliseconds=int(written))).date().isoformat()
    except OverflowError:
        return None


def property_address(value: Any, path: str, run: Run) -> list[Fact] | None:
    """Of [street, city, state, postal code, country]: the address at home."""
    columns = {name: part for name, part in zip(_COLUMNS, value, strict=True) if part is not None}
    return address_columns(columns, path, run) if columns else None


def opt_out_properties(value: Any, path: str, run: Run) -> list[Fact] | None:
    """Of [no e-mail, no calls, no texts]: which of these a contact asked for; a word that is no yes or no is a yes."""
    found = []
    for channel, column in zip(_CHANNELS, value, strict=True):
        written = str(column).strip().lower() if column is not None else ""
        if written:
            found.append({"channel": channel, "opted_out": written not in _NO})
    return found or None


def npi_property(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A provider's NPI as an identifier."""
    number = text(str(value) if type(value) is int else value, path, run)
    return None if number is None else [{"system": NPI_SYSTEM, "value": number}]


def specialty_property(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A provider's specialty, in whatever words, as a qualification."""
    words = text(value, path, run)
    return None if words is None else [{"code": {"text": words}}]


def ehr_patient(value: Any, path: str, run: Run) -> list[Fact] | None:
    """The id that a patient has in the source named ``ehr``, as a link to that record; or any canonical id."""
    record_id = text(value, path, run)
    if record_id is None:
        return None
    source, _, rest = record_id.partition(":")
    canonical = record_id if rest.count(":") == 1 and source else relative_id("ehr", f"Patient/{record_id}")
    if canonical is None:
        run.problem(path, "invalid_reference", "not the id of a patient")
        return None
    return [{"other": {"ref": canonical}, "type": "seealso"}]


INBOUND: Final[dict[str, Transform]] = {
    "property_date": property_date,
    "opt_out_properties": opt_out_properties,
    "property_address": property_address,
    "npi_property": npi_property,
    "specialty_property": specialty_property,
    "ehr_patient": ehr_patient,
}
