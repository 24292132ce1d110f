"""The transforms that a mapping may name. Each is a pure function of (value, path, run)."""

from __future__ import annotations

from connector_runner.unification import (
    clinical,
    columns,
    datatypes,
    demographics,
    practice_columns,
    primitives,
    properties,
    us_dates,
)
from connector_runner.unification.clinical import LOCATION, PATIENT, PRACTITIONER
from connector_runner.unification.run import Transform

TRANSFORMS: dict[str, Transform] = {
    # single values
    "text": primitives.text,
    "texts": primitives.texts,
    "boolean": primitives.boolean,
    "integer": primitives.integer,
    "whole_number": primitives.whole_number,
    "number": primitives.number,
    "date": primitives.date,
    "date_time": primitives.date_time,
    "time": primitives.time_of_day,
    "us_date": us_dates.us_date,
    "us_date_time": us_dates.us_date_time,
    "us_moment": us_dates.us_moment,
    "marked_date_time": primitives.marked_date_time,
    "marked_time": primitives.marked_time,
    "marked_text": primitives.marked_text,
    # data types
    "coding": datatypes.coding,
    "codings": datatypes.codings,
    "concept": datatypes.concept,
    "concepts": datatypes.concepts,
    "absent_reason": datatypes.absent_reason,
    "reference": datatypes.reference,
    "references": datatypes.references,
    "patient_reference": datatypes.reference_to(PATIENT),
    "non_patient_reference": datatypes.reference_to(PATIENT, otherwise=True),
    "practitioner_reference": datatypes.reference_to(PRACTITIONER),
    "non_practitioner_reference": datatypes.reference_to(PRACTITIONER, otherwise=True),
    "period": datatypes.period,
    "periods": datatypes.periods,
    "quantity": datatypes.quantity,
    "quantities": datatypes.quantities,
    "money": datatypes.money,
    "range": datatypes.quantity_range,
    "ratio": datatypes.ratio,
    "structure": datatypes.structure,
    "structures": datatypes.structures,
    # people and places
    "name": demographics.human_name,
    "main_name": demographics.main_name,
    "other_names": demographics.other_names,
    "telecom": demographics.telecom,
    "addresses": demographics.addresses,
    "single_address": demographics.single_address,
    "identifiers": demographics.identifiers,
    "single_identifier": demographics.single_identifier,
    "language": clinical.language,
    "race": clinical.category_of_race,
    "position": clinical.position,
    # parts of records
    "notes": clinical.notes,
    "attachment": clinical.attachment,
    "attachments": clinical.attachments,
    "medication": clinical.medication,
    "sampled_data": clinical.sampled_data,
    "patient_of_participants": clinical.actor_of(PATIENT, "actor"),
    "practitioner_of_participants": clinical.actor_of(PRACTITIONER, "actor"),
    "location_of_participants": clinical.actor_of(LOCATION, "actor"),
    "practitioner_of_individuals": clinical.actor_of(PRACTITIONER, "individual"),
    # records that are not FHIR
    **columns.INBOUND,
    **practice_columns.INBOUND,
    **properties.INBOUND,
}
