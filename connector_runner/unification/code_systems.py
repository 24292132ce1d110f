"""Code and identifier systems that are written both as an OID and as a URL: one name for each."""

from __future__ import annotations

V2_IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"

ALIASES = {
    "urn:oid:2.16.840.1.113883.6.1": "http://loinc.org",
    "urn:oid:2.16.840.1.113883.6.96": "http://snomed.info/sct",
    "urn:oid:2.16.840.1.113883.6.88": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "urn:oid:2.16.840.1.113883.6.90": "http://hl7.org/fhir/sid/icd-10-cm",
    "urn:oid:2.16.840.1.113883.6.103": "http://hl7.org/fhir/sid/icd-9-cm",
    "urn:oid:2.16.840.1.113883.6.12": "http://www.ama-assn.org/go/cpt",
    "urn:oid:2.16.840.1.113883.12.292": "http://hl7.org/fhir/sid/cvx",
    "http://hl7.org/fhir/sid/cvx/": "http://hl7.org/fhir/sid/cvx",
    "urn:oid:2.16.840.1.113883.6.69": "http://hl7.org/fhir/sid/ndc",
    "urn:oid:2.16.840.1.113883.6.8": "http://unitsofmeasure.org",
    "urn:oid:2.16.840.1.113883.4.1": "http://hl7.org/fhir/sid/us-ssn",
    "urn:oid:2.16.840.1.113883.4.6": "http://hl7.org/fhir/sid/us-npi",
    "http://hl7.org/fhir/v2/0203": V2_IDENTIFIER_TYPE,
    "urn:oid:2.16.840.1.113883.18.108": V2_IDENTIFIER_TYPE,
}

# Codes of V2_IDENTIFIER_TYPE; any other type of an identifier is written as text.
IDENTIFIER_TYPES = frozenset(
    {
        "ACSN",
        "AN",
        "BC",
        "DL",
        "DN",
        "EI",
        "EN",
        "FILL",
        "JHN",
        "LN",
        "MA",
        "MB",
        "MC",
        "MCN",
        "MD",
        "MR",
        "NI",
        "NPI",
        "PC",
        "PI",
        "PLAC",
        "PPN",
        "PRN",
        "PT",
        "SN",
        "SR",
        "SS",
        "TAX",
        "UPIN",
        "XX",
    }
)
