"""Epic (Interconnect FHIR R4): read by roster or export, written to by the few types that it takes."""
