"""Oracle Health Millennium (Cerner), FHIR R4: read by stamp or by patient, changed by JSON Patch."""
