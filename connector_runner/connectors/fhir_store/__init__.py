"""Any server that speaks FHIR R4 REST, both ways."""
