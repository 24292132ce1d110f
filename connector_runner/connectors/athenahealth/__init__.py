"""athenahealth (athenaOne): read through FHIR R4 and the changed feeds of v1, written to through v1 forms."""
